/// \file The tensors of a GGUF file as vectors and packed matrices.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/executor.hpp"
#include "flashback/files/detail/gguf_place.hpp"
#include "flashback/files/weights_cache.hpp"
#include "flashback/format/gguf.hpp"
#include "flashback/format/gguf_fingerprint.hpp"
#include "flashback/simd/packed_matrix.hpp"
#include "flashback/tensor/dequantize.hpp"
#include "flashback/tensor/quantize.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA::detail {

/// Reads one tensor of a file once, from its first byte to its last: hashes it, and gives back pages that were read.
class GgufTensorReading {
public:
    GgufTensorReading(const GgufFile& file, const GgufTensor& tensor) : file_(file), data_(tensor.data) {}

    /// Repacks the rows that a matrix has of the tensor. Matrices come in the order of their rows.
    void pack(const GgufPlace& place, DType type, simd::PackedMatrix& to) {
        constexpr std::size_t group = simd::panel_outputs;
        const DTypeLayout layout = layout_of(type);
        const std::size_t inputs = to.inputs();
        const std::size_t row_bytes = inputs / layout.block_elements * layout.block_bytes;
        const bool as_it_is = type == to.type();
        std::vector<float> values(as_it_is ? 0 : inputs);
        const std::size_t block_bytes = as_it_is ? 0 : inputs / 32 * sizeof(BlockQ8_0);
        std::vector<std::byte> blocks(group * block_bytes);
        for (std::size_t p = 0; p < to.panels(); ++p) {
            std::array<const std::byte*, group> rows{};
            const std::size_t count = std::min(group, to.outputs() - p * group);
            std::size_t first = place.all_rows, last = 0;
            for (std::size_t i = 0; i < count; ++i) {
                const std::size_t row = place.first_row + place.theirs(p * group + i);
                rows[i] = data_.data() + row * row_bytes;
                first = std::min(first, row);
                last = std::max(last, row);
            }
            hash_to((last + 1) * row_bytes);  // what was hashed just now is still in the processor's cache
            for (std::size_t i = 0; i < count && !as_it_is; ++i) {
                dequantize(type, rows[i], inputs, values.data());
                quantize(DType::q8_0, values.data(), inputs, blocks.data() + i * block_bytes);
                rows[i] = blocks.data() + i * block_bytes;
            }
            to.set_panel(p, std::span{rows}.first(count));
            // Rows in the order of rotated halves are read at two places of a head; those before both are done.
            if ((p + 1) % panels_at_once == 0) release_to(first * row_bytes);
        }
    }

    /// The hash of the tensor.
    std::uint64_t finish() {
        hash_to(data_.size());
        release_to(data_.size());
        return Fingerprint::of(hash_);
    }

private:
    static constexpr std::size_t panels_at_once = 8;  // then pages of the file are given back

    void hash_to(std::size_t end) noexcept {
        if (end < data_.size()) end -= end % FingerprintParts::multiple;
        if (end <= hashed_) return;
        hash_.add(data_.subspan(hashed_, end - hashed_));
        hashed_ = end;
    }
    void release_to(std::size_t end) noexcept {
        if (end <= released_) return;
        file_.release(data_.subspan(released_, end - released_));
        released_ = end;
    }

    const GgufFile& file_;
    std::span<const std::byte> data_;
    FingerprintParts hash_;
    std::size_t hashed_ = 0, released_ = 0;
};

/// Takes the tensors of a file one by one, each with the shape that the hyper-parameters ask for. Vectors are read at once, and
/// matrices when all were taken.
class GgufWeights {
public:
    explicit GgufWeights(const GgufFile& file) : file_(file) {}

    bool has(const std::string& name) const { return file_.tensor(name) != nullptr; }

    std::vector<float> vector(const GgufPlace& place, std::size_t count) {
        const GgufTensor& tensor = *take(place.tensor, 1, {place.all_rows, 1}).tensor;
        std::vector<float> all(place.all_rows);
        dequantize(tensor.type, tensor.data.data(), all.size(), all.data());
        std::vector<float> values(count);
        for (std::size_t i = 0; i < count; ++i) values[place.ours(i)] = all[place.first_row + i];
        return values;
    }

    /// Says where a matrix goes, which `read` or `take` makes.
    /// Requires  it stays where it is until then
    void matrix(const GgufPlace& place, std::size_t outputs, std::size_t inputs, simd::PackedMatrix& to) {
        Taken& taken = take(place.tensor, 2, {inputs, place.all_rows});
        const DType type = taken.tensor->type;
        const bool as_it_is = simd::PackedMatrix::takes(type);
        if (!as_it_is) ++converted_[type];
        taken.parts.push_back(wanted_.size());
        wanted_.push_back({place, {as_it_is ? type : DType::q8_0, outputs, inputs}, &to});
    }

    /// Refuses a file with tensors that nobody took: if they were known, they would change the result.
    void refuse_others() const {
        for (const GgufTensor& tensor : file_.tensors()) {
            if (!taken_.contains(tensor.name)) {
                FLASHBACK_THROW(ErrorCode::unsupported, "'", file_.name(), "' has the tensor ", printable(tensor.name),
                                ", which is not known for a model of this architecture");
            }
        }
    }

    /// Whether a file of repacked weights has these matrices.
    bool fits(const WeightsCache& cache) const noexcept {
        if (cache.size() != wanted_.size()) return false;
        for (std::size_t i = 0; i < wanted_.size(); ++i) {
            if (cache.shape(i) != wanted_[i].shape) return false;
        }
        return true;
    }
    /// Takes the matrices from a file that fits.
    void take(const WeightsCache& cache, FileAccess access, ExecutorRef executor) {
        executor.run(wanted_.size(), [&](std::size_t i) {
            simd::PackedMatrix matrix = cache.matrix(i);
            *wanted_[i].to = access == FileAccess::copy ? matrix.copy() : std::move(matrix);
        });
    }
    /// All matrices, in the order in which they were asked for.
    std::vector<const simd::PackedMatrix*> matrices() const {
        std::vector<const simd::PackedMatrix*> all;
        for (const Wanted& wanted : wanted_) all.push_back(wanted.to);
        return all;
    }

    /// Hashes all tensors and makes the matrices, several tensors at once if there is an executor. Gives the fingerprint of the
    /// file.
    /// Requires  all tensors were taken
    std::uint64_t read(ExecutorRef executor) {
        std::vector<Taken*> all;
        for (auto& [name, taken] : taken_) all.push_back(&taken);
        std::ranges::stable_sort(all, std::ranges::greater{}, [](const Taken* t) { return t->tensor->data.size(); });
        std::atomic<std::size_t> next{0};  // the largest first: then no thread is left with one at the end
        executor.run(std::min(all.size(), executor.concurrency()), [&](std::size_t) {
            for (std::size_t i = next++; i < all.size(); i = next++) {
                GgufTensorReading reading{file_, *all[i]->tensor};
                for (const std::size_t part : all[i]->parts) {
                    const auto& [place, shape, to] = wanted_[part];
                    *to = simd::PackedMatrix{shape.type, shape.outputs, shape.inputs};
                    reading.pack(place, all[i]->tensor->type, *to);
                }
                all[i]->hash = reading.finish();
            }
        });
        return fingerprint_of(file_, [&](const GgufTensor& tensor) { return taken_.at(tensor.name).hash; });
    }

    /// One sentence for each type that is not run as it is.
    std::vector<std::string> notes() const {
        std::vector<std::string> sentences;
        for (const auto& [type, count] : converted_) {
            sentences.push_back("'" + file_.name() + "': " + std::to_string(count) + " tensors of type " +
                                std::string{layout_of(type).name} + " were converted to Q8_0");
        }
        return sentences;
    }

private:
    struct Wanted {
        GgufPlace place;
        WeightsCache::Shape shape;
        simd::PackedMatrix* to;
    };
    struct Taken {
        const GgufTensor* tensor;
        std::vector<std::size_t> parts = {};  // of wanted_
        std::uint64_t hash = 0;
    };

    Taken& take(const std::string& name, std::size_t rank, std::array<std::size_t, 2> dims) {
        const GgufTensor* tensor = file_.tensor(name);
        if (!tensor) FLASHBACK_THROW(ErrorCode::format, "'", file_.name(), "' lacks the tensor ", name);
        if (tensor->rank != rank || tensor->dims[0] != dims[0] || tensor->dims[1] != dims[1]) {
            FLASHBACK_THROW(ErrorCode::format, "'", file_.name(), "': tensor ", name, " has ", tensor->rank,
                            " dimensions, the first two ", tensor->dims[0], " x ", tensor->dims[1], "; expected ", rank, ": ",
                            dims[0], " x ", dims[1]);
        }
        if (!can_dequantize(tensor->type)) {
            FLASHBACK_THROW(ErrorCode::unsupported, "'", file_.name(), "': tensor ", name, " has type ",
                            layout_of(tensor->type).name,
                            ", expected F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1 or Q2_K to Q6_K");
        }
        return taken_.try_emplace(tensor->name, Taken{tensor}).first->second;
    }

    const GgufFile& file_;
    std::map<std::string_view, Taken> taken_;
    std::map<DType, std::size_t> converted_;
    std::vector<Wanted> wanted_;
};

}  // namespace flashback::inline FLASHBACK_ISA::detail
