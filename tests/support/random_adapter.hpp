/// \file A small adapter of random numbers for a model.
#pragma once

#include "flashback/core/random.hpp"
#include "flashback/model/adapter.hpp"

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace flashback_test::inline FLASHBACK_ISA {

struct RandomAdapter {
    std::vector<flashback::LinearModule> modules{flashback::linear_modules.begin(), flashback::linear_modules.end()};
    std::size_t rank = 3;
    float scale = 2;
    std::vector<flashback::TokenId> ids = {};
    std::uint64_t seed = 5;
};

/// B A x is about as large as x.
inline flashback::Adapter random_adapter(const flashback::TransformerConfig& c, const RandomAdapter& how = {}) {
    flashback::SplitMix64 random{how.seed};
    const auto numbers = [&](std::size_t count, double most) {
        std::vector<float> values(count);
        for (float& value : values) value = static_cast<float>((2 * random.uniform() - 1) * most);
        return values;
    };
    flashback::Adapter adapter;
    if (!how.modules.empty()) adapter.layers.resize(c.layers);
    for (flashback::AdapterLayer& layer : adapter.layers) {
        for (const flashback::LinearModule m : how.modules) {
            if (!c.has(m)) continue;
            layer[m] = {how.rank, how.scale, numbers(how.rank * c.inputs(m), std::sqrt(3.0 / static_cast<double>(c.inputs(m)))),
                        numbers(c.outputs(m) * how.rank, 0.5)};
        }
    }
    adapter.embedding_ids = how.ids;
    adapter.embedding_rows = numbers(how.ids.size() * c.row_width(), 1);
    return adapter;
}

}  // namespace flashback_test::inline FLASHBACK_ISA
