/// \file Indexes that are searched, in folders.
#pragma once

#include "corpus_option.hpp"

#include <CLI/CLI.hpp>

#include <cstddef>
#include <string>
#include <vector>

namespace cli {

/// What `index --out` does with a folder.
struct SearchIndexOption {
    std::string out = {};
    std::string backend = "files";
    bool whole = false;
    bool replace = false;
    bool merge = false;
    std::vector<std::string> remove = {};
    CLI::Option* out_option = nullptr;

    void add(CLI::App& command);
    /// Whether there is something to do without documents to add.
    bool changes() const { return merge || !remove.empty(); }
};

/// Makes or extends an index.
void write_search_index(const SearchIndexOption& options, const CorpusOption& corpus, const std::string& model,
                        std::size_t passage_tokens, std::size_t threads, bool json);

}  // namespace cli
