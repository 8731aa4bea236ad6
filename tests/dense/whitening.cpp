// Whitening against its definition: covariances, subspaces, and samples that have too little to say.
#include "flashback/dense/whitening.hpp"

#include "support/errors.hpp"
#include "support/random_vectors.hpp"

#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <vector>

#include <doctest/doctest.h>
#include <Eigen/Core>

namespace test_dense_whitening {

using namespace flashback;
using namespace flashback_test;

namespace {

/// The covariance of vectors, and the length of their mean.
std::pair<Eigen::MatrixXd, double> spread_of(std::span<const float> vectors, std::size_t dimension) {
    const auto width = static_cast<Eigen::Index>(dimension);
    const auto count = static_cast<Eigen::Index>(vectors.size() / dimension);
    Eigen::MatrixXd rows(count, width);
    for (Eigen::Index i = 0; i < count; ++i) {
        for (Eigen::Index k = 0; k < width; ++k)
            rows(i, k) = static_cast<double>(vectors[static_cast<std::size_t>(i * width + k)]);
    }
    const Eigen::RowVectorXd mean = rows.colwise().mean();
    const Eigen::MatrixXd centred = rows.rowwise() - mean;
    return {centred.transpose() * centred / static_cast<double>(count), mean.norm()};
}

/// Vectors of normal numbers, mapped by a random matrix (dimension, rank) to a subspace of that rank, plus an offset and noise.
std::vector<float> in_subspace(std::size_t count, std::size_t dimension, std::size_t rank, float noise,
                               std::vector<float>& basis) {
    basis = random_vectors(rank, dimension, 77);
    const auto inner = random_vectors(count, rank, 78);
    auto vectors = random_vectors(count, dimension, 79);
    for (std::size_t i = 0; i < count; ++i) {
        for (std::size_t k = 0; k < dimension; ++k) {
            float x = 3 + noise * vectors[i * dimension + k];
            for (std::size_t r = 0; r < rank; ++r) x += inner[i * rank + r] * basis[r * dimension + k];
            vectors[i * dimension + k] = x;
        }
    }
    return vectors;
}

std::vector<float> mapped(const VectorMap& map, std::span<const float> vectors) {
    std::vector<float> out(vectors.size() / map.dimension() * map.reduced());
    map.apply(vectors, out);
    return out;
}

}  // namespace

TEST_CASE("dense: whitened vectors have mean 0 and the identity as covariance") {
    for (const std::size_t dimension : {1u, 2u, 24u, 50u}) {
        auto vectors = random_vectors(900, dimension, dimension, 5);
        for (std::size_t i = 0; i < vectors.size(); ++i)
            vectors[i] *= 1 + static_cast<float>(i % dimension);  // unlike each other
        for (const std::size_t reduced : {std::size_t{0}, (dimension + 1) / 2}) {
            const VectorMap map = fit_whitening(vectors, dimension, {.reduced = reduced});
            const std::size_t left = reduced == 0 ? dimension : reduced;
            CHECK(map.reduced() == left);
            const auto [covariance, mean] = spread_of(mapped(map, vectors), left);
            const auto side = static_cast<Eigen::Index>(left);
            CHECK((covariance - Eigen::MatrixXd::Identity(side, side)).cwiseAbs().maxCoeff() < 1e-3);
            CHECK(mean < 1e-3);
        }
    }
}

TEST_CASE("dense: a reduction keeps the subspace that the vectors lie in, the greatest variance first") {
    constexpr std::size_t dimension = 40, rank = 6;
    std::vector<float> basis;
    const auto vectors = in_subspace(700, dimension, rank, 1e-3f, basis);
    const VectorMap map = fit_whitening(vectors, dimension, {.reduced = rank, .whiten = false});
    // The rows are orthonormal, and what they span has the constructed basis in it.
    for (std::size_t a = 0; a < rank; ++a) {
        for (std::size_t b = 0; b < rank; ++b) {
            double product = 0;
            for (std::size_t k = 0; k < dimension; ++k)
                product +=
                    static_cast<double>(map.matrix()[a * dimension + k]) * static_cast<double>(map.matrix()[b * dimension + k]);
            CHECK(std::abs(product - (a == b ? 1 : 0)) < 1e-5);
        }
        double whole = 0, inside = 0;
        for (std::size_t k = 0; k < dimension; ++k) whole += std::pow(static_cast<double>(basis[a * dimension + k]), 2);
        for (std::size_t r = 0; r < rank; ++r) {
            double product = 0;
            for (std::size_t k = 0; k < dimension; ++k)
                product += static_cast<double>(map.matrix()[r * dimension + k]) * static_cast<double>(basis[a * dimension + k]);
            inside += product * product;
        }
        CHECK(inside > 0.9999 * whole);
    }
    const auto [covariance, mean] = spread_of(mapped(map, vectors), rank);
    for (Eigen::Index r = 1; r < Eigen::Index{rank}; ++r) CHECK(covariance(r, r) <= covariance(r - 1, r - 1));
    CHECK(mean < 1e-3);
}

TEST_CASE("dense: directions without variance are not blown up") {
    constexpr std::size_t dimension = 12, rank = 4;
    std::vector<float> basis;
    const auto vectors = in_subspace(300, dimension, rank, 0, basis);
    const auto [covariance, mean] = spread_of(mapped(fit_whitening(vectors, dimension), vectors), dimension);
    for (Eigen::Index r = 0; r < Eigen::Index{dimension}; ++r)
        CHECK((r < Eigen::Index{rank} ? std::abs(covariance(r, r) - 1) < 1e-3 : covariance(r, r) < 1e-3));
    CHECK(mean < 1e-2);

    // Fewer vectors than dimensions: as many directions vary as there are vectors, less one.
    const auto few = random_vectors(5, dimension, 6);
    const auto [small, its_mean] = spread_of(mapped(fit_whitening(few, dimension), few), dimension);
    for (Eigen::Index r = 0; r < Eigen::Index{dimension}; ++r)
        CHECK((r < 4 ? std::abs(small(r, r) - 1) < 1e-3 : small(r, r) < 1e-3));
    CHECK(its_mean < 1e-3);

    // One element that never changes.
    auto flat = random_vectors(50, 3, 7);
    for (std::size_t i = 0; i < 50; ++i) flat[3 * i + 1] = 0.1f;
    const VectorMap map = fit_whitening(flat, 3);
    for (const float x : map.matrix()) CHECK(std::fabs(x) < 2000);
}

TEST_CASE("dense: samples that cannot be whitened are refused in words") {
    constexpr float bad = std::numeric_limits<float>::quiet_NaN();
    const std::vector<float> two{1, 2, 3, 5};
    check_error(ErrorCode::contract, "whitening of 0 floats", [] { static_cast<void>(fit_whitening({}, 2)); });
    check_error(ErrorCode::contract, "in vectors of dimension 0", [&] { static_cast<void>(fit_whitening(two, 0)); });
    check_error(ErrorCode::contract, "whitening of 4 floats in vectors of dimension 3",
                [&] { static_cast<void>(fit_whitening(two, 3)); });
    check_error(ErrorCode::contract, "keeps 3 dimensions of 2",
                [&] { static_cast<void>(fit_whitening(two, 2, {.reduced = 3})); });
    for (const double least : {0.0, -1.0, 1.5, std::numeric_limits<double>::quiet_NaN()}) {
        check_error(ErrorCode::contract, "must lie in (0, 1]",
                    [&] { static_cast<void>(fit_whitening(two, 2, {.least = least})); });
    }
    check_error(ErrorCode::contract, "element 1 of vector 1 is not finite", [&] {
        static_cast<void>(fit_whitening(std::vector<float>{1, 2, 3, bad}, 2));
    });
    for (const std::size_t count : {1u, 2u, 3u, 7u, 1000u}) {
        std::vector<float> equal;
        for (std::size_t i = 0; i < count; ++i) equal.insert(equal.end(), {0.1f, -3.7f});
        check_error(ErrorCode::contract, "vectors are equal: there is nothing to whiten",
                    [&] { static_cast<void>(fit_whitening(equal, 2)); });
    }
    CHECK(fit_whitening(two, 2, {.reduced = 1}).reduced() == 1);
}

}  // namespace test_dense_whitening
