// The retriever over vectors: what it asks of the embedder, and what it gives the decoder.
#include "flashback/dense/dense_retriever.hpp"

#include "flashback/core/any_retriever.hpp"
#include "flashback/dense/exact_index.hpp"
#include "flashback/dense/vector_map.hpp"
#include "flashback/retrieval/passages.hpp"
#include "support/errors.hpp"

#include <array>
#include <cstddef>
#include <limits>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

namespace test_dense_retriever {

using namespace flashback;
using namespace flashback_test;

namespace {

/// A text becomes how often it has the letters a, b and c.
struct Letters {
    std::vector<std::size_t> calls = {};  // texts of each
    std::size_t letters = 0;
    bool fails = false;

    static std::size_t dimension() { return 3; }
    void embed(std::span<const std::string_view> texts, std::span<float> out) {
        if (fails) throw std::runtime_error{"no model today"};
        if (out.size() != 3 * texts.size()) throw std::logic_error{"out has another length"};
        calls.push_back(texts.size());
        for (std::size_t t = 0; t < texts.size(); ++t) {
            for (std::size_t i = 0; i < 3; ++i) out[3 * t + i] = 0;
            for (const char c : texts[t]) {
                if (c >= 'a' && c <= 'c') ++out[3 * t + static_cast<std::size_t>(c - 'a')];
                if (c == '!') out[3 * t] = std::numeric_limits<float>::quiet_NaN();
            }
            letters += texts[t].size();
        }
    }
    std::size_t work() const { return letters; }
};

/// The same, but a query is read backwards in its letters: c for a.
struct Backwards : Letters {
    void embed_queries(std::span<const std::string_view> texts, std::span<float> out) {
        embed(texts, out);
        for (std::size_t t = 0; t < texts.size(); ++t) std::swap(out[3 * t], out[3 * t + 2]);
    }
};

const std::vector<Passage> letters{
    {.id = "a", .text = "aaa"}, {.id = "b", .text = "bb"}, {.id = "c", .text = "c"}, {.id = "ab", .text = "ab"}};

std::vector<std::string_view> ids(const auto& found) {
    std::vector<std::string_view> all;
    for (const Passage& passage : found) all.push_back(passage.id);
    return all;
}
using Ids = std::vector<std::string_view>;

template <class E>
ExactIndex index_of(E& embedder) {
    return ExactIndex{embed_passages(embedder, letters)};
}

}  // namespace

TEST_CASE("dense: a retriever gives the passages whose vectors fit, with their scores") {
    Letters embedder;
    const ExactIndex index = index_of(embedder);
    DenseRetriever retriever{embedder, index, letters};
    static_assert(BatchRetriever<decltype(retriever)>);
    static_assert(checked_retriever<decltype(retriever)>());
    const auto found = retriever.retrieve({.text = "a a"}, 2);
    CHECK(ids(found) == Ids{"a", "ab"});
    CHECK(found[0].score == 6.0f);
    CHECK(found[0].text == "aaa");
    CHECK(found[1].score == 2.0f);
    CHECK(ids(retriever.retrieve({.text = "z"}, 9)) == Ids{"a", "b", "c", "ab"});  // all score 0
    CHECK(embedder.letters == 8 + 3 + 1);
    CHECK(retriever.work() == 12);
    // Also behind a type that is chosen at run time.
    AnyRetriever any{retriever};
    CHECK(ids(any.retrieve({.text = "b"}, 1)) == Ids{"b"});
    CHECK(any.work() == 13);
}

TEST_CASE("dense: a batch is embedded in one call, and an empty query finds nothing and costs nothing") {
    Letters embedder;
    const ExactIndex index = index_of(embedder);
    DenseRetriever retriever{embedder, index, letters};
    embedder.calls.clear();
    const std::array<Query, 4> queries{Query{.text = "a"}, Query{}, Query{.text = "c"}, Query{.text = "bb"}};
    const auto answers = retriever.retrieve_batch(queries, 1);
    REQUIRE(answers.size() == 4);
    CHECK(ids(answers[0]) == Ids{"a"});
    CHECK(answers[1].empty());
    CHECK(ids(answers[2]) == Ids{"c"});
    CHECK(ids(answers[3]) == Ids{"b"});
    CHECK(embedder.calls == std::vector<std::size_t>{3});
    embedder.calls.clear();
    CHECK(retriever.retrieve({}, 3).empty());
    CHECK(retriever.retrieve({.text = "a"}, 0).empty());
    CHECK(retriever.retrieve_batch({}, 3).empty());
    CHECK(embedder.calls.empty());
}

TEST_CASE("dense: passages are embedded some at a time, and a vector that is none is refused by its number") {
    Letters embedder;
    CHECK(embed_passages(embedder, letters, {}, 3).size() == 4);
    CHECK(embedder.calls == std::vector<std::size_t>{3, 1});
    CHECK(embed_passages(embedder, std::vector<Passage>{}).size() == 0);
    check_error(ErrorCode::contract, "expected at least 1",
                [&] { static_cast<void>(embed_passages(embedder, letters, {}, 0)); });
    const std::vector<Passage> bad{{.text = "a"}, {.text = "b!"}};
    check_error(ErrorCode::contract, "element 0 of vector 1 is not finite",
                [&] { static_cast<void>(embed_passages(embedder, bad)); });
    // Documents of a collection, too.
    const Passages passages{{{.id = "x", .title = "", .text = "abc"}, {.id = "y", .title = "", .text = "cc"}}};
    const ExactIndex index{embed_passages(embedder, passages)};
    DenseRetriever retriever{embedder, index, passages};
    CHECK(ids(retriever.retrieve({.text = "c"}, 1)) == Ids{"y"});
}

TEST_CASE("dense: tokens are decoded if there is no text, and refused if nobody can") {
    Letters embedder;
    const ExactIndex index = index_of(embedder);
    const std::vector<TokenId> tokens{1, 2};
    DenseRetriever plain{embedder, index, letters};
    check_error(ErrorCode::contract, "without a decode cannot read a query of tokens",
                [&] { plain.retrieve({.tokens = tokens}, 1); });
    DenseRetriever retriever{embedder, index, letters, [](TokenSpan some) { return std::string(some.size(), 'b'); }};
    CHECK(ids(retriever.retrieve({.tokens = tokens}, 1)) == Ids{"b"});
    CHECK(ids(retriever.retrieve({.tokens = tokens, .text = "c"}, 1)) == Ids{"c"});
    const std::array<Query, 2> queries{Query{.tokens = tokens}, Query{.tokens = tokens, .text = "aa"}};
    const auto answers = retriever.retrieve_batch(queries, 1);
    CHECK(ids(answers[0]) == Ids{"b"});
    CHECK(ids(answers[1]) == Ids{"a"});
}

TEST_CASE("dense: queries are embedded as queries, also through a map") {
    Backwards embedder;
    const ExactIndex index = index_of(embedder);
    DenseRetriever retriever{embedder, index, letters};
    CHECK(ids(retriever.retrieve({.text = "a"}, 1)) == Ids{"c"});
    // Only the first and the last letter, twice the last.
    MappedEmbedder mapped{embedder, VectorMap{{0, 0, 0}, {1, 0, 0, 0, 0, 2}}};
    static_assert(checked_embedder<decltype(mapped)>());
    CHECK(mapped.dimension() == 2);
    const ExactIndex other{embed_passages(mapped, letters)};
    DenseRetriever through{mapped, other, letters};
    const auto found = through.retrieve({.text = "a"}, 1);
    CHECK(ids(found) == Ids{"c"});
    CHECK(found[0].score == 4.0f);
    CHECK(through.work() == embedder.letters);
    check_error(ErrorCode::contract, "vectors of dimension 3, but they are mapped from 1", [&] {
        MappedEmbedder{embedder, VectorMap{{0}, {1}}};
    });
}

TEST_CASE("dense: what does not fit together is refused in words") {
    Letters embedder;
    const ExactIndex index = index_of(embedder);
    const std::vector<Passage> fewer(3);
    check_error(ErrorCode::contract, "an index of 4 vectors for 3 passages", [&] { DenseRetriever{embedder, index, fewer}; });
    const ExactIndex wide{VectorStore{4}};
    const std::vector<Passage> none;
    check_error(ErrorCode::contract, "of dimension 3, but those of the index have 4", [&] {
        DenseRetriever{embedder, wide, none};
    });
    const ExactIndex empty{VectorStore{3}};
    CHECK(DenseRetriever{embedder, empty, none}.retrieve({.text = "a"}, 3).empty());
    DenseRetriever retriever{embedder, index, letters};
    embedder.fails = true;
    CHECK_THROWS_AS(retriever.retrieve({.text = "a"}, 1), std::runtime_error);
    embedder.fails = false;
    CHECK(ids(retriever.retrieve({.text = "a"}, 1)) == Ids{"a"});
    check_error(ErrorCode::contract, "is not finite", [&] { retriever.retrieve({.text = "a!"}, 1); });
}

TEST_CASE("dense: an index that finds what it does not have is refused") {
    struct Wrong {
        static std::size_t size() { return 4; }
        static std::size_t dimension() { return 3; }
        static std::vector<DenseHit> search(std::span<const float> /*query*/, std::size_t /*k*/) { return {{4, 1.0f}}; }
        static std::vector<std::vector<DenseHit>> search_batch(std::span<const float> /*queries*/, std::size_t /*k*/) {
            return {{{4, 1.0f}}};
        }
    };
    Letters embedder;
    const Wrong index;
    DenseRetriever retriever{embedder, index, letters};
    check_error(ErrorCode::contract, "an index of 4 vectors found vector 4", [&] { retriever.retrieve({.text = "a"}, 1); });
}

}  // namespace test_dense_retriever
