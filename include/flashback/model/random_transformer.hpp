/// \file Models without a file: a shape, a type and random weights. They are for measuring; their output means nothing.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/executor.hpp"
#include "flashback/core/random.hpp"
#include "flashback/model/fingerprint.hpp"
#include "flashback/model/tensors.hpp"
#include "flashback/model/transformer.hpp"
#include "flashback/tensor/dtype.hpp"
#include "flashback/tensor/quantize.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

namespace flashback::inline FLASHBACK_ISA {

/// The names that `shape_of` knows, in the order of its table.
inline constexpr std::array<std::string_view, 7> known_shapes{"llama2-7b", "llama2-13b", "tinyllama-1.1b", "gpt2",
                                                              "opt-125m",  "opt-1.3b",   "opt-6.7b"};

/// The hyper-parameters of a well-known model; nothing if the name is not in `known_shapes`.
/// Source    Touvron et al. 2023, Llama 2; Zhang et al. 2024, TinyLlama; Radford et al. 2019, GPT-2; Zhang et al. 2022, OPT,
///           table 1
std::optional<TransformerConfig> shape_of(std::string_view name);

/// A model with random weights of a type. It is the same for the same seed, whatever the executor. Norms are 1 and biases 0.
/// The head is tied if that of the family is (GPT-2, OPT). Texts have no head and no end.
/// Throws    Error{unsupported} for a type that has no random weights; Error{contract} for an impossible shape
/// Cost      the memory of the weights; about a second for 10^9 of them
std::shared_ptr<const Transformer> random_transformer(const TransformerConfig& config, DType type, std::uint64_t seed = 1,
                                                      ExecutorRef executor = {});

}  // namespace flashback::inline FLASHBACK_ISA

#if !defined(FLASHBACK_COMPILED_ONCE)
#include "flashback/model/detail/random_transformer.hpp"
#endif
