/// \file What `bench` measures.
#pragma once

#include "common.hpp"
#include "flashback/measure/reuse_sweep_counts.hpp"
#include "flashback/measure/run_time_counts.hpp"
#include "flashback/model/transformer.hpp"
#include "flashback/tensor/dtype.hpp"
#include "weights_option.hpp"

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace cli {

enum class BenchMode { machine, prefill, decode, step, loop, reuse, stored, schedule };

struct BenchSettings {
    BenchMode mode = BenchMode::prefill;
    std::vector<std::size_t> m{16, 144, 512, 2048};
    std::vector<std::size_t> contexts;  ///< empty: the defaults of the mode
    std::size_t steps = 32;
    std::vector<flashback::RunTimeLayout> layouts{flashback::RunTimeLayout::aside_stored, flashback::RunTimeLayout::aside,
                                                  flashback::RunTimeLayout::append, flashback::RunTimeLayout::prepend};
    std::size_t init = 512;
    std::size_t length = 2048;
    std::optional<std::size_t> samples;
    std::vector<std::size_t> passages;  ///< tokens of passages; empty: the defaults of the mode
    // The sweep over reuse; empty axes have their default values.
    std::vector<flashback::ReuseWay> ways{flashback::all_reuse_ways.begin(),
                                          flashback::all_reuse_ways.end() - 1};  // the exact ones
    std::vector<flashback::ReuseAxis> vary{flashback::all_reuse_axes.begin(), flashback::all_reuse_axes.end()};
    std::vector<std::size_t> histories;
    std::vector<std::size_t> strides;
    std::vector<std::size_t> k;
    bool found_again = false;
    bool miss = false;
    std::vector<std::string> schedules;  ///< as `parse_method` reads them; empty: the defaults
    double latency = 0;                  ///< of the retriever, ms
    std::string model;
    WeightsOption weights = {};
    std::optional<flashback::TransformerConfig> shape;  ///< random weights instead of a model
    flashback::DType dtype = flashback::DType::f32;     ///< of the random weights
    std::optional<flashback::DType> cache;              ///< by default what suits the weights
    std::size_t threads = 1;
    std::optional<std::size_t> repetitions;
    std::optional<std::size_t> warmup;
    std::size_t peak_memory = 512;  ///< MiB
};

/// All runs and the peaks that they are compared with: {"mode","runs":[...],"peaks":{...}}.
Json bench(const BenchSettings& settings);

}  // namespace cli
