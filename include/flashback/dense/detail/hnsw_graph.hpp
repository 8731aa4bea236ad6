/// \file The one place that sees hnswlib: a graph over stored vectors.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/dense/detail/vector_rows.hpp"
#include "flashback/dense/hnsw.hpp"
#include "flashback/simd/dot_rows.hpp"
#include "flashback/simd/packed_panel.hpp"
#include "flashback/tensor/aligned_buffer.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <fstream>
#include <limits>
#include <memory>
#include <mutex>
#include <new>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#if defined(USE_SSE) || defined(USE_AVX) || defined(USE_AVX512)
#error "flashback: define NO_MANUAL_VECTORIZATION before hnswlib is included: dense/hnsw.hpp says why"
#endif
#if !defined(NO_MANUAL_VECTORIZATION)
#define NO_MANUAL_VECTORIZATION
#endif
#include <hnswlib/hnswlib.h>

namespace flashback::inline FLASHBACK_ISA::detail {

/// A distance for hnswlib: the dot product with its sign turned, and infinity for a NaN. As a type of ours it makes hnswlib's
/// functions those of this instruction set.
struct HnswDistance {
    float value = 0;

    HnswDistance() = default;
    explicit HnswDistance(float dot) noexcept : value(std::isnan(dot) ? std::numeric_limits<float>::infinity() : -dot) {}
    HnswDistance operator-() const noexcept {
        HnswDistance turned;
        turned.value = -value;
        return turned;
    }
    friend bool operator<(HnswDistance a, HnswDistance b) noexcept { return a.value < b.value; }
    friend bool operator>(HnswDistance a, HnswDistance b) noexcept { return b < a; }
    friend bool operator==(HnswDistance a, HnswDistance b) noexcept { return a.value == b.value; }
};

/// The links between vectors. hnswlib keeps the data of a vector behind its links; here that is no bytes at all, and the place
/// where they would begin says which vector is meant. So vectors are not stored twice, may be of any element, and may be mapped
/// from a file.
class HnswGraph {
public:
    using Links = hnswlib::HierarchicalNSW<HnswDistance>;

    /// Holds no links yet.
    HnswGraph(const VectorStore& vectors, const HnswOptions& options) : space_(vectors), vectors_(&vectors) {
        guarded([&] {
            links_ = std::make_unique<Links>(&space_, vectors.size(), options.links, options.ef_construction,
                                             static_cast<std::size_t>(options.seed));
        });
        links_->setEf(1);  // each search says its own
        space_.first = links_->data_level0_memory_ + links_->offsetData_;
        space_.stride = links_->size_data_per_element_;
    }
    HnswGraph(const HnswGraph&) = delete;  // hnswlib points into it
    HnswGraph& operator=(const HnswGraph&) = delete;

    /// Links all vectors.
    void build() {
        guarded([&] {
            for (std::size_t i = 0; i < vectors_->size(); ++i) links_->addPoint(space_.first + i * space_.stride, i);
        });
        searches();
    }

    /// Says that all links are there, and gives back what only building needs.
    void searches() {
        links_->fstdistfunc_ = distance_to_query;
        links_->label_lookup_ = {};
        std::vector<std::mutex>{}.swap(links_->link_list_locks_);
        std::vector<std::mutex>{}.swap(links_->link_list_update_locks_);
        space_.left = {};
    }

    Links& links() noexcept { return *links_; }
    const Links& links() const noexcept { return *links_; }

    /// Nearly the best `most` vectors, in no order.
    /// Shape     query: dimension() floats, then zeros up to a multiple of 16
    std::vector<DenseHit> search(const float* query, std::size_t most) const {
        std::vector<DenseHit> hits;
        guarded([&] {
            auto found = links_->searchKnn(query, most);
            hits.reserve(found.size());
            for (; !found.empty(); found.pop()) hits.push_back({found.top().second, (-found.top().first).value});
        });
        return hits;
    }

private:
    /// What hnswlib asks for distances.
    struct Space final : hnswlib::SpaceInterface<HnswDistance> {
        explicit Space(const VectorStore& of) : vectors(&of), padded(simd::padded(of.dimension())), left(padded) {}

        std::size_t get_data_size() override { return 0; }
        hnswlib::DISTFUNC<HnswDistance> get_dist_func() override { return distance_of_vectors; }
        void* get_dist_func_param() override { return this; }

        std::size_t number_of(const void* place) const noexcept {
            return static_cast<std::size_t>(static_cast<const char*>(place) - first) / stride;
        }

        const VectorStore* vectors;
        std::size_t padded;
        const char* first = nullptr;  // where the data of vector 0 would be
        std::size_t stride = 1;
        AlignedBuffer<float> left;  // vector `left_number` as floats, while a graph is built, which one thread does
        std::size_t left_number = SIZE_MAX;
    };

    static HnswDistance distance_to_query(const void* query, const void* place, const void* space) {
        const auto& s = *static_cast<const Space*>(space);
        return distance(s, static_cast<const float*>(query), s.number_of(place));
    }

    static HnswDistance distance_of_vectors(const void* a, const void* b, const void* space) {
        auto& s = *const_cast<Space*>(static_cast<const Space*>(space));
        const std::size_t number = s.number_of(a);
        if (s.vectors->element() == DType::f32) return distance(s, s.vectors->row<float>(number), s.number_of(b));
        if (number != s.left_number) {
            std::fill_n(s.left.data(), s.padded, 0.0f);
            s.vectors->read(number, {s.left.data(), s.vectors->dimension()});
            s.left_number = number;
        }
        return distance(s, s.left.data(), s.number_of(b));
    }

    static HnswDistance distance(const Space& s, const float* query, std::size_t number) {
        float dot = 0;
        with_vector_element(s.vectors->element(), [&](auto element) {
            dot = simd::dot_row(s.vectors->row<decltype(element)>(number), query, s.padded) * s.vectors->scale(number);
        });
        return HnswDistance{dot};
    }

    /// Does something with hnswlib, and turns what it throws into our errors. If it finds no memory, it may lose some.
    template <class Work>
    static void guarded(const Work& work) {
        try {
            work();
        } catch (const std::bad_alloc&) {
            throw;
        } catch (const std::exception& error) {
            FLASHBACK_THROW(ErrorCode::engine, "hnswlib failed: ", printable(error.what()));
        }
    }

    Space space_;
    const VectorStore* vectors_;
    std::unique_ptr<Links> links_;
};

}  // namespace flashback::inline FLASHBACK_ISA::detail
