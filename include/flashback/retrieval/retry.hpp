/// \file A retriever that tries again.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/retriever.hpp"
#include "flashback/retrieval/detail/held_retriever.hpp"

#include <algorithm>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <exception>
#include <ranges>
#include <span>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// How often a Retry tries, and how long it waits: `delay` after the first failure, then twice as long each time.
struct RetryOptions {
    std::size_t attempts = 3;                                        ///< how often it is asked at most, the first time included
    std::chrono::nanoseconds delay = std::chrono::milliseconds{50};  ///< after the first failure
    std::chrono::nanoseconds longest_delay = std::chrono::seconds{10};  ///< no delay is longer
};

/// Which errors may be gone at the next attempt: those of files and networks, Error{io} and std::system_error.
struct IoErrors {
    bool operator()(const std::exception& error) const noexcept {
        if (const auto* ours = dynamic_cast<const Error*>(&error)) return ours->code() == ErrorCode::io;
        return dynamic_cast<const std::system_error*>(&error) != nullptr;
    }
};

/// Asks again if the retriever throws an error that `transient(const std::exception&)` says may be gone the next time. It waits in the
/// caller's thread.
template <class R, class Transient = IoErrors>
class Retry : public detail::HeldRetriever<Retry<R, Transient>, R> {
    static_assert(std::predicate<Transient&, const std::exception&>,
                  "flashback: the predicate of Retry must be callable as transient(const std::exception&) and return bool");
    using Held = detail::HeldRetriever<Retry, R>;
    friend struct detail::PassesHints<Retry, true>;

public:
    /// Throws    Error{contract} for 0 attempts, or a delay below 0
    explicit Retry(R retriever, RetryOptions options = {}, Transient transient = Transient{})
        : Held(std::move(retriever)), options_(options), transient_(std::move(transient)) {
        FLASHBACK_ASSERT(options.attempts > 0, "Retry needs at least 1 attempt, found 0");
        FLASHBACK_ASSERT(options.delay.count() >= 0 && options.longest_delay.count() >= 0,
                         "Retry needs delays of 0 or more, found ", options.delay.count(), " and ",
                         options.longest_delay.count(), " ns");
    }

    /// The answer of the first attempt that succeeds; valid until the next call.
    /// Requires  the query does not view the last answer, which a failed attempt ends
    /// Throws    the error of the last attempt; at once what is not transient, or no std::exception
    std::span<const Passage> retrieve(const Query& query, std::size_t k) {
        std::chrono::nanoseconds delay = std::min(options_.delay, options_.longest_delay);
        for (std::size_t attempt = 1; !attempted(query, k, attempt == options_.attempts); ++attempt) {
            std::this_thread::sleep_for(delay);
            delay = delay > options_.longest_delay / 2 ? options_.longest_delay : delay * 2;
        }
        return found_;
    }

    /// How often it tried again, ever.
    std::size_t retries() const noexcept { return retries_; }

private:
    bool attempted(const Query& query, std::size_t k, bool last) {
        try {
            auto&& range = this->inner().retrieve(query, k);
            found_.assign(std::ranges::begin(range), std::ranges::end(range));
            return true;
        } catch (const std::exception& error) {
            if (last || !transient_(error)) throw;
            ++retries_;
            return false;
        }
    }

    /// A search that cannot begin now begins when its answer is needed.
    void hint(const Query& query, std::size_t k) {
        try {
            Held::hint(query, k);
        } catch (const std::exception& error) {
            if (!transient_(error)) throw;
        }
    }

    RetryOptions options_;
    Transient transient_;
    std::vector<Passage> found_;
    std::size_t retries_ = 0;
};

}  // namespace flashback::inline FLASHBACK_ISA
