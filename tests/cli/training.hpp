/// \file Small runs of `pretrain` and `finetune`.
#pragma once

#include "cli/tool.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

namespace flashback_test {

/// Documents that a small model learns fast.
inline std::string documents_to_learn(std::size_t documents) {
    std::string text;
    for (std::size_t i = 0; i < documents; ++i) {
        text += R"({"_id":")" + std::to_string(i) + R"(","title":"kernel","text":"The kernel is part number )" +
                std::to_string(i * i % 97) + R"( of an operating system; it shares the memory among programs."})" + "\n";
    }
    return text;
}

/// Documents that have words in common, but not sixteen in a row: none is forbidden as a passage for another.
inline std::string documents_to_retrieve(std::size_t documents) {
    const std::vector<std::string> words{"kernel", "shell",  "editor", "memory", "number", "program", "system", "user",
                                         "reads",  "writes", "shares", "starts", "the",    "a",       "of",     "with"};
    std::string text;
    std::uint32_t random = 1;
    for (std::size_t i = 0; i < documents; ++i) {
        text += R"({"_id":"d)" + std::to_string(i) + R"(","title":"part )" + std::to_string(i) + R"(","text":")";
        for (int word = 0; word < 30; ++word) {
            random = random * 1664525 + 1013904223;
            text += (word > 0 ? " " : "") + words[(random >> 16) % words.size()];
        }
        text += ".\"}\n";
    }
    return text;
}

using Options = std::vector<std::pair<std::string, std::string>>;

/// A command with options, of which those in `more` take the place of those that are in `usual`.
inline std::vector<std::string> with_options(const std::string& command, const Options& usual,
                                             const std::vector<std::string>& more) {
    std::vector<std::string> all{command};
    for (const auto& [name, value] : usual) {
        if (std::ranges::find(more, name) == more.end()) all.insert(all.end(), {name, value});
    }
    all.insert(all.end(), more.begin(), more.end());
    return all;
}

/// A run of `pretrain` with a tiny model.
inline std::vector<std::string> pretrain_arguments(const std::string& train, const std::string& out,
                                                   const std::vector<std::string>& more = {}) {
    return with_options("pretrain",
                        {{"--train", train},
                         {"--out", out},
                         {"--layers", "1"},
                         {"--width", "32"},
                         {"--heads", "2"},
                         {"--hidden", "48"},
                         {"--window", "32"},
                         {"--batch", "4"},
                         {"--lr", "0.01"},
                         {"--threads", "2"}},
                        more);
}

/// A tiny model with a window of 64 tokens to fine-tune.
inline std::string tiny_model(const TemporaryFolder& folder) {
    const std::string model = (folder.path() / "tiny.gguf").string();
    const std::string train = folder.write("pretrain.jsonl", documents_to_learn(100));
    REQUIRE(tool(pretrain_arguments(train, model, {"--window", "64", "--steps", "60"})).status == 0);
    return model;
}

/// A run of `finetune` with it, on texts that are a corpus, too.
inline std::vector<std::string> finetune_arguments(const std::string& model, const std::string& texts, const std::string& out,
                                                   const std::vector<std::string>& more = {}) {
    return with_options("finetune",
                        {{"--model", model},
                         {"--train", texts},
                         {"--corpus", texts},
                         {"--out", out},
                         {"--stride", "8"},
                         {"--query-tokens", "12"},
                         {"--passage-tokens", "16"},
                         {"--rank", "4"},
                         {"--batch", "3"},
                         {"--lr", "0.01"},
                         {"--threads", "2"}},
                        more);
}

/// A tiny model, and a text that is a corpus, too.
struct FinetuneWorld {
    TemporaryFolder folder;
    std::string model = tiny_model(folder);
    std::string texts = folder.write("texts.jsonl", documents_to_retrieve(60));

    std::string path(const std::string& name) const { return (folder.path() / name).string(); }
    std::vector<std::string> arguments(const std::string& out, const std::vector<std::string>& more) const {
        return finetune_arguments(model, texts, path(out), more);
    }
    nlohmann::json run(const std::string& out, const std::vector<std::string>& more) const {
        return tool_json(arguments(out, more));
    }
};

inline nlohmann::json adapter_config(const std::string& folder) {
    return nlohmann::json::parse(read_file(folder + "/adapter_config.json"));
}

inline std::string adapter_numbers(const std::string& folder) { return read_file(folder + "/adapter_model.safetensors"); }

/// The columns of a log that are no times.
inline std::string without_seconds(const std::string& log) {
    std::istringstream rows{log};
    std::string kept;
    for (std::string row; std::getline(rows, row);) {
        const std::size_t behind = row.rfind(',');
        kept += row.substr(0, row.rfind(',', behind - 1)) + row.substr(behind) + '\n';
    }
    return kept;
}

/// Starts a run and sends it a signal when its log has so many lines. `before` stands in front of it, in its own shell.
inline Result signalled(const std::string& signal, std::size_t lines, const std::string& log,
                        const std::vector<std::string>& arguments, const std::string& before = "") {
    return shell("(" + before + "exec " + command_line(arguments) + ") & while [ \"$(cat " + quoted(log) +
                 " 2>/dev/null | wc -l)\" -lt " + std::to_string(lines) + " ]; do sleep 0.01; done; kill -" + signal +
                 " $!; wait $!");
}

/// As check_refused; what a command says of its data before it refuses something does not count.
inline void check_refused_at_last(int status, const std::string& words, const std::vector<std::string>& arguments) {
    Result result = tool(arguments);
    const std::size_t last = result.err.rfind("flashback: ");
    result.err = result.err.substr(last == std::string::npos ? 0 : last);
    check_refused(result, status, words);
}

}  // namespace flashback_test
