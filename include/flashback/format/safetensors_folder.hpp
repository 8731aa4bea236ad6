/// \file The weights in a Hugging Face folder: one safetensors file, or several that an index lists.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/format/detail/json_fields.hpp"
#include "flashback/format/mapped_file.hpp"
#include "flashback/format/safetensors.hpp"

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

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
    static constexpr std::size_t most_tensors = 1'000'000;

    SafetensorsFolder() = default;

    void open_shards(const std::filesystem::path& folder, const std::string& index, FileAccess access) {
        const detail::JsonTree json =
            detail::JsonTree::parse(MappedFile{index}.text(), index, std::size_t{16} << 20, most_tensors);
        const detail::JsonFields fields{json, index};
        if (!fields.object("weight_map")) fields.refuse("lacks the field weight_map");
        const detail::JsonTree::Object& map = fields.at("weight_map").object();
        std::map<std::string, std::size_t> shards;  // and their numbers
        std::unordered_map<std::string_view, std::string_view> listed;
        for (const auto& [tensor, value] : map) {
            if (!value.is_string()) fields.refuse_value(tensor, value, "the name of a file");
            const auto& shard = value.as<std::string>();
            if (!is_plain_name(shard)) {
                fields.refuse("names the shard '", detail::printable(shard), "' for ", detail::printable(tensor),
                              ", expected a .safetensors file of the same folder");
            }
            shards.emplace(shard, 0);
            listed.emplace(tensor, shard);
        }
        if (shards.empty()) fields.refuse("lists no tensors");
        std::vector<std::string> names;
        for (auto& [shard, number] : shards) {
            if (!std::filesystem::exists(folder / shard))
                FLASHBACK_THROW(ErrorCode::io, "'", index, "' lists the shard ", detail::printable(shard), ", which is absent");
            number = files_.size();
            names.push_back(shard);
            files_.push_back(SafetensorsFile::open(folder / shard, access));
        }
        check_against(listed, shards, names, fields);
    }

    void check_against(const std::unordered_map<std::string_view, std::string_view>& map,
                       const std::map<std::string, std::size_t>& shards, const std::vector<std::string>& names,
                       const detail::JsonFields& fields) const {
        std::unordered_map<std::string_view, std::size_t> seen;
        for (std::size_t i = 0; i < files_.size(); ++i) {
            for (const SafeTensor& tensor : files_[i].tensors()) {
                const std::string shown = detail::printable(tensor.name);
                if (const auto [at, first] = seen.emplace(tensor.name, i); !first)
                    fields.refuse("lists ", names[at->second], " and ", names[i], ", which both have the tensor ", shown);
                const auto listed = map.find(tensor.name);
                if (listed == map.end()) fields.refuse("does not list the tensor ", shown, ", which ", names[i], " has");
                if (listed->second != names[i])
                    fields.refuse("lists the tensor ", shown, " in ", detail::printable(listed->second), ", but it is in ",
                                  names[i]);
            }
        }
        for (const auto& [tensor, shard] : map) {
            if (!seen.contains(tensor)) {
                fields.refuse("lists the tensor ", detail::printable(tensor), ", which ", names[shards.at(std::string{shard})],
                              " does not have");
            }
        }
    }

    /// Whether a text is the name of a file and nothing that leads elsewhere.
    static bool is_plain_name(std::string_view name) {
        constexpr std::string_view ending = ".safetensors";
        const auto plain = [](char c) { return c != '/' && c != '\\' && c != '\0'; };
        return name.size() > ending.size() && name.ends_with(ending) && std::ranges::all_of(name, plain);
    }

    std::string name_;
    std::vector<SafetensorsFile> files_;
    std::vector<const SafeTensor*> tensors_;
    std::unordered_map<std::string_view, const SafeTensor*> by_name_;
};

}  // namespace flashback::inline FLASHBACK_ISA
