/// \file Files of vectors and of graphs as bytes, also such as no writer writes.
#pragma once

#include "flashback/core/fingerprint.hpp"
#include "support/gguf_bytes.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace flashback_test {

/// What a file of vectors says; by default it has the vector (1, -2).
struct VectorFileBytes {
    std::string magic = "FBVECTOR";
    std::uint64_t version = 1, element = 0, dimension = 2, vectors = 1, normalised = 0;
    std::string behind = bytes_of(1.0f) + bytes_of(-2.0f) + std::string(56, '\0');

    std::string bytes() const {
        flashback::Fingerprint data;
        const std::size_t scales = element == 24 ? 4 * vectors : 0;
        data.add(std::string_view{behind}.substr(0, behind.size() - scales));
        if (scales > 0) data.add(std::string_view{behind}.substr(behind.size() - scales));
        const std::string start = magic + bytes_of(version) + bytes_of(element) + bytes_of(dimension) + bytes_of(vectors) +
                                  bytes_of(normalised) + bytes_of(data.value());
        return start + bytes_of(flashback::Fingerprint::of(start)) + behind;
    }
};

/// What a file of a graph says: three vectors, two links for each; by default vector 0 is in a second layer, alone.
struct GraphBytes {
    std::string magic = "FBHNSWGR";
    std::uint64_t version = 1, vectors = 3, links = 2, ef_construction = 10, seed = 0, entry = 0, upper = 1;
    std::uint64_t vectors_checksum = 0;
    std::vector<std::uint32_t> lowest{2, 1, 2, 0, 0, 2, 0, 2, 0, 0, 2, 0, 1, 0, 0};
    std::vector<std::uint32_t> layers{1, 0, 0};
    std::vector<std::uint32_t> above{0, 0, 0};

    std::string bytes() const {
        const std::string start = magic + bytes_of(version) + bytes_of(vectors) + bytes_of(links) + bytes_of(ef_construction) +
                                  bytes_of(seed) + bytes_of(entry) + bytes_of(upper) + bytes_of(vectors_checksum);
        std::string behind;
        for (const auto* numbers : {&lowest, &layers, &above}) {
            for (const std::uint32_t number : *numbers) behind += bytes_of(number);
        }
        return start + bytes_of(flashback::Fingerprint::of(start, behind)) + behind;
    }
};

}  // namespace flashback_test
