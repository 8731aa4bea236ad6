/// \file Llama with LoRA and marker rows in double, forward only, as plain as can be: what gradients are checked against. The library
/// has no part in it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace flashback_test {

using DoubleRows = std::vector<std::vector<double>>;

/// y = x Wᵀ, W row-major.
inline DoubleRows linear64(const DoubleRows& x, const std::vector<double>& w) {
    const std::size_t inputs = x[0].size();
    DoubleRows y(x.size(), std::vector<double>(w.size() / inputs));
    for (std::size_t t = 0; t < x.size(); ++t) {
        for (std::size_t o = 0; o < y[t].size(); ++o) {
            for (std::size_t i = 0; i < inputs; ++i) y[t][o] += w[o * inputs + i] * x[t][i];
        }
    }
    return y;
}

inline DoubleRows rms_norm64(const DoubleRows& x, const std::vector<double>& weight, double epsilon) {
    DoubleRows y = x;
    for (auto& row : y) {
        double squares = 0;
        for (const double value : row) squares += value * value;
        const double rms = std::sqrt(squares / static_cast<double>(row.size()) + epsilon);
        for (std::size_t i = 0; i < row.size(); ++i) row[i] *= weight[i] / rms;
    }
    return y;
}

/// Rotates adjacent pairs of the first `rotated` elements of each head.
inline void rotate64(DoubleRows& x, std::size_t head_dim, std::size_t rotated, double base) {
    for (std::size_t t = 0; t < x.size(); ++t) {
        for (std::size_t h = 0; h < x[t].size(); h += head_dim) {
            for (std::size_t i = 0; i < rotated; i += 2) {
                const double angle =
                    static_cast<double>(t) * std::pow(base, -static_cast<double>(i) / static_cast<double>(rotated));
                const double a = x[t][h + i];
                const double b = x[t][h + i + 1];
                x[t][h + i] = a * std::cos(angle) - b * std::sin(angle);
                x[t][h + i + 1] = b * std::cos(angle) + a * std::sin(angle);
            }
        }
    }
}

inline DoubleRows attention64(const DoubleRows& q, const DoubleRows& k, const DoubleRows& v, std::size_t heads,
                              std::size_t kv_heads, std::size_t d) {
    DoubleRows out(q.size(), std::vector<double>(heads * d));
    for (std::size_t t = 0; t < q.size(); ++t) {
        for (std::size_t h = 0; h < heads; ++h) {
            const std::size_t g = h / (heads / kv_heads);
            std::vector<double> p(t + 1);
            for (std::size_t s = 0; s <= t; ++s) {
                for (std::size_t i = 0; i < d; ++i) p[s] += q[t][h * d + i] * k[s][g * d + i];
                p[s] /= std::sqrt(static_cast<double>(d));
            }
            const double most = *std::max_element(p.begin(), p.end());
            double total = 0;
            for (double& score : p) total += score = std::exp(score - most);
            for (std::size_t s = 0; s <= t; ++s) {
                for (std::size_t i = 0; i < d; ++i) out[t][h * d + i] += p[s] / total * v[s][g * d + i];
            }
        }
    }
    return out;
}

inline double silu64(double x) { return x / (1 + std::exp(-x)); }

inline double cross_entropy64(const std::vector<double>& logits, std::size_t target, const std::vector<std::int32_t>& cut) {
    double total = 0;
    for (std::size_t i = 0; i < logits.size(); ++i) {
        if (std::find(cut.begin(), cut.end(), static_cast<std::int32_t>(i)) == cut.end()) total += std::exp(logits[i]);
    }
    return std::log(total) - logits[target];
}

struct DoubleLlama {
    std::size_t layers = 0, width = 0, heads = 0, kv_heads = 0, head_dim = 0, rotary_dim = 0;
    double epsilon = 0, rotary_base = 10000;
    std::map<std::string, std::vector<double>>
        tensors;  ///< by the names of GGUF, and "blk.0.attn_q.lora_a", "markers"; row-major
    std::vector<std::int32_t> markers;
    double lora_scale = 0;
    std::vector<std::int32_t> cut;
    /// By what the input of a LoRA is multiplied: (layer, module 0..6, row, input).
    std::function<double(std::size_t, std::size_t, std::size_t, std::size_t)> dropout;

    DoubleRows linear(std::size_t l, std::size_t module, const DoubleRows& x) const {
        static const char* const names[]{"attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"};
        const std::string name = "blk." + std::to_string(l) + '.' + names[module];
        DoubleRows y = linear64(x, tensors.at(name + ".weight"));
        const auto a = tensors.find(name + ".lora_a");
        if (a == tensors.end()) return y;
        DoubleRows dropped = x;
        for (std::size_t t = 0; dropout && t < x.size(); ++t) {
            for (std::size_t i = 0; i < x[t].size(); ++i) dropped[t][i] *= dropout(l, module, t, i);
        }
        const DoubleRows added = linear64(linear64(dropped, a->second), tensors.at(name + ".lora_b"));
        for (std::size_t t = 0; t < y.size(); ++t) {
            for (std::size_t o = 0; o < y[t].size(); ++o) y[t][o] += lora_scale * added[t][o];
        }
        return y;
    }

    /// The sum of the cross entropy of the targets.
    double loss(const std::vector<std::int32_t>& tokens, const std::vector<std::uint32_t>& targets) const {
        const auto add = [](DoubleRows& x, const DoubleRows& y) {
            for (std::size_t t = 0; t < x.size(); ++t) {
                for (std::size_t i = 0; i < x[t].size(); ++i) x[t][i] += y[t][i];
            }
        };
        const auto norm = [&](const DoubleRows& x, const std::string& name) {
            return rms_norm64(x, tensors.at(name + ".weight"), epsilon);
        };
        const auto row_of = [&](const std::vector<double>& matrix, std::size_t r) {
            const auto first = matrix.begin() + static_cast<std::ptrdiff_t>(r * width);
            return std::vector<double>(first, first + static_cast<std::ptrdiff_t>(width));
        };
        DoubleRows x;
        for (const std::int32_t token : tokens) {
            const auto marker = std::find(markers.begin(), markers.end(), token);
            x.push_back(marker == markers.end()
                            ? row_of(tensors.at("token_embd.weight"), static_cast<std::size_t>(token))
                            : row_of(tensors.at("markers"), static_cast<std::size_t>(marker - markers.begin())));
        }
        for (std::size_t l = 0; l < layers; ++l) {
            const std::string block = "blk." + std::to_string(l) + '.';
            const DoubleRows a = norm(x, block + "attn_norm");
            DoubleRows q = linear(l, 0, a);
            DoubleRows k = linear(l, 1, a);
            rotate64(q, head_dim, rotary_dim, rotary_base);
            rotate64(k, head_dim, rotary_dim, rotary_base);
            add(x, linear(l, 3, attention64(q, k, linear(l, 2, a), heads, kv_heads, head_dim)));
            const DoubleRows f = norm(x, block + "ffn_norm");
            DoubleRows gate = linear(l, 4, f);
            const DoubleRows up = linear(l, 5, f);
            for (std::size_t t = 0; t < gate.size(); ++t) {
                for (std::size_t i = 0; i < gate[t].size(); ++i) gate[t][i] = silu64(gate[t][i]) * up[t][i];
            }
            add(x, linear(l, 6, gate));
        }
        const auto head = tensors.find("output.weight");
        const std::vector<double>& w = head == tensors.end() ? tensors.at("token_embd.weight") : head->second;
        double sum = 0;
        for (const std::uint32_t target : targets) {
            const DoubleRows logits = linear64(norm({x[target - 1]}, "output_norm"), w);
            sum += cross_entropy64(logits[0], static_cast<std::size_t>(tokens[target]), cut);
        }
        return sum;
    }
};

/// d f / d value, by central differences of fourth order.
template <class Function>
double difference(double& value, const Function& f) {
    const double h = 1e-3 * std::max(1.0, std::abs(value));
    const double old = value;
    const auto at = [&](double offset) {
        value = old + offset;
        return f();
    };
    const double slope = (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h);
    value = old;
    return slope;
}

}  // namespace flashback_test
