// `flashback finetune` with strides that share a text, its default: it learns, does not depend on threads, has steps of as many strides as
// --batch says, and refuses what shares nothing.
#include "cli/training.hpp"

#include <filesystem>
#include <string>
#include <vector>

#include <doctest/doctest.h>

namespace test_cli_share_history {

using namespace flashback_test;
using nlohmann::json;

TEST_CASE("finetune: strides share their text, a run is the same with two threads, and a finished one only writes") {
    const TemporaryFolder folder;
    const std::string model = tiny_model(folder);
    const std::string texts = folder.write("texts.jsonl", documents_to_retrieve(60));
    const auto path = [&](const std::string& name) { return (folder.path() / name).string(); };
    const auto arguments = [&](const std::string& out, std::vector<std::string> more) {
        return finetune_arguments(model, texts, path(out), more);
    };
    const auto numbers = [&](const std::string& out) { return read_file(path(out) + "/adapter_model.safetensors"); };
    for (const char* layout : {"append", "aside", "none"}) {
        CAPTURE(layout);
        const std::string name{layout};
        const auto of_layout = [&](std::vector<std::string> more) {
            more.insert(more.begin(), {"--layout", name});
            if (name == "none") more.insert(more.end(), {"--markers", "off"});
            return more;
        };
        const json found = tool_json(arguments(name, of_layout({"--steps", "12", "--checkpoint", path(name + ".ckpt")})));
        const json single = tool_json(
            finetune_arguments(model, texts, path("single"), of_layout({"--steps", "1", "--no-share-history", "--force"})));
        CHECK(found["share_history"] == true);
        CHECK(found["batch"] == 3);
        CHECK(found["strides_of_text"] == 3);
        CHECK(single["share_history"] == false);
        CHECK(single["batch"] == 3);
        CHECK(single["strides_of_text"] == 1);
        // Texts have 16 to 37 tokens, or 32 to 55 without passages, and grow in steps of 8.
        CHECK(found["examples"] == (single["examples"].get<std::size_t>() + 2) / 3);
        CHECK(found["loss"] < single["loss"]);
        static_cast<void>(tool_json(arguments("two", of_layout({"--steps", "12", "--threads", "1", "--force"}))));
        CHECK(numbers("two") == numbers(name));
        // All steps are in the checkpoint, so the same command only writes.
        const json again =
            tool_json(arguments("again", of_layout({"--steps", "12", "--force", "--checkpoint", path(name + ".ckpt")})));
        CHECK(again["resumed_from"] == 12);
        CHECK(numbers("again") == numbers(name));
    }
    const auto other = [&](std::vector<std::string> more) {
        more.insert(more.end(), {"--steps", "12", "--checkpoint", path("append.ckpt")});
        return arguments("no", more);
    };
    check_refused_at_last(1, "append.ckpt' is of another run: its share-history is 3, but now it is absent",
                          other({"--no-share-history"}));
    check_refused_at_last(1, "append.ckpt' is of another run: its share-history is 3, but now it is 2",
                          other({"--batch", "4"}));
    CHECK(tool_json(arguments("prepend", {"--steps", "1", "--layout", "prepend"}))["share_history"] == false);
    check_refused(tool(arguments("no", {"--steps", "1", "--layout", "prepend", "--share-history"})), 2,
                  "--share-history needs passages behind the text or beside it, found --layout prepend");
    check_refused_at_last(1, "a window of 64 tokens leaves no room for text beside 65 of head, passages and a stride",
                          arguments("no", {"--steps", "1", "--context-min", "55", "--passage-tokens", "54"}));
    CHECK_FALSE(std::filesystem::exists(path("no")));
}

TEST_CASE("finetune: a step has about as many strides as --batch says, of up to four texts") {
    const TemporaryFolder folder;
    const std::string model = tiny_model(folder);
    const std::string texts = folder.write("texts.jsonl", documents_to_retrieve(60));
    const std::string out = (folder.path() / "adapter").string();
    struct Case {
        const char* batch;
        const char* context_min;
        int strides, strides_of_text;
    };
    // Texts of 1 to 37 tokens fit 5 strides of 8, of 16 to 37 tokens 3, and of 37 tokens 1.
    for (const Case& one :
         {Case{"1", "17", 1, 1}, Case{"2", "17", 2, 2}, Case{"4", "17", 4, 2}, Case{"8", "17", 8, 2}, Case{"13", "17", 12, 3},
          Case{"16", "17", 16, 4}, Case{"16", "32", 15, 3}, Case{"60", "17", 60, 5}, Case{"5", "55", 5, 1}}) {
        CAPTURE(one.batch);
        CAPTURE(one.context_min);
        const auto arguments = finetune_arguments(
            model, texts, out, {"--steps", "2", "--batch", one.batch, "--context-min", one.context_min, "--json", "--force"});
        const Result found = tool(arguments);
        REQUIRE(found.status == 0);
        const json its = json::parse(found.out);
        CHECK(its["batch"] == one.strides);
        CHECK(its["strides_of_text"] == one.strides_of_text);
        const std::string shared =
            one.strides_of_text > 1 ? ", of which each " + std::to_string(one.strides_of_text) + " share a text," : "";
        CHECK(found.err.find("2 steps of " + std::to_string(one.strides) + shared + " are ") != found.err.npos);
        const bool told = found.err.find("--batch " + std::string{one.batch} + " became ") != found.err.npos;
        CHECK(told == (std::to_string(one.strides) != one.batch));
    }
}

}  // namespace test_cli_share_history
