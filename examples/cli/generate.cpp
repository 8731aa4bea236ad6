#include "generate_options.hpp"

#include "engine.hpp"
#include "flashback/core/error.hpp"
#include "flashback/core/language_model.hpp"
#include "flashback/decoder/decoder.hpp"
#include "flashback/files/load.hpp"
#include "flashback/measure/reuse_trace.hpp"
#include "flashback/retrieval/watched.hpp"
#include "flashback/text/unicode.hpp"
#include "retrieval_setup.hpp"

#include <chrono>
#include <iomanip>
#include <iostream>
#include <memory>
#include <optional>
#include <string_view>

#include <range/v3/view/enumerate.hpp>

namespace cli {
namespace {

namespace fb = flashback;

/// How many tokens of a passage beside it the newest of so many tokens of text sees at most.
std::size_t in_reach(std::size_t text) { return fb::positions_seen(text - 1, 0, fb::default_block_gap); }

/// A retrieval as JSON: the best passage, and all of them if more than one was asked for; with `text`, which had so many tokens, what it
/// sees beside it.
Json to_json(const fb::Retrieval& retrieval, const fb::Tokenizer& tokenizer, bool all, std::optional<std::size_t> text) {
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
    if (text) json["in_reach"] = in_reach(*text);
    return json;
}

double seconds(std::chrono::nanoseconds time) { return std::chrono::duration<double>(time).count(); }

Json to_json(const fb::Generation& generation, const GenerateSettings& settings, const fb::Tokenizer& tokenizer,
             std::size_t prompt, const std::string& text, const fb::MethodText& method, const Engine& engine,
             const fb::RetrieverHealth& health) {
    const fb::Statistics& stats = generation.stats;
    Json retrieved = Json::array();
    for (const auto& retrieval : generation.retrievals) {
        const auto length = settings.layout == "aside" ? std::optional{prompt + retrieval.at} : std::nullopt;
        retrieved.push_back(to_json(retrieval, tokenizer, settings.passages > 1, length));
    }
    Json json{{"text", text},
              {"tokens", generation.tokens},
              {"prompt_tokens", engine.session.head().size() + prompt},
              {"stop", to_string(generation.stop)},
              {"layout", settings.layout},
              {"repeat", settings.repeat},
              {"schedule", method.schedule},
              {"query", method.query.empty() ? Json(nullptr) : Json(method.query)},
              {"cache", engine.cache()},
              {"stats",
               {{"retrievals", stats.retrievals},
                {"rewinds", stats.rewinds},
                {"rewound", stats.rewound},
                {"requested", stats.counts.requested},
                {"evaluated", stats.counts.evaluated},
                {"reused", stats.counts.reused},
                {"discarded", stats.counts.discarded},
                {"dropped", stats.dropped},
                {"shortened", stats.shortened},
                {"seconds",
                 {{"retrieve", stats.seconds.retrieve},
                  {"prefill", stats.seconds.prefill},
                  {"decode", stats.seconds.decode},
                  {"total", stats.seconds.total}}}}},
              {"retriever",
               {{"queries", health.queries},
                {"empty", health.empty},
                {"failures", health.failures},
                {"passages", health.passages},
                {"seconds", {{"p50", seconds(health.p50)}, {"p95", seconds(health.p95)}, {"max", seconds(health.max)}}}}},
              {"retrieved", retrieved}};
    settings.aside.describe(settings.layout, json);
    if (settings.layout != "none") settings.fusion.describe(settings.aside.options().joined, stats.branches, json);
    if (settings.layout == "aside") {
        const fb::BlockStore& store = *engine.session.store();
        const fb::BlockStoreCounts counts = store.counts();
        json["passage_element"] = fb::name_of(store.options().element);
        json["passage_store"] = {
            {"hits", counts.hits}, {"reads", counts.reads}, {"misses", counts.misses}, {"bytes", counts.bytes}};
    }
    describe(settings.adapter, json);
    return json;
}

void print_summary(const fb::Generation& generation, const GenerateSettings& settings, std::size_t prompt,
                   const fb::MethodText& method, const Engine& engine, const fb::RetrieverHealth& health) {
    const fb::Statistics& stats = generation.stats;
    std::cerr << std::fixed << std::setprecision(3) << '\n';
    for (const auto& retrieval : generation.retrievals) {
        std::cerr << "  at " << std::setw(4) << retrieval.at << ": ";
        if (retrieval.passages.empty()) std::cerr << "nothing found";
        for (const auto& [i, p] : ranges::views::enumerate(retrieval.passages)) {
            std::cerr << (i ? ", " : "") << fb::harmless(p.id) << " \"" << fb::harmless(p.title) << "\" (" << p.tokens
                      << " tokens, score " << p.score << ')';
        }
        std::cerr << "; evaluated " << retrieval.counts.evaluated << ", reused " << retrieval.counts.reused << '\n';
    }
    const std::size_t head = engine.session.head().size();
    std::cerr << "  " << head + prompt << " prompt tokens" << (head > 0 ? " with BOS, " : ", ") << generation.tokens.size()
              << " new, stopped by " << to_string(generation.stop) << "; layout " << settings.layout << ", schedule "
              << method.schedule << ", query " << (method.query.empty() ? "its own" : method.query) << ", " << stats.retrievals
              << " retrievals\n";
    if (stats.rewinds > 0) std::cerr << "  " << stats.rewound << " tokens taken back in " << stats.rewinds << " rewinds\n";
    std::cerr << "  " << stats.counts.requested << " positions requested = " << stats.counts.evaluated << " evaluated + "
              << stats.counts.reused << " reused; " << stats.counts.discarded << " discarded\n";
    if (settings.layout == "aside") {
        const fb::BlockStoreCounts counts = engine.session.store()->counts();
        std::cerr << "  passages beside the text: " << counts.misses << " evaluated, " << counts.hits << " found in memory, "
                  << counts.reads << " in the file of --passages-kv\n";
    }
    std::cerr << branches_line(stats.branches);
    if (health.queries > 0) {
        std::cerr << "  the retriever answered " << health.queries - health.failures << " of " << health.queries << " queries, "
                  << health.empty << " with nothing; half of them within " << 1e3 * seconds(health.p50)
                  << " ms, the slowest in " << 1e3 * seconds(health.max) << " ms\n";
    }
    if (stats.dropped > 0) std::cerr << "  " << stats.dropped << " tokens dropped from the start of the text\n";
    if (stats.shortened > 0) std::cerr << "  passages lost " << stats.shortened << " tokens so that the text fits\n";
    std::cerr << "  " << stats.seconds.total << " s: " << stats.seconds.retrieve << " retrieving, " << stats.seconds.prefill
              << " prefill, " << stats.seconds.decode << " decoding\n";
}

/// Says on standard error what a user may not expect of a layout: that a model must be tuned for it, or a text be longer.
void print_notes(const fb::Generation& generation, const GenerateSettings& settings, std::size_t prompt, bool markers) {
    std::size_t unseen = 0;
    std::size_t last = 0;
    bool found = false;
    for (const auto& [i, retrieval] : ranges::views::enumerate(generation.retrievals)) {
        if (retrieval.passages.empty()) continue;
        found = true;
        if (in_reach(prompt + retrieval.at) > 0) continue;
        ++unseen;
        last = i;
    }
    const bool behind = settings.layout == "append" || settings.layout == "sticky";
    if (behind && found && !markers && !settings.adapter.given()) {
        std::cerr
            << "flashback: --layout " << settings.layout
            << " puts passages behind the text, which a model reads badly if it was not tuned for that: see --layout aside, "
               "or --adapter\n";
    }
    if (settings.layout == "aside" && unseen > 0) {
        if (unseen == 1) {
            std::cerr << "flashback: retrieval " << last + 1 << ": the text had ";
        } else {
            std::cerr << "flashback: " << unseen << " retrievals: the text had up to ";
        }
        const std::size_t first = fb::default_block_gap + 1;
        std::cerr << prompt + generation.retrievals[last].at
                  << " tokens without BOS, and saw nothing of the passages beside it: its token " << first
                  << " sees one token of each, token " << first + 1
                  << " two, and so on; give a longer prompt, or --layout prepend\n";
    }
}

/// Prints the text of a generation while it grows: what no stop string can take back, in whole characters.
class Stream {
public:
    explicit Stream(const fb::StopStrings<Detokenize>& stopping) : stopping_(stopping) {}

    void show_settled() {
        const std::string_view settled = std::string_view{stopping_.text()}.substr(0, stopping_.settled());
        show(settled.substr(0, settled.size() - fb::incomplete_utf8(settled)));
    }
    void show_all() { show(stopping_.text()); }

private:
    void show(std::string_view text) {
        if (text.size() <= shown_) return;
        std::cout << fb::harmless(text.substr(shown_), "\n\t") << std::flush;
        shown_ = text.size();
    }

    const fb::StopStrings<Detokenize>& stopping_;
    std::size_t shown_ = 0;
};

/// What was run, as a picture says it.
void describe_run(fb::ReuseTrace& trace, const GenerateSettings& settings, const std::string& model,
                  const fb::MethodText& method) {
    trace.describe("model", model);
    if (settings.adapter.given()) trace.describe("adapter", settings.adapter.path);
    trace.describe("layout", settings.layout + (settings.repeat > 0 ? ", repeat " + std::to_string(settings.repeat) : ""));
    trace.describe("schedule", method.schedule);
    if (settings.layout == "none") return;
    trace.describe("query", method.query.empty() ? "the schedule's own" : method.query);
    trace.describe("corpus", settings.corpus.path);
    trace.describe("passages at each retrieval", std::to_string(settings.passages));
}

void generate(const GenerateSettings& settings) {
    const std::string prompt_text = settings.prompt.read();
    if (prompt_text.empty()) FLASHBACK_THROW(fb::ErrorCode::contract, "the prompt is empty, expected some text to continue");
    FilesOfCommand files;
    if (settings.trace.given()) {
        files.reads("--model", settings.model);
        settings.weights.tell(files, settings.model);
        files.reads("--corpus", settings.corpus.path);
        files.reads("--prompt-file", settings.prompt.file());
        files.reads("--adapter", settings.adapter.path);
        files.reads("--passages-kv", settings.aside.file());
        settings.trace.tell(files);
    }
    files.check();  // before anything is generated
    const bool closed_book = settings.layout == "none";
    if (closed_book && !settings.corpus.path.empty()) std::cerr << "flashback: with --layout none, --corpus is not read\n";

    const fb::ModelSource file = open_model(settings.model);
    const fb::Tokenizer tokenizer = fb::load_tokenizer(file);
    Engine engine{file, settings.threads, settings.cache, settings.adapter, settings.aside.store(), settings.weights};
    const Markers markers = markers_of(settings.markers, tokenizer, engine.session.adapter());
    const auto policies = policies_of(settings, tokenizer, markers);
    const CorpusOption corpus = closed_book ? CorpusOption{} : settings.corpus;
    fb::Watched index{corpus.open_any(tokenizer, settings.passage_tokens)};
    fb::Decoder decoder{engine.session, index, policies};

    const std::vector<fb::TokenId> prompt = tokenizer.encode(prompt_text);
    std::vector<fb::TokenId> masked = markers.ids;
    // Rows of the embedding that no token uses have no text.
    for (std::size_t id = tokenizer.size(); id < engine.session.vocab_size(); ++id)
        masked.push_back(static_cast<fb::TokenId>(id));
    const fb::StopStrings<Detokenize>& stopping = decoder.policies().stopping();
    Stream stream{stopping};
    const auto on_token = [&](fb::TokenId) {
        if (!settings.json) stream.show_settled();
        return settings.json || std::cout.good();
    };
    fb::ReuseTrace trace;
    const fb::Generation generation = decoder.generate(
        prompt,
        {.max_tokens = settings.max_tokens, .passages = settings.passages, .ignore_eos = settings.ignore_eos, .masked = masked},
        Recording{settings.trace.given() ? &trace : nullptr, on_token});
    trace.finish(generation);
    const fb::MethodText& method = decoder.policies().method().text();
    describe_run(trace, settings, file.name(), method);
    if (settings.json) {
        print(to_json(generation, settings, tokenizer, prompt.size(), stopping.text(), method, engine, index.health()));
        std::cout << std::flush;
    } else {
        stream.show_all();
        std::cout << '\n' << std::flush;
        print_summary(generation, settings, prompt.size(), method, engine, index.health());
    }
    print_notes(generation, settings, prompt.size(), markers.around);
    settings.trace.write(trace, tokenizer);
    for (const std::string& path : settings.trace.files()) std::cerr << "  what was reused: " << fb::harmless(path) << '\n';
}

}  // namespace

void add_generate(CLI::App& app, Command& run) {
    auto settings = std::make_shared<GenerateSettings>();
    CLI::App& command = *app.add_subcommand("generate", "Continue a prompt while retrieving from a corpus");
    add_options(command, *settings);
    command.footer(
        "Example:\n  flashback generate --corpus README.md --layout aside --prompt-file LICENSE --max-tokens 64 --temperature "
        "0.8 --top-p "
        "0.95\n  flashback generate --corpus README.md --schedule flare --prompt 'A KV cache' --trace build/reuse.html");
    command.callback([settings, &run] {
        if (!settings->prompt.given()) throw CLI::ValidationError("generate needs either --prompt or --prompt-file");
        if (settings->layout != "none" && settings->corpus.path.empty())
            throw CLI::ValidationError("generate needs --corpus, or --layout none");
        check_repeat(settings->layout, settings->repeat);
        settings->aside.check(settings->layout, settings->reuse);
        settings->fusion.check(settings->layout, settings->aside.moving_text(settings->layout));
        settings->schedule.check(settings->layout);
        settings->adapter.tokens = tokens_with(settings->markers.ids);
        run = [settings] { generate(*settings); };
    });
}

}  // namespace cli
