/// \file A number that tells the models of two GGUF files apart.
#pragma once

#include "flashback/core/executor.hpp"
#include "flashback/core/fingerprint.hpp"
#include "flashback/format/gguf.hpp"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <string>
#include <type_traits>
#include <variant>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// The hash of one tensor's bytes.
inline std::uint64_t fingerprint(const GgufTensor& tensor) noexcept { return Fingerprint::of(tensor.data); }

/// The fingerprint of a file whose tensors have been hashed one by one.
/// Shape     `of_tensor(const GgufTensor&)` gives `fingerprint(tensor)`
/// Throws    Error{format} if the architecture is not text
template <class OfTensor>
std::uint64_t fingerprint_of(const GgufFile& file, const OfTensor& of_tensor) {
    Fingerprint all;
    const std::string architecture{file.text("general.architecture").value_or("")};
    all.add(architecture);

    using Entry = std::pair<std::string_view, GgufValue>;
    const std::string prefix = architecture + '.';
    std::vector<const Entry*> keys;
    for (const Entry& entry : file.metadata()) {
        if (!architecture.empty() && entry.first.starts_with(prefix)) keys.push_back(&entry);
    }
    std::ranges::sort(keys, {}, [](const Entry* entry) { return entry->first; });
    for (const Entry* entry : keys) {
        all.add(entry->first);
        std::visit(
            [&](const auto& value) {
                using T = std::remove_cvref_t<decltype(value)>;
                if constexpr (std::is_same_v<T, GgufArray>) {
                    all.add(static_cast<std::uint64_t>(value.type));
                    all.add(value.bytes);
                } else if constexpr (std::is_same_v<T, double>) {
                    all.add(std::bit_cast<std::uint64_t>(value));
                } else if constexpr (std::is_same_v<T, std::string_view>) {
                    all.add(value);
                } else {
                    all.add(static_cast<std::uint64_t>(value));
                }
            },
            entry->second);
    }

    std::vector<const GgufTensor*> tensors;
    for (const GgufTensor& tensor : file.tensors()) tensors.push_back(&tensor);
    std::ranges::sort(tensors, {}, [](const GgufTensor* tensor) { return tensor->name; });
    for (const GgufTensor* tensor : tensors) {
        all.add(tensor->name);
        for (const std::uint64_t dim : tensor->dims) all.add(dim);
        all.add(static_cast<std::uint64_t>(tensor->type));
        all.add(of_tensor(*tensor));
    }
    return all.value();
}

/// The fingerprint of a file's weights (names, shapes, types and values of all tensors) and hyper-parameters (the keys of its
/// architecture). Their order in the file does not matter. Name, tokenizer and templates do not count.
/// Throws    Error{format} if the architecture is not text
/// Cost      reads all weights once, the tensors in parallel if an executor is given
inline std::uint64_t fingerprint(const GgufFile& file, ExecutorRef executor = {}) {
    const std::vector<GgufTensor>& tensors = file.tensors();
    std::vector<std::uint64_t> values(tensors.size());
    executor.run(tensors.size(), [&](std::size_t i) { values[i] = fingerprint(tensors[i]); });
    return fingerprint_of(file,
                          [&](const GgufTensor& tensor) { return values[static_cast<std::size_t>(&tensor - tensors.data())]; });
}

}  // namespace flashback::inline FLASHBACK_ISA
