/// \file The linear layers of a block, as the files of adapters name and divide them.
#pragma once

#include "flashback/files/detail/rotary_rows.hpp"
#include "flashback/model/adapter.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA::detail {

/// A linear layer of a file: one of ours; or, in GPT-2, queries, keys and values on top of each other.
struct FileModule {
    std::string name;
    std::vector<LinearModule> parts;
};

/// The linear layers of a block as files divide them; `name(m)` is the name of the layer that holds our layer m.
template <class Name>
std::vector<FileModule> file_modules(const TransformerConfig& c, const Name& name) {
    std::vector<FileModule> modules;
    for (const LinearModule m : linear_modules) {
        if (!c.has(m)) continue;
        std::string of_part = name(m);
        if (modules.empty() || modules.back().name != of_part) modules.push_back({std::move(of_part), {}});
        modules.back().parts.push_back(m);
    }
    return modules;
}
inline std::vector<FileModule> peft_modules(const TransformerConfig& c, std::size_t layer) {
    return file_modules(c, [&](LinearModule m) { return peft_module(c, layer, m); });
}

/// How many numbers a layer of a file gives and takes.
inline std::size_t outputs(const TransformerConfig& c, const FileModule& module) {
    std::size_t sum = 0;
    for (const LinearModule m : module.parts) sum += c.outputs(m);
    return sum;
}
inline std::size_t inputs(const TransformerConfig& c, const FileModule& module) { return c.inputs(module.parts.front()); }

/// The order of the rows of queries and keys in a file. The two elements of a rotated pair stand side by side, as here, or half
/// a head apart.
enum class RotaryRows : std::uint8_t { pairs, halves };

/// The columns of some rows of B that are not all 0.
inline std::vector<std::size_t> columns_in_use(const float* b, std::size_t rows, std::size_t rank) {
    std::vector<std::size_t> columns;
    for (std::size_t column = 0; column < rank; ++column) {
        for (std::size_t row = 0; row < rows; ++row) {
            if (b[row * rank + column] == 0) continue;
            columns.push_back(column);
            break;
        }
    }
    return columns;
}

/// Gives the pair of a layer of a file to our layers. If there are several, they share A and divide the rows of B. Ranks that
/// only add zeros to a part are left out there, so that what `joined` put together comes apart again.
inline void divide(const TransformerConfig& c, const FileModule& module, const LoraPair& whole, RotaryRows order,
                   AdapterLayer& layer) {
    const std::size_t width = inputs(c, module);
    const float* rows = whole.b.data();
    for (const LinearModule m : module.parts) {
        std::vector<float> b(rows, rows + c.outputs(m) * whole.rank);
        rows += c.outputs(m) * whole.rank;
        if (order == RotaryRows::halves) b = from_halves(c, m, b, whole.rank);
        if (module.parts.size() == 1) {
            layer[m] = {whole.rank, whole.scale, whole.a, std::move(b)};
            continue;
        }
        const std::vector<std::size_t> columns = columns_in_use(b.data(), c.outputs(m), whole.rank);
        if (columns.empty()) continue;
        LoraPair& part = layer[m];
        part = {columns.size(), whole.scale, {}, {}};
        for (const std::size_t column : columns) {
            const auto a = whole.a.begin() + static_cast<std::ptrdiff_t>(column * width);
            part.a.insert(part.a.end(), a, a + static_cast<std::ptrdiff_t>(width));
        }
        for (std::size_t row = 0; row < c.outputs(m); ++row) {
            for (const std::size_t column : columns) part.b.push_back(b[row * whole.rank + column]);
        }
    }
}

/// The pair of a layer of a file: that of our layer, or of several. Several share A if they have the same one; otherwise each
/// gets ranks of its own.
inline LoraPair joined(const TransformerConfig& c, const FileModule& module, const AdapterLayer& layer, RotaryRows order) {
    std::vector<LinearModule> present;
    for (const LinearModule m : module.parts) {
        if (layer[m].rank > 0) present.push_back(m);
    }
    if (present.empty()) return {};
    const LoraPair& first = layer[present.front()];
    const bool shared =
        std::ranges::all_of(present, [&](LinearModule m) { return layer[m].scale == first.scale && layer[m].a == first.a; });
    LoraPair whole{shared ? first.rank : 0, first.scale, {}, {}};
    for (const LinearModule m : present) {
        if (shared) break;
        whole.rank += layer[m].rank;
        if (std::fabs(layer[m].scale) > std::fabs(whole.scale)) whole.scale = layer[m].scale;
    }
    std::size_t at = 0;  // the first column of the part
    for (const LinearModule m : module.parts) {
        const LoraPair& part = layer[m];
        std::vector<float> b = order == RotaryRows::halves ? to_halves(c, m, part.b, part.rank) : part.b;
        if (part.scale != whole.scale) {
            const double factor = whole.scale == 0 ? 0 : static_cast<double>(part.scale) / static_cast<double>(whole.scale);
            for (float& value : b) value = static_cast<float>(factor * static_cast<double>(value));
        }
        const std::size_t row = whole.b.size();
        whole.b.resize(row + c.outputs(m) * whole.rank);
        for (std::size_t o = 0; part.rank > 0 && o < c.outputs(m); ++o)
            std::copy_n(b.data() + o * part.rank, part.rank, whole.b.data() + row + o * whole.rank + at);
        if (part.rank == 0 || (shared && !whole.a.empty())) continue;
        whole.a.insert(whole.a.end(), part.a.begin(), part.a.end());
        if (!shared) at += part.rank;
    }
    return whole;
}

}  // namespace flashback::inline FLASHBACK_ISA::detail
