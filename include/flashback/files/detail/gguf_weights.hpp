/// \file The tensors of a GGUF file as vectors and packed matrices.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/executor.hpp"
#include "flashback/files/detail/gguf_place.hpp"
#include "flashback/format/gguf.hpp"
#include "flashback/format/gguf_fingerprint.hpp"
#include "flashback/simd/packed_matrix.hpp"
#include "flashback/tensor/dequantize.hpp"
#include "flashback/tensor/quantize.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace flashback::inline FLASHBACK_ISA::detail {

/// Takes the tensors of a file one by one, each with the shape that the hyper-parameters ask for.
class GgufWeights {
public:
    GgufWeights(const GgufFile& file, ExecutorRef executor) : file_(file), executor_(executor) {}

    bool has(const std::string& name) const { return file_.tensor(name) != nullptr; }

    std::vector<float> vector(const GgufPlace& place, std::size_t count) {
        const GgufTensor& tensor = take(place.tensor, 1, {place.all_rows, 1});
        std::vector<float> all(place.all_rows);
        dequantize(tensor.type, tensor.data.data(), all.size(), all.data());
        std::vector<float> values(count);
        for (std::size_t i = 0; i < count; ++i) values[place.ours(i)] = all[place.first_row + i];
        return values;
    }

    simd::PackedMatrix matrix(const GgufPlace& place, std::size_t outputs, std::size_t inputs) {
        const GgufTensor& tensor = take(place.tensor, 2, {inputs, place.all_rows});
        const bool as_it_is = simd::PackedMatrix::takes(tensor.type);
        if (!as_it_is) ++converted_[tensor.type];
        const DTypeLayout layout = layout_of(tensor.type);
        const std::size_t row_bytes = inputs / layout.block_elements * layout.block_bytes;
        const auto data = tensor.data.subspan(place.first_row * row_bytes, outputs * row_bytes);
        simd::PackedMatrix packed{as_it_is ? tensor.type : DType::q8_0, outputs, inputs};
        executor_.run_ranges(outputs, simd::panel_outputs, [&](std::size_t first, std::size_t last) {
            std::vector<float> values(as_it_is ? 0 : inputs);
            std::vector<std::byte> blocks(as_it_is ? 0 : inputs / 32 * sizeof(BlockQ8_0));
            for (std::size_t begin = first; begin < last; begin += rows_at_once) {
                const std::size_t end = std::min(begin + rows_at_once, last);
                for (std::size_t o = begin; o < end; ++o) {
                    const std::byte* row = data.data() + o * row_bytes;
                    if (!as_it_is) {
                        dequantize(tensor.type, row, inputs, values.data());
                        quantize(DType::q8_0, values.data(), inputs, blocks.data());
                        row = blocks.data();
                    }
                    packed.set_row(place.ours(o), row);
                }
                file_.release(data.subspan(begin * row_bytes, (end - begin) * row_bytes));
            }
        });
        return packed;
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

    /// The fingerprint of the file.
    /// Requires  all tensors were taken
    std::uint64_t fingerprint() const {
        return fingerprint_of(file_, [&](const GgufTensor& tensor) { return taken_.at(tensor.name); });
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

private:
    const GgufTensor& take(const std::string& name, std::size_t rank, std::array<std::size_t, 2> dims) {
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
        // Hash it now: its pages are given back while it is repacked.
        if (!taken_.contains(tensor->name)) taken_.emplace(tensor->name, flashback::fingerprint(*tensor));
        return *tensor;
    }

    static constexpr std::size_t rows_at_once = 128;  // then pages of the file are given back

    const GgufFile& file_;
    ExecutorRef executor_;
    std::map<std::string_view, std::uint64_t> taken_;  // and their hashes
    std::map<DType, std::size_t> converted_;
};

}  // namespace flashback::inline FLASHBACK_ISA::detail
