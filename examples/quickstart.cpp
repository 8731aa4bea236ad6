/// \file What examples/quickstart.sh runs: a language model writes while it retrieves from an encyclopaedia, and what it
/// costs to put the passages behind the text, in front of it, or behind it without reusing anything.

#include "flashback/flashback.hpp"
#include "models/default_model.hpp"

#include <algorithm>
#include <exception>
#include <iomanip>
#include <iostream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>

namespace fb = flashback;

namespace {

constexpr const char* prompt_text =
    "An operating system is the program that controls a computer. It shares the processor, the memory and the devices among "
    "the programs that run, and";
constexpr std::size_t new_tokens = 320;
constexpr std::size_t stride = 16;
constexpr int repetitions = 3;

struct Row {
    const char* name;
    fb::Generation best;  // the fastest repetition; all of them give the same tokens and counts
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
    std::cout
        << "The prompt, and what the model writes; [n] is where passage n was retrieved. With 5 million parameters, not yet\n"
           "tuned to read passages behind its text, it is fluent at best:\n\n";
    std::string text = prompt_text;
    fb::StreamDecoder stream{tokenizer};
    std::size_t next = 0;
    for (std::size_t i = 0; i < generation.tokens.size(); ++i) {
        if (next < generation.retrievals.size() && generation.retrievals[next].at == i)
            text += " [" + std::to_string(++next) + ']';
        text += stream.push(generation.tokens[i]);
    }
    print_wrapped(text + stream.finish(), 118);
    std::cout << "\nThe passages:\n";
    for (std::size_t i = 0; i < generation.retrievals.size(); ++i) {
        std::cout << std::setw(4) << '[' + std::to_string(i + 1) + ']' << ' ';
        const auto& passages = generation.retrievals[i].passages;
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
    std::cout << "\nThe same prompt, " << new_tokens << " new tokens, a retrieval every " << stride << " (seconds: best of "
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

void quickstart(const std::string& corpus_path) {
    fb::ThreadPool pool{std::max(1u, std::thread::hardware_concurrency())};
    const auto file = fb::GgufFile::view(flashback_examples::default_model(), "the default model");
    const auto tokenizer = fb::load_tokenizer(file);
    const auto model = fb::load_model(file, pool);
    const fb::Bm25Index index{fb::read_corpus(corpus_path).documents, tokenizer};
    std::cout << "Model " << model->config.name << ": " << model->config.layers << " layers of width " << model->config.width
              << ", window " << model->config.window << ", on " << pool.concurrency() << " threads (" FLASHBACK_ISA_NAME ")\n"
              << "Corpus " << corpus_path << ": " << index.passages().documents().size() << " documents, "
              << index.passages().size() << " passages\n\n";

    fb::Session session{model, {.executor = pool}};
    const auto prompt = tokenizer.encode(prompt_text);
    std::vector<fb::TokenId> masked = model->text_ends;
    masked.push_back(tokenizer.id("\n"));
    const auto policies = fb::Policies{}
                              .schedule(fb::EveryNTokens{stride})
                              .sampler(fb::TruncatedSampling{{.temperature = 0.8f, .top_p = 0.95f, .seed = 1}});
    const auto run = [&](Row& row, const auto& chosen) {
        session.truncate(0);
        fb::Decoder decoder{session, index, chosen};
        // The model would end the article, or the paragraph, soon; masking these tokens lets it write on.
        fb::Generation generation = decoder.generate(prompt, {.max_tokens = new_tokens, .masked = masked});
        if (row.best.tokens.empty() || generation.stats.seconds.total < row.best.stats.seconds.total)
            row.best = std::move(generation);
    };
    std::vector<Row> rows{{"append", {}}, {"prepend", {}}, {"append, recomputed", {}}};
    for (int i = 0; i < repetitions; ++i) {
        run(rows[0], policies.layout(fb::AppendDocuments{}));
        if (i == 0) print_generation(rows[0].best, tokenizer);
        run(rows[1], policies.layout(fb::PrependDocuments{}));
        run(rows[2], policies.layout(fb::AppendDocuments{}).reuse(fb::RecomputeAll{}));
    }
    print_table(rows);
    if (rows[0].best.tokens != rows[2].best.tokens)
        throw std::runtime_error("reuse changed the text: this is a bug of flashback");
    std::cout
        << "\nThe first and the last line wrote the same text: what is reused gives the same bits as if it were evaluated.\n";
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 2) {
        std::cerr << "usage: quickstart CORPUS\n";
        return 2;
    }
    try {
        quickstart(argv[1]);
        return 0;
    } catch (const std::exception& error) {
        std::cerr << "quickstart: " << error.what() << '\n';
        return 1;
    }
}
