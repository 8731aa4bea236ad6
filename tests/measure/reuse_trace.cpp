// A trace says what the model holds, position by position, and what it cost; what others would have cost, others do cost.
#include "flashback/measure/reuse_trace.hpp"

#include "flashback/decoder/decoder.hpp"
#include "flashback/model/session.hpp"
#include "flashback/policy/any_policy.hpp"
#include "flashback/testing/null_model.hpp"
#include "support/errors.hpp"
#include "support/null_model.hpp"
#include "support/random_model.hpp"
#include "support/random_retriever.hpp"
#include "support/temporary_folder.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>

#include <doctest/doctest.h>

namespace test_measure_reuse_trace {

using namespace flashback;
using namespace flashback_test;

/// A token that depends on its place in the text alone: so all layouts write the same.
struct Scripted {
    TokenId operator()(std::span<const float> logits, const StepView& step) const {
        return static_cast<TokenId>(5 + step.context.size() * 7 % (logits.size() - 5));  // no marker
    }
};

/// The kinds of all positions, one letter each: h, t, p, m, o.
std::string letters(const std::vector<TraceSpan>& spans) {
    std::string all;
    for (const TraceSpan& span : spans) all.append(span.count, to_string(span.kind).front());
    return all;
}

TokenBuffer expand(const ReuseTrace& trace, const std::vector<TraceSpan>& spans) {
    TokenBuffer all;
    for (const TraceSpan& span : spans) append(all, trace.tokens().subspan(span.begin, span.count));
    return all;
}

/// Records, and compares each plan with what the model holds.
template <class Model>
struct Watched {
    ReuseTrace& trace;
    const Model& model;

    void operator()(TokenId token) { trace(token); }
    void rewind(std::size_t tokens) { trace.rewind(tokens); }
    void planned(const CarriedOutPlan& plan) {
        trace.planned(plan);
        const TracedPlan& traced = trace.plans().back();
        REQUIRE(traced.contexts.size() == 1);
        CHECK(std::ranges::equal(expand(trace, traced.contexts[0].spans), model.secret_tokens()));
        CHECK(traced.contexts[0].size == model.size());
        CHECK(traced.counts.reused == traced.contexts[0].kept);
        CHECK(traced.counts.evaluated == traced.contexts[0].size - traced.contexts[0].kept);
        CHECK(traced.contexts[0].size == traced.counts.requested);
    }
};

/// What a trace sums up to is what the statistics say.
void check_sums(const ReuseTrace& trace, const Generation& generation) {
    TokenCounts counts;
    Seconds seconds;
    std::size_t retrievals = 0;
    std::size_t written = 0;
    for (const TracedPlan& plan : trace.plans()) {
        counts += plan.counts;
        counts += plan.steps;
        seconds += plan.seconds;
        seconds += plan.unfinished;
        written += plan.written.count;
        written -= plan.rewound;
        CHECK(plan.written_at.size() == plan.written.count);
        CHECK(std::ranges::is_sorted(plan.written_at));
        if (!plan.retrieval) continue;
        const Retrieval& retrieval = generation.retrievals.at(retrievals++);
        CHECK(*plan.retrieval == retrievals - 1);
        CHECK(plan.counts == retrieval.counts);
        CHECK(plan.at == retrieval.at);
        CHECK(plan.rewound == retrieval.rewound);
        CHECK(plan.seconds.retrieve + plan.seconds.prefill == doctest::Approx(retrieval.seconds));
    }
    CHECK(counts == generation.stats.counts);
    CHECK(retrievals == generation.stats.retrievals);
    CHECK(written == generation.tokens.size());
    CHECK(seconds.retrieve == doctest::Approx(generation.stats.seconds.retrieve));
    CHECK(seconds.prefill == doctest::Approx(generation.stats.seconds.prefill));
    CHECK(seconds.decode == doctest::Approx(generation.stats.seconds.decode));
}

std::size_t sum(const ReuseTrace& trace, std::size_t TracedPlan::*way) {
    std::size_t all = 0;
    for (const TracedPlan& plan : trace.plans()) all += plan.*way + plan.steps.evaluated;
    return all;
}

constexpr std::size_t vocab = 50;
const TokenBuffer prompt{7, 8, 9, 10, 11, 12, 13, 14, 15, 16};

Generation run(ReuseTrace& trace, const AnyLayout& layout, const AnySchedule& schedule, std::size_t passages,
               const AnyReuse& reuse = AnyReuse{KeepCommonPrefix{}}, std::size_t window = 1000) {
    FullNullModel model{vocab, window};
    RandomRetriever retriever{3, 9, vocab, 4};  // of three passages some are found again
    Decoder decoder{model, retriever,
                    AnyPolicies{}
                        .layout(layout)
                        .schedule(schedule)
                        .reuse(reuse)
                        .wrapper(AnyWrapper{MarkerTokens{3, 4}})
                        .overflow(AnyOverflow{DropOldest{}})
                        .sampler(AnySampler{Scripted{}})};
    Generation generation = decoder.generate(prompt, {.max_tokens = 70, .passages = passages, .ignore_eos = true},
                                             Watched<FullNullModel>{trace, model});
    trace.finish(generation);
    check_sums(trace, generation);
    return generation;
}

/// Takes two tokens back at every retrieval but the first.
struct TakesBack {
    Decision operator()(const StepView& step) const {
        if (step.retrievals == 0) return true;
        if (step.since_retrieval < 9) return false;
        return Decision::retrieve(2);
    }
};

void check_layouts(const AnySchedule& schedule) {
    for (const std::size_t passages : {0u, 1u, 3u}) {
        CAPTURE(passages);
        ReuseTrace prepend;
        const Generation in_front = run(prepend, AnyLayout{PrependPassages{}}, schedule, passages);
        CHECK(sum(prepend, &TracedPlan::prepend) == in_front.stats.counts.evaluated);
        for (const AnyLayout& layout :
             {AnyLayout{AppendPassages{}}, AnyLayout{AppendAndRepeat{5}}, AnyLayout{Sticky{}}, AnyLayout{PrependPassages{}}}) {
            ReuseTrace trace;
            const Generation kept = run(trace, layout, schedule, passages);
            REQUIRE(kept.tokens == in_front.tokens);
            CHECK(sum(trace, &TracedPlan::prepend) == in_front.stats.counts.evaluated);
            ReuseTrace nothing_kept;
            const Generation anew = run(nothing_kept, layout, schedule, passages, AnyReuse{RecomputeAll{}});
            CHECK(sum(trace, &TracedPlan::recompute) == anew.stats.counts.evaluated);
        }
    }
}

TEST_CASE("A trace has what the model holds and what that cost, and what prepend and recompute really cost") {
    check_layouts(AnySchedule{EveryNTokens{8}});
    check_layouts(AnySchedule{Once{}});
    check_layouts(AnySchedule{Never{}});
    check_layouts(AnySchedule{TakesBack{}});
}

TEST_CASE("A full window is a plan without a retrieval") {
    ReuseTrace trace;
    const Generation generation =
        run(trace, AnyLayout{AppendPassages{}}, AnySchedule{EveryNTokens{30}}, 1, AnyReuse{KeepCommonPrefix{}}, 40);
    CHECK(generation.stats.dropped > 0);
    CHECK(trace.plans().size() > generation.retrievals.size());
}

TEST_CASE("A search after which the window is full has no plan, but its time counts") {
    ReuseTrace trace;
    FullNullModel model{vocab, 40};
    RandomRetriever retriever{3, 9, vocab, 4};
    Decoder decoder{model, retriever, Policies{}.schedule(EveryNTokens{1}).overflow(StopWhenFull{}).sampler(Scripted{})};
    const Generation generation =
        decoder.generate(prompt, {.max_tokens = 70, .passages = 1, .ignore_eos = true}, Watched<FullNullModel>{trace, model});
    trace.finish(generation);
    REQUIRE(generation.stop == StopReason::window_full);
    CHECK(trace.plans().back().unfinished.retrieve > 0);
    check_sums(trace, generation);
}

/// Retrieves every 6 tokens; at the first end it drops the passages, and takes tokens back.
struct DropsAtEnd {
    std::size_t rewind;
    std::size_t ends = 0;
    Decision operator()(const StepView& step) const { return step.retrievals == 0 || step.since_retrieval == 6; }
    Decision at_end(const StepView& /*step*/, StopReason /*reason*/) {
        return ends++ == 0 ? Decision::drop_passages(rewind) : Decision::go_on();
    }
};

/// Ends the text once, where it has so many tokens.
struct EndsOnce {
    std::size_t at;
    bool ended = false;
    TokenId operator()(std::span<const float> logits, const StepView& step) {
        if (step.context.size() == at && !std::exchange(ended, true)) return 2;
        return Scripted{}(logits, step);
    }
};

TEST_CASE("A plan whose own logits end the text, where the schedule drops its passages, is counted with the next one") {
    for (const std::size_t rewind : {0u, 2u}) {
        for (const std::size_t at : {prompt.size() + 6, prompt.size() + 8}) {
            CAPTURE(rewind);
            CAPTURE(at);
            ReuseTrace trace;
            FullNullModel model{vocab, 1000};
            RandomRetriever retriever{3, 9, vocab, 4};
            Decoder decoder{model, retriever, Policies{}.schedule(DropsAtEnd{rewind}).sampler(EndsOnce{at})};
            const Generation generation = decoder.generate(prompt, {.max_tokens = 20, .passages = 1}, trace);
            trace.finish(generation);
            REQUIRE(generation.stop == StopReason::max_tokens);
            TokenCounts counts;
            for (const TracedPlan& plan : trace.plans()) {
                counts += plan.counts;
                counts += plan.steps;
                CHECK(plan.steps.evaluated <= plan.written.count);
            }
            CHECK(counts == generation.stats.counts);
        }
    }
}

TEST_CASE("Kinds of tokens") {
    ReuseTrace trace;
    testing::NullModel model{vocab};
    testing::NullRetriever retriever{4, vocab};
    const auto policies =
        Policies{}.wrapper(MarkerTokens{3, 4}).schedule(EveryNTokens{6}).layout(AppendAndRepeat{2}).sampler(Scripted{});
    Decoder decoder{model, retriever, policies};
    trace.finish(decoder.generate(prompt, {.max_tokens = 8, .passages = 2, .head = TokenBuffer{1}}, trace));
    REQUIRE(trace.plans().size() == 2);
    CHECK(letters(trace.plans()[0].contexts[0].spans) ==
          "htttttttttt"
          "mppppm"
          "mppppm"
          "oo");
    CHECK(letters(trace.plans()[1].contexts[0].spans) ==
          "htttttttttttttttt"
          "mppppm"
          "mppppm"
          "oo");
    CHECK(trace.plans()[1].contexts[0].kept == 11);
    CHECK(trace.prompt().count == prompt.size());
}

TEST_CASE("Passages beside the text are beside the strip") {
    const auto generate = [](ReuseTrace& trace, const AnyReuse& reuse, bool joined) {
        testing::NullBlockModel model{vocab};
        testing::NullRetriever retriever{4, vocab};
        Decoder decoder{model, retriever,
                        Policies{}
                            .wrapper(MarkerTokens{3, 4})
                            .schedule(EveryNTokens{6})
                            .layout(PassagesAside{{.joined = joined}})
                            .reuse(reuse)
                            .sampler(Scripted{})};
        Generation generation = decoder.generate(prompt, {.max_tokens = 14, .passages = 2}, trace);
        trace.finish(generation);
        check_sums(trace, generation);
        return generation;
    };
    for (const bool joined : {false, true}) {
        ReuseTrace trace;
        ReuseTrace anew;
        static_cast<void>(generate(trace, AnyReuse{KeepCommonPrefix{}}, joined));
        const Generation recomputed = generate(anew, AnyReuse{RecomputeAll{}}, joined);
        REQUIRE(trace.plans().size() == 3);
        CHECK(letters(trace.plans()[1].contexts[0].spans) == std::string(16, 't'));
        CHECK(letters(trace.plans()[1].contexts[0].beside) == "mppppmmppppm");
        CHECK(sum(trace, &TracedPlan::recompute) == recomputed.stats.counts.evaluated);
    }
}

TEST_CASE("Each branch has a strip of its own") {
    Session session{random_model({.vocab = vocab})};
    RandomRetriever retriever{3, 9, vocab, 4};
    Decoder decoder{session, retriever, Policies{}.schedule(EveryNTokens{6}).fusion(MeanOfLogits{})};
    ReuseTrace trace;
    const Generation generation = decoder.generate(prompt, {.max_tokens = 20, .passages = 3, .ignore_eos = true}, trace);
    trace.finish(generation);
    check_sums(trace, generation);
    REQUIRE(trace.plans().size() == 4);
    for (const TracedPlan& plan : trace.plans()) {
        REQUIRE(plan.contexts.size() == 3);
        std::size_t evaluated = 0;
        for (const TracedContext& context : plan.contexts) evaluated += context.size - context.kept;
        CHECK(evaluated == plan.counts.evaluated);
    }
}

TEST_CASE("A trace that misses tokens says so") {
    testing::NullModel model{vocab};
    testing::NullRetriever retriever{4, vocab};
    Decoder decoder{model, retriever, Policies{}.schedule(EveryNTokens{6})};
    ReuseTrace trace;
    struct Deaf {
        ReuseTrace& trace;
        void operator()(TokenId /*token*/) const {}
        void planned(const CarriedOutPlan& plan) const { trace.planned(plan); }
    };
    check_error(ErrorCode::contract, "a trace heard of a text of 10 tokens, but the plan is of one with 16",
                [&] { static_cast<void>(decoder.generate(prompt, {.max_tokens = 20}, Deaf{trace})); });
}

/// Text that a page must not take for anything else.
constexpr auto hostile = [](TokenId token) -> std::string {
    switch (token % 8) {
        case 0: return "</script><img src=x onerror=alert(1)>";
        case 1: return "<!--<script>";
        case 2: return "\xff\xc3";
        case 3: return std::string("\0\x1b[31m\n\t", 7);
        case 4: return "\xe2\x80\xa8\xe2\x80\xae";
        case 5: return "\"\\'&amp;`${}";
        case 6: return "";
        default: return " word";
    }
};

std::size_t occurrences(const std::string& text, const std::string& part) {
    std::size_t all = 0;
    for (std::size_t at = text.find(part); at != text.npos; at = text.find(part, at + 1)) ++all;
    return all;
}

std::string read(const std::filesystem::path& path) {
    std::ifstream file{path, std::ios::binary};
    return {std::istreambuf_iterator<char>{file}, {}};
}

TEST_CASE("A page and events hold any text, and what was counted") {
    ReuseTrace trace;
    trace.describe("layout", "sticky");
    trace.describe("model", hostile(0));
    const Generation generation = run(trace, AnyLayout{Sticky{}}, AnySchedule{EveryNTokens{8}}, 2);
    const TemporaryFolder folder;
    write_reuse_trace(folder.path() / "t.html", trace, hostile);
    write_reuse_trace(folder.path() / "t.json", trace, hostile);

    const std::string page = read(folder.path() / "t.html");
    CHECK(occurrences(page, "<script") == 2);
    CHECK(occurrences(page, "</script") == 2);
    CHECK(occurrences(page, "<img") == 0);
    for (const char* network : {"http:", "https:", "src=", "import", "fetch(", "url("}) {
        CAPTURE(network);
        CHECK(occurrences(page, network) == (network == std::string{"src="} ? occurrences(page, "img src=x") : 0));
    }
    const std::string open = "id=\"trace\">";
    const std::size_t begin = page.find(open) + open.size();
    const std::string data = page.substr(begin, page.find("</script>", begin) - begin);
    CHECK(data == reuse_trace_data(trace, TraceText{hostile}));
    CHECK(data.find_first_of("<>&") == data.npos);
    CHECK(std::ranges::none_of(data, [](char c) { return static_cast<unsigned char>(c) < 0x20; }));
    const auto json = nlohmann::json::parse(data);
    CHECK(json["stats"]["evaluated"] == generation.stats.counts.evaluated);
    CHECK(json["plans"].size() == trace.plans().size());
    for (std::size_t i = 0; i < trace.tokens().size(); ++i)
        CHECK(json["ids"][json["tokens"][i].get<std::size_t>()] == trace.tokens()[i]);
    for (std::size_t i = 0; i < json["ids"].size(); ++i) {
        const auto token = json["ids"][i].get<TokenId>();
        CHECK(json["pieces"][i].get<std::string>() == (token % 8 == 2 ? "\xef\xbf\xbd\xef\xbf\xbd" : hostile(token)));
    }

    CHECK(json["description"] == nlohmann::json::array({{"layout", "sticky"}, {"model", hostile(0)}}));
    const auto file = nlohmann::json::parse(read(folder.path() / "t.json"));
    CHECK(file["otherData"] == nlohmann::json{{"layout", "sticky"}, {"model", hostile(0)}});
    const auto& events = file["traceEvents"];
    double end = 0;
    std::map<std::string, std::size_t> slices;
    nlohmann::json last;
    for (const auto& event : events) {
        if (event["ph"] == "X") {
            CHECK(event["ts"].get<double>() >= end - 1e-6);
            end = event["ts"].get<double>() + event["dur"].get<double>();
            CHECK(event["args"].contains("evaluated") == (event["name"] == "plan"));
            if (event["name"] != "token") {
                const Seconds& its = trace.plans()[slices["plan"]].seconds;
                CHECK(event["args"]["seconds"] == (event["name"] == "search" ? its.retrieve : its.prefill));
            }
            ++slices[event["name"]];
        }
        if (event["ph"] == "C") last = event["args"];
    }
    CHECK(slices["search"] == generation.stats.retrievals);
    CHECK(slices["plan"] == trace.plans().size());
    CHECK(slices["token"] == generation.tokens.size());
    CHECK(last["this run"] == generation.stats.counts.evaluated);
    CHECK(last["prepend"] == sum(trace, &TracedPlan::prepend));
    CHECK(last["recompute"] == sum(trace, &TracedPlan::recompute));

    check_error(ErrorCode::contract, "ends in .html or .json, found",
                [&] { write_reuse_trace(folder.path() / "t.svg", trace, hostile); });
    check_error(ErrorCode::io, "nowhere", [&] { write_reuse_trace(folder.path() / "nowhere" / "t.html", trace, hostile); });
    CHECK(nlohmann::json::parse(reuse_trace_data(ReuseTrace{}, TraceText{hostile}))["plans"].empty());
}

}  // namespace test_measure_reuse_trace
