#include "support/golden.hpp"
#include "support/shared.hpp"

#include <filesystem>
#include <string>

#include <doctest/doctest.h>

using namespace flashback_test;

TEST_CASE("stories260K has the log-probabilities of a forward pass in double") {
    const std::filesystem::path model = shared("models/stories260K.gguf");
    if (model.empty()) return;
    std::string story;
    for (int i = 0; i < 8; ++i) story += "Once upon a time, there was a little girl named Lily. She loved to play outside. ";
    check_against_double(model, {"One day", story});
}

TEST_CASE("stories260K says what llama.cpp says") {
    const std::filesystem::path model = shared("models/stories260K.gguf");
    if (model.empty()) return;
    check_against_engine(model, shared("reference/stories260K_expected.json"));
}

TEST_CASE("the bootstrap of the default model says what llama.cpp says") {
    const std::filesystem::path model = shared("models/flashback-base-5m.gguf");
    if (model.empty()) return;
    check_against_engine(model, shared("reference/flashback-base-5m_expected.json"));
}
