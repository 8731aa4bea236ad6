/// \file The transformers of all families in double, with LoRA and marker rows, forward only, as plain as can be: what logits and
/// gradients are checked against. The library has no part in it. Norms, positions, gates, biases and projections are known by the
/// names of the tensors that are there.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include <Eigen/Core>

namespace flashback_test {

/// A row for each token.
using DoubleRows = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

inline Eigen::Index index64(std::size_t i) { return static_cast<Eigen::Index>(i); }

/// Row-major values with so many columns as a matrix.
inline Eigen::Map<const DoubleRows> matrix64(const std::vector<double>& values, Eigen::Index columns) {
    return {values.data(), static_cast<Eigen::Index>(values.size()) / columns, columns};
}
inline Eigen::Map<const Eigen::RowVectorXd> row64(const std::vector<double>& values) {
    return {values.data(), static_cast<Eigen::Index>(values.size())};
}

/// y = x Wᵀ, W row-major.
inline DoubleRows linear64(const DoubleRows& x, const std::vector<double>& w) { return x * matrix64(w, x.cols()).transpose(); }

inline DoubleRows rms_norm64(const DoubleRows& x, const std::vector<double>& weight, double epsilon) {
    const Eigen::ArrayXd rms = (x.array().square().rowwise().mean() + epsilon).sqrt();
    return (x.array().colwise() / rms).rowwise() * row64(weight).array();
}

inline DoubleRows layer_norm64(const DoubleRows& x, const std::vector<double>& weight, const std::vector<double>& bias,
                               double epsilon) {
    const DoubleRows centred = x.colwise() - x.rowwise().mean();
    const Eigen::ArrayXd deviation = (centred.array().square().rowwise().mean() + epsilon).sqrt();
    return ((centred.array().colwise() / deviation).rowwise() * row64(weight).array()).rowwise() + row64(bias).array();
}

/// Each row as the probabilities that it means.
inline DoubleRows softmax64(const DoubleRows& x) {
    const DoubleRows e = (x.colwise() - x.rowwise().maxCoeff()).array().exp();
    return e.array().colwise() / e.rowwise().sum().array();
}

/// Each row as the natural logarithms of the probabilities that it means.
inline DoubleRows log_softmax64(const DoubleRows& x) {
    const DoubleRows below = x.colwise() - x.rowwise().maxCoeff();
    return below.array().colwise() - below.array().exp().rowwise().sum().log();
}

/// The greatest difference of two elements; NaN if there is one.
inline double farthest64(const DoubleRows& a, const DoubleRows& b) {
    return (a - b).cwiseAbs().maxCoeff<Eigen::PropagateNaN>();
}

/// Rotates adjacent pairs of the first `rotated` elements of each head; angles are divided by `divisors`, or not. Row t stands at
/// `positions[t]`, or at t.
inline void rotate64(DoubleRows& x, std::size_t head_dim, std::size_t rotated, double base,
                     const std::vector<double>& divisors = {}, const std::vector<std::size_t>& positions = {}) {
    for (Eigen::Index t = 0; t < x.rows(); ++t) {
        for (Eigen::Index h = 0; h < x.cols(); h += index64(head_dim)) {
            for (std::size_t i = 0; i < rotated; i += 2) {
                const double position =
                    positions.empty() ? static_cast<double>(t) : static_cast<double>(positions[static_cast<std::size_t>(t)]);
                const double angle = position * std::pow(base, -static_cast<double>(i) / static_cast<double>(rotated)) /
                                     (divisors.empty() ? 1.0 : divisors[i / 2]);
                auto pair = x.block<1, 2>(t, h + index64(i));
                const Eigen::Matrix2d turn{{std::cos(angle), std::sin(angle)}, {-std::sin(angle), std::cos(angle)}};
                pair = (pair * turn).eval();
            }
        }
    }
}

/// Which rows a row sees: (row, other row).
using Mask64 = std::function<bool(std::size_t, std::size_t)>;

/// Each row sees itself and those in front of it, or what `sees` says.
inline DoubleRows attention64(const DoubleRows& q, const DoubleRows& k, const DoubleRows& v, std::size_t heads,
                              std::size_t kv_heads, std::size_t d, const Mask64& sees = {}) {
    DoubleRows out(q.rows(), index64(heads * d));
    for (std::size_t h = 0; h < heads; ++h) {
        const auto of = [d](const DoubleRows& x, std::size_t head) { return x.middleCols(index64(head * d), index64(d)); };
        const std::size_t g = h / (heads / kv_heads);
        DoubleRows scores = of(q, h) * of(k, g).transpose() / std::sqrt(static_cast<double>(d));
        for (Eigen::Index t = 0; t < scores.rows(); ++t) {
            for (Eigen::Index u = 0; u < scores.cols(); ++u) {
                const bool seen = sees ? sees(static_cast<std::size_t>(t), static_cast<std::size_t>(u)) : u <= t;
                if (!seen) scores(t, u) = -std::numeric_limits<double>::infinity();
            }
        }
        out.middleCols(index64(h * d), index64(d)) = softmax64(scores) * of(v, g);
    }
    return out;
}

inline double silu64(double x) { return x / (1 + std::exp(-x)); }
inline double relu64(double x) { return x > 0 ? x : 0; }
/// 0.7978845608 = sqrt(2 / pi).
inline double gelu64(double x) { return x / 2 * (1 + std::tanh(0.7978845608028654 * (x + 0.044715 * x * x * x))); }

inline double cross_entropy64(Eigen::RowVectorXd logits, std::size_t target, const std::vector<std::int32_t>& cut) {
    const double logit = logits[index64(target)];
    for (const std::int32_t id : cut) logits[id] = -std::numeric_limits<double>::infinity();
    return std::log(logits.array().exp().sum()) - logit;
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
    std::vector<std::size_t> positions;  ///< of the rows; empty: 0, 1, 2, ...
    Mask64 sees;                         ///< what a row attends to; null: to itself and those in front of it

    bool has(const std::string& name) const { return tensors.find(name) != tensors.end(); }

    /// The logits after every token.
    DoubleRows logits(const std::vector<std::int32_t>& tokens) const { return head(stream(tokens)); }

    /// The sum of the cross entropy of the targets.
    double loss(const std::vector<std::int32_t>& tokens, const std::vector<std::uint32_t>& targets) const {
        const DoubleRows x = stream(tokens);
        double sum = 0;
        for (const std::uint32_t target : targets)
            sum += cross_entropy64(head(x.row(target - 1)), static_cast<std::size_t>(tokens[target]), cut);
        return sum;
    }

private:
    DoubleRows product(const std::string& name, const DoubleRows& x) const {
        const std::vector<double>& w = tensors.at(name);
        DoubleRows y = linear64(x, w);
        if (!noise) return y;
        const DoubleRows magnitudes = x.cwiseAbs() * matrix64(w, x.cols()).cwiseAbs().transpose();
        const auto terms = static_cast<std::size_t>(x.cols());
        return y + y.binaryExpr(magnitudes, [&](double value, double magnitude) { return noise(value, magnitude, terms); });
    }

    DoubleRows linear(std::size_t l, std::size_t module, const DoubleRows& x) const {
        static const char* const names[]{"attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"};
        const std::string name = "blk." + std::to_string(l) + '.' + names[module];
        DoubleRows y = product(name + ".weight", x);
        if (has(name + ".bias")) y.rowwise() += row64(tensors.at(name + ".bias"));
        const auto a = tensors.find(name + ".lora_a");
        if (a == tensors.end()) return y;
        DoubleRows dropped = x;
        for (Eigen::Index t = 0; dropout && t < x.rows(); ++t) {
            for (Eigen::Index i = 0; i < x.cols(); ++i)
                dropped(t, i) *= dropout(l, module, static_cast<std::size_t>(t), static_cast<std::size_t>(i));
        }
        return y + lora_scale * linear64(linear64(dropped, a->second), tensors.at(name + ".lora_b"));
    }

    DoubleRows norm(const DoubleRows& x, const std::string& name) const {
        if (!has(name + ".weight")) return x;
        DoubleRows y = has(name + ".bias") ? layer_norm64(x, tensors.at(name + ".weight"), tensors.at(name + ".bias"), epsilon)
                                           : rms_norm64(x, tensors.at(name + ".weight"), epsilon);
        disturb(y, 4);
        return y;
    }
    void disturb(DoubleRows& x, std::size_t roundings) const {
        for (double& value : x.reshaped()) value += noise ? noise(value, std::abs(value), roundings) : 0;
    }
    void keep(DoubleRows& x) const {
        for (double& value : x.reshaped()) value *= cache_noise ? cache_noise() : 1;
    }

    /// The residual stream after the last block.
    DoubleRows stream(const std::vector<std::int32_t>& tokens) const {
        const Eigen::Index columns = index64(has("project_in.weight") ? tensors.at("project_in.weight").size() / width : width);
        const auto embedding = matrix64(tensors.at("token_embd.weight"), columns);
        DoubleRows x{index64(tokens.size()), columns};
        for (std::size_t t = 0; t < tokens.size(); ++t) {
            const auto marker = std::find(markers.begin(), markers.end(), tokens[t]);
            if (marker == markers.end()) {
                x.row(index64(t)) = embedding.row(tokens[t]);
            } else {
                x.row(index64(t)) = matrix64(tensors.at("markers"), columns).row(marker - markers.begin());
            }
        }
        if (has("project_in.weight")) x = product("project_in.weight", x);
        if (has("position_embd.weight")) {
            const auto table = matrix64(tensors.at("position_embd.weight"), index64(width));
            for (std::size_t t = 0; t < tokens.size(); ++t)
                x.row(index64(t)) += table.row(index64(position_offset + (positions.empty() ? t : positions[t])));
        }
        for (std::size_t l = 0; l < layers; ++l) {
            const std::string block = "blk." + std::to_string(l) + '.';
            const DoubleRows a = post_norm ? x : norm(x, block + "attn_norm");
            DoubleRows q = linear(l, 0, a);
            DoubleRows k = linear(l, 1, a);
            DoubleRows v = linear(l, 2, a);
            rotate64(q, head_dim, rotary_dim, rotary_base, rotary_divisors, positions);
            rotate64(k, head_dim, rotary_dim, rotary_base, rotary_divisors, positions);
            keep(k);
            keep(v);
            DoubleRows attended = attention64(q, k, v, heads, kv_heads, head_dim, sees);
            disturb(attended, head_dim + tokens.size());
            x += linear(l, 3, attended);
            if (post_norm) x = norm(x, block + "attn_norm");
            const DoubleRows f = post_norm ? x : norm(x, block + "ffn_norm");
            DoubleRows up = linear(l, 5, f);
            const bool gated = has(block + "ffn_gate.weight");
            if (gated) {
                up.array() *= linear(l, 4, f).unaryExpr(activation).array();
            } else {
                up = up.unaryExpr(activation).eval();
            }
            disturb(up, 4);
            x += linear(l, 6, up);
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
