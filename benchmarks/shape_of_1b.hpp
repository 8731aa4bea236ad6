/// \file A model of the shape of TinyLlama 1.1 B, with random weights.
#pragma once

#include "flashback/core/thread_pool.hpp"
#include "flashback/model/random_transformer.hpp"
#include "flashback/tensor/dtype.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <memory>

#include <benchmark/benchmark.h>

namespace flashback_bench {

/// How many of its 22 layers are made, as FLASHBACK_BENCH_LAYERS says; all take 4.2 GB in F32.
inline std::size_t layers_of_1b() {
    const char* text = std::getenv("FLASHBACK_BENCH_LAYERS");
    return text ? std::max<std::size_t>(std::strtoul(text, nullptr, 10), 1) : 1;
}

/// Whether FLASHBACK_BENCH_LAYERS is unset. Then the one layer is narrow, so that each benchmark runs in a moment: for tests.
inline bool narrow() { return std::getenv("FLASHBACK_BENCH_LAYERS") == nullptr; }

/// The same model at each call. It holds `window` positions, which may be more than the model of that name was trained for.
template <flashback::DType type, std::size_t window = 2048>
const std::shared_ptr<const flashback::Transformer>& shape_of_1b() {
    static const std::shared_ptr<const flashback::Transformer> model = [] {
        flashback::TransformerConfig c = *flashback::shape_of("tinyllama-1.1b");
        c.layers = layers_of_1b();
        c.window = window;
        if (narrow()) {
            c.width /= 8;
            c.heads /= 8;
            c.kv_heads = 1;
            c.hidden = 768;
        }
        flashback::ThreadPool pool{2};
        return flashback::random_transformer(c, type, 1, pool);
    }();
    return model;
}

/// Writes beside a figure that it says nothing, if the model is narrow.
inline void label_narrow(benchmark::State& state) {
    if (narrow()) state.SetLabel("narrow: FLASHBACK_BENCH_LAYERS is unset");
}

}  // namespace flashback_bench
