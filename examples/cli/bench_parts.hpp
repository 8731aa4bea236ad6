/// \file What all measurements of `bench` share.
#pragma once

#include "bench_runs.hpp"
#include "common.hpp"
#include "flashback/core/executor.hpp"
#include "flashback/core/thread_pool.hpp"
#include "flashback/measure/machine_peaks.hpp"
#include "flashback/measure/model_cost.hpp"
#include "flashback/model/transformer.hpp"
#include "flashback/tensor/dtype.hpp"

#include <cstddef>
#include <memory>
#include <vector>

namespace cli {

Json to_json(const flashback::MachinePeaks& peaks);

/// What every run says about its speed: that of the fastest repetition, and the median.
/// Requires  at least one repetition
void add_speed(Json& run, std::vector<double> seconds, std::size_t tokens, double share_of_peak);

/// The most that the machine can do, measured with as much memory as is asked for.
flashback::MachinePeaks peaks_of(flashback::ExecutorRef executor, const BenchSettings& settings,
                                 double seconds = flashback::PeakOptions{}.seconds);

/// What every run of a model begins with.
Json begin_run(const flashback::Transformer& model, const flashback::ModelCost& cost, flashback::DType cache,
               std::size_t threads);

/// The model to measure, for runs of so many positions. If its positions are a table that has fewer, it is refused, or, to `cut` the runs,
/// given as it is.
std::shared_ptr<const flashback::Transformer> bench_model(const BenchSettings& settings, std::size_t window,
                                                          flashback::ThreadPool& pool, bool cut = false);

/// The sweep over the reuse of keys and values: what `bench` gives, and what was varied.
Json bench_reuse(const BenchSettings& settings);

/// Generations under each of several schedules: what they retrieve, evaluate and take.
Json bench_schedule(const BenchSettings& settings);

/// A readable table of the sweep.
void print_reuse(const Json& found);

/// A picture of the sweep (SVG): a panel for each axis, a line for each way.
std::string reuse_picture(const Json& found);

}  // namespace cli
