#include "reuse_rows.hpp"

#include "engine.hpp"
#include "flashback/kv/kv_bytes.hpp"
#include "flashback/measure/reuse_sweep.hpp"
#include "flashback/model/prefix_cached.hpp"
#include "progress.hpp"

#include <algorithm>
#include <cstddef>
#include <optional>
#include <utility>

namespace cli {

namespace fb = flashback;

std::map<std::string, fb::ReuseWay> reuse_way_names() {
    std::map<std::string, fb::ReuseWay> names;
    for (const fb::ReuseWay way : fb::all_reuse_ways) names.emplace(fb::to_string(way), way);
    return names;
}

std::size_t positions_of(const fb::ReusePoints& points) {
    std::size_t most = 0;
    for (const auto& point : points.points) most = std::max(most, point.second.positions());
    return most;
}

namespace {

/// The sessions that ways are measured with.
class ReuseSessions {
public:
    ReuseSessions(const std::shared_ptr<const fb::Transformer>& model, const fb::SessionOptions& session,
                  const fb::ReuseSweepOptions& options, const fb::ReusePoints& points) {
        const auto needs = [&](auto&& which) {
            return std::ranges::any_of(options.ways, [&](fb::ReuseWay way) { return which(way); });
        };
        const auto is_prefix_store = [](fb::ReuseWay way) { return way == fb::ReuseWay::prefix_store; };
        const auto stores = [&](fb::ReuseWay way) { return finds_passages(way, options.how); };
        if (needs([&](fb::ReuseWay way) { return !stores(way) && !is_prefix_store(way); }))
            plain_.emplace(session_of(model, session));
        if (needs(stores)) {
            std::size_t most = 0;  // tokens of passages: those of the last retrieval stay while the next ones come
            for (const auto& point : points.points) most = std::max(most, point.second.passage_tokens());
            fb::KVShape shape = fb::Session::cache_shape(model, session);
            shape.positions = 4 * most + fb::tile_positions;
            stored_.emplace(session_of(model, session,
                                       std::make_shared<fb::BlockStore>(fb::BlockStoreOptions{.budget = fb::kv_bytes(shape)})));
        }
        if (needs(is_prefix_store)) {
            const auto pages = std::make_shared<fb::KVPagePool>(fb::PagedSession::cache_shape(model, session));
            paged_.emplace(model, session, nullptr, [&](const fb::KVShape& shape) { return fb::PagedKVCache{shape, pages}; });
            // The text of one retrieval, and what is written where two of them part.
            store_.emplace(pages, (session.window / fb::tile_positions + 4) * pages->page_bytes());
            cached_.emplace(*paged_, *store_);
        }
    }

    fb::ReuseRow measure(fb::ReuseWay way, const fb::ReusePoint& at, const fb::ReuseOptions& how) {
        const fb::ReuseSweepOptions only{
            .ways = {way}, .base = at, .history = {at.history}, .stride = {}, .passage = {}, .k = {}, .how = how};
        if (way == fb::ReuseWay::prefix_store) return fb::sweep_reuse(*cached_, only).rows.front();
        return fb::sweep_reuse(finds_passages(way, how) ? *stored_ : *plain_, only).rows.front();
    }

private:
    /// Whether passages beside the text were there before.
    static bool finds_passages(fb::ReuseWay way, const fb::ReuseOptions& how) {
        return way == fb::ReuseWay::aside_stored || (way == fb::ReuseWay::aside && how.found_again);
    }

    std::optional<fb::Session> plain_;
    std::optional<fb::Session> stored_;
    std::optional<fb::PagedSession> paged_;
    std::optional<fb::PrefixStore> store_;
    std::optional<fb::PrefixCached> cached_;
};

}  // namespace

std::vector<fb::ReuseRow> measure_reuse(const std::shared_ptr<const fb::Transformer>& model, const fb::SessionOptions& session,
                                        const fb::ReuseSweepOptions& options, const fb::ReusePoints& points) {
    ReuseSessions sessions{model, session, options, points};
    const ProgressLine line{"measuring", "points"};
    std::vector<fb::ReuseRow> rows;
    for (const auto& point : points.points) {
        for (const fb::ReuseWay way : options.ways) {
            // Each axis goes through the base, which is measured once.
            const auto same =
                std::ranges::find_if(rows, [&](const fb::ReuseRow& row) { return row.way == way && row.at == point.second; });
            fb::ReuseRow row = same != rows.end() ? *same : sessions.measure(way, point.second, options.how);
            row.axis = point.first;
            rows.push_back(std::move(row));
            line.show(rows.size(), points.points.size() * options.ways.size());
        }
    }
    return rows;
}

}  // namespace cli
