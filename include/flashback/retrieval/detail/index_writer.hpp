/// \file Building, committing and merging the segments of an index.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/format/atomic_file.hpp"
#include "flashback/format/folder.hpp"
#include "flashback/retrieval/detail/bm25_parts.hpp"
#include "flashback/retrieval/detail/build_segments.hpp"
#include "flashback/retrieval/detail/folder_lock.hpp"
#include "flashback/retrieval/detail/index_folder.hpp"
#include "flashback/retrieval/detail/merge_segments.hpp"
#include "flashback/retrieval/detail/open_index.hpp"
#include "flashback/retrieval/index_writer.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {
namespace detail {

class IndexWriterState {
public:
    IndexWriterState(std::filesystem::path folder, const IndexWriterOptions& options)
        : folder_(std::move(folder)), options_(options), lock_(made(folder_)) {
        check_formula(options.formula);
        const std::string_view analyzer = options.analyzer.name();
        FLASHBACK_ASSERT(analyzer.find('\n') == analyzer.npos, "the name of an analyzer has a line break, expected one line");
        FLASHBACK_ASSERT(!options.codec || options.passage_tokens > 0,
                         "passages of an index have at most 0 tokens, expected more");
        if (is_bm25_index(folder_)) {
            continue_index();
        } else {
            manifest_.analyzer = analyzer;
            manifest_.passage_tokens = options.codec ? options.passage_tokens : 0;
            manifest_.codec = options.codec ? options.codec->fingerprint : 0;
            manifest_.formula = options.formula;
        }
        remove_unnamed();
    }

    void add(Document document) {
        check_whole();
        if (pending_ids_.contains(document.id) || find(document.id).segment != nullptr) {
            FLASHBACK_THROW(ErrorCode::corpus, "the index '", folder_.string(), "' has a document with the id '",
                            printable(document.id), "' already; remove it first to replace it");
        }
        pending_bytes_ += bytes_of(document);
        pending_ids_.emplace(document.id, pending_.size());
        pending_.push_back(std::move(document));
        if (pending_bytes_ >= options_.batch_bytes) flush();
    }

    bool remove(std::string_view id) {
        check_whole();
        if (const auto pending = pending_ids_.find(std::string{id}); pending != pending_ids_.end()) {
            forget(pending);
            return true;
        }
        const Place place = find(id);
        if (place.segment == nullptr) return false;
        place.segment->held.deletions.add(place.document);
        place.segment->changed = true;
        return true;
    }

    void commit() {
        check_whole();
        flush();
        if (fresh() > 1) merge_from(segments_.size() - fresh());
        publish();
    }

    void merge() {
        check_whole();
        flush();
        bool gone = false;
        for (const Segment& its : segments_) gone = gone || its.held.deletions.any();
        if (segments_.size() > 1 || gone) merge_from(0);
        publish();
    }

    std::size_t documents() const noexcept {
        std::size_t count = pending_.size();
        for (const Segment& its : segments_) count += its.held.segment.documents() - its.held.deletions.count();
        return count;
    }

private:
    struct Segment {
        HeldSegment held;
        std::uint64_t number;
        std::uint64_t gone;
        std::uint64_t gone_sum;
        bool fresh;            // the manifest does not name it yet
        bool changed = false;  // documents were removed that no file says

        Segment(const std::filesystem::path& path, const IndexManifest::Segment& its, bool is_fresh)
            : held(MappedFile{path}, path.string()),
              number(its.number),
              gone(its.gone),
              gone_sum(its.gone_sum),
              fresh(is_fresh) {}
    };
    /// While files are written, what is in memory and what is on the disk may differ: if that fails, nothing goes on from there.
    class Attempt {
    public:
        explicit Attempt(bool& broken) : broken_(&broken) { broken = true; }
        void succeeded() const { *broken_ = false; }

    private:
        bool* broken_;
    };
    struct Place {
        Segment* segment = nullptr;
        std::uint32_t document = 0;
    };

    static const std::filesystem::path& made(const std::filesystem::path& folder) {
        std::error_code error;
        std::filesystem::create_directories(folder, error);
        if (error)
            FLASHBACK_THROW(ErrorCode::io, "cannot make the folder '", folder.string(), "' for an index: ", error.message());
        return folder;
    }

    void continue_index() {
        manifest_ = read_manifest(folder_);
        check_same(folder_, manifest_, options_.analyzer, options_.codec);
        const std::size_t tokens = options_.codec ? options_.passage_tokens : 0;
        if (manifest_.passage_tokens != tokens) {
            FLASHBACK_THROW(ErrorCode::contract, "the passages of the index '", folder_.string(), "' have at most ",
                            manifest_.passage_tokens, " tokens (0: whole documents), but ", tokens, " were asked for");
        }
        for (const IndexManifest::Segment& its : manifest_.segments) {
            segments_.emplace_back(segment_file(folder_, its.number), its, false);
            check_segment(folder_, its, segments_.back().held);
        }
    }

    Place find(std::string_view id) {
        for (Segment& its : segments_) {
            const auto document = its.held.segment.find_document(id);
            if (document && !its.held.deletions.has(*document)) return {&its, *document};
        }
        return {};
    }

    void check_whole() const {
        FLASHBACK_ASSERT(!broken_, "a writer of the index '", folder_.string(),
                         "' failed before; destroy it and make another, which goes on from the last commit");
    }

    std::size_t fresh() const {
        return static_cast<std::size_t>(std::ranges::count_if(segments_, [](const Segment& its) { return its.fresh; }));
    }

    /// Drops a document that is pending; the last one takes its place.
    void forget(std::unordered_map<std::string, std::size_t>::iterator pending) {
        const std::size_t place = pending->second;
        pending_bytes_ -= bytes_of(pending_[place]);
        pending_ids_.erase(pending);
        if (place + 1 < pending_.size()) {
            pending_[place] = std::move(pending_.back());
            pending_ids_[pending_[place].id] = place;
        }
        pending_.pop_back();
    }
    static std::size_t bytes_of(const Document& document) { return document.text.size() + sizeof(Document); }

    /// Makes segments of what is pending.
    void flush() {
        if (pending_.empty()) return;
        const Attempt attempt{broken_};
        const SegmentRecipe recipe{&options_.analyzer, options_.codec ? &*options_.codec : nullptr, options_.passage_tokens,
                                   manifest_.formula};
        const std::vector<Document> documents = std::exchange(pending_, {});
        pending_ids_.clear();
        pending_bytes_ = 0;
        for (const std::vector<std::byte>& bytes : build_segments(documents, recipe, options_.executor)) {
            const std::uint64_t number = manifest_.next++;
            AtomicFile file{segment_file(folder_, number)};
            file.write(std::span<const std::byte>{bytes});
            file.finish();
            segments_.emplace_back(segment_file(folder_, number), IndexManifest::Segment{number, 0, 0, 0}, true);
        }
        if (fresh() >= most_fresh) merge_from(segments_.size() - fresh());
        attempt.succeeded();
    }

    /// Makes one of the segments from a number on.
    void merge_from(std::size_t first) {
        const Attempt attempt{broken_};
        std::vector<LiveSegment> live;
        for (std::size_t i = first; i < segments_.size(); ++i) {
            live.push_back(segments_[i].held.live());
            // Else the checksums of the new segment would vouch for bytes that were damaged before.
            if (!segments_[i].fresh) segments_[i].held.segment.verify(segments_[i].held.name);
        }
        const std::uint64_t number = manifest_.next++;
        {
            AtomicFile file{segment_file(folder_, number)};
            std::vector<std::byte> buffer;
            const auto keep = [&](std::span<const std::byte> some) {
                buffer.insert(buffer.end(), some.begin(), some.end());
                if (buffer.size() < buffered_bytes) return;
                file.write(std::span<const std::byte>{buffer});
                buffer.clear();
            };
            merge_segments(live, manifest_.formula, keep);
            file.write(std::span<const std::byte>{buffer});
            file.finish();
        }
        while (segments_.size() > first) segments_.pop_back();
        segments_.emplace_back(segment_file(folder_, number), IndexManifest::Segment{number, 0, 0, 0}, true);
        attempt.succeeded();
    }

    /// Lets the manifest name what there is.
    void publish() {
        const Attempt attempt{broken_};
        manifest_.segments.clear();
        for (Segment& its : segments_) {
            if (std::exchange(its.changed, false)) {
                const std::string text = gone_text(its.held.deletions, its.held.segment.documents());
                its.gone = manifest_.next++;
                its.gone_sum = text_sum(text);
                AtomicFile file{gone_file(folder_, its.gone)};
                file.write(text);
                file.finish();
            }
            manifest_.segments.push_back({its.number, its.held.segment.footer().checksum, its.gone, its.gone_sum});
        }
        AtomicFile file{manifest_file(folder_)};
        file.write(manifest_text(manifest_));
        file.finish();
        for (Segment& its : segments_) its.fresh = false;
        attempt.succeeded();
        try {
            remove_unnamed();
        } catch (const std::exception&) {
            // The index is written, and who opens it next to write tries again.
        }
    }

    /// Removes the files of an index that the manifest does not name. Who reads them keeps them.
    void remove_unnamed() const {
        std::unordered_set<std::string> named;
        for (const Segment& its : segments_) {
            named.insert(segment_file({}, its.number).string());
            named.insert(gone_file({}, its.gone).string());
        }
        for (const std::string& name : folder_entries(folder_)) {
            std::error_code ignored;  // what cannot be removed now is removed the next time
            if (is_of_index(name) && !named.contains(name)) std::filesystem::remove(folder_ / name, ignored);
        }
    }

    /// Whether a name is that of a segment, of removed documents, or of a file that was never finished.
    static bool is_of_index(std::string_view name) {
        const auto digits = [](std::string_view& text) {
            const std::size_t count = std::min(text.find_first_not_of("0123456789"), text.size());
            text.remove_prefix(count);
            return count > 0;
        };
        if (name.starts_with("index.part")) {
            name.remove_prefix(std::string_view{"index.part"}.size());
            return digits(name) && name.empty();
        }
        if (!digits(name)) return false;
        for (const std::string_view ending : {".segment", ".gone"}) {
            if (!name.starts_with(ending)) continue;
            name.remove_prefix(ending.size());
            if (name.empty()) return true;
            if (!name.starts_with(".part")) return false;
            name.remove_prefix(std::string_view{".part"}.size());
            return digits(name) && name.empty();
        }
        return false;
    }

    static constexpr std::size_t most_fresh = 64;  // the system maps some ten thousand files at most
    static constexpr std::size_t buffered_bytes = std::size_t{1} << 20;

    std::filesystem::path folder_;
    IndexWriterOptions options_;
    FolderLock lock_;
    IndexManifest manifest_;
    std::deque<Segment> segments_;
    std::vector<Document> pending_;
    std::unordered_map<std::string, std::size_t> pending_ids_;  // and their places
    std::size_t pending_bytes_ = 0;
    bool broken_ = false;
};

}  // namespace detail

FLASHBACK_DETAIL_ONCE IndexWriter::IndexWriter(std::filesystem::path folder, const IndexWriterOptions& options)
    : state_(std::make_unique<detail::IndexWriterState>(std::move(folder), options)) {}
FLASHBACK_DETAIL_ONCE IndexWriter::IndexWriter(IndexWriter&&) noexcept = default;
FLASHBACK_DETAIL_ONCE IndexWriter& IndexWriter::operator=(IndexWriter&&) noexcept = default;
FLASHBACK_DETAIL_ONCE IndexWriter::~IndexWriter() = default;
FLASHBACK_DETAIL_ONCE void IndexWriter::add(Document document) { state_->add(std::move(document)); }
FLASHBACK_DETAIL_ONCE bool IndexWriter::remove(std::string_view id) { return state_->remove(id); }
FLASHBACK_DETAIL_ONCE void IndexWriter::commit() { state_->commit(); }
FLASHBACK_DETAIL_ONCE void IndexWriter::merge() { state_->merge(); }
FLASHBACK_DETAIL_ONCE std::size_t IndexWriter::documents() const noexcept { return state_->documents(); }

}  // namespace flashback::inline FLASHBACK_ISA
