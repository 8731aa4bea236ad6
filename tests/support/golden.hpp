/// \file A model against a forward pass in double, and against what another engine said of it.
#pragma once

#include "flashback/decoder/decoder.hpp"
#include "flashback/files/load.hpp"
#include "flashback/model/session.hpp"
#include "support/reference_forward.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <vector>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

namespace flashback_test {

inline std::vector<double> log_softmax(std::span<const float> logits) {
    const double most = *std::max_element(logits.begin(), logits.end());
    double total = 0;
    for (const float logit : logits) total += std::exp(logit - most);
    std::vector<double> out;
    for (const float logit : logits) out.push_back(logit - most - std::log(total));
    return out;
}

inline std::vector<flashback::TokenId> with_head(const flashback::Tokenizer& tokenizer, const std::string& text) {
    std::vector<flashback::TokenId> tokens{tokenizer.head().begin(), tokenizer.head().end()};
    flashback::append(tokens, tokenizer.encode(text));
    return tokens;
}

/// The log-probabilities of all tokens at all positions are those of the forward pass in double, within 2e-4.
inline void check_against_double(const std::filesystem::path& path, const std::vector<std::string>& texts) {
    const auto file = flashback::GgufFile::open(path);
    const ReferenceModel reference{file};
    const flashback::Tokenizer tokenizer = flashback::load_tokenizer(file);
    flashback::Session session{flashback::load_model(file)};
    REQUIRE(session.vocab_size() == reference.vocab);
    for (const std::string& text : texts) {
        const std::vector<flashback::TokenId> tokens = with_head(tokenizer, text);
        CAPTURE(tokens.size());
        session.truncate(0);
        const std::span<const float> logits = session.evaluate_all(tokens);
        const DoubleRows found = log_softmax64(matrix64({logits.begin(), logits.end()}, index64(reference.vocab)));
        const double worst = farthest64(found, reference.log_probabilities(tokens));
        CHECK(worst <= 2e-4);
        CHECK(worst > 0);
    }
}

/// Token ids, greedy continuations and likeliest tokens are those of another engine.
inline void check_against_engine(const std::filesystem::path& path, const std::filesystem::path& facts_path) {
    std::ifstream in{facts_path};
    REQUIRE(in.good());
    const nlohmann::json all = nlohmann::json::parse(in);
    const auto file = flashback::ModelSource::open(path);
    const flashback::Tokenizer tokenizer = flashback::load_tokenizer(file);
    flashback::Session session{flashback::load_model(file)};
    flashback::NoPassages nothing;
    flashback::Decoder decoder{session, nothing, flashback::Policies{}.schedule(flashback::Never{})};
    REQUIRE_FALSE(all.at("cases").empty());
    for (const nlohmann::json& one : all.at("cases")) {
        const std::string text = one.at("text");
        CAPTURE(text);
        const std::vector<flashback::TokenId> tokens = with_head(tokenizer, text);
        CHECK(tokens == one.at("tokens").get<std::vector<flashback::TokenId>>());

        const std::vector<flashback::TokenId> greedy = one.at("greedy");
        const auto generation = decoder.generate(tokenizer.encode(text), {.max_tokens = greedy.size(), .ignore_eos = true});
        CHECK(generation.tokens == greedy);

        session.truncate(0);
        const std::span<const float> logits = session.evaluate_all(tokens);
        const auto& next = one.at("next_top5");
        REQUIRE(next.size() == tokens.size());
        for (std::size_t t = 0; t < tokens.size(); ++t) {
            const std::vector<double> found = log_softmax(logits.subspan(t * session.vocab_size(), session.vocab_size()));
            for (const auto& expected : next[t].get<std::vector<std::pair<std::size_t, double>>>()) {
                CAPTURE(t);
                CAPTURE(expected.first);
                CHECK(std::abs(std::exp(found.at(expected.first)) - expected.second) <= 2e-3);
            }
        }
    }
}

}  // namespace flashback_test
