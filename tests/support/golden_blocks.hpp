/// \file The facts of tests/reference/golden_blocks.json: what bytes mean and what values become, taken from llama.cpp.
#pragma once

#include "flashback/tensor/dtype.hpp"

#include <cstddef>
#include <fstream>
#include <string>
#include <vector>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

namespace flashback_test {

struct GoldenBlock {
    flashback::DType type{};
    std::string name;
    std::vector<std::byte> bytes;
    std::vector<float> values;
};

inline flashback::DType dtype_named(const std::string& name) {
    for (std::uint32_t n = 0; n < 64; ++n) {
        const auto type = static_cast<flashback::DType>(n);
        if (flashback::layout_of(type).name == name) return type;
    }
    FAIL("no type is called " << name);
    return {};
}

inline GoldenBlock golden_block(const std::string& type, const nlohmann::json& json) {
    GoldenBlock block{dtype_named(type), json.value("name", type), {}, json.at("values").get<std::vector<float>>()};
    const auto digits = json.at("bytes").get<std::string>();
    for (std::size_t i = 0; i < digits.size(); i += 2)
        block.bytes.push_back(static_cast<std::byte>(std::stoi(digits.substr(i, 2), nullptr, 16)));
    return block;
}

inline nlohmann::json golden_blocks_json() {
    std::ifstream file{FLASHBACK_TEST_DATA "/golden_blocks.json"};
    REQUIRE(file);
    return nlohmann::json::parse(file);
}

/// One block of each type that can be read.
inline std::vector<GoldenBlock> golden_blocks() {
    const nlohmann::json json = golden_blocks_json();
    std::vector<GoldenBlock> blocks;
    for (const auto& [type, block] : json.at("blocks").items()) blocks.push_back(golden_block(type, block));
    return blocks;
}

/// Values and the blocks that llama.cpp makes of them.
inline std::vector<GoldenBlock> golden_quantized() {
    const nlohmann::json json = golden_blocks_json();
    std::vector<GoldenBlock> blocks;
    for (const auto& block : json.at("quantized")) blocks.push_back(golden_block(block.at("type").get<std::string>(), block));
    return blocks;
}

}  // namespace flashback_test
