/// \file How a trace is written.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/format/atomic_file.hpp"
#include "flashback/measure/detail/trace_page.hpp"
#include "flashback/measure/detail/trace_script.hpp"
#include "flashback/measure/detail/trace_script_events.hpp"
#include "flashback/measure/reuse_trace.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

namespace detail {

using TraceJson = nlohmann::ordered_json;

/// As JSON; bytes that are not UTF-8 become U+FFFD. No `<`, `>` or `&` is left, so it may stand inside of HTML.
inline std::string dump_for_page(const TraceJson& json) {
    std::string text;
    for (const char c : json.dump(-1, ' ', false, TraceJson::error_handler_t::replace)) {
        switch (c) {  // these stand in strings only
            case '<': text += "\\u003c"; break;
            case '>': text += "\\u003e"; break;
            case '&': text += "\\u0026"; break;
            default: text += c;
        }
    }
    return text;
}

inline TraceJson json_of(const TokenCounts& counts) {
    return {{"requested", counts.requested},
            {"evaluated", counts.evaluated},
            {"reused", counts.reused},
            {"discarded", counts.discarded}};
}

inline TraceJson json_of(const Seconds& seconds) {
    return {{"retrieve", seconds.retrieve}, {"prefill", seconds.prefill}, {"decode", seconds.decode}, {"total", seconds.total}};
}

inline TraceJson json_of(const std::vector<TraceSpan>& spans) {
    TraceJson all = TraceJson::array();
    for (const TraceSpan& span : spans) all.push_back({static_cast<int>(span.kind), span.begin, span.count});
    return all;
}

inline std::string query_of(const Retrieval& retrieval, TraceText spell) {
    std::string query = retrieval.query_text;
    if (query.empty())
        for (const TokenId token : retrieval.query_tokens) query += spell(token);
    return query;
}

/// What a search was asked for and found.
inline TraceJson search_of(const Retrieval& retrieval, TraceText spell) {
    TraceJson passages = TraceJson::array();
    for (const RetrievedPassage& p : retrieval.passages)
        passages.push_back({{"id", p.id}, {"title", p.title}, {"score", p.score}, {"tokens", p.tokens}});
    return {{"at", retrieval.at},
            {"rewound", retrieval.rewound},
            {"query", query_of(retrieval, spell)},
            {"passages", std::move(passages)}};
}

inline TraceJson json_of(const Retrieval& retrieval, TraceText spell) {
    TraceJson json = search_of(retrieval, spell);
    json["seconds"] = retrieval.seconds;
    json.update(json_of(retrieval.counts));
    return json;
}

inline TraceJson with_seconds(TraceJson json, double seconds) {
    json["seconds"] = seconds;
    return json;
}

inline TraceJson json_of(const TracedPlan& plan) {
    TraceJson contexts = TraceJson::array();
    for (const TracedContext& context : plan.contexts) {
        contexts.push_back({{"size", context.size},
                            {"kept", context.kept},
                            {"spans", json_of(context.spans)},
                            {"beside", json_of(context.beside)}});
    }
    return {{"at", plan.at},
            {"rewound", plan.rewound},
            {"retrieval", plan.retrieval ? TraceJson(*plan.retrieval) : TraceJson(nullptr)},
            {"counts", json_of(plan.counts)},
            {"steps", json_of(plan.steps)},
            {"seconds", json_of(plan.seconds)},
            {"unfinished", json_of(plan.unfinished)},
            {"written", {plan.written.begin, plan.written.count}},
            {"prepend", plan.prepend},
            {"recompute", plan.recompute},
            {"contexts", std::move(contexts)}};
}

inline TraceJson json_of(const ReuseTrace& trace, TraceText spell) {
    std::map<TokenId, std::size_t> places;
    TraceJson ids = TraceJson::array();
    TraceJson pieces = TraceJson::array();
    TraceJson tokens = TraceJson::array();
    for (const TokenId token : trace.tokens()) {
        const auto [place, is_new] = places.try_emplace(token, places.size());
        if (is_new) {
            ids.push_back(token);
            pieces.push_back(spell(token));
        }
        tokens.push_back(place->second);
    }
    const Generation& generation = trace.generation();
    const Statistics& stats = generation.stats;
    TraceJson all{{"retrievals", stats.retrievals}, {"rewinds", stats.rewinds},     {"rewound", stats.rewound},
                  {"dropped", stats.dropped},       {"shortened", stats.shortened}, {"seconds", json_of(stats.seconds)}};
    all.update(json_of(stats.counts));
    TraceJson plans = TraceJson::array();
    for (const TracedPlan& plan : trace.plans()) plans.push_back(json_of(plan));
    TraceJson retrievals = TraceJson::array();
    for (const Retrieval& retrieval : generation.retrievals) retrievals.push_back(json_of(retrieval, spell));
    TraceJson description = TraceJson::array();
    for (const auto& [name, text] : trace.description()) description.push_back({name, text});
    return {{"description", std::move(description)},
            {"generated", generation.tokens.size()},
            {"stop", std::string{to_string(generation.stop)}},
            {"stats", std::move(all)},
            {"prompt", {trace.prompt().begin, trace.prompt().count}},
            {"ids", std::move(ids)},
            {"pieces", std::move(pieces)},
            {"tokens", std::move(tokens)},
            {"plans", std::move(plans)},
            {"retrievals", std::move(retrievals)}};
}

/// Trace events, one after the other in time: a slice begins where the last one ended at the earliest.
class TraceEvents {
public:
    void slice(std::string_view name, double begin, double end, TraceJson args) {
        begin = std::max(begin, end_);
        end_ = std::max(begin, end);
        add({{"name", std::string{name}}, {"ph", "X"}, {"ts", 1e6 * begin}, {"dur", 1e6 * (end_ - begin)}}, std::move(args));
    }
    void counters(std::size_t evaluated, std::size_t prepend, std::size_t recompute) {
        add({{"name", "evaluated tokens"}, {"ph", "C"}, {"ts", 1e6 * end_}},
            {{"this run", evaluated}, {"prepend", prepend}, {"recompute", recompute}});
    }
    void name(std::string_view what, std::string_view name) {
        add({{"name", std::string{what}}, {"ph", "M"}}, {{"name", std::string{name}}});
    }
    TraceJson take(TraceJson other) {
        return {{"traceEvents", std::move(events_)}, {"displayTimeUnit", "ms"}, {"otherData", std::move(other)}};
    }

private:
    void add(TraceJson event, TraceJson args) {
        event["pid"] = 1;
        event["tid"] = 1;
        event["args"] = std::move(args);
        events_.push_back(std::move(event));
    }

    TraceJson events_ = TraceJson::array();
    double end_ = 0;
};

}  // namespace detail

FLASHBACK_DETAIL_ONCE std::string reuse_trace_data(const ReuseTrace& trace, TraceText spell) {
    return detail::dump_for_page(detail::json_of(trace, spell));
}

FLASHBACK_DETAIL_ONCE std::string reuse_trace_page(const ReuseTrace& trace, TraceText spell) {
    std::string page{detail::trace_page_front};
    page += reuse_trace_data(trace, spell);
    page += detail::trace_page_script;
    page += detail::trace_page_events;
    return page;
}

FLASHBACK_DETAIL_ONCE std::string reuse_trace_events(const ReuseTrace& trace, TraceText spell) {
    detail::TraceEvents events;
    events.name("process_name", "flashback");
    events.name("thread_name", "generation");
    std::size_t evaluated = 0;
    std::size_t prepend = 0;
    std::size_t recompute = 0;
    for (const TracedPlan& plan : trace.plans()) {
        const double planned = plan.done - plan.seconds.prefill;
        if (plan.retrieval && *plan.retrieval < trace.generation().retrievals.size()) {
            const Retrieval& retrieval = trace.generation().retrievals[*plan.retrieval];
            events.slice("search", planned - plan.seconds.retrieve, planned,
                         detail::with_seconds(detail::search_of(retrieval, spell), plan.seconds.retrieve));
        }
        events.slice("plan", planned, plan.done, detail::with_seconds(detail::json_of(plan.counts), plan.seconds.prefill));
        events.counters(evaluated += plan.counts.evaluated, prepend += plan.prepend, recompute += plan.recompute);
        for (std::size_t i = 0; i < plan.written_at.size(); ++i) {
            const TokenId token = trace.tokens()[plan.written.begin + i];
            events.slice("token", i == 0 ? plan.done : plan.written_at[i - 1], plan.written_at[i],
                         {{"token", token}, {"text", spell(token)}});
        }
        evaluated += plan.steps.evaluated;
        prepend += plan.steps.evaluated;
        recompute += plan.steps.evaluated;
        events.counters(evaluated, prepend, recompute);
    }
    detail::TraceJson other = detail::TraceJson::object();
    for (const auto& [name, text] : trace.description()) other[name] = text;
    return detail::dump_for_page(events.take(std::move(other)));
}

FLASHBACK_DETAIL_ONCE void write_reuse_trace(const std::filesystem::path& path, const ReuseTrace& trace, TraceText spell) {
    const std::string ending = path.extension().string();
    FLASHBACK_ASSERT(ending == ".html" || ending == ".json",
                     "a trace goes to a file whose name ends in .html or .json, found '", path.string(), "'");
    AtomicFile file{path};
    file.write(ending == ".html" ? reuse_trace_page(trace, spell) : reuse_trace_events(trace, spell));
    file.finish();
}

}  // namespace flashback::inline FLASHBACK_ISA
