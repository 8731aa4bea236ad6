/// \file What examples/quickstart.sh runs. A language model writes while it retrieves from an encyclopaedia. The program measures
/// what passages cost beside the text, after it, in front of it, and beside it without reuse. It also measures how well the model
/// predicts entries on which neither it nor its adapters, which were tuned to read passages, were trained.

#include "flashback/flashback.hpp"
#include "models/default_model.hpp"

#include <nlohmann/json.hpp>
#include <range/v3/range/conversion.hpp>
#include <range/v3/view/enumerate.hpp>
#include <range/v3/view/filter.hpp>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iomanip>
#include <iostream>
#include <memory>
#include <set>
#include <span>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace fb = flashback;

namespace {

constexpr const char* prompt_text =
    "An operating system is the program that controls a computer. It shares the processor, the memory and the devices among "
    "the programs that run, and";
constexpr std::size_t new_tokens = 320;
constexpr std::size_t stride = 16;
constexpr std::size_t query_tokens = 32;
constexpr std::size_t repeated = 16;
constexpr std::size_t window_of_stale_query = 512;
constexpr int repetitions = 3;
constexpr std::size_t heldout_strides = 192;

/// What everything here needs.
struct System {
    fb::Tokenizer tokenizer;
    std::shared_ptr<const fb::Transformer> model;
    std::shared_ptr<const fb::PackedAdapter> aside_adapter;   // for passages beside the text
    std::shared_ptr<const fb::PackedAdapter> append_adapter;  // for passages after it
    std::shared_ptr<const fb::PackedAdapter> repeat_adapter;  // the same with the newest tokens once more after them
    std::vector<fb::Document> documents;
    fb::Bm25Index index;
    fb::ThreadPool& pool;

    fb::MarkerTokens markers() const { return {tokenizer.id("<MARK_L>"), tokenizer.id("<MARK_R>")}; }
};

struct Row {
    const char* name;
    // The fastest repetition.
    fb::Generation best = {};
    fb::ReuseTrace trace = {};
};

/// One line of text, shortened.
std::string line_of(std::string text, std::size_t length) {
    std::ranges::replace(text, '\n', ' ');
    if (text.size() <= length) return text;
    text.resize(length);
    text.resize(text.size() - fb::incomplete_utf8(text));
    return text + "...";
}

/// Words in lines of at most `width` characters.
void print_wrapped(const std::string& text, std::size_t width) {
    std::istringstream words{text};
    std::size_t column = 0;
    for (std::string word; words >> word; column += word.size() + 1) {
        if (column > 0 && column + word.size() > width) {
            std::cout << '\n';
            column = 0;
        }
        std::cout << (column > 0 ? " " : "") << word;
    }
    std::cout << '\n';
}

void print_generation(const fb::Generation& generation, const fb::Tokenizer& tokenizer) {
    std::cout << "The prompt, and what the model writes; [n] is where passage n was retrieved. With 5 million parameters it is "
                 "fluent "
                 "at best:\n\n";
    std::string text = prompt_text;
    fb::StreamDecoder stream{tokenizer};
    std::size_t next = 0;
    for (const auto& [i, token] : ranges::views::enumerate(generation.tokens)) {
        if (next < generation.retrievals.size() && generation.retrievals[next].at == i)
            text += " [" + std::to_string(++next) + ']';
        text += stream.push(token);
    }
    print_wrapped(text + stream.finish(), 118);
    std::cout << "\nThe passages:\n";
    for (const auto& [i, retrieval] : ranges::views::enumerate(generation.retrievals)) {
        std::cout << std::setw(4) << '[' + std::to_string(i + 1) + ']' << ' ';
        const auto& passages = retrieval.passages;
        if (passages.empty()) {
            std::cout << "nothing found\n";
        } else {
            std::cout << passages[0].title << " - " << passages[0].tokens << " tokens: " << line_of(passages[0].text, 88)
                      << '\n';
        }
    }
}

void print_table(const std::vector<Row>& rows) {
    const auto& base = rows.front().best.stats;
    std::cout << "\nThe same " << new_tokens << " tokens in each layout, a retrieval every " << stride << " (seconds: best of "
              << repetitions << "; the ratios are to the first line):\n\n"
              << "                      evaluated    ratio   reused    seconds    ratio\n"
              << std::fixed;
    for (const Row& row : rows) {
        const auto& stats = row.best.stats;
        const double evaluated = static_cast<double>(stats.counts.evaluated) / static_cast<double>(base.counts.evaluated);
        std::cout << "  " << std::left << std::setw(20) << row.name << std::right << std::setw(9) << stats.counts.evaluated
                  << std::setprecision(2) << std::setw(9) << evaluated << std::setw(9) << stats.counts.reused
                  << std::setprecision(3) << std::setw(11) << stats.seconds.total << std::setprecision(2) << std::setw(9)
                  << stats.seconds.total / base.seconds.total << '\n';
    }
}

/// Takes the tokens of an earlier generation, whatever the model would say: so all layouts have the same text, and search for it.
struct Retell {
    std::vector<fb::TokenId> tokens;
    std::size_t next = 0;

    void reset() { next = 0; }
    fb::TokenId operator()(std::span<const float>) { return tokens[next++]; }
};

/// Writes, and says what it costs. The picture of what append reused goes to a file.
void write_and_count(const System& system, const std::filesystem::path& picture) {
    fb::Session storing{system.model, {.executor = system.pool}, std::make_shared<fb::BlockStore>()};
    fb::Session forgetful{system.model, {.executor = system.pool}};
    const auto prompt = system.tokenizer.encode(prompt_text);
    // The model would end the article, or the paragraph, soon; masking these tokens lets it write on. It has no use for marks.
    std::vector<fb::TokenId> masked = system.model->text_ends;
    for (const char* name : {"\n", "<MARK_L>", "<MARK_R>"}) masked.push_back(system.tokenizer.id(name));
    const auto generate = [&](fb::Session& session, const auto& policies, auto&&... watcher) {
        session.truncate(0);
        fb::Decoder decoder{session, system.index, policies};
        return decoder.generate(prompt, {.max_tokens = new_tokens, .masked = masked}, watcher...);
    };
    const auto every = fb::Policies{}.schedule(fb::EveryNTokens{stride});
    const auto aside = every.layout(fb::PassagesAside{});
    const auto recomputed = aside.reuse(fb::RecomputeAll{});
    const fb::TruncatedSampling sampling{{.temperature = 0.8f, .top_p = 0.95f, .seed = 1}};

    const fb::Generation written = generate(storing, aside.sampler(sampling));
    print_generation(written, system.tokenizer);
    if (generate(forgetful, recomputed.sampler(sampling)).tokens != written.tokens)
        throw std::runtime_error("reuse changed the text: this is a bug of flashback");

    const auto run = [&](fb::Session& session, Row& row, const auto& policies) {
        fb::ReuseTrace trace;
        trace.describe("model", "flashback-base-5m");
        trace.describe("layout", row.name);
        trace.describe("schedule", "every " + std::to_string(stride) + " tokens");
        fb::Generation generation = generate(session, policies.sampler(Retell{written.tokens}), trace);
        trace.finish(generation);
        if (row.best.tokens.empty() || generation.stats.seconds.total < row.best.stats.seconds.total)
            row = {row.name, std::move(generation), std::move(trace)};
    };
    std::vector<Row> rows{{.name = "aside"}, {.name = "append"}, {.name = "prepend"}, {.name = "aside, recomputed"}};
    for (int i = 0; i < repetitions; ++i) {
        run(storing, rows[0], aside);
        run(storing, rows[1], every.layout(fb::AppendPassages{}));
        run(storing, rows[2], every.layout(fb::PrependPassages{}));
        run(forgetful, rows[3], recomputed);
    }
    print_table(rows);
    std::cout << "\nRecomputed, it wrote the same text: what is reused gives the same bits as if it were evaluated.\n";
    fb::write_reuse_trace(picture, rows[1].trace, [&](fb::TokenId token) { return system.tokenizer.decode(token); });
    std::cout << "\nA picture of what append reused, for a browser: " << std::filesystem::absolute(picture).string() << '\n';
}

/// A title as examples/pretrain/overlap.py spells it: words in lower case with a blank between.
std::string normalised(std::string_view title) {
    std::string words;
    for (const char c : title) {
        const auto byte = static_cast<unsigned char>(c);
        if (byte >= 0x80 || std::isalnum(byte) != 0) {
            words += static_cast<char>(std::tolower(byte));
        } else if (!words.empty() && words.back() != ' ') {
            words += ' ';
        }
    }
    if (words.ends_with(' ')) words.pop_back();
    return words;
}

/// The entries of the encyclopaedia that were kept out of training.
fb::TextStream heldout_entries(const System& system, const std::string& titles_path) {
    std::ifstream file{titles_path};
    if (!file) throw std::runtime_error("cannot read '" + titles_path + "'");
    const auto titles = nlohmann::json::parse(file).at("titles").at("foldoc").get<std::set<std::string>>();
    const auto entries =
        system.documents |
        ranges::views::filter([&](const fb::Document& document) { return titles.contains(normalised(document.title)); }) |
        ranges::to<std::vector>();
    return fb::text_stream(entries, system.tokenizer, system.tokenizer.vocabulary().eos);
}

/// How well those entries are predicted without passages, and with passages from other entries.
void measure(const System& system, const std::string& titles_path, std::size_t most_strides) {
    const fb::TextStream text = heldout_entries(system, titles_path);
    const std::size_t window = system.model->config.window;
    const auto found = [&](std::size_t passages, const auto& query) {
        return fb::retrieve_strides(text, system.index, query,
                                    {.init = window,
                                     .stride = stride,
                                     .strides = most_strides,
                                     .context = window - stride - 128 - repeated - 3,  // beside a passage, two markers and BOS
                                     .passages = passages,
                                     .executor = system.pool});
    };
    const auto measured = [&](const fb::RetrievedStrides& strides, const auto& policies, const auto& adapter) {
        std::vector<fb::Session> sessions;
        for (std::size_t i = 0; i < system.pool.concurrency(); ++i)
            sessions.emplace_back(system.model, fb::SessionOptions{.adapter = adapter});
        const auto markers = system.markers();
        return fb::retrieval_perplexity(std::span{sessions}, policies, text.tokens(), strides,
                                        {.masked = markers.markers(), .executor = system.pool});
    };
    // What the text was about some entries ago says little of what it goes on with.
    const auto stale = [](const fb::StepView& step) {
        return fb::Query{.tokens = step.context.last(window_of_stale_query).first(query_tokens), .text = {}};
    };
    const fb::RetrievedStrides nothing = found(0, fb::LastNTokens{query_tokens});
    const fb::RetrievedStrides passages = found(1, fb::LastNTokens{query_tokens});
    const fb::RetrievedStrides others = found(1, stale);
    const std::shared_ptr<const fb::PackedAdapter> untuned;
    const auto tuned = fb::Policies{}.wrapper(system.markers());

    const fb::RetrievalPerplexity none = measured(nothing, fb::Policies{}, untuned);
    std::cout << "\nPerplexity of " << none.tokens << " tokens of " << text.documents().size()
              << " entries that were not trained on, a passage of another entry for every " << stride
              << " (lower is better;\nthe difference is measured stride by stride, so its error is smaller):\n\n"
              << "                                                  perplexity       against no retrieval\n"
              << std::fixed << std::setprecision(1);
    const auto print = [&](const char* name, const fb::RetrievalPerplexity& row) {
        std::cout << "  " << std::left << std::setw(48) << name << std::right << std::setw(6) << row.perplexity() << " +- "
                  << row.perplexity_standard_error();
        if (&row != &none) {
            const fb::StrideDifference difference = fb::stride_difference(row, none);
            std::cout << std::setw(12) << std::showpos << 100 * std::expm1(difference.nats) << std::noshowpos << " +- "
                      << 100 * std::exp(difference.nats) * difference.standard_error << " %";
        }
        std::cout << '\n';
    };
    const auto both = [&](const char* name, const char* unrelated, const auto& policies, const auto& adapter) {
        print(name, measured(passages, policies, adapter));
        print(unrelated, measured(others, policies, adapter));
    };
    print("no retrieval", none);
    both("aside", "aside, unrelated passages", fb::Policies{}.layout(fb::PassagesAside{}), untuned);
    print("prepend", measured(passages, fb::Policies{}.layout(fb::PrependPassages{}), untuned));
    print("append", measured(passages, fb::Policies{}, untuned));
    print("append, the newest 16 tokens once more",
          measured(passages, fb::Policies{}.layout(fb::AppendAndRepeat{repeated}), untuned));
    print("adapter for aside, no retrieval", measured(nothing, tuned, system.aside_adapter));
    both("aside + adapter + markers", "the same, unrelated passages", tuned.layout(fb::PassagesAside{}), system.aside_adapter);
    print("adapter for append, no retrieval", measured(nothing, tuned, system.append_adapter));
    both("append + adapter + markers", "the same, unrelated passages", tuned, system.append_adapter);
    both("append + 16 tokens + adapter + markers", "the same, unrelated passages", tuned.layout(fb::AppendAndRepeat{repeated}),
         system.repeat_adapter);
}

void quickstart(const std::string& corpus_path, const std::string& models_path, const std::string& titles_path,
                std::size_t most_strides) {
    fb::ThreadPool pool{std::max(1u, std::thread::hardware_concurrency())};
    const auto file = fb::GgufFile::view(flashback_examples::default_model(), "the default model");
    fb::Tokenizer tokenizer = fb::load_tokenizer(file);
    const auto model = fb::load_model(file, pool);
    const auto adapter_of = [&](const std::string& path) {
        return std::make_shared<const fb::PackedAdapter>(fb::load_adapter(path, *model), model->config);
    };
    std::vector<fb::Document> documents = fb::read_corpus(corpus_path).documents;
    fb::Bm25Index index{documents, fb::codec_of(tokenizer)};
    const std::string adapters = models_path + "/flashback-adapter-5m";
    const System system{.tokenizer = std::move(tokenizer),
                        .model = model,
                        .aside_adapter = adapter_of(adapters + "-aside"),
                        .append_adapter = adapter_of(adapters),
                        .repeat_adapter = adapter_of(adapters + "-repeat"),
                        .documents = std::move(documents),
                        .index = std::move(index),
                        .pool = pool};
    std::cout << "Model    " << model->config.name << ": " << model->config.layers << " layers of width " << model->config.width
              << ", window " << model->config.window << ", on " << pool.concurrency() << " threads (" FLASHBACK_ISA_NAME ")\n"
              << "Adapters " << models_path
              << "/flashback-adapter-5m and two more, each a LoRA and the embeddings of <MARK_L> and "
              << "<MARK_R>, for the last table\n"
              << "Corpus   " << corpus_path << ": " << system.index.documents() << " documents, " << system.index.size()
              << " passages\n\n";
    write_and_count(system, std::filesystem::path{corpus_path}.replace_filename("reuse.html"));
    measure(system, titles_path, most_strides);
}

}  // namespace

int main(int argc, char** argv) {
    std::size_t most_strides = heldout_strides;
    if (argc < 4 || argc > 5 || (argc == 5 && !(std::istringstream{argv[4]} >> most_strides && most_strides > 0))) {
        std::cerr << "usage: quickstart CORPUS MODELS HELDOUT_TITLES [STRIDES]\n"
                     "MODELS: the folder of the adapters; STRIDES: how many strides of 16 tokens are measured (192)\n";
        return 2;
    }
    try {
        quickstart(argv[1], argv[2], argv[3], most_strides);
        return 0;
    } catch (const std::exception& error) {
        std::cerr << "quickstart: " << error.what() << '\n';
        return 1;
    }
}
