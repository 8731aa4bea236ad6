/// \file The rows of a sweep over reuse, measured with sessions of a model.
#pragma once

#include "flashback/measure/reuse_sweep_counts.hpp"
#include "flashback/model/session_options.hpp"
#include "flashback/model/transformer.hpp"

#include <map>
#include <memory>
#include <string>
#include <vector>

namespace cli {

/// The ways by their names.
std::map<std::string, flashback::ReuseWay> reuse_way_names();

/// Measures all ways of a point, then the next point: the speed of a machine drifts, and ways are compared with each other. So the
/// sessions of all ways are in memory at the same time: one without a store, and one for each way that has one.
std::vector<flashback::ReuseRow> measure_reuse(const std::shared_ptr<const flashback::Transformer>& model,
                                               const flashback::SessionOptions& session,
                                               const flashback::ReuseSweepOptions& options,
                                               const flashback::ReusePoints& points);

/// The positions that the longest of some points needs.
std::size_t positions_of(const flashback::ReusePoints& points);

}  // namespace cli
