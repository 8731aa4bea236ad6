/// \file The costs of a machine from what a sweep over reuse measured, fitted with Eigen (Debian: libeigen3-dev). The umbrella does not
/// include it.
///
/// Eigen's functions have no tag of an instruction set: if a program has sources for several, only those of one may include this header.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/measure/cost_model.hpp"

#include <Eigen/Core>
#include <Eigen/QR>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <span>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// How far predictions are from measurements.
struct PredictionErrors {
    std::size_t rows = 0;       ///< that were compared
    double mean = 0;            ///< mean of |predicted / measured - 1|
    double worst = 0;           ///< the greatest of them
    std::size_t worst_row = 0;  ///< where that is
};

/// Compares predictions with the fastest repetition of each row.
/// Requires  rows that were measured with these options, with searches left out, as sweeps leave them out
inline PredictionErrors errors_of(const CostModel& costs, std::span<const ReuseRow> rows, const ReuseOptions& options = {}) {
    PredictionErrors errors{.rows = rows.size()};
    for (std::size_t i = 0; i < rows.size(); ++i) {
        const double measured = rows[i].best_seconds();
        const double predicted = predict(costs, rows[i].way, rows[i].at, options) - costs.search_seconds;
        const double error = measured > 0 ? std::abs(predicted / measured - 1) : 0;
        errors.mean += error / static_cast<double>(rows.size());
        if (error > errors.worst) {
            errors.worst = error;
            errors.worst_row = i;
        }
    }
    return errors;
}

namespace detail {

/// Non-negative x with the least |a x - b|, or nearly so: what would be negative is left out, the most negative first.
inline Eigen::VectorXd non_negative_least_squares(const Eigen::MatrixXd& a, const Eigen::VectorXd& b) {
    std::vector<Eigen::Index> kept(static_cast<std::size_t>(a.cols()));
    std::iota(kept.begin(), kept.end(), Eigen::Index{0});
    while (!kept.empty()) {
        const Eigen::VectorXd x = a(Eigen::all, kept).colPivHouseholderQr().solve(b);
        Eigen::Index least = 0;
        if (x.minCoeff(&least) >= 0) {
            Eigen::VectorXd all = Eigen::VectorXd::Zero(a.cols());
            all(kept) = x;
            return all;
        }
        kept.erase(kept.begin() + least);
    }
    return Eigen::VectorXd::Zero(a.cols());
}

}  // namespace detail

/// The costs with which predictions come nearest to the fastest repetitions of a sweep: least squares of the relative errors, no cost below 0.
/// Shape     rows of several ways, histories, strides and passages; a cost that nothing in them tells is 0
/// Requires  rows that were measured with these options
/// Throws    Error{contract} for no rows, or one that was not timed
inline CostModel fit_cost_model(std::span<const ReuseRow> rows, const ReuseOptions& options = {}) {
    FLASHBACK_ASSERT(!rows.empty(), "a cost model is fitted to no rows, expected those of a sweep");
    constexpr auto columns = static_cast<Eigen::Index>(EvaluatedWork::size);
    Eigen::MatrixXd a(static_cast<Eigen::Index>(rows.size()), columns);
    for (std::size_t i = 0; i < rows.size(); ++i) {
        const double seconds = rows[i].best_seconds();
        FLASHBACK_ASSERT(seconds > 0, "row ", i, " of a sweep was not timed");
        const auto work = evaluated_work(lengths_of(rows[i].way, rows[i].at, options), rows[i].at.k).numbers();
        for (Eigen::Index c = 0; c < columns; ++c)
            a(static_cast<Eigen::Index>(i), c) = work[static_cast<std::size_t>(c)] / seconds;
    }
    // Counts of positions are thousands of times those of passes: columns of one length keep the solution well conditioned.
    Eigen::RowVectorXd lengths = a.colwise().norm();
    lengths = (lengths.array() > 0).select(lengths, 1);
    const Eigen::MatrixXd scaled = a.array().rowwise() / lengths.array();
    const Eigen::VectorXd x = detail::non_negative_least_squares(scaled, Eigen::VectorXd::Ones(a.rows()));
    CostModel costs;
    for (Eigen::Index c = 0; c < columns; ++c) costs.seconds_each[static_cast<std::size_t>(c)] = x(c) / lengths(c);
    return costs;
}

}  // namespace flashback::inline FLASHBACK_ISA
