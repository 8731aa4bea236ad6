/// \file Searching among all vectors.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/dense/detail/query_rows.hpp"
#include "flashback/dense/detail/vector_rows.hpp"
#include "flashback/dense/exact_index.hpp"
#include "flashback/simd/dot_rows.hpp"
#include "flashback/tensor/aligned_buffer.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <memory>
#include <span>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

namespace detail {

/// Rows whose products are computed before they are looked at: these stay in the cache, and so do the rows for the next queries.
inline constexpr std::size_t search_rows_together = 64;
/// Queries that meet these rows together.
inline constexpr std::size_t search_queries_together = 32;

}  // namespace detail

/// The best of the rows that came so far, at most k. They must come in ascending order: so a row that equals the worst of k is
/// not better.
struct ExactIndex::Best {
    std::size_t k;
    std::vector<DenseHit> heap;  // the worst first, as soon as there are k

    explicit Best(std::size_t most) : k(most) { heap.reserve(most); }

    void add(std::size_t first, const float* scores, std::size_t count) {
        constexpr std::size_t together = 16;
        for (std::size_t i = 0; i < count; i += together) {
            const std::size_t last = std::min(count, i + together);
            if (heap.size() == k) {
                const float worst = heap.front().score;
                bool any = false;
                for (std::size_t j = i; j < last; ++j) any |= scores[j] > worst;
                if (!any) continue;  // nearly always
            }
            for (std::size_t j = i; j < last; ++j) add({first + j, scores[j]});
        }
    }

private:
    void add(DenseHit hit) {
        if (std::isnan(hit.score)) hit.score = -std::numeric_limits<float>::infinity();
        if (heap.size() < k) {
            heap.push_back(hit);
            if (heap.size() == k) std::ranges::make_heap(heap, better);
        } else if (better(hit, heap.front())) {
            std::ranges::pop_heap(heap, better);
            heap.back() = hit;
            std::ranges::push_heap(heap, better);
        }
    }
};

FLASHBACK_DETAIL_ONCE ExactIndex::ExactIndex(std::shared_ptr<const VectorStore> vectors, ExecutorRef executor)
    : vectors_(std::move(vectors)), executor_(executor) {
    FLASHBACK_ASSERT(vectors_ != nullptr, "an index needs vectors, found none");
}

FLASHBACK_DETAIL_ONCE ExactIndex::ExactIndex(VectorStore vectors, ExecutorRef executor)
    : ExactIndex(std::make_shared<const VectorStore>(std::move(vectors)), executor) {}

FLASHBACK_DETAIL_ONCE std::vector<DenseHit> ExactIndex::search(std::span<const float> query, std::size_t k) const {
    FLASHBACK_ASSERT(query.size() == dimension(), "a query of ", query.size(), " floats for vectors of dimension ",
                     dimension());
    return std::move(search_batch(query, k).front());
}

FLASHBACK_DETAIL_ONCE std::vector<std::vector<DenseHit>> ExactIndex::search_batch(std::span<const float> queries,
                                                                                  std::size_t k) const {
    const detail::QueryRows prepared{queries, dimension(), vectors_->normalised()};
    const std::size_t count = prepared.size();
    std::vector<std::vector<DenseHit>> answers(count);
    if (k == 0 || size() == 0 || count == 0) return answers;
    const std::size_t blocks = (size() + detail::search_rows_together - 1) / detail::search_rows_together;
    const std::size_t parts = std::min(blocks, executor_.concurrency());
    const auto begin = [&](std::size_t part) { return std::min(size(), blocks * part / parts * detail::search_rows_together); };
    std::vector<Best> best;  // by part, then by query
    best.reserve(parts * count);
    for (std::size_t part = 0; part < parts; ++part) {
        for (std::size_t q = 0; q < count; ++q) best.emplace_back(std::min(k, begin(part + 1) - begin(part)));
    }
    executor_.run(parts, [&](std::size_t part) {
        search_rows(prepared.rows(), begin(part), begin(part + 1), std::span{best}.subspan(part * count, count));
    });
    for (std::size_t q = 0; q < count; ++q) {
        std::vector<DenseHit>& answer = answers[q];
        for (std::size_t part = 0; part < parts; ++part) {
            const auto& some = best[part * count + q].heap;
            answer.insert(answer.end(), some.begin(), some.end());
        }
        std::ranges::sort(answer, better);
        answer.resize(std::min(k, answer.size()));
    }
    return answers;
}

FLASHBACK_DETAIL_ONCE void ExactIndex::search_rows(const simd::DotRows<float>& queries, std::size_t first, std::size_t last,
                                                   std::span<Best> best) const {
    const VectorStore& vectors = *vectors_;
    AlignedBuffer<float> scores{detail::search_rows_together * detail::search_queries_together};
    detail::with_vector_element(vectors.element(), [&](auto element) {
        using Element = decltype(element);
        for (std::size_t i = first; i < last; i += detail::search_rows_together) {
            const simd::DotRows<Element> rows{vectors.row<Element>(i), vectors.row_bytes() / sizeof(Element),
                                              std::min(detail::search_rows_together, last - i)};
            for (std::size_t q = 0; q < queries.count; q += detail::search_queries_together) {
                const std::size_t together = std::min(detail::search_queries_together, queries.count - q);
                simd::dot_rows(rows, {queries.data + q * queries.stride, queries.stride, together},
                               simd::padded(vectors.dimension()), {scores.data(), detail::search_rows_together});
                for (std::size_t j = 0; j < together; ++j) {
                    float* const some = scores.data() + j * detail::search_rows_together;
                    if constexpr (sizeof(Element) == 1) {
                        for (std::size_t r = 0; r < rows.count; ++r) some[r] *= vectors.scale(i + r);
                    }
                    best[q + j].add(i, some, rows.count);
                }
            }
        }
    });
}

}  // namespace flashback::inline FLASHBACK_ISA
