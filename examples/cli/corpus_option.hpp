/// \file Where passages are found, and how.
#pragma once

#include "flashback/core/any_retriever.hpp"
#include "flashback/core/executor.hpp"
#include "flashback/retrieval/bm25.hpp"
#include "flashback/text/tokenizer.hpp"

#include <CLI/CLI.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <regex>
#include <string>

namespace cli {

inline constexpr const char* corpus_help =
    "JSON lines, a folder of .txt and .md files, a dictd-style text file, a folder that index --out has written, or "
    "xapian:FOLDER or xapian+tcp://HOST:PORT, several of them with commas";

/// Documents, or an index of them, and how it is searched.
struct CorpusOption {
    std::string path = {};
    std::string analyzer = {};  // empty: that of the index, else words
    flashback::Bm25Formula formula = {};

    /// Adds --corpus, and gives it.
    CLI::Option* add_path(CLI::App& command, const char* help = corpus_help);
    /// Adds --analyzer, --k1 and --b, which make no sense without the option `needed` if there is one.
    void add_search(CLI::App& command, CLI::Option* needed = nullptr);

    /// Adds --filter.
    void add_filter(CLI::App& command);
    /// Whether the id or the title of a passage matches --filter, if there is one.
    bool wants(const flashback::Passage& passage) const;

    /// What the analyzer is called, made with the tokenizer of a model if there is one.
    flashback::AnyAnalyzer make_analyzer(const flashback::Tokenizer* tokenizer) const;

    /// Whether it names databases or servers of Xapian.
    bool is_xapian() const { return path.starts_with("xapian"); }
    /// Those; several are separated by commas.
    /// Throws    Error{unsupported} if the tool was built without Xapian
    flashback::AnyRetriever open_xapian(const flashback::Tokenizer& tokenizer) const;

    /// What is searched, whatever it is, through --filter; one thread at a time.
    flashback::AnyRetriever open_any(const flashback::Tokenizer& tokenizer, std::size_t passage_tokens) const;

    /// The passages of an index, or of documents cut with a tokenizer.
    flashback::Bm25Index open(const flashback::Tokenizer& tokenizer, std::size_t passage_tokens,
                              flashback::ExecutorRef executor = {}) const;
    /// Whole documents.
    flashback::Bm25Index open_whole() const;

    /// A number for all that decides what is found, besides the queries; of Xapian's databases only where they are.
    std::uint64_t key() const;

private:
    void refuse_xapian() const;

    std::optional<std::regex> filter_ = std::nullopt;
};

}  // namespace cli
