/// \file Graphs: building, searching, and their files.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/fingerprint.hpp"
#include "flashback/dense/detail/hnsw_graph.hpp"
#include "flashback/dense/detail/query_rows.hpp"
#include "flashback/dense/hnsw.hpp"
#include "flashback/format/atomic_file.hpp"
#include "flashback/format/byte_reader.hpp"
#include "flashback/format/mapped_file.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <limits>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

namespace detail {

inline constexpr std::string_view graph_file_magic = "FBHNSWGR";
inline constexpr std::uint64_t graph_file_version = 1;
inline constexpr std::size_t graph_most_links = 256;

/// What a file of a graph begins with.
struct GraphStart {
    enum Word : std::size_t {
        magic,
        version,
        vectors,
        links,
        ef_construction,
        seed,
        entry,
        upper,
        vectors_checksum,
        checksum,
        count
    };
    std::array<std::uint64_t, count> words{};

    std::span<const std::byte> bytes() const noexcept { return std::as_bytes(std::span{words}); }
    std::uint64_t own_checksum(std::span<const std::byte> behind) const noexcept {
        return Fingerprint::of(bytes().first(checksum * sizeof(words[0])), behind);
    }
};

inline void check_hnsw_options(const HnswOptions& options) {
    FLASHBACK_ASSERT(options.links >= 2 && options.links <= graph_most_links, "a graph of ", options.links,
                     " links, expected 2 to ", graph_most_links);
    FLASHBACK_ASSERT(options.ef_construction > 0, "a graph is built with an ef_construction of 0, expected at least 1");
    FLASHBACK_ASSERT(options.ef > 0, "a graph is searched with an ef of 0, expected at least 1");
}

inline void check_hnsw_vectors(const VectorStore* vectors) {
    FLASHBACK_ASSERT(vectors != nullptr, "an index needs vectors, found none");
    FLASHBACK_ASSERT(vectors->size() < std::size_t{1} << 31, "a graph is of fewer than 2^31 vectors, found ", vectors->size());
}

/// Everything behind the start.
inline std::vector<std::uint32_t> graph_numbers(const HnswGraph& graph) {
    const auto& links = graph.links();
    const std::size_t size = links.cur_element_count;
    std::vector<std::uint32_t> numbers;
    const auto add = [&](hnswlib::linklistsizeint* list, std::size_t room) {
        const std::size_t count = links.getListCount(list);
        numbers.push_back(static_cast<std::uint32_t>(count));
        numbers.insert(numbers.end(), list + 1, list + 1 + count);
        numbers.insert(numbers.end(), room - count, 0);
    };
    for (std::size_t i = 0; i < size; ++i) add(links.get_linklist0(static_cast<hnswlib::tableint>(i)), links.maxM0_);
    for (std::size_t i = 0; i < size; ++i) numbers.push_back(static_cast<std::uint32_t>(links.element_levels_[i]));
    for (std::size_t i = 0; i < size; ++i) {
        for (int layer = 1; layer <= links.element_levels_[i]; ++layer)
            add(links.get_linklist(static_cast<hnswlib::tableint>(i), layer), links.maxM_);
    }
    return numbers;
}

/// Reads what stands behind the start of a file, and looks at every number.
class GraphReader {
    /// Numbers of the file, which may lie at any address.
    struct Numbers {
        const std::byte* from;
        std::uint32_t operator()(std::size_t i) const noexcept {
            std::uint32_t number;
            std::memcpy(&number, from + i * sizeof number, sizeof number);
            return number;
        }
    };

public:
    GraphReader(ByteReader& reader, const GraphStart& start)
        : reader_(&reader),
          size_(static_cast<std::size_t>(start.words[GraphStart::vectors])),
          links_(static_cast<std::size_t>(start.words[GraphStart::links])) {}

    /// Puts the links into a graph that has none.
    /// Throws    Error{format}; std::bad_alloc
    void read(HnswGraph& graph, std::uint64_t entry) {
        auto& to = graph.links();
        to.cur_element_count = size_;
        const auto lowest = numbers(size_ * (1 + 2 * links_));
        const auto layers = numbers(size_);
        for (std::size_t i = 0; i < size_; ++i) {
            if (layers(i) > layers(entry)) damaged("a search does not begin in its highest layer");
            put(
                lowest, i * (1 + 2 * links_), 2 * links_, i, [](std::uint32_t) { return true; },
                to.get_linklist0(static_cast<hnswlib::tableint>(i)));
            to.setExternalLabel(static_cast<hnswlib::tableint>(i), i);
        }
        for (std::size_t i = 0; i < size_; ++i) {
            const std::size_t count = layers(i);
            const auto upper = numbers(count * (1 + links_));
            if (count == 0) continue;
            to.linkLists_[i] = static_cast<char*>(std::calloc(count * to.size_links_per_element_ + 1, 1));  // hnswlib frees it
            if (to.linkLists_[i] == nullptr) throw std::bad_alloc{};
            to.element_levels_[i] = static_cast<int>(count);
            for (std::size_t layer = 1; layer <= count; ++layer) {
                put(
                    upper, (layer - 1) * (1 + links_), links_, i, [&](std::uint32_t other) { return layers(other) >= layer; },
                    to.get_linklist(static_cast<hnswlib::tableint>(i), static_cast<int>(layer)));
            }
        }
        to.enterpoint_node_ = static_cast<hnswlib::tableint>(entry);
        to.maxlevel_ = to.element_levels_[static_cast<std::size_t>(entry)];
        graph.searches();
    }

    [[noreturn]] void damaged(const std::string& why) const {
        FLASHBACK_THROW(ErrorCode::format, "the graph '", reader_->file(), "' is damaged: ", why);
    }

private:
    Numbers numbers(std::size_t count) { return {reader_->take(count * sizeof(std::uint32_t), "numbers of a graph").data()}; }

    /// Copies a list of links of vector i; each must lead to another vector that `is_there`.
    template <class IsThere>
    void put(const Numbers& from, std::size_t first, std::size_t room, std::size_t i, const IsThere& is_there,
             hnswlib::linklistsizeint* to) const {
        const std::uint32_t count = from(first);
        if (count > room)
            damaged("vector " + std::to_string(i) + " has " + std::to_string(count) + " links in room for " +
                    std::to_string(room));
        std::memcpy(to, &count, sizeof count);
        for (std::size_t l = 1; l <= count; ++l) {
            const std::uint32_t other = from(first + l);
            if (other >= size_ || other == i || !is_there(other))
                damaged("vector " + std::to_string(i) + " has a link to " + std::to_string(other) + ", which is not there");
            to[l] = other;
        }
    }

    ByteReader* reader_;
    std::size_t size_, links_;
};

}  // namespace detail

inline HnswIndex::HnswIndex(std::shared_ptr<const VectorStore> vectors, const HnswOptions& options,
                            std::shared_ptr<const detail::HnswGraph> graph, ExecutorRef executor)
    : vectors_(std::move(vectors)), options_(options), graph_(std::move(graph)), executor_(executor) {}

inline HnswIndex::HnswIndex(std::shared_ptr<const VectorStore> vectors, const HnswOptions& options, ExecutorRef executor)
    : HnswIndex(std::move(vectors), options, nullptr, executor) {
    detail::check_hnsw_options(options);
    detail::check_hnsw_vectors(vectors_.get());
    if (size() == 0) return;
    const auto graph = std::make_shared<detail::HnswGraph>(*vectors_, options);
    graph->build();
    graph_ = graph;
}

inline HnswIndex HnswIndex::with_ef(std::size_t ef) const {
    HnswOptions options = options_;
    options.ef = ef;
    detail::check_hnsw_options(options);
    return HnswIndex{vectors_, options, graph_, executor_};
}

inline std::vector<DenseHit> HnswIndex::search(std::span<const float> query, std::size_t k) const {
    FLASHBACK_ASSERT(query.size() == dimension(), "a query of ", query.size(), " floats for vectors of dimension ",
                     dimension());
    return std::move(search_batch(query, k).front());
}

inline std::vector<std::vector<DenseHit>> HnswIndex::search_batch(std::span<const float> queries, std::size_t k) const {
    const detail::QueryRows prepared{queries, dimension(), vectors_->normalised()};
    std::vector<std::vector<DenseHit>> answers(prepared.size());
    if (k == 0 || !graph_) return answers;
    executor_.run(answers.size(), [&](std::size_t q) {
        std::vector<DenseHit> hits = graph_->search(prepared.row(q), std::min(size(), std::max(k, options_.ef)));
        std::ranges::sort(hits, better);
        hits.resize(std::min(k, hits.size()));
        answers[q] = std::move(hits);
    });
    return answers;
}

inline void HnswIndex::save(const std::filesystem::path& path) const {
    AtomicFile file{path};
    std::vector<std::uint32_t> numbers;
    detail::GraphStart start;
    std::memcpy(&start.words[start.magic], detail::graph_file_magic.data(), sizeof(start.words[0]));
    start.words[start.version] = detail::graph_file_version;
    start.words[start.vectors] = size();
    start.words[start.links] = options_.links;
    start.words[start.ef_construction] = options_.ef_construction;
    start.words[start.seed] = options_.seed;
    start.words[start.vectors_checksum] = vectors_->checksum();
    if (graph_) {
        numbers = detail::graph_numbers(*graph_);
        start.words[start.entry] = graph_->links().enterpoint_node_;
        for (const int layers : graph_->links().element_levels_) start.words[start.upper] += static_cast<std::uint64_t>(layers);
    }
    start.words[start.checksum] = start.own_checksum(std::as_bytes(std::span{numbers}));
    file.write(start.bytes());
    file.write(std::as_bytes(std::span{numbers}));
    file.finish();
}

inline HnswIndex HnswIndex::load(const std::filesystem::path& path, std::shared_ptr<const VectorStore> vectors, std::size_t ef,
                                 ExecutorRef executor) {
    const MappedFile file{path};
    return parse(file.bytes(), path.string(), std::move(vectors), ef, executor);
}

inline HnswIndex HnswIndex::parse(std::span<const std::byte> bytes, const std::string& name,
                                  std::shared_ptr<const VectorStore> vectors, std::size_t ef, ExecutorRef executor) {
    detail::check_hnsw_vectors(vectors.get());
    detail::GraphStart start;
    ByteReader reader{bytes, name};
    if (bytes.size() < start.bytes().size() || std::memcmp(bytes.data(), detail::graph_file_magic.data(), 8) != 0)
        FLASHBACK_THROW(ErrorCode::format, "'", name, "' is no graph of hnswlib");
    for (std::uint64_t& word : start.words) word = reader.number<std::uint64_t>("start");
    if (const std::uint64_t version = start.words[start.version]; version != detail::graph_file_version) {
        FLASHBACK_THROW(ErrorCode::unsupported, "the graph '", name, "' has version ", version, ", expected ",
                        detail::graph_file_version, " (little-endian)");
    }
    detail::GraphReader graph_reader{reader, start};
    if (start.own_checksum(bytes.subspan(reader.position())) != start.words[start.checksum])
        graph_reader.damaged("it does not give its checksum");
    const std::uint64_t links = start.words[start.links];
    const std::uint64_t most = std::numeric_limits<std::uint32_t>::max();
    if (links < 2 || links > detail::graph_most_links) graph_reader.damaged("it has an impossible number of links");
    if (start.words[start.ef_construction] == 0) graph_reader.damaged("it was built with an ef_construction of 0");
    const std::uint64_t checksum = vectors->checksum();
    if (start.words[start.vectors] != vectors->size() || start.words[start.vectors_checksum] != checksum) {
        FLASHBACK_THROW(ErrorCode::contract, "the graph '", name, "' belongs to other vectors: it has ",
                        start.words[start.vectors], " of checksum ", start.words[start.vectors_checksum], ", but these are ",
                        vectors->size(), " of checksum ", checksum);
    }
    const std::uint64_t size = vectors->size();
    const std::uint64_t upper = start.words[start.upper];
    if (upper > most || (size * (2 + 2 * links) + upper * (1 + links)) * sizeof(std::uint32_t) != reader.left())
        graph_reader.damaged(std::to_string(reader.left()) + " bytes are no such graph");
    if (size > 0 && start.words[start.entry] >= size) graph_reader.damaged("a search begins at a vector that is not there");

    const HnswOptions options{static_cast<std::size_t>(links), static_cast<std::size_t>(start.words[start.ef_construction]), ef,
                              start.words[start.seed]};
    detail::check_hnsw_options(options);
    std::shared_ptr<detail::HnswGraph> graph;
    if (size > 0) {
        graph = std::make_shared<detail::HnswGraph>(*vectors, options);
        graph_reader.read(*graph, start.words[start.entry]);
        if (reader.left() > 0) graph_reader.damaged("its vectors are in fewer layers than it says");
    }
    return HnswIndex{std::move(vectors), options, std::move(graph), executor};
}

static_assert(VectorIndex<HnswIndex>);

}  // namespace flashback::inline FLASHBACK_ISA
