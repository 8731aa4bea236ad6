/// \file Approximate search in a graph, with hnswlib. It needs hnswlib (Debian: libhnswlib-dev; tested with 0.6.2), so the umbrella
/// does not include it.
///
/// hnswlib 0.6 defines functions that are not inline, and code that depends on macros, unless NO_MANUAL_VECTORIZATION is
/// defined. This header defines it and gives hnswlib our kernels and a type of ours, so that any number of sources may include
/// it. A program that uses hnswlib itself too must define that macro for all its sources.
/// What hnswlib has besides templates, its lists of visited vectors, has no tag of an instruction set: a program with sources for
/// several includes this header in those of one only.
#pragma once

#include "flashback/core/executor.hpp"
#include "flashback/dense/vector_index.hpp"
#include "flashback/dense/vector_store.hpp"
#include "flashback/fwd.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

namespace detail {

class HnswGraph;

}  // namespace detail

/// How a graph is built and searched.
struct HnswOptions {
    std::size_t links =
        16;  ///< M of the paper, 2 to 256: a vector is linked to as many others in each layer, twice as many in the lowest
    std::size_t ef_construction = 200;  ///< vectors that are kept in mind while the neighbours of a new one are looked for
    std::size_t ef = 64;                ///< the same in a search, at least k: more find more, and take longer
    std::uint64_t seed = 0;             ///< of the layers that vectors are in
};

/// Finds vectors with great dot products without looking at all of them. It may miss some of the best; scores are those of
/// ExactIndex, to the bit. Normalised vectors suit it: with vectors of very different lengths it misses more. The same vectors
/// and options give the same graph. It satisfies VectorIndex.
///
/// It holds the graph, and shares the vectors. Copies share the graph. Several threads may search at once.
///
/// A file holds the graph without the vectors. It is little-endian, u64 in the start and u32 behind it:
///
/// | part   | what it holds                                                                                                  |
/// |--------|----------------------------------------------------------------------------------------------------------------|
/// | start  | `FBHNSWGR`, version 1, vectors, links, ef_construction, seed, number of the first vector of a search, layers above the lowest of all vectors added up, checksum of the vectors, checksum of everything else |
/// | lowest | each vector: how many links, then room for 2 · links numbers of vectors                                           |
/// | layers | each vector: the number of layers that it is in above the lowest                                                 |
/// | upper  | each vector and each of these layers, from below: how many links, then room for `links` numbers of vectors       |
///
/// Nothing that a file says is believed: hnswlib sees a graph only after every link was looked at.
/// Source    Malkov and Yashunin 2018, Efficient and robust approximate nearest neighbor search using hierarchical navigable
///           small world graphs
class HnswIndex {
public:
    /// Builds a graph.
    /// Requires  nothing is added to the vectors any more, and the executor, which runs the queries of a batch, lives as long
    ///           as this index
    /// Throws    Error{contract} for options out of range, no store, or 2^31 vectors; Error{engine} if hnswlib fails;
    ///           std::bad_alloc
    /// Cost      about ef_construction · 2 · links dot products for each vector, in one thread; then 8 · links + 30 bytes for each
    explicit HnswIndex(std::shared_ptr<const VectorStore> vectors, const HnswOptions& options = {}, ExecutorRef executor = {});

    /// Reads a graph that was saved.
    /// Throws    Error{io} if the file cannot be read; Error{format} if it is damaged or no graph; Error{unsupported} for
    ///           another version; Error{contract} if it belongs to other vectors; std::bad_alloc
    static HnswIndex load(const std::filesystem::path& path, std::shared_ptr<const VectorStore> vectors,
                          std::size_t ef = HnswOptions{}.ef, ExecutorRef executor = {});

    /// The same from bytes; `name` is what errors call them.
    /// Throws    as `load`, without Error{io}
    static HnswIndex parse(std::span<const std::byte> bytes, const std::string& name,
                           std::shared_ptr<const VectorStore> vectors, std::size_t ef = HnswOptions{}.ef,
                           ExecutorRef executor = {});

    /// Writes the graph, as a whole or not at all (AtomicFile).
    /// Throws    Error{io}, and then nothing has changed
    void save(const std::filesystem::path& path) const;

    /// How many vectors it searches.
    std::size_t size() const noexcept { return vectors_->size(); }
    /// How many numbers a vector has.
    std::size_t dimension() const noexcept { return vectors_->dimension(); }
    /// What it searches.
    const VectorStore& vectors() const noexcept { return *vectors_; }
    /// What the graph was made with.
    const HnswOptions& options() const noexcept { return options_; }

    /// The same graph, searched with another ef.
    /// Throws    Error{contract} for 0
    HnswIndex with_ef(std::size_t ef) const;

    /// Nearly the best k vectors, in the order of ExactIndex.
    /// Shape     query (dimension())
    /// Throws    Error{contract} for another length, or an element that is not finite; Error{engine} if hnswlib fails;
    ///           std::bad_alloc
    std::vector<DenseHit> search(std::span<const float> query, std::size_t k) const;

    /// The answers to several queries, each a task of the executor.
    /// Shape     queries (any number, dimension())
    /// Throws    as `search`
    std::vector<std::vector<DenseHit>> search_batch(std::span<const float> queries, std::size_t k) const;

private:
    HnswIndex(std::shared_ptr<const VectorStore> vectors, const HnswOptions& options,
              std::shared_ptr<const detail::HnswGraph> graph, ExecutorRef executor);

    std::shared_ptr<const VectorStore> vectors_;
    HnswOptions options_;
    std::shared_ptr<const detail::HnswGraph> graph_;
    ExecutorRef executor_;
};

}  // namespace flashback::inline FLASHBACK_ISA

#include "flashback/dense/detail/hnsw_index.hpp"
