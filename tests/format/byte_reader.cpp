#include "flashback/format/byte_reader.hpp"

#include "support/errors.hpp"

#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>

#include <doctest/doctest.h>

using namespace flashback;
using flashback_test::check_error;
using namespace std::string_view_literals;

namespace {

ByteReader reader_of(std::string_view text) { return {std::as_bytes(std::span{text.data(), text.size()}), "some file"}; }

}  // namespace

TEST_CASE("numbers and strings are read front to back") {
    ByteReader reader = reader_of("\x01\x02\x03\0\0\0\0\0\0\0abcd"sv);
    CHECK(reader.number<std::uint16_t>("a number") == 0x201);
    CHECK(reader.string("a string") == "abc");
    CHECK(reader.position() == 13);
    CHECK(reader.left() == 1);
    CHECK(reader.take(1, "the rest").size() == 1);
    CHECK(reader.take(0, "nothing").empty());
}

TEST_CASE("a read beyond the end says where and how much") {
    ByteReader reader = reader_of("abc"sv);
    reader.take(1, "a letter");
    check_error(ErrorCode::format, "'some file' ends too early: a thing at byte 1 needs 4 bytes, but only 2 are left",
                [&] { reader.number<std::uint32_t>("a thing"); });
    CHECK(reader.position() == 1);
    check_error(ErrorCode::format, "18446744073709551615",
                [&] { reader.take(std::numeric_limits<std::uint64_t>::max(), "a thing"); });
    CHECK(reader.position() == 1);
}

TEST_CASE("a string with a length beyond the end is refused") {
    ByteReader reader = reader_of("\xff\xff\xff\xff\xff\xff\xff\xff\x01"sv);
    check_error(ErrorCode::format, "a key at byte 8 needs 18446744073709551615 bytes, but only 1 are left",
                [&] { reader.string("a key"); });
}

TEST_CASE("the sentence of an error has no raw bytes of the file") {
    ByteReader reader = reader_of(""sv);
    check_error(ErrorCode::format, "?[31mkey?", [&] { reader.string("\x1b[31mkey\xff"); });
}
