/// \file Several decoders that share the passes of one model.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/language_model.hpp"
#include "flashback/decoder/decoder.hpp"
#include "flashback/decoder/generate_options.hpp"
#include "flashback/decoder/generation.hpp"

#include <array>
#include <concepts>
#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// Generates several texts at once: whatever they need, the weights are read once for all of them. Each text has a model of its own (a
/// session, a branch of one), and branches of that if its passages are fused, a retriever, policies, options and statistics, and its tokens are those that a Decoder gives it alone. Texts
/// may be added while others are being written. A stop token ends its own text. What the times of a text say is how long it waited: a pass counts for each that shares it.
template <class Model>
class DecoderGroup {
    static_assert(BatchedModel<Model>, "flashback: a DecoderGroup needs a model with evaluate_each (BatchedModel)");

public:
    /// Adds a text, which continues a prompt, and gives its number: 0, 1, 2, ... Tokens are handed to `on_token(token)`, as a Decoder
    /// does; it may add texts. Model and retriever must outlive the group.
    /// Throws    Error{contract} if the text of another model of the group that has not ended is this one's, or cannot share passes with
    ///           it; as Decoder::generate
    template <class RetrieverT, class PoliciesT, class OnToken>
    std::size_t add(Model& model, RetrieverT& retriever, PoliciesT policies, TokenSpan prompt, const GenerateOptions& options,
                    OnToken on_token) {
        for (const auto& text : texts_) {
            if (text->ended) continue;
            FLASHBACK_ASSERT(&text->model() != &model, "a group was given a model whose text has not ended");
            if constexpr (requires { Model::can_share_passes(model, model); }) {
                FLASHBACK_ASSERT(
                    Model::can_share_passes(text->model(), model),
                    "a group was given a model that cannot share passes with the others: their weights, adapters, scales "
                    "and elements of the cache must be the same");
            }
        }
        auto text = std::make_unique<TextOf<RetrieverT, PoliciesT, OnToken>>(
            Decoder<Model, RetrieverT, PoliciesT>{model, retriever, std::move(policies)}, std::move(on_token), options.stop);
        text->decoder.start(prompt, options);
        texts_.push_back(std::move(text));
        return texts_.size() - 1;
    }
    template <class RetrieverT, class PoliciesT>
    std::size_t add(Model& model, RetrieverT& retriever, PoliciesT policies, TokenSpan prompt,
                    const GenerateOptions& options = {}) {
        return add(model, retriever, std::move(policies), prompt, options, [](TokenId) { return true; });
    }

    /// Number of texts that were added.
    std::size_t size() const noexcept { return texts_.size(); }

    /// One pass: does what each text needs until it has tokens to evaluate, and evaluates those of all. Tells whether there were any; if
    /// not, all texts have ended.
    /// Throws    as Decoder::generate for one of the texts, which then ends with what it has; call again, and the others go on. What
    ///           `evaluate_each` throws, if there are no pages, say; call again, and it is tried again
    bool step() {
        hand_out();  // what an error left
        models_.clear();
        tokens_.clear();
        for (const Waiting& one : waiting_) left(*one.text);  // a pass that was not evaluated
        waiting_.clear();
        for (std::size_t i = 0; i < texts_.size(); ++i) {  // on_token may add texts
            Text& text = *texts_[i];
            if (text.ended) continue;
            const std::optional<Pass<Model>> pass = text.advance();
            if (!pass) continue;
            models_.insert(models_.end(), pass->models.begin(), pass->models.end());
            tokens_.insert(tokens_.end(), pass->tokens.begin(), pass->tokens.end());
            waiting_.push_back({&text, pass->models.size()});
            text.in_pass = true;
        }
        if (models_.empty()) return false;
        // A copy, and not into what the texts view since the last pass: the rows lie in the first model, which may be a branch that ends.
        const std::span<const float> rows = Model::evaluate_each(models_, tokens_);
        std::vector<float>& own = rows_[turn_];
        turn_ = 1 - turn_;
        own.assign(rows.begin(), rows.end());
        logits_ = own;
        evaluated_.swap(waiting_);
        waiting_.clear();
        handed_out_ = 0;
        hand_out();
        return true;
    }

    /// Passes until all texts have ended.
    /// Throws    as `step`
    void run() {
        while (step()) {
        }
    }

    /// Whether a text has ended, be it by an error: result(text).stop tells how.
    /// Throws    Error{contract} if there is no such text
    bool ended(std::size_t text) const { return at(text).ended; }

    /// Ends a text now, with what it has; in the middle of a step, if on_token of another text calls this, after that step.
    /// Throws    Error{contract} if there is no such text
    void cancel(std::size_t text) {
        Text& its = at(text);
        if (its.advancing) its.cancelled = true;  // its own on_token calls this
        if (its.ended) return;
        its.ended = true;
        if (!its.in_pass) its.cancel();
    }

    /// What a text has come to.
    /// Throws    Error{contract} if there is no such text
    const Generation& result(std::size_t text) const { return at(text).result(); }

private:
    /// A text, whatever its policies are.
    struct Text {
        Text() = default;
        Text(const Text&) = delete;
        Text& operator=(const Text&) = delete;
        virtual ~Text() = default;
        virtual Model& model() = 0;
        virtual std::optional<Pass<Model>> advance() = 0;
        virtual void evaluated(std::span<const float> logits) = 0;
        virtual void cancel() = 0;
        virtual const Generation& result() const = 0;

        bool ended = false;
        bool in_pass = false;  // its models are about to evaluate: they must live on
        bool advancing = false;
        bool cancelled = false;
    };

    /// A text is advancing as long as this lives.
    struct Advancing {
        explicit Advancing(Text& its) noexcept : text(its) { text.advancing = true; }
        Advancing(const Advancing&) = delete;
        Advancing& operator=(const Advancing&) = delete;
        ~Advancing() { text.advancing = false; }

        Text& text;
    };

    template <class RetrieverT, class PoliciesT, class OnToken>
    struct TextOf final : Text {
        TextOf(Decoder<Model, RetrieverT, PoliciesT> its, OnToken hears, std::stop_token stops)
            : decoder(std::move(its)), on_token(std::move(hears)), stop(std::move(stops)) {}

        Model& model() override { return decoder.model(); }
        std::optional<Pass<Model>> advance() override {
            const Advancing guard{*this};
            this->ended = true;  // also if it throws
            std::optional<Pass<Model>> pass = decoder.advance(on_token);
            if (pass && (stop.stop_requested() || this->cancelled)) {
                decoder.cancel();
                pass.reset();
            }
            this->ended = !pass;
            return pass;
        }
        void evaluated(std::span<const float> logits) override { decoder.evaluated(logits); }
        void cancel() override { decoder.cancel(); }
        const Generation& result() const override { return decoder.partial(); }

        Decoder<Model, RetrieverT, PoliciesT> decoder;
        OnToken on_token;
        std::stop_token stop;
    };

    /// A text that is given logits of as many models: its own, or its branches.
    struct Waiting {
        Text* text;
        std::size_t models;
    };

    /// A text takes no part in a pass any more; if it was cancelled meanwhile, it ends.
    static void left(Text& text) {
        if (text.in_pass && text.ended) text.cancel();
        text.in_pass = false;
    }

    /// Gives the texts of the last pass their logits.
    void hand_out() {
        while (handed_out_ < evaluated_.size()) {
            Text& text = *evaluated_[handed_out_].text;
            const std::size_t size = evaluated_[handed_out_++].models * static_cast<std::size_t>(text.model().vocab_size());
            const std::span<const float> logits = logits_.first(size);
            logits_ = logits_.subspan(size);
            left(text);
            if (text.ended) continue;
            text.ended = true;  // unless it goes well
            text.evaluated(logits);
            text.ended = false;
        }
    }

    Text& at(std::size_t text) const {
        FLASHBACK_ASSERT(text < texts_.size(), "a group has no text ", text, ": it has ", texts_.size());
        return *texts_[text];
    }

    std::vector<std::unique_ptr<Text>> texts_;
    std::vector<Model*> models_;
    std::vector<TokenSpan> tokens_;
    std::vector<Waiting> waiting_;            // whose tokens these are
    std::vector<Waiting> evaluated_;          // those of the last pass
    std::span<const float> logits_;           // of those that were not handed out yet
    std::array<std::vector<float>, 2> rows_;  // of the last two passes
    std::size_t turn_ = 0;
    std::size_t handed_out_ = 0;  // to how many of them
};

}  // namespace flashback::inline FLASHBACK_ISA
