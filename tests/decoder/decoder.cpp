#include "flashback/decoder/decoder.hpp"

#include "support/null_model.hpp"
#include "support/random_retriever.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

using namespace flashback;
using namespace flashback_test;

namespace {

using Tokens = std::vector<TokenId>;

// The decoder again, in the words of the documentation and over plain lists: what it should generate and count.
struct Expected {
    Tokens tokens;
    Tokens held;
    TokenCounts counts;
    std::vector<TokenCounts> plans;
    std::vector<std::size_t> at;
    std::vector<std::vector<std::size_t>> passage_lengths;
    std::vector<Tokens> queries;
};

struct Setting {
    std::size_t stride = 16;
    std::size_t passages = 1;
    std::size_t max_tokens = 40;
    bool prepend = false;
    bool reuse = true;
    Tokens head{};
    Tokens markers{};
    Tokens held{};  // before the generation
};

Expected expected_generation(RandomRetriever& retriever, const Tokens& prompt, const Setting& s, std::size_t vocab) {
    Expected e;
    e.held = s.held;
    Tokens context = prompt;
    while (e.tokens.size() < s.max_tokens) {
        if (e.tokens.size() % s.stride == 0) {
            const Tokens query(context.end() - std::min<std::ptrdiff_t>(32, std::ssize(context)), context.end());
            Tokens documents;
            e.passage_lengths.emplace_back();
            for (const Passage& passage : retriever.retrieve({query}, s.passages)) {
                if (!s.markers.empty()) documents.push_back(s.markers[0]);
                documents.insert(documents.end(), passage.tokens.begin(), passage.tokens.end());
                if (!s.markers.empty()) documents.push_back(s.markers[1]);
                e.passage_lengths.back().push_back(passage.tokens.size());
            }
            Tokens wanted = s.head;
            const Tokens& first = s.prepend ? documents : context;
            const Tokens& second = s.prepend ? context : documents;
            wanted.insert(wanted.end(), first.begin(), first.end());
            wanted.insert(wanted.end(), second.begin(), second.end());

            std::size_t common = 0;
            while (common < e.held.size() && common < wanted.size() && e.held[common] == wanted[common]) ++common;
            const std::size_t keep = s.reuse ? std::min(common, wanted.size() - 1) : 0;
            e.plans.push_back({wanted.size(), wanted.size() - keep, keep, e.held.size() - keep});
            e.counts += e.plans.back();
            e.at.push_back(e.tokens.size());
            e.queries.push_back(query);
            e.held = wanted;
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

template <class Model>
Generation generate(Model& model, RandomRetriever& retriever, const Tokens& prompt, const Setting& s) {
    const GenerateOptions options{.max_tokens = s.max_tokens, .passages = s.passages, .ignore_eos = true};
    const auto with = [&](auto policies) {
        const auto run = [&](auto all) { return Decoder{model, retriever, all}.generate(prompt, options); };
        const auto wrapped = [&](auto some) {
            return s.markers.empty() ? run(some) : run(some.wrapper(MarkerTokens{s.markers[0], s.markers[1]}));
        };
        return s.reuse ? wrapped(policies) : wrapped(policies.reuse(RecomputeAll{}));
    };
    const auto policies = Policies{}.schedule(EveryNTokens{s.stride});
    return s.prepend ? with(policies.layout(PrependDocuments{})) : with(policies);
}

void check_counts(const Generation& found, const Expected& expected) {
    CHECK(found.tokens == expected.tokens);
    CHECK(found.stats.counts == expected.counts);
    CHECK(found.stats.counts.evaluated + found.stats.counts.reused == found.stats.counts.requested);
    CHECK(found.stats.retrievals == expected.plans.size());
    REQUIRE(found.retrievals.size() == expected.plans.size());
    for (std::size_t i = 0; i < expected.plans.size(); ++i) {
        const Retrieval& retrieval = found.retrievals[i];
        CHECK(retrieval.counts == expected.plans[i]);
        CHECK(retrieval.at == expected.at[i]);
        CHECK(retrieval.query_tokens == expected.queries[i]);
        CHECK(retrieval.query_text.empty());
        std::vector<std::size_t> lengths;
        for (const RetrievedPassage& passage : retrieval.passages) lengths.push_back(passage.tokens);
        CHECK(lengths == expected.passage_lengths[i]);
    }
}

template <class Call>
std::string error_of(ErrorCode code, const Call& call) {
    try {
        call();
    } catch (const Error& error) {
        CHECK(to_string(error.code()) == to_string(code));
        return error.what();
    }
    return "no error";
}

Tokens random_prompt(std::size_t length, std::uint64_t seed = 3) {
    SplitMix64 random{seed};
    return random_tokens(random, length, 20);
}

// A retriever that gives the same passages always, and can be told to fail.
struct FixedRetriever {
    std::vector<Tokens> documents;
    std::size_t fail_at = NullModel::never;
    std::size_t calls = 0;
    std::vector<Passage> found = {};

    std::span<const Passage> retrieve(const Query&, std::size_t k) {
        if (calls++ == fail_at) throw std::runtime_error("the index is gone");
        found.clear();
        for (std::size_t i = 0; i < std::min(k, documents.size()); ++i)
            found.push_back({"id", "title", "text", documents[i], 0.5f});
        return found;
    }
};

}  // namespace

TEST_CASE("Every count is that of the plans, for each layout, stride, number of passages and length of prompt") {
    for (const bool prepend : {false, true}) {
        for (const bool reuse : {true, false}) {
            for (const std::size_t stride : {1u, 2u, 5u, 16u, 64u}) {
                for (const std::size_t passages : {0u, 1u, 2u, 3u}) {
                    for (const std::size_t length : {1u, 2u, 31u, 70u}) {
                        CAPTURE(prepend);
                        CAPTURE(reuse);
                        CAPTURE(stride);
                        CAPTURE(passages);
                        CAPTURE(length);
                        RandomRetriever retriever{9, 12, 20, length};
                        const Tokens prompt = random_prompt(length);
                        Setting setting{.stride = stride, .passages = passages, .prepend = prepend, .reuse = reuse};
                        NullModel model;
                        check_counts(generate(model, retriever, prompt, setting),
                                     expected_generation(retriever, prompt, setting, 20));

                        setting.head = {1};
                        setting.markers = {18, 19};
                        FullNullModel full;
                        const Expected expected = expected_generation(retriever, prompt, setting, 20);
                        const Generation found = generate(full, retriever, prompt, setting);
                        check_counts(found, expected);
                        CHECK(found.stats.counts.evaluated == full.evaluated);
                        CHECK(std::ranges::equal(full.tokens(), expected.held));
                    }
                }
            }
        }
    }
}

TEST_CASE("256 tokens at a stride of 16 are 16 retrievals, each the first of 16 evaluations") {
    FullNullModel model;
    RandomRetriever retriever{9, 12, 20, 1};
    const Generation generation = generate(model, retriever, random_prompt(10), {.stride = 16, .max_tokens = 256});
    CHECK(generation.stats.retrievals == 16);
    CHECK(model.evaluations == 256);
    for (std::size_t i = 0; i < generation.retrievals.size(); ++i) CHECK(generation.retrievals[i].at == 16 * i);
}

TEST_CASE("Append keeps the whole context at every later plan, prepend keeps BOS at least") {
    RandomRetriever retriever{9, 12, 20, 1};
    const Tokens prompt = random_prompt(50);
    FullNullModel appending;
    const Generation append_run = generate(appending, retriever, prompt, {.stride = 4});
    FullNullModel prepending;
    const Generation prepend_run = generate(prepending, retriever, prompt, {.stride = 4, .prepend = true});
    REQUIRE(append_run.retrievals.size() == 10);
    REQUIRE(prepend_run.retrievals.size() == 10);
    for (std::size_t i = 1; i < 10; ++i) {
        CHECK(append_run.retrievals[i].counts.reused >= 1 + 50 + append_run.retrievals[i - 1].at);
        CHECK(prepend_run.retrievals[i].counts.reused >= 1);
    }
    CHECK(append_run.stats.counts.evaluated < prepend_run.stats.counts.evaluated);
}

TEST_CASE("The next generation reuses what the model still holds") {
    for (const bool prepend : {false, true}) {
        RandomRetriever retriever{9, 12, 20, 1};
        Tokens prompt = random_prompt(50);
        FullNullModel model;
        Setting setting{.stride = 7, .passages = 2, .prepend = prepend, .head = {1}};
        const Generation first = generate(model, retriever, prompt, setting);
        setting.held.assign(model.tokens().begin(), model.tokens().end());
        append(prompt, first.tokens);
        check_counts(generate(model, retriever, prompt, setting), expected_generation(retriever, prompt, setting, 20));
    }
}

TEST_CASE("The same prompt again feeds its last token only") {
    FullNullModel model;
    NoDocuments nothing;
    Decoder decoder{model, nothing, Policies{}.schedule(Never{})};
    const Tokens prompt = random_prompt(30);
    const Generation first = decoder.generate(prompt, {.max_tokens = 1, .ignore_eos = true});
    CHECK(first.stats.counts == TokenCounts{31, 31, 0, 0});
    const Generation again = decoder.generate(prompt, {.max_tokens = 1, .ignore_eos = true});
    CHECK(again.stats.counts == TokenCounts{31, 1, 30, 1});
    CHECK(again.tokens == first.tokens);
}

TEST_CASE("A head given in the options takes the place of the model's") {
    FullNullModel model;
    NoDocuments nothing;
    Decoder decoder{model, nothing};
    const Tokens head{7, 8, 9};
    decoder.generate(Tokens{4, 5}, {.max_tokens = 1, .head = TokenSpan{head}});
    CHECK(std::ranges::equal(model.tokens(), Tokens{7, 8, 9, 4, 5}));
    decoder.generate(Tokens{4, 5}, {.max_tokens = 1, .head = TokenSpan{}});
    CHECK(std::ranges::equal(model.tokens(), Tokens{4, 5}));
}

TEST_CASE("What was found is reported with its score and its texts") {
    FullNullModel model;
    FixedRetriever retriever{.documents = {{5, 6, 7}, {8}}};
    Decoder decoder{model, retriever};
    const Generation generation = decoder.generate(Tokens{4}, {.max_tokens = 1, .passages = 5});
    REQUIRE(generation.retrievals.size() == 1);
    REQUIRE(generation.retrievals[0].passages.size() == 2);
    const RetrievedPassage& passage = generation.retrievals[0].passages[0];
    CHECK(passage.id == "id");
    CHECK(passage.title == "title");
    CHECK(passage.text == "text");
    CHECK(passage.score == 0.5f);
    CHECK(passage.tokens == 3);
    CHECK(std::ranges::equal(model.tokens(), Tokens{1, 4, 5, 6, 7, 8}));
}

TEST_CASE("Times are those of the parts") {
    FullNullModel model;
    RandomRetriever retriever{9, 12, 20, 1};
    const Generation generation = generate(model, retriever, random_prompt(10), {.stride = 4});
    const Seconds& seconds = generation.stats.seconds;
    CHECK(seconds.retrieve > 0);
    CHECK(seconds.prefill > 0);
    CHECK(seconds.decode > 0);
    CHECK(seconds.total >= seconds.retrieve + seconds.prefill + seconds.decode);
    double retrievals = 0;
    for (const Retrieval& retrieval : generation.retrievals) retrievals += retrieval.seconds;
    CHECK(retrievals == doctest::Approx(seconds.retrieve + seconds.prefill));
}

TEST_CASE("No tokens asked for: nothing is retrieved and nothing evaluated") {
    FullNullModel model;
    FixedRetriever retriever{.documents = {{5}}};
    const Generation generation = Decoder{model, retriever}.generate(Tokens{4}, {.max_tokens = 0});
    CHECK(to_string(generation.stop) == "max_tokens");
    CHECK(generation.tokens.empty());
    CHECK(generation.stats.counts == TokenCounts{});
    CHECK(retriever.calls == 0);
    CHECK(model.evaluations == 0);
}

TEST_CASE("The end of the text stops the generation and is not a token of it") {
    FullNullModel model;
    model.change_logits = [](std::size_t evaluations, std::span<float> logits) {
        logits[2] = evaluations == 4 ? 100.0f : -100.0f;
    };
    NoDocuments nothing;
    Decoder decoder{model, nothing};
    const Generation generation = decoder.generate(Tokens{4}, {.max_tokens = 10});
    CHECK(to_string(generation.stop) == "eos");
    CHECK(generation.tokens.size() == 3);

    model.truncate(0);
    model.evaluations = 0;
    const Generation on = decoder.generate(Tokens{4}, {.max_tokens = 10, .ignore_eos = true});
    CHECK(to_string(on.stop) == "max_tokens");
    REQUIRE(on.tokens.size() == 10);
    CHECK(on.tokens[3] == 2);
}

TEST_CASE("A callback that says false cancels behind its token, one that says nothing does not") {
    FullNullModel model;
    NoDocuments nothing;
    Decoder decoder{model, nothing};
    Tokens seen;
    const Generation cancelled = decoder.generate(Tokens{4}, {.max_tokens = 10, .ignore_eos = true}, [&](TokenId token) {
        seen.push_back(token);
        return seen.size() < 4;
    });
    CHECK(to_string(cancelled.stop) == "cancelled");
    CHECK(cancelled.tokens.size() == 4);
    CHECK(seen == cancelled.tokens);
    CHECK(model.size() == 5);

    seen.clear();
    const Generation whole =
        decoder.generate(Tokens{4}, {.max_tokens = 10, .ignore_eos = true}, [&](TokenId token) { seen.push_back(token); });
    CHECK(to_string(whole.stop) == "max_tokens");
    CHECK(seen == whole.tokens);
    CHECK(whole.tokens.size() == 10);
}

TEST_CASE("Without retrieval the window is full when its last position was read") {
    for (std::size_t prompt = 1; prompt <= 9; ++prompt) {
        FullNullModel model{20, 10};
        NoDocuments nothing;
        Decoder decoder{model, nothing, Policies{}.schedule(Never{})};
        const Generation generation = decoder.generate(random_prompt(prompt), {.max_tokens = 100, .ignore_eos = true});
        CHECK(to_string(generation.stop) == "window_full");
        CHECK(generation.tokens.size() == 10 - prompt);
        CHECK(model.size() == 10);

        model.truncate(0);
        const Generation exact = decoder.generate(random_prompt(prompt), {.max_tokens = 10 - prompt, .ignore_eos = true});
        CHECK(to_string(exact.stop) == "max_tokens");
    }
}

TEST_CASE("With retrieval the window is full when a plan does not fit, and that retrieval is not reported") {
    for (std::size_t window = 9; window <= 40; ++window) {
        CAPTURE(window);
        FullNullModel model{20, window};
        FixedRetriever retriever{.documents = {{5, 6, 7, 8, 9}}};
        Decoder decoder{model, retriever, Policies{}.schedule(EveryNTokens{3})};
        const Generation generation = decoder.generate(Tokens{3, 4}, {.max_tokens = 1000, .ignore_eos = true});
        CHECK(to_string(generation.stop) == "window_full");
        // Token n is drawn with 1 + 2 + n context tokens and the passage, which may be as old as the plan at n - n % 3.
        std::size_t tokens = 0;
        while (1 + 2 + tokens + 5 <= window) ++tokens;
        CHECK(generation.tokens.size() == tokens);
        CHECK(generation.stats.retrievals == (tokens + 2) / 3);
        CHECK(generation.retrievals.size() == generation.stats.retrievals);
        CHECK(generation.stats.counts.evaluated == model.evaluated);
        CHECK(model.size() == window);
    }
}

TEST_CASE("A first context that does not fit is an error that leaves the model as it was") {
    FullNullModel model{20, 10};
    FixedRetriever retriever{.documents = {{5, 6, 7, 8, 9}}};
    Decoder decoder{model, retriever};
    decoder.generate(Tokens{3, 4}, {.max_tokens = 2, .ignore_eos = true});
    const Tokens before{model.tokens().begin(), model.tokens().end()};
    const std::size_t evaluations = model.evaluations;
    const std::string sentence = error_of(ErrorCode::window, [&] { decoder.generate(Tokens{3, 4, 5, 6, 7}); });
    CHECK(sentence ==
          "the window of the model holds 10 tokens, but the first context needs 11: 1 of the head, 5 of the prompt and 5 of "
          "retrieved passages");
    CHECK(std::ranges::equal(model.tokens(), before));
    CHECK(model.evaluations == evaluations);
    CHECK(decoder.partial().tokens.empty());
    CHECK(decoder.generate(Tokens{3, 4, 5, 6}, {.max_tokens = 1, .ignore_eos = true}).tokens.size() == 1);
}

TEST_CASE("A prompt and a head that are both empty are refused in words") {
    NullModel model;
    NoDocuments nothing;
    Decoder decoder{model, nothing};
    CHECK(error_of(ErrorCode::contract, [&] { decoder.generate({}); }) ==
          "a context needs at least 1 token, but head, documents and context are all empty");
    CHECK(model.size() == 0);
}

TEST_CASE_TEMPLATE("A model that fails at any call leaves a true state, the tokens so far, and a decoder that works", Model,
                   NullModel, FullNullModel) {
    for (const bool prepend : {false, true}) {
        const Tokens prompt = random_prompt(12);
        RandomRetriever retriever{9, 12, 20, 1};
        const auto run = [&](auto policies) {
            const GenerateOptions options{.max_tokens = 24, .passages = 2, .ignore_eos = true};
            Model undisturbed;
            const Generation whole = Decoder{undisturbed, retriever, policies}.generate(prompt, options);
            REQUIRE(undisturbed.evaluations == 24);
            for (std::size_t n = 0; n < 24; ++n) {
                CAPTURE(n);
                Model model;
                model.fail_at = n;
                Decoder decoder{model, retriever, policies};
                CHECK_THROWS_AS(decoder.generate(prompt, options), NullModelError);
                CHECK(decoder.partial().tokens ==
                      Tokens(whole.tokens.begin(), whole.tokens.begin() + static_cast<std::ptrdiff_t>(n)));
                CHECK(decoder.partial().stats.counts.evaluated == model.evaluated);
                CHECK(decoder.partial().retrievals.size() == (n + 4) / 5);
                CHECK(decoder.partial().stats.retrievals == (n + 4) / 5);

                const Generation again = decoder.generate(prompt, options);
                CHECK(again.tokens == whole.tokens);
                CHECK(again.stats.counts.requested == whole.stats.counts.requested);
                CHECK(again.stats.counts.reused >= whole.stats.counts.reused);
                CHECK(std::ranges::equal(model.secret_tokens(), undisturbed.secret_tokens()));
            }
        };
        const auto policies = Policies{}.schedule(EveryNTokens{5});
        if (prepend) {
            run(policies.layout(PrependDocuments{}));
        } else {
            run(policies);
        }
    }
}

TEST_CASE("A retriever that fails leaves a true state, the tokens so far, and a decoder that works") {
    const Tokens prompt = random_prompt(12);
    const GenerateOptions options{.max_tokens = 24, .ignore_eos = true};
    for (std::size_t n = 0; n < 5; ++n) {
        NullModel model;
        FixedRetriever retriever{.documents = {{5, 6, 7}}};
        Decoder decoder{model, retriever, Policies{}.schedule(EveryNTokens{5})};
        const Tokens whole = decoder.generate(prompt, options).tokens;
        model.evaluated = 0;
        retriever.calls = 0;
        retriever.fail_at = n;
        CHECK_THROWS_WITH(decoder.generate(prompt, options), "the index is gone");
        CHECK(decoder.partial().tokens == Tokens(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(5 * n)));
        CHECK(decoder.partial().stats.counts.evaluated == model.evaluated);
        CHECK(decoder.generate(prompt, options).tokens == whole);
    }
}

TEST_CASE("A callback that throws leaves its token in the result so far") {
    FullNullModel model;
    NoDocuments nothing;
    Decoder decoder{model, nothing};
    const Tokens whole = decoder.generate(Tokens{4}, {.max_tokens = 6, .ignore_eos = true}).tokens;
    std::size_t calls = 0;
    CHECK_THROWS_WITH(decoder.generate(Tokens{4}, {.max_tokens = 6, .ignore_eos = true},
                                       [&](TokenId) {
                                           if (++calls == 3) throw std::runtime_error("enough");
                                       }),
                      "enough");
    CHECK(decoder.partial().tokens == Tokens(whole.begin(), whole.begin() + 3));
    CHECK(model.size() == 4);
    CHECK(decoder.generate(Tokens{4}, {.max_tokens = 6, .ignore_eos = true}).tokens == whole);
    CHECK(decoder.partial().tokens.empty());
}

TEST_CASE("The result so far can be the prompt of the next generation") {
    FullNullModel model;
    NoDocuments nothing;
    Decoder decoder{model, nothing};
    model.fail_at = 5;
    CHECK_THROWS_AS(decoder.generate(Tokens{4}, {.max_tokens = 10, .ignore_eos = true}), NullModelError);
    const Tokens so_far = decoder.partial().tokens;
    REQUIRE(so_far.size() == 5);
    decoder.generate(decoder.partial().tokens, {.max_tokens = 1, .ignore_eos = true});
    CHECK(std::ranges::equal(model.tokens().subspan(1), so_far));
}

TEST_CASE("A model whose size moved between two generations is refused, and nothing is evaluated") {
    NullModel model;
    NoDocuments nothing;
    Decoder decoder{model, nothing};
    decoder.generate(Tokens{3, 4, 5}, {.max_tokens = 2});
    model.fail_at = model.evaluations + 1;
    CHECK_THROWS_AS(decoder.generate(Tokens{9}, {.max_tokens = 2}), NullModelError);
    CHECK(decoder.partial().tokens.size() == 1);
    model.truncate(0);
    model.evaluate(Tokens{7, 8});
    const std::size_t evaluations = model.evaluations;
    CHECK(
        error_of(ErrorCode::contract,
                 [&] {
                     decoder.generate(Tokens{3, 4, 5});
                 }) ==
        "the model holds 2 tokens, but this decoder left 1 in it: something else changed it, and its cache cannot be trusted");
    CHECK(model.evaluations == evaluations);
    CHECK(decoder.partial().tokens.empty());
}

TEST_CASE("A model whose size moves during a generation is refused before its next evaluation") {
    const auto meddled = [](auto& model, std::size_t stride) {
        FixedRetriever retriever{.documents = {{5, 6}}};
        Decoder decoder{model, retriever, Policies{}.schedule(EveryNTokens{stride})};
        std::size_t tokens = 0;
        const auto meddle = [&](TokenId) {
            if (++tokens == 3) model.truncate(model.size() - 1);
        };
        const std::string sentence = error_of(ErrorCode::contract, [&] {
            decoder.generate(Tokens{3, 4, 5}, {.max_tokens = 9, .ignore_eos = true}, meddle);
        });
        CHECK(sentence.find("something else changed it") != std::string::npos);
        CHECK(decoder.partial().tokens.size() == 3);
        CHECK(model.evaluations == 3);
    };
    for (const std::size_t stride : {1u, 2u, 3u, 100u}) {
        CAPTURE(stride);
        NullModel model;
        meddled(model, stride);
    }
    FullNullModel model;
    meddled(model, 100);
}

TEST_CASE("A model that tells its tokens may be changed before a plan, even during a generation") {
    FullNullModel model;
    FixedRetriever retriever{.documents = {{5, 6}}};
    Decoder decoder{model, retriever, Policies{}.schedule(EveryNTokens{1})};
    const GenerateOptions options{.max_tokens = 9, .ignore_eos = true};
    const Tokens undisturbed = decoder.generate(Tokens{3, 4, 5}, options).tokens;
    CHECK(decoder.generate(Tokens{3, 4, 5}, options, [&](TokenId) { model.truncate(2); }).tokens == undisturbed);
}

TEST_CASE("A model that tells its tokens may be changed between two generations") {
    FullNullModel model;
    NoDocuments nothing;
    Decoder decoder{model, nothing};
    const Tokens prompt = random_prompt(9);
    const Tokens tokens = decoder.generate(prompt, {.max_tokens = 5, .ignore_eos = true}).tokens;
    model.truncate(4);
    model.evaluate(Tokens{17, 18});
    const Generation again = decoder.generate(prompt, {.max_tokens = 5, .ignore_eos = true});
    CHECK(again.tokens == tokens);
}

TEST_CASE("Logits that are not numbers are an error, not a token") {
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
        NullModel model;
        const bool nan = std::isnan(bad);
        model.change_logits = [&](std::size_t evaluations, std::span<float> logits) {
            if (evaluations == 3) std::ranges::fill(nan ? logits.subspan(11, 1) : logits, bad);
        };
        NoDocuments nothing;
        Decoder decoder{model, nothing};
        CHECK(error_of(ErrorCode::logits, [&] { decoder.generate(Tokens{4}, {.max_tokens = 5}); }) ==
              (nan ? "the logit of token 11 is not a number" : "none of the 20 logits is above -infinity"));
        CHECK(decoder.partial().tokens.size() == 2);
        CHECK(model.size() == 3);
        CHECK(decoder.generate(Tokens{4}, {.max_tokens = 5, .ignore_eos = true}).tokens.size() == 5);
    }
}

TEST_CASE("A sampler that makes up a token is refused in words") {
    NullModel model;
    NoDocuments nothing;
    const auto made_up = [](std::span<const float>) { return TokenId{20}; };
    Decoder decoder{model, nothing, Policies{}.sampler(made_up)};
    CHECK(error_of(ErrorCode::contract, [&] { decoder.generate(Tokens{4}); }) ==
          "the sampler took token 20, but the model has 20 logits");
    CHECK(decoder.partial().tokens.empty());
}

TEST_CASE("Markers and masked tokens are never generated, and the model's logits stay as they are") {
    FullNullModel model;
    model.change_logits = [](std::size_t, std::span<float> logits) { logits[18] = logits[19] = logits[6] = logits[7] = 50; };
    FixedRetriever retriever{.documents = {{5, 6}}};
    const Tokens masked{6, 7, -1, 1000};
    std::size_t sampled = 0;
    const auto sampler = [&](std::span<const float> logits) {
        ++sampled;
        for (const std::size_t id : {18u, 19u, 6u, 7u}) CHECK(logits[id] == -std::numeric_limits<float>::infinity());
        for (std::size_t id = 0; id < 20; ++id) CHECK(std::isinf(logits[id]) == (id == 18 || id == 19 || id == 6 || id == 7));
        return Greedy{}(logits);
    };
    Decoder decoder{model, retriever, Policies{}.wrapper(MarkerTokens{18, 19}).sampler(sampler)};
    const Generation generation = decoder.generate(Tokens{4}, {.max_tokens = 40, .ignore_eos = true, .masked = masked});
    CHECK(sampled == 40);
    for (const TokenId token : generation.tokens) CHECK((token != 18 && token != 19 && token != 6 && token != 7));

    Decoder unmasked{model, retriever};
    CHECK(unmasked.generate(Tokens{4}, {.max_tokens = 1}).tokens == Tokens{6});
}

TEST_CASE("A passage of marker ids and a prompt of marker ids are counted and planned as any other tokens") {
    for (const bool prepend : {false, true}) {
        FullNullModel model;
        RandomRetriever retriever{4, 9, 2, 5};  // passages of the tokens 0 and 1, which are the markers
        const Tokens prompt{0, 1, 0, 0, 1};
        const Setting setting{.stride = 3, .passages = 3, .prepend = prepend, .head = {1}, .markers = {0, 1}};
        check_counts(generate(model, retriever, prompt, setting), expected_generation(retriever, prompt, setting, 20));
    }
}

TEST_CASE("A seeded sampler gives the same tokens twice, and another seed gives others") {
    FullNullModel model;
    RandomRetriever retriever{9, 12, 20, 1};
    const auto decoder = [&](std::uint64_t seed) {
        return Decoder{model, retriever,
                       Policies{}.sampler(TruncatedSampling{{.temperature = 1, .top_p = 0.95f, .seed = seed}})};
    };
    const Tokens prompt = random_prompt(9);
    auto one = decoder(1);
    const Tokens first = one.generate(prompt, {.max_tokens = 50, .ignore_eos = true}).tokens;
    CHECK(one.generate(prompt, {.max_tokens = 50, .ignore_eos = true}).tokens == first);
    CHECK(decoder(1).generate(prompt, {.max_tokens = 50, .ignore_eos = true}).tokens == first);
    CHECK(decoder(2).generate(prompt, {.max_tokens = 50, .ignore_eos = true}).tokens != first);
}

TEST_CASE("Policies are asked before every token and start anew with every generation") {
    struct Schedule {
        std::vector<std::size_t>* asked;
        std::size_t* resets;
        bool operator()(const StepView& step) {
            asked->push_back(step.generated());
            CHECK(step.prompt_tokens == 2);
            return step.generated() == 3;
        }
        void reset() { ++*resets; }
    };
    std::vector<std::size_t> asked;
    std::size_t resets = 0;
    FullNullModel model;
    FixedRetriever retriever{.documents = {{5}}};
    Decoder decoder{model, retriever, Policies{}.schedule(Schedule{&asked, &resets})};
    const Generation generation = decoder.generate(Tokens{3, 4}, {.max_tokens = 5, .ignore_eos = true});
    CHECK(asked == std::vector<std::size_t>{0, 1, 2, 3, 4});
    CHECK(generation.stats.retrievals == 1);
    CHECK(generation.retrievals[0].at == 3);
    decoder.generate(Tokens{3, 4}, {.max_tokens = 1});
    CHECK(resets == 2);
}
