#include "ppl_retrieval.hpp"

#include "engine.hpp"
#include "files_of_command.hpp"
#include "flashback/core/error.hpp"
#include "flashback/eval/retrieval_perplexity.hpp"
#include "flashback/eval/scheduled_perplexity.hpp"
#include "flashback/files/load.hpp"
#include "flashback/format/atomic_file.hpp"
#include "flashback/model/session.hpp"
#include "flashback/policy/any_policy.hpp"
#include "flashback/retrieval/bm25.hpp"
#include "flashback/retrieval/corpus.hpp"
#include "job.hpp"
#include "training_run.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <iomanip>
#include <iostream>
#include <memory>
#include <span>
#include <sstream>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace cli {
namespace {

namespace fb = flashback;
using Clock = std::chrono::steady_clock;

double since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

struct Measured {
    fb::ScheduledPerplexity found;  // without a schedule, what strides have of it
    fb::StrideOptions options;
    std::size_t documents;
    std::size_t words;
    std::vector<fb::TokenId> masked;
    bool markers;
    double retrieve_seconds;
    double evaluate_seconds;
    fb::MethodText text;
};

/// Blanks in the text of the tokens that were predicted.
std::size_t words_of(const fb::Tokenizer& tokenizer, fb::TokenSpan text, const Measured& m) {
    std::size_t blanks = 0;
    for (std::size_t i = 0; i < m.found.strides; ++i) {
        const std::string predicted = tokenizer.decode(text.subspan(m.options.init + i * m.options.stride, m.options.stride));
        blanks += static_cast<std::size_t>(std::ranges::count(predicted, ' '));
    }
    return blanks;
}

/// A row for each stride, so that two runs over the same strides can be compared stride by stride. A schedule has no passages that
/// belong to a stride: then there are no `strides`.
void write_log(const std::string& log, const Measured& m, const fb::RetrievedStrides& strides) {
    std::ostringstream rows;
    rows << "at,context," << (strides.size() > 0 ? "passages," : "") << "nats_per_token\n" << std::setprecision(9);
    for (std::size_t i = 0; i < m.found.strides; ++i) {
        const std::size_t read = i * m.options.stride;
        rows << m.options.init + read << ',' << m.options.context + (m.options.hold > 0 ? read % m.options.hold : 0) << ',';
        if (strides.size() > 0) rows << strides[i].found() << ',';
        rows << m.found.stride_nats[i] << '\n';
    }
    write_whole(log, rows.str());
}

void print_json(const RetrievalPplSettings& settings, const std::string& model, fb::DType cache, const Measured& m) {
    const fb::ScheduledPerplexity& p = m.found;
    Json json{{"model", model},
              {"cache", std::string{fb::layout_of(cache).name}},
              {"layout", settings.layout},
              {"repeat", settings.repeat},
              {"markers", m.markers},
              {"reuse", settings.reuse},
              {"stride", m.options.stride},
              {"init", m.options.init},
              {"context", m.options.context},
              {"hold", m.options.hold},
              {"schedule", m.text.schedule},
              {"query", m.text.query},
              {"query_tokens", settings.schedule.has_query() ? Json(nullptr) : Json(settings.query_tokens)},
              {"passages", m.options.passages},
              {"passage_tokens", m.options.passage_tokens},
              {"documents", m.documents},
              {"masked", m.masked},
              {"strides", p.strides},
              {"tokens", p.tokens},
              {"retrievals", p.retrievals},
              {"passages_found", p.passages},
              {"copied", p.copied},
              {"nats_per_token", p.nats},
              {"standard_error", p.standard_error},
              {"perplexity", p.perplexity()},
              {"perplexity_standard_error", p.perplexity_standard_error()},
              {"nats_by_place", p.place_nats}};
    settings.aside.describe(settings.layout, json);
    if (settings.layout != "none") settings.fusion.describe(settings.joined(), p.branches, json);
    if (settings.per == "word") {
        json["words"] = m.words;
        json["perplexity_per_word"] = p.perplexity_per(m.words);
    }
    if (settings.schedule.given()) {
        json.update(
            {{"windows", p.windows}, {"rewinds", p.rewinds}, {"rewound", p.rewound}, {"first_nats_per_token", p.first_nats}});
    }
    json.update({{"requested", p.counts.requested},
                 {"evaluated", p.counts.evaluated},
                 {"reused", p.counts.reused},
                 {"discarded", p.counts.discarded},
                 {"seconds", {{"retrieve", m.retrieve_seconds}, {"evaluate", m.evaluate_seconds}}}});
    describe(settings.adapter, json);
    print(json);
}

void print_text(const RetrievalPplSettings& settings, const Measured& m) {
    const fb::ScheduledPerplexity& p = m.found;
    std::cout << std::fixed << std::setprecision(4) << "perplexity " << p.perplexity() << " +- "
              << p.perplexity_standard_error() << ", " << p.nats << " +- " << p.standard_error << " nats per token\n";
    if (settings.per == "word")
        std::cout << "  " << p.perplexity_per(m.words) << " per word: " << m.words
                  << " blanks in the text that was predicted\n";
    std::cout << "  layout " << settings.layout << ", markers " << (m.markers ? "on" : "off") << ", schedule "
              << m.text.schedule << ", query " << m.text.query << ": " << p.tokens << " tokens in ";
    if (settings.schedule.given()) {
        std::cout << p.windows << " windows of " << m.options.hold;
    } else {
        std::cout << p.strides << " strides of " << m.options.stride;
    }
    std::cout << " behind contexts of " << m.options.context;
    if (!settings.schedule.given() && m.options.hold > m.options.stride)
        std::cout << " to " << m.options.context + m.options.hold - m.options.stride;
    std::cout << "\n  " << p.retrievals << " retrievals found " << p.passages << " passages; " << p.copied
              << " strides stand in theirs word for word\n";
    if (p.rewinds > 0) {
        std::cout << "  " << p.rewound << " tokens taken back in " << p.rewinds
                  << " rewinds; perplexity of what was said first " << std::exp(p.first_nats) << '\n';
    }
    std::cout << "  " << p.counts.requested << " positions requested = " << p.counts.evaluated << " evaluated + "
              << p.counts.reused << " reused\n"
              << branches_line(p.branches) << "  " << std::setprecision(1) << m.retrieve_seconds << " s retrieving, "
              << m.evaluate_seconds << " s evaluating\n";
}

/// What is read.
struct Source {
    const RetrievalPplSettings& settings;
    const fb::TextStream& text;
    const fb::Tokenizer& tokenizer;
    fb::ThreadPool& pool;

    /// Calls `use(retriever)` with the corpus: an index that several threads may ask, or one that they may not.
    template <class Use>
    void with_corpus(const fb::StrideOptions& options, const Use& use) const {
        const CorpusOption corpus = options.passages == 0 ? CorpusOption{} : settings.corpus;
        if (corpus.is_xapian()) {
            fb::AnyRetriever shards = corpus.open_xapian(tokenizer);
            use(shards);
        } else {
            const fb::Bm25Index index = corpus.open(tokenizer, settings.passage_tokens, pool);
            use(index);
        }
    }
};

/// Makes a session for each thread: they need not wait for each other at every product.
struct Sessions {
    const RetrievalPplSettings& settings;
    const std::shared_ptr<const fb::Transformer>& weights;
    const std::shared_ptr<const fb::PackedAdapter>& adapter;

    std::vector<fb::Session> operator()(std::size_t most) const {
        std::vector<fb::Session> sessions;
        for (std::size_t i = 0; i < std::min(settings.threads, most); ++i)
            sessions.push_back(
                session_of(weights, {.cache = settings.cache, .adapter = adapter, .adapter_scale = settings.adapter.scale},
                           settings.aside.rounding()));
        return sessions;
    }
    fb::DType cache_element() const { return settings.cache.value_or(weights->default_cache_element()); }
};

fb::RetrievedStrides measure_strides(const Source& source, const fb::AnyPolicies& policies, const Sessions& make, Measured& m) {
    Clock::time_point start = Clock::now();
    fb::RetrievedStrides strides;
    {
        const ProgressLine line{"retrieving for"};
        fb::StrideOptions options = m.options;
        options.progress = [&](std::size_t done, std::size_t all) { line.show(done, all); };
        source.with_corpus(options, [&](auto& retriever) {
            if constexpr (fb::Retriever<const std::remove_reference_t<decltype(retriever)>>) options.executor = source.pool;
            strides = fb::retrieve_strides(source.text, retriever, policies.query(), options);
        });
    }
    m.retrieve_seconds = since(start);
    start = Clock::now();
    constexpr std::size_t run = fb::RetrievalPerplexity::run;
    std::vector<fb::Session> sessions = make((strides.size() + run - 1) / run);
    check_ranks_agree({{"model", hexadecimal(sessions.front().fingerprint())},
                       {"text", hexadecimal(key_of(source.text.tokens()))},
                       {"passages", hexadecimal(key_of(strides))}});
    const ProgressLine line{"evaluating"};
    static_cast<fb::RetrievalPerplexity&>(m.found) =
        fb::retrieval_perplexity(std::span{sessions}, policies, source.text.tokens(), strides,
                                 {.masked = m.masked,
                                  .passages_replace_text = source.settings.layout == "overwrite",
                                  .executor = source.pool,
                                  .ranks = ranks(),
                                  .progress = [&](std::size_t done, std::size_t all) { line.show(done, all); }});
    m.evaluate_seconds = since(start);
    return strides;
}

void measure_schedule(const Source& source, const fb::AnyPolicies& policies, const fb::AnyMethod& method, const Sessions& make,
                      Measured& m) {
    const RetrievalPplSettings& settings = source.settings;
    source.with_corpus(m.options, [&](auto& retriever) {
        constexpr bool shared = fb::Retriever<const std::remove_reference_t<decltype(retriever)>>;
        std::vector<fb::Session> sessions = make(shared ? settings.threads : 1);
        check_ranks_agree({{"model", hexadecimal(sessions.front().fingerprint())},
                           {"text", hexadecimal(key_of(source.text.tokens()))},
                           {"corpus", hexadecimal(ranks().size() > 1 ? settings.corpus.key() : 0)}});
        const ProgressLine line{"evaluating"};
        m.found = fb::scheduled_perplexity(
            std::span{sessions}, policies.method(method), source.text, retriever, policies.query(), m.options,
            {.masked = m.masked, .executor = source.pool, .ranks = ranks(), .progress = [&](std::size_t done, std::size_t all) {
                 line.show(done, all);
             }});
    });
    m.retrieve_seconds = m.found.seconds.retrieve;
    m.evaluate_seconds = m.found.seconds.total - m.found.seconds.retrieve;
}

}  // namespace

void ppl_with_retrieval(const RetrievalPplSettings& settings) {
    FilesOfCommand files;
    files.reads("--model", settings.model);
    settings.weights.tell(files, settings.model);
    files.reads("--text", settings.text);
    files.reads("--corpus", settings.corpus.path);
    files.reads("--adapter", settings.adapter.path);
    files.writes_if_given("--log", settings.log);
    files.check();  // before anything is measured
    const fb::ModelSource file = open_model(settings.model);
    const fb::Tokenizer tokenizer = fb::load_tokenizer(file);
    const fb::TextStream text = read_stream(settings, tokenizer);
    fb::ThreadPool pool = start_threads(settings.threads);
    const auto weights = load_weights(file, settings.weights.options(file, pool));
    const auto adapter = open_adapter(settings.adapter, *weights);
    const Markers markers = markers_of(settings.markers, tokenizer, adapter.get());
    const fb::AnyPolicies policies = policies_of(settings, markers)
                                         .query(settings.schedule.query(settings.query_tokens, tokenizer))
                                         .reuse(settings.aside.reuse(settings.layout, settings.reuse));
    const fb::StrideOptions options =
        stride_options(settings, weights->config.window, weights->text_head.size(), text.tokens().size(),
                       "for a shorter text give a smaller --init, and a --context that fits into it");
    const std::size_t held = options.hold > options.stride ? options.hold - options.stride : 0;
    if (options.context + held > options.init) {
        const std::string shorter =
            options.init > held ? "--context " + std::to_string(options.init - held) + " fits, or " : "";
        FLASHBACK_THROW(fb::ErrorCode::contract, "contexts have up to ", options.context + held,
                        " tokens, expected at most the ", options.init, " in front of the first stride: ", shorter, "--init ",
                        options.context + held);
    }
    const std::size_t in_text = settings.fusion.in_one_text(options.passages) * options.passage_tokens;
    if (settings.layout == "overwrite" && in_text >= options.context) {
        FLASHBACK_THROW(fb::ErrorCode::window, "passages of up to ", in_text,
                        " tokens in place of text leave no text of contexts of ", options.context,
                        ", expected a longer --context, or fewer --passages or --passage-tokens");
    }

    Measured m{};
    m.markers = markers.around;
    m.options = options;
    m.documents = text.documents().size();
    if (!settings.keep_markers) m.masked = markers.ids;
    const Source source{settings, text, tokenizer, pool};
    const Sessions make{settings, weights, adapter};
    const fb::AnyMethod method = settings.schedule.measured(options.stride, settings.query_tokens, tokenizer);
    m.text = method.text();
    fb::RetrievedStrides strides;
    if (settings.schedule.given()) {
        measure_schedule(source, policies, method, make, m);
    } else {
        strides = measure_strides(source, policies, make, m);
    }
    if (settings.per == "word") {
        m.words = words_of(tokenizer, text.tokens(), m);
        if (m.words == 0)
            FLASHBACK_THROW(fb::ErrorCode::corpus, "the predicted tokens of '", settings.text,
                            "' have no blank for --per word");
    }
    if (settings.json) {
        print_json(settings, file.name(), make.cache_element(), m);
    } else {
        print_text(settings, m);
    }
    if (!settings.log.empty() && ranks().first())
        write_log(settings.log, m, strides);  // if this fails, the result is printed already
}

void add_retrieval_options(CLI::App& command, RetrievalPplSettings& settings, const std::vector<std::string>& without) {
    auto* layout =
        command
            .add_option("--layout", settings.layout,
                        "Measure with retrieval. Passages stand after the text (append), likewise but left in place if they "
                        "are found again (sticky, which needs --hold), in front of the text (prepend), beside it, where only "
                        "its newest tokens see them (aside), or in place of its oldest tokens (overwrite); none: the same "
                        "strides and contexts without passages")
            ->check(CLI::IsMember({"none", "append", "sticky", "prepend", "aside", "overwrite"}));
    for (const std::string& name : without) layout->excludes(command.get_option(name));
    const auto choice = [&](const char* name, std::string& value, std::vector<std::string> values, const char* meaning) {
        command.add_option(name, value, meaning)->check(CLI::IsMember(std::move(values)))->capture_default_str()->needs(layout);
    };
    const auto count = [&](const char* name, std::size_t& value, std::uint64_t least, const char* meaning) {
        return command.add_option(name, value, meaning)->transform(at_least(least))->needs(layout);
    };
    settings.corpus.add_path(command)->needs(layout);
    settings.corpus.add_search(command, layout);
    add_markers(command, settings.markers.choice)->needs(layout);
    CLI::Option* query_tokens = add_passages(command, settings, layout);
    settings.schedule.add(command, command.get_option("--stride"), query_tokens);
    settings.schedule.need(layout);
    add_repeat(command, settings.repeat)->needs(layout);
    settings.aside.add(command, layout);
    settings.aside.add_element(command, layout);
    settings.aside.add_joined(command, layout);
    settings.fusion.add(command, "concatenate, or each if passages stand beside the text", layout);
    count("--context", settings.context, 1,
          "Tokens of text in front of a stride, the same for every layout; by default as many as fit beside head, passages, "
          "markers "
          "and stride");
    count("--init", settings.init, 1, "Where the first stride begins; by default after as many tokens as the model holds");
    count("--strides", settings.strides, 1, "Evaluate only the first N strides; by default all");
    auto* const hold = count(
        "--hold", settings.hold, 1,
        "Let contexts grow for N tokens, a multiple of --stride, before their start moves on, so that keys and values can "
        "be reused; by default contexts slide, with --schedule they grow for 128 tokens");
    command
        .add_flag("--share-history", settings.share_history,
                  "Let eight strides share the text in front of them: --hold of eight strides. Not with --schedule, or where "
                  "passages stand in front of the text or in its place")
        ->needs(layout)
        ->excludes(hold);
    choice("--reuse", settings.reuse, {"prefix", "none"},
           "What of the KV cache is kept from one stride to the next: the common prefix, or nothing; it changes no digit");
    choice("--per", settings.per, {"token", "word"}, "Report the perplexity per word, too: per blank of the predicted text");
    command
        .add_option("--log", settings.log,
                    "Write a row of CSV for each stride into this file: where it is, and its nats per token")
        ->type_name("FILE")
        ->needs(layout);
    choice("--separator", settings.separator, {"auto", "newline", "eos"},
           "What follows each document of the text; auto: EOS if the vocabulary has one that is not BOS, else a newline");
}

void check_retrieval_options(const RetrievalPplSettings& settings) {
    if (settings.layout != "none" && settings.corpus.path.empty())
        throw CLI::ValidationError("ppl needs --corpus, or --layout none");
    check_repeat(settings.layout, settings.repeat);
    settings.aside.check(settings.layout, settings.reuse);
    settings.fusion.check(settings.layout, settings.aside.moving_text(settings.layout));
    settings.schedule.check(settings.layout);
    settings.schedule.check_honest();
    if (settings.schedule.given() && settings.layout == "overwrite")
        throw CLI::ValidationError("--schedule needs passages beside the text, found --layout overwrite");
    if (settings.share_history && settings.schedule.given())
        throw CLI::ValidationError(
            "--share-history: a schedule reads windows of --hold tokens, whose strides share their text anyway");
    if (settings.share_history && (settings.layout == "prepend" || settings.layout == "overwrite"))
        throw CLI::ValidationError("--share-history needs passages behind the text or beside it, found --layout " +
                                   settings.layout + ", where the text reads them; --hold reads the same contexts");
    if (settings.hold % settings.stride != 0) {
        throw CLI::ValidationError("--hold: found " + std::to_string(settings.hold) + ", expected a multiple of --stride, " +
                                   std::to_string(settings.stride));
    }
}

}  // namespace cli
