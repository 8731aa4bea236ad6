// The optional member of an embedder, and who may do without it.
#include "flashback/core/embedder.hpp"

#include <array>
#include <cstddef>
#include <span>
#include <string_view>

#include <doctest/doctest.h>

namespace test_core_embedder {

using namespace flashback;

namespace {

struct Lengths {
    static std::size_t dimension() { return 1; }
    static void embed(std::span<const std::string_view> texts, std::span<float> out) {
        for (std::size_t i = 0; i < texts.size(); ++i) out[i] = static_cast<float>(texts[i].size());
    }
};

struct Asks : Lengths {
    static void embed_queries(std::span<const std::string_view> texts, std::span<float> out) {
        embed(texts, out);
        for (float& x : out) x = -x;
    }
};

struct CountsInInt {
    int dimension() const { return 3; }
    void embed(std::span<const std::string_view> texts, std::span<float> out);
};
struct NoDimension {
    void embed(std::span<const std::string_view> texts, std::span<float> out);
};
struct NotConst {
    std::size_t dimension();
    void embed(std::span<const std::string_view> texts, std::span<float> out);
};
struct Doubles {
    std::size_t dimension() const;
    void embed(std::span<const std::string_view> texts, std::span<double> out);
};
struct OneByOne : Lengths {
    static void embed_queries(std::string_view text, std::span<float> out);
};

static_assert(Embedder<Lengths> && !QueryEmbedder<Lengths> && Embedder<Asks> && QueryEmbedder<Asks> && Embedder<CountsInInt>);
static_assert(!Embedder<NoDimension> && !Embedder<NotConst> && !Embedder<Doubles> && !Embedder<int>);
static_assert(checked_embedder<Lengths>() && checked_embedder<Asks>() && checked_embedder<CountsInInt>());
static_assert(Embedder<OneByOne> && !QueryEmbedder<OneByOne> && members::NamesEmbedQueries<OneByOne>);  // and so it is refused

}  // namespace

TEST_CASE("queries are embedded in their own way if there is one") {
    constexpr std::array<std::string_view, 2> texts{"abc", ""};
    std::array<float, 2> out{9, 9};
    Lengths lengths;
    embed_queries(lengths, texts, out);
    CHECK(out == std::array<float, 2>{3, 0});
    Asks asks;
    embed_queries(asks, texts, out);
    CHECK(out == std::array<float, 2>{-3, 0});
    asks.embed(texts, out);
    CHECK(out == std::array<float, 2>{3, 0});
}

}  // namespace test_core_embedder
