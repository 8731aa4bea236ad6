#include "inspect_weights.hpp"

#include "flashback/tensor/dequantize.hpp"
#include "flashback/text/unicode.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <iomanip>
#include <iostream>

namespace cli {
namespace {

namespace fb = flashback;

std::uint64_t weights_of(const ListedTensor& tensor) {
    std::uint64_t weights = 1;
    for (const std::uint64_t side : tensor.shape) weights *= side;
    return weights;
}

struct NotFinite {
    std::size_t count = 0;
    std::size_t first = 0;
};

/// The weights of a tensor that are not finite numbers; none if its type is not read.
NotFinite not_finite(const ListedTensor& tensor, fb::ExecutorRef executor) {
    if (!tensor.type || !fb::can_dequantize(*tensor.type)) return {};
    constexpr std::size_t piece = 4096;  // whole blocks of every type
    const fb::DTypeLayout layout = fb::layout_of(*tensor.type);
    const std::size_t weights = tensor.data.size() / layout.block_bytes * layout.block_elements;
    std::atomic<std::size_t> count{0};
    std::atomic<std::size_t> first{weights};
    executor.run_ranges(weights, piece, [&](std::size_t begin, std::size_t end) {
        std::array<float, piece> values{};
        for (std::size_t at = begin; at < end; at += piece) {
            const std::size_t some = std::min(piece, end - at);
            fb::dequantize(*tensor.type, tensor.data.data() + at / layout.block_elements * layout.block_bytes, some,
                           values.data());
            for (std::size_t i = 0; i < some; ++i) {
                if (std::isfinite(values[i])) continue;
                ++count;
                for (std::size_t old = first; at + i < old && !first.compare_exchange_weak(old, at + i);) {
                }
            }
        }
    });
    return {count, first};
}

}  // namespace

ListedTensor listed(const fb::GgufTensor& tensor) {
    return {std::string{tensor.name},
            std::string{fb::layout_of(tensor.type).name},
            tensor.type,
            {tensor.dims.begin(), tensor.dims.begin() + static_cast<std::ptrdiff_t>(tensor.rank)},
            tensor.data};
}

ListedTensor listed(const fb::SafeTensor& tensor) {
    return {tensor.name, std::string{tensor.dtype}, tensor.type, tensor.shape, tensor.data};
}

Json weights_json(const std::vector<ListedTensor>& tensors, fb::ExecutorRef executor) {
    Json types = Json::object();
    std::uint64_t all_weights = 0;
    std::uint64_t all_bytes = 0;
    Json strange = nullptr;
    for (const ListedTensor& tensor : tensors) {
        Json& type = types[tensor.type_name];
        if (type.is_null()) type = {{"tensors", 0}, {"weights", 0}, {"bytes", 0}};
        type["tensors"] = type["tensors"].get<std::uint64_t>() + 1;
        type["weights"] = type["weights"].get<std::uint64_t>() + weights_of(tensor);
        type["bytes"] = type["bytes"].get<std::uint64_t>() + tensor.data.size();
        all_weights += weights_of(tensor);
        all_bytes += tensor.data.size();
        const NotFinite found = not_finite(tensor, executor);
        if (found.count == 0) continue;
        if (strange.is_null()) strange = {{"weights", 0}, {"tensor", tensor.name}, {"element", found.first}};
        strange["weights"] = strange["weights"].get<std::uint64_t>() + found.count;
    }
    return {
        {"tensors", tensors.size()}, {"weights", all_weights}, {"bytes", all_bytes}, {"types", types}, {"not_finite", strange}};
}

Json tensors_json(const std::vector<ListedTensor>& tensors, const char* shape) {
    Json all = Json::array();
    for (const ListedTensor& tensor : tensors)
        all.push_back(
            {{"name", tensor.name}, {"type", tensor.type_name}, {shape, tensor.shape}, {"bytes", tensor.data.size()}});
    return all;
}

std::string shown(const Json& value) {
    if (value.is_null()) return "none";
    return fb::harmless(value.is_string() ? value.get<std::string>()
                                          : value.dump(-1, ' ', false, Json::error_handler_t::replace));
}

void print_line(const std::string& name, const Json& value) {
    std::cout << std::left << std::setw(20) << fb::harmless(name) << shown(value) << '\n';
}

void print_weights(const Json& weights, bool by_type) {
    const auto sums = [](const Json& of) {
        return shown(of["weights"]) + " in " + shown(of["tensors"]) + " tensors, " + shown(of["bytes"]) + " bytes";
    };
    print_line("weights", sums(weights));
    for (const auto& [type, of] : weights["types"].items()) {
        if (by_type) print_line("  " + type, sums(of));
    }
    const Json& strange = weights["not_finite"];
    if (strange.is_null()) return;
    print_line("not finite", shown(strange["weights"]) + " of the weights; the first is element " + shown(strange["element"]) +
                                 " of " + shown(strange["tensor"]));
}

void print_tensors(const Json& tensors, const char* shape, int width) {
    std::cout << "tensors\n";
    for (const Json& tensor : tensors)
        std::cout << "  " << std::left << std::setw(width) << shown(tensor["name"]) << std::setw(6) << shown(tensor["type"])
                  << shown(tensor[shape]) << '\n';
}

}  // namespace cli
