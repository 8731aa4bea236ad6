// Graphs of hnswlib: what they find, their files, and damaged ones.
#include "flashback/dense/hnsw.hpp"

#include "flashback/core/thread_pool.hpp"
#include "flashback/dense/exact_index.hpp"
#include "support/errors.hpp"
#include "support/random_vectors.hpp"
#include "support/searches_at_once.hpp"
#include "support/temporary_folder.hpp"
#include "support/vector_file_bytes.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <doctest/doctest.h>

namespace test_dense_hnsw {

/// In hnsw_again.cpp.
std::size_t found_elsewhere(const flashback::HnswIndex& index, const std::vector<float>& query);

using namespace flashback;
using namespace flashback_test;

namespace {

constexpr std::array every_element{DType::f32, DType::f16, DType::i8};

std::shared_ptr<const VectorStore> stored(std::span<const float> vectors, std::size_t dimension,
                                          const VectorOptions& options = {}) {
    VectorStore store{dimension, options};
    store.add(vectors);
    return std::make_shared<const VectorStore>(std::move(store));
}

std::string bytes_in(const std::filesystem::path& path) {
    std::ifstream file{path, std::ios::binary};
    return {std::istreambuf_iterator<char>{file}, {}};
}

/// The share of the best k that a graph finds.
double recall(const HnswIndex& index, const ExactIndex& exact, std::span<const float> queries, std::size_t k) {
    std::size_t found = 0, all = 0;
    const auto theirs = index.search_batch(queries, k);
    const auto ours = exact.search_batch(queries, k);
    for (std::size_t q = 0; q < ours.size(); ++q) {
        for (const DenseHit& hit : ours[q]) found += static_cast<std::size_t>(std::ranges::count(theirs[q], hit));
        all += ours[q].size();
    }
    return static_cast<double>(found) / static_cast<double>(all);
}

const std::vector<float> three{1, 0, 0, 1, -1, -1};

}  // namespace

TEST_CASE("dense: a graph finds nearly all that an exact search finds, with its scores to the bit") {
    constexpr std::size_t dimension = 32, count = 1500, k = 10;
    const auto vectors = random_vectors(count, dimension, 1, 25);
    const auto queries = random_vectors(100, dimension, 2, 25);
    for (const DType element : every_element) {
        const auto store = stored(vectors, dimension, {.element = element, .normalise = true});
        const ExactIndex exact{store};
        const HnswIndex index{store};
        CHECK(index.size() == count);
        const double found = recall(index, exact, queries, k);
        MESSAGE(layout_of(element).name, ": recall of 10 at ef 64: ", found);
        CHECK(found >= 0.95);
        CHECK(recall(index.with_ef(1), exact, queries, k) < found);  // there ef is 10
        CHECK(recall(index.with_ef(count), exact, queries, k) >= 0.99);
    }
    // Vectors of other lengths: dot products instead of cosines.
    const auto plain = stored(vectors, dimension);
    CHECK(recall(HnswIndex{plain}.with_ef(400), ExactIndex{plain}, queries, k) >= 0.9);
}

TEST_CASE("dense: edges: no vector, one, all equal, k beyond all, and odd dimensions") {
    for (const DType element : every_element) {
        const HnswIndex none{stored({}, 3, {.element = element})};
        CHECK(none.search(std::vector<float>(3), 5).empty());
        const HnswIndex one{stored(std::vector<float>{1, 2, 4}, 3, {.element = element})};
        REQUIRE(one.search(std::vector<float>{1, 0, 0}, 5).size() == 1);
        CHECK(one.search(std::vector<float>{1, 0, 0}, 5)[0].row == 0);
        CHECK(one.search(std::vector<float>{1, 0, 0}, 0).empty());
        CHECK(one.search_batch({}, 4).empty());
        for (const std::size_t dimension : {1u, 5u, 17u, 33u}) {
            const auto store = stored(random_vectors(30, dimension, dimension), dimension, {.element = element});
            const auto query = random_vectors(1, dimension, 99);
            // With so few vectors the graph is whole.
            CHECK(HnswIndex{store}.search(query, std::numeric_limits<std::size_t>::max()) ==
                  ExactIndex{store}.search(query, 30));
        }
    }
    // Equal scores come in the order of the vectors.
    std::vector<float> equal(20 * 2, 1.0f);
    const auto hits = HnswIndex{stored(equal, 2)}.search(std::vector<float>{1, 1}, 20);
    for (std::size_t i = 0; i < hits.size(); ++i) CHECK(hits[i] == DenseHit{i, 2.0f});
}

TEST_CASE("dense: a graph depends on vectors, options and seed alone, and a saved one answers as it did") {
    const TemporaryFolder folder;
    const auto path = folder.path() / "some.graph";
    const auto again = folder.path() / "again.graph";
    const auto queries = random_vectors(20, 12, 6);
    for (const DType element : every_element) {
        const auto store = stored(random_vectors(700, 12, 5, 9), 12, {.element = element});
        const HnswOptions options{.links = 5, .ef_construction = 40, .ef = 20, .seed = 11};
        const HnswIndex index{store, options};
        index.save(path);
        HnswIndex{store, options}.save(again);
        CHECK(bytes_in(path) == bytes_in(again));
        HnswIndex{store, {.links = 5, .ef_construction = 40, .ef = 20, .seed = 12}}.save(again);
        CHECK(bytes_in(path) != bytes_in(again));

        const HnswIndex loaded = HnswIndex::load(path, store, 20);
        CHECK(loaded.options().links == 5);
        CHECK(loaded.options().ef_construction == 40);
        CHECK(loaded.options().seed == 11);
        CHECK(loaded.search_batch(queries, 7) == index.search_batch(queries, 7));
        loaded.save(again);
        CHECK(bytes_in(path) == bytes_in(again));
        // Over a file of the vectors, too; and the graph lives as long as a copy does.
        const auto vectors_path = folder.path() / "some.vec";
        store->save(vectors_path);
        auto copy = std::make_unique<HnswIndex>(
            HnswIndex::load(path, std::make_shared<const VectorStore>(VectorStore::open(vectors_path)), 3));
        const HnswIndex other = copy->with_ef(20);
        copy.reset();
        CHECK(other.search_batch(queries, 7) == index.search_batch(queries, 7));
        // Of no vectors.
        const auto none = stored({}, 12, {.element = element});
        HnswIndex{none, options}.save(again);
        CHECK(HnswIndex::load(again, none).search_batch(queries, 7) == std::vector<std::vector<DenseHit>>(20));
    }
}

TEST_CASE("dense: hostile: every byte of a graph that changes is refused, and every cut") {
    const TemporaryFolder folder;
    const auto path = folder.path() / "some.graph";
    const auto store = stored(random_vectors(40, 3, 1), 3);
    HnswIndex{store, {.links = 2, .ef_construction = 10}}.save(path);
    const std::string bytes = bytes_in(path);
    const auto parsed = [&](const std::string& some) {
        static_cast<void>(HnswIndex::parse(std::as_bytes(std::span{some}), "some.graph", store));
    };
    REQUIRE_NOTHROW(parsed(bytes));
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        CAPTURE(i);
        for (const int change : {1, 128}) {
            std::string broken = bytes;
            broken[i] = static_cast<char>(broken[i] ^ change);
            CHECK_THROWS_AS(parsed(broken), Error);
        }
        CHECK_THROWS_AS(parsed(bytes.substr(0, i)), Error);
    }
    CHECK_THROWS_AS(parsed(bytes + '\0'), Error);
}

TEST_CASE("dense: hostile 48: no link of a graph is believed, even if the checksum is right") {
    constexpr std::uint64_t most = std::numeric_limits<std::uint64_t>::max();
    const auto store = stored(three, 2);
    const auto refused = [&](ErrorCode code, std::string_view part, const auto& change) {
        GraphBytes file{.vectors_checksum = store->checksum()};
        change(file);
        const std::string bytes = file.bytes();
        check_error(code, part,
                    [&] { static_cast<void>(HnswIndex::parse(std::as_bytes(std::span{bytes}), "some.graph", store)); });
    };
    {
        const std::string bytes = GraphBytes{.vectors_checksum = store->checksum()}.bytes();
        // At an odd address as well.
        const std::string shifted = 'x' + bytes;
        const auto index = HnswIndex::parse(std::as_bytes(std::span{shifted}).subspan(1), "some.graph", store);
        CHECK(index.search(std::vector<float>{1, 0.5f}, 3) == ExactIndex{store}.search(std::vector<float>{1, 0.5f}, 3));
    }
    const auto damaged = [&](std::string_view part, const auto& change) { refused(ErrorCode::format, part, change); };
    damaged("'some.graph' is no graph of hnswlib", [](auto& f) { f.magic = "FBHNSWGS"; });
    refused(ErrorCode::unsupported, "has version 2, expected 1", [](auto& f) { f.version = 2; });
    for (const std::uint64_t links : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{257}, most})
        damaged("impossible number of links", [&](auto& f) { f.links = links; });
    damaged("bytes are no such graph", [](auto& f) { f.links = 3; });
    damaged("an ef_construction of 0", [](auto& f) { f.ef_construction = 0; });
    for (const std::uint64_t vectors : {std::uint64_t{0}, std::uint64_t{2}, std::uint64_t{1} << 40, most})
        refused(ErrorCode::contract, "belongs to other vectors", [&](auto& f) { f.vectors = vectors; });
    refused(ErrorCode::contract, "belongs to other vectors", [](auto& f) { ++f.vectors_checksum; });
    for (const std::uint64_t upper : {std::uint64_t{0}, std::uint64_t{2}, std::uint64_t{1} << 62, most})
        damaged("bytes are no such graph", [&](auto& f) { f.upper = upper; });
    for (const std::uint64_t entry : {std::uint64_t{3}, std::uint64_t{1} << 32, most})
        damaged("begins at a vector that is not there", [&](auto& f) { f.entry = entry; });
    damaged("does not begin in its highest layer", [](auto& f) { f.entry = 1; });
    damaged("vector 1 has 5 links in room for 4", [](auto& f) { f.lowest[5] = 5; });
    damaged("vector 1 has 4294967295 links", [](auto& f) { f.lowest[5] = 0xffffffff; });
    damaged("vector 0 has a link to 3, which is not there", [](auto& f) { f.lowest[1] = 3; });
    damaged("vector 0 has a link to 4294967295", [](auto& f) { f.lowest[2] = 0xffffffff; });
    damaged("vector 2 has a link to 2", [](auto& f) { f.lowest[11] = 2; });
    damaged("vector 0 has 3 links in room for 2", [](auto& f) { f.above[0] = 3; });
    damaged("vector 0 has a link to 1, which is not there", [](auto& f) {  // not in that layer
        f.above[0] = 1;
        f.above[1] = 1;
    });
    damaged("ends too early", [](auto& f) { f.layers = {2, 0, 0}; });
    damaged("ends too early", [](auto& f) { f.layers = {0xffffffff, 0, 0}; });
    damaged("in fewer layers than it says", [](auto& f) { f.layers = {0, 0, 0}; });
    damaged("does not begin in its highest layer", [](auto& f) { f.layers = {0, 1, 0}; });
}

TEST_CASE("dense: options and queries that are none are refused in words") {
    const auto store = stored(three, 2);
    for (const std::size_t links : {0u, 1u, 257u})
        check_error(ErrorCode::contract, "links, expected 2 to 256", [&] { HnswIndex{store, {.links = links}}; });
    check_error(ErrorCode::contract, "ef_construction of 0", [&] { HnswIndex{store, {.ef_construction = 0}}; });
    check_error(ErrorCode::contract, "an ef of 0", [&] { HnswIndex{store, {.ef = 0}}; });
    check_error(ErrorCode::contract, "an ef of 0", [&] { static_cast<void>(HnswIndex{store}.with_ef(0)); });
    check_error(ErrorCode::contract, "needs vectors, found none", [] { HnswIndex{nullptr}; });
    const HnswIndex index{store};
    CHECK(found_elsewhere(index, {0, 1}) == 1);
    check_error(ErrorCode::contract, "a query of 3 floats for vectors of dimension 2",
                [&] { index.search(std::vector<float>(3), 1); });
    check_error(ErrorCode::contract, "is not finite", [&] {
        index.search(std::vector<float>{1, std::numeric_limits<float>::quiet_NaN()}, 1);
    });
    check_error(ErrorCode::io, "cannot open", [&] { static_cast<void>(HnswIndex::load("/nowhere", store)); });
    check_error(ErrorCode::io, "cannot write", [&] { index.save("/nowhere/some.graph"); });
}

TEST_CASE("dense: products that overflow or are NaN do a graph no harm") {
    auto vectors = random_vectors(200, 20, 3);
    for (std::size_t i = 0; i < vectors.size(); i += 3) vectors[i] *= 1e38f;
    const HnswIndex index{stored(vectors, 20), {.links = 4, .ef_construction = 20}};
    for (const float scale : {1.0f, 1e38f}) {
        const auto hits = index.search(std::vector<float>(20, scale), 200);
        CHECK(hits.size() > 0);
        for (std::size_t i = 1; i < hits.size(); ++i) CHECK(better(hits[i - 1], hits[i]));
    }
}

TEST_CASE("dense: threads search one graph at once, and a batch runs on an executor") {
    constexpr std::size_t dimension = 16;
    const auto queries = random_vectors(40, dimension, 9, 5);
    ThreadPool pool{3};
    for (const DType element : every_element) {
        const auto store = stored(random_vectors(800, dimension, 8, 5), dimension, {.element = element});
        const HnswIndex index{store};
        const auto expected = index.search_batch(queries, 7);
        CHECK(HnswIndex{store, {}, pool}.search_batch(queries, 7) == expected);
        check_searches_at_once(index, queries, dimension, expected);
    }
}

}  // namespace test_dense_hnsw
