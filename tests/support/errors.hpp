/// \file Checks of errors: their kind and a part of their sentence.
#pragma once

#include "flashback/core/error.hpp"

#include <algorithm>
#include <string_view>

#include <doctest/doctest.h>

namespace flashback_test {

/// Checks that `work()` throws an Error of this kind whose sentence has this part and nothing but printable ASCII.
template <class Work>
void check_error(flashback::ErrorCode code, std::string_view part, Work&& work) {
    CAPTURE(part);
    try {
        work();
    } catch (const flashback::Error& error) {
        const std::string_view sentence = error.what();
        CHECK_MESSAGE(sentence.find(part) != sentence.npos, sentence);
        CHECK_MESSAGE(flashback::to_string(error.code()) == flashback::to_string(code), sentence);
        CHECK_MESSAGE(std::ranges::all_of(sentence, [](char c) { return c >= 32 && c < 127; }), sentence);
        return;
    }
    FAIL_CHECK("nothing was thrown");
}

}  // namespace flashback_test
