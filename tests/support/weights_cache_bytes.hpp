/// \file Files of repacked weights as bytes, also such as no writer writes.
#pragma once

#include "flashback/simd/packed_matrix.hpp"
#include "support/block_file_bytes.hpp"
#include "support/gguf_bytes.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace flashback_test {

/// What a file of repacked weights says; by default it has no matrix.
struct WeightsCacheBytes {
    struct Entry {
        std::uint64_t type, outputs, inputs, place, checksum;
    };

    std::string magic = "FBWEIGHT";
    std::uint64_t version = 1;
    std::string matrices = std::string(48, '\0');  // the first begins at 64
    std::uint64_t packing = flashback::simd::packing_version, source_size = 100, modified = 7, source_directory = 8,
                  fingerprint = 77;
    std::vector<Entry> entries = {};
    std::string behind_entries = {};
    std::optional<std::uint64_t> directory_bytes = {};

    /// Appends a matrix.
    /// Shape     panels: a multiple of 64 bytes
    void add(flashback::DType type, std::uint64_t outputs, std::uint64_t inputs, const std::string& panels) {
        entries.push_back(
            {static_cast<std::uint64_t>(type), outputs, inputs, 16 + matrices.size(), flashback::Fingerprint::of(panels)});
        matrices += panels;
    }

    std::string bytes() const {
        const std::string start = magic + bytes_of(version);
        std::string directory =
            bytes_of(packing) + bytes_of(source_size) + bytes_of(modified) + bytes_of(source_directory) + bytes_of(fingerprint);
        for (const Entry& e : entries) {
            directory += bytes_of(e.type) + bytes_of(e.outputs) + bytes_of(e.inputs) + bytes_of(e.place) + bytes_of(e.checksum);
        }
        directory += behind_entries;
        return start + matrices + directory + bytes_of(directory_bytes.value_or(directory.size())) +
               bytes_of(flashback::Fingerprint::of(start, directory));
    }
};

}  // namespace flashback_test
