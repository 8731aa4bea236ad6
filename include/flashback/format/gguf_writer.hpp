/// \file Writes GGUF files, as a whole or not at all.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/format/atomic_file.hpp"
#include "flashback/format/detail/gguf_limits.hpp"
#include "flashback/format/gguf.hpp"
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

/// Writes a GGUF file of version 3: first all metadata and the shapes of all tensors, then the tensors' bytes in that order, in
/// pieces of any size. The target is an AtomicFile: a writer that is destroyed before `finish` has changed nothing.
///
///     GgufWriter writer{"out.gguf"};
///     writer.copy_metadata(file).set("general.file_type", 7u);
///     for (const GgufTensor& t : file.tensors()) writer.add_tensor(t.name, std::span{t.dims}.first(t.rank), t.type);
///     for (const GgufTensor& t : file.tensors()) writer.write(t.data);
///     writer.finish();
///
/// Source    The GGUF specification, ggml-org/ggml docs/gguf.md, version 3
class GgufWriter {
public:
    /// Creates the temporary file. So a target that cannot be written is found before any work is done. A target that exists
    /// will be replaced; if it is a symbolic link, the link stays and the file that it points to is replaced.
    /// Throws    Error{io} if that is impossible, or if the target exists and is not a regular file
    explicit GgufWriter(const std::filesystem::path& target) : file_(target) {}

    /// Copies, byte for byte, the metadata of a file whose keys begin with `prefix`; by default all. Keys that are there
    /// already are replaced.
    /// Requires  nothing was written yet
    GgufWriter& copy_metadata(const GgufFile& file, std::string_view prefix = {}) {
        for (std::size_t i = 0; i < file.metadata().size(); ++i) {
            if (!file.metadata()[i].first.starts_with(prefix)) continue;
            const auto bytes = file.raw_metadata()[i];
            put(file.metadata()[i].first, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
        }
        if (const auto alignment = file.integer("general.alignment"); alignment && key_index_.contains("general.alignment"))
            alignment_ = static_cast<std::size_t>(*alignment);
        return *this;
    }

    /// Replaces an entry, or adds it after the others.
    /// Requires  nothing was written yet; a key of 1 to 65535 characters without NUL; general.alignment is a power of two up to
    ///           2^20
    /// Throws    Error{contract} otherwise
    GgufWriter& set(std::string_view key, std::uint32_t number) {
        if (key == "general.alignment") {
            FLASHBACK_ASSERT(std::has_single_bit(number) && number <= (1u << 20), "GgufWriter: general.alignment is ", number,
                             ", expected a power of two up to 2^20");
            alignment_ = number;
        }
        put(key, number_bytes(GgufType::u32) + number_bytes(number));
        return *this;
    }
    GgufWriter& set(std::string_view key, std::same_as<float> auto number) {
        FLASHBACK_ASSERT(key != "general.alignment", "GgufWriter: general.alignment is a real number, expected a whole one");
        put(key, number_bytes(GgufType::f32) + number_bytes(number));
        return *this;
    }
    GgufWriter& set(std::string_view key, std::string_view text) {
        FLASHBACK_ASSERT(key != "general.alignment", "GgufWriter: general.alignment is a text, expected a number");
        put(key, number_bytes(GgufType::string) + string_bytes(text));
        return *this;
    }

    GgufWriter& set(std::string_view key, std::same_as<bool> auto value) {
        FLASHBACK_ASSERT(key != "general.alignment", "GgufWriter: general.alignment is true or false, expected a number");
        put(key, number_bytes(GgufType::boolean) + static_cast<char>(value));
        return *this;
    }
    /// The same for lists: of texts, or of numbers of type float or std::int32_t.
    GgufWriter& set_list(std::string_view key, std::span<const std::string> texts) {
        std::string bytes = list_bytes(key, GgufType::string, texts.size());
        for (const std::string& text : texts) bytes += string_bytes(text);
        put(key, bytes);
        return *this;
    }
    template <class T>
    requires std::same_as<T, float> || std::same_as<T, std::int32_t> GgufWriter& set_list(std::string_view key,
                                                                                          std::span<const T> numbers) {
        std::string bytes = list_bytes(key, std::same_as<T, float> ? GgufType::f32 : GgufType::i32, numbers.size());
        bytes.append(reinterpret_cast<const char*>(numbers.data()), numbers.size_bytes());
        put(key, bytes);
        return *this;
    }

    /// Announces the next tensor.
    /// Shape     dims: the first runs fastest
    /// Requires  nothing was written yet; a name of 1 to 63 characters that no other tensor has; 1 to 4 dimensions, none of
    ///           them 0; a known type whose blocks fill the rows
    /// Throws    Error{contract} otherwise
    GgufWriter& add_tensor(std::string_view name, std::span<const std::uint64_t> dims, DType type) {
        FLASHBACK_ASSERT(!started_, "GgufWriter: a tensor is added after the first bytes");
        FLASHBACK_ASSERT(!name.empty() && name.size() <= detail::gguf_most_name, "GgufWriter: the name of a tensor has ",
                         name.size(), " characters, expected 1 to ", detail::gguf_most_name);
        const std::string shown = detail::printable(name);
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

    /// Appends bytes to the first tensor that is not complete. The first call writes the metadata. Padding is added where it is
    /// needed.
    /// Requires  at most as many bytes as that tensor still lacks
    /// Throws    Error{contract} otherwise; Error{io} if the disk is full or fails
    void write(std::span<const std::byte> bytes) {
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

    /// Makes the file appear under its name.
    /// Requires  all tensors are complete
    /// Throws    Error{contract} otherwise; Error{io}, and then nothing has changed, unless the sentence says that only the
    ///           folder could not be written: then the new file is there, but a power failure may bring back the old one
    void finish() {
        start();
        FLASHBACK_ASSERT(current_ == tensors_.size(), "GgufWriter: ", current_, " tensors are complete, expected ",
                         tensors_.size());
        file_.finish();
    }

private:
    struct Tensor {
        std::string record;  ///< what the file says of the tensor, without the offset
        std::uint64_t bytes;
    };

    template <class T>
    static std::string number_bytes(T number) {
        std::string bytes(sizeof(T), '\0');
        std::memcpy(bytes.data(), &number, sizeof(T));
        return bytes;
    }
    static std::string string_bytes(std::string_view text) { return number_bytes(std::uint64_t{text.size()}).append(text); }

    static std::string list_bytes(std::string_view key, GgufType type, std::size_t count) {
        FLASHBACK_ASSERT(key != "general.alignment", "GgufWriter: general.alignment is a list, expected a number");
        return number_bytes(GgufType::array) + number_bytes(type) + number_bytes(std::uint64_t{count});
    }

    void put(std::string_view key, std::string_view value) {
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

    void start() {
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

    void pad(std::uint64_t size) {
        const std::string zeros((alignment_ - size % alignment_) % alignment_, '\0');
        file_.write(std::as_bytes(std::span{zeros}));
    }

    AtomicFile file_;
    std::vector<std::pair<std::string, std::string>> entries_;
    std::unordered_map<std::string, std::size_t> key_index_;
    std::vector<Tensor> tensors_;
    std::unordered_set<std::string> names_;
    std::size_t alignment_ = 32;
    bool started_ = false;
    std::size_t current_ = 0;    ///< the tensor that is being written
    std::uint64_t written_ = 0;  ///< bytes of it
};

}  // namespace flashback::inline FLASHBACK_ISA
