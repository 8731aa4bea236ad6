/// \file Writing safetensors files for tests.
#pragma once

#include "flashback/format/safetensors_writer.hpp"
#include "flashback/tensor/quantize.hpp"

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace flashback_test {

/// A tensor to write: its numbers, and what they are rounded to.
struct TensorToWrite {
    std::string name;
    std::vector<std::uint64_t> shape;
    std::vector<float> values;
    flashback::DType type = flashback::DType::f32;
};

inline void write_safetensors(const std::filesystem::path& path, const std::vector<TensorToWrite>& tensors) {
    flashback::SafetensorsWriter writer{path};
    for (const TensorToWrite& t : tensors) writer.add_tensor(t.name, t.shape, t.type);
    for (const TensorToWrite& t : tensors) {
        std::vector<std::byte> bytes(t.values.size() * flashback::layout_of(t.type).block_bytes);
        flashback::quantize(t.type, t.values.data(), t.values.size(), bytes.data());
        writer.write(bytes);
    }
    writer.finish();
}

}  // namespace flashback_test
