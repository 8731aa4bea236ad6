/// \file Random vectors, and searching them in double.
#pragma once

#include "flashback/core/random.hpp"
#include "flashback/dense/vector_index.hpp"
#include "flashback/dense/vector_store.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace flashback_test {

/// A number with mean 0 and variance 1, nearly normal: the sum of 12 uniform ones.
inline float normal(flashback::SplitMix64& random) {
    double sum = -6;
    for (int i = 0; i < 12; ++i) sum += random.uniform();
    return static_cast<float>(sum);
}

/// Vectors around `clusters` points, one after another; with 0 clusters, around the origin.
inline std::vector<float> random_vectors(std::size_t count, std::size_t dimension, std::uint64_t seed,
                                         std::size_t clusters = 0) {
    flashback::SplitMix64 random{seed};
    std::vector<float> centres(clusters * dimension);
    for (float& x : centres) x = 2 * normal(random);
    std::vector<float> vectors(count * dimension);
    for (std::size_t i = 0; i < count; ++i) {
        const std::size_t centre = clusters == 0 ? 0 : random.below(clusters);
        for (std::size_t k = 0; k < dimension; ++k)
            vectors[i * dimension + k] = normal(random) + (clusters == 0 ? 0 : centres[centre * dimension + k]);
    }
    return vectors;
}

/// The dot products of a query with what a store holds, in double.
inline std::vector<double> exact_scores(const flashback::VectorStore& vectors, std::span<const float> query) {
    double length = 1;
    if (vectors.normalised()) {
        length = 0;
        for (const float x : query) length += static_cast<double>(x) * static_cast<double>(x);
        length = length > 0 ? std::sqrt(length) : 1;
    }
    std::vector<float> vector(vectors.dimension());
    std::vector<double> scores(vectors.size());
    for (std::size_t i = 0; i < scores.size(); ++i) {
        vectors.read(i, vector);
        for (std::size_t k = 0; k < vector.size(); ++k)
            scores[i] += static_cast<double>(vector[k]) * static_cast<double>(query[k]) / length;
    }
    return scores;
}

}  // namespace flashback_test
