/// \file The weights in a Hugging Face folder: one safetensors file, or several that an index lists.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/format/mapped_file.hpp"
#include "flashback/format/safetensors.hpp"

#include <cstddef>
#include <filesystem>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// What a `model.safetensors.index.json` says: the names of tensors and of the shards that have them, in its order.
using SafetensorsIndex = std::vector<std::pair<std::string, std::string>>;

/// Reads the text of an index; `file` is the name that errors give it.
/// Throws    Error{format} if it is not JSON of this form, or names a shard that is not a .safetensors file of the same folder
SafetensorsIndex parse_safetensors_index(std::string_view json, const std::string& file);

/// All tensors of a folder: of `model.safetensors`, or else of the shards that `model.safetensors.index.json` lists.
///
/// The index is checked against the shards when the folder is opened: a shard is a file of the same folder; every tensor of the
/// index is in the shard that it names, and every tensor of a shard is in the index.
/// Source    huggingface/transformers, modeling_utils.py, save_pretrained (the index)
class SafetensorsFolder {
public:
    /// Maps the files into memory, or copies them.
    /// Throws    Error{io} if a file is absent or cannot be read; Error{format}; Error{unsupported} as SafetensorsFile
    static SafetensorsFolder open(const std::filesystem::path& folder, FileAccess access = FileAccess::map) {
        SafetensorsFolder all;
        const std::filesystem::path single = folder / "model.safetensors";
        const std::filesystem::path index = folder / "model.safetensors.index.json";
        all.name_ = folder.string();
        if (std::filesystem::exists(single)) {
            all.files_.push_back(SafetensorsFile::open(single, access));
        } else if (std::filesystem::exists(index)) {
            all.open_shards(folder, index.string(), access);
        } else {
            FLASHBACK_THROW(ErrorCode::io, "'", all.name_,
                            "' has no weights: neither model.safetensors nor model.safetensors.index.json",
                            std::filesystem::exists(folder / "pytorch_model.bin") ? " (pytorch_model.bin is not read)" : "");
        }
        for (const SafetensorsFile& file : all.files_) {
            for (const SafeTensor& tensor : file.tensors()) all.tensors_.push_back(&tensor);
        }
        for (const SafeTensor* tensor : all.tensors_) all.by_name_.emplace(tensor->name, tensor);
        return all;
    }

    /// The folder's path.
    const std::string& name() const noexcept { return name_; }

    /// All tensors, file by file.
    const std::vector<const SafeTensor*>& tensors() const noexcept { return tensors_; }

    /// A tensor, or null if there is none of that name.
    const SafeTensor* tensor(std::string_view name) const {
        const auto found = by_name_.find(name);
        return found == by_name_.end() ? nullptr : found->second;
    }

    /// Says that a part of a tensor will not be read soon; see MappedFile::release.
    void release(std::span<const std::byte> part) const noexcept { files_.front().release(part); }

private:
    SafetensorsFolder() = default;

    void open_shards(const std::filesystem::path& folder, const std::string& index, FileAccess access) {
        const SafetensorsIndex listed = parse_safetensors_index(MappedFile{index}.text(), index);
        std::set<std::string> shards;
        for (const auto& [tensor, shard] : listed) shards.insert(shard);
        for (const std::string& shard : shards) {
            if (!std::filesystem::exists(folder / shard))
                FLASHBACK_THROW(ErrorCode::io, "'", index, "' lists the shard ", printable(shard), ", which is absent");
            files_.push_back(SafetensorsFile::open(folder / shard, access));
        }
        check_against(listed, {shards.begin(), shards.end()}, index);
    }

    /// Shape     names: those of the files, in their order
    void check_against(const SafetensorsIndex& listed, const std::vector<std::string>& names, const std::string& index) const {
        const auto refuse = [&](const auto&... parts) { FLASHBACK_THROW(ErrorCode::format, "'", index, "' ", parts...); };
        const std::unordered_map<std::string_view, std::string_view> map{listed.begin(), listed.end()};
        std::unordered_map<std::string_view, std::size_t> seen;
        for (std::size_t i = 0; i < files_.size(); ++i) {
            for (const SafeTensor& tensor : files_[i].tensors()) {
                const std::string shown = printable(tensor.name);
                const std::string here = printable(names[i]);
                if (const auto [at, first] = seen.emplace(tensor.name, i); !first)
                    refuse("lists ", printable(names[at->second]), " and ", here, ", which both have the tensor ", shown);
                const auto found = map.find(tensor.name);
                if (found == map.end()) refuse("does not list the tensor ", shown, ", which ", here, " has");
                if (found->second != names[i])
                    refuse("lists the tensor ", shown, " in ", printable(found->second), ", but it is in ", here);
            }
        }
        for (const auto& [tensor, shard] : listed) {
            if (!seen.contains(tensor))
                refuse("lists the tensor ", printable(tensor), ", which ", printable(shard), " does not have");
        }
    }

    std::string name_;
    std::vector<SafetensorsFile> files_;
    std::vector<const SafeTensor*> tensors_;
    std::unordered_map<std::string_view, const SafeTensor*> by_name_;
};

}  // namespace flashback::inline FLASHBACK_ISA

#if !defined(FLASHBACK_COMPILED_ONCE)
#include "flashback/format/detail/read_safetensors_index.hpp"
#endif
