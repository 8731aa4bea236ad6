#include "ppl_retrieval.hpp"

#include "engine.hpp"
#include "files_of_command.hpp"
#include "flashback/core/error.hpp"
#include "flashback/data/ranges.hpp"
#include "flashback/eval/retrieval_perplexity.hpp"
#include "flashback/files/load.hpp"
#include "flashback/format/atomic_file.hpp"
#include "flashback/model/session.hpp"
#include "flashback/policy/any_policy.hpp"
#include "flashback/retrieval/bm25.hpp"
#include "flashback/retrieval/corpus.hpp"

#include <algorithm>
#include <chrono>
#include <iomanip>
#include <iostream>
#include <sstream>
#include <utility>
#include <vector>

#include <range/v3/view/zip.hpp>

namespace cli {
namespace {

namespace fb = flashback;
using Clock = std::chrono::steady_clock;

double since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

/// Blanks in the text of the tokens that are predicted.
std::size_t words_of(const fb::Tokenizer& tokenizer, fb::TokenSpan text, const fb::RetrievedStrides& strides) {
    std::size_t blanks = 0;
    for (const fb::RetrievedStride stride : fb::each_stride(strides)) {
        const std::string predicted = tokenizer.decode(text.subspan(stride.at, strides.stride()));
        blanks += static_cast<std::size_t>(std::ranges::count(predicted, ' '));
    }
    return blanks;
}

struct Measured {
    fb::RetrievalPerplexity found;
    fb::StrideOptions options;
    std::size_t documents;
    std::size_t words;
    std::vector<fb::TokenId> masked;
    bool markers;
    double retrieve_seconds;
    double evaluate_seconds;
};

/// A row for each stride, so that two runs over the same strides can be compared stride by stride.
void write_log(const std::string& log, const fb::RetrievedStrides& strides, const std::vector<double>& nats) {
    std::ostringstream rows;
    rows << "at,context,passages,nats_per_token\n" << std::setprecision(9);
    for (const auto& [stride, mean] : ranges::views::zip(fb::each_stride(strides), nats))
        rows << stride.at << ',' << stride.context << ',' << stride.found() << ',' << mean << '\n';
    write_whole(log, rows.str());
}

void print_json(const RetrievalPplSettings& settings, const std::string& model, fb::DType cache, const Measured& m) {
    const fb::RetrievalPerplexity& p = m.found;
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
              {"query_tokens", settings.query_tokens},
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
    json.update({{"requested", p.counts.requested},
                 {"evaluated", p.counts.evaluated},
                 {"reused", p.counts.reused},
                 {"discarded", p.counts.discarded},
                 {"seconds", {{"retrieve", m.retrieve_seconds}, {"evaluate", m.evaluate_seconds}}}});
    describe(settings.adapter, json);
    print(json);
}

void print_text(const RetrievalPplSettings& settings, const Measured& m) {
    const fb::RetrievalPerplexity& p = m.found;
    std::cout << std::fixed << std::setprecision(4) << "perplexity " << p.perplexity() << " +- "
              << p.perplexity_standard_error() << ", " << p.nats << " +- " << p.standard_error << " nats per token\n";
    if (settings.per == "word")
        std::cout << "  " << p.perplexity_per(m.words) << " per word: " << m.words
                  << " blanks in the text that was predicted\n";
    std::cout << "  layout " << settings.layout << ", markers " << (m.markers ? "on" : "off") << ": " << p.tokens
              << " tokens in " << p.strides << " strides of " << m.options.stride << " behind contexts of " << m.options.context
              << "\n  " << p.retrievals << " retrievals found " << p.passages << " passages; " << p.copied
              << " strides stand in theirs word for word\n  " << p.counts.requested
              << " positions requested = " << p.counts.evaluated << " evaluated + " << p.counts.reused << " reused\n"
              << branches_line(p.branches) << "  " << std::setprecision(1) << m.retrieve_seconds << " s retrieving, "
              << m.evaluate_seconds << " s evaluating\n";
}

}  // namespace

void ppl_with_retrieval(const RetrievalPplSettings& settings) {
    FilesOfCommand files;
    files.reads("--model", settings.model);
    files.reads("--text", settings.text);
    files.reads("--corpus", settings.corpus.path);
    files.reads("--adapter", settings.adapter.path);
    files.writes_if_given("--log", settings.log);
    files.check();  // before anything is measured
    const fb::ModelSource file = open_model(settings.model);
    const fb::Tokenizer tokenizer = fb::load_tokenizer(file);
    const fb::TextStream text = read_stream(settings, tokenizer);
    fb::ThreadPool pool = start_threads(settings.threads);
    const auto weights = load_weights(file, pool);
    const auto adapter = open_adapter(settings.adapter, *weights);
    const Markers markers = markers_of(settings.markers, tokenizer, adapter.get());
    const fb::AnyPolicies policies =
        policies_of(settings, markers)
            .reuse(settings.reuse == "none" ? fb::AnyReuse{fb::RecomputeAll{}} : fb::AnyReuse{fb::KeepCommonPrefix{}});
    fb::StrideOptions options =
        stride_options(settings, weights->config.window, weights->text_head.size(), text.tokens().size());
    const std::size_t in_text = settings.fusion.in_one_text(options.passages) * options.passage_tokens;
    if (settings.layout == "overwrite" && in_text >= options.context) {
        FLASHBACK_THROW(fb::ErrorCode::window, "passages of up to ", in_text,
                        " tokens in place of text leave no text of contexts of ", options.context,
                        ", expected a longer --context, or fewer --passages or --passage-tokens");
    }
    options.executor = pool;

    Measured m{};
    m.markers = markers.around;
    Clock::time_point start = Clock::now();
    fb::RetrievedStrides strides;
    {
        const bool closed_book = options.passages == 0;
        const CorpusOption corpus = closed_book ? CorpusOption{} : settings.corpus;
        const ProgressLine line{"retrieving for"};
        options.progress = [&](std::size_t done, std::size_t all) { line.show(done, all); };
        if (corpus.is_xapian()) {
            fb::StrideOptions one_by_one = options;
            one_by_one.executor = {};
            fb::AnyRetriever shards = corpus.open_xapian(tokenizer);
            strides = fb::retrieve_strides(text, shards, policies.query(), one_by_one);
        } else {
            const fb::Bm25Index index = corpus.open(tokenizer, settings.passage_tokens, pool);
            strides = fb::retrieve_strides(text, index, policies.query(), options);
        }
    }
    m.retrieve_seconds = since(start);

    // A session for each thread: they need not wait for each other at every product.
    start = Clock::now();
    std::vector<fb::Session> sessions;
    const std::size_t most = (strides.size() + fb::RetrievalPerplexity::run - 1) / fb::RetrievalPerplexity::run;
    for (std::size_t i = 0; i < std::min(settings.threads, most); ++i)
        sessions.push_back(session_of(weights,
                                      {.cache = settings.cache, .adapter = adapter, .adapter_scale = settings.adapter.scale},
                                      settings.aside.rounding()));
    if (!settings.keep_markers) m.masked = markers.ids;
    {
        const ProgressLine line{"evaluating"};
        m.found = fb::retrieval_perplexity(std::span{sessions}, policies, text.tokens(), strides,
                                           {.masked = m.masked,
                                            .passages_replace_text = settings.layout == "overwrite",
                                            .executor = pool,
                                            .progress = [&](std::size_t done, std::size_t all) { line.show(done, all); }});
    }
    m.evaluate_seconds = since(start);
    m.options = options;
    m.documents = text.documents().size();
    if (settings.per == "word") {
        m.words = words_of(tokenizer, text.tokens(), strides);
        if (m.words == 0)
            FLASHBACK_THROW(fb::ErrorCode::corpus, "the predicted tokens of '", settings.text,
                            "' have no blank for --per word");
    }
    if (settings.json) {
        print_json(settings, file.name(), sessions.front().cache_element(), m);
    } else {
        print_text(settings, m);
    }
    if (!settings.log.empty())
        write_log(settings.log, strides, m.found.stride_nats);  // if this fails, the result is printed already
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
    add_passages(command, settings, layout);
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
    count("--hold", settings.hold, 1,
          "Let contexts grow for N tokens, a multiple of --stride, before their start moves on, so that keys and values can be "
          "reused; by default contexts slide");
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
    settings.aside.check(settings.layout);
    settings.fusion.check(settings.layout);
    if (settings.hold % settings.stride != 0) {
        throw CLI::ValidationError("--hold: found " + std::to_string(settings.hold) + ", expected a multiple of --stride, " +
                                   std::to_string(settings.stride));
    }
}

}  // namespace cli
