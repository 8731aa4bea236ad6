#include "fuzz/target.hpp"

#include "flashback/data/detail/parse_strides.hpp"

#include <algorithm>
#include <vector>

using namespace flashback;
using flashback_test::fuzz_check;

namespace {

/// Words of 8 bytes, as the file is aligned.
std::vector<std::uint64_t> aligned(std::span<const std::byte> bytes) {
    std::vector<std::uint64_t> words(bytes.size() / 8 + 1);
    std::ranges::copy(bytes, std::as_writable_bytes(std::span{words}).begin());
    return words;
}

}  // namespace

// Key and checksum are made right, since no fuzzer guesses them; their tests are elsewhere (tests/eval/stride_cache.cpp).
FLASHBACK_FUZZ_TARGET(strides, .per_byte = 4, .constant = 8192) {
    std::vector<std::uint64_t> words = aligned(bytes);
    const std::span<std::byte> file = std::as_writable_bytes(std::span{words}).first(bytes.size());
    detail::StrideFileHeader header{};
    if (file.size() >= sizeof header + 8) {
        std::memcpy(&header, file.data(), sizeof header);
        if (const auto parts = detail::stride_parts(header, file.subspan(sizeof header))) {
            const std::uint64_t checksum =
                detail::stride_checksum(header, parts->entries, parts->passage_ends, parts->scores, parts->tokens);
            std::memcpy(file.data() + file.size() - 8, &checksum, sizeof checksum);
        }
    }
    const RetrievedStrides strides = parse_strides(file, "fuzz.strides", header.key, nullptr);
    std::size_t seen = 0;
    for (std::size_t i = 0; i < strides.size(); ++i) {
        const RetrievedStride stride = strides[i];
        fuzz_check(stride.context <= stride.at, "a context is in front of its stride");
        std::size_t in_stride = 0;
        for (std::size_t p = 0; p < stride.found(); ++p) {
            flashback_test::touch(std::as_bytes(stride.passage(p)));
            in_stride += stride.passage(p).size();
        }
        fuzz_check(in_stride == stride.passages.size(), "the passages of a stride are all its tokens");
        seen += in_stride;
    }
    fuzz_check(seen <= strides.tokens().size(), "no token is in two strides");
}
