// `flashback score` with passages beside the text.
#include "cli/tool.hpp"

#include <numeric>
#include <string>
#include <vector>

using namespace flashback_test;
using nlohmann::json;

namespace test_cli_score {

namespace {

const std::string last_sentence =
    "The word was first used by Grace Hopper for a program that joined subroutines, which today would be called a loader.";
const std::string text =
    "A compiler translates a program from one language into another. It reads the source, finds errors, and writes machine "
    "code. "
    "A linker then joins what several runs of the compiler wrote, and a loader puts it into memory. " +
    last_sentence;

std::vector<std::string> with(std::vector<std::string> more) {
    std::vector<std::string> arguments{"score", "--text", text, "--top", "2"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
}

double sum(const json& logprobs, std::size_t from) {
    double total = 0;
    for (std::size_t i = from; i < logprobs.size(); ++i) total += logprobs[i].get<double>();
    return total;
}

}  // namespace

TEST_CASE("score: tokens see the passage from the one that was named, and only what stands far enough in front of them") {
    const json plain = tool_json(with({}));
    CHECK(!plain.contains("seen_from"));
    const json beside = tool_json(with({"--beside", last_sentence}));
    CHECK(beside["seen_from"] == 1);
    CHECK(beside["tokens"] == plain["tokens"]);
    const std::size_t tokens = plain["tokens"].size();
    const std::size_t last = tokens - 25;  // within the last sentence
    REQUIRE(last > 60);
    // Up to position 32 a token sees nothing of a passage that begins at position 1; the last sentence can be read there.
    const auto likeliest = [](const json& found, std::size_t i) { return found["top"][i][0][1].get<double>(); };
    for (std::size_t i = 0; i <= 32; ++i) CHECK(likeliest(beside, i) == doctest::Approx(likeliest(plain, i)).epsilon(1e-4));
    CHECK(likeliest(beside, 34) != doctest::Approx(likeliest(plain, 34)).epsilon(1e-4));
    CHECK(sum(beside["logprobs"], last) > sum(plain["logprobs"], last) + 10);

    const json later = tool_json(with({"--beside", last_sentence, "--seen-from", "60"}));
    CHECK(later["seen_from"] == 60);
    for (std::size_t i = 0; i < 60; ++i) CHECK(later["top"][i] == plain["top"][i]);
    CHECK(later["top"][60] != plain["top"][60]);
    CHECK(sum(later["logprobs"], last) > sum(plain["logprobs"], last) + 10);
}

TEST_CASE("score: several passages, from files too, with and without markers") {
    const TemporaryFolder folder;
    const std::string other = "Grace Hopper was an admiral.";
    const json one = tool_json(with({"--beside", text}));
    const json two = tool_json(with({"--beside", text, "--beside", other}));
    CHECK(two["logprobs"] != one["logprobs"]);
    CHECK(tool_json(with({"--beside", text, "--beside-file", folder.write("other", other)})) == two);
    CHECK(tool_json(with({"--beside", text, "--markers", "off"})) == one);
    const std::string list = "[" + text + ", " + other + "]";  // one text, although it looks like two
    CHECK(tool_json(with({"--beside", list})) == tool_json(with({"--beside-file", folder.write("list", list)})));
    CHECK(tool_json(with({"--beside", text, "--markers", "on"}))["logprobs"] != one["logprobs"]);
}

TEST_CASE("score: what makes no sense beside a text is refused in words") {
    refused(2, "--seen-from needs --beside or --beside-file", with({"--seen-from", "3"}));
    refused(2, "--markers needs --beside or --beside-file", with({"--markers", "on"}));
    refused(1, "a passage for --beside is empty", with({"--beside", ""}));
    for (const char* wrong : {"0", "5000"}) {
        refused(
            1,
            "token " + std::string{wrong} + " was to be the first that sees passages, expected a text that begins with the 1",
            with({"--beside", "x", "--seen-from", wrong}));
    }
    refused(1, "was to be the first that sees passages", {"score", "--tokens", "5,6,7", "--beside", "x"});
    refused(1, "nowhere.txt", with({"--beside-file", "nowhere.txt"}));
}

}  // namespace test_cli_score
