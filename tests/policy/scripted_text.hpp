/// \file A text that a method is asked about, token by token, as a generator would ask; what the model thinks of each token is scripted.
#pragma once

#include "flashback/core/attention.hpp"
#include "flashback/core/retriever.hpp"
#include "flashback/core/tokens.hpp"
#include "flashback/policy/decision.hpp"
#include "flashback/policy/step_view.hpp"

#include <cmath>
#include <cstddef>
#include <numeric>
#include <vector>

namespace flashback_test {

/// The token that ends a sentence, and the rule that says so.
constexpr flashback::TokenId full_stop = 9;
constexpr auto ends_at_full_stop = [](flashback::TokenSpan context) { return !context.empty() && context.back() == full_stop; };

class ScriptedText {
public:
    explicit ScriptedText(std::vector<flashback::TokenId> prompt = {1, 2, 3})
        : prompt_(prompt.size()), tokens_(std::move(prompt)) {}

    std::vector<flashback::Passage> passages = {};
    std::size_t retrievals = 0;

    flashback::StepView step(std::size_t rewind = 0) const {
        return {.context = tokens_,

                .prompt_tokens = prompt_,
                .retrievals = retrievals,
                .logits = logits_,
                .rewind = rewind,
                .passages = passages,
                .surprisals = surprisals_,
                .attention = attention_.weights ? &attention_ : nullptr};
    }

    /// The newest token, which had this probability; the method is not asked.
    void put(flashback::TokenId token, double probability = 1) {
        tokens_.push_back(token);
        surprisals_.push_back(-std::log(probability));
    }
    template <class Method>
    flashback::Decision take(Method& method, flashback::TokenId token, double probability = 1) {
        put(token, probability);
        return method.schedule(step());
    }
    template <class Method>
    void take_back(Method& method, std::size_t count) {
        tokens_.resize(tokens_.size() - count);
        surprisals_.resize(surprisals_.size() - count);
        method.rewind(count);
    }
    /// So many passages are found, and stand.
    void find(std::size_t count) {
        passages.resize(count);
        ++retrievals;
    }
    template <class Method>
    std::vector<flashback::TokenId> query(Method& method, std::size_t rewind) const {
        const flashback::Query query = method.query(step(rewind));
        return {query.tokens.begin(), query.tokens.end()};
    }

    /// What the next tokens are taken from.
    void set_logits(std::vector<float> logits) { logits_ = std::move(logits); }
    /// `count` equal logits, so that the entropy is ln count.
    void choose_among(std::size_t count) { logits_.assign(count, 0.0f); }

    /// What the newest position reads, (heads, positions): of each token in front of the next one, at the place `first` and after it.
    void set_attention(std::size_t heads, std::vector<float> weights, std::size_t first = 0) {
        heads_ = heads;
        weights_ = std::move(weights);
        places_.resize(tokens_.size());
        std::iota(places_.begin(), places_.end(), first);
        places_.push_back(flashback::StepAttention::nowhere);
        attention_.layers = 2;
        attention_.weights = read_;
        attention_.places = places_;
    }
    std::vector<std::size_t>& places() { return places_; }

    ScriptedText(const ScriptedText&) = delete;
    ScriptedText& operator=(const ScriptedText&) = delete;

private:
    struct Read {
        ScriptedText* text;
        flashback::AttentionWeights operator()(std::size_t layer) const {
            text->layers_asked.push_back(layer);
            return {text->weights_, text->heads_};
        }
    };

public:
    std::vector<std::size_t> layers_asked;

private:
    std::size_t prompt_;
    std::vector<flashback::TokenId> tokens_;
    std::vector<double> surprisals_;
    std::vector<float> logits_;
    std::vector<float> weights_;
    std::size_t heads_ = 1;
    std::vector<std::size_t> places_;
    Read read_{this};
    flashback::StepAttention attention_;
};

}  // namespace flashback_test
