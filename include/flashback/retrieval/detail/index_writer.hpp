/// \file Building, committing and merging the segments of an index.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/format/atomic_file.hpp"
#include "flashback/retrieval/detail/bm25_parts.hpp"
#include "flashback/retrieval/detail/build_segments.hpp"
#include "flashback/retrieval/detail/folder_lock.hpp"
#include "flashback/retrieval/detail/index_folder.hpp"
#include "flashback/retrieval/detail/merge_segments.hpp"
#include "flashback/retrieval/detail/open_index.hpp"
#include "flashback/retrieval/index_writer.hpp"

#include <cstddef>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
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
        if (is_index(folder_)) {
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
        if (pending_ids_.contains(document.id) || find(document.id).segment != nullptr) {
            FLASHBACK_THROW(ErrorCode::corpus, "the index '", folder_.string(), "' has a document with the id '",
                            printable(document.id), "' already; remove it first to replace it");
        }
        pending_bytes_ += document.text.size() + sizeof(Document);
        pending_ids_.insert(document.id);
        pending_.push_back(std::move(document));
        if (pending_bytes_ >= options_.batch_bytes) flush();
    }

    bool remove(std::string_view id) {
        if (pending_ids_.contains(std::string{id})) flush();
        const Place place = find(id);
        if (place.segment == nullptr) return false;
        place.segment->held.deletions.add(place.document);
        place.segment->changed = true;
        return true;
    }

    void commit() {
        flush();
        std::size_t fresh = 0;
        for (const Segment& its : segments_) fresh += its.fresh ? 1 : 0;
        if (fresh > 1) merge_from(segments_.size() - fresh);
        publish();
    }

    void merge() {
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
        bool fresh;            // the manifest does not name it yet
        bool changed = false;  // documents were removed that no file says

        Segment(const std::filesystem::path& path, std::uint64_t its_number, std::uint64_t its_gone, bool is_fresh)
            : held(MappedFile{path}, path.string()), number(its_number), gone(its_gone), fresh(is_fresh) {}
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
            segments_.emplace_back(segment_file(folder_, its.number), its.number, its.gone, false);
            if (its.gone != 0) read_gone(gone_file(folder_, its.gone), segments_.back().held);
        }
    }

    Place find(std::string_view id) {
        for (Segment& its : segments_) {
            const auto document = its.held.segment.find_document(id);
            if (document && !its.held.deletions.has(*document)) return {&its, *document};
        }
        return {};
    }

    /// Makes segments of what is pending.
    void flush() {
        if (pending_.empty()) return;
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
            segments_.emplace_back(segment_file(folder_, number), number, 0, true);
        }
    }

    /// Makes one of the segments from a number on.
    void merge_from(std::size_t first) {
        std::vector<LiveSegment> live;
        for (std::size_t i = first; i < segments_.size(); ++i) live.push_back(segments_[i].held.live());
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
        segments_.emplace_back(segment_file(folder_, number), number, 0, true);
    }

    /// Lets the manifest name what there is.
    void publish() {
        manifest_.segments.clear();
        for (Segment& its : segments_) {
            if (std::exchange(its.changed, false)) {
                its.gone = manifest_.next++;
                AtomicFile file{gone_file(folder_, its.gone)};
                file.write(gone_text(its.held.deletions, its.held.segment.documents()));
                file.finish();
            }
            manifest_.segments.push_back({its.number, its.gone});
        }
        AtomicFile file{manifest_file(folder_)};
        file.write(manifest_text(manifest_));
        file.finish();
        for (Segment& its : segments_) its.fresh = false;
        remove_unnamed();
    }

    /// Removes the files of an index that the manifest does not name. Who reads them keeps them.
    void remove_unnamed() const {
        std::unordered_set<std::string> named;
        for (const Segment& its : segments_) {
            named.insert(segment_file({}, its.number).string());
            named.insert(gone_file({}, its.gone).string());
        }
        std::error_code unknown;
        for (const auto& entry : std::filesystem::directory_iterator{folder_, unknown}) {
            const std::string name = entry.path().filename().string();
            const std::size_t digits = std::min(name.find_first_not_of("0123456789"), name.size());
            const std::string_view rest = std::string_view{name}.substr(digits);
            const bool ours =
                (digits > 0 && (rest.starts_with(".segment") || rest.starts_with(".gone"))) || name.starts_with("index.part");
            if (ours && !named.contains(name)) std::filesystem::remove(entry.path(), unknown);
        }
    }

    static constexpr std::size_t buffered_bytes = std::size_t{1} << 20;

    std::filesystem::path folder_;
    IndexWriterOptions options_;
    FolderLock lock_;
    IndexManifest manifest_;
    std::deque<Segment> segments_;
    std::vector<Document> pending_;
    std::unordered_set<std::string> pending_ids_;
    std::size_t pending_bytes_ = 0;
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
