// The methods of papers under a decoder: they write what a plain loop over the model writes, end, and leave nothing behind.
#include "decoder/helpers.hpp"
#include "flashback/decoder/decoder.hpp"
#include "flashback/policy/adaptive.hpp"
#include "flashback/policy/any_policy.hpp"
#include "flashback/policy/presets.hpp"
#include "support/attentive_model.hpp"
#include "support/null_model.hpp"
#include "support/random_retriever.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <functional>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <doctest/doctest.h>

namespace test_decoder_methods {

using namespace flashback;
using namespace flashback_test;

namespace {

constexpr std::size_t vocab = 20;
constexpr TokenId stop = 9;  // ends a sentence
constexpr auto ends = [](TokenSpan context) { return !context.empty() && context.back() == stop; };

/// Makes full stops likely, and one token in five sure, as a function of the logits alone.
void shape(std::span<float> logits) {
    if (logits.size() <= static_cast<std::size_t>(stop)) return;
    if (logits[0] > 3.3f) logits[stop] = 4.5f;
    if (logits[1] > 3.2f) *std::ranges::max_element(logits) = 9.0f;
}

Attentive shaped_model(std::size_t size = vocab) {
    Attentive model{size};
    model.change_logits = [](std::size_t, std::span<float> logits) { shape(logits); };
    return model;
}

RandomRetriever books() { return RandomRetriever{9, 6, vocab, 1}; }

/// A token of a draft, and what the model thought of it.
struct Drafted {
    TokenId token;
    double probability;
    double entropy;
};

/// Writes sentence by sentence without a decoder: a draft for which `judge(text in front of it, draft)` gives a query is written anew with what
/// is found, in front of the text; and the next draft is written without passages.
template <class Judge>
class PlainLoop {
public:
    PlainLoop(Tokens prompt, std::size_t most, std::size_t look_ahead, Judge judge)
        : text(prompt), prompt_(prompt.size()), most_(most), look_ahead_(look_ahead), judge_(judge) {}

    void run(bool searches_first) {
        if (searches_first) search(text);
        while (!ended_) {
            const std::size_t begin = text.size();
            const std::vector<Drafted> draft = write();
            if (draft.empty()) return;
            if (const auto query = judge_(TokenSpan{text}.first(begin), draft)) {
                ended_ = false;
                text.resize(begin);
                search(*query);
                write();
            }
            passages_.clear();
        }
    }

    Tokens text;
    std::vector<Tokens> queries;

private:
    void search(Tokens query) {
        queries.push_back(query);
        passages_.clear();
        for (const Passage& passage : books_.retrieve({query}, 2)) append(passages_, passage.tokens);
    }

    std::vector<Drafted> write() {
        std::vector<Drafted> draft;
        std::vector<float> logits(vocab);
        for (;;) {
            if (text.size() == prompt_ + most_) {
                ended_ = true;
                return draft;
            }
            Tokens held{1};
            append(held, passages_);
            append(held, text);
            null_logits(held, logits);
            shape(logits);
            const auto token = static_cast<TokenId>(std::ranges::max_element(logits) - logits.begin());
            if (token == 2) {
                ended_ = true;
                return draft;
            }
            draft.push_back({token, std::exp(-surprisal(logits, token)), entropy(logits)});
            const bool ended = token == stop && (text.empty() || text.back() != stop);
            text.push_back(token);
            if (ended || draft.size() == look_ahead_) return draft;
        }
    }

    std::size_t prompt_, most_, look_ahead_;
    Judge judge_;
    RandomRetriever books_ = books();
    TokenBuffer passages_;
    bool ended_ = false;
};

void check_plain(const Generation& run, const auto& plain, std::size_t prompt) {
    CHECK(run.tokens == Tokens(plain.text.begin() + static_cast<std::ptrdiff_t>(prompt), plain.text.end()));
    REQUIRE(run.retrievals.size() == plain.queries.size());
    for (std::size_t i = 0; i < plain.queries.size(); ++i) CHECK(run.retrievals[i].query_tokens == plain.queries[i]);
    CHECK(run.stats.counts.evaluated + run.stats.counts.reused == run.stats.counts.requested);
}

GenerateOptions some(std::size_t tokens) { return {.max_tokens = tokens, .passages = 2}; }

}  // namespace

TEST_CASE("methods: FLARE writes what a plain loop writes, and asks what that asks") {
    std::size_t retrievals = 0, stood = 0, ended = 0;
    for (std::uint64_t seed = 0; seed < 200; ++seed) {
        CAPTURE(seed);
        const FlareOptions options{.threshold = 0.16, .mask = 0.12, .look_ahead = 5 + seed % 9};
        const Tokens prompt = random_prompt(1 + seed % 40, seed);
        PlainLoop plain{prompt, 40, options.look_ahead,
                        [&](TokenSpan front, const std::vector<Drafted>& draft) -> std::optional<Tokens> {
                            Tokens query;
                            bool doubted = false;
                            for (const Drafted& one : draft) {
                                doubted = doubted || one.probability <= options.threshold;
                                if (one.probability > options.mask) query.push_back(one.token);
                            }
                            if (!doubted) {
                                ++stood;
                                return {};
                            }
                            if (query.empty()) {
                                const TokenSpan newest = front.last(std::min<std::size_t>(32, front.size()));
                                query.assign(newest.begin(), newest.end());
                            }
                            return query;
                        }};
        plain.run(true);
        Attentive model = shaped_model();
        RandomRetriever retriever = books();
        Decoder decoder{model, retriever, presets::flare(ends, options)};
        const Generation run = decoder.generate(prompt, some(40));
        check_plain(run, plain, prompt.size());
        CHECK(model.asked == 0);
        CHECK(decoder.generate(prompt, some(40)).tokens == run.tokens);
        retrievals += run.retrievals.size();
        ended += run.stop == StopReason::eos;
    }
    CHECK(retrievals > 500);
    CHECK(stood > 200);
    CHECK(ended > 20);
}

TEST_CASE("methods: DRAGIN writes what a plain loop writes, and asks what that asks") {
    std::size_t retrievals = 0, stood = 0;
    for (std::uint64_t seed = 0; seed < 200; ++seed) {
        CAPTURE(seed);
        const DraginOptions options{.threshold = 2.7, .query_words = 1 + seed % 7, .look_ahead = 5 + seed % 9};
        const Tokens prompt = random_prompt(1 + seed % 40, seed);
        const auto counts = [](TokenId token) { return token % 3 != 0; };
        // A position reads 200 + token of each token, by both heads.
        PlainLoop plain{prompt, 40, options.look_ahead,
                        [&](TokenSpan front, const std::vector<Drafted>& draft) -> std::optional<Tokens> {
                            double total = 0;
                            for (std::size_t i = 0; i + 1 < draft.size(); ++i) total += 200 + draft[i].token;
                            std::size_t flagged = draft.size();
                            for (std::size_t i = draft.size(); i-- > 0;) {
                                const double read = i + 1 < draft.size() ? 200 + draft[i].token : 0;
                                const double score = static_cast<double>(draft.size()) * draft[i].entropy * read / total;
                                if (score > options.threshold && counts(draft[i].token)) flagged = i;
                            }
                            if (flagged == draft.size()) {
                                ++stood;
                                return {};
                            }
                            Tokens text(front.begin(), front.end());
                            for (std::size_t i = 0; i < flagged; ++i) text.push_back(draft[i].token);
                            std::vector<std::size_t> words;
                            for (std::size_t i = 0; i < text.size(); ++i)
                                if (counts(text[i])) words.push_back(i);
                            std::ranges::stable_sort(words, [&](std::size_t a, std::size_t b) { return text[a] > text[b]; });
                            words.resize(std::min(words.size(), options.query_words));
                            std::ranges::sort(words);
                            Tokens query;
                            for (const std::size_t word : words) query.push_back(text[word]);
                            if (query.empty()) query.assign(front.begin(), front.end());
                            return query;
                        }};
        plain.run(false);
        Attentive model = shaped_model();
        RandomRetriever retriever = books();
        Decoder decoder{model, retriever, presets::dragin(ends, counts, options)};
        const Generation run = decoder.generate(prompt, some(40));
        check_plain(run, plain, prompt.size());
        CHECK(decoder.generate(prompt, some(40)).tokens == run.tokens);
        retrievals += run.retrievals.size();
    }
    CHECK(retrievals > 300);
    CHECK(stood > 200);
}

}  // namespace test_decoder_methods
