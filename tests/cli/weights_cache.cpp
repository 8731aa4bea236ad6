// --weights-cache: every command that runs a model keeps its repacked weights, takes them again, and prints the same.
#include "cli/tool.hpp"

namespace test_cli_weights_cache {

using namespace flashback_test;
using nlohmann::json;

namespace {

struct Model {
    TemporaryFolder folder;
    std::string text = folder.write("text.txt", compiler_text + compiler_text + compiler_text + compiler_text);
    std::string path = folder.write("model.gguf", read_file(FLASHBACK_TEST_MODEL));
    std::string beside = path + ".weights";

    std::vector<std::vector<std::string>> commands() const {
        return {{"generate", "--layout", "none", "--prompt", compiler_text, "--max-tokens", "3", "--json", "--model", path},
                {"score", "--text", compiler_text, "--json", "--model", path},
                {"ppl", "--text", text, "--window", "20", "--tokens", "40", "--model", path},
                {"ppl", "--text",    text, "--corpus", text, "--layout",         "append", "--strides", "2",       "--init",
                 "24",  "--context", "20", "--hold",   "16", "--passage-tokens", "8",      "--json",    "--model", path}};
    }
};

Result with(std::vector<std::string> command, const std::vector<std::string>& more) {
    command.insert(command.end(), more.begin(), more.end());
    return tool(command);
}

}  // namespace

TEST_CASE(
    "--weights-cache: the first run writes the file and says so, the next ones say nothing, and the results are the same") {
    const Model model;
    for (const auto& command : model.commands()) {
        CAPTURE(command[0]);
        std::filesystem::remove(model.beside);
        const Result without = tool(command);
        REQUIRE_MESSAGE(without.status == 0, without.err);
        const Result first = with(command, {"--weights-cache", "beside"});
        CHECK(first.status == 0);
        CHECK_MESSAGE(first.err.find("model.gguf.weights' was written with the repacked weights of") != first.err.npos,
                      first.err);
        REQUIRE(std::filesystem::exists(model.beside));
        const auto written = std::filesystem::last_write_time(model.beside);
        const std::vector<std::string> verified{"--weights-cache", model.beside, "--verify-weights-cache"};
        for (const auto& more : {std::vector<std::string>{"--weights-cache", "beside"}, verified}) {
            const Result again = with(command, more);
            CHECK(again.status == 0);
            CHECK_MESSAGE(again.err.find("weights") == again.err.npos, again.err);
            if (command[0] == "generate") {  // its times differ
                CHECK(json::parse(again.out)["tokens"] == json::parse(without.out)["tokens"]);
            } else if (command[0] == "score") {
                CHECK(again.out == without.out);
            }
        }
        CHECK(std::filesystem::last_write_time(model.beside) == written);
    }
    const Result bench = tool({"bench", "--mode", "decode", "--context", "3", "--steps", "2", "--repetitions", "1",
                               "--peak-memory", "4", "--model", model.path, "--weights-cache", "beside"});
    CHECK(bench.status == 0);
    CHECK_MESSAGE(bench.err.find("weights") == bench.err.npos, bench.err);
}

TEST_CASE("--weights-cache: a damaged file is said and written anew, and what has no such file is refused") {
    const Model model;
    const std::vector<std::string> score{"score", "--text", compiler_text, "--model", model.path, "--weights-cache", "beside"};
    REQUIRE(tool(score).status == 0);
    std::filesystem::resize_file(model.beside, 1000);
    const Result mended = tool(score);
    CHECK(mended.status == 0);
    CHECK_MESSAGE(mended.err.find("is damaged") != mended.err.npos, mended.err);
    CHECK(tool(score).err.empty());
    check_refused(tool({"score", "--text", compiler_text, "--weights-cache", "beside"}), 1,
                  "is in memory, and repacked weights are cached for models in files");
    check_refused(tool({"score", "--text", compiler_text, "--verify-weights-cache"}), 2, "--weights-cache");
    check_refused(tool({"bench", "--mode", "machine", "--weights-cache", "beside"}), 2, "--mode machine does not read it");
    check_refused(tool({"bench", "--shape", "gpt2:f32", "--weights-cache", "x"}), 2, "--weights-cache excludes --shape");
    const std::string page = (model.folder.path() / "weights.json").string();
    const std::vector<std::string> generate{"generate", "--layout", "none",     "--prompt",        "a", "--max-tokens",
                                            "1",        "--model",  model.path, "--weights-cache", page};
    CHECK(tool(generate).status == 0);
    const Result trace = with(generate, {"--trace", page});
    check_refused(trace, 1, "--weights-cache");
}

}  // namespace test_cli_weights_cache
