/// \file The rest of a program that names one policy: whatever is wrong with it must be said where it was named.
#pragma once

#include "flashback/decoder/decoder.hpp"
#include "flashback/testing/null_model.hpp"

#include <array>

template <class PoliciesT>
void generate_with(const PoliciesT& policies) {
    flashback::testing::NullModel model{8};
    flashback::testing::NullRetriever retriever{4, 8};
    flashback::Decoder decoder{model, retriever, policies};
    const std::array<flashback::TokenId, 2> prompt{1, 2};
    decoder.generate(prompt);
}
