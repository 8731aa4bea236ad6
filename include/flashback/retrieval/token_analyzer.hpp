/// \file Tokens of a model as terms.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/function_ref.hpp"
#include "flashback/core/tokens.hpp"
#include "flashback/retrieval/analyzer.hpp"
#include "flashback/retrieval/codec.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace flashback::inline FLASHBACK_ISA {

/// The tokens that a model's engine makes of a text ("tokens " and the fingerprint of the codec). Each term is the four bytes
/// of a token's id, the lowest first.
/// Cost      what the codec takes to encode
class TokenAnalyzer {
public:
    /// Throws    Error{contract} if the codec cannot encode
    explicit TokenAnalyzer(Codec codec) : codec_(std::move(codec)) {
        FLASHBACK_ASSERT(codec_.encode, "an analyzer by tokens needs a codec that encodes, found one without");
        constexpr std::string_view digits = "0123456789abcdef";
        for (int shift = 60; shift >= 0; shift -= 4) name_ += digits[codec_.fingerprint >> shift & 15];
    }

    /// Throws    what the codec throws
    void analyze(std::string_view text, FunctionRef<void(std::string_view)> on_term) const {
        for (const TokenId token : codec_.encode(text)) {
            std::array<char, 4> term{};
            const auto bits = static_cast<std::uint32_t>(token);
            for (std::size_t i = 0; i < term.size(); ++i) term[i] = static_cast<char>(bits >> (8 * i) & 0xff);
            on_term(std::string_view{term.data(), term.size()});
        }
    }

    /// What an index remembers it by.
    const std::string& name() const noexcept { return name_; }

private:
    Codec codec_;
    std::string name_ = "tokens ";
};

static_assert(Analyzer<TokenAnalyzer>);

}  // namespace flashback::inline FLASHBACK_ISA
