#include "flashback/format/gguf.hpp"
#include "support/allocations.hpp"
#include "support/errors.hpp"
#include "support/gguf_bytes.hpp"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include <doctest/doctest.h>

namespace test_format_gguf_hostile {

using namespace flashback;
using flashback_test::bytes_of;
using flashback_test::check_error;
using flashback_test::gguf_string;
using flashback_test::GgufBytes;
using flashback_test::view;

namespace {

constexpr std::uint64_t huge = std::numeric_limits<std::uint64_t>::max();
constexpr std::uint64_t int64_most = std::numeric_limits<std::int64_t>::max();

GgufBytes small() {
    GgufBytes w;
    w.set("general.architecture", "llama").set<std::uint32_t>("general.alignment", 32).set("flag", true).set("real", 1.5);
    w.set("single", 2.5f).set<std::int64_t>("count", 7);
    w.set_array<std::string>("words", {"one", "two"})
        .set_array<std::int32_t>("ids", {1, 2, 3})
        .set_array<bool>("flags", {true, false});
    w.add_tensor<float>("a", {3, 2}, DType::f32, {1, 2, 3, 4, 5, 6});
    w.add_tensor<std::uint16_t>("b", {4}, DType::f16, {1, 2, 3, 4});
    return w;
}

void refuses(const GgufBytes& writer, std::string_view part, ErrorCode code = ErrorCode::format) {
    const std::string bytes = writer.bytes();
    CHECK(flashback_test::allocations_of([&] { check_error(code, part, [&] { view(bytes); }); }).bytes < (1u << 20));
}

GgufBytes with_entry(std::string_view key, std::uint32_t type, std::string value) {
    GgufBytes w = small();
    w.add(key, type, std::move(value));
    return w;
}

GgufBytes with_tensor(GgufBytes::Tensor tensor) {
    GgufBytes w = small();
    w.tensors.push_back(std::move(tensor));
    return w;
}

std::string array_of(std::uint32_t type, std::uint64_t count, const std::string& elements) {
    return bytes_of(type) + bytes_of(count) + elements;
}

/// Touches all that a file gives away, so that a sanitizer sees a view that leaves the file.
std::uint64_t touch(const GgufFile& file) {
    std::uint64_t sum = file.version();
    const auto add = [&](std::span<const std::byte> bytes) {
        for (const std::byte b : bytes) sum += std::to_integer<unsigned>(b);
    };
    for (const auto& [key, value] : file.metadata()) {
        add(std::as_bytes(std::span{key}));
        if (const auto* text = std::get_if<std::string_view>(&value)) add(std::as_bytes(std::span{*text}));
        if (const auto* array = std::get_if<GgufArray>(&value)) {
            add(array->bytes);
            if (array->type == GgufType::string) {
                const auto strings = file.strings(key);
                for (const std::string_view s : strings.value()) add(std::as_bytes(std::span{s}));
            }
            if (array->type == GgufType::i32) sum += file.numbers<std::int32_t>(key)->size();
        }
    }
    for (const GgufTensor& tensor : file.tensors()) {
        add(std::as_bytes(std::span{tensor.name}));
        add(tensor.data);
    }
    return sum;
}

bool printable(std::string_view text) {
    return std::ranges::all_of(text, [](char c) { return c >= 32 && c < 127; });
}

}  // namespace

TEST_CASE("a file cut at any byte is an error") {
    const std::string bytes = small().bytes();
    REQUIRE_NOTHROW(view(bytes));
    for (std::size_t length = 0; length < bytes.size(); ++length) {
        const std::vector<char> cut(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(length));
        CAPTURE(length);
        check_error(ErrorCode::format, "test.gguf", [&] { view({cut.data(), cut.size()}); });
    }
}

TEST_CASE("a changed byte gives a file or an Error and nothing else") {
    const std::string good = small().bytes();
    std::mt19937 random{1};
    int files = 0;
    int errors = 0;
    std::uint64_t sum = 0;
    for (int round = 0; round < 20000; ++round) {
        std::vector<char> bytes(good.begin(), good.end());
        const std::size_t at = random() % bytes.size();
        bytes[at] = static_cast<char>(static_cast<unsigned char>(bytes[at]) ^ (1 + random() % 255));
        try {
            sum += touch(view({bytes.data(), bytes.size()}));
            ++files;
        } catch (const Error& error) {
            ++errors;
            if (!printable(error.what())) FAIL_CHECK("raw bytes in a sentence: " << error.what());
        }
    }
    CHECK(files > 1000);
    CHECK(errors > 1000);
    CHECK(sum > 0);
}

TEST_CASE("a long run of changed bytes gives a file or an Error and nothing else") {
    const std::string good = small().bytes();
    std::mt19937 random{2};
    int errors = 0;
    for (int round = 0; round < 5000; ++round) {
        std::vector<char> bytes(good.begin(), good.end());
        for (int i = 0; i < 8; ++i)
            bytes[8 + random() % (bytes.size() - 8)] = static_cast<char>(random() % 3 ? random() : 0xff);
        try {
            touch(view({bytes.data(), bytes.size()}));
        } catch (const Error&) {
            ++errors;
        }
    }
    CHECK(errors > 1000);
}

TEST_CASE("what is no GGUF file is refused") {
    check_error(ErrorCode::format, "ends too early", [] { view(""); });
    check_error(ErrorCode::format, "ends too early", [] { view("GGU"); });
    check_error(ErrorCode::format, "ends too early: the version", [] { view("GGUF"); });
    check_error(ErrorCode::format, "is no GGUF file: it starts with 'GGML', expected 'GGUF'", [] { view("GGMLxxxx"); });
    check_error(ErrorCode::format, "it starts with '??[m'", [] { view("\xff\x1b[mxxxx"); });
}

TEST_CASE("other versions and big-endian files are refused") {
    for (const std::uint32_t version : {0u, 1u, 4u, 0xffffffffu}) {
        GgufBytes w = small();
        w.version = version;
        refuses(w, "has GGUF version " + std::to_string(version) + ", expected 2 or 3", ErrorCode::unsupported);
    }
    for (const std::uint32_t version : {0x02000000u, 0x03000000u}) {
        GgufBytes w = small();
        w.version = version;
        refuses(w, "is a big-endian GGUF file", ErrorCode::unsupported);
    }
}

TEST_CASE("counts beyond the file are refused before anything is allocated") {
    for (const std::uint64_t count : {huge, int64_most, std::uint64_t{1} << 61, std::uint64_t{1} << 32, std::uint64_t{1000}}) {
        GgufBytes entries = small();
        entries.entry_count = count;
        refuses(entries, "which do not fit into");
        GgufBytes tensors = small();
        tensors.tensor_count = count;
        refuses(tensors, "which do not fit into");
    }
    GgufBytes one_more = small();
    one_more.entry_count = 10;
    refuses(one_more, "test.gguf");
}

TEST_CASE("a string or array that says it is longer than the file is refused") {
    GgufBytes w;
    w.entry_count = 1;
    const std::string bytes = w.bytes() + bytes_of(huge) + std::string(64, 'x');
    check_error(ErrorCode::format, "a metadata key at byte 32 needs 18446744073709551615 bytes", [&] { view(bytes); });

    refuses(with_entry("long", 8, bytes_of(huge)), "long at byte");
    refuses(with_entry("words2", 9, array_of(8, std::uint64_t{1} << 40, "")), "words2 says that it has 1099511627776 strings");
    refuses(with_entry("words2", 9, array_of(8, 2, gguf_string("a"))), "test.gguf");
    for (const std::uint32_t type : {0u, 1u, 2u, 3u, 4u, 5u, 6u, 7u, 10u, 11u, 12u}) {
        for (const std::uint64_t count : {huge, std::uint64_t{1} << 62, std::uint64_t{1} << 61, std::uint64_t{1} << 40}) {
            CAPTURE(type);
            refuses(with_entry("numbers", 9, array_of(type, count, "")), "numbers says that it has");
        }
    }
}

TEST_CASE("a key must be 1 to 65535 characters without NUL, and must not come twice") {
    constexpr std::string_view sentence = "expected 1 to 65535 and none of them NUL";
    refuses(with_entry("", 0, "a"), sentence);
    refuses(with_entry(std::string_view{"a\0b", 3}, 0, "a"), sentence);
    refuses(with_entry(std::string(65536, 'k'), 0, "a"), sentence);
    const std::string bytes = with_entry(std::string(65535, 'k'), 0, "a").bytes();
    CHECK(view(bytes).integer(std::string(65535, 'k')) == 'a');
    refuses(with_entry("flag", 0, "a"), "has the metadata key flag twice");
    refuses(with_entry("\x1b[2J", 13, ""), "?[2J has a value of type 13");
    refuses(with_entry("\x1b[2J", 8, bytes_of(huge)), "?[2J at byte");
}

TEST_CASE("unknown types and arrays of arrays are refused") {
    refuses(with_entry("odd", 13, std::string(64, '\0')), "odd has a value of type 13, expected 0 to 12");
    refuses(with_entry("odd", 0xffffffffu, std::string(64, '\0')), "odd has a value of type 4294967295");
    refuses(with_entry("odd", 9, array_of(9, 1, array_of(0, 1, "a"))), "the array odd has elements of type 9");
    refuses(with_entry("odd", 9, array_of(13, 1, "a")), "the array odd has elements of type 13");
    refuses(with_entry("odd", 9, array_of(0xffffffffu, 0, "")), "the array odd has elements of type 4294967295");
}

TEST_CASE("a bool is 0 or 1") {
    refuses(with_entry("odd", 7, "\x02"), "the bool of odd is 2, expected 0 or 1");
    refuses(with_entry("odd", 9, array_of(7, 2, "\x01\xff")), "the bool of odd is 255, expected 0 or 1");
}

TEST_CASE("an alignment must be an unsigned power of two") {
    constexpr std::string_view expected = "expected a power of two up to 2^20";
    for (const std::uint32_t alignment : {0u, 3u, 33u, 1u << 21, 1u << 31, 0xffffffffu}) {
        GgufBytes w = small();
        w.set("general.alignment", alignment);
        refuses(w, "general.alignment is " + std::to_string(alignment));
        w.tensors.clear();
        refuses(w, expected);
    }
    GgufBytes w = small();
    refuses(w.set("general.alignment", std::uint64_t{1} << 63), expected);
    refuses(w.set<std::int32_t>("general.alignment", 32), "general.alignment is no unsigned number");
    refuses(w.set("general.alignment", "32"), "general.alignment is no unsigned number");
    refuses(w.set("general.alignment", 32.0f), "general.alignment is no unsigned number");
}

TEST_CASE("a tensor name must be 1 to 63 characters without NUL, and must not come twice") {
    refuses(with_tensor({"", {1}, 0, "abcd"}), "the name of tensor 2 has 0 characters, expected 1 to 63");
    refuses(with_tensor({std::string(64, 'n'), {1}, 0, "abcd"}), "has 64 characters, expected 1 to 63");
    refuses(with_tensor({std::string{"a\0b", 3}, {1}, 0, "abcd"}), "none of them NUL");
    refuses(with_tensor({"a", {1}, 0, "abcd"}), "has the tensor a twice");
    const std::string bytes = with_tensor({std::string(63, 'n'), {1}, 0, "abcd"}).bytes();
    CHECK(view(bytes).tensor(std::string(63, 'n')) != nullptr);
}

TEST_CASE("a tensor has 1 to 4 dimensions") {
    for (const std::uint32_t rank : {0u, 5u, 0xffffffffu}) {
        refuses(with_tensor({"c", {1, 1, 1, 1, 1}, 0, "abcd", {}, rank}),
                "tensor c has " + std::to_string(rank) + " dimensions, expected 1 to 4");
    }
}

TEST_CASE("impossible dimensions are refused") {
    refuses(with_tensor({"c", {0}, 0, ""}), "tensor c has dimension 0 of 0, expected");
    refuses(with_tensor({"c", {1, 0}, 0, ""}), "tensor c has dimension 1 of 0, expected");
    refuses(with_tensor({"c", {int64_most, 0}, 0, ""}), "tensor c has dimension 1 of 0, expected");
    refuses(with_tensor({"c", {int64_most + 1}, 0, ""}), "tensor c has dimension 0 of 9223372036854775808");
    refuses(with_tensor({"c", {huge}, 0, ""}), "tensor c has dimension 0 of 18446744073709551615");
}

TEST_CASE("a product that leaves 63 bits is refused") {
    constexpr std::uint64_t two_to_32 = std::uint64_t{1} << 32;
    refuses(with_tensor({"c", {int64_most, 2}, 0, ""}), "tensor c has more than 2^63 - 1 elements");
    refuses(with_tensor({"c", {two_to_32, two_to_32}, 0, ""}), "tensor c has more than 2^63 - 1 elements");
    refuses(with_tensor({"c", {65536, 65536, 65536, 65536}, 0, ""}), "tensor c has more than 2^63 - 1 elements");
    refuses(with_tensor({"c", {std::uint64_t{1} << 62}, 0, ""}), "tensor c takes more than 2^63 - 1 bytes");
    refuses(with_tensor({"c", {std::uint64_t{1} << 61}, 0, ""}), "tensor c takes more than 2^63 - 1 bytes");
    refuses(with_tensor({"c", {int64_most}, 1, ""}), "tensor c takes more than 2^63 - 1 bytes");
}

TEST_CASE("sizes whose sum or padding would wrap are refused") {
    GgufBytes w;
    w.tensors.push_back({"c", {(std::uint64_t{1} << 61) - 1}, 0, "", 0});
    w.tensors.push_back({"d", {(std::uint64_t{1} << 61) - 1}, 0, "", std::uint64_t{1} << 63});
    w.tensors.push_back({"e", {(std::uint64_t{1} << 61) - 1}, 0, "", 0});
    refuses(w, "ends too early: tensor c needs 9223372036854775804 bytes");
    w.tensors[0] = {"c", {int64_most}, 24, "", 0};
    refuses(w, "ends too early: tensor c needs 9223372036854775807 bytes");
}

TEST_CASE("rows must be whole blocks") {
    for (const auto& [type, elements] : {std::pair{2u, 33u}, std::pair{8u, 16u}, std::pair{8u, 33u}, std::pair{12u, 128u}}) {
        refuses(with_tensor({"c", {elements, 32}, type, std::string(4096, 'x')}),
                "tensor c has rows of " + std::to_string(elements));
    }
}

TEST_CASE("unknown and removed tensor types are refused by number") {
    for (const std::uint32_t type : {4u, 5u, 31u, 36u, 1000u, 0xffffffffu}) {
        refuses(with_tensor({"c", {32}, type, std::string(256, 'x')}), "tensor c has type number " + std::to_string(type),
                ErrorCode::unsupported);
    }
}

TEST_CASE("a tensor lies behind the one before it and nowhere else") {
    for (const std::uint64_t offset :
         {std::uint64_t{1}, std::uint64_t{24}, std::uint64_t{0}, std::uint64_t{64}, int64_most, huge, huge - 31}) {
        GgufBytes w = small();
        w.tensor("b").offset = offset;
        refuses(w, "tensor b lies at offset " + std::to_string(offset) + ", expected 32");
    }
    GgufBytes w = small();
    w.tensor("a").offset = 32;
    refuses(w, "tensor a lies at offset 32, expected 0");
}

TEST_CASE("a tensor that is cut short is refused, bytes behind the last one are not") {
    GgufBytes w = small();
    w.tensor("b").data.pop_back();
    refuses(w, "tensor b needs 8 bytes at offset 32 of 39 bytes");
    w = small();
    const std::string bytes = w.bytes() + std::string(77, '\xee');
    CHECK(view(bytes).tensor("b")->data.size() == 8);
}

}  // namespace test_format_gguf_hostile
