#include "flashback/core/error.hpp"

#include <set>
#include <stdexcept>
#include <string>
#include <string_view>

#include <doctest/doctest.h>

using namespace flashback;

TEST_CASE("every kind of error has a name of its own") {
    std::set<std::string_view> names;
    for (const ErrorCode code : {ErrorCode::contract, ErrorCode::io, ErrorCode::format, ErrorCode::unsupported,
                                 ErrorCode::vocabulary, ErrorCode::window, ErrorCode::logits, ErrorCode::corpus}) {
        names.insert(to_string(code));
    }
    CHECK(names.size() == 8);
    CHECK_FALSE(names.contains("unknown"));
    static_assert(to_string(ErrorCode::format) == "format");
    CHECK(to_string(static_cast<ErrorCode>(99)) == "unknown");
}

TEST_CASE("a thrown error joins texts and numbers to one sentence") {
    const auto fail = [](std::size_t n) {
        FLASHBACK_THROW(ErrorCode::window, "found ", n, ' ', std::string{"tokens"}, ", wanted ", -1);
    };
    CHECK_THROWS_WITH_AS(fail(3), "found 3 tokens, wanted -1", Error);
    try {
        fail(0);
    } catch (const std::runtime_error& error) {
        CHECK(dynamic_cast<const Error&>(error).code() == ErrorCode::window);
    }
}

TEST_CASE("an assertion throws a contract error only if it does not hold") {
    const auto check = [](bool holds) { FLASHBACK_ASSERT(holds, "the promise ", 1, " was broken"); };
    CHECK_NOTHROW(check(true));
    CHECK_THROWS_WITH_AS(check(false), "the promise 1 was broken", Error);
    try {
        check(false);
    } catch (const Error& error) {
        CHECK(error.code() == ErrorCode::contract);
    }
}

TEST_CASE("a name from a file becomes printable and short") {
    CHECK(printable("blk.0.weight") == "blk.0.weight");
    CHECK(printable("\x1b[31m\n\xff\x7f ~") == "?[31m??? ~");
    CHECK(printable(std::string(80, 'x')) == std::string(80, 'x'));
    CHECK(printable(std::string(81, 'x')) == std::string(80, 'x') + "...");
}
