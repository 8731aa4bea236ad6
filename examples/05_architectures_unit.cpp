/// \file The work of 05_architectures: flashback_add_architectures() compiles this source once for each processor.
#include "05_architectures.hpp"

#include "flashback/files/load.hpp"
#include "flashback/model/session.hpp"
#include "models/default_model.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>

namespace flashback_examples::FLASHBACK_ISA {
namespace {

namespace fb = flashback;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

/// The logarithm of the sum of exponentials.
double log_total(std::span<const float> logits) {
    const double most = *std::ranges::max_element(logits);
    double total = 0;
    for (const float logit : logits) total += std::exp(logit - most);
    return most + std::log(total);
}

/// Without fused multiply-add a product of k terms is rounded k times more, by 2^-24 of a sum that grows like the root of its
/// terms: relative to the result that is sqrt(k / 2) · 2^-24. Seven products a layer and the head follow each other. A
/// log-probability is the difference of two numbers that are as large as the logits.
double tolerance_of(const fb::TransformerConfig& c, double largest_logit) {
    const std::size_t longest = std::max({c.width, c.hidden, c.heads * c.head_dim});
    const double products = static_cast<double>(7 * c.layers + 1);
    return 2 * largest_logit * products * std::sqrt(static_cast<double>(longest) / 2) * 0x1p-24;
}

}  // namespace

Reading read_text(std::string_view text) {
    const auto file = fb::GgufFile::view(default_model(), "the default model");
    fb::Session session{fb::load_model(file)};
    std::vector<fb::TokenId> tokens{session.head().begin(), session.head().end()};
    fb::append(tokens, fb::load_tokenizer(file).encode(text));

    Reading reading;
    session.evaluate(tokens);  // warms up
    session.truncate(0);
    auto start = Clock::now();
    session.evaluate(tokens);
    reading.prefill = static_cast<double>(tokens.size()) / seconds_since(start);

    session.truncate(0);
    const std::span<const float> all = session.evaluate_all(tokens);
    const std::size_t vocab = session.vocab_size();
    for (std::size_t i = 0; i + 1 < tokens.size(); ++i) {
        const std::span<const float> logits = all.subspan(i * vocab, vocab);
        reading.logprobs.push_back(static_cast<double>(logits[static_cast<std::size_t>(tokens[i + 1])]) - log_total(logits));
    }
    const auto [least, most] = std::ranges::minmax(all);
    reading.tolerance = tolerance_of(session.model().config, std::max(std::abs(least), std::abs(most)));

    std::span<const float> logits = all.last(vocab);
    start = Clock::now();
    for (int i = 0; i < 32; ++i) {
        const fb::TokenId token = static_cast<fb::TokenId>(std::ranges::max_element(logits) - logits.begin());
        reading.next.push_back(token);
        logits = session.evaluate({&token, 1});
    }
    reading.decode = static_cast<double>(reading.next.size()) / seconds_since(start);
    return reading;
}

}  // namespace flashback_examples::FLASHBACK_ISA
