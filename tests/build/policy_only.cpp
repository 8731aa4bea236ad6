// What an embedder compiles: the loop over a model and a retriever of their own, from core, policy and decoder alone.
// tests/policy_only.sh compiles it without the other folders, without exceptions and without RTTI.
#include "flashback/decoder/decoder.hpp"

#include <array>

namespace {

struct ForeignModel {
    std::array<float, 8> logits{};
    std::size_t held = 0;

    std::span<const float> evaluate(flashback::TokenSpan tokens) {
        held += tokens.size();
        logits.fill(0);
        logits[static_cast<std::size_t>(tokens.back() + 1) % logits.size()] = 1;
        return logits;
    }
    void truncate(std::size_t length) { held = length; }
    std::size_t size() const { return held; }
    std::size_t vocab_size() const { return logits.size(); }
};

}  // namespace

int main() {
    ForeignModel model;
    flashback::NoPassages nothing;
    flashback::Decoder decoder{model, nothing, flashback::Policies{}.layout(flashback::PrependPassages{})};
    const std::array<flashback::TokenId, 2> prompt{1, 2};
    return decoder.generate(prompt, {.max_tokens = 3}).tokens == flashback::TokenBuffer{3, 4, 5} ? 0 : 1;
}
