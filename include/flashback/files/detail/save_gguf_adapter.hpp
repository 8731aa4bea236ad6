/// \file From an adapter to the file that llama.cpp reads, step by step.
#pragma once

#include "flashback/files/detail/gguf_adapter.hpp"
#include "flashback/files/detail/save_adapter.hpp"
#include "flashback/files/save_gguf_adapter.hpp"
#include "flashback/format/gguf_writer.hpp"
#include "flashback/model/adapter.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {
namespace detail {

/// The rows that an adapter replaces, as a pair whose product is added to the embedding: `a` selects the rows, and `b` holds
/// what is added to them. If there are more rows than numbers in a row, `a` and `b` change roles.
class EmbeddingPair {
public:
    EmbeddingPair(const Adapter& adapter, const Transformer& model, double alpha)
        : width_(model.config.row_width()), ids_(adapter.embedding_ids), rank_(std::min(ids_.size(), width_)) {
        std::vector<float> own(width_);
        for (std::size_t i = 0; i < ids_.size(); ++i) {
            model.embedding.row(static_cast<std::size_t>(ids_[i]), own.data());
            for (std::size_t k = 0; k < width_; ++k) {
                const double added = static_cast<double>(adapter.embedding_rows[i * width_ + k]) - static_cast<double>(own[k]);
                added_.push_back(static_cast<float>(added * static_cast<double>(rank_) / alpha));
            }
            place_[ids_[i]] = i;
        }
    }

    std::size_t rank() const noexcept { return rank_; }

    /// The row of A for a token.
    /// Shape     (rank)
    std::vector<float> a(std::size_t token) const {
        std::vector<float> row(rank_);
        const auto found = place_.find(static_cast<TokenId>(token));
        if (found == place_.end()) return row;
        if (ids_.size() > width_)
            std::copy_n(added_.data() + found->second * width_, width_, row.data());
        else
            row[found->second] = 1;
        return row;
    }
    /// The row of B for an element of the embedding.
    /// Shape     (rank)
    std::vector<float> b(std::size_t element) const {
        std::vector<float> row(rank_);
        if (ids_.size() > width_)
            row[element] = 1;
        else
            for (std::size_t k = 0; k < rank_; ++k) row[k] = added_[k * width_ + element];
        return row;
    }

private:
    std::size_t width_;
    const std::vector<TokenId>& ids_;
    std::size_t rank_;
    std::vector<float> added_;  ///< (ids, width): what is added to each row, divided by the scale of the file
    std::map<TokenId, std::size_t> place_;
};

inline void check_gguf_rows(const Adapter& adapter, const Transformer& model) {
    if (const std::size_t added = new_tokens(adapter, model.config.vocab)) {
        FLASHBACK_THROW(ErrorCode::unsupported, "an adapter that adds ", added, " tokens to the ", model.config.vocab,
                        " of the model cannot be a GGUF file: llama.cpp has no input rows for them");
    }
    if (adapter.embedding_ids.empty() || model.head) return;
    FLASHBACK_THROW(ErrorCode::unsupported, "an adapter with ", adapter.embedding_ids.size(),
                    " embedding rows cannot be a GGUF file for a model whose output head is tied to its embedding, since "
                    "llama.cpp takes the pair for the head too; with a head of its own (flashback quantize --untie) it can");
}

}  // namespace detail

FLASHBACK_DETAIL_ONCE void save_gguf_adapter(const Adapter& adapter, const Transformer& model,
                                             const std::filesystem::path& target) {
    const TransformerConfig& c = model.config;
    check_fits(adapter, c);
    const std::string_view architecture = detail::gguf_architecture(c.family);
    if (architecture.empty()) {
        FLASHBACK_THROW(ErrorCode::unsupported,
                        "an adapter for this model cannot be a GGUF file, since GGUF has no architecture of its family");
    }
    detail::check_gguf_rows(adapter, model);
    std::vector<detail::NamedPair> pairs = detail::named_pairs(adapter, c, detail::gguf_rows(c), detail::gguf_modules);
    FLASHBACK_ASSERT(!pairs.empty() || !adapter.embedding_ids.empty(), "an adapter that changes nothing is saved");

    std::map<float, std::size_t> alphas;
    for (const auto& [module, pair] : pairs) {
        if (pair.scale != 0) ++alphas[static_cast<float>(detail::alpha_of(pair))];
    }
    const float alpha = detail::most_frequent(alphas, 1.0f);  // 0 would mean a scale of 1
    for (auto& [module, pair] : pairs) {
        const double scale = static_cast<double>(alpha) / static_cast<double>(pair.rank);
        if (static_cast<float>(scale) == pair.scale) continue;
        for (float& value : pair.b)
            value = static_cast<float>(static_cast<double>(value) * static_cast<double>(pair.scale) / scale);
    }

    GgufWriter writer{target};
    writer.set("general.architecture", std::string{architecture})
        .set("general.type", "adapter")
        .set("adapter.type", "lora")
        .set("adapter.lora.alpha", alpha);
    const auto announce = [&](const std::string& name, std::size_t inputs, std::size_t outputs) {
        writer.add_tensor(name, std::array<std::uint64_t, 2>{inputs, outputs}, DType::f32);
    };
    const std::string embedding = to_string({TensorRole::embedding});
    const detail::EmbeddingPair rows{adapter, model, static_cast<double>(alpha)};
    for (const auto& [module, pair] : pairs) {
        announce(module + ".lora_a", pair.a.size() / pair.rank, pair.rank);
        announce(module + ".lora_b", pair.rank, pair.b.size() / pair.rank);
    }
    if (rows.rank() > 0) {
        announce(embedding + ".lora_a", rows.rank(), c.vocab);
        announce(embedding + ".lora_b", rows.rank(), c.row_width());
    }
    for (const auto& [module, pair] : pairs) {
        writer.write(std::as_bytes(std::span{pair.a}));
        writer.write(std::as_bytes(std::span{pair.b}));
    }
    if (rows.rank() > 0) {
        const auto put = [&](const std::vector<float>& row) { writer.write(std::as_bytes(std::span{row})); };
        for (std::size_t token = 0; token < c.vocab; ++token) put(rows.a(token));
        for (std::size_t i = 0; i < c.row_width(); ++i) put(rows.b(i));
    }
    writer.finish();
}

}  // namespace flashback::inline FLASHBACK_ISA
