/// \file What the forward pass of one example leaves for the backward pass.
#pragma once

#include "flashback/train/detail/attention.hpp"
#include "flashback/train/detail/linear.hpp"
#include "flashback/train/detail/network.hpp"
#include "flashback/train/detail/rows.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

namespace flashback::inline FLASHBACK_ISA::detail {

/// What the backward pass needs of one block; norms, attention weights and activations are computed again.
struct SavedLayer {
    SavedLayer(const TransformerConfig& c, std::size_t rows)
        : x(rows, c.width),
          q(rows, c.heads * c.head_dim),
          k(rows, c.kv_heads * c.head_dim),
          v(rows, c.kv_heads * c.head_dim),
          attended(rows, c.heads * c.head_dim),
          middle(rows, c.width),
          gate(rows, c.gated ? c.hidden : 0),
          up(rows, c.hidden),
          attention_sum(rows, c.post_norm ? c.width : 0),
          ffn_sum(rows, c.post_norm ? c.width : 0) {}

    Rows x;                       ///< (rows, width): what enters the block
    Rows q, k, v;                 ///< rotated; queries scaled; become their gradients
    Rows attended;                ///< (rows, heads · head_dim)
    Rows middle;                  ///< (rows, width): after attention
    Rows gate, up;                ///< (rows, hidden); become their gradients; `gate` is empty if the model has none
    Rows attention_sum, ffn_sum;  ///< (rows, width): what norms read, if they come after the sums

    std::size_t bytes() const noexcept {
        return x.bytes() + q.bytes() + k.bytes() + v.bytes() + attended.bytes() + middle.bytes() + gate.bytes() + up.bytes() +
               attention_sum.bytes() + ffn_sum.bytes();
    }
};

/// The memory of one thread.
struct TrainingWorkspace {
    /// Makes room for examples of this many tokens and targets, unless there is enough already.
    void reserve(const Network& net, std::size_t tokens, std::size_t targets) {
        if (tokens > capacity) {
            *this = TrainingWorkspace{};  // frees the old one first; its capacity is 0 until there is memory for the new one
            const std::size_t rows = (tokens + 63) / 64 * 64;
            make_rows(net.config, net.rank, rows);
            if (net.precision == DType::bf16) linear.bf16.emplace();
            make_angles(net.frequencies, rows);
            capacity = rows;
        }
        if (targets > target_capacity) {
            target_capacity = 0;
            const std::size_t rows = (targets + 15) / 16 * 16;
            const TransformerConfig& c = net.config;
            target_x = Rows{rows, c.width};
            target_normed = Rows{rows, c.width};
            target_projected = Rows{rows, c.embedding_width};
            logits = Rows{rows, c.vocab};
            target_capacity = rows;
        }
    }

    std::size_t capacity = 0;         ///< tokens
    std::size_t target_capacity = 0;  ///< targets
    std::vector<SavedLayer> layers;
    Rows embedded, embedded_gradient;  ///< (tokens, embedding_width): before the projection, if there is one
    Rows x;                            ///< after the last block
    Rows normed, normed_gradient;      ///< (tokens, width)
    Rows gradient;                     ///< (tokens, width): of the residual stream
    Rows attended_gradient;            ///< (tokens, heads · head_dim)
    Rows hidden, hidden_gradient;      ///< (tokens, hidden): what the feed-forward layer activates
    Rows target_x, target_normed;      ///< (targets, width)
    Rows target_projected;             ///< (targets, embedding_width), if there is such a width
    Rows logits;                       ///< (targets, vocab); become their gradients
    Rows cosine, sine, minus_sine;     ///< (tokens, rotary_dim / 2)
    LinearScratch linear;
    AttentionScratch attention;

    std::size_t bytes() const noexcept {
        std::size_t sum = x.bytes() + normed.bytes() + normed_gradient.bytes() + gradient.bytes() + attended_gradient.bytes() +
                          hidden.bytes() + hidden_gradient.bytes() + target_x.bytes() + target_normed.bytes() + logits.bytes() +
                          target_projected.bytes() + embedded.bytes() + embedded_gradient.bytes() + cosine.bytes() +
                          sine.bytes() + minus_sine.bytes() + linear.bytes() + attention.bytes();
        for (const SavedLayer& layer : layers) sum += layer.bytes();
        return sum;
    }

private:
    void make_rows(const TransformerConfig& c, std::size_t rank, std::size_t rows) {
        layers.reserve(c.layers);
        for (std::size_t l = 0; l < c.layers; ++l) layers.emplace_back(c, rows);
        embedded = Rows{rows, c.embedding_width};
        embedded_gradient = Rows{rows, c.embedding_width};
        x = Rows{rows, c.width};
        normed = Rows{rows, c.width};
        normed_gradient = Rows{rows, c.width};
        gradient = Rows{rows, c.width};
        attended_gradient = Rows{rows, c.heads * c.head_dim};
        hidden = Rows{rows, c.hidden};
        hidden_gradient = Rows{rows, c.hidden};
        const std::size_t widest = std::max({c.width, c.hidden, c.heads * c.head_dim, c.embedding_width});
        linear = LinearScratch{rows, widest, std::max(widest, c.vocab), rank};
        attention = AttentionScratch{rows, c.head_dim};
    }

    void make_angles(const std::vector<double>& frequencies, std::size_t rows) {
        cosine = Rows{rows, frequencies.size()};
        sine = Rows{rows, frequencies.size()};
        minus_sine = Rows{rows, frequencies.size()};
        for (std::size_t t = 0; t < rows; ++t) {
            for (std::size_t i = 0; i < frequencies.size(); ++i) {
                const double angle = static_cast<double>(t) * frequencies[i];
                cosine.row(t)[i] = static_cast<float>(std::cos(angle));
                sine.row(t)[i] = static_cast<float>(std::sin(angle));
                minus_sine.row(t)[i] = -sine.row(t)[i];
            }
        }
    }
};

}  // namespace flashback::inline FLASHBACK_ISA::detail
