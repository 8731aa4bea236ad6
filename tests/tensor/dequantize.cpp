#include "flashback/tensor/dequantize.hpp"

#include "support/errors.hpp"
#include "support/golden_blocks.hpp"

#include <cmath>
#include <cstring>
#include <random>
#include <set>
#include <string>
#include <vector>

#include <doctest/doctest.h>

using namespace flashback;
using namespace flashback_test;

namespace {

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

}  // namespace

TEST_CASE("golden blocks: bytes of every type mean what llama.cpp says, to the bit") {
    std::set<DType> seen;
    for (const GoldenBlock& block : golden_blocks()) {
        CAPTURE(block.name);
        seen.insert(block.type);
        const DTypeLayout layout = layout_of(block.type);
        REQUIRE(block.values.size() * layout.block_bytes == block.bytes.size() * layout.block_elements);
        std::vector<float> found(block.values.size());
        dequantize(block.type, block.bytes.data(), found.size(), found.data());
        for (std::size_t i = 0; i < found.size(); ++i) {
            CAPTURE(i);
            CHECK(found[i] == block.values[i]);
        }
        CHECK(same_bits(found, block.values));
    }
    for (std::uint32_t n = 0; n < 64; ++n) {
        CAPTURE(n);
        CHECK(can_dequantize(static_cast<DType>(n)) == seen.contains(static_cast<DType>(n)));
    }
    CHECK(seen.size() == 13);
}

TEST_CASE("blocks follow one another, at any address") {
    for (const GoldenBlock& block : golden_blocks()) {
        CAPTURE(block.name);
        std::vector<std::byte> bytes(1);  // an odd address
        std::vector<float> values;
        for (int i = 0; i < 3; ++i) {
            bytes.insert(bytes.end(), block.bytes.begin(), block.bytes.end());
            values.insert(values.end(), block.values.begin(), block.values.end());
        }
        std::vector<float> found(values.size() + 1, 7.0f);
        dequantize(block.type, bytes.data() + 1, values.size(), found.data());
        CHECK(found.back() == 7.0f);  // nothing behind the last
        found.pop_back();
        CHECK(same_bits(found, values));
    }
}

TEST_CASE("any bytes can be read, and scales that are finite give values that are") {
    std::mt19937 random{7};
    for (const GoldenBlock& block : golden_blocks()) {
        CAPTURE(block.name);
        const DTypeLayout layout = layout_of(block.type);
        std::vector<std::byte> bytes(layout.block_bytes);
        std::vector<float> found(layout.block_elements);
        for (int round = 0; round < 500; ++round) {
            for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
            dequantize(block.type, bytes.data(), found.size(), found.data());
        }
        for (std::byte& byte : bytes) byte = std::byte{0xff};
        dequantize(block.type, bytes.data(), found.size(), found.data());
        CHECK(std::isnan(found[0]));  // for every type these bytes are a NaN, in the scale if not in the value
        for (std::byte& byte : bytes) byte = std::byte{0};
        dequantize(block.type, bytes.data(), found.size(), found.data());
        for (const float value : found) CHECK(value == 0.0f);
    }
}

TEST_CASE("types that are not read, and counts that cut a block, are refused") {
    std::vector<std::byte> bytes(1000);
    std::vector<float> floats(1000);
    for (const DType type : {DType::q8_1, DType::q8_k, DType::i8, DType::f64, static_cast<DType>(999)}) {
        CHECK_FALSE(can_dequantize(type));
        check_error(ErrorCode::contract, "expected a type of weights",
                    [&] { dequantize(type, bytes.data(), 0, floats.data()); });
    }
    check_error(ErrorCode::contract, "dequantize: found 33 elements of Q4_0, expected a multiple of 32",
                [&] { dequantize(DType::q4_0, bytes.data(), 33, floats.data()); });
    check_error(ErrorCode::contract, "dequantize: found 128 elements of Q6_K, expected a multiple of 256",
                [&] { dequantize(DType::q6_k, bytes.data(), 128, floats.data()); });
    dequantize(DType::f32, nullptr, 0, nullptr);  // nothing is fine
}
