#include "support/golden.hpp"
#include "support/sanitizer.hpp"

#include <string>

#include <doctest/doctest.h>

using namespace flashback_test;

TEST_CASE("The default model has the log-probabilities of a forward pass in double") {
    const std::string long_text =
        "In 1969 Ken Thompson wrote the first version of Unix at Bell Labs in assembly language for a little-used PDP-7. "
        "Dennis Ritchie joined him, and the language C came out of their wish to write the system in something that could "
        "be carried to another machine. A pipe connects the standard output of one program to the standard input of the "
        "next, so that small tools do large work together: sort | uniq -c | sort -rn | head. Some called it a philosophy; "
        "others called it laziness (which is, in a programmer, one of the three great virtues). By 1975 the sixth edition "
        "had reached universities, and John Lions wrote a commentary on its source code, line by line, that was copied "
        "more often than any other book on the subject.";
    check_against_double(FLASHBACK_TEST_MODEL, {"x", "A linked list is 1,024 nodes?\n\n\tNo: naïve."});
    if (!flashback_test::sanitized) check_against_double(FLASHBACK_TEST_MODEL, {long_text});
}

TEST_CASE("The default model says what llama.cpp says") {
    check_against_engine(FLASHBACK_TEST_MODEL, FLASHBACK_TEST_DATA "/flashback-base-5m_expected.json");
}
