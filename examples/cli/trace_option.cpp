#include "trace_option.hpp"

#include "common.hpp"

#include <cstddef>
#include <filesystem>

namespace cli {

namespace fb = flashback;

void TraceOption::add(CLI::App& command) {
    add_repeated(
        command, "--trace", files_,
        "Write what each retrieval reused and evaluated: FILE.html is a page that shows it, FILE.json are trace events, "
        "which Perfetto opens")
        ->type_name("FILE")
        ->check([](const std::string& file) -> std::string {
            const std::string ending = std::filesystem::path{file}.extension().string();
            if (ending == ".html" || ending == ".json") return {};
            return "found '" + file + "', expected a name that ends in .html or .json";
        });
}

void TraceOption::tell(FilesOfCommand& files) const {
    for (const std::string& file : files_) files.writes("--trace", file, /*replace=*/true);
}

void TraceOption::write(const fb::ReuseTrace& trace, const fb::Tokenizer& tokenizer) const {
    // Marking tokens may lie beyond the vocabulary.
    const auto spell = [&](fb::TokenId token) {
        return token >= 0 && static_cast<std::size_t>(token) < tokenizer.size() ? tokenizer.decode(token) : std::string{};
    };
    for (const std::string& file : files_) fb::write_reuse_trace(file, trace, spell);
}

}  // namespace cli
