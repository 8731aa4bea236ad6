/// \file A null model with an attention that is easy to foretell.
#pragma once

#include "flashback/core/attention.hpp"
#include "flashback/core/language_model.hpp"
#include "support/null_model.hpp"

#include <cstddef>
#include <vector>

namespace flashback_test {

/// A model of two heads, in which a position reads of position i as much as the token there is large.
class Attentive : public FullNullModel {
public:
    using FullNullModel::FullNullModel;

    static std::size_t layers() { return 3; }
    flashback::AttentionWeights attention(std::size_t layer) {
        ++asked;
        weights_.clear();
        for (std::size_t head = 0; head < 2; ++head)
            for (const flashback::TokenId token : tokens())
                weights_.push_back(static_cast<float>(token) + 100.0f * static_cast<float>(layer));
        return {weights_, 2};
    }

    std::size_t asked = 0;

private:
    std::vector<float> weights_;
};
static_assert(flashback::AttentiveModel<Attentive>);

}  // namespace flashback_test
