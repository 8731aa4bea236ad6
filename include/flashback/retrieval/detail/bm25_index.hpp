/// \file Building a BM25 index, and searching it.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/retriever.hpp"
#include "flashback/retrieval/bm25.hpp"
#include "flashback/retrieval/passages.hpp"
#include "flashback/retrieval/tokenizer_codec.hpp"
#include "flashback/text/unicode.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {
namespace detail {

inline Codec codec_for(const Tokenizer& tokenizer, const Bm25Options& options) {
    Codec codec = codec_of(tokenizer);
    if (!options.passage_head) codec.head.clear();
    return codec;
}

}  // namespace detail

FLASHBACK_DETAIL_ONCE Bm25Index::Bm25Index(std::vector<Document> documents, Tokenizer tokenizer, const Bm25Options& options)
    : passages_(std::move(documents), detail::codec_for(tokenizer, options), options.passage_tokens),
      tokenizer_(std::move(tokenizer)) {
    build(options);
}

FLASHBACK_DETAIL_ONCE Bm25Index::Bm25Index(std::vector<Document> documents, const Bm25Options& options)
    : passages_(std::move(documents)) {
    build(options);
}

FLASHBACK_DETAIL_ONCE std::vector<Passage> Bm25Index::retrieve(const Query& query, std::size_t k) const {
    std::vector<Passage> found;
    if (!query.text.empty() || query.tokens.empty()) {
        fill(found, query.text, k);
    } else {
        FLASHBACK_ASSERT(tokenizer_.has_value(), "an index of whole documents has no tokenizer to read a query of tokens with");
        fill(found, tokenizer_->decode(query.tokens), k);
    }
    return found;
}

FLASHBACK_DETAIL_ONCE std::vector<Bm25Index::Hit> Bm25Index::search(std::string_view text, std::size_t k) const {
    std::vector<double> scores(passages_.size(), 0.0);
    std::vector<std::uint32_t> touched;
    for_each_word(text, [&](std::string_view word) {
        const auto it = words_.find(std::string{word});
        if (it == words_.end()) return;
        for (std::size_t p = first_posting_[it->second]; p < first_posting_[it->second + 1]; ++p) {
            const Posting& posting = postings_[p];
            if (scores[posting.passage] == 0) touched.push_back(posting.passage);
            scores[posting.passage] += posting.score;
        }
    });
    const auto better = [&](std::uint32_t x, std::uint32_t y) {
        return scores[x] != scores[y] ? scores[x] > scores[y] : rank_[x] < rank_[y];
    };
    const std::size_t count = std::min(k, touched.size());
    std::ranges::partial_sort(touched, touched.begin() + static_cast<std::ptrdiff_t>(count), better);
    std::vector<Hit> hits;
    hits.reserve(count);
    for (std::size_t i = 0; i < count; ++i) hits.push_back({touched[i], scores[touched[i]]});
    return hits;
}

FLASHBACK_DETAIL_ONCE void Bm25Index::fill(std::vector<Passage>& found, std::string_view text, std::size_t k) const {
    for (const Hit& hit : search(text, k)) {
        found.push_back(passages_[hit.passage]);
        found.back().score = static_cast<float>(hit.score);
    }
}

FLASHBACK_DETAIL_ONCE void Bm25Index::build(const Bm25Options& options) {
    FLASHBACK_ASSERT(options.k1 >= 0 && std::isfinite(options.k1), "k1 of BM25 must be a number >= 0, found ", options.k1);
    FLASHBACK_ASSERT(options.b >= 0 && options.b <= 1, "b of BM25 must lie in [0, 1], found ", options.b);
    FLASHBACK_ASSERT(passages_.size() < UINT32_MAX, "an index holds fewer than 2^32 passages, found ", passages_.size());

    struct Occurrence {
        std::uint32_t word, passage, count;
    };
    std::vector<Occurrence> occurrences;
    std::vector<double> lengths(passages_.size());
    std::vector<std::uint32_t> last_occurrence;  // by word: the newest of `occurrences`
    for (std::uint32_t p = 0; p < passages_.size(); ++p) {
        const std::size_t first = occurrences.size();
        for_each_word(passages_[p].text, [&](std::string_view text) {
            const auto word = words_.try_emplace(std::string{text}, static_cast<std::uint32_t>(words_.size())).first->second;
            if (word == last_occurrence.size()) last_occurrence.push_back(UINT32_MAX);
            const std::uint32_t last = last_occurrence[word];
            if (last != UINT32_MAX && last >= first) {
                ++occurrences[last].count;
            } else {
                FLASHBACK_ASSERT(occurrences.size() < UINT32_MAX,
                                 "an index holds fewer than 2^32 pairs of a word and a passage, found more in passage ", p,
                                 " of ", passages_.size());
                last_occurrence[word] = static_cast<std::uint32_t>(occurrences.size());
                occurrences.push_back({word, p, 1});
            }
            ++lengths[p];
        });
    }

    first_posting_.assign(words_.size() + 1, 0);
    for (const Occurrence& o : occurrences) ++first_posting_[o.word + 1];
    std::partial_sum(first_posting_.begin(), first_posting_.end(), first_posting_.begin());
    std::vector<std::size_t> next(first_posting_.begin(), first_posting_.end() - 1);
    const double n_passages = static_cast<double>(passages_.size());
    const double average = std::max(1.0, std::accumulate(lengths.begin(), lengths.end(), 0.0)) / std::max(1.0, n_passages);
    postings_.resize(occurrences.size());
    for (const Occurrence& o : occurrences) {
        const double n = static_cast<double>(first_posting_[o.word + 1] - first_posting_[o.word]);
        const double idf = std::log1p((n_passages - n + 0.5) / (n + 0.5));
        const double tf = o.count;
        const double norm = options.k1 * (1 - options.b + options.b * lengths[o.passage] / average);
        postings_[next[o.word]++] = {o.passage, static_cast<float>(idf * tf / (tf + norm))};
    }
    rank_passages();
}

FLASHBACK_DETAIL_ONCE void Bm25Index::rank_passages() {
    std::vector<std::uint32_t> order(passages_.size());
    std::iota(order.begin(), order.end(), 0u);
    std::ranges::sort(order, [&](std::uint32_t x, std::uint32_t y) {
        const std::size_t dx = passages_.document_of(x);
        const std::size_t dy = passages_.document_of(y);
        return dx != dy ? passages_.documents()[dx].id < passages_.documents()[dy].id : x < y;
    });
    rank_.resize(order.size());
    for (std::uint32_t i = 0; i < order.size(); ++i) rank_[order[i]] = i;
}

}  // namespace flashback::inline FLASHBACK_ISA
