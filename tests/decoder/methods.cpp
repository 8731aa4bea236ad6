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
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
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

constexpr auto counts = [](TokenId token) { return token % 3 != 0; };
constexpr auto answers = [](TokenSpan sentence) { return sentence.size() == 3; };

/// Any method, so that the decoder over it is compiled once.
class Erased {
public:
    template <class M>
    explicit Erased(M method) : held_(std::make_unique<Model<M>>(std::move(method))) {}
    Erased(const Erased& other) : held_(other.held_->clone()) {}
    Erased(Erased&&) = default;
    ~Erased() = default;

    Decision schedule(const StepView& step) { return held_->schedule(step); }
    Query query(const StepView& step) { return held_->query(step); }
    Decision at_end(const StepView& step, StopReason reason) { return held_->at_end(step, reason); }
    void reset() { held_->reset(); }
    void rewind(std::size_t tokens) { held_->rewind(tokens); }
    bool wants_surprisals() const { return held_->wants_surprisals(); }
    bool wants_attention() const { return held_->wants_attention(); }

private:
    struct Interface {
        virtual ~Interface() = default;
        virtual std::unique_ptr<Interface> clone() const = 0;
        virtual Decision schedule(const StepView& step) = 0;
        virtual Query query(const StepView& step) = 0;
        virtual Decision at_end(const StepView& step, StopReason reason) = 0;
        virtual void reset() = 0;
        virtual void rewind(std::size_t tokens) = 0;
        virtual bool wants_surprisals() const = 0;
        virtual bool wants_attention() const = 0;
    };
    template <class M>
    struct Model final : Interface {
        explicit Model(M m) : method(std::move(m)) {}
        std::unique_ptr<Interface> clone() const override { return std::make_unique<Model>(method); }
        Decision schedule(const StepView& step) override { return method.schedule(step); }
        Query query(const StepView& step) override { return method.query(step); }
        Decision at_end(const StepView& step, StopReason reason) override {
            if constexpr (requires { method.at_end(step, reason); }) return method.at_end(step, reason);
            return Decision::go_on();
        }
        void reset() override { method.reset(); }
        void rewind(std::size_t tokens) override { method.rewind(tokens); }
        bool wants_surprisals() const override {
            if constexpr (requires { method.wants_surprisals(); }) return method.wants_surprisals();
            return false;
        }
        bool wants_attention() const override {
            if constexpr (requires { method.wants_attention(); }) return method.wants_attention();
            return false;
        }
        M method;
    };
    std::unique_ptr<Interface> held_;
};

/// A schedule, with the newest 32 tokens as query.
template <class S>
struct WithLast {
    S when;
    Decision schedule(const StepView& step) { return when(step); }
    Query query(const StepView& step) const { return LastNTokens{32}(step); }
    void reset() { when.reset(); }
    void rewind(std::size_t tokens) { when.rewind(tokens); }
};

/// The stronger decision of two methods, as any_of has it; the query is the second one's.
struct Both {
    Erased first, second;
    Decision schedule(const StepView& step) {
        const Decision one = first.schedule(step);
        return either(one, second.schedule(step));
    }
    Decision at_end(const StepView& step, StopReason reason) {
        const Decision one = first.at_end(step, reason);
        return either(one, second.at_end(step, reason));
    }
    Query query(const StepView& step) { return second.query(step); }
    void reset() {
        first.reset();
        second.reset();
    }
    void rewind(std::size_t tokens) {
        first.rewind(tokens);
        second.rewind(tokens);
    }
    bool wants_surprisals() const { return true; }
    bool wants_attention() const { return first.wants_attention(); }
};

template <class M>
auto in_front(M method) {
    return Policies{}.layout(AnyLayout{PrependPassages{}}).overflow(AnyOverflow{}).method(Erased{std::move(method)});
}

/// Calls `check(policies)` for each method; the type is always the same.
template <class Check>
void for_each_method(Check check) {
    ReflectionRatio ratio{ends, {.retrieve = 3, .no_retrieve = 4}};
    const auto routes = [](const StepView& step) { return step.context.size() % 3; };
    check(in_front(Flare{ends, {.threshold = 0.16, .mask = 0.12, .look_ahead = 7}}));
    check(in_front(Dragin{ends, counts, {.threshold = 2.6, .query_words = 5, .look_ahead = 7}}));
    check(in_front(Etc{counts, {.alpha = 0.2, .query_words = 5}}));
    check(in_front(IrCot{ends, answers}));
    check(in_front(WithLast<decltype(ratio)>{ratio}));
    check(in_front(WithLast<decltype(routed(routes, Never{}, Once{}, ratio))>{routed(routes, Never{}, Once{}, ratio)}));
}

void check_same(const Generation& a, const Generation& b) {
    CHECK(a.tokens == b.tokens);
    CHECK(to_string(a.stop) == to_string(b.stop));
    CHECK(a.stats.counts == b.stats.counts);
    CHECK(a.stats.rewound == b.stats.rewound);
    REQUIRE(a.retrievals.size() == b.retrievals.size());
    for (std::size_t i = 0; i < a.retrievals.size(); ++i) {
        CHECK(a.retrievals[i].at == b.retrievals[i].at);
        CHECK(a.retrievals[i].query_tokens == b.retrievals[i].query_tokens);
    }
}

/// Answers one need of a generator.
template <class GeneratorT>
void answer(GeneratorT& generator, Attentive& model, RandomRetriever& retriever) {
    const Need need = generator.need();
    switch (need.kind) {
        case Need::Kind::search: generator.found(retriever.retrieve(need.query, need.passages)); break;
        case Need::Kind::truncate:
            model.truncate(need.length);
            generator.truncated(model.size());
            break;
        case Need::Kind::evaluate: {
            const auto logits = model.evaluate(need.tokens);
            const auto read = [&](std::size_t layer) { return model.attention(layer); };
            generator.evaluated(logits, model.size(), {.layers = 3, .weights = read});
            if (generator.need().kind == Need::Kind::token) generator.resume();  // while `read` is there
            break;
        }
        default: generator.resume();
    }
}

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

TEST_CASE("methods: a text is the same each time, whatever was generated or went wrong before") {
    for_each_method([](auto policies) {
        std::size_t failed = 0;
        for (std::uint64_t seed = 0; seed < 30; ++seed) {
            CAPTURE(seed);
            const Tokens prompt = random_prompt(3 + seed, seed);
            Attentive model = shaped_model();
            RandomRetriever retriever = books();
            const Generation expected = Decoder{model, retriever, policies}.generate(prompt, some(40));
            // A retriever that fails at its seed-th call, then works.
            struct Failing {
                RandomRetriever books;
                std::size_t fail_at;
                std::size_t calls = 0;
                std::span<const Passage> retrieve(const Query& query, std::size_t k) {
                    if (calls++ == fail_at) throw std::runtime_error("the index is gone");
                    return books.retrieve(query, k);
                }
            };
            Attentive other = shaped_model();
            Failing failing{books(), seed % 4};
            Decoder decoder{other, failing, policies};
            try {
                check_same(decoder.generate(prompt, some(40)), expected);
            } catch (const std::runtime_error&) {
                ++failed;
                const Generation& partial = decoder.partial();
                CHECK(partial.stats.counts.evaluated == other.evaluated);
                CHECK(partial.retrievals.size() == seed % 4);
                CHECK(partial.tokens.size() <= 40);
            }
            failing.fail_at = std::numeric_limits<std::size_t>::max();
            decoder.generate(random_prompt(5, seed + 99), some(20));
            const Generation again = decoder.generate(prompt, some(40));
            CHECK(again.tokens == expected.tokens);
            CHECK(again.stats.rewound == expected.stats.rewound);
            CHECK(again.retrievals.size() == expected.retrievals.size());
        }
        CHECK(failed > 0);
    });
}

TEST_CASE("methods: a copy of a generator, at any need, writes what the original writes") {
    for_each_method([](auto policies) {
        const Tokens prompt = random_prompt(6, 5);
        const GenerateOptions options = some(30);
        for (std::size_t at = 0;; ++at) {
            CAPTURE(at);
            Attentive model = shaped_model();
            RandomRetriever retriever = books();
            Generator generator{policies};
            generator.start(prompt, options, {.vocab_size = vocab, .head = model.head()});
            for (std::size_t i = 0; i < at && generator.need().kind != Need::Kind::done; ++i)
                answer(generator, model, retriever);
            const bool done = generator.need().kind == Need::Kind::done;
            auto copy = generator;
            Attentive fork = model;
            RandomRetriever others = books();
            while (generator.need().kind != Need::Kind::done) answer(generator, model, retriever);
            while (copy.need().kind != Need::Kind::done) answer(copy, fork, others);
            const Generation run = generator.take();
            check_same(copy.take(), run);
            CHECK(std::ranges::equal(fork.tokens(), model.tokens()));
            if (done) break;
        }
    });
}

TEST_CASE("methods: chosen at run time they decide the same") {
    const auto check = [](auto policies) {
        for (std::uint64_t seed = 0; seed < 20; ++seed) {
            const Tokens prompt = random_prompt(3 + seed, seed);
            Attentive model = shaped_model(), other = shaped_model();
            RandomRetriever retriever = books();
            const Generation typed = Decoder{model, retriever, policies}.generate(prompt, some(40));
            check_same(Decoder{other, retriever, in_front(policies.method())}.generate(prompt, some(40)), typed);
        }
    };
    check(presets::flare(ends, {.threshold = 0.16, .mask = 0.12, .look_ahead = 7}));
    check(presets::dragin(ends, counts, {.threshold = 2.6, .query_words = 5, .look_ahead = 7}));
    check(presets::etc(counts, {.alpha = 0.2, .query_words = 5}));
    check(presets::ircot(ends, answers));
}

TEST_CASE("methods: nothing found, one token, no prompt, full windows and other layouts end like everything else") {
    for_each_method([](auto policies) {
        NoPassages nothing;
        RandomRetriever retriever = books();
        Attentive model = shaped_model();
        const Generation closed = Decoder{model, nothing, Policies{}.schedule(Never{})}.generate(Tokens{7, 8}, some(40));
        const Generation run = Decoder{model, nothing, policies}.generate(Tokens{7, 8}, some(40));
        // Without passages what is written anew is what was written.
        CHECK(closed.tokens.size() >= run.tokens.size());
        CHECK(std::ranges::equal(run.tokens, first_of(closed.tokens, run.tokens.size())));
        CHECK((run.stop == StopReason::schedule || run.tokens.size() == closed.tokens.size()));

        Decoder no_prompt{model, retriever, policies};
        CHECK(no_prompt.generate(Tokens{}, some(30)).tokens.size() <= 30);
        CHECK(no_prompt.generate(Tokens{7}, some(0)).tokens.empty());
        CHECK(no_prompt.generate(Tokens{7}, some(1)).tokens.size() <= 1);

        for (const std::size_t window : {24u, 31u}) {
            Attentive small{vocab, window};
            small.change_logits = model.change_logits;
            Decoder full{small, retriever, policies.overflow(AnyOverflow{DropOldest{}})};
            const Generation longer = full.generate(random_prompt(9), {.max_tokens = 90, .passages = 1, .ignore_eos = true});
            CHECK((longer.tokens.size() == 90 || longer.stop == StopReason::schedule));
            CHECK(longer.stats.counts.evaluated + longer.stats.counts.reused == longer.stats.counts.requested);
        }
        for (const auto& layout : {AnyLayout{AppendPassages{}}, AnyLayout{Sticky{}}, AnyLayout{AppendAndRepeat{3}}}) {
            Decoder behind{model, retriever, policies.layout(layout)};
            const Generation text = behind.generate(random_prompt(9), {.max_tokens = 50, .passages = 2, .ignore_eos = true});
            CHECK((text.tokens.size() == 50 || text.stop == StopReason::schedule));
            CHECK(text.stats.rewinds <= 50);
        }
    });
    const auto all = [](TokenSpan context) { return !context.empty(); };
    const auto one_token = [](auto method) {
        Attentive model{1};
        RandomRetriever retriever{3, 4, 1, 1};
        CHECK(Decoder{model, retriever, in_front(std::move(method))}.generate(Tokens{0, 0}, some(30)).tokens == Tokens(30, 0));
    };
    one_token(Flare{all});
    one_token(Flare{all, {.threshold = 0}});
    one_token(Dragin{all});
    one_token(Dragin{all, EveryToken{}, {.threshold = 0}});
    one_token(Etc{});
    one_token(IrCot{all});
}

TEST_CASE("methods: the loop ends, whatever is doubted, and max_rewinds ends it sooner") {
    const auto check = [](auto method) {
        const auto policies = in_front(std::move(method));
        Attentive model = shaped_model();
        RandomRetriever retriever = books();
        const GenerateOptions options{.max_tokens = 60, .passages = 2, .ignore_eos = true};
        const Generation run = Decoder{model, retriever, policies}.generate(random_prompt(5), options);
        CHECK(run.tokens.size() == 60);
        CHECK(run.stats.rewinds > 3);
        CHECK(run.stats.rewinds <= 60);  // each is for other tokens
        GenerateOptions few = options;
        few.max_rewinds = 3;
        const Generation shorter = Decoder{model, retriever, policies}.generate(random_prompt(5), few);
        CHECK(to_string(shorter.stop) == "max_rewinds");
        CHECK(shorter.stats.rewinds == 3);
    };
    check(Flare{ends, {.threshold = 0, .look_ahead = 5}});
    check(Flare{ends, {.threshold = 1, .look_ahead = 1}});
    check(Dragin{ends, EveryToken{}, {.threshold = 0, .look_ahead = 2}});
    check(Etc{EveryToken{}, {.alpha = 1e-9}});
    const auto each = [](TokenSpan context) { return context.size() % 2 == 0; };
    ReflectionRatio always{each, {.retrieve = 3, .no_retrieve = 4, .delta = 0}};
    check(WithLast<decltype(always)>{always});
}

TEST_CASE("methods: beside another one, which puts the end off, each goes on") {
    // FLARE takes words back at max_tokens that the other may never have seen.
    const auto check = [](auto other) {
        for (std::uint64_t seed = 0; seed < 20; ++seed) {
            CAPTURE(seed);
            Attentive model = shaped_model();
            RandomRetriever retriever = books();
            Erased flare{Flare{ends, {.threshold = 0.16, .mask = 0.12, .look_ahead = 7}}};
            Both both{Erased{other}, flare};
            Decoder decoder{model, retriever, in_front(both)};
            const GenerateOptions options{.max_tokens = 20 + seed, .passages = 2, .ignore_eos = true};
            const Generation run = decoder.generate(random_prompt(5, seed), options);
            CHECK((run.stop == StopReason::schedule || run.tokens.size() == 20 + seed));
            CHECK(run.stats.rewinds <= 2 * options.max_tokens);
            CHECK(run.stats.counts.evaluated + run.stats.counts.reused == run.stats.counts.requested);
            CHECK(decoder.generate(random_prompt(5, seed), options).tokens == run.tokens);
        }
    };
    check(IrCot{ends, answers, {.steps = 99}});
    check(Dragin{ends, counts, {.threshold = 2.6, .query_words = 5, .look_ahead = 7}});
    check(Etc{counts, {.alpha = 0.2, .query_words = 5}});
    ReflectionRatio ratio{ends, {.retrieve = 3, .no_retrieve = 4}};
    check(WithLast<decltype(ratio)>{ratio});
}

TEST_CASE("methods: logits that are no numbers are an error, and a model without attention is one in words") {
    for_each_method([](auto policies) {
        Attentive model = shaped_model();
        model.change_logits = [](std::size_t evaluations, std::span<float> logits) {
            shape(logits);
            if (evaluations == 9) logits[5] = std::numeric_limits<float>::quiet_NaN();
        };
        RandomRetriever retriever = books();
        Decoder decoder{model, retriever, policies};
        const GenerateOptions options{.max_tokens = 60, .passages = 2, .ignore_eos = true};
        std::string sentence;
        try {
            const Generation run = decoder.generate(random_prompt(7), options);
            CHECK(to_string(run.stop) == "schedule");  // it ended before that
        } catch (const Error& error) {
            sentence = error.what();
            CHECK(sentence == "the logit of token 5 is not a number");
        }
        NullModel plain{vocab};
        Decoder without{plain, retriever, policies};
        if (!policies.wants_attention()) return;
        CHECK(error_of(ErrorCode::contract, [&] { without.generate(random_prompt(7), options); }).find("AttentiveModel") !=
              std::string::npos);
    });
}

TEST_CASE("methods: IRCoT ends after the sentence that answers, and each sentence is a query") {
    std::size_t answered = 0;
    for (std::uint64_t seed = 0; seed < 60; ++seed) {
        CAPTURE(seed);
        Attentive model = shaped_model();
        RandomRetriever retriever = books();
        const Tokens prompt = random_prompt(4, seed);
        const Generation run = Decoder{model, retriever, presets::ircot(ends, answers)}.generate(
            prompt, {.max_tokens = 200, .passages = 2, .ignore_eos = true});
        REQUIRE(!run.retrievals.empty());
        CHECK(run.retrievals[0].query_tokens == prompt);
        CHECK(run.stats.rewinds == 0);
        CHECK(run.retrievals.size() <= 8);
        for (std::size_t i = 1; i < run.retrievals.size(); ++i) {
            const auto& query = run.retrievals[i].query_tokens;
            CHECK(query.back() == stop);
            CHECK(query.size() != 3);
            CHECK(query.size() == run.retrievals[i].at - run.retrievals[i - 1].at);
            CHECK(std::ranges::equal(query, TokenSpan{run.tokens}.subspan(run.retrievals[i - 1].at, query.size())));
        }
        if (run.stop != StopReason::schedule) continue;
        const std::size_t last = run.tokens.size() - run.retrievals.back().at;
        CHECK((last == 3 || run.retrievals.size() == 8));
        answered += last == 3;
    }
    CHECK(answered > 5);
}

}  // namespace test_decoder_methods
