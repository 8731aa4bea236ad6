/// \file Keeps retrieved strides in a file: finding passages takes long, and what was found serves many runs.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/fingerprint.hpp"
#include "flashback/data/detail/parse_strides.hpp"
#include "flashback/data/retrieval_strides.hpp"
#include "flashback/data/text_stream.hpp"
#include "flashback/format/atomic_file.hpp"
#include "flashback/format/mapped_file.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>

namespace flashback::inline FLASHBACK_ISA {

/// A number for everything that strides depend on: the text, the options, and `search`. That is the caller's number for
/// everything that decides what is found: the corpus, the retriever and its settings, the query builder, what is forbidden.
/// Cost      about the time to read the text
std::uint64_t strides_key(const TextStream& text, const StrideOptions& options, std::uint64_t search);

/// A number for a collection of documents.
/// Cost      about the time to read it
std::uint64_t corpus_key(std::span<const Document> documents);

/// Writes strides to a file, as a whole or not at all; `key` is the number for everything that they depend on.
/// Throws    Error{io}
void write_strides(const std::filesystem::path& path, const RetrievedStrides& strides, std::uint64_t key);

/// Reads strides from a file. The file stays mapped, or its copy in memory, as long as they live.
/// Throws    Error{io}; as `parse_strides`
RetrievedStrides read_strides(const std::filesystem::path& path, std::uint64_t key, FileAccess access = FileAccess::map);

/// The strides in a file; or, if it has none, those that `make()` gives, which are then written to it. A file that is damaged
/// or holds other strides is replaced; `on_replace(sentence)` tells why.
/// Throws    Error{format} for a file of another kind, which is not touched; Error{io}; what `make` throws
template <class Make, class OnReplace>
RetrievedStrides cached_strides(const std::filesystem::path& path, std::uint64_t key, const Make& make,
                                const OnReplace& on_replace) {
    std::error_code unknown;
    if (std::filesystem::exists(path, unknown)) {
        static_cast<void>(detail::stride_header(MappedFile{path}.bytes(), path.string()));
        try {
            return read_strides(path, key);
        } catch (const Error& error) {
            if (error.code() != ErrorCode::format) throw;
            on_replace(std::string_view{error.what()});
        }
    }
    RetrievedStrides made = make();
    write_strides(path, made, key);
    return made;
}

}  // namespace flashback::inline FLASHBACK_ISA

#if !defined(FLASHBACK_COMPILED_ONCE)
#include "flashback/data/detail/stride_cache.hpp"
#endif
