/// \file Processes that work on one thing together: the concept Ranks, and a reference to any, by default to one process.
#pragma once

#include "flashback/core/config.hpp"
#include "flashback/core/error.hpp"

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// Processes that run the same program on the same input, each with a number.
///
/// | expression               | result        | meaning                                                              |
/// |--------------------------|---------------|----------------------------------------------------------------------|
/// | `r.rank()`               | `std::size_t` | the number of this process, from 0                                   |
/// | `r.size()`               | `std::size_t` | how many there are, >= 1                                             |
/// | `r.send(bytes, to)`      |               | sends bytes to another; may wait until that one receives them        |
/// | `r.receive(bytes, from)` |               | fills bytes with what another sent next, which are exactly as many   |
///
/// Both throw if they cannot, RankLost if the other is gone. Messages between two processes arrive in the order in which they were
/// sent.
template <class R>
concept Ranks = requires(R& ranks, std::span<const std::byte> out, std::span<std::byte> in, std::size_t other) {
    { ranks.rank() } -> std::convertible_to<std::size_t>;
    { ranks.size() } -> std::convertible_to<std::size_t>;
    ranks.send(out, other);
    ranks.receive(in, other);
};

/// A process that others wait for is gone.
class RankLost : public Error {
public:
    /// With its sentence.
    explicit RankLost(const std::string& sentence) : Error(ErrorCode::io, sentence) {}
};

/// A reference to ranks of any type. It must not outlive them. By default there is one process, which has rank 0.
class RanksRef {
public:
    RanksRef() noexcept = default;

    /// Refers to ranks of any type.
    template <class R>
        requires(!std::same_as<std::remove_cv_t<R>, RanksRef>)
    RanksRef(R& ranks) : object_(const_cast<void*>(static_cast<const void*>(std::addressof(ranks)))) {
        static_assert(Ranks<R>, "flashback: Ranks must have rank(), size(), send(bytes, to) and receive(bytes, from)");
        if constexpr (Ranks<R>) {
            rank_ = ranks.rank();
            size_ = ranks.size();
            send_ = [](void* r, std::span<const std::byte> bytes, std::size_t to) { static_cast<R*>(r)->send(bytes, to); };
            receive_ = [](void* r, std::span<std::byte> bytes, std::size_t from) { static_cast<R*>(r)->receive(bytes, from); };
        }
    }

    /// The number of this process.
    std::size_t rank() const noexcept { return rank_; }
    /// How many there are.
    std::size_t size() const noexcept { return size_; }
    /// Whether this one writes files and prints.
    bool first() const noexcept { return rank_ == 0; }
    /// The rank that does the i-th of many equal pieces of work: they go round.
    std::size_t owner(std::size_t i) const noexcept { return i % size_; }
    /// Whether that is this one.
    bool mine(std::size_t i) const noexcept { return owner(i) == rank_; }

    /// The contiguous share of `count` things that a rank has: [begin, end).
    std::pair<std::size_t, std::size_t> share(std::size_t count, std::size_t of) const noexcept {
        return {count * of / size_, count * (of + 1) / size_};
    }

    /// Gives all ranks the values that one has.
    /// Requires  all ranks call it, with as many values
    /// Cost      each rank receives and sends them once, piece by piece, so that all do so at the same time
    template <class T>
        requires std::is_trivially_copyable_v<T>
    void broadcast(std::span<T> values, std::size_t from = 0) const {
        if (size_ == 1) return;
        const std::span<std::byte> bytes = std::as_writable_bytes(values);
        const std::size_t next = (rank_ + 1) % size_;
        for (std::size_t at = 0; at < bytes.size(); at += piece) {
            const std::span<std::byte> part = bytes.subspan(at, std::min(piece, bytes.size() - at));
            if (rank_ != from) receive_(object_, part, (rank_ + size_ - 1) % size_);
            if (next != from) send_(object_, part, next);
        }
    }
    /// The same for one value.
    template <class T>
        requires std::is_trivially_copyable_v<T>
    void broadcast_one(T& value, std::size_t from = 0) const { broadcast(std::span<T>{&value, 1}, from); }
    /// The same for a vector, which gets the size of that one's.
    template <class T>
    void broadcast_all(std::vector<T>& values, std::size_t from = 0) const {
        std::uint64_t count = values.size();
        broadcast_one(count, from);
        values.resize(static_cast<std::size_t>(count));
        broadcast(std::span<T>{values}, from);
    }

    /// Lets each rank add its terms to a sum, in the order of the ranks: `add(begin, end)` adds them to the values [begin, end) of
    /// `sum`. So a sum of many terms in order has the same bits, however many ranks divide them. At last all have the sum.
    /// Requires  all ranks call it with sums of the same size; that of rank 0 is what terms are added to
    /// Cost      each rank receives and sends the values twice, piece by piece, and one adds while another sends
    template <class Add>
    void add_in_order(std::span<float> sum, const Add& add) const {
        if (size_ == 1) return add(std::size_t{0}, sum.size());
        for (std::size_t begin = 0; begin < sum.size(); begin += piece / sizeof(float)) {
            const std::size_t end = std::min(sum.size(), begin + piece / sizeof(float));
            const std::span<std::byte> part = std::as_writable_bytes(sum.subspan(begin, end - begin));
            if (rank_ > 0) receive_(object_, part, rank_ - 1);
            add(begin, end);
            if (rank_ + 1 < size_) send_(object_, part, rank_ + 1);
        }
        broadcast(sum, size_ - 1);
    }

private:
    static constexpr std::size_t piece = std::size_t{1} << 20;  // bytes of a message: long enough for any network to be busy

    void* object_ = nullptr;
    std::size_t rank_ = 0;
    std::size_t size_ = 1;
    void (*send_)(void*, std::span<const std::byte>, std::size_t) = nullptr;
    void (*receive_)(void*, std::span<std::byte>, std::size_t) = nullptr;
};

/// Names and values: what all ranks must have in common.
using RankFacts = std::vector<std::pair<std::string, std::string>>;

/// Makes sure that ranks are about to do the same.
/// Throws    Error{contract} on all ranks if the facts of one differ from those of rank 0; the sentence names both, and the fact
inline void check_agreement(RanksRef ranks, const RankFacts& facts) {
    if (ranks.size() == 1) return;
    std::vector<char> of_first;
    if (ranks.first()) {
        for (const auto& fact : facts) {
            for (const std::string_view text : {std::string_view{fact.first}, std::string_view{fact.second}}) {
                of_first.insert(of_first.end(), text.begin(), text.end());
                of_first.push_back('\0');
            }
        }
    }
    ranks.broadcast_all(of_first);
    std::vector<std::string> texts;  // names and values
    for (auto at = of_first.begin(); at != of_first.end();) {
        const auto end = std::find(at, of_first.end(), '\0');
        texts.emplace_back(at, end);
        at = end + 1;
    }
    std::string found;
    const std::string who = "rank " + std::to_string(ranks.rank());
    constexpr std::string_view advice = "; all ranks must have the same options, and files with the same bytes";
    bool alike = texts.size() == 2 * facts.size();
    for (std::size_t i = 0; alike && i < facts.size(); ++i) alike = texts[2 * i] == facts[i].first;
    if (!alike) found = detail::sentence(who, " does something else than rank 0", advice);
    for (std::size_t i = 0; found.empty() && i < facts.size(); ++i) {
        if (texts[2 * i + 1] != facts[i].second) {
            found = detail::sentence(who, " differs from rank 0: its ", facts[i].first, " is ", facts[i].second,
                                     ", but that of rank 0 is ", texts[2 * i + 1], advice);
        }
    }
    for (std::size_t rank = 1; rank < ranks.size(); ++rank) {
        std::vector<char> says(found.begin(), found.end());
        ranks.broadcast_all(says, rank);
        if (!says.empty()) FLASHBACK_THROW(ErrorCode::contract, std::string(says.begin(), says.end()));
    }
}

}  // namespace flashback::inline FLASHBACK_ISA
