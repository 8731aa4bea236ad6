/// \file Reads the index of a folder of safetensors files.
#pragma once

#include "flashback/format/json_fields.hpp"
#include "flashback/format/safetensors_folder.hpp"

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>

namespace flashback::inline FLASHBACK_ISA {
namespace detail {

inline constexpr std::size_t safetensors_most_index_bytes = std::size_t{16} << 20;
inline constexpr std::size_t safetensors_most_listed = 1'000'000;

/// Whether a text is the plain name of a file of weights, so that it leads nowhere else.
inline bool is_shard_name(std::string_view name) {
    constexpr std::string_view ending = ".safetensors";
    const auto plain = [](char c) { return c != '/' && c != '\\' && c != '\0'; };
    return name.size() > ending.size() && name.ends_with(ending) && std::ranges::all_of(name, plain);
}

}  // namespace detail

FLASHBACK_DETAIL_ONCE SafetensorsIndex parse_safetensors_index(std::string_view json, const std::string& file) {
    const auto tree =
        JsonTree::parse(json, file, {.bytes = detail::safetensors_most_index_bytes, .fields = detail::safetensors_most_listed});
    const JsonFields fields{tree, file};
    if (!fields.object("weight_map")) fields.refuse("lacks the field weight_map");
    SafetensorsIndex index;
    for (const auto& [tensor, value] : fields.at("weight_map").object()) {
        if (!value.is_string()) fields.refuse_value(tensor, value, "the name of a file");
        const auto& shard = value.as<std::string>();
        if (!detail::is_shard_name(shard)) {
            fields.refuse("names the shard '", printable(shard), "' for ", printable(tensor),
                          ", expected a .safetensors file of the same folder");
        }
        index.emplace_back(tensor, shard);
    }
    if (index.empty()) fields.refuse("lists no tensors");
    return index;
}

}  // namespace flashback::inline FLASHBACK_ISA
