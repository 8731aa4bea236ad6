/// \file Writes safetensors files, as a whole or not at all.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/format/atomic_file.hpp"
#include "flashback/format/detail/json_tree.hpp"
#include "flashback/format/detail/safetensors_entry.hpp"
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

/// Writes a safetensors file: first the header, then the tensors' bytes in the order in which they were added, in pieces of any
/// size. The file appears when it is finished, or not at all (AtomicFile).
///
///     SafetensorsWriter writer{"out.safetensors"};
///     writer.add_tensor("weight", {2, 3}, DType::f32);
///     writer.write(std::as_bytes(std::span{numbers}));
///     writer.finish();
///
/// Source    huggingface/safetensors, README.md, "Format"
class SafetensorsWriter {
public:
    /// Creates the temporary file.
    /// Throws    as AtomicFile
    explicit SafetensorsWriter(const std::filesystem::path& target) : file_(target) {}

    /// Sets a text of `__metadata__`.
    /// Requires  nothing was written yet
    SafetensorsWriter& set_metadata(std::string_view key, std::string_view text) {
        FLASHBACK_ASSERT(!started_, "SafetensorsWriter: metadata is changed after the first bytes");
        const auto found = std::ranges::find(metadata_, key, [](const auto& field) { return std::string_view{field.first}; });
        if (found != metadata_.end()) metadata_.erase(found);
        metadata_.emplace_back(std::string{key}, std::string{text});
        return *this;
    }

    /// Announces the next tensor.
    /// Shape     shape: the last dimension runs fastest
    /// Requires  nothing was written yet; a name in UTF-8 that no other tensor has and that is not `__metadata__`; F32, F16,
    ///           BF16, F64 or I8 to I64; less than 2^62 bytes
    /// Throws    Error{contract} otherwise
    SafetensorsWriter& add_tensor(std::string_view name, std::vector<std::uint64_t> shape, DType type) {
        FLASHBACK_ASSERT(!started_, "SafetensorsWriter: a tensor is added after the first bytes");
        const std::string shown = detail::printable(name);
        FLASHBACK_ASSERT(name != detail::safetensors_metadata && !names_.contains(std::string{name}),
                         "SafetensorsWriter: tensor ", shown, " is added twice, or not the name of a tensor");
        const auto found = std::ranges::find(detail::safetensors_types, type, &detail::SafetensorsType::type);
        FLASHBACK_ASSERT(found != detail::safetensors_types.end(), "SafetensorsWriter: tensor ", shown, " is of type ",
                         layout_of(type).name, ", expected F32, F16, BF16, F64 or I8 to I64");
        const auto bytes = detail::bytes_of({shown, &*found, shape, {}});
        FLASHBACK_ASSERT(bytes && *bytes < (std::uint64_t{1} << 62) - end_, "SafetensorsWriter: tensor ", shown,
                         " makes the file too long, expected less than 2^62 bytes");
        using Json = detail::JsonTree;
        std::pair tensor{std::string{name}, Json{Json::Object{{"dtype", std::string{found->name}},
                                                              {"shape", Json::Array(shape.begin(), shape.end())},
                                                              {"data_offsets", Json::Array{end_, end_ + *bytes}}}}};
        if (tensors_.size() == tensors_.capacity()) tensors_.reserve(2 * tensors_.size() + 1);
        names_.emplace(name);  // from here on nothing throws
        tensors_.push_back(std::move(tensor));
        end_ += *bytes;
        return *this;
    }

    /// Appends bytes to the data; the first call writes the header.
    /// Requires  at most as many bytes as all tensors still lack
    /// Throws    Error{contract} otherwise; Error{io} if the disk is full or fails
    void write(std::span<const std::byte> bytes) {
        start();
        FLASHBACK_ASSERT(bytes.size() <= end_ - written_, "SafetensorsWriter: ", bytes.size(), " bytes are more than the ",
                         end_ - written_, " that are expected");
        file_.write(bytes);
        written_ += bytes.size();
    }

    /// Makes sure that all bytes are on the disk, but does not make the file appear; see AtomicFile::sync.
    /// Requires  all tensors are complete
    /// Throws    Error{contract} otherwise; Error{io}, and then nothing has changed
    void sync() {
        check_complete();
        file_.sync();
    }

    /// Makes the file appear under its name.
    /// Requires  all tensors are complete
    /// Throws    Error{contract} otherwise; Error{io}, and then nothing has changed
    void finish() {
        check_complete();
        file_.finish();
    }

private:
    void start() {
        if (started_) return;
        detail::JsonTree::Object all;
        if (!metadata_.empty()) all.emplace_back(std::string{detail::safetensors_metadata}, metadata_);
        all.insert(all.end(), tensors_.begin(), tensors_.end());
        const auto readable = [](const auto& field) {
            return detail::JsonTree::is_utf8(field.first) &&
                   (!field.second.is_string() || detail::JsonTree::is_utf8(field.second.template as<std::string>()));
        };
        FLASHBACK_ASSERT(std::ranges::all_of(metadata_, readable) && std::ranges::all_of(tensors_, readable),
                         "SafetensorsWriter: a name or a text is no UTF-8");
        std::string text = detail::JsonTree{std::move(all)}.text();
        text.append((8 - text.size() % 8) % 8, ' ');  // so that the data begin at a multiple of 8
        FLASHBACK_ASSERT(text.size() <= detail::safetensors_most_header, "SafetensorsWriter: the header has ", text.size(),
                         " bytes, expected at most ", detail::safetensors_most_header);
        const std::uint64_t length = text.size();
        file_.write(std::as_bytes(std::span{&length, 1}));
        file_.write(text);
        started_ = true;  // only now: a file without its header must not be finished
    }

    void check_complete() {
        start();
        FLASHBACK_ASSERT(written_ == end_, "SafetensorsWriter: ", written_, " bytes are complete, expected ", end_);
    }

    AtomicFile file_;
    detail::JsonTree::Object metadata_;
    detail::JsonTree::Object tensors_;
    std::unordered_set<std::string> names_;
    bool started_ = false;
    std::uint64_t end_ = 0;      ///< of the data, as announced
    std::uint64_t written_ = 0;  ///< bytes of the data
};

}  // namespace flashback::inline FLASHBACK_ISA
