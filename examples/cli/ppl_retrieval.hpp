/// \file `ppl --layout`: perplexity with retrieval.
#pragma once

#include "adapter_option.hpp"
#include "common.hpp"
#include "flashback/tensor/dtype.hpp"
#include "markers.hpp"
#include "retrieval_setup.hpp"
#include "schedule_option.hpp"
#include "weights_option.hpp"

#include <cstddef>
#include <optional>
#include <string>

namespace cli {

struct RetrievalPplSettings : RetrievalSettings {
    std::string model;
    WeightsOption weights = {};
    MarkersOption markers;
    ScheduleOption schedule;
    std::string reuse = "prefix";
    std::string per = "token";
    std::string log;
    bool keep_markers = false;
    bool share_history = false;
    AdapterOption adapter;
    std::optional<flashback::DType> cache;
    std::size_t threads = 1;
    bool json = false;
};

/// Adds what perplexity with retrieval has beside the options of `ppl`: --layout, which asks for it, and what needs that.
/// `without` are options that make no sense with it.
void add_retrieval_options(CLI::App& command, RetrievalPplSettings& settings, const std::vector<std::string>& without);

/// Refuses options that contradict each other.
/// Throws    CLI::ValidationError
void check_retrieval_options(const RetrievalPplSettings& settings);

/// Measures and prints.
void ppl_with_retrieval(const RetrievalPplSettings& settings);

}  // namespace cli
