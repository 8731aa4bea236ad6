/// \file How the work of a forward pass is cut between threads. No cut changes a bit (rule R10).
///
/// The smallest cuts balance best, and the largest cost least: kernels like several panels or rows together, weights are read
/// once for each group of rows, and a thread that has next to nothing to do only has to be waited for. So a finer cut is taken if
/// the thread with the most work then has a sixteenth less.
#pragma once

#include "flashback/core/executor.hpp"
#include "flashback/simd/attention.hpp"
#include "flashback/simd/matmul.hpp"

#include <algorithm>
#include <cstddef>

namespace flashback::inline FLASHBACK_ISA::detail {

/// Whether a cut that leaves `cost` to a thread is worth taking instead of a coarser one that leaves `coarser`.
constexpr bool saves(std::size_t cost, std::size_t coarser) noexcept { return cost + coarser / 16 < coarser; }

constexpr std::size_t ceil_div(std::size_t a, std::size_t b) noexcept { return (a + b - 1) / b; }

// A thread takes at least so many multiply-adds of a product, and so many elements of rows: less than a microsecond of work,
// about as long as it takes to wait for all threads.
inline constexpr std::size_t least_multiplied = 16384;
inline constexpr std::size_t least_elements = 4096;

// Rows that share one reading of the weights are cut into parts of at least so many: then weights are computed with for longer
// than it takes to read them again from a cache that is shared.
inline constexpr std::size_t least_rows = 32;

/// Products of the same rows and inputs whose panels are counted one after the other.
struct CutProduct {
    std::size_t panels;    ///< of all
    std::size_t inputs;    ///< of each
    std::size_t rows;      ///< of activations
    std::size_t together;  ///< panels that are multiplied together if there are several rows
    std::size_t finest;    ///< panels: cuts stand at its multiples
};

/// The product of some rows with a matrix by itself.
inline CutProduct whole_product(const simd::PackedMatrix& w, std::size_t rows) noexcept {
    return {w.panels(), w.inputs(), rows, simd::panels_together(w.type()), 1};
}

/// Where a product is cut.
struct ProductCut {
    std::size_t panels;       ///< cuts between panels stand at its multiples
    std::size_t panel_parts;  ///< into how many ranges panels are cut
    std::size_t row_parts;    ///< into how many ranges rows are cut
};

/// The cut of a product for a number of threads.
constexpr ProductCut cut_of(const CutProduct& product, std::size_t threads) noexcept {
    const std::size_t all = product.panels * simd::panel_outputs * product.inputs * product.rows;
    threads = std::clamp<std::size_t>(all / least_multiplied, 1, threads);
    ProductCut best{};
    std::size_t best_cost = 0;
    for (std::size_t row_parts = 1; row_parts <= std::clamp<std::size_t>(product.rows / least_rows, 1, threads); ++row_parts) {
        for (std::size_t grain = 8; grain >= product.finest; grain /= 2) {
            const std::size_t grains = ceil_div(product.panels, grain);
            const std::size_t parts = std::min(grains, threads / row_parts);
            const std::size_t most = std::min(ceil_div(grains, parts) * grain, product.panels);
            const std::size_t panels = product.rows == 1 ? most : ceil_div(most, product.together) * product.together;
            const std::size_t cost = panels * ceil_div(product.rows, row_parts);
            if (best_cost > 0 && !saves(cost, best_cost)) continue;
            best = {grain, parts, row_parts};
            best_cost = cost;
        }
    }
    return best;
}

/// A part of a product: some outputs of some rows.
struct ProductPart {
    std::size_t first, last;          ///< panels
    std::size_t first_row, last_row;  ///< rows
};

/// Calls `task(part)` for parts that cover a product.
template <class Task>
void run_product(const ExecutorRef& executor, const CutProduct& product, const Task& task) {
    if (product.panels == 0 || product.rows == 0) return;
    const ProductCut cut = cut_of(product, executor.concurrency());
    const std::size_t grains = ceil_div(product.panels, cut.panels);
    executor.run(cut.panel_parts * cut.row_parts, [&](std::size_t i) {
        const std::size_t part = i % cut.panel_parts;
        const std::size_t row_part = i / cut.panel_parts;
        task(ProductPart{grains * part / cut.panel_parts * cut.panels,
                         std::min(grains * (part + 1) / cut.panel_parts * cut.panels, product.panels),
                         product.rows * row_part / cut.row_parts, product.rows * (row_part + 1) / cut.row_parts});
    });
}

/// Calls `task(row)` for all rows, of which each has about `elements` elements.
template <class Task>
void run_rows(const ExecutorRef& executor, std::size_t rows, std::size_t elements, const Task& task) {
    executor.run_ranges(rows, std::max<std::size_t>(least_elements / elements, 1), [&](std::size_t first, std::size_t last) {
        for (std::size_t r = first; r < last; ++r) task(r);
    });
}

/// How many rows of queries go over keys and values together: at most `most` rows, fewer if threads have nothing to do otherwise.
/// Shape     `groups` groups of `rows` rows each, of which one row has `queries` queries that share keys and values
constexpr std::size_t rows_together(std::size_t rows, std::size_t groups, std::size_t queries, std::size_t threads) noexcept {
    std::size_t best = std::min(std::max<std::size_t>(simd::attention_queries / queries, 1), rows);
    const auto cost = [&](std::size_t together) { return ceil_div(groups * ceil_div(rows, together), threads) * together; };
    for (std::size_t together = best / 2; together > 0 && together * queries >= 4; together /= 2)
        if (saves(cost(together), cost(best))) best = together;
    return best;
}

}  // namespace flashback::inline FLASHBACK_ISA::detail
