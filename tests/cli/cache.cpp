// --cache: every command that evaluates a model says what keys and values are rounded to, and rounds them so.
#include "cli/tool.hpp"

#include <cmath>

using namespace flashback_test;
using nlohmann::json;

namespace {

/// A short call of each command that evaluates a model.
std::vector<std::vector<std::string>> commands(const std::string& file) {
    return {{"generate", "--layout", "none", "--prompt", compiler_text, "--max-tokens", "2"},
            {"score", "--text", compiler_text},
            {"ppl", "--text", file},
            {"bench", "--mode", "decode", "--context", "3", "--steps", "2", "--repetitions", "1", "--peak-memory", "4"}};
}

json cache_of(const json& found) { return found.contains("runs") ? found["runs"][0]["cache"] : found["cache"]; }

}  // namespace

TEST_CASE("--cache: JSON names the element, also the one that is usual for the weights") {
    const TemporaryFolder folder;
    const std::string file = folder.write("text.txt", compiler_text);
    const std::string q8 = (folder.path() / "q8.gguf").string();
    REQUIRE(tool({"quantize", FLASHBACK_TEST_MODEL, q8, "--dtype", "q8_0"}).status == 0);
    for (const auto& command : commands(file)) {
        CAPTURE(command[0]);
        const auto with = [&](const std::vector<std::string>& more) {
            std::vector<std::string> all = command;
            all.insert(all.end(), more.begin(), more.end());
            return all;
        };
        CHECK(cache_of(tool_json(command)) == "F32");
        CHECK(cache_of(tool_json(with({"--model", q8}))) == "F16");
        CHECK(cache_of(tool_json(with({"--cache", "bf16"}))) == "BF16");
        CHECK(cache_of(tool_json(with({"--cache", "F16"}))) == "F16");  // as JSON writes it
        CHECK(cache_of(tool_json(with({"--cache", "i8"}))) == "I8");
        CHECK(cache_of(tool_json(with({"--model", q8, "--cache", "f32"}))) == "F32");
        check_refused(tool(with({"--cache", "q8_0"})), 2, "--cache: q8_0 not in {f32,f16,bf16,i8}");
        check_refused(tool(with({"--cache", ""})), 2, "--cache");
    }
    check_refused(tool({"bench", "--mode", "machine", "--cache", "f16"}), 2, "--cache: --mode machine does not read it");
    const json both = tool_json({"ppl", "--text", file, "--against", q8});
    CHECK(both["cache"] == "F32");
    CHECK(both["against"]["cache"] == "F16");
    CHECK(tool_json({"ppl", "--text", file, "--against", q8, "--cache", "bf16"})["against"]["cache"] == "BF16");
}

TEST_CASE("--cache: a cache with fewer bits gives another score, but nearly the same") {
    const auto logprobs = [](const std::string& cache) {
        return tool_json({"score", "--text", compiler_text, "--cache", cache})["logprobs"].get<std::vector<json>>();
    };
    const auto f32 = logprobs("f32");
    // Each key and value is off by at most 2^-11 or 2^-8 of itself, and so are a head's scores and what it gives.
    for (const auto& [name, most] : {std::pair{"f16", 0x1p-11}, std::pair{"bf16", 0x1p-8}}) {
        const std::string cache = name;  // CAPTURE takes no structured binding
        CAPTURE(cache);
        const auto rounded = logprobs(cache);
        REQUIRE(rounded.size() == f32.size());
        double difference = 0;
        for (std::size_t i = 1; i < f32.size(); ++i)
            difference = std::max(difference, std::abs(rounded[i].get<double>() - f32[i].get<double>()));
        CHECK(difference > 0);
        CHECK(difference < 20 * most);  // logits reach some 20
    }
}
