/// \file Queries that look at the model: what it is sure of in a draft, and what of the text it reads.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/retriever.hpp"
#include "flashback/policy/content_words.hpp"
#include "flashback/policy/detail/attended_words.hpp"
#include "flashback/policy/detail/masked_draft.hpp"
#include "flashback/policy/query.hpp"
#include "flashback/policy/step_view.hpp"

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// The draft that is taken back, without the tokens to which the model gave a probability of `mask` or less. If nothing is left of
/// it, or if there is no draft, the newest 32 tokens that stay.
/// Source    Jiang et al. 2023, FLARE (arXiv 2305.06983), section 3.2.2 (masked sentences as implicit queries, beta)
class MaskedDraft {
public:
    /// Throws    Error{contract} if the mask is no probability
    explicit MaskedDraft(double mask = 0.4) : mask_(mask) {
        FLASHBACK_ASSERT(mask >= 0 && mask <= 1, "the mask of MaskedDraft is a probability in [0, 1], found ", mask);
    }

    /// The query; valid until the next call.
    Query operator()(const StepView& step) {
        detail::masked_draft(step, mask_, query_);
        return query_.empty() ? LastNTokens{32}(step) : Query{query_};
    }
    static constexpr bool wants_surprisals() noexcept { return true; }

private:
    double mask_;
    TokenBuffer query_;
};

/// The content words of the text that the newest position reads most, at most `words` of them, in the order of the text: the position
/// that gave the newest token; in the last layer, the mean over heads. A draft that is taken back is no part of it. If nothing was
/// read, as before the first token, the newest 32 tokens.
///
/// `Counts` is a ContentWord.
/// Requires  an AttentiveModel
/// Cost      the weights of the last layer, and a look at each token of the text
/// Source    Su et al. 2024, DRAGIN (arXiv 2403.10081), section 3.2 (query formulation based on self-attention); 25 words
template <class Counts = EveryToken>
class AttentionTopN {
    static_assert(
        ContentWord<Counts>,
        "flashback: the content words of AttentionTopN must be copyable and callable as counts(TokenId) and return bool");

public:
    /// Throws    Error{contract} if at most 0 words are wanted
    explicit AttentionTopN(std::size_t words = 25, Counts counts = {}) : most_(words), counts_(std::move(counts)) {
        FLASHBACK_ASSERT(words > 0, "AttentionTopN needs a query of at least 1 word, found 0");
    }

    /// The query; valid until the next call.
    Query operator()(const StepView& step) {
        query_.clear();
        if (step.attention != nullptr) {
            const TokenSpan text = step.kept();
            read_.clear();
            detail::read_of_text(step, detail::last_layer(step), read_);
            read_.resize(std::min(read_.size(), text.size()));
            words_.clear();
            words_.read(text, counts_);
            attended_.find(text, read_, words_, most_, query_);
        }
        return query_.empty() ? LastNTokens{32}(step) : Query{query_};
    }
    static constexpr bool wants_attention() noexcept { return true; }

private:
    std::size_t most_;
    Counts counts_;
    detail::TextWords words_;
    detail::AttendedWords attended_;
    std::vector<float> read_;
    TokenBuffer query_;
};

}  // namespace flashback::inline FLASHBACK_ISA
