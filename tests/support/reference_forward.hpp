/// \file The forward pass of Llama in double, written from the paper and the GGUF names alone: the library's kernels, its
/// packing and its loading have no part in it.
#pragma once

#include "flashback/format/gguf.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

namespace flashback_test {

class ReferenceModel {
public:
    explicit ReferenceModel(const flashback::GgufFile& file)
        : window(number(file, "context_length")),
          width(number(file, "embedding_length")),
          layers(number(file, "block_count")),
          hidden(number(file, "feed_forward_length")),
          heads(number(file, "attention.head_count")),
          kv_heads(file.integer("llama.attention.head_count_kv").value_or(heads)),
          head_dim(width / heads),
          epsilon(file.real("llama.attention.layer_norm_rms_epsilon").value()),
          rotary_base(file.real("llama.rope.freq_base").value_or(10000.0)),
          embedding_(values(file, "token_embd.weight")),
          output_norm_(values(file, "output_norm.weight")),
          head_(file.tensor("output.weight") ? values(file, "output.weight") : embedding_) {
        vocab = embedding_.size() / width;
        for (std::size_t l = 0; l < layers; ++l) {
            const auto load = [&](const char* name) {
                return values(file, "blk." + std::to_string(l) + '.' + name + ".weight");
            };
            blocks_.push_back({load("attn_norm"), load("attn_q"), load("attn_k"), load("attn_v"), load("attn_output"),
                               load("ffn_norm"), load("ffn_gate"), load("ffn_up"), load("ffn_down")});
        }
    }

    /// The natural logarithm of the probability of every token after every prefix.
    /// Shape     (tokens.size(), vocab)
    std::vector<double> log_probabilities(const std::vector<std::int32_t>& tokens) const {
        const std::size_t n = tokens.size();
        Rows x(n);
        for (std::size_t t = 0; t < n; ++t) {
            const auto first = embedding_.begin() + tokens[t] * static_cast<std::ptrdiff_t>(width);
            x[t].assign(first, first + static_cast<std::ptrdiff_t>(width));
        }
        for (const Block& block : blocks_) {
            const Rows a = normalised(x, block.attention_norm);
            Rows q = product(a, block.q);
            Rows k = product(a, block.k);
            const Rows v = product(a, block.v);
            for (std::size_t t = 0; t < n; ++t) {
                rotate(q[t], t);
                rotate(k[t], t);
            }
            add(x, product(attention(q, k, v), block.output));
            const Rows f = normalised(x, block.ffn_norm);
            Rows gate = product(f, block.gate);
            const Rows up = product(f, block.up);
            for (std::size_t t = 0; t < n; ++t) {
                for (std::size_t i = 0; i < hidden; ++i) gate[t][i] *= up[t][i] / (1 + std::exp(-gate[t][i]));
            }
            add(x, product(gate, block.down));
        }
        std::vector<double> out;
        for (std::vector<double>& row : product(normalised(x, output_norm_), head_)) {
            const double most = *std::max_element(row.begin(), row.end());
            double total = 0;
            for (const double logit : row) total += std::exp(logit - most);
            for (const double logit : row) out.push_back(logit - most - std::log(total));
        }
        return out;
    }

    std::size_t window, width, layers, hidden, heads, kv_heads, head_dim, vocab = 0;
    double epsilon, rotary_base;

private:
    using Rows = std::vector<std::vector<double>>;
    struct Block {
        std::vector<double> attention_norm, q, k, v, output, ffn_norm, gate, up, down;
    };

    static std::size_t number(const flashback::GgufFile& file, const std::string& key) {
        return file.integer("llama." + key).value();
    }

    static double half(std::uint16_t bits) {
        const int exponent = bits >> 10 & 31;
        const int fraction = bits & 1023;
        const double magnitude = exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
        return bits >> 15 ? -magnitude : magnitude;
    }

    static std::vector<double> values(const flashback::GgufFile& file, const std::string& name) {
        const flashback::GgufTensor* tensor = file.tensor(name);
        if (!tensor) throw std::runtime_error(name + " is missing");
        std::vector<double> out(tensor->dims[0] * tensor->dims[1]);
        const std::byte* data = tensor->data.data();
        for (std::size_t i = 0; i < out.size(); ++i) {
            if (tensor->type == flashback::DType::f32) {
                float value;
                std::memcpy(&value, data + 4 * i, 4);
                out[i] = static_cast<double>(value);
            } else if (tensor->type == flashback::DType::f16) {
                std::uint16_t bits;
                std::memcpy(&bits, data + 2 * i, 2);
                out[i] = half(bits);
            } else {
                throw std::runtime_error(name + " is neither f32 nor f16");
            }
        }
        return out;
    }

    // y = x Wᵀ, where W has its inputs side by side; 4 sums only so that it does not take for ever.
    static Rows product(const Rows& x, const std::vector<double>& w) {
        const std::size_t inputs = x[0].size();
        const std::size_t outputs = w.size() / inputs;
        Rows y(x.size(), std::vector<double>(outputs));
        for (std::size_t t = 0; t < x.size(); ++t) {
            for (std::size_t o = 0; o < outputs; ++o) {
                const double* row = w.data() + o * inputs;
                double sum[4] = {};
                for (std::size_t i = 0; i < inputs; ++i) sum[i % 4] += row[i] * x[t][i];
                y[t][o] = (sum[0] + sum[1]) + (sum[2] + sum[3]);
            }
        }
        return y;
    }

    static void add(Rows& x, const Rows& y) {
        for (std::size_t t = 0; t < x.size(); ++t) {
            for (std::size_t i = 0; i < x[t].size(); ++i) x[t][i] += y[t][i];
        }
    }

    Rows normalised(const Rows& x, const std::vector<double>& weight) const {
        Rows y = x;
        for (std::vector<double>& row : y) {
            double squares = 0;
            for (const double value : row) squares += value * value;
            const double root = std::sqrt(squares / static_cast<double>(row.size()) + epsilon);
            for (std::size_t i = 0; i < row.size(); ++i) row[i] *= weight[i] / root;
        }
        return y;
    }

    void rotate(std::vector<double>& row, std::size_t position) const {
        for (std::size_t i = 0; i + 1 < row.size(); i += 2) {
            const double exponent = static_cast<double>(i % head_dim) / static_cast<double>(head_dim);
            const double angle = static_cast<double>(position) * std::pow(rotary_base, -exponent);
            const double a = row[i];
            const double b = row[i + 1];
            row[i] = a * std::cos(angle) - b * std::sin(angle);
            row[i + 1] = a * std::sin(angle) + b * std::cos(angle);
        }
    }

    Rows attention(const Rows& q, const Rows& k, const Rows& v) const {
        Rows out(q.size(), std::vector<double>(heads * head_dim));
        for (std::size_t t = 0; t < q.size(); ++t) {
            for (std::size_t h = 0; h < heads; ++h) {
                const std::size_t at = h * head_dim;
                const std::size_t kv_at = h * kv_heads / heads * head_dim;
                std::vector<double> p(t + 1);
                for (std::size_t s = 0; s <= t; ++s) {
                    for (std::size_t i = 0; i < head_dim; ++i) p[s] += q[t][at + i] * k[s][kv_at + i];
                    p[s] /= std::sqrt(static_cast<double>(head_dim));
                }
                const double most = *std::max_element(p.begin(), p.end());
                double total = 0;
                for (double& score : p) total += score = std::exp(score - most);
                for (std::size_t s = 0; s <= t; ++s) {
                    for (std::size_t i = 0; i < head_dim; ++i) out[t][at + i] += p[s] / total * v[s][kv_at + i];
                }
            }
        }
        return out;
    }

    std::vector<double> embedding_, output_norm_, head_;
    std::vector<Block> blocks_;
};

}  // namespace flashback_test
