#include "common.hpp"
#include "engine.hpp"
#include "flashback/core/error.hpp"
#include "flashback/eval/perplexity.hpp"
#include "flashback/files/load.hpp"
#include "job.hpp"
#include "markers.hpp"
#include "ppl_retrieval.hpp"
#include "training_run.hpp"
#include "weights_option.hpp"

#include <algorithm>
#include <chrono>
#include <iomanip>
#include <iostream>
#include <memory>
#include <optional>
#include <vector>

namespace cli {
namespace {

namespace fb = flashback;

struct PplOptions {
    std::string model;
    WeightsOption weights;
    std::string against;
    std::string text;
    std::size_t window = 0;
    std::size_t stride = 0;
    std::size_t tokens = 0;
    std::vector<fb::TokenId> marker_ids;
    bool keep_markers = false;
    AdapterOption adapter;
    std::optional<fb::DType> cache;
    std::size_t threads = 1;
    bool json = false;
};

Json to_json(const fb::Perplexity& p) {
    return {{"nats_per_token", p.nats},
            {"standard_error", p.standard_error},
            {"perplexity", p.perplexity()},
            {"perplexity_standard_error", p.perplexity_standard_error()}};
}

std::ostream& operator<<(std::ostream& out, const fb::Perplexity& p) {
    return out << "perplexity " << p.perplexity() << " +- " << p.perplexity_standard_error() << ", " << p.nats << " +- "
               << p.standard_error << " nats per token";
}

void ppl(const PplOptions& options) {
    const fb::ModelSource file = open_model(options.model);
    const fb::Tokenizer tokenizer = fb::load_tokenizer(file);
    std::vector<fb::TokenId> tokens = tokenizer.encode(read_text(options.text));
    if (options.tokens > 0 && options.tokens < tokens.size()) tokens.resize(options.tokens);
    if (tokens.empty()) FLASHBACK_THROW(fb::ErrorCode::contract, "the text '", options.text, "' is empty, expected some");
    Engine engine{file, options.threads, options.cache, options.adapter, {}, options.weights};
    std::vector<fb::TokenId> masked;
    if (!options.keep_markers) masked = markers_of({"off", options.marker_ids}, tokenizer, engine.session.adapter()).ids;
    std::optional<Engine> reference;
    if (!options.against.empty()) {
        const fb::ModelSource other = fb::ModelSource::open(options.against);
        if (fb::load_tokenizer(other).vocabulary().pieces != tokenizer.vocabulary().pieces) {
            FLASHBACK_THROW(fb::ErrorCode::vocabulary, "'", options.against, "' has another vocabulary than '", file.name(),
                            "', expected the same: their tokens cannot be compared");
        }
        reference.emplace(other, options.threads, options.cache);
    }
    const std::size_t head = engine.session.head().size();
    const std::size_t window = options.window > 0 ? options.window : engine.session.window() - head;
    const std::size_t stride = options.stride > 0 ? options.stride : window;
    const fb::PerplexityOptions how{
        .window = window, .stride = stride, .masked = masked, .executor = engine.pool, .ranks = ranks()};
    check_ranks_agree({{"model", hexadecimal(engine.session.fingerprint())},
                       {"model to compare with", hexadecimal(reference ? reference->session.fingerprint() : 0)},
                       {"text", hexadecimal(key_of(tokens))}});

    const auto start = std::chrono::steady_clock::now();
    fb::ModelComparison both;
    if (reference) {
        both = fb::compare_models(reference->session, engine.session, tokens, how);
    } else {
        both.other = fb::perplexity(engine.session, tokens, how);
    }
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    const fb::Perplexity& found = both.other;
    if (options.json) {
        Json json{{"model", file.name()}, {"cache", engine.cache()}, {"tokens", found.tokens}, {"windows", found.windows},
                  {"window", window},     {"stride", stride},        {"masked", masked}};
        json.update(to_json(found));
        describe(options.adapter, json);
        json["seconds"] = seconds;
        json["tokens_per_second"] = static_cast<double>(found.tokens) / seconds;
        if (reference) {
            Json against{{"model", options.against}, {"cache", reference->cache()}};
            against.update(to_json(both.reference));
            against["relative_difference"] = both.relative_difference();
            against["top1_agreement"] = both.same_likeliest;
            against["relative_entropy"] = both.relative_entropy;
            json["against"] = std::move(against);
        }
        print(json);
        return;
    }
    std::cout << std::fixed << std::setprecision(4) << found << "\n  " << found.tokens << " tokens in " << found.windows
              << " windows of " << window << ", stride " << stride << "; " << std::setprecision(1) << seconds << " s\n";
    if (reference) {
        std::cout << std::setprecision(4) << "against '" << options.against << "': " << both.reference
                  << "\n  relative difference " << 100 * both.relative_difference() << " %, the same likeliest token at "
                  << 100 * both.same_likeliest << " % of the tokens, relative entropy " << std::setprecision(6)
                  << both.relative_entropy << " nats\n";
    }
}

}  // namespace

void add_ppl(CLI::App& app, Command& run) {
    auto options = std::make_shared<PplOptions>();
    CLI::App& command = *app.add_subcommand("ppl", "Measure the perplexity of a text, without or with retrieval");
    add_model(command, options->model);
    options->weights.add(command);
    add_adapter(command, options->adapter);
    command.add_option("--text", options->text, "The file with the text, or - for standard input")
        ->type_name("FILE")
        ->required();
    command
        .add_option("--window", options->window,
                    "Tokens of a window; each is evaluated from scratch with BOS in front. By default what the model holds")
        ->transform(at_least(1));
    command
        .add_option("--stride", options->stride,
                    "A window begins N tokens after the one before it, and its last N tokens count; by default --window. With "
                    "--layout: a retrieval every N tokens; by default 16")
        ->transform(at_least(1));
    command.add_option("--tokens", options->tokens, "Read only the first N tokens; 0: all")
        ->transform(at_least(0))
        ->capture_default_str();
    command
        .add_option("--against", options->against,
                    "Another GGUF file or folder with the same vocabulary to compare with: the unquantised model, say")
        ->type_name("FILE");
    command.add_flag("--keep-markers", options->keep_markers,
                     "Let marking tokens keep their probability, as other programs do; by default they are masked");
    add_marker_ids(command, options->marker_ids);
    add_cache(command, options->cache);
    add_threads(command, options->threads);
    add_json(command, options->json);
    auto retrieval = std::make_shared<RetrievalPplSettings>();
    add_retrieval_options(command, *retrieval, {"--window", "--tokens", "--against"});
    command.footer(
        "Without --layout, windows are evaluated from scratch.\nExample:\n  flashback ppl --text README.md --window 255 "
        "--tokens "
        "2000\n  flashback ppl --text README.md --corpus CHANGELOG.md --layout append\n  flashback ppl "
        "--text README.md --corpus CHANGELOG.md --layout aside --schedule 'any(stride:64,entropy:3)'");
    command.callback([options, retrieval, &run] {
        options->adapter.tokens = tokens_with(options->marker_ids);
        if (!retrieval->layout.empty()) {
            retrieval->model = options->model;
            retrieval->weights = options->weights;
            retrieval->text = options->text;
            retrieval->stride = options->stride > 0 ? options->stride : 16;
            retrieval->markers.ids = options->marker_ids;
            retrieval->keep_markers = options->keep_markers;
            retrieval->adapter = options->adapter;
            retrieval->cache = options->cache;
            retrieval->threads = options->threads;
            retrieval->json = options->json;
            constexpr std::size_t strides_of_text = 8;
            if (retrieval->share_history) retrieval->hold = strides_of_text * retrieval->stride;
            if (retrieval->schedule.given() && retrieval->hold == 0) retrieval->hold = 128;
            check_retrieval_options(*retrieval);
            run = [retrieval] { ppl_with_retrieval(*retrieval); };
            return;
        }
        if (options->stride > 0 && options->window > 0 && options->stride > options->window) {
            throw CLI::ValidationError("--stride: found " + std::to_string(options->stride) + ", expected at most --window, " +
                                       std::to_string(options->window));
        }
        run = [options] { ppl(*options); };
    });
}

}  // namespace cli
