/// \file Writes a segment of an index, front to back.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/function_ref.hpp"
#include "flashback/core/tokens.hpp"
#include "flashback/retrieval/detail/bm25_formula.hpp"
#include "flashback/retrieval/detail/index_layout.hpp"
#include "flashback/retrieval/detail/posting_blocks.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace flashback::inline FLASHBACK_ISA::detail {

/// Gets the bytes of a segment, in order.
using IndexSink = FunctionRef<void(std::span<const std::byte>)>;

/// First all documents, each followed by its passages; then `begin_terms`; then all terms in the order of their bytes, each with its
/// postings in the order of their passages; then `finish`. Texts, tokens and postings go to the sink as they come; the tables stay in memory
/// until the end.
class SegmentWriter {
public:
    /// `formula`: what impacts are computed with.
    SegmentWriter(IndexSink sink, const Bm25Formula& formula) : sink_(sink) {
        footer_.k1 = formula.k1;
        footer_.b = formula.b;
        const auto magic = std::as_bytes(std::span{index_magic});
        sink_(magic);
        at_ = magic.size();
        begin(IndexSection::stored);
    }

    void document(std::string_view id, std::string_view title) {
        documents_.push_back({section_bytes_, size_of(id), size_of(title), static_cast<std::uint32_t>(passages_.size()), 0});
        ids_.emplace_back(id);
        write(id);
        write(title);
    }
    /// Adds a passage to the newest document; without an id of its own it has that of the document. `terms`: how many it has.
    void passage(std::string_view id, std::string_view text, TokenSpan tokens, std::uint32_t terms) {
        constexpr std::array<std::byte, alignof(TokenId)> zeros{};
        write(std::span{zeros}.first((alignof(TokenId) - section_bytes_ % alignof(TokenId)) % alignof(TokenId)));
        FLASHBACK_ASSERT(passages_.size() + 1 < UINT32_MAX, "a segment of an index holds fewer than 2^32 - 1 passages");
        passages_.push_back({section_bytes_, static_cast<std::uint32_t>(tokens.size()), size_of(id), size_of(text),
                             static_cast<std::uint32_t>(documents_.size() - 1)});
        ++documents_.back().passages;
        lengths_.push_back(terms);
        write(std::as_bytes(tokens));
        write(id);
        write(text);
    }

    void begin_terms() {
        end();
        table(IndexSection::documents, documents_);
        table(IndexSection::passages, passages_);
        table(IndexSection::lengths, lengths_);
        std::vector<std::uint32_t> by_id(documents_.size());
        std::iota(by_id.begin(), by_id.end(), 0u);
        std::ranges::sort(by_id, {}, [&](std::uint32_t d) -> std::string_view { return ids_[d]; });
        table(IndexSection::by_id, by_id);
        for (const std::uint32_t length : lengths_) {
            footer_.total_length += length;
            footer_.most_length = std::max<std::uint64_t>(footer_.most_length, length);
        }
        footer_.average = average_length(footer_.total_length, passages_.size());
        norms_ = LengthNorms{{footer_.k1, footer_.b}, footer_.average, footer_.most_length};
        begin(IndexSection::postings);
    }

    void term(std::string_view word) {
        FLASHBACK_ASSERT(word.size() <= UINT16_MAX, "an index holds terms of at most 65535 bytes, found one of ", word.size());
        FLASHBACK_ASSERT(words_.size() + word.size() < UINT32_MAX, "the terms of a segment take 4 GB or more");
        terms_.push_back({section_bytes_, 0, static_cast<std::uint32_t>(blocks_.size()),
                          static_cast<std::uint32_t>(words_.size()), static_cast<std::uint16_t>(word.size()), 0});
        const auto bytes = std::as_bytes(std::span{word});
        words_.insert(words_.end(), bytes.begin(), bytes.end());
        next_ = 0;
        block_.size = 0;
        block_impact_ = 0;
    }
    /// Adds a posting to the newest term.
    void posting(std::uint32_t passage, std::uint32_t count) {
        block_.passages[block_.size] = passage;
        block_.counts[block_.size++] = count;
        block_impact_ = std::max(block_impact_, impact(count, lengths_[passage]));
        ++terms_.back().count;
        if (block_.size == block_postings) full_block();
    }
    /// Ends the newest term.
    void end_term() {
        bytes_.clear();
        write_rest(block_, next_, bytes_);
        write(std::span<const std::byte>{bytes_});
        terms_.back().impact = std::max(terms_.back().impact, rounded_up(block_impact_));
    }

    void finish() {
        write(std::span<const std::byte>{std::array<std::byte, packed_slack>{}});
        end();
        table(IndexSection::blocks, blocks_);
        table(IndexSection::words, words_);
        table(IndexSection::terms, terms_);
        std::memcpy(footer_.magic.data(), index_magic.data(), index_magic.size());
        footer_.checksum = footer_checksum(footer_);
        sink_(std::as_bytes(std::span{&footer_, 1}));
    }

private:
    static std::uint32_t size_of(std::string_view text) {
        FLASHBACK_ASSERT(text.size() < UINT32_MAX, "an index holds texts of less than 4 GB, found ", text.size(), " bytes");
        return static_cast<std::uint32_t>(text.size());
    }
    double impact(std::uint32_t count, std::uint32_t length) const {
        const double tf = count;
        return tf / (tf + static_cast<double>(norms_[length]));
    }
    static std::uint16_t rounded_up(double impact) {
        return static_cast<std::uint16_t>(std::min(impact_steps, std::ceil(impact * impact_steps)));
    }
    void full_block() {
        const std::uint64_t at = section_bytes_ - terms_.back().at;
        FLASHBACK_ASSERT(at < UINT32_MAX, "the postings of a term take 4 GB or more");
        bytes_.clear();
        const auto bits = write_full_block(block_, next_, bytes_);
        blocks_.push_back({block_.passages.back(), static_cast<std::uint32_t>(at), rounded_up(block_impact_),
                           static_cast<std::uint8_t>(bits.first), static_cast<std::uint8_t>(bits.second)});
        write(std::span<const std::byte>{bytes_});
        terms_.back().impact = std::max(terms_.back().impact, blocks_.back().impact);
        next_ = block_.passages.back() + 1;
        block_.size = 0;
        block_impact_ = 0;
    }

    void begin(IndexSection which) {
        section_ = which;
        section_bytes_ = 0;
        sum_ = {};
    }
    void write(std::span<const std::byte> bytes) {
        if (bytes.empty()) return;
        sum_.add(bytes);
        sink_(bytes);
        section_bytes_ += bytes.size();
    }
    void write(std::string_view text) { write(std::as_bytes(std::span{text})); }
    void end() {
        const std::uint64_t bytes = section_bytes_;
        constexpr std::array<std::byte, index_alignment> zeros{};
        write(std::span{zeros}.first(static_cast<std::size_t>(padded_to_index(bytes) - bytes)));
        footer_.sections[static_cast<std::size_t>(section_)] = {at_, bytes, sum_.value()};
        at_ += section_bytes_;
    }
    template <class Entry>
    void table(IndexSection which, const std::vector<Entry>& entries) {
        begin(which);
        write(std::as_bytes(std::span{entries}));
        end();
    }

    IndexSink sink_;
    std::uint64_t at_ = 0;  // of the section that is written
    IndexSection section_ = IndexSection::stored;
    std::uint64_t section_bytes_ = 0;
    IndexSum sum_;
    IndexFooter footer_{};
    std::vector<StoredDocument> documents_;
    std::vector<std::string> ids_;
    std::vector<StoredPassage> passages_;
    std::vector<std::uint32_t> lengths_;
    LengthNorms norms_;
    std::vector<PostingBlockEntry> blocks_;
    std::vector<std::byte> words_;
    std::vector<TermEntry> terms_;
    PostingBlock block_{};  // postings of the newest term that are not written yet
    double block_impact_ = 0;
    std::uint32_t next_ = 0;  // the least passage that may follow what is written
    std::vector<std::byte> bytes_;
};

}  // namespace flashback::inline FLASHBACK_ISA::detail
