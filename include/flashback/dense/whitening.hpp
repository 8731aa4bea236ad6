/// \file Whitening and principal components, fitted with Eigen (Debian: libeigen3-dev). The umbrella does not include it.
///
/// Eigen's functions have no tag of an instruction set: if a program has sources for several, only those of one may include
/// this header.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/dense/vector_map.hpp"
#include "flashback/fwd.hpp"

#include <Eigen/Core>
#include <Eigen/Eigenvalues>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// What becomes of vectors.
struct WhiteningOptions {
    /// Dimensions that are kept: those in which the vectors vary most; 0: all.
    std::size_t reduced = 0;
    /// Whether each of them is scaled to variance 1. If not, centred vectors are only turned, so that their dot products stay what
    /// they are, but for the dimensions that are left out.
    bool whiten = true;
    /// In (0, 1]: where the variance is less than this share of the greatest, it counts as this share. So rounding errors are not
    /// blown up.
    double least = 1e-6;
};

namespace detail {

/// Mean and covariance of vectors.
struct Spread {
    Eigen::VectorXd mean;
    Eigen::MatrixXd covariance;  // its lower half

    Spread(std::span<const float> vectors, Eigen::Index dimension) {
        using Rows = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
        const Eigen::Index count = static_cast<Eigen::Index>(vectors.size()) / dimension;
        const Eigen::Map<const Rows> rows{vectors.data(), count, dimension};
        const auto each_block = [&](const auto& call) {  // so that only some of them are in double at a time
            constexpr Eigen::Index together = 256;
            for (Eigen::Index i = 0; i < count; i += together)
                call(rows.middleRows(i, std::min(together, count - i)).template cast<double>().eval());
        };
        mean = Eigen::VectorXd::Zero(dimension);
        each_block([&](const Eigen::MatrixXd& block) { mean += block.colwise().sum().transpose(); });
        mean /= static_cast<double>(count);
        covariance = Eigen::MatrixXd::Zero(dimension, dimension);
        each_block([&](const Eigen::MatrixXd& block) {
            const Eigen::MatrixXd centred = block.rowwise() - mean.transpose();
            covariance.selfadjointView<Eigen::Lower>().rankUpdate(centred.transpose());
        });
        covariance /= static_cast<double>(count);
    }
};

}  // namespace detail

/// The map that gives a sample of vectors mean 0 and, if it whitens, the identity as covariance: its rows are the principal
/// components, the one of the greatest variance first, each with a positive element of greatest magnitude. A sample of fewer
/// vectors than dimensions, or one that lies in a subspace, has directions without variance: they come last, and `least` says
/// how much they are scaled.
/// Shape     vectors (any number, dimension)
/// Throws    Error{contract} if there is no whole number of vectors, if one has an element that is not finite, if all vectors
///           are equal, or for options out of range; std::bad_alloc
/// Cost      vectors · dimension² + about 10 dimension³ multiply-adds in double
/// Source    Su, Cao, Liu and Ou 2021, Whitening sentence representations for better semantics and faster retrieval, algorithm 1
inline VectorMap fit_whitening(std::span<const float> vectors, std::size_t dimension, const WhiteningOptions& options = {}) {
    FLASHBACK_ASSERT(dimension > 0 && !vectors.empty() && vectors.size() % dimension == 0, "whitening of ", vectors.size(),
                     " floats in vectors of dimension ", dimension, ", expected at least one whole vector");
    FLASHBACK_ASSERT(options.reduced <= dimension, "whitening keeps ", options.reduced, " dimensions of ", dimension);
    FLASHBACK_ASSERT(options.least > 0 && options.least <= 1, "the least variance of whitening must lie in (0, 1], found ",
                     options.least);
    for (std::size_t i = 0; i < vectors.size(); ++i) {
        FLASHBACK_ASSERT(std::isfinite(vectors[i]), "element ", i % dimension, " of vector ", i / dimension,
                         " is not finite: found ", vectors[i]);
    }
    const auto width = static_cast<Eigen::Index>(dimension);
    const detail::Spread spread{vectors, width};
    const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver{spread.covariance};  // reads the lower half; ascending
    const double greatest = solver.eigenvalues()(width - 1);
    FLASHBACK_ASSERT(greatest > 0, "all ", vectors.size() / dimension, " vectors are equal: there is nothing to whiten");
    const std::size_t reduced = options.reduced == 0 ? dimension : options.reduced;
    std::vector<float> matrix(reduced * dimension);
    for (std::size_t r = 0; r < reduced; ++r) {
        const Eigen::Index column = width - 1 - static_cast<Eigen::Index>(r);
        Eigen::VectorXd row = solver.eigenvectors().col(column);
        Eigen::Index most = 0;
        row.cwiseAbs().maxCoeff(&most);
        if (row(most) < 0) row = -row;
        if (options.whiten) row /= std::sqrt(std::max(solver.eigenvalues()(column), options.least * greatest));
        for (std::size_t i = 0; i < dimension; ++i)
            matrix[r * dimension + i] = static_cast<float>(row(static_cast<Eigen::Index>(i)));
    }
    std::vector<float> mean(dimension);
    for (std::size_t i = 0; i < dimension; ++i) mean[i] = static_cast<float>(spread.mean(static_cast<Eigen::Index>(i)));
    return VectorMap{std::move(mean), std::move(matrix)};
}

}  // namespace flashback::inline FLASHBACK_ISA
