/// \file The names of the linear layers of a block.
#pragma once

#include "flashback/core/config.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace flashback::inline FLASHBACK_ISA {

/// The linear layers of a block, in the order of a forward pass.
enum class LinearModule : std::uint8_t { q, k, v, output, gate, up, down };

/// All of them, in the order of the enumeration.
inline constexpr std::array<LinearModule, 7> linear_modules{LinearModule::q,      LinearModule::k,    LinearModule::v,
                                                            LinearModule::output, LinearModule::gate, LinearModule::up,
                                                            LinearModule::down};

/// The short name of a linear layer: "q", "k", "v", "o", "gate", "up" or "down".
constexpr std::string_view to_string(LinearModule module) noexcept {
    constexpr std::array<std::string_view, 7> names{"q", "k", "v", "o", "gate", "up", "down"};
    return names[static_cast<std::size_t>(module)];
}

}  // namespace flashback::inline FLASHBACK_ISA
