// Linear maps of vectors: against doubles, their files, and what is no map.
#include "flashback/dense/vector_map.hpp"

#include "flashback/format/safetensors_writer.hpp"
#include "support/errors.hpp"
#include "support/random_vectors.hpp"
#include "support/temporary_folder.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <filesystem>
#include <limits>
#include <span>
#include <string_view>
#include <vector>

#include <doctest/doctest.h>

namespace test_dense_vector_map {

using namespace flashback;
using namespace flashback_test;

TEST_CASE("dense: a map does what doubles do, and each vector by itself has the same bits") {
    for (const std::size_t dimension : {1u, 16u, 33u}) {
        for (const std::size_t reduced : {1u, 7u, 33u}) {
            const auto mean = random_vectors(1, dimension, 1);
            const auto matrix = random_vectors(reduced, dimension, 2);
            const VectorMap map{mean, matrix};
            CHECK(map.dimension() == dimension);
            CHECK(map.reduced() == reduced);
            const auto vectors = random_vectors(9, dimension, 3);
            std::vector<float> out(9 * reduced, -7.0f);
            map.apply(vectors, out);
            for (std::size_t i = 0; i < 9; ++i) {
                std::vector<float> alone(reduced);
                map.apply(std::span{vectors}.subspan(i * dimension, dimension), alone);
                for (std::size_t r = 0; r < reduced; ++r) {
                    double exact = 0;
                    for (std::size_t k = 0; k < dimension; ++k)
                        exact += static_cast<double>(matrix[r * dimension + k]) *
                                 (static_cast<double>(vectors[i * dimension + k]) - static_cast<double>(mean[k]));
                    CHECK(std::abs(static_cast<double>(out[i * reduced + r]) - exact) < 1e-4);
                    CHECK(out[i * reduced + r] == alone[r]);
                }
            }
        }
    }
}

TEST_CASE("dense: a map is saved and loaded, and what is no map is refused in words") {
    const TemporaryFolder folder;
    const auto path = folder.path() / "map.safetensors";
    const VectorMap map{{1, 2, 3}, {1, 0, 0, 0, 5, 6}};
    map.save(path);
    const VectorMap loaded = VectorMap::load(path);
    CHECK(std::ranges::equal(loaded.mean(), map.mean()));
    CHECK(std::ranges::equal(loaded.matrix(), map.matrix()));

    const auto written = [&](std::string_view name, std::vector<std::uint64_t> shape, std::vector<float> mean,
                             std::vector<float> matrix) {
        SafetensorsWriter writer{path};
        writer.add_tensor("mean", {mean.size()}, DType::f32);
        writer.add_tensor(name, std::move(shape), DType::f32);
        writer.write(std::as_bytes(std::span{mean}));
        writer.write(std::as_bytes(std::span{matrix}));
        writer.finish();
        return [&] { static_cast<void>(VectorMap::load(path)); };
    };
    check_error(ErrorCode::format, "it has no tensor 'matrix'", written("matrices", {1, 2}, {1, 2}, {3, 4}));
    check_error(ErrorCode::format, "it has no tensor 'matrix'", written("matrix", {2}, {1, 2}, {3, 4}));
    check_error(ErrorCode::format, "it has no tensor 'matrix'", written("matrix", {0, 2}, {1, 2}, {}));
    check_error(ErrorCode::format, "it has no tensor 'mean'", written("matrix", {1, 0}, {}, {}));
    check_error(ErrorCode::format, "its mean has dimension 2, but the rows of its matrix 1",
                written("matrix", {2, 1}, {1, 2}, {3, 4}));
    constexpr float infinity = std::numeric_limits<float>::infinity();
    check_error(ErrorCode::format, "the tensor 'matrix'", written("matrix", {1, 2}, {1, 2}, {3, infinity}));
    check_error(ErrorCode::io, "cannot open", [] { static_cast<void>(VectorMap::load("/nowhere")); });
    check_error(ErrorCode::io, "cannot write", [&] { map.save("/nowhere/map.safetensors"); });

    check_error(ErrorCode::contract, "expected whole rows, at least one", [] { VectorMap{{}, {}}; });
    check_error(ErrorCode::contract, "dimension 2 with a matrix of 3 numbers", [] { VectorMap{{1, 2}, {1, 2, 3}}; });
    check_error(ErrorCode::contract, "dimension 2 with a matrix of 0 numbers", [] { VectorMap{{1, 2}, {}}; });
    check_error(ErrorCode::contract, "is not finite", [&] { VectorMap{{infinity}, {1}}; });
    std::vector<float> out(2);
    check_error(ErrorCode::contract, "3 floats are mapped to 1",
                [&] { map.apply(std::vector<float>(3), std::span{out}.first(1)); });
    check_error(ErrorCode::contract, "4 floats are mapped to 2", [&] { map.apply(std::vector<float>(4), out); });
    CHECK_NOTHROW(map.apply({}, {}));
}

}  // namespace test_dense_vector_map
