/// \file Runs the tool as a user does.
#pragma once

#include "support/temporary_folder.hpp"

#include <nlohmann/json.hpp>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <string>
#include <vector>

#include <sys/wait.h>

#include <doctest/doctest.h>

namespace flashback_test {

struct Result {
    int status;
    std::string out;
    std::string err;
};

inline std::string quoted(const std::string& argument) {
    std::string text = "'";
    for (const char c : argument) text += c == '\'' ? std::string{"'\\''"} : std::string{c};
    return text + "'";
}

inline std::string read_file(const std::filesystem::path& path) {
    std::ifstream file{path, std::ios::binary};
    return {std::istreambuf_iterator<char>{file}, {}};
}

/// Runs a line of the shell; `input` is its standard input.
inline Result shell(std::string command, const std::string& input = "") {
    const TemporaryFolder folder;
    const auto out = folder.path() / "out";
    const auto err = folder.path() / "err";
    command = "{ " + command + "; } <" + quoted(folder.write("in", input)) + " >" + quoted(out.string()) + " 2>" +
              quoted(err.string());
    // NOLINTNEXTLINE(cert-env33-c): the shell is wanted, for its redirections
    const int status = std::system(command.c_str());
    REQUIRE(WIFEXITED(status));
    return {WEXITSTATUS(status), read_file(out), read_file(err)};
}

/// `flashback ARGUMENTS...` as a line of the shell.
inline std::string command_line(const std::vector<std::string>& arguments) {
    std::string command = quoted(FLASHBACK_TOOL);
    for (const auto& argument : arguments) command += ' ' + quoted(argument);
    return command;
}

/// Runs `flashback ARGUMENTS...`; `input` is its standard input.
inline Result tool(const std::vector<std::string>& arguments, const std::string& input = "") {
    return shell(command_line(arguments), input);
}

/// The JSON object that the tool prints with --json.
inline nlohmann::json tool_json(std::vector<std::string> arguments) {
    arguments.emplace_back("--json");
    const Result result = tool(arguments);
    INFO("standard error: " << result.err);
    REQUIRE(result.status == 0);
    REQUIRE(result.out.ends_with("}\n"));
    return nlohmann::json::parse(result.out);
}

inline std::set<std::string> keys(const nlohmann::json& object) {
    std::set<std::string> names;
    for (const auto& [name, value] : object.items()) names.insert(name);
    return names;
}

/// One sentence with these words on standard error, and nothing on standard output.
inline void check_refused(const Result& result, int status, const std::string& words) {
    CHECK(result.status == status);
    CHECK(result.out.empty());
    CHECK(result.err.starts_with("flashback: "));
    CHECK(result.err.find('\n') == result.err.size() - 1);
    CHECK(doctest::String{result.err.c_str()} == doctest::Contains(words.c_str()));
}

/// The tool refuses so.
inline void refused(int status, const std::string& words, const std::vector<std::string>& arguments,
                    const std::string& input = "") {
    check_refused(tool(arguments, input), status, words);
}

inline const std::string compiler_text = "A compiler is a program that translates a program into machine code.";

/// A small encyclopaedia.
inline std::string write_corpus(const TemporaryFolder& folder) {
    return folder.write(
        "corpus.jsonl",
        "{\"_id\":\"compiler\",\"title\":\"compiler\",\"text\":\"A program that translates a source program into machine "
        "code.\"}\n"
        "{\"_id\":\"kernel\",\"title\":\"kernel\",\"text\":\"The part of an operating system that shares the memory among "
        "programs.\"}\n"
        "{\"_id\":\"unix\",\"title\":\"Unix\",\"text\":\"An operating system developed at Bell Labs. It is written in C.\"}\n");
}

}  // namespace flashback_test
