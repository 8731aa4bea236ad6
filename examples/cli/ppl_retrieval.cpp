#include "ppl_retrieval.hpp"

#include "flashback/core/error.hpp"
#include "flashback/eval/retrieval_perplexity.hpp"
#include "flashback/model/load.hpp"
#include "flashback/model/session.hpp"
#include "flashback/policy/any_policy.hpp"
#include "flashback/retrieval/bm25.hpp"
#include "flashback/retrieval/texts.hpp"

#include <algorithm>
#include <chrono>
#include <iomanip>
#include <iostream>
#include <utility>
#include <vector>

#include <unistd.h>

namespace cli {
namespace {

namespace fb = flashback;
using Clock = std::chrono::steady_clock;

double since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

/// A line on a terminal that says how far a part of the work is.
class ProgressLine {
public:
    explicit ProgressLine(const char* what) : what_(what), shown_(::isatty(STDERR_FILENO) == 1) {}
    ProgressLine(const ProgressLine&) = delete;
    ProgressLine& operator=(const ProgressLine&) = delete;
    ~ProgressLine() {
        if (shown_) std::cerr << "\r\x1b[K" << std::flush;
    }
    void show(std::size_t done, std::size_t all) const {
        if (!shown_) return;
        const double left = since(start_) * static_cast<double>(all - done) / static_cast<double>(done);
        std::cerr << "\r\x1b[K" << what_ << ' ' << done << " of " << all << " strides, " << static_cast<long>(left) << " s left"
                  << std::flush;
    }

private:
    const char* what_;
    bool shown_;
    Clock::time_point start_ = Clock::now();
};

/// What stands behind each document: the end of a text where the vocabulary has one of its own, else a newline.
std::optional<fb::TokenId> end_of_documents(const RetrievalPplSettings& settings, const fb::Tokenizer& tokenizer) {
    const fb::Vocabulary& vocabulary = tokenizer.vocabulary();
    if (settings.separator == "newline") return {};
    if (settings.separator == "eos" && !vocabulary.eos)
        FLASHBACK_THROW(fb::ErrorCode::vocabulary, "the vocabulary has no EOS for --separator eos");
    if (settings.separator == "auto" && vocabulary.eos == vocabulary.bos) return {};
    return vocabulary.eos;
}

fb::AnyPolicies policies_of(const RetrievalPplSettings& settings, const fb::Tokenizer& tokenizer, bool markers) {
    const bool append = settings.layout == "append" || settings.layout == "none";
    auto policies =
        fb::AnyPolicies{}
            .query(fb::AnyQuery{fb::LastNTokens{settings.query_tokens}})
            .layout(append ? fb::AnyLayout{fb::AppendDocuments{}} : fb::AnyLayout{fb::PrependDocuments{}})
            .reuse(settings.reuse == "none" ? fb::AnyReuse{fb::RecomputeAll{}} : fb::AnyReuse{fb::KeepCommonPrefix{}});
    if (!markers) return policies.wrapper(fb::AnyWrapper{fb::NoMarkers{}});
    return policies.wrapper(fb::AnyWrapper{fb::MarkerTokens{tokenizer.id(marker_names[0]), tokenizer.id(marker_names[1])}});
}

/// Where strides begin and how much they read: by default the first is a window into the text, and contexts are as long as all
/// layouts can have them, so that all of them predict the same tokens from the same text.
fb::StrideOptions stride_options(const RetrievalPplSettings& settings, std::size_t window, std::size_t head,
                                 std::size_t tokens) {
    const std::size_t passages = settings.passages * settings.passage_tokens + marker_names.size();
    const std::size_t held = settings.hold > settings.stride ? settings.hold - settings.stride : 0;
    const std::size_t fixed = head + passages + settings.stride + held;
    if (settings.context == 0 && fixed >= window) {
        FLASHBACK_THROW(fb::ErrorCode::window, "a window of ", window, " tokens leaves no room for text beside ", fixed, ": ",
                        head, " of the head, ", passages, " of ", settings.passages, " passages and markers, and a stride of ",
                        settings.stride, held > 0 ? " and --hold" : "");
    }
    fb::StrideOptions options{.init = settings.init > 0 ? settings.init : window,
                              .stride = settings.stride,
                              .strides = settings.strides,
                              .context = settings.context > 0 ? settings.context : window - fixed,
                              .hold = settings.hold,
                              .passages = settings.layout == "none" ? 0 : settings.passages,
                              .passage_tokens = settings.passage_tokens};
    if (tokens < options.init + options.stride) {
        FLASHBACK_THROW(fb::ErrorCode::corpus, "the text '", settings.text, "' has ", tokens, " tokens, expected at least the ",
                        options.init, " in front of the first stride, and a stride of ", options.stride);
    }
    return options;
}

/// Blanks in the text of the tokens that are predicted.
std::size_t words_of(const fb::Tokenizer& tokenizer, fb::TokenSpan text, const fb::RetrievedStrides& strides) {
    std::size_t blanks = 0;
    for (std::size_t i = 0; i < strides.size(); ++i) {
        const std::string predicted = tokenizer.decode(text.subspan(strides[i].at, strides.stride()));
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

void print_json(const RetrievalPplSettings& settings, const std::string& model, fb::DType cache, const Measured& m) {
    const fb::RetrievalPerplexity& p = m.found;
    Json json{{"model", model},
              {"cache", std::string{fb::layout_of(cache).name}},
              {"layout", settings.layout},
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
              {"perplexity_standard_error", p.perplexity_standard_error()}};
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
              << " positions requested = " << p.counts.evaluated << " evaluated + " << p.counts.reused << " reused\n  "
              << std::setprecision(1) << m.retrieve_seconds << " s retrieving, " << m.evaluate_seconds << " s evaluating\n";
}

}  // namespace

void ppl_with_retrieval(const RetrievalPplSettings& settings) {
    const fb::GgufFile file = open_model(settings.model);
    const fb::Tokenizer tokenizer = fb::load_tokenizer(file);
    const fb::Corpus documents = settings.text == "-" ? fb::parse_texts(read_text("-"), "-") : fb::read_texts(settings.text);
    const fb::TextStream text = fb::text_stream(documents.documents, tokenizer, end_of_documents(settings, tokenizer));
    fb::ThreadPool pool = start_threads(settings.threads);
    const auto weights = load_weights(file, pool);
    const auto adapter = open_adapter(settings.adapter, *weights);
    const bool markers = markers_on(settings.markers, adapter.get(), tokenizer);
    const fb::AnyPolicies policies = policies_of(settings, tokenizer, markers);
    fb::StrideOptions options =
        stride_options(settings, weights->config.window, weights->text_head.size(), text.tokens().size());
    options.executor = pool;

    Measured m{};
    m.markers = markers;
    Clock::time_point start = Clock::now();
    fb::RetrievedStrides strides;
    {
        const bool closed_book = options.passages == 0;
        const fb::Bm25Index index{closed_book ? std::vector<fb::Document>{} : open_corpus(settings.corpus).documents,
                                  tokenizer,
                                  {.passage_tokens = settings.passage_tokens}};
        const ProgressLine line{"retrieving for"};
        options.progress = [&](std::size_t done, std::size_t all) { line.show(done, all); };
        strides = fb::retrieve_strides(text, index, policies.query(), options);
    }
    m.retrieve_seconds = since(start);

    // A session for each thread: they need not wait for each other at every product.
    start = Clock::now();
    std::vector<fb::Session> sessions;
    const std::size_t most = (strides.size() + fb::RetrievalPerplexity::run - 1) / fb::RetrievalPerplexity::run;
    for (std::size_t i = 0; i < std::min(settings.threads, most); ++i)
        sessions.emplace_back(
            weights, fb::SessionOptions{.cache = settings.cache, .adapter = adapter, .adapter_scale = settings.adapter.scale});
    if (!settings.keep_markers) m.masked = markers_of(tokenizer);
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
}

void add_retrieval_options(CLI::App& command, RetrievalPplSettings& settings, const std::vector<std::string>& without) {
    auto* layout =
        command
            .add_option(
                "--layout", settings.layout,
                "Measure with retrieval, passages standing behind the text (append), in front of it (prepend), or in place "
                "of its oldest tokens (overwrite); none: the same strides and contexts without passages")
            ->check(CLI::IsMember({"none", "append", "prepend", "overwrite"}));
    for (const std::string& name : without) layout->excludes(command.get_option(name));
    const auto choice = [&](const char* name, std::string& value, std::vector<std::string> values, const char* meaning) {
        command.add_option(name, value, meaning)->check(CLI::IsMember(std::move(values)))->capture_default_str()->needs(layout);
    };
    const auto count = [&](const char* name, std::size_t& value, long least, const char* meaning) {
        return command.add_option(name, value, meaning)->check(at_least(least))->needs(layout);
    };
    command.add_option("--corpus", settings.corpus, "JSON lines, a folder of .txt and .md files, or a dictd-style text file")
        ->type_name("PATH")
        ->needs(layout);
    choice("--markers", settings.markers, {"auto", "on", "off"},
           "Marking tokens around passages; auto: where the adapter has trained them");
    count("--query-tokens", settings.query_tokens, 1, "The N tokens in front of a stride are its query")->capture_default_str();
    count("--passages", settings.passages, 1, "Passages for each stride, one behind the other")->capture_default_str();
    count("--passage-tokens", settings.passage_tokens, 1, "The most tokens of a passage")->capture_default_str();
    count("--context", settings.context, 1,
          "Tokens of text in front of a stride, the same for every layout; by default as many as fit beside head, passages, "
          "markers "
          "and stride");
    count("--init", settings.init, 1, "Where the first stride begins; by default behind as many tokens as the model holds");
    count("--strides", settings.strides, 1, "Evaluate the first N strides only; by default all");
    count(
        "--hold", settings.hold, 1,
        "Let contexts grow over N tokens, a multiple of --stride, before their start moves on, so that keys and values can be "
        "reused; by default they slide");
    choice("--reuse", settings.reuse, {"prefix", "none"},
           "What of the KV cache is kept from one stride to the next: the common prefix, or nothing; changes no digit");
    choice("--per", settings.per, {"token", "word"}, "Report the perplexity per word, too: per blank of the predicted text");
    choice("--separator", settings.separator, {"auto", "newline", "eos"},
           "What stands behind each document of the text; auto: EOS where the vocabulary has one that is not BOS");
}

void check_retrieval_options(const RetrievalPplSettings& settings) {
    if (settings.layout != "none" && settings.corpus.empty())
        throw CLI::ValidationError("ppl needs --corpus, or --layout none");
    if (settings.hold % settings.stride != 0) {
        throw CLI::ValidationError("--hold: found " + std::to_string(settings.hold) + ", expected a multiple of --stride, " +
                                   std::to_string(settings.stride));
    }
}

}  // namespace cli
