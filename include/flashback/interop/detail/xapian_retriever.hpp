/// \file Searching Xapian databases, and what to do if one is dead.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/interop/detail/xapian_passage.hpp"
#include "flashback/interop/xapian.hpp"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {
namespace detail {

/// A host and a port.
struct XapianAddress {
    std::string host;
    unsigned port = 0;  // 0: the name of a shard is a folder
};

/// The address in the name of a shard.
/// Throws    Error{contract} for one that begins like an address and is none
inline XapianAddress xapian_address(const std::string& name) {
    constexpr std::string_view scheme = "tcp://";
    FLASHBACK_ASSERT(!name.empty(), "a shard has no name, expected a folder or tcp://HOST:PORT");
    if (!name.starts_with(scheme)) return {name, 0};
    const std::string_view rest = std::string_view{name}.substr(scheme.size());
    const std::size_t colon = rest.rfind(':');
    std::string_view host = rest.substr(0, colon);
    if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);  // IPv6
    const std::string_view digits = colon == rest.npos ? std::string_view{} : rest.substr(colon + 1);
    unsigned port = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
    FLASHBACK_ASSERT(
        !host.empty() && error == std::errc{} && end == digits.data() + digits.size() && port >= 1 && port <= 65535,
        "the shard '", printable(name), "' is no address, expected tcp://HOST:PORT with a port from 1 to 65535");
    return {std::string{host}, port};
}

inline void check_xapian_options(const XapianOptions& options) {
    FLASHBACK_ASSERT(options.k1 >= 0 && std::isfinite(options.k1), "k1 of BM25 must be a number >= 0, found ", options.k1);
    FLASHBACK_ASSERT(options.b >= 0 && options.b <= 1, "b of BM25 must lie in [0, 1], found ", options.b);
    using namespace std::chrono_literals;
    for (const std::chrono::milliseconds timeout : {options.timeout, options.connect_timeout}) {
        FLASHBACK_ASSERT(timeout >= 1ms && timeout <= 1h, "a timeout of Xapian must be 1 ms to an hour, found ",
                         timeout.count(), " ms");
    }
}

/// Whether two scores are the same but for the order in which Xapian added them: each shard has its own.
inline bool same_xapian_score(double better, double worse) noexcept { return better - worse <= 1e-12 * better; }

/// Where the equal scores end that the score at `last` belongs to; `scores` descend.
inline std::size_t end_of_equals(std::span<const double> scores, std::size_t last) noexcept {
    std::size_t end = last + 1;
    while (end < scores.size() && same_xapian_score(scores[end - 1], scores[end])) ++end;
    return end;
}

}  // namespace detail

inline XapianRetriever::XapianRetriever(const std::vector<std::string>& shards, Encode encode, Decode decode,
                                        const XapianOptions& options)
    : encode_(std::move(encode)), decode_(std::move(decode)), options_(options) {
    FLASHBACK_ASSERT(encode_ != nullptr, "a XapianRetriever needs a function that makes tokens of texts, found none");
    FLASHBACK_ASSERT(!shards.empty(), "a XapianRetriever needs at least one shard, found none");
    detail::check_xapian_options(options);
    for (const std::string& name : shards) {
        FLASHBACK_ASSERT(std::ranges::find(shards_, name, &Shard::name) == shards_.end(), "the shard '", printable(name),
                         "' is named twice, expected each once");
        detail::XapianAddress address = detail::xapian_address(name);
        shards_.push_back({name, std::move(address.host), address.port, {}, {}});
    }
    reopen();
}

inline void XapianRetriever::reopen() {
    open_ = false;
    for (Shard& shard : shards_) open(shard);
    gather();
}

/// Opens one shard; if it does not answer, says so in its reason.
inline void XapianRetriever::open(Shard& shard) {
    std::string mark;
    try {
        shard.reason.clear();
        shard.database = Xapian::Database{};  // an old connection ends before a new one begins
        shard.database = shard.port == 0
                             ? Xapian::Database{shard.place}
                             : Xapian::Remote::open(shard.place, shard.port, static_cast<useconds_t>(options_.timeout.count()),
                                                    static_cast<useconds_t>(options_.connect_timeout.count()));
        mark = shard.database.get_metadata(detail::xapian_mark);
    } catch (const Xapian::Error& error) {
        shard.reason = detail::xapian_reason(error);
        return;
    }
    Xapian::Stem stem = detail::xapian_stem(mark, shard.name);
    if (stemming_.empty()) {
        stemming_ = mark;
        stem_ = std::move(stem);
    }
    if (mark != stemming_) {
        FLASHBACK_THROW(ErrorCode::format, "the shard '", printable(shard.name), "' has ", mark,
                        ", expected that of the others: ", stemming_);
    }
}

/// Opens one shard again and asks it alone; if that fails, says so in its reason.
inline void XapianRetriever::ask_alone(Shard& shard, const Xapian::Query& query) {
    open(shard);
    if (!shard.reason.empty()) return;
    try {
        static_cast<void>(enquire(shard.database, query).get_mset(0, 1));
    } catch (const Xapian::Error& error) {
        shard.reason = detail::xapian_reason(error);
    }
}

/// Puts together the shards that are there, if the others may be missing.
inline void XapianRetriever::gather() {
    open_ = false;
    all_ = Xapian::Database{};
    living_.clear();
    missing_.clear();
    std::string sentence;
    for (const Shard& shard : shards_) {
        if (shard.reason.empty()) {
            all_.add_database(shard.database);
            living_.push_back(shard.name);
            continue;
        }
        missing_.push_back({shard.name, shard.reason});
        sentence += (sentence.empty() ? " '" : ", '") + printable(shard.name) + "' (" + shard.reason + ")";
    }
    if (!missing_.empty() && (options_.dead_shard == DeadShard::error || living_.empty())) {
        FLASHBACK_THROW(ErrorCode::io, missing_.size(), " of ", shards_.size(), " shards of Xapian did not answer:", sentence);
    }
    open_ = true;
}

inline Xapian::Query XapianRetriever::query_of(std::string_view text) const {
    std::map<std::string, Xapian::termcount> counts;
    detail::for_each_xapian_term(stem_, text, [&](const std::string& term) { ++counts[term]; });
    std::vector<Xapian::Query> terms;
    for (const auto& [term, count] : counts) terms.emplace_back(term, count);
    return {Xapian::Query::OP_OR, terms.begin(), terms.end()};
}

inline Xapian::Enquire XapianRetriever::enquire(const Xapian::Database& database, const Xapian::Query& query) const {
    constexpr double k3 = 1e6;  // (k3 + 1) n / (k3 + n) is n: a word counts as often as the query has it
    Xapian::Enquire result{database};
    result.set_query(query);
    result.set_weighting_scheme(Xapian::BM25Weight{options_.k1, 0, k3, options_.b, 0});
    return result;
}

/// The best k passages. More are asked for until the scores that equal the k-th one are all there: their ids decide.
inline std::vector<XapianRetriever::Hit> XapianRetriever::search(const Xapian::Query& query, std::size_t k) const {
    Xapian::Enquire asked = enquire(all_, query);
    const std::size_t total = all_.get_doccount();
    k = std::min(k, total);
    for (std::size_t most = k + 1;; most *= 2) {
        const Xapian::MSet answer = asked.get_mset(0, static_cast<Xapian::doccount>(std::min(most, total)));
        std::vector<double> scores;
        for (auto hit = answer.begin(); hit != answer.end(); ++hit) scores.push_back(hit.get_weight());
        if (scores.empty()) return {};
        const std::size_t end = detail::end_of_equals(scores, std::min(k, scores.size()) - 1);
        if (end == scores.size() && scores.size() == most) continue;  // there may be more of them
        answer.fetch(answer.begin(), end < scores.size() ? answer[static_cast<Xapian::doccount>(end)] : answer.end());
        std::vector<Hit> hits;
        for (std::size_t i = 0; i < end; ++i) hits.push_back({scores[i], passage_at(answer[static_cast<Xapian::doccount>(i)])});
        for (std::size_t begin = 0; begin < end;) {
            const std::size_t equals = detail::end_of_equals(std::span{scores}.first(end), begin);
            const std::span<Hit> group{hits.data() + begin, equals - begin};
            std::ranges::sort(group, {}, [](const Hit& hit) -> const std::string& { return hit.passage.id; });
            for (Hit& hit : group) hit.score = scores[begin];
            begin = equals;
        }
        hits.resize(std::min(k, hits.size()));
        return hits;
    }
}

/// The passage of a hit. The documents of several databases have their numbers in turn.
inline XapianPassage XapianRetriever::passage_at(const Xapian::MSetIterator& hit) const {
    const std::size_t number = *hit - 1;
    return detail::parse_xapian_data(hit.get_document().get_data(), living_[number % living_.size()],
                                     number / living_.size() + 1);
}

inline std::shared_ptr<const TokenBuffer> XapianRetriever::tokens_of(const std::string& text) {
    const auto it = cache_.find(text);
    if (it != cache_.end()) return it->second;
    auto tokens = std::make_shared<const TokenBuffer>(encode_(text));
    if (cache_.size() >= options_.cached_passages) cache_.clear();
    if (options_.cached_passages > 0) cache_.emplace(text, tokens);
    return tokens;
}

inline std::span<const Passage> XapianRetriever::retrieve(const Query& query, std::size_t k) {
    passages_.clear();
    found_.clear();
    tokens_.clear();
    std::string text{query.text};
    if (text.empty() && !query.tokens.empty()) {
        FLASHBACK_ASSERT(decode_ != nullptr,
                         "a XapianRetriever needs a function that makes text of tokens for a query of tokens");
        text = decode_(query.tokens);
    }
    if (!open_) reopen();
    const Xapian::Query words = query_of(text);
    if (k == 0 || words.empty()) return {};
    std::vector<Hit> hits;
    try {
        hits = search(words, k);
    } catch (const Xapian::Error&) {
        open_ = false;  // half an answer may be on its way: no connection is good any more
        for (Shard& shard : shards_) {
            if (shard.reason.empty()) ask_alone(shard, words);
        }
        gather();
        try {
            hits = search(words, k);
        } catch (const Xapian::Error& error) {
            open_ = false;
            FLASHBACK_THROW(ErrorCode::io,
                            "the shards of Xapian answer alone, but not together: ", detail::xapian_reason(error));
        }
    }
    for (Hit& hit : hits) found_.push_back(std::move(hit.passage));
    for (std::size_t i = 0; i < hits.size(); ++i) {
        tokens_.push_back(tokens_of(found_[i].text));
        passages_.push_back({found_[i].id, found_[i].title, found_[i].text, *tokens_[i], static_cast<float>(hits[i].score)});
    }
    return passages_;
}

}  // namespace flashback::inline FLASHBACK_ISA
