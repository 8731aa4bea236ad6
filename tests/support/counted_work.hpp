/// \file Products and attention that are counted in place of being computed: what each thread of a large machine would do.
///
/// Include it before any header of `model`. The program needs a FLASHBACK_ISA of its own, without FLASHBACK_COMPILED_ONCE.
#pragma once

#include "flashback/core/executor.hpp"
#include "flashback/kv/contiguous_kv_cache.hpp"
#include "flashback/simd/attention.hpp"
#include "flashback/simd/matmul.hpp"

#include <algorithm>
#include <cstddef>
#include <memory>
#include <span>
#include <vector>

namespace flashback_test {

/// What products and attention take.
struct Work {
    double operations = 0;    ///< multiply-adds; a product of several rows takes whole groups of panels
    double bytes = 0;         ///< read from memory, if what a task reads stays in a cache until the task ends
    double weight_bytes = 0;  ///< those of weights alone
};
inline Work counted;

}  // namespace flashback_test

namespace flashback::inline FLASHBACK_ISA::simd {

inline void counted_matmul(const PackedMatrix& w, PanelRange range, const Activations& /*a*/, std::size_t rows,
                           const MatmulResult& /*y*/) noexcept {
    const std::size_t panels = range.last - range.first;
    const std::size_t together = rows == 1 ? 1 : panels_together(w.type());
    const std::size_t multiplied = (panels + together - 1) / together * together;
    flashback_test::counted.operations += static_cast<double>(rows * multiplied * panel_outputs * w.inputs());
    flashback_test::counted.bytes += static_cast<double>(panels * w.panel_bytes());
    flashback_test::counted.weight_bytes += static_cast<double>(panels * w.panel_bytes());
}

template <class Element, class Tiles, class Others = SeesNoOther>
void counted_attend(std::span<const AttentionQuery> queries, const Tiles& /*tile*/, std::size_t d,
                    const Others& /*others*/ = {}) noexcept {
    if (queries.empty()) return;
    for (const AttentionQuery& query : queries)
        flashback_test::counted.operations += static_cast<double>(2 * d * (query.position + 1));
    flashback_test::counted.bytes += static_cast<double>(2 * d * sizeof(Element) * (queries.back().position + 1));
}

template <class Element, class Tiles, class Others, class SumsOf>
void counted_attend_parts(std::span<const AttentionQuery> queries, AttentionParts parts, const Tiles& /*tile*/, std::size_t d,
                          const Others& /*others*/, const SumsOf& /*sums_of*/) noexcept {
    const std::size_t end = std::min(parts.last * AttentionParts::positions, queries.back().position + 1);
    const auto numbers = static_cast<double>(2 * d * (end - parts.first * AttentionParts::positions));
    flashback_test::counted.operations += static_cast<double>(queries.size()) * numbers;
    flashback_test::counted.bytes += sizeof(Element) * numbers;
}

}  // namespace flashback::inline FLASHBACK_ISA::simd

#define matmul counted_matmul
#define attend counted_attend
#define attend_parts counted_attend_parts
#include "flashback/model/forward.hpp"
#include "flashback/model/session.hpp"
#undef matmul
#undef attend
#undef attend_parts

namespace flashback_test {

/// An executor that runs all tasks in the caller's thread, and counts what each of `threads` threads would have done. Tasks are
/// dealt to them as a ThreadPool deals them.
class CountingExecutor {
public:
    explicit CountingExecutor(std::size_t threads) : threads_(threads) {}

    std::size_t concurrency() const noexcept { return threads_; }

    template <class Task>
    void run(std::size_t count, Task&& task) {
        std::vector<Work> shares(threads_);
        for (std::size_t i = 0; i < count; ++i) {
            const Work before = counted;
            task(i);
            Work& share = shares[i % threads_];
            share.operations += counted.operations - before.operations;
            share.bytes += counted.bytes - before.bytes;
        }
        rounds += threads_ > 1 ? 1 : 0;
        for (double Work::*what : {&Work::operations, &Work::bytes}) {
            double most = 0;
            for (const Work& share : shares) {
                most = std::max(most, share.*what);
                in_rounds.*what += share.*what;
            }
            greatest.*what += most;
        }
    }

    std::size_t rounds = 0;  ///< how often all threads waited for each other
    Work greatest;           ///< the greatest share of a thread, summed over the rounds
    Work in_rounds;          ///< of all threads

private:
    std::size_t threads_;
};

/// A model of a shape whose weights were never written, so that they take no memory.
inline std::shared_ptr<const flashback::Transformer> unwritten(const flashback::TransformerConfig& config,
                                                               flashback::DType type) {
    const auto model = std::make_shared<flashback::Transformer>();
    model->config = config;
    model->layers.resize(config.layers);
    if (config.family < flashback::Family::gpt2) model->head.emplace();
    flashback::each_tensor(
        *model,
        [&](const flashback::TensorId&, std::size_t outputs, std::size_t inputs, flashback::simd::PackedMatrix& matrix) {
            matrix = flashback::simd::PackedMatrix{type, outputs, inputs};
        },
        [](const flashback::TensorId&, std::size_t count, std::vector<float>& vector) { vector.assign(count, 0.0f); });
    model->rotary_frequencies = flashback::rotary_frequencies_of(config);
    return model;
}

/// What the threads of a machine do for a piece of tokens.
struct Division {
    std::size_t rounds;  ///< how often they wait for each other
    double operations;   ///< the greatest share of multiply-adds over the mean; 1 if all have the same
    double bytes;        ///< the same of bytes that are read
};

/// `rows` tokens after `before` others, and the logits of the last, by `threads` threads.
inline Division divide(const flashback::Transformer& model, std::size_t rows, std::size_t before, std::size_t threads) {
    const flashback::TransformerConfig& c = model.config;
    flashback::ContiguousKVCache cache{{c.layers, c.kv_heads, c.head_dim, before + rows, flashback::DType::f16}};
    cache.reserve(before + rows);
    flashback::Workspace work{c, rows, 0, before + rows};
    flashback::AlignedBuffer<float> logits{flashback::simd::padded(c.vocab)};
    CountingExecutor executor{threads};
    const flashback::ForwardParts parts{model, work, executor};
    const flashback::PiecePlace<flashback::ContiguousKVCache> place{&cache, rows, before, before};
    const std::vector<flashback::TokenId> tokens(rows, 1);
    counted = {};
    flashback::forward(parts, tokens, flashback::PiecePlaces<flashback::ContiguousKVCache>{&place, 1});
    flashback::logits_of(parts, rows - 1, 1, logits.data());
    const auto share = [&](double Work::*what) {
        const double serial = counted.*what - executor.in_rounds.*what;  // which one thread does while the others wait
        return (executor.greatest.*what + serial) / (counted.*what / static_cast<double>(threads));
    };
    return {executor.rounds, share(&Work::operations), share(&Work::bytes)};
}

}  // namespace flashback_test
