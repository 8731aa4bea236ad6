/// \file Where trained parameters lie: one array of floats, by name.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/simd/packed_panel.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// One tensor among the trained parameters.
struct Parameter {
    /// How its elements lie. Matrices of linear layers and embeddings lie in panels of 16 outputs, (panels, inputs, 16) with
    /// zeros for missing outputs, as in simd::PackedMatrix. Norms and marker rows lie row by row.
    enum class Order : std::uint8_t { panels, rows };

    std::string name;         ///< as GGUF has it, e.g. "blk.0.attn_q.weight"; "blk.0.attn_q.lora_a", "....lora_b", "markers"
    std::size_t outputs = 0;  ///< rows of the matrix
    std::size_t inputs = 0;   ///< columns of the matrix
    Order order = Order::panels;  ///< how its elements lie in the array
    bool decays = true;           ///< false for norms
    std::size_t offset = 0;       ///< of its first element in the array

    /// How many floats it takes in the array.
    std::size_t size() const noexcept { return (order == Order::panels ? simd::padded(outputs) : outputs) * inputs; }

    /// Where an element lies in the array.
    std::size_t at(std::size_t output, std::size_t input) const noexcept {
        if (order == Order::rows) return offset + output * inputs + input;
        constexpr std::size_t lanes = simd::panel_outputs;
        return offset + output / lanes * inputs * lanes + input * lanes + output % lanes;
    }

    /// The tensor, taken out of an array of parameters, gradients or moments.
    /// Shape     (outputs, inputs) row-major
    std::vector<float> read(const float* array) const {
        std::vector<float> values;
        values.reserve(outputs * inputs);
        for (std::size_t o = 0; o < outputs; ++o) {
            for (std::size_t i = 0; i < inputs; ++i) values.push_back(array[at(o, i)]);
        }
        return values;
    }

    /// Puts a tensor into such an array.
    /// Throws    Error{contract} for another number of values
    void write(const std::vector<float>& values, float* array) const {
        FLASHBACK_ASSERT(values.size() == outputs * inputs, "the parameter ", name, " has ", outputs * inputs,
                         " elements, but ", values.size(), " were given");
        for (std::size_t o = 0; o < outputs; ++o) {
            for (std::size_t i = 0; i < inputs; ++i) array[at(o, i)] = values[o * inputs + i];
        }
    }
};

/// The trained parameters, one after the other, each at a multiple of 16 floats; the gaps are zeros.
class ParameterLayout {
public:
    /// Appends a parameter and gives its offset.
    std::size_t add(std::string name, std::size_t outputs, std::size_t inputs, Parameter::Order order, bool decays) {
        parameters_.push_back({std::move(name), outputs, inputs, order, decays, size_});
        size_ += simd::padded(parameters_.back().size());
        return parameters_.back().offset;
    }

    /// All of them, in the order of the array.
    const std::vector<Parameter>& parameters() const noexcept { return parameters_; }
    /// The first.
    auto begin() const noexcept { return parameters_.begin(); }
    /// Behind the last.
    auto end() const noexcept { return parameters_.end(); }

    /// How many floats the whole array has.
    std::size_t size() const noexcept { return size_; }

    /// How many elements train, without padding.
    std::size_t elements() const noexcept {
        std::size_t sum = 0;
        for (const Parameter& p : parameters_) sum += p.outputs * p.inputs;
        return sum;
    }

    /// Throws    Error{contract} if there is none of that name
    const Parameter& operator[](std::string_view name) const {
        for (const Parameter& p : parameters_) {
            if (p.name == name) return p;
        }
        FLASHBACK_THROW(ErrorCode::contract, "no trained parameter has the name '", name, "'");
    }

private:
    std::vector<Parameter> parameters_;
    std::size_t size_ = 0;
};

}  // namespace flashback::inline FLASHBACK_ISA
