// Exact search against doubles: ties, edges, batches and threads.
#include "flashback/dense/exact_index.hpp"

#include "flashback/core/thread_pool.hpp"
#include "support/errors.hpp"
#include "support/random_vectors.hpp"
#include "support/searches_at_once.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>
#include <memory>
#include <numeric>
#include <span>
#include <stdexcept>
#include <vector>

#include <doctest/doctest.h>

namespace test_dense_exact_index {

using namespace flashback;
using namespace flashback_test;

namespace {

constexpr std::array every_element{DType::f32, DType::f16, DType::i8};
constexpr float infinity = std::numeric_limits<float>::infinity();

std::shared_ptr<const VectorStore> stored(std::span<const float> vectors, std::size_t dimension,
                                          const VectorOptions& options = {}) {
    VectorStore store{dimension, options};
    store.add(vectors);
    return std::make_shared<const VectorStore>(std::move(store));
}

/// The scores are right, they are in order, and nothing that is clearly better was left out.
void check_answer(const VectorStore& vectors, std::span<const float> query, std::size_t k, const std::vector<DenseHit>& hits) {
    const std::vector<double> exact = exact_scores(vectors, query);
    REQUIRE(hits.size() == std::min(k, exact.size()));
    double length = 0;
    for (const float x : query) length += std::fabs(static_cast<double>(x));
    const double tolerance = 1e-5 * (1 + length);
    std::vector<bool> found(exact.size(), false);
    bool right = true;
    for (std::size_t i = 0; i < hits.size(); ++i) {
        REQUIRE(hits[i].row < exact.size());
        right &= !found[hits[i].row];
        found[hits[i].row] = true;
        right &= std::abs(static_cast<double>(hits[i].score) - exact[hits[i].row]) <= tolerance;
        right &= i == 0 || better(hits[i - 1], hits[i]);
    }
    for (std::size_t i = 0; i < exact.size(); ++i)
        right &= found[i] || exact[i] <= static_cast<double>(hits.back().score) + tolerance;
    CHECK(right);
}

struct Throws {
    static std::size_t concurrency() { return 2; }
    template <class Task>
    static void run(std::size_t /*count*/, const Task& /*task*/) {
        throw std::runtime_error{"no threads today"};
    }
};

}  // namespace

TEST_CASE("dense: an exact search finds what doubles find, for every element, length and k") {
    for (const std::size_t dimension : {1u, 15u, 16u, 17u, 100u}) {
        for (const std::size_t count : {1u, 2u, 63u, 64u, 65u, 300u}) {
            const auto vectors = random_vectors(count, dimension, count + dimension);
            const auto queries = random_vectors(3, dimension, 7);
            for (const DType element : every_element) {
                for (const bool normalise : {false, true}) {
                    const ExactIndex index{stored(vectors, dimension, {element, normalise})};
                    for (const std::size_t k : {1u, 10u, 1000u}) {
                        CAPTURE(dimension);
                        CAPTURE(count);
                        CAPTURE(k);
                        const auto query = std::span{queries}.first(dimension);
                        check_answer(index.vectors(), query, k, index.search(query, k));
                    }
                }
            }
        }
    }
}

TEST_CASE("dense: equal scores come in the order of the vectors, however they are divided") {
    std::vector<float> vectors(std::size_t{500} * 3);
    for (std::size_t i = 0; i < 500; ++i) vectors[i * 3] = static_cast<float>(i % 4);
    const auto store = stored(vectors, 3);
    for (const std::size_t threads : {1u, 2u, 3u, 7u}) {
        ThreadPool pool{threads};
        const ExactIndex index{store, pool};
        const auto hits = index.search(std::vector<float>{1, 0, 0}, 130);
        REQUIRE(hits.size() == 130);
        for (std::size_t i = 0; i < 130; ++i)
            CHECK(hits[i] == (i < 125 ? DenseHit{4 * i + 3, 3.0f} : DenseHit{4 * (i - 125) + 2, 2.0f}));
        // All are equal: 0 and -0 too.
        const auto none = index.search(std::vector<float>{0, -1, 0}, 500);
        for (std::size_t i = 0; i < 500; ++i) CHECK(none[i] == DenseHit{i, 0.0f});
    }
}

TEST_CASE("dense: nothing to find is an empty answer") {
    const ExactIndex empty{VectorStore{4}};
    CHECK(empty.size() == 0);
    CHECK(empty.search(std::vector<float>(4), 3).empty());
    const ExactIndex one{stored(std::vector<float>{1, 2, 3, 4}, 4)};
    CHECK(one.search(std::vector<float>(4), 0).empty());
    CHECK(one.search_batch({}, 3).empty());
    CHECK(one.search(std::vector<float>{1, 0, 0, 0}, std::numeric_limits<std::size_t>::max()) ==
          std::vector{DenseHit{0, 1.0f}});
}

TEST_CASE("dense: an answer does not depend on the other queries of a batch, nor on threads, to the bit") {
    constexpr std::size_t dimension = 70;
    const auto vectors = random_vectors(1000, dimension, 1);
    const auto queries = random_vectors(67, dimension, 2);
    for (const DType element : every_element) {
        const auto store = stored(vectors, dimension, {.element = element});
        const ExactIndex serial{store};
        std::vector<std::vector<DenseHit>> expected;
        for (std::size_t q = 0; q < 67; ++q)
            expected.push_back(serial.search(std::span{queries}.subspan(q * dimension, dimension), 20));
        for (const std::size_t threads : {1u, 2u, 3u, 5u, 64u}) {
            ThreadPool pool{threads};
            const ExactIndex index{store, pool};
            for (const std::size_t batch : {1u, 2u, 3u, 31u, 32u, 33u, 67u}) {
                for (std::size_t q = 0; q + batch <= 67; q += batch) {
                    const auto found = index.search_batch(std::span{queries}.subspan(q * dimension, batch * dimension), 20);
                    REQUIRE(found.size() == batch);
                    bool same = true;
                    for (std::size_t i = 0; i < batch; ++i) same &= found[i] == expected[q + i];
                    CHECK(same);
                }
            }
        }
    }
}

TEST_CASE("dense: normalised vectors give cosines, and a query of zeros gives zeros") {
    const ExactIndex index{stored(std::vector<float>{10, 0, 0, 0.1f, 1, 1}, 2, {.normalise = true})};
    const auto hits = index.search(std::vector<float>{0, 50}, 3);
    CHECK(hits[0] == DenseHit{1, 1.0f});
    CHECK(hits[1].row == 2);
    CHECK(std::fabs(hits[1].score - static_cast<float>(std::sqrt(0.5))) < 1e-6f);
    CHECK(hits[2] == DenseHit{0, 0.0f});
    for (const DenseHit& hit : index.search(std::vector<float>{0, 0}, 3)) CHECK(hit.score == 0.0f);
}

TEST_CASE("dense: products that overflow are infinite, and those that are NaN by that are the worst") {
    const ExactIndex index{stored(std::vector<float>{1e30f, 0, -1e30f, 0, 1, 1}, 2)};
    const auto hits = index.search(std::vector<float>{1e30f, 0}, 3);
    CHECK(hits[0] == DenseHit{0, infinity});
    CHECK(hits[1] == DenseHit{2, 1e30f});
    CHECK(hits[2] == DenseHit{1, -infinity});
    std::vector<float> row(32);
    row[0] = 1e30f;
    row[1] = -1e30f;  // another partial sum: infinity - infinity
    const ExactIndex other{stored(row, 32)};
    CHECK(other.search(std::vector<float>(32, 1e30f), 1) == std::vector{DenseHit{0, -infinity}});
}

TEST_CASE("dense: queries that are none are refused in words") {
    const ExactIndex index{stored(std::vector<float>{1, 2, 3, 4}, 2)};
    check_error(ErrorCode::contract, "a query of 3 floats for vectors of dimension 2",
                [&] { index.search(std::vector<float>(3), 1); });
    check_error(ErrorCode::contract, "a query of 4 floats for vectors of dimension 2",
                [&] { index.search(std::vector<float>(4), 1); });
    check_error(ErrorCode::contract, "a query of 0 floats", [&] { index.search({}, 1); });
    check_error(ErrorCode::contract, "queries of dimension 2 cannot be 3 floats",
                [&] { index.search_batch(std::vector<float>(3), 1); });
    for (const float bad : {infinity, -infinity, std::numeric_limits<float>::quiet_NaN()}) {
        check_error(ErrorCode::contract, "element 1 of query 1 is not finite: found", [&] {
            index.search_batch(std::vector<float>{1, 2, 3, bad}, 1);
        });
    }
    check_error(ErrorCode::contract, "an index needs vectors, found none",
                [] { ExactIndex{std::shared_ptr<const VectorStore>{}}; });
}

TEST_CASE("dense: threads search one index at once") {
    constexpr std::size_t dimension = 24;
    const auto queries = random_vectors(40, dimension, 9);
    for (const DType element : every_element) {
        const ExactIndex index{stored(random_vectors(500, dimension, 8), dimension, {.element = element})};
        const auto expected = index.search_batch(queries, 7);
        check_searches_at_once(index, queries, dimension, expected);
    }
}

TEST_CASE("dense: what an executor throws comes out, and the index goes on") {
    Throws throws;
    const auto store = stored(random_vectors(200, 4, 1), 4);
    const ExactIndex index{store, throws};
    CHECK_THROWS_AS(index.search(std::vector<float>(4), 1), std::runtime_error);
    CHECK(ExactIndex{store}.search(std::vector<float>(4), 1).size() == 1);
}

}  // namespace test_dense_exact_index
