/// \file The decoder again, in the words of the documentation and over plain lists: what it should generate and count.
#pragma once

#include "flashback/decoder/decoder.hpp"
#include "flashback/policy/any_policy.hpp"
#include "support/null_model.hpp"
#include "support/random_retriever.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include <doctest/doctest.h>

namespace flashback_test {

using Tokens = std::vector<flashback::TokenId>;
inline constexpr std::size_t vocab = 20;
inline constexpr std::size_t never = std::numeric_limits<std::size_t>::max();

struct Setting {
    std::size_t stride = 16;
    std::size_t passages = 1;
    std::size_t max_tokens = 40;
    bool prepend = false;
    bool reuse = true;
    Tokens head{};
    Tokens markers{};
    Tokens held{};                    ///< before the generation
    std::size_t rewind = 0;           ///< taken back at each retrieval but the first, or all that there is
    std::size_t stop_at = never;      ///< the schedule stops when so many tokens are there
    std::size_t max_rewinds = 1000;   ///< as in GenerateOptions
    std::size_t window = 100000;      ///< of the model
    std::optional<double> keep = {};  ///< of DropOldest; without it StopWhenFull
};

/// What the schedule of a setting says; both sides ask it.
struct Script {
    std::size_t stride;
    std::size_t back;  // how many tokens are taken back at each retrieval but the first
    std::size_t stop_at;

    flashback::Decision operator()(const flashback::StepView& step) const {
        if (step.generated() >= stop_at) return flashback::Decision::stop();
        if (step.retrievals == 0) return true;
        if (step.since_retrieval < stride) return false;
        return flashback::Decision::retrieve(std::min(back, step.generated()));
    }
};

struct Expected {
    Tokens tokens;
    Tokens held;
    flashback::StopReason stop = flashback::StopReason::max_tokens;
    bool refused = false;  ///< an error: the first context does not fit
    flashback::TokenCounts counts;
    std::vector<flashback::TokenCounts> plans;  ///< of the retrievals
    std::vector<std::size_t> at;
    std::vector<std::size_t> rewound;
    std::vector<std::vector<std::size_t>> passage_lengths;
    std::vector<Tokens> queries;
    std::size_t rewinds = 0;
    std::size_t dropped = 0;
    std::size_t restored = 0;  ///< how often a rewind went back behind what was dropped
};

inline void add(Tokens& out, const Tokens& tokens) { out.insert(out.end(), tokens.begin(), tokens.end()); }

/// What the model should hold, or nothing if that is more than the window and nothing can be dropped. Drops.
inline std::optional<Tokens> wanted_context(const Setting& s, const Tokens& passages, const Tokens& context,
                                            std::size_t& dropped) {
    const std::size_t fixed = s.head.size() + passages.size();
    if (fixed + context.size() - dropped > s.window) {
        if (!s.keep || fixed >= s.window) return std::nullopt;
        const auto part = static_cast<std::size_t>(*s.keep * static_cast<double>(s.window - fixed));
        dropped = context.size() - std::max<std::size_t>(part, 1);
    }
    const Tokens text(context.begin() + static_cast<std::ptrdiff_t>(dropped), context.end());
    Tokens wanted = s.head;
    add(wanted, s.prepend ? passages : text);
    add(wanted, s.prepend ? text : passages);
    return wanted;
}

inline Expected expected_generation(RandomRetriever& retriever, const Tokens& prompt, const Setting& s) {
    using namespace flashback;
    Expected e;
    e.held = s.held;
    Tokens context = prompt;
    Tokens passages;
    std::size_t retrieved_at = 0;
    std::size_t unread = 0;  // of the oldest text
    const Script script{s.stride, s.rewind, s.stop_at};
    const auto plan = [&]() -> std::optional<TokenCounts> {
        if (unread > 0 && unread >= context.size()) {
            unread = 0;
            ++e.restored;
        }
        const std::size_t unread_before = unread;
        const std::optional<Tokens> wanted = wanted_context(s, passages, context, unread);
        e.dropped += unread - unread_before;
        if (!wanted) {
            e.refused = e.counts.requested == 0;
            e.stop = StopReason::window_full;
            return std::nullopt;
        }
        std::size_t common = 0;
        while (common < e.held.size() && common < wanted->size() && e.held[common] == (*wanted)[common]) ++common;
        const std::size_t keep = s.reuse ? std::min(common, wanted->size() - 1) : 0;
        const TokenCounts counts{wanted->size(), wanted->size() - keep, keep, e.held.size() - keep};
        e.counts += counts;
        e.held = *wanted;
        return counts;
    };
    while (e.tokens.size() < s.max_tokens) {
        const Decision decision =
            script(StepView{context, prompt.size(), e.plans.size(), e.tokens.size() - std::min(retrieved_at, e.tokens.size())});
        if (decision.stops()) {
            e.stop = StopReason::schedule;
            return e;
        }
        if (decision.retrieves()) {
            const std::size_t rewind = decision.rewind();
            if (rewind > 0 && e.rewinds == s.max_rewinds) {
                e.stop = StopReason::max_rewinds;
                return e;
            }
            context.resize(context.size() - rewind);
            e.tokens.resize(e.tokens.size() - rewind);
            e.rewinds += rewind > 0 ? 1 : 0;
            const Tokens query(context.end() - std::min<std::ptrdiff_t>(32, std::ssize(context)), context.end());
            passages.clear();
            std::vector<std::size_t> lengths;
            for (const Passage& passage : retriever.retrieve({query}, s.passages)) {
                if (!s.markers.empty()) passages.push_back(s.markers[0]);
                passages.insert(passages.end(), passage.tokens.begin(), passage.tokens.end());
                if (!s.markers.empty()) passages.push_back(s.markers[1]);
                lengths.push_back(passage.tokens.size());
            }
            const std::optional<TokenCounts> counts = plan();
            if (!counts) return e;
            e.plans.push_back(*counts);
            e.at.push_back(e.tokens.size());
            e.rewound.push_back(rewind);
            e.passage_lengths.push_back(lengths);
            e.queries.push_back(query);
            retrieved_at = e.tokens.size();
        } else if (e.held.size() == s.window) {
            if (!plan()) return e;
        } else {
            e.held.push_back(context.back());
            e.counts += {1, 1, 0, 0};
        }
        std::vector<float> logits(vocab);
        null_logits(e.held, logits);
        for (const TokenId marker : s.markers) logits[static_cast<std::size_t>(marker)] = -1;
        const auto token = static_cast<TokenId>(std::max_element(logits.begin(), logits.end()) - logits.begin());
        e.tokens.push_back(token);
        context.push_back(token);
    }
    return e;
}

/// Calls `run` with the policies of a setting, each of its own type, but for what is dropped.
template <class Schedule, class Run>
auto with_typed_policies(const Setting& s, const Schedule& schedule, const Run& run) {
    using namespace flashback;
    const auto wrapped = [&](auto some) {
        return s.markers.empty() ? run(some) : run(some.wrapper(MarkerTokens{s.markers[0], s.markers[1]}));
    };
    const auto reusing = [&](auto some) { return s.reuse ? wrapped(some) : wrapped(some.reuse(RecomputeAll{})); };
    const auto policies = Policies{}.schedule(schedule);
    return s.prepend ? reusing(policies.layout(PrependPassages{})) : reusing(policies);
}

/// The policies of a setting, chosen at run time.
inline flashback::AnyPolicies any_policies(const Setting& s) {
    using namespace flashback;
    return {AnySchedule{Script{s.stride, s.rewind, s.stop_at}},
            AnyQuery{LastNTokens{}},
            s.markers.empty() ? AnyWrapper{} : AnyWrapper{MarkerTokens{s.markers[0], s.markers[1]}},
            s.prepend ? AnyLayout{PrependPassages{}} : AnyLayout{AppendPassages{}},
            s.reuse ? AnyReuse{} : AnyReuse{RecomputeAll{}},
            AnySampler{},
            s.keep ? AnyOverflow{DropOldest{*s.keep}} : AnyOverflow{},
            AnyStopping{}};
}

inline flashback::GenerateOptions options_of(const Setting& s) {
    return {.max_tokens = s.max_tokens, .passages = s.passages, .ignore_eos = true, .max_rewinds = s.max_rewinds};
}

/// A generation with typed policies and EveryNTokens; neither rewinds nor drops.
template <class Model>
flashback::Generation generate(Model& model, RandomRetriever& retriever, const Tokens& prompt, const Setting& s) {
    REQUIRE((s.rewind == 0 && s.stop_at == never && !s.keep));
    return with_typed_policies(s, flashback::EveryNTokens{s.stride}, [&](auto policies) {
        return flashback::Decoder{model, retriever, policies}.generate(prompt, options_of(s));
    });
}

/// Follows what a callback is told: the tokens that stand, and everything that it saw.
struct Listener {
    Tokens tokens{};
    std::size_t seen = 0;
    std::vector<std::size_t> rewinds{};

    void operator()(flashback::TokenId token) {
        tokens.push_back(token);
        ++seen;
    }
    void rewind(std::size_t n) {
        REQUIRE(n <= tokens.size());
        tokens.resize(tokens.size() - n);
        rewinds.push_back(n);
    }
};

inline void check_counts(const flashback::Generation& found, const Expected& expected) {
    CHECK(found.tokens == expected.tokens);
    CHECK(to_string(found.stop) == to_string(expected.stop));
    CHECK(found.stats.counts == expected.counts);
    CHECK(found.stats.counts.evaluated + found.stats.counts.reused == found.stats.counts.requested);
    CHECK(found.stats.retrievals == expected.plans.size());
    CHECK(found.stats.rewinds == expected.rewinds);
    CHECK(found.stats.dropped == expected.dropped);
    REQUIRE(found.retrievals.size() == expected.plans.size());
    for (std::size_t i = 0; i < expected.plans.size(); ++i) {
        const flashback::Retrieval& retrieval = found.retrievals[i];
        CHECK(retrieval.counts == expected.plans[i]);
        CHECK(retrieval.at == expected.at[i]);
        CHECK(retrieval.rewound == expected.rewound[i]);
        CHECK(retrieval.query_tokens == expected.queries[i]);
        CHECK(retrieval.query_text.empty());
        std::vector<std::size_t> lengths;
        for (const flashback::RetrievedPassage& passage : retrieval.passages) lengths.push_back(passage.tokens);
        CHECK(lengths == expected.passage_lengths[i]);
    }
}

/// Generates with the policies of a setting, chosen at run time, and a model with a window; checks everything against what is
/// expected, which it gives.
inline Expected check_generation(RandomRetriever& retriever, const Tokens& prompt, const Setting& s) {
    using namespace flashback;
    const Expected expected = expected_generation(retriever, prompt, s);
    FullNullModel model{vocab, s.window};
    Decoder decoder{model, retriever, any_policies(s)};
    Listener listener;
    GenerateOptions options = options_of(s);
    options.head = TokenSpan{s.head};
    if (expected.refused) {
        CHECK_THROWS_AS(decoder.generate(prompt, options, listener), Error);
        CHECK(model.evaluated == 0);
        CHECK(model.size() == 0);
        return expected;
    }
    const Generation found = decoder.generate(prompt, options, listener);
    check_counts(found, expected);
    CHECK(std::ranges::equal(model.tokens(), expected.held));
    CHECK(found.stats.counts.evaluated == model.evaluated);
    CHECK(listener.tokens == found.tokens);
    CHECK(listener.rewinds.size() == found.stats.rewinds);
    CHECK(listener.seen == found.tokens.size() + found.stats.rewound);
    return expected;
}

}  // namespace flashback_test
