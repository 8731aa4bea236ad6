// `flashback finetune`: it learns, writes an adapter that the other commands take, and what it refuses.
#include "cli/training.hpp"

#include <algorithm>
#include <filesystem>
#include <set>
#include <sstream>

using namespace flashback_test;
using nlohmann::json;

namespace {

/// The same without --rank, which goes with a LoRA only.
std::vector<std::string> without_rank(std::vector<std::string> arguments) {
    const auto rank = std::ranges::find(arguments, "--rank");
    arguments.erase(rank, rank + 2);
    return arguments;
}

/// The last column of the last row of a log.
std::string row_of_last(const std::string& log) {
    const std::string rows = read_file(log);
    return rows.substr(rows.rfind(',') + 1);
}

}  // namespace

TEST_CASE("finetune: the loss falls, and ppl measures with the adapter what the run measured") {
    const FinetuneWorld w;
    const std::string valid = w.folder.write("valid.jsonl", documents_to_retrieve(9));
    const json found = w.run("adapter", {"--steps", "40", "--valid", valid, "--valid-strides", "20", "--valid-every", "15",
                                         "--log", w.path("log.csv")});
    CHECK(keys(found) == std::set<std::string>{"adapter", "trained_model", "model", "layout", "repeat", "markers", "parameters",
                                               "examples", "share_history", "batch", "strides_of_text", "steps", "resumed_from",
                                               "loss", "seconds", "tokens_per_second", "valid"});
    CHECK(found["adapter"] == w.path("adapter"));
    CHECK(found["trained_model"].is_null());
    CHECK(found["markers"] == "on");
    CHECK(found["layout"] == "append");
    CHECK(found["parameters"] == 2 * 32 + 2 * (32 * 4 + 4 * 32));  // two rows; A and B of q and v
    CHECK(found["steps"] == 40);
    CHECK(found["valid"]["strides"] == 20);
    CHECK(found["valid"]["tokens"] == 160);

    std::istringstream rows{read_file(w.path("log.csv"))};
    std::vector<double> losses;
    std::size_t validated = 0;
    std::string row;
    std::getline(rows, row);
    while (std::getline(rows, row)) {
        losses.push_back(std::stod(row.substr(row.find(',') + 1)));
        validated += row.ends_with(',') ? 0u : 1u;
    }
    REQUIRE(losses.size() == 40);
    CHECK(validated == 3);  // after steps 15 and 30, and at the end
    CHECK(std::stod(row_of_last(w.path("log.csv"))) == doctest::Approx(found["valid"]["nats_per_token"].get<double>()));
    double first = 0;
    double last = 0;
    for (std::size_t i = 0; i < 10; ++i) {
        first += losses[i];
        last += losses[30 + i];
    }
    CHECK(last < first - 10 * 0.5);
    CHECK(found["loss"].get<double>() == doctest::Approx(losses.back()).epsilon(1e-6));

    const std::vector<std::string> ppl{"ppl",   "--model",        w.model, "--text",   valid,   "--corpus",
                                       w.texts, "--query-tokens", "12",    "--stride", "8",     "--passage-tokens",
                                       "16",    "--strides",      "20",    "--layout", "append"};
    auto tuned = ppl;
    tuned.insert(tuned.end(), {"--adapter", w.path("adapter")});
    const json with = tool_json(tuned);
    CHECK(with["markers"] == true);  // auto: the adapter has the rows
    CHECK(with["nats_per_token"] == found["valid"]["nats_per_token"]);
    CHECK(with["standard_error"] == found["valid"]["standard_error"]);
    CHECK(with["nats_per_token"].get<double>() < tool_json(ppl)["nats_per_token"].get<double>() - 0.3);
    const json inspected = tool_json({"inspect", "--model", w.model, "--adapter", w.path("adapter")});
    CHECK(inspected["replaced_rows"] == json{4096, 4097});
}

TEST_CASE("finetune: what trains is what was asked for, and says so in the files") {
    const FinetuneWorld w;
    w.run("on", {"--steps", "3"});
    w.run("fixed", {"--steps", "3", "--markers", "fixed"});
    w.run("off", {"--steps", "3", "--markers", "off"});
    w.run("prepend", {"--steps", "3", "--layout", "prepend"});
    const json none = tool_json({"finetune", "--model", w.model,   "--train",   w.texts,  "--layout", "none",
                                 "--stride", "8",       "--steps", "3",         "--rank", "4",        "--batch",
                                 "3",        "--lr",    "0.01",    "--threads", "2",      "--out",    w.path("none")});
    CHECK(none["markers"] == "off");
    CHECK(adapter_config(w.path("on"))["trainable_token_indices"] == json{4096, 4097});
    for (const char* name : {"fixed", "off", "none"}) CHECK(adapter_config(w.path(name))["trainable_token_indices"].is_null());
    const std::vector<std::string> all{"on", "fixed", "off", "prepend", "none"};
    std::set<std::string> different;
    for (const std::string& name : all) {
        CHECK(adapter_config(w.path(name))["target_modules"] == json{"q_proj", "v_proj"});
        CHECK(adapter_config(w.path(name))["r"] == 4);
        CHECK(adapter_config(w.path(name))["lora_alpha"] == 32);
        CHECK(adapter_config(w.path(name))["lora_dropout"] == 0.05);
        different.insert(adapter_numbers(w.path(name)));
    }
    CHECK(different.size() == all.size());

    w.run("other", {"--steps", "3", "--lora-targets", "k,v,down", "--rank", "2", "--alpha", "8", "--dropout", "0"});
    CHECK(adapter_config(w.path("other"))["target_modules"] == json{"k_proj", "v_proj", "down_proj"});
    CHECK(adapter_config(w.path("other"))["r"] == 2);
    CHECK(adapter_config(w.path("other"))["lora_alpha"] == 8);
    CHECK(adapter_config(w.path("other"))["lora_dropout"] == 0);
    CHECK(tool_json(without_rank(w.arguments("rows", {"--steps", "3", "--lora-targets", "none"})))["parameters"] == 64);
    // The first stride begins behind the longest context instead of a window of 64.
    const auto examples = [&](const std::string& out, std::vector<std::string> more) {
        more.insert(more.end(), {"--steps", "3", "--no-share-history"});
        return w.run(out, more)["examples"].get<int>();
    };
    const int more = examples("contexts", {"--context-min", "40", "--context-max", "41"}) - examples("single", {});
    w.run("again", {"--steps", "3", "--threads", "1"});
    CHECK(more >= 2);
    CHECK(more <= 3);
    CHECK(adapter_numbers(w.path("again")) == adapter_numbers(w.path("on")));  // of another number of threads
    CHECK(adapter_numbers(w.path("contexts")) != adapter_numbers(w.path("single")));
    CHECK(adapter_numbers(w.path("single")) != adapter_numbers(w.path("on")));
}

TEST_CASE("finetune --context-max: training and validation begin behind the longest context") {
    const FinetuneWorld w;
    const std::string valid = w.folder.write("valid.jsonl", documents_to_retrieve(9));
    const json found = w.run("short", {"--steps", "2", "--context-max", "40", "--valid", valid, "--valid-strides", "6"});
    const std::vector<std::string> ppl{"ppl",
                                       "--model",
                                       w.model,
                                       "--adapter",
                                       w.path("short"),
                                       "--text",
                                       valid,
                                       "--corpus",
                                       w.texts,
                                       "--query-tokens",
                                       "12",
                                       "--stride",
                                       "8",
                                       "--passage-tokens",
                                       "16",
                                       "--strides",
                                       "6",
                                       "--layout",
                                       "append"};
    const auto with = [&](const std::vector<std::string>& more) {
        auto all = ppl;
        all.insert(all.end(), more.begin(), more.end());
        return tool_json(all)["nats_per_token"];
    };
    CHECK(found["valid"]["nats_per_token"] == with({"--init", "40", "--context", "24"}));
    CHECK(found["valid"]["nats_per_token"] != with({}));
}

TEST_CASE("finetune: it goes on from an adapter, and trains on top of quantised weights") {
    const FinetuneWorld w;
    w.run("first", {"--steps", "30"});
    const auto loss_of_first_step = [&](const std::string& out, const std::vector<std::string>& more) {
        auto all = more;
        all.insert(all.end(), {"--steps", "1", "--dropout", "0"});
        return w.run(out, all)["loss"].get<double>();
    };
    const double fresh = loss_of_first_step("fresh", {});
    const double second = loss_of_first_step("second", {"--adapter", w.path("first")});
    CHECK(second < fresh - 0.3);
    // The rate of the first step is 0: an adapter is written as it was read.
    CHECK(adapter_numbers(w.path("second")) == adapter_numbers(w.path("first")));
    check_refused_at_last(1, "the adapter has a LoRA of rank 4 for model.layers.0.self_attn.q_proj, but one of rank 2 trains",
                          w.arguments("no", {"--steps", "1", "--adapter", w.path("first"), "--rank", "2"}));
    check_refused_at_last(1, "replaces 2 embedding rows, which are not the 0 that train",
                          w.arguments("no", {"--steps", "1", "--adapter", w.path("first"), "--markers", "fixed"}));

    const std::string small = w.path("small.gguf");
    REQUIRE(tool({"quantize", w.model, small, "--dtype", "q8_0"}).status == 0);
    CHECK(loss_of_first_step("quantised", {"--model", small}) == doctest::Approx(fresh).epsilon(0.01));
}

TEST_CASE("finetune --all-params: a whole model learns, and is a file that every command takes") {
    const FinetuneWorld w;
    const std::string valid = w.folder.write("valid.jsonl", documents_to_retrieve(9));
    const auto arguments = [&](const std::string& out, const std::vector<std::string>& more) {
        auto all = without_rank(w.arguments(out, more));
        all.insert(all.end(), {"--all-params", "--valid", valid, "--valid-strides", "6"});
        return all;
    };
    const json found = tool_json(arguments("whole.gguf", {"--steps", "12", "--dtype", "f32"}));
    CHECK(found["adapter"].is_null());
    CHECK(found["trained_model"] == w.path("whole.gguf"));
    CHECK(found["markers"] == "on");
    CHECK(found["parameters"] == tool_json({"inspect", "--model", w.model})["weights"]["weights"]);

    const auto ppl = [&](const std::string& model) {
        return tool_json({"ppl", "--model", model, "--text", valid, "--corpus", w.texts, "--query-tokens", "12", "--stride",
                          "8", "--passage-tokens", "16", "--strides", "6", "--layout", "append", "--markers", "on"});
    };
    const json after = ppl(w.path("whole.gguf"));
    CHECK(after["nats_per_token"] == found["valid"]["nats_per_token"]);
    CHECK(after["nats_per_token"].get<double>() < ppl(w.model)["nats_per_token"].get<double>() - 0.3);

    // The same in other threads, and as half the bytes.
    tool_json(arguments("again.gguf", {"--steps", "12", "--dtype", "f32", "--threads", "1"}));
    CHECK(tool_json({"inspect", "--model", w.path("again.gguf")})["fingerprint"] ==
          tool_json({"inspect", "--model", w.path("whole.gguf")})["fingerprint"]);
    tool_json(arguments("half.gguf", {"--steps", "1"}));
    CHECK(tool_json({"inspect", "--model", w.path("half.gguf")})["weights"]["types"].contains("F16"));

    const auto refused = [&](int status, const std::string& words, const std::vector<std::string>& more) {
        check_refused_at_last(status, words, arguments("no.gguf", more));
        CHECK_FALSE(std::filesystem::exists(w.path("no.gguf")));
    };
    refused(2, "--lora-targets belongs to an adapter, found --all-params, which makes none", {"--lora-targets", "q"});
    refused(2, "--adapter belongs to an adapter, found --all-params", {"--adapter", w.path("adapter")});
    auto ranked = arguments("no.gguf", {});
    ranked.insert(ranked.end(), {"--rank", "4"});
    check_refused_at_last(2, "--rank belongs to a LoRA, found --all-params", ranked);
    refused(2, "--markers fixed would train with --all-params, expected on or off", {"--markers", "fixed"});
    refused(2, "--dtype", {"--dtype", "q8_0"});
    check_refused_at_last(2, "--dtype requires --all-params", w.arguments("no", {"--dtype", "f32"}));
    check_refused_at_last(1, "exists already; --force replaces it", arguments("whole.gguf", {"--steps", "1"}));
    check_refused_at_last(1, "it exists and is a folder", arguments("", {"--steps", "1", "--force"}));
    check_refused_at_last(1, "is what --model reads, expected another file to write", arguments("tiny.gguf", {"--force"}));
}

TEST_CASE("finetune: passages are found once, whatever the layout and the markers") {
    const FinetuneWorld w;
    const std::string cache = w.path("examples");
    const std::string alone = "--no-share-history";  // so that the strides of prepend are those of the others
    w.run("plain", {"--steps", "3", alone});
    w.run("first", {"--steps", "3", alone, "--examples-cache", cache});
    const std::string bytes = read_file(cache);
    CHECK(adapter_numbers(w.path("first")) == adapter_numbers(w.path("plain")));
    const auto written = std::filesystem::last_write_time(cache);
    w.run("second", {"--steps", "3", alone, "--examples-cache", cache});
    w.run("prepend", {"--steps", "3", "--examples-cache", cache, "--layout", "prepend", "--markers", "off"});
    w.run("none", {"--steps", "3", alone, "--examples-cache", cache, "--layout", "none"});
    CHECK(std::filesystem::last_write_time(cache) == written);
    CHECK(adapter_numbers(w.path("second")) == adapter_numbers(w.path("plain")));

    const Result other = tool(w.arguments("third", {"--steps", "3", alone, "--examples-cache", cache, "--query-tokens", "5"}));
    CHECK(other.status == 0);
    CHECK(other.err.find("was made of another text, another corpus or with other options; it is made anew") != other.err.npos);
    w.folder.write("examples", bytes.substr(0, bytes.size() / 2));
    CHECK(tool(w.arguments("fourth", {"--steps", "3", alone, "--examples-cache", cache})).status == 0);
    CHECK(read_file(cache) == bytes);
    CHECK(adapter_numbers(w.path("fourth")) == adapter_numbers(w.path("plain")));
    const std::string others = w.folder.write("others.jsonl", documents_to_retrieve(9));
    check_refused_at_last(1, "is no file of retrieved strides",
                          w.arguments("no", {"--steps", "3", "--examples-cache", others}));
    CHECK(read_file(others) == documents_to_retrieve(9));
}

TEST_CASE("finetune: what makes no sense is refused in words, and writes nothing") {
    const FinetuneWorld w;
    const auto refused = [&](int status, const std::string& words, std::vector<std::string> more) {
        more.insert(more.end(), {"--steps", "4"});
        check_refused_at_last(status, words, w.arguments("no", more));
        CHECK_FALSE(std::filesystem::exists(w.path("no")));
    };
    for (const char* rate : {"1e10", "1e18", "1e30"}) {
        refused(1, "expected numbers: the learning rate may be too high",
                {"--lr", rate, "--clip", "0", "--decay", "constant", "--warmup-ratio", "0"});
    }
    refused(1, "holds no text", {"--train", w.folder.write("empty.txt", "\n")});
    refused(1, "tokens, expected at least 64, a window, and a stride of 8",
            {"--train", w.folder.write("short.txt", "A kernel.")});
    refused(1, "stride of 8: give --valid a longer text, or a shorter --context-max",
            {"--valid", w.folder.write("short.txt", "A kernel.")});
    std::string words;
    for (int i = 0; i < 100; ++i) words += "kernel " + std::to_string(i * i) + ' ';
    const std::string one = w.folder.write("one.jsonl", json{{"_id", "one"}, {"text", words}}.dump());
    refused(1, "has no passage for any stride", {"--corpus", one, "--train", one});
    refused(1, "none.jsonl' holds no ", {"--corpus", w.folder.write("none.jsonl", "\n")});
    refused(1, "nowhere.jsonl': No such file", {"--train", "nowhere.jsonl"});
    refused(1, "nowhere.jsonl': No such file", {"--corpus", "nowhere.jsonl"});
    refused(1, "nowhere/adapter_config.json': No such file", {"--adapter", "nowhere"});
    refused(1, "passages of up to 32 tokens leave no text of contexts of 32 and more", {"--passages", "2"});
    refused(1, "contexts have 40 to 30 tokens", {"--context-min", "40", "--context-max", "30"});
    refused(1, "expected ascending numbers up to the 56 that a stride leaves", {"--context-max", "57"});
    refused(1, "a window of 64 tokens is too short for examples with strides of 40", {"--stride", "40"});
    refused(1, "there is no folder", {"--checkpoint", "/nowhere/run.ckpt"});
    refused(1, "there is no folder", {"--examples-cache", "/nowhere/examples"});
    refused(2, "--markers on needs passages to stand around, found --layout none", {"--markers", "on", "--layout", "none"});
    refused(2, "nothing trains", {"--markers", "fixed", "--lora-targets", "none"});
    refused(2, "--lora-targets: found none beside other names", {"--lora-targets", "q,none"});
    refused(2, "--lora-targets", {"--lora-targets", "w"});
    refused(2, "--dropout", {"--dropout", "1"});
    for (const char* none : {"0", "-1", "1e-300", "nan"})
        refused(2, "--alpha: found " + std::string{none} + ", expected a number above 0, up to 1e+06", {"--alpha", none});
    refused(2, "--rank belongs to a LoRA, found --lora-targets none", {"--lora-targets", "none"});
    refused(2, "--valid-every requires --valid", {"--valid-every", "2"});
    refused(2, "--valid-strides requires --valid", {"--valid-strides", "2"});
    refused(2, "--out and --log are both", {"--log", w.path("no")});
    refused(2, "--out and --checkpoint are both", {"--checkpoint", w.path("deep/../no/")});
    refused(2, "--examples-cache and --log are both", {"--log", w.path("same"), "--examples-cache", w.path("./same")});
    refused(2, "--log and --checkpoint are both", {"--log", w.path("no.checkpoint")});
    refused(2, "--checkpoint-every needs a checkpoint, found --checkpoint none",
            {"--checkpoint", "none", "--checkpoint-every", "3"});
    CHECK_FALSE(std::filesystem::exists(w.path("no.checkpoint.lock")));
    check_refused(tool({"finetune", "--train", w.texts, "--out", w.path("no")}), 2,
                  "finetune needs --corpus, or --layout none");

    // A vocabulary whose tokens have other names.
    std::string bytes = read_file(w.model);
    bytes.replace(bytes.find("<MARK_L>"), 8, "<OTHER_>");
    refused(
        1, "has no control tokens <MARK_L> and <MARK_R> to stand around passages; expected them, or two others as --marker-ids",
        {"--model", w.folder.write("other.gguf", bytes)});

    w.run("old", {"--steps", "2"});
    const std::string old = adapter_numbers(w.path("old"));
    check_refused_at_last(1, "holds an adapter already; --force replaces it", w.arguments("old", {"--steps", "4"}));
    CHECK(adapter_numbers(w.path("old")) == old);
    auto force = w.arguments("old", {"--steps", "4"});
    force.emplace_back("--force");
    CHECK(tool(force).status == 0);
    CHECK(adapter_numbers(w.path("old")) != old);
    check_refused_at_last(1, "exists and is not a folder", w.arguments("texts.jsonl", {"--steps", "4"}));
    check_refused_at_last(1, "exists and is not a folder", w.arguments("texts.jsonl/deep/adapter", {"--steps", "4"}));
    CHECK(tool(w.arguments("deep/adapter", {"--steps", "2"})).status == 0);
}
