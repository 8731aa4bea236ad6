/// \file The transformers of all families in double, with LoRA and marker rows, forward only, as plain as can be: what logits and
/// gradients are checked against. The library has no part in it. Norms, positions, gates, biases and projections are known by the
/// names of the tensors that are there.
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

/// y = x Wᵀ, W row-major; 4 sums only so that it does not take for ever.
inline DoubleRows linear64(const DoubleRows& x, const std::vector<double>& w) {
    const std::size_t inputs = x[0].size();
    DoubleRows y(x.size(), std::vector<double>(w.size() / inputs));
    for (std::size_t t = 0; t < x.size(); ++t) {
        for (std::size_t o = 0; o < y[t].size(); ++o) {
            const double* row = w.data() + o * inputs;
            double sum[4] = {};
            for (std::size_t i = 0; i < inputs; ++i) sum[i % 4] += row[i] * x[t][i];
            y[t][o] = (sum[0] + sum[1]) + (sum[2] + sum[3]);
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

inline DoubleRows layer_norm64(const DoubleRows& x, const std::vector<double>& weight, const std::vector<double>& bias,
                               double epsilon) {
    DoubleRows y = x;
    for (auto& row : y) {
        double mean = 0;
        for (const double value : row) mean += value / static_cast<double>(row.size());
        double variance = 0;
        for (const double value : row) variance += (value - mean) * (value - mean) / static_cast<double>(row.size());
        for (std::size_t i = 0; i < row.size(); ++i)
            row[i] = (row[i] - mean) / std::sqrt(variance + epsilon) * weight[i] + bias[i];
    }
    return y;
}

/// Rotates adjacent pairs of the first `rotated` elements of each head; angles are divided by `divisors`, or not.
inline void rotate64(DoubleRows& x, std::size_t head_dim, std::size_t rotated, double base,
                     const std::vector<double>& divisors = {}) {
    for (std::size_t t = 0; t < x.size(); ++t) {
        for (std::size_t h = 0; h < x[t].size(); h += head_dim) {
            for (std::size_t i = 0; i < rotated; i += 2) {
                const double angle = static_cast<double>(t) *
                                     std::pow(base, -static_cast<double>(i) / static_cast<double>(rotated)) /
                                     (divisors.empty() ? 1.0 : divisors[i / 2]);
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
inline double relu64(double x) { return x > 0 ? x : 0; }
/// 0.7978845608 = sqrt(2 / pi).
inline double gelu64(double x) { return x / 2 * (1 + std::tanh(0.7978845608028654 * (x + 0.044715 * x * x * x))); }

inline double cross_entropy64(const std::vector<double>& logits, std::size_t target, const std::vector<std::int32_t>& cut) {
    double total = 0;
    for (std::size_t i = 0; i < logits.size(); ++i) {
        if (std::find(cut.begin(), cut.end(), static_cast<std::int32_t>(i)) == cut.end()) total += std::exp(logits[i]);
    }
    return std::log(total) - logits[target];
}

struct DoubleTransformer {
    std::size_t layers = 0, width = 0, heads = 0, kv_heads = 0, head_dim = 0, rotary_dim = 0;
    double epsilon = 0, rotary_base = 10000;
    std::vector<double> rotary_divisors;
    bool post_norm = false;
    std::size_t position_offset = 0;
    double (*activation)(double) = silu64;
    std::map<std::string, std::vector<double>>
        tensors;  ///< by the names of GGUF, and "blk.0.attn_q.lora_a", "markers", "project_in.weight"; row-major
    std::vector<std::int32_t> markers;
    double lora_scale = 0;
    std::vector<std::int32_t> cut;
    /// By what the input of a LoRA is multiplied: (layer, module 0..6, row, input).
    std::function<double(std::size_t, std::size_t, std::size_t, std::size_t)> dropout;
    /// What is added to a number that was computed, for an estimate of what rounding does: (number, sum of magnitudes, terms).
    std::function<double(double, double, std::size_t)> noise;
    /// By what a key or a value is multiplied before it is kept.
    std::function<double()> cache_noise;

    bool has(const std::string& name) const { return tensors.find(name) != tensors.end(); }

    /// The logits behind every token.
    DoubleRows logits(const std::vector<std::int32_t>& tokens) const { return head(stream(tokens)); }

    /// The sum of the cross entropy of the targets.
    double loss(const std::vector<std::int32_t>& tokens, const std::vector<std::uint32_t>& targets) const {
        const DoubleRows x = stream(tokens);
        double sum = 0;
        for (const std::uint32_t target : targets)
            sum += cross_entropy64(head({x[target - 1]})[0], static_cast<std::size_t>(tokens[target]), cut);
        return sum;
    }

private:
    static void add(DoubleRows& x, const DoubleRows& y) {
        for (std::size_t t = 0; t < x.size(); ++t) {
            for (std::size_t i = 0; i < x[t].size(); ++i) x[t][i] += y[t][i];
        }
    }
    static std::vector<double> row_of(const std::vector<double>& matrix, std::size_t r, std::size_t columns) {
        const auto first = matrix.begin() + static_cast<std::ptrdiff_t>(r * columns);
        return {first, first + static_cast<std::ptrdiff_t>(columns)};
    }

    DoubleRows product(const std::string& name, const DoubleRows& x) const {
        const std::vector<double>& w = tensors.at(name);
        DoubleRows y = linear64(x, w);
        for (std::size_t t = 0; noise && t < y.size(); ++t) {
            for (std::size_t o = 0; o < y[t].size(); ++o) {
                double magnitudes = 0;
                for (std::size_t i = 0; i < x[t].size(); ++i) magnitudes += std::abs(w[o * x[t].size() + i] * x[t][i]);
                y[t][o] += noise(y[t][o], magnitudes, x[t].size());
            }
        }
        return y;
    }

    DoubleRows linear(std::size_t l, std::size_t module, const DoubleRows& x) const {
        static const char* const names[]{"attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"};
        const std::string name = "blk." + std::to_string(l) + '.' + names[module];
        DoubleRows y = product(name + ".weight", x);
        if (has(name + ".bias")) add(y, DoubleRows(y.size(), tensors.at(name + ".bias")));
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

    DoubleRows norm(const DoubleRows& x, const std::string& name) const {
        if (!has(name + ".weight")) return x;
        DoubleRows y = has(name + ".bias") ? layer_norm64(x, tensors.at(name + ".weight"), tensors.at(name + ".bias"), epsilon)
                                           : rms_norm64(x, tensors.at(name + ".weight"), epsilon);
        disturb(y, 4);
        return y;
    }
    void disturb(DoubleRows& x, std::size_t roundings) const {
        for (auto& row : x) {
            for (double& value : row) value += noise ? noise(value, std::abs(value), roundings) : 0;
        }
    }
    void keep(DoubleRows& x) const {
        for (auto& row : x) {
            for (double& value : row) value *= cache_noise ? cache_noise() : 1;
        }
    }

    /// The residual stream behind the last block.
    DoubleRows stream(const std::vector<std::int32_t>& tokens) const {
        const std::size_t columns = has("project_in.weight") ? tensors.at("project_in.weight").size() / width : width;
        DoubleRows x;
        for (const std::int32_t token : tokens) {
            const auto marker = std::find(markers.begin(), markers.end(), token);
            x.push_back(marker == markers.end()
                            ? row_of(tensors.at("token_embd.weight"), static_cast<std::size_t>(token), columns)
                            : row_of(tensors.at("markers"), static_cast<std::size_t>(marker - markers.begin()), columns));
        }
        if (has("project_in.weight")) x = product("project_in.weight", x);
        for (std::size_t t = 0; has("position_embd.weight") && t < x.size(); ++t) {
            const std::vector<double> position = row_of(tensors.at("position_embd.weight"), t + position_offset, width);
            for (std::size_t i = 0; i < width; ++i) x[t][i] += position[i];
        }
        for (std::size_t l = 0; l < layers; ++l) {
            const std::string block = "blk." + std::to_string(l) + '.';
            const DoubleRows a = post_norm ? x : norm(x, block + "attn_norm");
            DoubleRows q = linear(l, 0, a);
            DoubleRows k = linear(l, 1, a);
            DoubleRows v = linear(l, 2, a);
            rotate64(q, head_dim, rotary_dim, rotary_base, rotary_divisors);
            rotate64(k, head_dim, rotary_dim, rotary_base, rotary_divisors);
            keep(k);
            keep(v);
            DoubleRows attended = attention64(q, k, v, heads, kv_heads, head_dim);
            disturb(attended, head_dim + tokens.size());
            add(x, linear(l, 3, attended));
            if (post_norm) x = norm(x, block + "attn_norm");
            const DoubleRows f = post_norm ? x : norm(x, block + "ffn_norm");
            DoubleRows up = linear(l, 5, f);
            const bool gated = has(block + "ffn_gate.weight");
            const DoubleRows gate = gated ? linear(l, 4, f) : up;
            for (std::size_t t = 0; t < up.size(); ++t) {
                for (std::size_t i = 0; i < up[t].size(); ++i)
                    up[t][i] = gated ? activation(gate[t][i]) * up[t][i] : activation(up[t][i]);
            }
            disturb(up, 4);
            add(x, linear(l, 6, up));
            if (post_norm) x = norm(x, block + "ffn_norm");
        }
        return x;
    }

    DoubleRows head(const DoubleRows& x) const {
        DoubleRows y = norm(x, "output_norm");
        if (has("project_out.weight")) y = product("project_out.weight", y);
        return product(has("output.weight") ? "output.weight" : "token_embd.weight", y);
    }
};

/// d f / d value, by central differences of fourth order; a short step where f has corners.
template <class Function>
double difference(double& value, const Function& f, double step = 1e-3) {
    const double h = step * std::max(1.0, std::abs(value));
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
