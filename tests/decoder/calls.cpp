// The table at the top of policy/step_view.hpp, call by call.
#include "flashback/decoder/decoder.hpp"

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include <doctest/doctest.h>

namespace test_decoder_calls {

using namespace flashback;

namespace {

using Log = std::vector<std::string>;
using Tokens = std::vector<TokenId>;

std::string seen(const StepView& step) {
    return " context " + std::to_string(step.context.size()) + " generated " + std::to_string(step.generated()) +
           " retrievals " + std::to_string(step.retrievals) + " since " + std::to_string(step.since_retrieval) + " logits " +
           std::to_string(step.logits.size()) + " rewind " + std::to_string(step.rewind);
}

template <class... Numbers>
std::string line(const char* name, Numbers... numbers) {
    std::string text = name;
    ((text += ' ' + std::to_string(numbers)), ...);
    return text;
}

struct Logging {
    Log* log;
    void write(std::string text) const { log->push_back(std::move(text)); }
};

/// Gives the tokens 10, 11, 12, ... whatever it reads.
struct Model : Logging {
    std::size_t window_size;
    std::vector<float> logits = std::vector<float>(100);
    Tokens held{};
    Tokens head_tokens{1};

    std::span<const float> evaluate(TokenSpan tokens) {
        write(line("evaluate", tokens.size()));
        append(held, tokens);
        logits.assign(100, 0);
        logits[next++] = 1;
        return logits;
    }
    void truncate(std::size_t n) {
        write(line("truncate", n));
        held.resize(n);
    }
    std::size_t size() const { return held.size(); }
    std::size_t vocab_size() const { return 100; }
    std::size_t window() const { return window_size; }
    TokenSpan head() const { return head_tokens; }
    TokenSpan tokens() const { return held; }
    static bool is_end(TokenId token) { return token == 20; }

    std::size_t next = 10;
};

struct Schedule : Logging {
    std::vector<Decision> script;
    std::size_t at = 0;
    Decision operator()(const StepView& step) {
        write("schedule" + seen(step));
        return at < script.size() ? script[at++] : Decision::go_on();
    }
    void reset() const { write("reset schedule"); }
};
struct QueryFrom : Logging {
    Query operator()(const StepView& step) const {
        write("query" + seen(step));
        return {step.kept()};
    }
    void reset() const { write("reset query"); }
};
struct Wrapper : Logging {
    MarkerTokens tokens{98, 99};
    TokenSpan markers() const { return tokens.markers(); }
    void operator()(TokenSpan passage, TokenBuffer& out) const {
        write(line("wrapper", passage.size()));
        tokens(passage, out);
    }
};
struct Layout : Logging {
    void operator()(const LayoutParts& parts, TokenBuffer& out) const {
        std::size_t tokens = 0;  // of all passages
        for (const TokenSpan passage : parts.passages) tokens += passage.size();
        write(line("layout", parts.head.size(), tokens, parts.context.size()));
        AppendPassages{}(parts, out);
    }
};
struct Reuse : Logging {
    std::size_t operator()(TokenSpan held, TokenSpan wanted) const {
        write(line("reuse", held.size(), wanted.size()));
        return common_prefix(held, wanted);
    }
};
struct Sampling : Logging {
    TokenId operator()(std::span<const float> logits, const StepView& step) const {
        write("sampler" + seen(step));
        return Greedy{}(logits);
    }
    void reset() const { write("reset sampler"); }
};
struct Overflowing : Logging {
    std::size_t operator()(const FullWindow& full) const {
        write(line("overflow", full.window, full.wanted, full.context));
        return DropOldest{}(full);
    }
};
struct Stopping : Logging {
    std::size_t stop_at;
    bool operator()(const StepView& step) const {
        write("stopping" + seen(step));
        return step.generated() == stop_at;
    }
    void reset() const { write("reset stopping"); }
};
struct Library : Logging {
    Tokens one{5, 6};
    Tokens two{9};
    std::vector<Passage> found{{"a", "", "", one}, {"b", "", "", two}};
    std::span<const Passage> retrieve(const Query& query, std::size_t k) const {
        write(line("retrieve", query.tokens.size(), k));
        return found;
    }
};
struct Callback : Logging {
    void operator()(TokenId token) const { write(line("token", token)); }
    void rewind(std::size_t n) const { write(line("rewind", n)); }
};

Log calls_of(std::size_t window, std::vector<Decision> script, std::size_t stop_at, std::size_t max_tokens = 100) {
    Log log;
    const Logging to{&log};
    Model model{to, window};
    Library library{to};
    Policies policies{Schedule{to, std::move(script)},
                      QueryFrom{to},
                      Wrapper{to},
                      Layout{to},
                      Reuse{to},
                      Sampling{to},
                      Overflowing{to},
                      Stopping{to, stop_at}};
    Decoder decoder{model, library, policies};
    decoder.generate(Tokens{7, 8}, {.max_tokens = max_tokens, .passages = 2}, Callback{to});
    return log;
}

void check_log(const Log& found, const Log& expected) {
    for (std::size_t i = 0; i < std::min(found.size(), expected.size()); ++i) {
        CAPTURE(i);
        REQUIRE(found[i] == expected[i]);
    }
    CHECK(found.size() == expected.size());
}

const Log resets{"reset schedule", "reset query", "reset sampler", "reset stopping"};

Log joined(Log log, const Log& more) {
    log.insert(log.end(), more.begin(), more.end());
    return log;
}

}  // namespace

TEST_CASE("A generation that retrieves, takes back and drops calls its policies in the documented order, with true steps") {
    const Decision go = Decision::go_on();
    check_log(calls_of(12, {Decision::retrieve(), go, go, Decision::retrieve(2)}, 4),
              joined(resets,
                     {
                         // A retrieval before the first token: 1 of the head, 2 of the prompt, passages of 4 + 3 with markers.
                         "schedule context 2 generated 0 retrievals 0 since 0 logits 0 rewind 0",
                         "query context 2 generated 0 retrievals 0 since 0 logits 0 rewind 0",
                         "retrieve 2 2",
                         "wrapper 2",
                         "wrapper 1",
                         "layout 1 7 2",
                         "reuse 0 10",
                         "evaluate 10",
                         "sampler context 2 generated 0 retrievals 1 since 0 logits 0 rewind 0",
                         "stopping context 3 generated 1 retrievals 1 since 1 logits 100 rewind 0",
                         "token 10",
                         // Two tokens without a plan.
                         "schedule context 3 generated 1 retrievals 1 since 1 logits 100 rewind 0",
                         "evaluate 1",
                         "sampler context 3 generated 1 retrievals 1 since 1 logits 0 rewind 0",
                         "stopping context 4 generated 2 retrievals 1 since 2 logits 100 rewind 0",
                         "token 11",
                         "schedule context 4 generated 2 retrievals 1 since 2 logits 100 rewind 0",
                         "evaluate 1",
                         "sampler context 4 generated 2 retrievals 1 since 2 logits 0 rewind 0",
                         "stopping context 5 generated 3 retrievals 1 since 3 logits 100 rewind 0",
                         "token 12",
                         // A retrieval that takes 11 and 12 back.
                         "schedule context 5 generated 3 retrievals 1 since 3 logits 100 rewind 0",
                         "query context 5 generated 3 retrievals 1 since 3 logits 100 rewind 2",
                         "retrieve 3 2",
                         "rewind 2",
                         "wrapper 2",
                         "wrapper 1",
                         "layout 1 7 3",
                         "reuse 12 11",
                         "truncate 3",
                         "evaluate 8",
                         "sampler context 3 generated 1 retrievals 2 since 0 logits 0 rewind 0",
                         "stopping context 4 generated 2 retrievals 2 since 1 logits 100 rewind 0",
                         "token 13",
                         // One more token fits.
                         "schedule context 4 generated 2 retrievals 2 since 1 logits 100 rewind 0",
                         "evaluate 1",
                         "sampler context 4 generated 2 retrievals 2 since 1 logits 0 rewind 0",
                         "stopping context 5 generated 3 retrievals 2 since 2 logits 100 rewind 0",
                         "token 14",
                         // The next one does not: 2 of the 4 positions that head and passages leave are filled again.
                         "schedule context 5 generated 3 retrievals 2 since 2 logits 100 rewind 0",
                         "wrapper 2",
                         "wrapper 1",
                         "layout 1 7 5",
                         "reuse 12 13",
                         "overflow 12 13 5",
                         "wrapper 2",
                         "wrapper 1",
                         "layout 1 7 2",
                         "reuse 12 10",
                         "truncate 1",
                         "evaluate 9",
                         "sampler context 5 generated 3 retrievals 2 since 2 logits 0 rewind 0",
                         "stopping context 6 generated 4 retrievals 2 since 3 logits 100 rewind 0",
                         "token 15",
                     }));
}

TEST_CASE("A generation without retrieval plans once, before its first token") {
    check_log(calls_of(12, {}, 100, 2),
              joined(resets, {
                                 "schedule context 2 generated 0 retrievals 0 since 0 logits 0 rewind 0",
                                 "layout 1 0 2",
                                 "reuse 0 3",
                                 "evaluate 3",
                                 "sampler context 2 generated 0 retrievals 0 since 0 logits 0 rewind 0",
                                 "stopping context 3 generated 1 retrievals 0 since 1 logits 100 rewind 0",
                                 "token 10",
                                 "schedule context 3 generated 1 retrievals 0 since 1 logits 100 rewind 0",
                                 "evaluate 1",
                                 "sampler context 3 generated 1 retrievals 0 since 1 logits 0 rewind 0",
                                 "stopping context 4 generated 2 retrievals 0 since 2 logits 100 rewind 0",
                                 "token 11",
                             }));
}

TEST_CASE("The token that ends the text is neither counted nor told to anyone") {
    const Log log = calls_of(100, {}, 100, 50);
    CHECK(log[log.size() - 1] == "sampler context 12 generated 10 retrievals 0 since 10 logits 0 rewind 0");
    CHECK(log[log.size() - 2] == "evaluate 1");
}

TEST_CASE("A schedule that stops is the last to be asked") {
    const Log log = calls_of(100, {Decision::go_on(), Decision::go_on(), Decision::stop()}, 100, 50);
    CHECK(log.back() == "schedule context 4 generated 2 retrievals 0 since 2 logits 100 rewind 0");
    CHECK(log[log.size() - 2] == "token 11");
}

TEST_CASE("The logits of a step are those that the newest token was taken from, after masking") {
    Log log;
    const Logging to{&log};
    Model model{to, 100};
    NoPassages nothing;
    std::size_t steps = 0;
    const auto schedule = [&](const StepView& step) {
        if (step.generated() == 0) return false;
        ++steps;
        CHECK(step.logits[98] == -std::numeric_limits<float>::infinity());
        CHECK(step.logits[5] == -std::numeric_limits<float>::infinity());
        CHECK(step.last_token() == Greedy{}(step.logits));
        // One logit of 1, 97 of 0, two masked.
        CHECK(step.probability() == doctest::Approx(std::exp(1.0) / (std::exp(1.0) + 97)));
        CHECK(step.margin() == doctest::Approx((std::exp(1.0) - 1) / (std::exp(1.0) + 97)));
        return false;
    };
    Decoder decoder{model, nothing, Policies{}.schedule(schedule).wrapper(MarkerTokens{98, 98})};
    const Tokens masked{5};
    decoder.generate(Tokens{7, 8}, {.max_tokens = 6, .masked = masked});
    CHECK(steps == 5);
}

}  // namespace test_decoder_calls
