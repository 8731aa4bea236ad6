/// \file A model on disk, in any of its forms.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/format/gguf.hpp"
#include "flashback/format/tokenizer_files.hpp"

#include <filesystem>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

namespace flashback::inline FLASHBACK_ISA {

/// A GGUF file, or a Hugging Face folder: config.json, safetensors, and tokenizer files if there are any.
class ModelSource {
public:
    /// Opens a file. A folder is looked at only when something is loaded from it.
    /// Throws    if the path is not a folder, what GgufFile::open throws
    static ModelSource open(const std::filesystem::path& path, FileAccess access = FileAccess::map) {
        std::error_code unknown;
        if (!std::filesystem::is_directory(path, unknown)) return ModelSource{GgufFile::open(path, access)};
        ModelSource source;
        source.name_ = path.string();
        source.access_ = access;
        return source;
    }
    /// A GGUF file that is open already.
    explicit ModelSource(GgufFile file) : name_(file.name()), gguf_(std::move(file)) {}

    /// The path.
    const std::string& name() const noexcept { return name_; }

    /// The file; null for a folder.
    const GgufFile* gguf() const noexcept { return gguf_ ? &*gguf_ : nullptr; }

    /// How the files are read.
    FileAccess access() const noexcept { return access_; }

    /// Whether there is a vocabulary. Without one, everything that works on ids still works.
    bool has_tokenizer() const { return gguf_ ? gguf_->find("tokenizer.ggml.tokens") != nullptr : has_tokenizer_files(name_); }

private:
    ModelSource() = default;

    std::string name_;
    std::optional<GgufFile> gguf_;
    FileAccess access_ = FileAccess::map;
};

}  // namespace flashback::inline FLASHBACK_ISA
