#include "common.hpp"
#include "flashback/core/error.hpp"
#include "flashback/core/thread_pool.hpp"
#include "flashback/decoder/decoder.hpp"
#include "flashback/model/load.hpp"
#include "flashback/model/session.hpp"
#include "flashback/retrieval/bm25.hpp"

#include <algorithm>
#include <functional>
#include <iomanip>
#include <iostream>
#include <memory>
#include <optional>
#include <thread>

namespace cli {
namespace {

namespace fb = flashback;

struct Options {
    std::string model;
    std::string corpus;
    TextOption prompt;
    std::string layout = "append";
    std::string reuse = "prefix";
    std::string markers = "auto";
    std::size_t stride = 16;
    std::size_t query_tokens = 32;
    std::size_t passages = 1;
    std::size_t passage_tokens = 128;
    std::size_t max_tokens = 128;
    bool ignore_eos = false;
    float temperature = 0;
    float top_p = 1;
    std::uint64_t seed = 0;
    std::size_t threads = std::max(1u, std::thread::hardware_concurrency());
    bool json = false;
};

constexpr const char* left_marker = "<MARK_L>";
constexpr const char* right_marker = "<MARK_R>";

/// The policies that the options ask for. Any callable is a policy: std::function lets the options choose at run time.
auto policies_of(const Options& options, const fb::Tokenizer& tokenizer) {
    std::function<bool(const fb::StepView&)> schedule = fb::EveryNTokens{options.stride};
    if (options.layout == "none") schedule = fb::Never{};

    std::function<void(const fb::LayoutParts&, fb::TokenBuffer&)> layout = fb::AppendDocuments{};
    if (options.layout == "prepend") layout = fb::PrependDocuments{};

    std::function<void(fb::TokenSpan, fb::TokenBuffer&)> wrapper = fb::NoMarkers{};
    // `auto` turns markers on when they are trained, which an adapter does; there is none yet.
    if (options.markers == "on") wrapper = fb::MarkerTokens{tokenizer.id(left_marker), tokenizer.id(right_marker)};

    std::function<std::size_t(fb::TokenSpan, fb::TokenSpan)> reuse = fb::KeepCommonPrefix{};
    if (options.reuse == "none") reuse = fb::RecomputeAll{};

    std::function<fb::TokenId(std::span<const float>)> sampler = fb::Greedy{};
    if (options.temperature > 0) {
        sampler = fb::TruncatedSampling{{.temperature = options.temperature, .top_p = options.top_p, .seed = options.seed}};
    }
    return fb::Policies{}
        .schedule(schedule)
        .query(fb::LastNTokens{options.query_tokens})
        .wrapper(wrapper)
        .layout(layout)
        .reuse(reuse)
        .sampler(sampler);
}

/// A retrieval as JSON: the best passage, and all of them where more than one was asked for.
Json to_json(const fb::Retrieval& retrieval, const fb::Tokenizer& tokenizer, bool all) {
    const auto passage_json = [](const fb::RetrievedPassage& p) {
        return Json{{"id", p.id}, {"title", p.title}, {"score", p.score}, {"text", p.text}, {"passage_tokens", p.tokens}};
    };
    Json json{{"at", retrieval.at},
              {"query", retrieval.query_text.empty() ? tokenizer.decode(retrieval.query_tokens) : retrieval.query_text}};
    json.update(retrieval.passages.empty()
                    ? Json{{"id", nullptr}, {"title", nullptr}, {"score", nullptr}, {"text", nullptr}, {"passage_tokens", 0}}
                    : passage_json(retrieval.passages.front()));
    if (all) {
        json["passages"] = Json::array();
        for (const auto& passage : retrieval.passages) json["passages"].push_back(passage_json(passage));
    }
    json.update({{"evaluated", retrieval.counts.evaluated},
                 {"reused", retrieval.counts.reused},
                 {"discarded", retrieval.counts.discarded},
                 {"seconds", retrieval.seconds}});
    return json;
}

Json to_json(const fb::Generation& generation, const Options& options, const fb::Tokenizer& tokenizer,
             std::size_t prompt_tokens) {
    const fb::Statistics& stats = generation.stats;
    Json retrieved = Json::array();
    for (const auto& retrieval : generation.retrievals)
        retrieved.push_back(to_json(retrieval, tokenizer, options.passages > 1));
    return {{"text", tokenizer.decode(generation.tokens)},
            {"tokens", generation.tokens},
            {"prompt_tokens", prompt_tokens},
            {"stop", to_string(generation.stop)},
            {"layout", options.layout},
            {"stats",
             {{"retrievals", stats.retrievals},
              {"requested", stats.counts.requested},
              {"evaluated", stats.counts.evaluated},
              {"reused", stats.counts.reused},
              {"discarded", stats.counts.discarded},
              {"seconds",
               {{"retrieve", stats.seconds.retrieve},
                {"prefill", stats.seconds.prefill},
                {"decode", stats.seconds.decode},
                {"total", stats.seconds.total}}}}},
            {"retrieved", retrieved}};
}

void print_summary(const fb::Generation& generation, const Options& options, std::size_t prompt_tokens) {
    const fb::Statistics& stats = generation.stats;
    std::cerr << std::fixed << std::setprecision(3) << '\n';
    for (const auto& retrieval : generation.retrievals) {
        std::cerr << "  at " << std::setw(4) << retrieval.at << ": ";
        if (retrieval.passages.empty()) std::cerr << "nothing found";
        for (std::size_t i = 0; i < retrieval.passages.size(); ++i) {
            const auto& p = retrieval.passages[i];
            std::cerr << (i ? ", " : "") << p.id << " \"" << p.title << "\" (" << p.tokens << " tokens, score " << p.score
                      << ')';
        }
        std::cerr << "; evaluated " << retrieval.counts.evaluated << ", reused " << retrieval.counts.reused << '\n';
    }
    std::cerr << "  " << prompt_tokens << " prompt tokens, " << generation.tokens.size() << " new, stopped by "
              << to_string(generation.stop) << "; layout " << options.layout << ", " << stats.retrievals << " retrievals\n"
              << "  " << stats.counts.requested << " positions requested = " << stats.counts.evaluated << " evaluated + "
              << stats.counts.reused << " reused; " << stats.counts.discarded << " discarded\n"
              << "  " << stats.seconds.total << " s: " << stats.seconds.retrieve << " retrieving, " << stats.seconds.prefill
              << " prefill, " << stats.seconds.decode << " decoding\n";
}

void generate(const Options& options) {
    const std::string prompt_text = options.prompt.read();
    if (prompt_text.empty()) FLASHBACK_THROW(fb::ErrorCode::contract, "the prompt is empty, expected some text to continue");
    const bool closed_book = options.layout == "none";
    if (closed_book && !options.corpus.empty()) std::cerr << "flashback: with --layout none, --corpus is not read\n";

    const fb::GgufFile file = open_model(options.model);
    const fb::Tokenizer tokenizer = fb::load_tokenizer(file);
    const auto policies = policies_of(options, tokenizer);
    const fb::Bm25Index index{closed_book ? std::vector<fb::Document>{} : open_corpus(options.corpus).documents,
                              tokenizer,
                              {.passage_tokens = options.passage_tokens}};
    fb::ThreadPool pool{options.threads};
    fb::Session session{fb::load_model(file, pool), {.executor = pool}};
    fb::Decoder decoder{session, index, policies};

    const std::vector<fb::TokenId> prompt = tokenizer.encode(prompt_text);
    std::vector<fb::TokenId> markers;
    for (const char* name : {left_marker, right_marker}) {
        if (const auto id = tokenizer.find(name)) markers.push_back(*id);
    }
    fb::StreamDecoder stream{tokenizer};
    const auto on_token = [&](fb::TokenId token) {
        if (!options.json) std::cout << stream.push(token) << std::flush;
        return options.json || std::cout.good();
    };
    const fb::Generation generation = decoder.generate(
        prompt,
        {.max_tokens = options.max_tokens, .passages = options.passages, .ignore_eos = options.ignore_eos, .masked = markers},
        on_token);
    const std::size_t prompt_tokens = session.head().size() + prompt.size();
    if (options.json) {
        print(to_json(generation, options, tokenizer, prompt_tokens));
        return;
    }
    std::cout << stream.finish() << '\n';
    std::cout.flush();
    print_summary(generation, options, prompt_tokens);
}

}  // namespace

void add_generate(CLI::App& app, Command& run) {
    auto options = std::make_shared<Options>();
    CLI::App& command = *app.add_subcommand("generate", "Continue a prompt while retrieving from a corpus");
    add_model(command, options->model);
    auto* corpus = command.add_option("--corpus", options->corpus,
                                      "JSON lines, a folder of .txt and .md files, or a dictd-style text file");
    corpus->type_name("PATH");
    options->prompt.add(command, "prompt", "The text to continue");
    command.add_option("--layout", options->layout, "Where passages stand: behind the text, in front of it, or no retrieval")
        ->check(CLI::IsMember({"append", "prepend", "none"}))
        ->capture_default_str();
    command.add_option("--reuse", options->reuse, "What of the KV cache is kept at a retrieval: the common prefix, or nothing")
        ->check(CLI::IsMember({"prefix", "none"}))
        ->capture_default_str();
    command.add_option("--markers", options->markers, "Marking tokens around passages; auto: where they are trained")
        ->check(CLI::IsMember({"auto", "on", "off"}))
        ->capture_default_str();
    command.add_option("--stride", options->stride, "Retrieve every N tokens")->check(at_least(1))->capture_default_str();
    command.add_option("--query-tokens", options->query_tokens, "The newest N tokens are the query")
        ->check(at_least(1))
        ->capture_default_str();
    command.add_option("--passages", options->passages, "Passages at each retrieval")
        ->check(at_least(0))
        ->capture_default_str();
    command.add_option("--passage-tokens", options->passage_tokens, "The most tokens of a passage")
        ->check(at_least(1))
        ->capture_default_str();
    command.add_option("--max-tokens", options->max_tokens, "The most tokens to generate")
        ->check(at_least(0))
        ->capture_default_str();
    command.add_flag("--ignore-eos", options->ignore_eos, "Go on when the model ends its text");
    command.add_option("--temperature", options->temperature, "0: always the likeliest token; else sample")
        ->check(number_from(0, 1e6))
        ->capture_default_str();
    command.add_option("--top-p", options->top_p, "Sample among the likeliest tokens of this probability")
        ->check(number_from(1e-6, 1))
        ->capture_default_str();
    command.add_option("--seed", options->seed, "The same seed gives the same text")->capture_default_str();
    command.add_option("--threads", options->threads, "Threads to use; they change no bit of the result")
        ->check(at_least(1))
        ->capture_default_str();
    add_json(command, options->json);
    command.footer(
        "Example:\n  flashback generate --corpus README.md --prompt 'A KV cache' --max-tokens 64 --temperature 0.8 --top-p "
        "0.95");
    command.callback([options, &run, corpus] {
        if (!options->prompt.given()) throw CLI::ValidationError("generate needs either --prompt or --prompt-file");
        if (options->layout != "none" && corpus->count() == 0)
            throw CLI::ValidationError("generate needs --corpus, or --layout none");
        run = [options] { generate(*options); };
    });
}

}  // namespace cli
