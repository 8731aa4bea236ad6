/// \file Writing GGUF files.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/format/atomic_file.hpp"
#include "flashback/format/detail/gguf_limits.hpp"
#include "flashback/format/gguf.hpp"
#include "flashback/format/gguf_writer.hpp"
#include "flashback/tensor/dtype.hpp"

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

FLASHBACK_DETAIL_ONCE GgufWriter& GgufWriter::copy_metadata(const GgufFile& file, std::string_view prefix) {
    for (std::size_t i = 0; i < file.metadata().size(); ++i) {
        if (!file.metadata()[i].first.starts_with(prefix)) continue;
        const auto bytes = file.raw_metadata()[i];
        put(file.metadata()[i].first, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
    }
    if (const auto alignment = file.integer("general.alignment"); alignment && key_index_.contains("general.alignment"))
        alignment_ = static_cast<std::size_t>(*alignment);
    return *this;
}

FLASHBACK_DETAIL_ONCE GgufWriter& GgufWriter::set(std::string_view key, std::uint32_t number) {
    if (key == "general.alignment") {
        FLASHBACK_ASSERT(std::has_single_bit(number) && number <= (1u << 20), "GgufWriter: general.alignment is ", number,
                         ", expected a power of two up to 2^20");
        alignment_ = number;
    }
    put(key, number_bytes(GgufType::u32) + number_bytes(number));
    return *this;
}

FLASHBACK_DETAIL_ONCE GgufWriter& GgufWriter::set_float(std::string_view key, float number) {
    FLASHBACK_ASSERT(key != "general.alignment", "GgufWriter: general.alignment is a real number, expected a whole one");
    put(key, number_bytes(GgufType::f32) + number_bytes(number));
    return *this;
}

FLASHBACK_DETAIL_ONCE GgufWriter& GgufWriter::set(std::string_view key, std::string_view text) {
    FLASHBACK_ASSERT(key != "general.alignment", "GgufWriter: general.alignment is a text, expected a number");
    put(key, number_bytes(GgufType::string) + string_bytes(text));
    return *this;
}

FLASHBACK_DETAIL_ONCE GgufWriter& GgufWriter::set_bool(std::string_view key, bool value) {
    FLASHBACK_ASSERT(key != "general.alignment", "GgufWriter: general.alignment is true or false, expected a number");
    put(key, number_bytes(GgufType::boolean) + static_cast<char>(value));
    return *this;
}

FLASHBACK_DETAIL_ONCE GgufWriter& GgufWriter::set_list(std::string_view key, std::span<const std::string> texts) {
    std::string bytes = list_bytes(key, GgufType::string, texts.size());
    for (const std::string& text : texts) bytes += string_bytes(text);
    put(key, bytes);
    return *this;
}

FLASHBACK_DETAIL_ONCE GgufWriter& GgufWriter::add_tensor(std::string_view name, std::span<const std::uint64_t> dims,
                                                         DType type) {
    FLASHBACK_ASSERT(!started_, "GgufWriter: a tensor is added after the first bytes");
    FLASHBACK_ASSERT(!name.empty() && name.size() <= detail::gguf_most_name, "GgufWriter: the name of a tensor has ",
                     name.size(), " characters, expected 1 to ", detail::gguf_most_name);
    const std::string shown = printable(name);
    FLASHBACK_ASSERT(!names_.contains(std::string{name}), "GgufWriter: tensor ", shown, " is added twice");
    FLASHBACK_ASSERT(!dims.empty() && dims.size() <= 4, "GgufWriter: tensor ", shown, " has ", dims.size(),
                     " dimensions, expected 1 to 4");
    const DTypeLayout layout = layout_of(type);
    FLASHBACK_ASSERT(layout.block_elements > 0 && dims[0] % layout.block_elements == 0, "GgufWriter: tensor ", shown,
                     " has rows of ", dims[0], " elements, expected whole blocks of ", layout.name);
    std::uint64_t bytes = layout.block_bytes;
    for (std::size_t i = 0; i < dims.size(); ++i) {
        const std::uint64_t count = i == 0 ? dims[0] / layout.block_elements : dims[i];
        FLASHBACK_ASSERT(count > 0 && bytes <= (std::uint64_t{1} << 62) / count, "GgufWriter: dimension ", i, " of tensor ",
                         shown, " is ", dims[i], ", expected 1 or more and less than 2^62 bytes in all");
        bytes *= count;
    }
    std::string record = string_bytes(name) + number_bytes(static_cast<std::uint32_t>(dims.size()));
    for (const std::uint64_t dim : dims) record += number_bytes(dim);
    names_.emplace(name);
    tensors_.push_back({record + number_bytes(type), bytes});
    return *this;
}

FLASHBACK_DETAIL_ONCE void GgufWriter::write(std::span<const std::byte> bytes) {
    start();
    if (bytes.empty()) return;
    FLASHBACK_ASSERT(current_ < tensors_.size() && bytes.size() <= tensors_[current_].bytes - written_,
                     "GgufWriter: ", bytes.size(), " bytes are more than the ",
                     current_ < tensors_.size() ? tensors_[current_].bytes - written_ : 0, " that are expected");
    file_.write(bytes);
    written_ += bytes.size();
    if (written_ < tensors_[current_].bytes) return;
    pad(written_);
    written_ = 0;
    ++current_;
}

FLASHBACK_DETAIL_ONCE void GgufWriter::finish() {
    start();
    FLASHBACK_ASSERT(current_ == tensors_.size(), "GgufWriter: ", current_, " tensors are complete, expected ",
                     tensors_.size());
    file_.finish();
}

FLASHBACK_DETAIL_ONCE std::string GgufWriter::list_bytes(std::string_view key, GgufType type, std::size_t count) {
    FLASHBACK_ASSERT(key != "general.alignment", "GgufWriter: general.alignment is a list, expected a number");
    return number_bytes(GgufType::array) + number_bytes(type) + number_bytes(std::uint64_t{count});
}

FLASHBACK_DETAIL_ONCE void GgufWriter::put(std::string_view key, std::string_view value) {
    FLASHBACK_ASSERT(!started_, "GgufWriter: metadata is changed after the first bytes");
    FLASHBACK_ASSERT(!key.empty() && key.size() <= detail::gguf_most_key && key.find('\0') == key.npos,
                     "GgufWriter: a key has ", key.size(), " characters, expected 1 to ", detail::gguf_most_key,
                     " and none of them NUL");
    if (const auto found = key_index_.find(std::string{key}); found != key_index_.end()) {
        entries_[found->second].second = value;
        return;
    }
    entries_.emplace_back(key, value);
    try {
        key_index_.emplace(key, entries_.size() - 1);
    } catch (...) {
        entries_.pop_back();
        throw;
    }
}

FLASHBACK_DETAIL_ONCE void GgufWriter::start() {
    if (started_) return;
    std::string header = "GGUF" + number_bytes(std::uint32_t{3}) + number_bytes(std::uint64_t{tensors_.size()}) +
                         number_bytes(std::uint64_t{entries_.size()});
    for (const auto& [key, value] : entries_) header.append(string_bytes(key)).append(value);
    std::uint64_t offset = 0;
    for (const Tensor& tensor : tensors_) {
        header.append(tensor.record).append(number_bytes(offset));
        offset += (tensor.bytes + alignment_ - 1) / alignment_ * alignment_;
    }
    header.append((alignment_ - header.size() % alignment_) % alignment_, '\0');
    file_.write(std::as_bytes(std::span{header}));
    started_ = true;  // only now: a file without its header must not be finished
}

FLASHBACK_DETAIL_ONCE void GgufWriter::pad(std::uint64_t size) {
    const std::string zeros(static_cast<std::size_t>((alignment_ - size % alignment_) % alignment_), '\0');
    file_.write(std::as_bytes(std::span{zeros}));
}

}  // namespace flashback::inline FLASHBACK_ISA
