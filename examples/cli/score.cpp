#include "common.hpp"
#include "engine.hpp"
#include "flashback/core/error.hpp"
#include "flashback/core/language_model.hpp"
#include "flashback/files/load.hpp"
#include "flashback/policy/wrapper.hpp"
#include "markers.hpp"
#include "weights_option.hpp"

#include <algorithm>
#include <cmath>
#include <iomanip>
#include <iostream>
#include <memory>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <range/v3/view/enumerate.hpp>
#include <range/v3/view/tail.hpp>
#include <range/v3/view/zip.hpp>

namespace cli {
namespace {

struct ScoreOptions {
    std::string model;
    WeightsOption weights;
    TextOption text;
    std::vector<flashback::TokenId> tokens;
    std::size_t top = 5;
    std::vector<std::string> beside;
    std::vector<std::string> beside_files;
    std::optional<std::size_t> seen_from;
    AdapterOption adapter;
    MarkersOption markers;
    std::optional<flashback::DType> cache;
    std::size_t threads = 1;
    bool json = false;
};

/// Refuses logits that give no probabilities.
void check_logits(std::span<const float> logits, std::size_t place, const std::string& model) {
    const auto bad = std::ranges::find_if_not(logits, [](float x) { return std::isfinite(x); });
    if (bad == logits.end()) return;
    FLASHBACK_THROW(flashback::ErrorCode::logits, "after token ", place, " of the text, the logit of token ",
                    bad - logits.begin(), " is not a finite number: the weights of '", model,
                    "' are not finite, or too large; flashback inspect says which");
}

/// Natural logarithms of the probabilities that logits mean.
std::vector<double> log_softmax(std::span<const float> logits) {
    const double most = *std::ranges::max_element(logits);
    double total = 0;
    for (const float logit : logits) total += std::exp(logit - most);
    std::vector<double> result;
    result.reserve(logits.size());
    for (const float logit : logits) result.push_back(logit - most - std::log(total));
    return result;
}

std::vector<std::size_t> best(const std::vector<double>& scores, std::size_t count) {
    std::vector<std::size_t> order(scores.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    count = std::min(count, order.size());
    std::ranges::partial_sort(order, order.begin() + static_cast<std::ptrdiff_t>(count), [&](std::size_t a, std::size_t b) {
        return scores[a] != scores[b] ? scores[a] > scores[b] : a < b;
    });
    order.resize(count);
    return order;
}

/// The passages beside the text, as `generate` gives them to a model.
std::vector<flashback::TokenBuffer> passages_of(const ScoreOptions& options, const flashback::Tokenizer& tokenizer,
                                                const flashback::PackedAdapter* adapter) {
    std::vector<std::string> texts = options.beside;
    for (const std::string& file : options.beside_files) texts.push_back(read_text(file));
    const auto wrapper = wrapper_of(markers_of(options.markers, tokenizer, adapter));
    std::vector<flashback::TokenBuffer> passages;
    for (const std::string& text : texts) {
        if (text.empty())
            FLASHBACK_THROW(flashback::ErrorCode::contract, "a passage for --beside is empty, expected some text");
        const flashback::TokenSpan head = tokenizer.passage_head();
        flashback::TokenBuffer tokens{head.begin(), head.end()};
        flashback::append(tokens, tokenizer.encode(text));
        flashback::wrap(wrapper, {.tokens = tokens}, passages.size(), passages.emplace_back());
    }
    return passages;
}

/// The logits after each token of a text, if its tokens from `seen_from` on see passages.
/// Shape     (tokens, vocabulary) row-major
std::vector<float> logits_beside(flashback::Session& session, flashback::TokenSpan tokens, std::size_t seen_from,
                                 const std::vector<flashback::TokenBuffer>& passages) {
    const std::size_t head = session.head().size();
    if (flashback::common_prefix(tokens, session.head()) < head || seen_from < head || seen_from >= tokens.size()) {
        FLASHBACK_THROW(flashback::ErrorCode::contract, "token ", seen_from,
                        " was to be the first that sees passages, expected a "
                        "text that begins with the ",
                        head, " tokens that the model asks for, and one of the ", tokens.size() - head, " behind them");
    }
    std::vector<float> logits;
    const auto keep = [&](std::span<const float> some) { logits.insert(logits.end(), some.begin(), some.end()); };
    if (seen_from > 0) keep(session.evaluate_all(tokens.first(seen_from)));
    const std::vector<flashback::TokenSpan> each(passages.begin(), passages.end());
    static_cast<void>(flashback::see_passages(session, each, head));
    keep(session.evaluate_all(tokens.subspan(seen_from)));
    return logits;
}

void score(const ScoreOptions& options) {
    const flashback::ModelSource file = open_model(options.model);
    Engine engine{file, options.threads, options.cache, options.adapter, {}, options.weights};
    flashback::Session& session = engine.session;
    std::vector<flashback::TokenId> tokens = options.tokens;
    const bool beside = !options.beside.empty() || !options.beside_files.empty();
    std::optional<flashback::Tokenizer> tokenizer;
    if (options.text.given() || beside) tokenizer = flashback::load_tokenizer(file);
    if (options.text.given()) {
        const auto head = session.head();
        tokens.assign(head.begin(), head.end());
        flashback::append(tokens, tokenizer->encode(options.text.read()));
    }
    const std::size_t seen_from = options.seen_from.value_or(session.head().size());
    std::vector<float> seen;
    if (beside) seen = logits_beside(session, tokens, seen_from, passages_of(options, *tokenizer, session.adapter()));
    const std::span<const float> logits = beside ? std::span<const float>{seen} : session.evaluate_all(tokens);
    for (const auto& [i, token] : ranges::views::enumerate(tokens) | ranges::views::tail) {  // the first is not predicted
        if (static_cast<std::size_t>(token) >= session.vocab_size()) {
            FLASHBACK_THROW(flashback::ErrorCode::contract, "token ", i, " is ", token,
                            ", but the model has probabilities for ", session.vocab_size(),
                            " tokens; what an adapter adds can only be read");
        }
    }

    Json logprobs = Json::array({nullptr});
    Json top = Json::array();
    double total = 0;
    for (std::size_t i = 0; i < tokens.size(); ++i) {
        const auto some = logits.subspan(i * session.vocab_size(), session.vocab_size());
        check_logits(some, i, file.name());
        const std::vector<double> scores = log_softmax(some);
        if (i + 1 < tokens.size()) {
            const double logprob = scores[static_cast<std::size_t>(tokens[i + 1])];
            logprobs.push_back(logprob);
            total += logprob;
        }
        Json row = Json::array();
        for (const std::size_t id : best(scores, options.top)) row.push_back({id, scores[id]});
        top.push_back(std::move(row));
    }
    if (options.json) {
        Json json{{"tokens", tokens}, {"logprobs", logprobs}, {"top", top}, {"cache", engine.cache()}};
        if (beside) json["seen_from"] = seen_from;
        describe(options.adapter, json);
        print(json);
        return;
    }
    std::cout << std::fixed << std::setprecision(4) << "    token   logprob  likeliest next tokens\n";
    for (const auto& [token, logprob, likeliest] : ranges::views::zip(tokens, logprobs, top)) {
        std::cout << std::setw(9) << token << std::setw(10);
        if (logprob.is_null()) {
            std::cout << "-";
        } else {
            std::cout << logprob.template get<double>();
        }
        for (const Json& entry : likeliest) std::cout << "  " << entry[0] << " (" << entry[1].get<double>() << ')';
        std::cout << '\n';
    }
    if (tokens.size() > 1) {
        const double mean = -total / static_cast<double>(tokens.size() - 1);
        std::cout << tokens.size() - 1 << " tokens scored: " << mean << " nats per token, perplexity " << std::exp(mean)
                  << '\n';
    }
}

}  // namespace

void add_score(CLI::App& app, Command& run) {
    auto options = std::make_shared<ScoreOptions>();
    CLI::App& command = *app.add_subcommand("score", "Show how likely a model finds each token of a text");
    add_model(command, options->model);
    options->weights.add(command);
    add_adapter(command, options->adapter);
    add_marker_ids(command, options->markers.ids);
    options->text.add(command, "text", "The text to score, with BOS in front if the model asks for it");
    command.add_option("--tokens", options->tokens, "The tokens to score, as they are")
        ->delimiter(',')
        ->transform(token_number())
        ->type_name("ID,ID,...");
    add_repeated(command, "--beside", options->beside,
                 "A passage beside the text, as generate --layout aside has it; several are blocks of their own")
        ->type_name("T");
    add_repeated(command, "--beside-file", options->beside_files, "Likewise, from a file, or - for standard input")
        ->type_name("FILE");
    command
        .add_option(
            "--seen-from", options->seen_from,
            "The first token of the text that sees the passages, counted from 0; by default the first after BOS. Tokens "
            "see only what stands 32 positions in front of them or more")
        ->transform(at_least(0));
    add_markers(command, options->markers.choice);
    command.add_option("--top", options->top, "How many of the likeliest next tokens to show")
        ->transform(at_least(0))
        ->capture_default_str();
    add_cache(command, options->cache);
    add_threads(command, options->threads);
    add_json(command, options->json);
    command.footer("Logarithms are natural.\nExample:\n  flashback score --text 'A compiler is a program that'");
    command.callback([options, &run, &command] {
        if ((command.count("--tokens") > 0) == options->text.given())
            throw CLI::ValidationError("score needs either --text or --tokens");
        if (options->beside.empty() && options->beside_files.empty()) {
            for (const char* name : {"--seen-from", "--markers"}) {
                if (command.count(name) > 0) throw CLI::ValidationError(std::string{name} + " needs --beside or --beside-file");
            }
        }
        options->adapter.tokens = std::max(tokens_with(options->markers.ids), tokens_with(options->tokens));
        run = [options] { score(*options); };
    });
}

}  // namespace cli
