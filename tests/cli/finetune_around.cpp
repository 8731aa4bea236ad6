// `flashback finetune`: what stands around passages, repeated tokens and marking tokens, is in the examples and in the adapter.
#include "cli/training.hpp"

#include <sstream>

using namespace flashback_test;
using nlohmann::json;

TEST_CASE("finetune --repeat: examples have the newest tokens once more, and the adapter is another one") {
    const FinetuneWorld w;
    const auto tokens_of = [&](const std::string& name, std::vector<std::string> more) {
        more.insert(more.end(), {"--steps", "3", "--context-max", "40", "--no-share-history", "--log", w.path(name + ".csv")});
        w.run(name, more);
        std::istringstream rows{read_file(w.path(name + ".csv"))};
        std::string row;
        std::getline(rows, row);
        int sum = 0;
        while (std::getline(rows, row)) {
            std::istringstream columns{row};
            for (int column = 0; column < 5; ++column) std::getline(columns, row, ',');
            sum += std::stoi(row);
        }
        return sum;
    };
    const int plain = tokens_of("plain", {});
    const int repeated = tokens_of("repeated", {"--repeat", "4"});
    CHECK(repeated > plain);
    CHECK(repeated <= plain + 3 * 3 * 4);
    CHECK((repeated - plain) % 4 == 0);
    CHECK(adapter_numbers(w.path("repeated")) != adapter_numbers(w.path("plain")));
    CHECK(w.run("json", {"--steps", "1", "--repeat", "4"})["repeat"] == 4);
    check_refused_at_last(2, "--repeat 4 needs passages behind the text, found --layout prepend",
                          w.arguments("no", {"--steps", "1", "--repeat", "4", "--layout", "prepend"}));
}

TEST_CASE("finetune --marker-ids: any two tokens stand around passages, and other commands take them from the adapter") {
    const FinetuneWorld w;
    std::string bytes = read_file(w.model);
    for (const char* name : {"<MARK_L>", "<MARK_R>"}) bytes.replace(bytes.find(name), 8, "<OTHER" + std::string{name + 6});
    const std::string model = w.folder.write("other.gguf", bytes);
    REQUIRE(tool_json({"inspect", "--model", model})["vocabulary"]["markers"] == json{nullptr, nullptr});

    const std::string valid = w.folder.write("valid.jsonl", documents_to_retrieve(9));
    const json found = w.run("named", {"--steps", "3", "--valid", valid, "--valid-strides", "4"});
    const json other = w.run(
        "other", {"--steps", "3", "--valid", valid, "--valid-strides", "4", "--model", model, "--marker-ids", "4096,4097"});
    CHECK(adapter_numbers(w.path("other")) == adapter_numbers(w.path("named")));
    CHECK(other["valid"] == found["valid"]);
    w.run("turned", {"--steps", "3", "--model", model, "--marker-ids", "4097,4096"});
    CHECK(adapter_config(w.path("turned"))["trainable_token_indices"] == json{4097, 4096});

    const auto ppl = [&](std::vector<std::string> more) {
        more.insert(more.begin(), {"ppl", "--model", model, "--text", valid, "--corpus", w.texts, "--query-tokens", "12",
                                   "--stride", "8", "--passage-tokens", "16", "--strides", "4", "--layout", "append"});
        return tool_json(more);
    };
    const json automatic = ppl({"--adapter", w.path("other")});
    CHECK(automatic["markers"] == true);
    CHECK(automatic["masked"] == json{4096, 4097});
    CHECK(automatic["nats_per_token"] == other["valid"]["nats_per_token"]);
    CHECK(ppl({"--adapter", w.path("other"), "--marker-ids", "4096,4097"})["nats_per_token"] == automatic["nats_per_token"]);
    const json turned = ppl({"--adapter", w.path("turned")});
    CHECK(turned["masked"] == json{4097, 4096});  // in the order of the file
    CHECK(turned["nats_per_token"] == ppl({"--adapter", w.path("turned"), "--marker-ids", "4097,4096"})["nats_per_token"]);
    CHECK(ppl({})["masked"] == json::array());
    CHECK(ppl({"--adapter", w.path("other"), "--markers", "off"})["markers"] == false);
    CHECK(ppl({"--marker-ids", "4096,4097"})["markers"] == false);  // auto: no adapter has trained them
    CHECK(ppl({"--marker-ids", "4096,4097", "--markers", "on"})["markers"] == true);
    CHECK(tool_json({"ppl", "--model", model, "--text", valid, "--marker-ids", "4096,4097"})["masked"] == json{4096, 4097});

    const auto generate = [&](const std::vector<std::string>& more) {
        std::vector<std::string> all{
            "generate",     "--model", model,      "--prompt", "kernel shell",     "--corpus", w.texts,
            "--max-tokens", "4",       "--stride", "2",        "--passage-tokens", "8",        "--ignore-eos"};
        all.insert(all.end(), more.begin(), more.end());
        return tool_json(all)["stats"]["requested"].get<int>();
    };
    const int off = generate({"--markers", "off"});
    CHECK(generate({"--markers", "on", "--marker-ids", "4096,4097"}) == off + 2 * 2);
    check_refused(tool({"generate", "--model", model, "--prompt", "a", "--corpus", w.texts, "--markers", "on"}), 1,
                  "has no control tokens <MARK_L> and <MARK_R> to stand around passages");

    for (const char* bad : {"4096", "4096,", "7,7", "1,2,3", "-1,5", "a,b", "4096 4097", ""}) {
        CAPTURE(bad);
        check_refused_at_last(2, "expected the numbers of two different tokens, as in 4096,4097",
                              w.arguments("no", {"--steps", "1", "--marker-ids", bad}));
    }
    for (const std::vector<std::string>& command :
         {w.arguments("no", {"--steps", "1", "--marker-ids", "5,99999"}),
          {"ppl", "--text", valid, "--marker-ids", "5,99999"},
          {"generate", "--layout", "none", "--prompt", "a", "--marker-ids", "5,99999"}})
        check_refused_at_last(1, "--marker-ids names the token 99999, but the vocabulary has 4098 tokens", command);
}
