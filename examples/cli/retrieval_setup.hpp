/// \file What is common to commands that read a text in strides with passages.
#pragma once

#include "aside_option.hpp"
#include "common.hpp"
#include "corpus_option.hpp"
#include "flashback/data/retrieval_strides.hpp"
#include "flashback/policy/any_policy.hpp"
#include "flashback/policy/wrapper.hpp"
#include "flashback/text/tokenizer.hpp"
#include "fusion_option.hpp"
#include "markers.hpp"
#include "progress.hpp"

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace cli {

/// How a text is walked through, and where passages come from and stand.
struct RetrievalSettings {
    std::string text;
    CorpusOption corpus;
    std::string layout;
    std::string separator = "auto";
    std::size_t stride = 0;
    std::size_t strides = 0;
    std::size_t init = 0;
    std::size_t context = 0;
    std::size_t hold = 0;
    std::size_t query_tokens = 32;
    std::size_t passages = 1;
    std::size_t passage_tokens = 128;
    std::size_t repeat = 0;
    AsideOption aside = {};
    FusionOption fusion = {};

    /// Whether passages that are read together stand in one pair of markers, if nothing else is asked for: as in training.
    bool joined() const { return layout != "aside" || aside.options().joined; }
};

/// Adds --query-tokens, which it gives, --passages and --passage-tokens. They make no sense without the option `needed` if there is one.
CLI::Option* add_passages(CLI::App& command, RetrievalSettings& settings, CLI::Option* needed = nullptr);

/// Adds --repeat, which goes only with appended passages.
CLI::Option* add_repeat(CLI::App& command, std::size_t& repeat);

/// Refuses --repeat with a layout that leaves the end of the text where it is.
void check_repeat(const std::string& layout, std::size_t repeat);

/// The layout "append" (with `repeat` tokens repeated), "sticky", "prepend", or "aside".
/// ("overwrite" differs in the text that is read, not in the layout.)
flashback::AnyLayout layout_of(const std::string& name, std::size_t repeat, const flashback::AsideOptions& aside);

/// The text of the settings, from a file or from standard input, as tokens of its documents. Each is followed by EOS if the
/// vocabulary has one that is not BOS, else by a newline.
flashback::TextStream read_stream(const RetrievalSettings& settings, const flashback::Tokenizer& tokenizer);

/// The policies by which passages are found and laid out.
flashback::AnyPolicies policies_of(const RetrievalSettings& settings, const Markers& markers);

/// Where strides begin and how much they read: by default the first begins after a window of text, and contexts are as long as
/// every layout allows. So all layouts predict the same tokens from the same text. `advice` ends the error for a text that is too
/// short: it names the options of the command that help.
flashback::StrideOptions stride_options(const RetrievalSettings& settings, std::size_t window, std::size_t head,
                                        std::size_t tokens, std::string_view advice);

}  // namespace cli
