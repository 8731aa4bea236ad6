/// \file Strides in a file.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/fingerprint.hpp"
#include "flashback/data/detail/parse_strides.hpp"
#include "flashback/data/retrieval_strides.hpp"
#include "flashback/data/stride_cache.hpp"
#include "flashback/data/text_stream.hpp"
#include "flashback/format/atomic_file.hpp"
#include "flashback/format/mapped_file.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <utility>

namespace flashback::inline FLASHBACK_ISA {

FLASHBACK_DETAIL_ONCE std::uint64_t strides_key(const TextStream& text, const StrideOptions& options, std::uint64_t search) {
    Fingerprint all;
    all.add(std::as_bytes(text.tokens()));
    for (const SourceDocument& document : text.documents()) {
        all.add(std::string_view{document.id});
        all.add(std::string_view{document.title});
        all.add(std::uint64_t{document.end});
    }
    for (const std::uint64_t number :
         {std::uint64_t{options.init}, std::uint64_t{options.stride}, std::uint64_t{options.strides},
          std::uint64_t{options.context}, std::uint64_t{options.most_context}, options.seed, std::uint64_t{options.hold},
          std::uint64_t{options.passages}, std::uint64_t{options.passage_tokens}, search})
        all.add(number);
    return all.value();
}

FLASHBACK_DETAIL_ONCE std::uint64_t corpus_key(std::span<const Document> documents) {
    Fingerprint all;
    for (const Document& document : documents) {
        all.add(std::string_view{document.id});
        all.add(std::string_view{document.title});
        all.add(std::string_view{document.text});
    }
    return all.value();
}

FLASHBACK_DETAIL_ONCE void write_strides(const std::filesystem::path& path, const RetrievedStrides& strides,
                                         std::uint64_t key) {
    FLASHBACK_ASSERT(strides.stride() <= UINT32_MAX, "strides of ", strides.stride(), " tokens, expected fewer than 2^32");
    detail::StrideFileHeader header{{},
                                    detail::stride_version,
                                    static_cast<std::uint32_t>(strides.stride()),
                                    key,
                                    strides.retrievals(),
                                    strides.size(),
                                    strides.passage_ends().size(),
                                    strides.tokens().size()};
    std::memcpy(header.magic, detail::stride_magic.data(), sizeof(header.magic));
    const std::uint64_t checksum =
        detail::stride_checksum(header, strides.entries(), strides.passage_ends(), strides.scores(), strides.tokens());
    AtomicFile file{path};
    file.write(std::as_bytes(std::span{&header, 1}));
    file.write(std::as_bytes(strides.entries()));
    file.write(std::as_bytes(strides.passage_ends()));
    file.write(std::as_bytes(strides.scores()));
    file.write(std::as_bytes(strides.tokens()));
    file.write(std::as_bytes(std::span{&checksum, 1}));
    file.finish();
}

FLASHBACK_DETAIL_ONCE RetrievedStrides read_strides(const std::filesystem::path& path, std::uint64_t key, FileAccess access) {
    auto file = std::make_shared<const MappedFile>(path, access);
    const std::span<const std::byte> bytes = file->bytes();
    return parse_strides(bytes, path.string(), key, std::move(file));
}

}  // namespace flashback::inline FLASHBACK_ISA
