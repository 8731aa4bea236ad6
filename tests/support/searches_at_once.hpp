/// \file One index of vectors, searched from several threads.
#pragma once

#include <atomic>
#include <cstddef>
#include <span>
#include <thread>
#include <vector>

#include <doctest/doctest.h>

namespace flashback_test {

/// Checks that four threads, each with another query at a time, find what was found before: `expected`, the best 7 of each of 40 queries.
template <class Index, class Answers>
void check_searches_at_once(const Index& index, std::span<const float> queries, std::size_t dimension,
                            const Answers& expected) {
    std::atomic<std::size_t> wrong = 0;
    std::vector<std::thread> threads;
    for (std::size_t t = 0; t < 4; ++t) {
        threads.emplace_back([&, t] {
            for (std::size_t i = 0; i < 40; ++i) {
                const std::size_t q = (i + 10 * t) % 40;
                if (index.search(queries.subspan(q * dimension, dimension), 7) != expected[q]) ++wrong;
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(wrong == 0);
}

}  // namespace flashback_test
