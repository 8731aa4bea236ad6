// `flashback ppl`: the JSON that other programs read, and what it refuses.
#include "cli/tool.hpp"

#include <cmath>
#include <set>

using namespace flashback_test;
using nlohmann::json;

namespace {

const std::string two_sentences =
    "A compiler is a program that translates a program into machine code. An operating system shares the "
    "memory of a computer among programs, and the kernel is the part of it that is always in memory.";

}  // namespace

TEST_CASE("ppl: all fields, and the nats that score finds") {
    const TemporaryFolder folder;
    const std::string file = folder.write("text.txt", two_sentences);
    const json found = tool_json({"ppl", "--text", file, "--threads", "1"});
    CHECK(keys(found) == std::set<std::string>{"model", "cache", "tokens", "windows", "window", "stride", "masked",
                                               "nats_per_token", "standard_error", "perplexity", "perplexity_standard_error",
                                               "seconds", "tokens_per_second"});
    CHECK(found["windows"] == 1);
    CHECK(found["window"] == 511);
    CHECK(found["stride"] == 511);
    CHECK(found["masked"] == json({4096, 4097}));
    CHECK(found["perplexity"].get<double>() == doctest::Approx(std::exp(found["nats_per_token"].get<double>())));

    const json scored = tool_json({"score", "--text", two_sentences});
    double total = 0;
    for (std::size_t i = 1; i < scored["logprobs"].size(); ++i) total -= scored["logprobs"][i].get<double>();
    const std::size_t tokens = scored["logprobs"].size() - 1;
    CHECK(found["tokens"] == tokens);
    const json kept = tool_json({"ppl", "--text", file, "--keep-markers"});
    CHECK(kept["masked"].empty());
    CHECK(kept["nats_per_token"].get<double>() == doctest::Approx(total / static_cast<double>(tokens)).epsilon(1e-9));
    CHECK(found["nats_per_token"] < kept["nats_per_token"]);
}

TEST_CASE("ppl: windows, strides, the first tokens, standard input, and any number of threads") {
    const TemporaryFolder folder;
    const std::string file = folder.write("text.txt", two_sentences);
    const json first = tool_json({"ppl", "--text", file, "--window", "10", "--stride", "4", "--tokens", "30"});
    CHECK(first["tokens"] == 30);
    CHECK(first["window"] == 10);
    CHECK(first["stride"] == 4);
    CHECK(first["windows"] == 6);
    json piped = json::parse(
        tool({"ppl", "--text", "-", "--window", "10", "--stride", "4", "--tokens", "30", "--threads", "3", "--json"},
             two_sentences)
            .out);
    for (const char* name : {"nats_per_token", "standard_error", "windows"}) CHECK(piped[name] == first[name]);
    CHECK(tool_json({"ppl", "--text", file, "--window", "10", "--tokens", "30"})["windows"] == 3);
    CHECK(tool_json({"ppl", "--text", file, "--tokens", "1"})["standard_error"].is_null());

    const Result plain = tool({"ppl", "--text", file, "--tokens", "30"});
    CHECK(plain.status == 0);
    CHECK(plain.out.starts_with("perplexity "));
}

TEST_CASE("ppl: against another model") {
    const TemporaryFolder folder;
    const std::string file = folder.write("text.txt", two_sentences);
    const json found = tool_json({"ppl", "--text", file, "--against", FLASHBACK_TEST_MODEL});
    const json& against = found["against"];
    CHECK(keys(against) == std::set<std::string>{"model", "cache", "nats_per_token", "standard_error", "perplexity",
                                                 "perplexity_standard_error", "relative_difference", "top1_agreement",
                                                 "relative_entropy"});
    CHECK(against["model"] == FLASHBACK_TEST_MODEL);
    CHECK(against["nats_per_token"] == found["nats_per_token"]);
    CHECK(against["relative_difference"] == 0);
    CHECK(against["top1_agreement"] == 1);
    CHECK(against["relative_entropy"].get<double>() < 1e-12);
    CHECK(tool({"ppl", "--text", file, "--against", FLASHBACK_TEST_MODEL}).out.find("100.0000 %") != std::string::npos);
}

TEST_CASE("ppl: what makes no sense is refused in words") {
    const TemporaryFolder folder;
    const std::string file = folder.write("text.txt", two_sentences);
    refused(2, "--text is required", {"ppl"});
    refused(2, "--window: found 0, expected a whole number of at least 1", {"ppl", "--text", file, "--window", "0"});
    refused(2, "--stride: found 6, expected at most --window, 5", {"ppl", "--text", file, "--window", "5", "--stride", "6"});
    refused(2, "--tokens: found -1", {"ppl", "--text", file, "--tokens", "-1"});
    refused(1, "nowhere.txt': No such file", {"ppl", "--text", "nowhere.txt"});
    refused(1, "nowhere.gguf': No such file", {"ppl", "--text", file, "--against", "nowhere.gguf"});
    refused(1, "the text '-' is empty, expected some", {"ppl", "--text", "-"});
    refused(1, "windows of 513 tokens with 1 in front need a model that holds 513 positions, found one of 512",
            {"ppl", "--text", file, "--window", "513"});
    refused(1, "cannot begin every 600 tokens", {"ppl", "--text", file, "--stride", "600"});
}
