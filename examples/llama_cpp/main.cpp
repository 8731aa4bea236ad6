/// \file FlashBack and passages aside with llama.cpp as the engine: what each layout evaluates and reuses, how long it takes, and whether the
/// text is the one that our own engine writes with the same file.
///
/// README.md here says how to run it.
#include "flashback/flashback.hpp"
#include "flashback/interop/llama_cpp.hpp"
#include "llama_engine.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <exception>
#include <iomanip>
#include <iostream>
#include <memory>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

namespace fb = flashback;

namespace {

struct Settings {
    std::string model = "examples/models/flashback-base-5m.gguf";
    std::string corpus = "CONTRIBUTING.md";
    std::size_t tokens = 200;
    std::size_t prompt_tokens = 128;
    std::string prompt_file = "README.md";
    bool compare = true;
    std::string shape;
    flashback_examples::LlamaSettings llama;
};

/// The best passage other than the last one, so that each retrieval brings something new; if nothing is found, as with the nonsense that a
/// model with random weights writes, the next part of a text.
struct AlwaysNew {
    const fb::Bm25Index* index;
    std::vector<fb::TokenBuffer> parts;
    std::size_t next = 0;
    fb::TokenBuffer last{};
    std::vector<fb::Passage> found{};

    std::span<const fb::Passage> retrieve(const fb::Query& query, std::size_t k) {
        found = index->retrieve(query, k + 1);
        if (!found.empty() && std::ranges::equal(found[0].tokens, last)) found.erase(found.begin());
        if (found.empty()) found.assign(1, fb::Passage{.id = "part", .tokens = parts[next++ % parts.size()]});
        found.resize(std::min(found.size(), k));
        last.assign(found[0].tokens.begin(), found[0].tokens.end());
        return found;
    }
};

struct Written {
    std::vector<fb::TokenBuffer> texts;
    fb::TokenCounts counts;
    double seconds = 0;
};

template <class Model, class Policies>
Written write_each(Model& model, const AlwaysNew& search, const Policies& policies, std::span<const fb::TokenBuffer> prompts,
                   const fb::GenerateOptions& options) {
    Written written;
    for (const fb::TokenBuffer& prompt : prompts) {
        AlwaysNew its = search;
        model.truncate(0);
        fb::Decoder decoder{model, its, policies};
        fb::Generation generation = decoder.generate(prompt, options);
        written.counts += generation.stats.counts;
        written.seconds += generation.stats.seconds.total;
        written.texts.push_back(std::move(generation.tokens));
    }
    return written;
}

/// All texts at once, each in a sequence of its own.
template <class Policies>
Written write_together(fb::LlamaCppModel& model, const AlwaysNew& search, const Policies& policies,
                       std::span<const fb::TokenBuffer> prompts, const fb::GenerateOptions& options) {
    model.truncate(0);
    std::vector<fb::LlamaCppModel> models;
    models.reserve(prompts.size());
    std::vector<AlwaysNew> searches(prompts.size(), search);
    fb::DecoderGroup<fb::LlamaCppModel> group;
    for (std::size_t i = 0; i < prompts.size(); ++i) {
        models.push_back(model.fork());
        group.add(models[i], searches[i], policies, prompts[i], options);
    }
    Written written;
    const auto start = std::chrono::steady_clock::now();
    group.run();
    written.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    for (std::size_t i = 0; i < prompts.size(); ++i) {
        written.counts += group.result(i).stats.counts;
        written.texts.push_back(group.result(i).tokens);
    }
    return written;
}

std::size_t common(const Written& a, const Written& b) {
    std::size_t same = 0;
    for (std::size_t i = 0; i < a.texts.size(); ++i) same += fb::common_prefix(a.texts[i], b.texts[i]);
    return same;
}

/// A line of the table, and whether all tokens are those of our engine.
bool print(const char* name, const Written& written, double base, const std::optional<Written>& ours) {
    const auto lengths = std::accumulate(written.texts.begin(), written.texts.end(), std::size_t{0},
                                         [](std::size_t sum, const fb::TokenBuffer& text) { return sum + text.size(); });
    std::cout << std::left << std::setw(26) << name << std::right << std::setw(10) << written.counts.evaluated << std::setw(10)
              << written.counts.reused << std::fixed << std::setprecision(2) << std::setw(10) << written.seconds
              << std::setw(10) << base / written.seconds;
    if (ours) std::cout << std::setw(8) << common(written, *ours) << " of " << lengths;
    std::cout << std::endl;
    return !ours || common(written, *ours) == lengths;
}

/// A file of a shape, with random weights and the tokenizer of the default model: for what a shape costs.
void write_shape(const Settings& settings, fb::ThreadPool& pool) {
    const auto shape = fb::shape_of(settings.shape);
    if (!shape) throw fb::Error{fb::ErrorCode::contract, "there is no shape '" + settings.shape + "'"};
    const fb::Vocabulary vocabulary = fb::read_vocabulary(fb::GgufFile::open("examples/models/flashback-base-5m.gguf"));
    fb::write_model(settings.model, *fb::random_transformer(*shape, fb::DType::q8_0, 1, pool), &vocabulary, fb::DType::q8_0);
    std::cout << "wrote " << settings.model << ": the shape of " << settings.shape << " in Q8_0, with random weights\n";
}

bool run(const Settings& settings) {
    fb::ThreadPool pool{static_cast<std::size_t>(settings.llama.threads)};
    if (!settings.shape.empty()) {
        write_shape(settings, pool);
        return true;
    }
    const flashback_examples::LlamaEngine llama{settings.model, settings.llama};
    std::vector<llama_seq_id> sequences(llama_n_seq_max(llama.context()));
    std::iota(sequences.begin(), sequences.end(), 0);
    fb::LlamaCppModel theirs{llama.context(),
                             {.sequences = sequences, .window = llama.window(), .kept_blocks = settings.llama.passages}};

    const fb::Codec codec = fb::llama_cpp_codec(llama.vocab());
    const fb::Bm25Index index{
        fb::read_corpus(settings.corpus).documents, codec, {.passage_tokens = settings.llama.passage_tokens}};
    const fb::TokenBuffer text = codec.encode(fb::read_corpus(settings.prompt_file, fb::TextForm::whole).documents.at(0).text);
    if (text.size() < settings.llama.passage_tokens)
        throw fb::Error{fb::ErrorCode::contract, settings.prompt_file + " has " + std::to_string(text.size()) +
                                                     " tokens; expected those of a passage, " +
                                                     std::to_string(settings.llama.passage_tokens) + ", at least"};
    AlwaysNew search{.index = &index, .parts = {}};
    for (std::size_t at = 0; at + settings.llama.passage_tokens <= text.size(); at += settings.llama.passage_tokens)
        search.parts.emplace_back(text.begin() + static_cast<std::ptrdiff_t>(at),
                                  text.begin() + static_cast<std::ptrdiff_t>(at + settings.llama.passage_tokens));
    std::vector<fb::TokenBuffer> prompts;
    for (std::size_t i = 0; i < 4; ++i) {
        fb::TokenBuffer prompt;
        while (prompt.size() < settings.prompt_tokens)
            prompt.push_back(text[(i * settings.prompt_tokens + prompt.size()) % text.size()]);
        prompts.push_back(std::move(prompt));
    }

    std::optional<fb::Session> session;
    if (settings.compare) {
        const auto file = fb::GgufFile::open(settings.model);
        fb::SessionOptions options{.window = llama.window(), .executor = pool};
        options.cache = settings.llama.exact_cache ? fb::DType::f32 : fb::DType::f16;
        session.emplace(fb::load_model(file, pool), options);
        if (fb::load_tokenizer(file).encode("The same tokens.") != codec.encode("The same tokens."))
            throw fb::Error{fb::ErrorCode::vocabulary, "the tokenizers of the two engines differ"};
    }

    std::cout << "                          evaluated    reused   seconds     ratio" << (session ? "   as our engine" : "")
              << '\n';
    const fb::GenerateOptions options{.max_tokens = settings.tokens, .ignore_eos = true};
    const auto policies = fb::Policies{}.schedule(fb::EveryNTokens{16}).query(fb::LastNTokens{32});
    const std::span<const fb::TokenBuffer> first{prompts.data(), 1};
    double base = 0;  // seconds of the first row of a group: of prepending, and of four texts one by one
    bool same = true;
    const auto row = [&](const char* name, const auto& layout, std::span<const fb::TokenBuffer> its, bool together = false) {
        const auto chosen = policies.layout(fb::AnyLayout{layout});
        const Written written =
            together ? write_together(theirs, search, chosen, its, options) : write_each(theirs, search, chosen, its, options);
        if (base == 0) base = written.seconds;
        std::optional<Written> ours;
        if (session) ours = write_each(*session, search, chosen, its, options);
        same = print(name, written, base, ours) && same;
    };
    row("prepend", fb::PrependPassages{}, first);
    row("append", fb::AppendPassages{}, first);
    row("sticky", fb::Sticky{}, first);
    row("aside", fb::PassagesAside{}, first);
    base = 0;
    row("four texts, one by one", fb::AppendPassages{}, prompts);
    row("four texts, batched", fb::AppendPassages{}, prompts, true);
    theirs.truncate(0);
    std::cout << "refused removals: " << theirs.counts().refused_removals
              << ", tokens evaluated again because of them: " << theirs.counts().evaluated_again << '\n';
    return same;
}

}  // namespace

int main(int argc, char** argv) try {
    Settings settings;
    CLI::App app{"FlashBack and passages aside with llama.cpp as the engine."};
    app.add_option("--model", settings.model, "A GGUF file")->capture_default_str();
    app.add_option("--corpus", settings.corpus, "What is retrieved from")->capture_default_str();
    app.add_option("--prompt-file", settings.prompt_file, "The texts begin as this file does")->capture_default_str();
    app.add_option("--prompt-tokens", settings.prompt_tokens, "Tokens of a prompt")->capture_default_str();
    app.add_option("--tokens", settings.tokens, "Tokens to write")->capture_default_str();
    app.add_option("--passage-tokens", settings.llama.passage_tokens, "Tokens of a passage")->capture_default_str();
    app.add_option("--window", settings.llama.window, "Positions of a text; 0: those of the model")->capture_default_str();
    app.add_option("--threads", settings.llama.threads, "Threads of both engines")->capture_default_str();
    app.add_flag("--compare,!--no-compare", settings.compare, "Whether our engine writes the same texts");
    app.add_flag("--exact-cache,!--half-cache", settings.llama.exact_cache, "Keys and values in F32, or in F16");
    app.add_option("--write-shape", settings.shape, "Write a file of a shape with random weights to --model, and end");
    CLI11_PARSE(app, argc, argv);
    if (run(settings)) return 0;
    std::cerr << "llama_cpp: the two engines wrote different tokens\n";
    return 1;
} catch (const std::exception& error) {
    std::cerr << "llama_cpp: " << error.what() << '\n';
    return 1;
}
