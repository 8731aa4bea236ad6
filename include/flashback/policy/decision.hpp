/// \file What a schedule can say.
#pragma once

#include "flashback/core/config.hpp"

#include <algorithm>
#include <cstddef>

namespace flashback::inline FLASHBACK_ISA {

/// What is to be done before the next token: go on, retrieve, or stop. A bool is a Decision: true retrieves.
class Decision {
public:
    /// true: retrieve; false: go on.
    constexpr Decision(bool retrieve) noexcept : kind_(retrieve ? Kind::retrieve : Kind::go_on) {}

    /// The next token, without a retrieval.
    static constexpr Decision go_on() noexcept { return Decision{Kind::go_on, 0}; }
    /// A retrieval; before it the newest `rewind` generated tokens are taken back, to be generated anew with what was found.
    static constexpr Decision retrieve(std::size_t rewind = 0) noexcept { return Decision{Kind::retrieve, rewind}; }
    /// The end of the generation.
    static constexpr Decision stop() noexcept { return Decision{Kind::stop, 0}; }

    constexpr bool retrieves() const noexcept { return kind_ == Kind::retrieve; }
    constexpr bool stops() const noexcept { return kind_ == Kind::stop; }
    /// How many generated tokens are taken back; 0 unless it retrieves.
    constexpr std::size_t rewind() const noexcept { return rewind_; }

    constexpr bool operator==(const Decision&) const = default;

    /// The stronger of two: stop before retrieve before go on; of two retrievals the one that takes back more.
    friend constexpr Decision either(Decision a, Decision b) noexcept {
        return Decision{std::max(a.kind_, b.kind_), std::max(a.rewind_, b.rewind_)}.normalised();
    }
    /// The weaker of two: go on before retrieve before stop; of two retrievals the one that takes back more.
    friend constexpr Decision both(Decision a, Decision b) noexcept {
        return Decision{std::min(a.kind_, b.kind_), std::max(a.rewind_, b.rewind_)}.normalised();
    }

private:
    enum class Kind : unsigned char { go_on, retrieve, stop };  // the weakest first
    constexpr Decision(Kind kind, std::size_t rewind) noexcept : kind_(kind), rewind_(rewind) {}
    constexpr Decision normalised() const noexcept { return {kind_, retrieves() ? rewind_ : 0}; }

    Kind kind_;
    std::size_t rewind_ = 0;
};

}  // namespace flashback::inline FLASHBACK_ISA
