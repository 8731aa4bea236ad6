// Notes on standard error of generate: what a user may not expect of a layout.
#include "cli/tool.hpp"

#include <string>
#include <vector>

#include <doctest/doctest.h>

namespace test_cli_notes {

using namespace flashback_test;
using nlohmann::json;

constexpr const char* behind = "puts passages behind the text, which a model reads badly if it was not tuned for that";
constexpr const char* unseen = "and saw nothing of the passages beside it";

std::vector<std::string> with(const std::string& corpus, const std::string& prompt, const std::vector<std::string>& more) {
    std::vector<std::string> arguments{"generate", "--corpus",     corpus, "--prompt",
                                       prompt,     "--max-tokens", "20",   "--ignore-eos"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
}

bool says(const Result& result, const std::string& words) {
    CHECK(result.status == 0);
    return result.err.find(words) != std::string::npos;
}

TEST_CASE(
    "generate says that a model must be tuned for passages behind the text, unless it was told of markers or an adapter") {
    const TemporaryFolder folder;
    const std::string corpus = write_corpus(folder);
    using Options = std::vector<std::string>;
    for (const Options& more :
         {Options{}, Options{"--layout", "append", "--repeat", "4"}, Options{"--layout", "sticky"}, Options{"--json"}}) {
        CAPTURE(more.size());
        CHECK(says(tool(with(corpus, compiler_text, more)), behind));
    }
    for (const Options& more :
         {Options{"--layout", "prepend"}, Options{"--layout", "aside"}, Options{"--markers", "on"}, Options{"--passages", "0"}})
        CHECK_FALSE(says(tool(with(corpus, compiler_text, more)), behind));
    CHECK_FALSE(says(tool(with(corpus, "xyzzy", {"--stride", "100"})), behind));
    CHECK_FALSE(says(tool({"generate", "--layout", "none", "--prompt", compiler_text, "--max-tokens", "2"}), behind));
}

TEST_CASE("generate says if a text is too short to see passages beside it, which is so up to its 32nd token") {
    const TemporaryFolder folder;
    const std::string corpus = write_corpus(folder);
    const auto prompt_of = [](std::size_t tokens) {
        std::string prompt = " compiler";
        while (tool_json({"tokenize", "--text", prompt})["tokens"].size() < tokens) prompt += " compiler";
        return prompt;
    };
    const std::size_t each = tool_json({"tokenize", "--text", " compiler compiler"})["tokens"].size() -
                             tool_json({"tokenize", "--text", " compiler"})["tokens"].size();
    REQUIRE(each == 1);
    const auto run = [&](std::size_t tokens, const char* layout) {
        return tool_json(with(corpus, prompt_of(tokens), {"--layout", layout}));
    };
    const json at_32 = run(32, "aside");
    const json at_33 = run(33, "aside");
    REQUIRE(at_32["prompt_tokens"] == 33);
    CHECK(at_32["retrieved"][0]["in_reach"] == 0);
    CHECK(at_33["retrieved"][0]["in_reach"] == 1);
    CHECK_FALSE(run(33, "prepend")["retrieved"][0].contains("in_reach"));
    CHECK(says(
        tool(with(corpus, prompt_of(32), {"--layout", "aside", "--stride", "100"})),
        "flashback: retrieval 1: the text had 32 tokens without BOS, and saw nothing of the passages beside it: its token 33 "
        "sees one token of each, token 34 two"));
    CHECK(says(tool(with(corpus, "A compiler", {"--layout", "aside"})), "flashback: 2 retrievals: the text had up to "));
    CHECK_FALSE(says(tool(with(corpus, prompt_of(33), {"--layout", "aside"})), unseen));
    CHECK_FALSE(says(tool(with(corpus, "A compiler", {"--layout", "prepend"})), unseen));
}

}  // namespace test_cli_notes
