/// \file A linear map of vectors, such as whitening or a projection to fewer dimensions, and embedders behind one.
#pragma once

#include "flashback/core/embedder.hpp"
#include "flashback/core/error.hpp"
#include "flashback/core/retriever.hpp"
#include "flashback/fwd.hpp"

#include <cstddef>
#include <filesystem>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// Maps a vector x to matrix · (x - mean). fit_whitening (dense/whitening.hpp) makes one; using it needs nothing but this
/// header. It is immutable, so several threads may use it.
class VectorMap {
public:
    /// Shape     mean (dimension)   matrix (reduced, dimension), row by row
    /// Throws    Error{contract} if the matrix has not at least one whole row, or if a number is not finite
    VectorMap(std::vector<float> mean, std::vector<float> matrix);

    /// Reads the tensors `mean` and `matrix`, both F32, of a safetensors file.
    /// Throws    Error{io}; Error{format} if the file is damaged or is no such map; Error{unsupported} as SafetensorsFile
    static VectorMap load(const std::filesystem::path& path);

    /// Writes them, as a whole or not at all.
    /// Throws    Error{io}, and then nothing has changed
    void save(const std::filesystem::path& path) const;

    /// Floats of a vector before it is mapped.
    std::size_t dimension() const noexcept { return mean_.size(); }
    /// And after.
    std::size_t reduced() const noexcept { return matrix_.size() / mean_.size(); }
    /// Shape     (dimension())
    std::span<const float> mean() const noexcept { return mean_; }
    /// Shape     (reduced(), dimension())
    std::span<const float> matrix() const noexcept { return matrix_; }

    /// Maps vectors. What becomes of one does not depend on the others, to the bit.
    /// Shape     vectors (any number, dimension())   out (the same number, reduced()), which shares no memory with them
    /// Throws    Error{contract} for other lengths; std::bad_alloc
    /// Cost      dimension() · reduced() multiply-adds for each vector
    void apply(std::span<const float> vectors, std::span<float> out) const;

private:
    std::vector<float> mean_;
    std::vector<float> matrix_;
};

/// An embedder whose vectors, those of queries too, go through a map. It refers to the embedder, which must outlive it. It
/// satisfies Embedder.
template <class EmbedderT>
class MappedEmbedder {
    static_assert(checked_embedder<EmbedderT>());

public:
    /// Throws    Error{contract} if the map is not for vectors of this dimension
    MappedEmbedder(EmbedderT& embedder, VectorMap map) : embedder_(&embedder), map_(std::move(map)) {
        const std::size_t dimension = embedder.dimension();
        FLASHBACK_ASSERT(dimension == map_.dimension(), "an embedder gives vectors of dimension ", dimension,
                         ", but they are mapped from ", map_.dimension());
    }

    /// How many numbers a vector has after the map.
    std::size_t dimension() const noexcept { return map_.reduced(); }

    /// Shape     out (texts.size(), dimension())
    /// Throws    what the embedder throws; as VectorMap::apply
    void embed(std::span<const std::string_view> texts, std::span<float> out) {
        std::vector<float> whole(texts.size() * map_.dimension());
        embedder_->embed(texts, std::span{whole});
        map_.apply(whole, out);
    }

    /// The same for queries.
    void embed_queries(std::span<const std::string_view> texts, std::span<float> out) {
        std::vector<float> whole(texts.size() * map_.dimension());
        flashback::embed_queries(*embedder_, texts, std::span{whole});
        map_.apply(whole, out);
    }

    /// The tokens that the embedder has evaluated, ever; 0 if it does not count.
    std::size_t work() const { return work_of(*embedder_); }

private:
    EmbedderT* embedder_;
    VectorMap map_;
};

}  // namespace flashback::inline FLASHBACK_ISA

#if !defined(FLASHBACK_COMPILED_ONCE)
#include "flashback/dense/detail/vector_map.hpp"
#endif
