// `flashback finetune --share-history`: it learns, does not depend on threads, and refuses what shares nothing.
#include "cli/training.hpp"

#include <filesystem>
#include <string>
#include <vector>

#include <doctest/doctest.h>

namespace test_cli_share_history {

using namespace flashback_test;
using nlohmann::json;

TEST_CASE(
    "finetune --share-history: strides share their text, a run is the same with two threads, and a finished one only writes") {
    const TemporaryFolder folder;
    const std::string model = tiny_model(folder);
    const std::string texts = folder.write("texts.jsonl", documents_to_retrieve(60));
    const auto path = [&](const std::string& name) { return (folder.path() / name).string(); };
    const auto arguments = [&](const std::string& out, std::vector<std::string> more) {
        more.insert(more.begin(), {"--share-history"});
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
        const json single = tool_json(finetune_arguments(model, texts, path("single"), of_layout({"--steps", "1", "--force"})));
        CHECK(found["share_history"] == true);
        CHECK(single["share_history"] == false);
        // Texts grow from 16 to 37 tokens, or from 32 to 55 without passages, in steps of 8.
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
    check_refused_at_last(1, "append.ckpt' is of another run",
                          finetune_arguments(model, texts, path("no"), {"--steps", "12", "--checkpoint", path("append.ckpt")}));
    check_refused(tool(arguments("no", {"--steps", "1", "--layout", "prepend"})), 2,
                  "--share-history needs passages behind the text or beside it, found --layout prepend");
    check_refused(tool(arguments("no", {"--steps", "1", "--context-min", "56", "--context-max", "56"})), 1,
                  "texts of 40 tokens and more, and 27 for head, passages and a stride, do not fit into the window of 64");
    CHECK_FALSE(std::filesystem::exists(path("no")));
}

}  // namespace test_cli_share_history
