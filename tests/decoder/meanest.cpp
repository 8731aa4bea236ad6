// The meanest model of each concept: no copies, no moves, nothing but what the concept asks for, and results that are merely
// convertible to what it names, if it takes those. All of them together are a decoder that works.
#include "flashback/decoder/decoder.hpp"
#include "flashback/policy/any_policy.hpp"

#include "decoder/helpers.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

using namespace flashback;
using flashback_test::Tokens;

namespace {

/// Converts to T, and is nothing else.
template <class T>
struct Just {
    T value;
    operator T() const { return value; }
    Just(T v) : value(v) {}
    Just(const Just&) = delete;
    Just& operator=(const Just&) = delete;
};

struct Pinned {
    Pinned() = default;
    Pinned(const Pinned&) = delete;
    Pinned& operator=(const Pinned&) = delete;
};

struct MeanModel : Pinned {
    std::vector<float> logits = std::vector<float>(8);
    std::size_t held = 0;

    std::vector<float>& evaluate(Just<TokenSpan> tokens) {
        held += tokens.value.size();
        logits.assign(8, 0);
        logits[static_cast<std::size_t>(tokens.value.back() + 1) % 8] = 1;
        return logits;
    }
    int truncate(Just<std::size_t> length) {
        held = length;
        return 0;
    }
    Just<std::size_t> size() const { return {held}; }
    Just<std::size_t> vocab_size() const { return {8}; }
};

/// With every optional member, as mean.
struct MeanFullModel : MeanModel {
    std::vector<TokenId> list{};
    std::array<TokenId, 1> bos{0};

    std::vector<float>& evaluate(Just<TokenSpan> tokens) {
        append(list, tokens);
        return MeanModel::evaluate(tokens.value);
    }
    int truncate(Just<std::size_t> length) {
        list.resize(length);
        return MeanModel::truncate(length.value);
    }
    Just<std::size_t> window() const { return {12}; }
    const std::array<TokenId, 1>& head() const { return bos; }
    bool is_end(const long token) const { return token == 7; }
    const std::vector<TokenId>& tokens() const { return list; }
};

struct MeanRetriever : Pinned {
    std::array<TokenId, 2> tokens{4, 5};
    std::array<Passage, 1> retrieve(const Query&, Just<std::size_t> k) {
        CHECK(k.value == 1);
        return {Passage{.id = "", .title = "", .text = "", .tokens = tokens}};
    }
};

struct MeanSchedule {
    std::unique_ptr<int> asked = std::make_unique<int>(0);
    const Decision& operator()(const StepView&) & { return said = ++*asked % 3 == 1; }
    int reset() & { return *asked = 0; }
    Decision said = false;
};

struct MeanQuery {
    Just<TokenSpan> operator()(StepView step) { return {step.kept()}; }
};
struct MeanWrapper {
    std::vector<TokenId> both{6, 7};
    int operator()(TokenSpan passage, std::vector<TokenId>& out) const {
        out.push_back(both[0]);
        append(out, passage);
        out.push_back(both[1]);
        return 0;
    }
    const std::vector<TokenId>& markers() const { return both; }
};
struct MeanLayout {
    int operator()(LayoutParts parts, std::vector<TokenId>& out) const {
        AppendPassages{}(parts, out);
        return 0;
    }
};
struct MeanReuse {
    std::size_t nothing = 0;
    const std::size_t& operator()(TokenSpan, TokenSpan) const { return nothing; }
};
struct ShortReuse {
    std::uint16_t operator()(TokenSpan, TokenSpan) const { return 0; }
};
struct MeanSampler {
    std::unique_ptr<int> moves_only{};
    TokenId taken = 0;
    TokenId& operator()(std::span<const float> logits) { return taken = Greedy{}(logits); }
};
struct MeanOverflow {
    std::unique_ptr<std::size_t> drop = std::make_unique<std::size_t>(0);
    const std::size_t& operator()(FullWindow full) const { return *drop = full.wanted - full.window; }
};
struct ShortOverflow {
    std::uint16_t operator()(FullWindow full) const { return static_cast<std::uint16_t>(full.wanted - full.window); }
};
struct MeanStopping {
    bool operator()(StepView step) { return step.generated() == 40; }
    int reset() & { return 0; }
};

static_assert(LanguageModel<MeanModel> && !RemembersTokens<MeanModel> && !std::is_move_constructible_v<MeanModel>);
static_assert(LanguageModel<MeanFullModel> && RemembersTokens<MeanFullModel>);
static_assert(Retriever<MeanRetriever> && RetrievalSchedule<MeanSchedule> && !std::is_copy_constructible_v<MeanSchedule>);
static_assert(!RetrievalSchedule<const MeanSchedule>);
static_assert(QueryBuilder<MeanQuery> && MarkerWrapper<MeanWrapper> && ContextLayout<MeanLayout>);
static_assert(KVReuse<MeanReuse> && KVReuse<ShortReuse> && Overflow<MeanOverflow> && Overflow<ShortOverflow>);
static_assert(Sampler<MeanSampler> && StoppingCriterion<MeanStopping>);

using MeanPolicies =
    Policies<MeanSchedule, MeanQuery, MeanWrapper, MeanLayout, MeanReuse, MeanSampler, MeanOverflow, MeanStopping>;

}  // namespace

TEST_CASE("The meanest models of all concepts together are a decoder that works") {
    MeanRetriever retriever;
    const auto run = [&](auto& model) {
        Decoder<std::remove_reference_t<decltype(model)>, MeanRetriever, MeanPolicies> decoder{model, retriever};
        Tokens seen;
        const Generation generation = decoder.generate(Tokens{1, 2}, {.max_tokens = 20}, [&](const long token) -> Just<bool> {
            seen.push_back(static_cast<TokenId>(token));
            return {true};
        });
        CHECK(seen == generation.tokens);
        return generation;
    };
    MeanModel model;
    const Generation generation = run(model);
    CHECK(generation.tokens.size() == 20);
    CHECK(generation.retrievals.size() == 7);
    CHECK(generation.stats.counts.reused == 0);
    for (const TokenId token : generation.tokens) CHECK(token < 6);

    MeanFullModel full;
    const Generation dropped = run(full);
    CHECK(dropped.tokens.size() == 20);
    CHECK(dropped.stats.dropped > 0);
    CHECK(full.held <= 12);
}

TEST_CASE("Policies that give other unsigned numbers than the concepts name are taken without a warning") {
    MeanFullModel model;
    MeanRetriever retriever;
    Decoder decoder{model, retriever,
                    Policies{}.reuse(ShortReuse{}).overflow(ShortOverflow{}).stopping([](const StepView& step) {
                        return step.generated() == 15;
                    })};
    const Generation generation = decoder.generate(Tokens{1, 2}, {.max_tokens = 30, .ignore_eos = true});
    CHECK(generation.tokens.size() == 15);
    CHECK(generation.stats.dropped > 0);
    AnyPolicies any{AnySchedule{},          AnyQuery{MeanQuery{}}, AnyWrapper{MeanWrapper{}},    AnyLayout{MeanLayout{}},
                    AnyReuse{ShortReuse{}}, AnySampler{},          AnyOverflow{ShortOverflow{}}, AnyStopping{MeanStopping{}}};
    Decoder erased{model, retriever, any};
    CHECK(erased.generate(Tokens{1, 2}, {.max_tokens = 15, .ignore_eos = true}).tokens.size() == 15);
}

TEST_CASE("A policy that can only be moved goes into its slot, set last or before others") {
    MeanModel model;
    NoPassages nothing;
    Decoder decoder{model, nothing, Policies{}.stopping(MeanStopping{}).schedule(MeanSchedule{})};
    CHECK(decoder.generate(Tokens{1}, {.max_tokens = 9}).retrievals.size() == 3);
    MeanModel second;
    Decoder other{second, nothing, Policies{}.schedule(MeanSchedule{}).stopping(MeanStopping{})};
    CHECK(other.generate(Tokens{1}, {.max_tokens = 9}).retrievals.size() == 3);
    Decoder sampling{model, nothing, Policies{}.sampler(MeanSampler{})};
    sampling.policies().sampler() = MeanSampler{};
}

TEST_CASE("A callback may be used once, may not be copied, and may be told of rewinds without a call of its own") {
    MeanModel model;
    NoPassages nothing;
    struct Callback : Pinned {
        std::size_t tokens = 0;
        std::size_t rewound = 0;
        void operator()(TokenId) & { ++tokens; }
        int rewind(std::size_t n) {
            rewound += n;
            return 0;
        }
    } callback;
    const auto schedule = [](const StepView& step) {
        return step.generated() == 5 && step.retrievals == 0 ? Decision::retrieve(2) : Decision::go_on();
    };
    Decoder decoder{model, nothing, Policies{}.schedule(schedule)};
    decoder.generate(Tokens{1}, {.max_tokens = 9}, callback);
    CHECK(callback.tokens == 11);
    CHECK(callback.rewound == 2);
}
