/// \file A segment of an index, to read.
#pragma once

#include "flashback/core/retriever.hpp"
#include "flashback/retrieval/detail/index_layout.hpp"
#include "flashback/retrieval/detail/posting_blocks.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace flashback::inline FLASHBACK_ISA::detail {

/// Views a segment. Nothing that it reads lies outside of the bytes, whatever they are; what is found damaged is refused.
class IndexSegment {
public:
    /// Requires  the bytes outlive it, and lie at a multiple of 8
    /// Throws    Error{format} if they are no segment, or its footer is damaged
    /// Cost      reads the footer only
    IndexSegment(std::span<const std::byte> bytes, const std::string& name) : bytes_(bytes) {
        const auto refuse = [&](const char* why) {
            FLASHBACK_THROW(ErrorCode::format, "'", name, "' is no segment of an index: ", why);
        };
        if (bytes.size() < index_magic.size() + sizeof(IndexFooter)) refuse("it is too short");
        if (std::memcmp(bytes.data(), index_magic.data(), index_magic.size()) != 0) refuse("it does not begin as one");
        std::memcpy(&footer_, bytes.data() + bytes.size() - sizeof(IndexFooter), sizeof(IndexFooter));
        if (std::string_view{footer_.magic.data(), footer_.magic.size()} != index_magic) refuse("it does not end as one");
        if (footer_checksum(footer_) != footer_.checksum) refuse("its footer does not give its checksum");
        const std::uint64_t room = bytes.size() - sizeof(IndexFooter);
        std::uint64_t end = index_alignment;
        for (const SectionEntry& section : footer_.sections) {
            if (section.at != end || end > room || section.bytes > room - end) refuse("its sections do not fit");
            end += padded_to_index(section.bytes);
        }
        if (end != room) refuse("its sections do not fill it");
        documents_ = table<StoredDocument>(IndexSection::documents);
        passages_ = table<StoredPassage>(IndexSection::passages);
        lengths_ = table<std::uint32_t>(IndexSection::lengths);
        by_id_ = table<std::uint32_t>(IndexSection::by_id);
        blocks_ = table<PostingBlockEntry>(IndexSection::blocks);
        terms_ = table<TermEntry>(IndexSection::terms);
        if (lengths_.size() != passages_.size() || by_id_.size() != documents_.size())
            refuse("its counts contradict each other");
        if (passages_.size() >= UINT32_MAX) refuse("its counts are impossible");
    }

    std::size_t passages() const noexcept { return passages_.size(); }
    std::size_t documents() const noexcept { return documents_.size(); }
    std::span<const TermEntry> terms() const noexcept { return terms_; }
    std::span<const std::uint32_t> lengths() const noexcept { return lengths_; }
    const IndexFooter& footer() const noexcept { return footer_; }

    /// Bytes of what a search reads, without texts and tokens.
    std::size_t search_bytes() const noexcept { return bytes_.size() - section(IndexSection::stored).size(); }

    /// Refuses a segment any byte of which has changed.
    /// Cost      reads everything
    void verify(const std::string& name) const {
        for (std::size_t i = 0; i < index_sections; ++i) {
            const SectionEntry& its = footer_.sections[i];
            IndexSum sum;
            sum.add(bytes_.subspan(static_cast<std::size_t>(its.at), static_cast<std::size_t>(padded_to_index(its.bytes))));
            if (sum.value() != its.checksum)
                FLASHBACK_THROW(ErrorCode::format, "the index file '", name, "' is damaged: section ", i,
                                " does not give its checksum");
        }
    }

    std::string_view word(const TermEntry& term) const {
        return text_of(section(IndexSection::words), term.word, term.word_bytes);
    }

    /// A term by its bytes, or null.
    const TermEntry* find(std::string_view word_sought) const {
        const auto it = std::ranges::lower_bound(terms_, word_sought, {}, [&](const TermEntry& term) { return word(term); });
        if (it == terms_.end() || word(*it) != word_sought) return nullptr;
        static_cast<void>(blocks(*it));  // refuses a damaged count
        return &*it;
    }

    /// Document by number.
    /// Requires  d < documents()
    std::string_view document_id(std::size_t d) const {
        return text_of(section(IndexSection::stored), documents_[d].at, documents_[d].id_bytes);
    }
    std::string_view title(std::size_t d) const {
        return text_of(section(IndexSection::stored), documents_[d].at + documents_[d].id_bytes, documents_[d].title_bytes);
    }
    const StoredDocument& document(std::size_t d) const { return documents_[d]; }

    /// The document with an id, if there is one.
    std::optional<std::uint32_t> find_document(std::string_view id) const {
        const auto it = std::ranges::lower_bound(by_id_, id, {}, [&](std::uint32_t d) { return document_id(checked(d)); });
        if (it == by_id_.end() || document_id(checked(*it)) != id) return std::nullopt;
        return *it;
    }

    /// The number of the document of a passage.
    /// Requires  p < passages()
    std::uint32_t document_of(std::size_t p) const { return checked(passages_[p].document); }

    /// Whether a passage has an id of its own.
    bool has_own_id(std::size_t p) const { return passages_[p].id_bytes != 0; }

    Passage passage(std::size_t p) const {
        const StoredPassage& its = passages_[p];
        const std::uint32_t document = document_of(p);
        const std::span<const std::byte> stored = section(IndexSection::stored);
        const std::uint64_t id_at = its.at + std::uint64_t{its.tokens} * sizeof(TokenId);
        const std::span<const std::byte> tokens = part_of(stored, its.at, std::uint64_t{its.tokens} * sizeof(TokenId));
        if (its.at % alignof(TokenId) != 0) damaged_index("tokens do not lie where tokens can");
        return {.id = its.id_bytes == 0 ? document_id(document) : text_of(stored, id_at, its.id_bytes),
                .title = title(document),
                .text = text_of(stored, id_at + its.id_bytes, its.text_bytes),
                .tokens = {reinterpret_cast<const TokenId*>(tokens.data()), its.tokens}};
    }

    /// The full blocks of a term. The rest of its postings, less than a block, has no entry.
    std::span<const PostingBlockEntry> blocks(const TermEntry& term) const {
        if (term.count == 0 || term.count > passages_.size()) damaged_index("a term has more postings than there are passages");
        const std::size_t count = term.count / block_postings;
        if (term.first_block > blocks_.size() || count > blocks_.size() - term.first_block)
            damaged_index("a term has blocks that are not there");
        return blocks_.subspan(term.first_block, count);
    }

    /// Decodes the passages of a full block.
    void read_passages(const TermEntry& term, std::span<const PostingBlockEntry> its, std::size_t block,
                       PostingBlock& out) const {
        const PostingBlockEntry& entry = its[block];
        unpack(block_bytes(term, entry), entry.gap_bits, out.passages);
        const std::uint64_t next = block == 0 ? 0 : std::uint64_t{its[block - 1].last} + 1;
        out.size = block_postings;
        if (sum_gaps(out.passages, next) != entry.last || entry.last >= passages_.size())
            damaged_index("a block of postings does not end where it should");
    }
    /// Decodes the counts of a full block.
    void read_counts(const TermEntry& term, const PostingBlockEntry& entry, PostingBlock& out) const {
        unpack(block_bytes(term, entry) + packed_bytes(entry.gap_bits), entry.count_bits, out.counts);
        for (std::uint32_t& count : out.counts) {
            if (++count == 0) damaged_index("a passage has a term too often");
        }
    }
    /// Decodes what is left behind the full blocks.
    void read_rest(const TermEntry& term, std::span<const PostingBlockEntry> its, PostingBlock& out) const {
        std::uint64_t at = term.at;
        std::uint64_t next = 0;
        if (!its.empty()) {
            at += its.back().at + packed_bytes(its.back().gap_bits) + packed_bytes(its.back().count_bits);
            next = std::uint64_t{its.back().last} + 1;
        }
        std::span<const std::byte> postings = section(IndexSection::postings);
        if (at > postings.size()) damaged_index("postings lie outside of it");
        postings = postings.subspan(static_cast<std::size_t>(at));
        out.size = term.count % block_postings;
        for (std::size_t i = 0; i < out.size; ++i) {
            next += take_varint(postings);
            if (next >= passages_.size()) damaged_index("a posting names a passage that is not there");
            out.passages[i] = static_cast<std::uint32_t>(next++);
            out.counts[i] = take_varint(postings) + 1;
            if (out.counts[i] == 0) damaged_index("a passage has a term too often");
        }
    }

private:
    std::span<const std::byte> section(IndexSection which) const noexcept {
        const SectionEntry& its = footer_.sections[static_cast<std::size_t>(which)];
        return bytes_.subspan(static_cast<std::size_t>(its.at), static_cast<std::size_t>(its.bytes));
    }
    template <class Entry>
    std::span<const Entry> table(IndexSection which) const {
        const std::span<const std::byte> its = section(which);
        if (its.size() % sizeof(Entry) != 0) damaged_index("a table has a part of an entry");
        return {reinterpret_cast<const Entry*>(its.data()), its.size() / sizeof(Entry)};
    }
    static std::span<const std::byte> part_of(std::span<const std::byte> its, std::uint64_t at, std::uint64_t bytes) {
        if (at > its.size() || bytes > its.size() - at) damaged_index("a text lies outside of it");
        return its.subspan(static_cast<std::size_t>(at), static_cast<std::size_t>(bytes));
    }
    static std::string_view text_of(std::span<const std::byte> its, std::uint64_t at, std::uint64_t bytes) {
        const std::span<const std::byte> part = part_of(its, at, bytes);
        return {reinterpret_cast<const char*>(part.data()), part.size()};
    }
    std::uint32_t checked(std::uint32_t document) const {
        if (document >= documents_.size()) damaged_index("it names a document that is not there");
        return document;
    }
    const std::byte* block_bytes(const TermEntry& term, const PostingBlockEntry& entry) const {
        if (entry.gap_bits > 32 || entry.count_bits > 32) damaged_index("a block has numbers of more than 32 bits");
        const std::size_t bytes = packed_bytes(entry.gap_bits) + packed_bytes(entry.count_bits);
        const std::span<const std::byte> postings = section(IndexSection::postings);
        const std::uint64_t at = term.at + entry.at;
        if (term.at > postings.size() || at > postings.size() || bytes + packed_slack > postings.size() - at)
            damaged_index("a block of postings lies outside of it");
        return postings.data() + at;
    }

    std::span<const std::byte> bytes_;
    IndexFooter footer_{};
    std::span<const StoredDocument> documents_;
    std::span<const StoredPassage> passages_;
    std::span<const std::uint32_t> lengths_;
    std::span<const std::uint32_t> by_id_;
    std::span<const PostingBlockEntry> blocks_;
    std::span<const TermEntry> terms_;
};

}  // namespace flashback::inline FLASHBACK_ISA::detail
