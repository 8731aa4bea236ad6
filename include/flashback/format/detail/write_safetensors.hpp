/// \file Writing safetensors files.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/format/atomic_file.hpp"
#include "flashback/format/detail/safetensors_entry.hpp"
#include "flashback/format/json_tree.hpp"
#include "flashback/format/safetensors_writer.hpp"
#include "flashback/tensor/dtype.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

FLASHBACK_DETAIL_ONCE SafetensorsWriter& SafetensorsWriter::set_metadata(std::string_view key, std::string_view text) {
    FLASHBACK_ASSERT(!started_, "SafetensorsWriter: metadata is changed after the first bytes");
    const auto found = std::ranges::find(metadata_, key, [](const auto& field) { return std::string_view{field.first}; });
    if (found != metadata_.end()) metadata_.erase(found);
    metadata_.emplace_back(std::string{key}, std::string{text});
    return *this;
}

FLASHBACK_DETAIL_ONCE SafetensorsWriter& SafetensorsWriter::add_tensor(std::string_view name, std::vector<std::uint64_t> shape,
                                                                       DType type) {
    FLASHBACK_ASSERT(!started_, "SafetensorsWriter: a tensor is added after the first bytes");
    const std::string shown = printable(name);
    FLASHBACK_ASSERT(name != detail::safetensors_metadata && !names_.contains(std::string{name}), "SafetensorsWriter: tensor ",
                     shown, " is added twice, or not the name of a tensor");
    const auto found = std::ranges::find(detail::safetensors_types, type, &detail::SafetensorsType::type);
    FLASHBACK_ASSERT(found != detail::safetensors_types.end(), "SafetensorsWriter: tensor ", shown, " is of type ",
                     layout_of(type).name, ", expected F32, F16, BF16, F64 or I8 to I64");
    const auto bytes = detail::bytes_of({shown, &*found, shape, {}});
    FLASHBACK_ASSERT(bytes && *bytes < (std::uint64_t{1} << 62) - end_, "SafetensorsWriter: tensor ", shown,
                     " makes the file too long, expected less than 2^62 bytes");
    using Json = JsonTree;
    std::pair tensor{std::string{name}, Json{Json::Object{{"dtype", std::string{found->name}},
                                                          {"shape", Json::Array(shape.begin(), shape.end())},
                                                          {"data_offsets", Json::Array{end_, end_ + *bytes}}}}};
    if (tensors_.size() == tensors_.capacity()) tensors_.reserve(2 * tensors_.size() + 1);
    names_.emplace(name);  // from here on nothing throws
    tensors_.push_back(std::move(tensor));
    end_ += *bytes;
    return *this;
}

FLASHBACK_DETAIL_ONCE void SafetensorsWriter::write(std::span<const std::byte> bytes) {
    start();
    FLASHBACK_ASSERT(bytes.size() <= end_ - written_, "SafetensorsWriter: ", bytes.size(), " bytes are more than the ",
                     end_ - written_, " that are expected");
    file_.write(bytes);
    written_ += bytes.size();
}

FLASHBACK_DETAIL_ONCE void SafetensorsWriter::sync() {
    check_complete();
    file_.sync();
}

FLASHBACK_DETAIL_ONCE void SafetensorsWriter::finish() {
    check_complete();
    file_.finish();
}

FLASHBACK_DETAIL_ONCE void SafetensorsWriter::start() {
    if (started_) return;
    JsonTree::Object all;
    if (!metadata_.empty()) all.emplace_back(std::string{detail::safetensors_metadata}, metadata_);
    all.insert(all.end(), tensors_.begin(), tensors_.end());
    const auto readable = [](const auto& field) {
        return JsonTree::is_utf8(field.first) &&
               (!field.second.is_string() || JsonTree::is_utf8(field.second.template as<std::string>()));
    };
    FLASHBACK_ASSERT(std::ranges::all_of(metadata_, readable) && std::ranges::all_of(tensors_, readable),
                     "SafetensorsWriter: a name or a text is not UTF-8");
    std::string text = JsonTree{std::move(all)}.text();
    text.append((8 - text.size() % 8) % 8, ' ');  // so that the data begin at a multiple of 8
    FLASHBACK_ASSERT(text.size() <= detail::safetensors_most_header, "SafetensorsWriter: the header has ", text.size(),
                     " bytes, expected at most ", detail::safetensors_most_header);
    const std::uint64_t length = text.size();
    file_.write(std::as_bytes(std::span{&length, 1}));
    file_.write(text);
    started_ = true;  // only now: a file without its header must not be finished
}

FLASHBACK_DETAIL_ONCE void SafetensorsWriter::check_complete() {
    start();
    FLASHBACK_ASSERT(written_ == end_, "SafetensorsWriter: ", written_, " bytes are complete, expected ", end_);
}

}  // namespace flashback::inline FLASHBACK_ISA
