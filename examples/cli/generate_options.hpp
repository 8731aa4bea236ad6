/// \file The options of `generate`, and the policies that they ask for.
#pragma once

#include "adapter_option.hpp"
#include "aside_option.hpp"
#include "common.hpp"
#include "corpus_option.hpp"
#include "flashback/policy/any_policy.hpp"
#include "flashback/text/tokenizer.hpp"
#include "fusion_option.hpp"
#include "markers.hpp"
#include "schedule_option.hpp"
#include "trace_option.hpp"
#include "weights_option.hpp"

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace cli {

struct GenerateSettings {
    std::string model;
    WeightsOption weights = {};
    CorpusOption corpus;
    TextOption prompt;
    std::string layout = "append";
    std::string reuse = "prefix";
    MarkersOption markers;
    std::string overflow = "stop";
    std::size_t stride = 16;
    std::size_t query_tokens = 32;
    ScheduleOption schedule = {};
    std::size_t passages = 1;
    std::size_t passage_tokens = 128;
    std::size_t repeat = 0;
    AsideOption aside = {};
    FusionOption fusion = {};
    std::size_t max_tokens = 128;
    std::vector<std::string> stop;
    bool ignore_eos = false;
    flashback::SamplingOptions sampling{.temperature = 0};
    flashback::RepetitionOptions repetition{.penalty = 1};
    AdapterOption adapter;
    std::optional<flashback::DType> cache;  ///< by default what suits the weights
    std::size_t threads = 1;
    TraceOption trace = {};
    bool json = false;
};

/// Adds all options to the command.
void add_options(CLI::App& command, GenerateSettings& settings);

using Detokenize = std::function<std::string(flashback::TokenId)>;

/// All chosen at run time, except the stop strings: the stream asks them for the text.
using GeneratePolicies = decltype(std::declval<flashback::AnyPolicies>()
                                      .stopping(std::declval<flashback::StopStrings<Detokenize>>())
                                      .method(std::declval<flashback::AnyMethod>()));

/// The policies that the options ask for.
GeneratePolicies policies_of(const GenerateSettings& settings, const flashback::Tokenizer& tokenizer, const Markers& markers);

}  // namespace cli
