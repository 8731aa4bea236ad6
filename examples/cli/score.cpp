#include "common.hpp"
#include "engine.hpp"
#include "flashback/core/error.hpp"
#include "flashback/files/load.hpp"
#include "markers.hpp"

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
    TextOption text;
    std::vector<flashback::TokenId> tokens;
    std::size_t top = 5;
    AdapterOption adapter;
    std::vector<flashback::TokenId> marker_ids;
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

void score(const ScoreOptions& options) {
    const flashback::ModelSource file = open_model(options.model);
    Engine engine{file, options.threads, options.cache, options.adapter};
    flashback::Session& session = engine.session;
    std::vector<flashback::TokenId> tokens = options.tokens;
    if (options.text.given()) {
        const auto head = session.head();
        tokens.assign(head.begin(), head.end());
        flashback::append(tokens, flashback::load_tokenizer(file).encode(options.text.read()));
    }
    const std::span<const float> logits = session.evaluate_all(tokens);
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
    add_adapter(command, options->adapter);
    add_marker_ids(command, options->marker_ids);
    options->text.add(command, "text", "The text to score, with BOS in front if the model asks for it");
    command.add_option("--tokens", options->tokens, "The tokens to score, as they are")
        ->delimiter(',')
        ->transform(token_number())
        ->type_name("ID,ID,...");
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
        options->adapter.tokens = std::max(tokens_with(options->marker_ids), tokens_with(options->tokens));
        run = [options] { score(*options); };
    });
}

}  // namespace cli
