// Random operations on sessions, next to a plain model that holds vectors of tokens and computes everything from scratch: the properties
// of a cache (groups 57 to 68 of tests/hostile_cases.md), for each model of a cache, element and kind of positions.
//
// A failure prints a seed and the number of the operation: FLASHBACK_SEED=<seed> does the same again, in the same build.
// FLASHBACK_OPERATIONS=<number> does so many for each kind of cache.
#include "model/kv_operations/evaluating.hpp"
#include "model/kv_operations/storing.hpp"
#include "model/kv_operations/world.hpp"
#include "support/random_adapter.hpp"
#include "support/random_model.hpp"
#include "support/sanitizer.hpp"

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include <doctest/doctest.h>

namespace test_model_kv_operations {

namespace {

template <class S>
struct Operation {
    std::string name;
    void (*run)(World<S>&);
    std::size_t weight;
};

template <class S>
std::vector<Operation<S>> operations() {
    std::vector<Operation<S>> all{{"append", append_some<S>, 24},
                                  {"append nonsense", append_nonsense<S>, 2},
                                  {"rewind", rewind<S>, 14},
                                  {"fork", fork<S>, 10},
                                  {"drop", drop<S>, 4},
                                  {"move", move<S>, 2},
                                  {"save", save<S>, 6},
                                  {"load", load<S>, 8},
                                  {"load what is damaged", load_damaged<S>, 3},
                                  {"switch adapter", switch_voice<S>, 3},
                                  {"evaluate_each", append_each<S>, 14}};
    if constexpr (std::same_as<S, PagedSession>) {
        all.push_back({"look up", look_up, 8});
        all.push_back({"keep", keep, 6});
        all.push_back({"pin", pin, 2});
        all.push_back({"unpin", unpin, 3});
    }
    return all;
}

std::size_t from_environment(const char* name, std::size_t otherwise) {
    const char* const text = std::getenv(name);
    return text ? std::strtoull(text, nullptr, 10) : otherwise;
}

struct Kind {
    Family family;
    DType element;
};
constexpr std::array kinds{Kind{Family::llama, DType::f32}, Kind{Family::llama, DType::f16}, Kind{Family::llama, DType::bf16},
                           Kind{Family::llama, DType::i8},  Kind{Family::opt, DType::f32},   Kind{Family::opt, DType::f16},
                           Kind{Family::opt, DType::bf16},  Kind{Family::opt, DType::i8}};

template <class S>
void run(const Kind& kind, std::size_t number) {
    const RandomModel shape{.layers = 2,
                            .width = 16,
                            .heads = 4,
                            .kv_heads = kind.family == Family::opt ? 4u : 2u,
                            .head_dim = 4,
                            .hidden = 16,
                            .vocab = 40,
                            .window = 150,
                            .family = kind.family};
    const ModelPtr model = random_model(shape);
    const auto adapter = [&](std::uint64_t seed) {
        return std::make_shared<const PackedAdapter>(random_adapter(model->config, {.rank = 2, .seed = seed}), model->config);
    };
    const auto first = adapter(1);
    const std::uint64_t seed = from_environment("FLASHBACK_SEED", 1);
    const std::size_t count = from_environment("FLASHBACK_OPERATIONS", sanitized ? 100 : 6400);
    CAPTURE(seed);
    CAPTURE(number);
    CAPTURE(layout_of(kind.element).name);
    World<S> w{model, kind.element, {{}, {first, 1}, {first, 0.5f}, {adapter(2), 1}}, random_key(seed, 1, number)};
    const std::vector<Operation<S>> all = operations<S>();
    std::size_t weights = 0;
    for (const Operation<S>& one : all) weights += one.weight;
    for (std::size_t i = 0; i < count; ++i) {
        std::size_t left = w.random.below(weights);
        std::size_t chosen = 0;
        for (; left >= all[chosen].weight; ++chosen) left -= all[chosen].weight;
        CAPTURE(i);
        CAPTURE(all[chosen].name);
        all[chosen].run(w);
        w.check_invariants();
    }
    if (count < 1000) return;
    // All of it happened.
    for (const std::size_t outcome : w.counts) REQUIRE(outcome > count / 1000);
    REQUIRE(w.cancelled > count / 200);
    if constexpr (World<S>::paged) {
        const PrefixStoreCounts kept = w.store->counts();
        REQUIRE(kept.evictions > count / 100);
        REQUIRE(kept.hits > kept.asked / 4);
        w.branches.clear();
        w.store.reset();
        REQUIRE(w.pool->used_bytes() == 0);
    }
}

}  // namespace

TEST_CASE("random operations on contiguous sessions do what a plain model says that computes everything from scratch") {
    for (std::size_t i = 0; i < kinds.size(); ++i) run<Session>(kinds[i], i);
}

TEST_CASE("random operations on paged sessions do what a plain model says that computes everything from scratch") {
    for (std::size_t i = 0; i < kinds.size(); ++i) run<PagedSession>(kinds[i], kinds.size() + i);
}

}  // namespace test_model_kv_operations
