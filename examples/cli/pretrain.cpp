#include "common.hpp"
#include "files_of_command.hpp"
#include "flashback/core/error.hpp"
#include "flashback/data/packed_text.hpp"
#include "flashback/data/parted_text.hpp"
#include "flashback/data/shuffled_passes.hpp"
#include "flashback/files/load.hpp"
#include "flashback/retrieval/corpus.hpp"
#include "flashback/train/initial_model.hpp"
#include "flashback/train/trainer.hpp"
#include "job.hpp"
#include "markers.hpp"
#include "training_run.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <iomanip>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <range/v3/algorithm/copy.hpp>
#include <range/v3/iterator/insert_iterators.hpp>
#include <range/v3/view/chunk.hpp>

namespace cli {
namespace {

namespace fb = flashback;

struct PretrainOptions {
    std::string tokenizer;
    std::vector<std::string> train;
    std::string valid;
    std::string out;
    std::string name;
    bool force = false;
    std::size_t layers = 0, width = 0, heads = 0, kv_heads = 0, hidden = 0, window = 512;
    double parted = 0;
    OptimiserOptions optimiser;
    std::string dtype = "f16";
    std::size_t valid_window = 255;
    RunOptions run;
    std::size_t threads = 1;
    bool json = false;
};

fb::TransformerConfig config_of(const PretrainOptions& o, std::size_t vocab) {
    fb::TransformerConfig c;
    c.name = o.name.empty() ? std::filesystem::path{o.out}.stem().string() : o.name;
    c.vocab = vocab;
    c.window = o.window;
    c.layers = o.layers;
    c.width = o.width;
    c.heads = o.heads > 0 ? o.heads : std::max<std::size_t>(o.width / 32, 1);
    c.kv_heads = o.kv_heads > 0 ? o.kv_heads : c.heads;
    c.hidden = o.hidden > 0 ? o.hidden : (o.width * 8 / 3 + 63) / 64 * 64;
    c.norm_epsilon = 1e-5f;
    const auto refuse = [](const auto&... parts) { FLASHBACK_THROW(fb::ErrorCode::contract, parts...); };
    if (c.width % c.heads != 0 || c.width / c.heads % 2 != 0)
        refuse("a width of ", c.width, " gives ", c.heads,
               " heads an odd number of elements or a fraction, expected --width to be a multiple of 2 x --heads");
    if (c.heads % c.kv_heads != 0) refuse("--kv-heads is ", c.kv_heads, ", expected a divisor of the ", c.heads, " heads");
    c.head_dim = c.width / c.heads;
    c.rotary_dim = c.head_dim;
    return c;
}

/// What ends a document: the control token `</s>` if the vocabulary has it, else the EOS that it names.
fb::TokenId end_of_document(const fb::Tokenizer& tokenizer, const std::string& name) {
    const fb::Vocabulary& vocabulary = tokenizer.vocabulary();
    const auto found = tokenizer.find("</s>");
    if (found && vocabulary.kinds[static_cast<std::size_t>(*found)] == fb::TokenKind::control) return *found;
    if (vocabulary.eos && vocabulary.eos != vocabulary.bos) return *vocabulary.eos;
    FLASHBACK_THROW(fb::ErrorCode::vocabulary, "the vocabulary of '", name,
                    "' has no token to end documents with, expected the control token </s> or an EOS that is not its BOS");
}

/// Tokens of texts, in parallel.
std::vector<std::vector<fb::TokenId>> encode_all(const fb::Tokenizer& tokenizer, const std::vector<fb::Document>& texts,
                                                 fb::ExecutorRef executor) {
    std::vector<std::vector<fb::TokenId>> tokens(texts.size());
    executor.run(texts.size(), [&](std::size_t i) { tokens[i] = tokenizer.encode(texts[i].text); });
    return tokens;
}

fb::Corpus read_texts(const std::string& file) {
    fb::Corpus found = fb::read_corpus(file, fb::TextForm::pages);
    if (found.replaced > 0) {
        std::cerr << "flashback: '" << file << "' is not UTF-8 in " << found.replaced << " places, which became U+FFFD\n";
    }
    return found;
}

fb::PackedText read_data(const PretrainOptions& o, const fb::Tokenizer& tokenizer, fb::TokenId end, fb::ExecutorRef executor) {
    const fb::TokenSpan head = tokenizer.head();
    fb::PackedText data{o.window, head.empty() ? std::nullopt : std::optional{head[0]}, end};
    for (const std::string& file : o.train) {
        const fb::Corpus found = read_texts(file);
        if (found.documents.empty()) {
            FLASHBACK_THROW(fb::ErrorCode::corpus, "'", file, "' holds no text, expected some to train on");
        }
        for (const auto& document : encode_all(tokenizer, found.documents, executor)) data.add(document);
    }
    if (data.sequences() == 0) {
        FLASHBACK_THROW(fb::ErrorCode::corpus, "the text to train on has ", data.tokens(),
                        " tokens, expected at least one window of ", o.window);
    }
    return data;
}

/// The text, of which a share is parted between the marking tokens of the vocabulary.
fb::PartedText parted(const PretrainOptions& o, fb::PackedText text, const std::vector<fb::TokenId>& markers,
                      const std::string& name) {
    if (o.parted > 0 && markers.size() != marker_names.size()) {
        FLASHBACK_THROW(fb::ErrorCode::vocabulary,
                        "--parted puts passages between <MARK_L> and <MARK_R>, but the vocabulary of '", name,
                        "' has no control tokens of these names");
    }
    std::array<fb::TokenId, 2> around{};
    std::ranges::copy_n(markers.begin(), o.parted > 0 ? std::ssize(around) : 0, around.begin());
    return {std::move(text), around, {.share = o.parted, .seed = o.optimiser.seed}};
}

/// A text in windows as `ppl` cuts it: each from scratch, with BOS in front.
std::vector<fb::TrainingExample> read_valid(const PretrainOptions& o, const fb::Tokenizer& tokenizer, std::size_t window) {
    std::string text;
    for (const fb::Document& one : read_texts(o.valid).documents) text += (text.empty() ? "" : "\n") + one.text;
    const std::vector<fb::TokenId> tokens = tokenizer.encode(text);
    const fb::TokenSpan head = tokenizer.head();
    std::vector<fb::TrainingExample> examples;
    for (const auto part : tokens | ranges::views::chunk(window)) {
        fb::TokenBuffer one(head.begin(), head.end());
        ranges::copy(part, ranges::back_inserter(one));
        if (fb::TrainingExample example = fb::predict_all(std::move(one)); !example.targets.empty())
            examples.push_back(std::move(example));
    }
    if (examples.empty()) {
        FLASHBACK_THROW(fb::ErrorCode::corpus, "'", o.valid, "' holds no text, expected some to validate with");
    }
    return examples;
}

fb::RunDescription describe(const PretrainOptions& o, const fb::TransformerConfig& c, const fb::PackedText& data) {
    const auto text = [](std::uint64_t n) { return std::to_string(n); };
    fb::RunDescription run{{"command", "pretrain"},        {"data", hexadecimal(data.fingerprint())},
                           {"vocab", text(c.vocab)},       {"layers", text(c.layers)},
                           {"width", text(c.width)},       {"heads", text(c.heads)},
                           {"kv-heads", text(c.kv_heads)}, {"hidden", text(c.hidden)},
                           {"window", text(c.window)}};
    if (o.parted > 0) run.emplace_back("parted", shortest(o.parted));  // older checkpoints lack the name
    o.optimiser.describe(run);
    return run;
}

Json summary(const PretrainOptions& o, const fb::PackedText& data, const std::vector<fb::TrainingExample>& valid,
             const RunResult& result, std::size_t parameters, std::size_t valid_window) {
    const double seen = static_cast<double>(o.optimiser.steps) * static_cast<double>(o.optimiser.batch);
    Json json{{"model", o.out},
              {"bytes", std::filesystem::file_size(o.out)},
              {"dtype", o.dtype},
              {"parameters", parameters},
              {"parted", o.parted},
              {"train",
               {{"documents", data.documents()},
                {"tokens", data.tokens()},
                {"sequences", data.sequences()},
                {"tokens_left_over", data.tokens() % data.length()},
                {"passes", seen / static_cast<double>(data.sequences())}}}};
    describe(result, o.optimiser.steps, json);
    if (result.valid_nats) {
        std::size_t targets = 0;
        for (const fb::TrainingExample& example : valid) targets += example.targets.size();
        json["valid"] = {{"tokens", targets},
                         {"windows", valid.size()},
                         {"window", valid_window},
                         {"nats_per_token", *result.valid_nats},
                         {"perplexity", std::exp(*result.valid_nats)}};
    }
    return json;
}

void pretrain(const PretrainOptions& o) {
    FilesOfCommand files;
    files.reads("--tokenizer", o.tokenizer);
    for (const std::string& train : o.train) files.reads("--train", train);
    files.reads("--valid", o.valid);
    files.writes("--out", o.out, o.force);
    o.run.name_files(files);
    files.check();
    const fb::ModelSource file = open_model(o.tokenizer);
    const fb::Tokenizer tokenizer = fb::load_tokenizer(file);
    const fb::TokenId end = end_of_document(tokenizer, file.name());
    const fb::TransformerConfig config = config_of(o, tokenizer.size());

    fb::ThreadPool pool = start_threads(o.threads);
    const std::vector<fb::TokenId> markers = named_markers(tokenizer);
    const fb::PartedText sequences = parted(o, read_data(o, tokenizer, end, pool), markers, file.name());
    const fb::PackedText& data = sequences.text();
    const std::size_t valid_window = std::min(o.valid_window, config.window - tokenizer.head().size());
    std::vector<fb::TrainingExample> valid;
    if (!o.valid.empty()) valid = read_valid(o, tokenizer, valid_window);
    std::cerr << "flashback: " << data.documents() << " documents of " << data.tokens() << " tokens, " << data.sequences()
              << " sequences of " << o.window << "; " << o.optimiser.steps << " steps of " << o.optimiser.batch << " are "
              << std::setprecision(3)
              << static_cast<double>(o.optimiser.steps) * static_cast<double>(o.optimiser.batch) /
                     static_cast<double>(data.sequences())
              << " passes\n";

    const auto initial = fb::initial_transformer(config, {.seed = o.optimiser.seed});
    initial->text_head.assign(tokenizer.head().begin(), tokenizer.head().end());
    initial->text_ends = {end};
    fb::Trainer trainer{initial, {.all = true}, o.optimiser.trainer_options(markers, pool)};
    fb::ShuffledPasses order{data.sequences(), o.optimiser.seed};
    std::vector<fb::TrainingExample> batch(o.optimiser.batch);
    const auto step = [&](std::uint64_t number) {
        for (std::size_t i = 0; i < o.optimiser.batch; ++i)
            batch[i] = sequences.sequence(order[number * o.optimiser.batch + i]);
        return trainer.step(batch);
    };
    const auto write = [&] { write_gguf(o.out, *trainer.model(), file, &tokenizer.vocabulary(), dtype_named(o.dtype)); };
    std::function<double()> validate;
    if (!valid.empty()) validate = [&] { return trainer.evaluate(valid).mean(); };
    fb::Fingerprint validation;
    for (const fb::TrainingExample& example : valid) validation.add(key_of(example.tokens));
    const RunResult result =
        train(trainer, o.optimiser.steps, o.run, describe(o, config, data), {step, write, validate, validation.value()});
    if (!ranks().first()) return;

    const Json json = summary(o, data, valid, result, trainer.layout().elements(), valid_window);
    if (o.json) return print(json);
    std::cout << std::fixed << std::setprecision(4) << "wrote '" << o.out << "', " << json["parameters"] << " parameters in "
              << json["bytes"] << " bytes, after " << o.optimiser.steps << " steps in " << std::setprecision(1)
              << result.seconds << " s\n";
    if (result.valid_nats) {
        std::cout << std::setprecision(4) << "perplexity of '" << o.valid << "' " << std::exp(*result.valid_nats) << " ("
                  << *result.valid_nats << " nats per token) in windows of " << valid_window << "\n";
    }
}

}  // namespace

void add_pretrain(CLI::App& app, Command& run) {
    auto o = std::make_shared<PretrainOptions>();
    CLI::App& command = *app.add_subcommand("pretrain", "Train a model of the Llama architecture from scratch");
    command
        .add_option("--tokenizer", o->tokenizer,
                    "The GGUF file or Hugging Face folder whose vocabulary the model gets; by default the model that is part "
                    "of this program")
        ->type_name("FILE");
    command
        .add_option("--train", o->train,
                    "Files to train on: JSON lines with a \"text\" each, or plain text, in which a line with only a form feed "
                    "separates documents")
        ->required()
        ->type_name("FILE");
    command.add_option("--out", o->out, "The GGUF file to write")->required()->type_name("FILE");
    command.add_flag("--force", o->force, "Replace the file to write if it exists");
    command.add_option("--name", o->name, "The name of the model; by default that of the file");
    add_dtype(command, o->dtype, {"f32", "f16", "bf16"})->capture_default_str();
    const auto size = [&](const char* option, std::size_t& value, const char* meaning) {
        return command.add_option(option, value, meaning)->transform(at_least(1))->check(CLI::Range(1, 1 << 24));
    };
    size("--layers", o->layers, "Blocks of the model")->required();
    size("--width", o->width, "Width of the residual stream")->required();
    size("--heads", o->heads, "Heads of queries; by default one for 32 elements of --width");
    size("--kv-heads", o->kv_heads, "Heads of keys and values; by default --heads");
    size("--hidden", o->hidden, "Width of the feed-forward layers; by default 8/3 of --width, rounded up to a multiple of 64");
    command.add_option("--window", o->window, "Tokens of a sequence, and positions of the model")
        ->transform(at_least(2))
        ->check(CLI::Range(2, 1 << 20))
        ->capture_default_str();
    command
        .add_option(
            "--parted", o->parted,
            "The share of the sequences that passages interrupt, each between <MARK_L> and <MARK_R>: half of them stretches of "
            "the same text that hold its next token, half of others. A model that has read such texts uses a passage if it "
            "fits, and goes on with its text after any, as --layout append asks of it")
        ->check(number_from(0, 1))
        ->capture_default_str();
    o->optimiser.add(command, "Sequences", "The seed of the first weights and of the order of the sequences");
    auto* const valid = command
                            .add_option("--valid", o->valid,
                                        "Measure the perplexity of this file, whose texts are joined by newlines, as ppl does")
                            ->type_name("FILE");
    command
        .add_option(
            "--valid-window", o->valid_window,
            "Tokens of a window of --valid; each is evaluated from scratch with BOS in front. At most what the model holds")
        ->transform(at_least(1))
        ->needs(valid)
        ->capture_default_str();
    o->run.add(command, valid);
    add_threads(command, o->threads);
    add_json(command, o->json);
    command.footer(
        "Documents end with </s>, which becomes the model's EOS. They are packed end to end into sequences, which are shuffled "
        "in each pass.\nExample:\n  flashback pretrain --train README.md --layers 1 --width 32 --window 64 --steps 20 --out "
        "/tmp/tiny.gguf --force");
    command.callback([o, &run] {
        o->run.settle(o->out);
        run = [o] { pretrain(*o); };
    });
}

}  // namespace cli
