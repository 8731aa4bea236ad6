/// \file What it costs to keep the keys and values of a passage, and what that saves.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/tokens.hpp"
#include "flashback/kv/block_file.hpp"
#include "flashback/kv/block_file_writer.hpp"
#include "flashback/kv/block_store.hpp"
#include "flashback/kv/kv_block.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <filesystem>
#include <limits>
#include <memory>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// A passage that was evaluated, kept and found again, each as fast as in the best repetition.
struct StoredPassage {
    std::size_t tokens = 0;                             ///< of the passage
    BlockElement element = BlockElement::as_evaluated;  ///< how its keys and values are kept
    std::size_t bytes = 0;                              ///< of the budget of a store
    double evaluate_seconds = 0;                        ///< without a store
    double keep_seconds = 0;                            ///< to put it into a store
    double find_seconds = 0;                            ///< to find it there, if nobody else uses it at that time
    double file_seconds = 0;                            ///< to find it in a file that the system holds in memory
    std::vector<double> evaluations = {};               ///< the seconds of each evaluation

    /// How often it must come again until keeping it has cost less than evaluating it each time; infinite if it never does.
    double break_even_uses() const noexcept {
        const double saved = evaluate_seconds - find_seconds;
        return saved > 0 ? keep_seconds / saved : std::numeric_limits<double>::infinity();
    }
    /// Bytes per second below which reading it takes longer than evaluating it.
    double break_even_rate() const noexcept { return static_cast<double>(bytes) / evaluate_seconds; }
};

namespace detail {

/// The seconds that `work()` takes.
template <class Work>
double seconds_of(const Work& work) {
    using Clock = std::chrono::steady_clock;
    const Clock::time_point start = Clock::now();
    work();
    return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace detail

/// Evaluates a passage behind the head of a session, keeps it as an element says, and finds it again: in a store, and in a file with
/// the name `scratch`, which is replaced and stays.
///
/// What the session holds must begin with its head. If it has a store, that is cleared.
/// Requires  the passage has a token
/// Throws    Error{contract} for 0 repetitions; as the session's `block`; Error{io} if the file cannot be written
/// Cost      `repetitions` evaluations of the passage, and as many copies of its keys and values
template <class Session>
StoredPassage time_stored_passage(Session& session, TokenSpan passage, BlockElement element,
                                  const std::filesystem::path& scratch, std::size_t repetitions = 3) {
    FLASHBACK_ASSERT(repetitions > 0, "a stored passage was to be timed 0 times, expected at least once");
    using Store = typename Session::Store;
    using Handle = typename Store::Handle;
    const std::size_t head = session.head().size();
    StoredPassage found{.tokens = passage.size(), .element = element};
    Handle made;
    for (std::size_t i = 0; i < repetitions; ++i) {
        if (session.store()) session.store()->clear();
        found.evaluations.push_back(detail::seconds_of([&] { made = session.block(passage, head, head); }));
    }
    found.evaluate_seconds = std::ranges::min(found.evaluations);
    found.bytes = Store::bytes_of(made->cache.shape(), element);

    // Every time in a new store, and found when nobody has it any more: a block that is in use is shared and costs nothing.
    const BlockStoreOptions options{.budget = found.bytes, .element = element};
    found.keep_seconds = found.find_seconds = std::numeric_limits<double>::infinity();
    for (std::size_t i = 0; i < repetitions; ++i) {
        Store store{options};
        found.keep_seconds = std::min(found.keep_seconds, detail::seconds_of([&] { static_cast<void>(store.keep(made)); }));
        found.find_seconds =
            std::min(found.find_seconds, detail::seconds_of([&] { static_cast<void>(store.find(key_of(*made))); }));
    }

    BlockFileWriter writer{scratch, element};
    static_cast<void>(writer.add(*made));
    writer.finish();
    const auto file = std::make_shared<const BlockFile>(BlockFile::open(scratch));
    found.file_seconds = std::numeric_limits<double>::infinity();
    for (std::size_t i = 0; i < repetitions; ++i) {
        Store store{options, file};
        Handle read;
        found.file_seconds = std::min(found.file_seconds, detail::seconds_of([&] { read = store.find(key_of(*made)); }));
        FLASHBACK_ASSERT(read && store.counts().reads == 1,
                         "the file of blocks does not have the passage that was written to it");
    }
    return found;
}

}  // namespace flashback::inline FLASHBACK_ISA
