#include "reuse_rows.hpp"

#include "engine.hpp"
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

std::vector<fb::ReuseRow> measure_reuse(const std::shared_ptr<const fb::Transformer>& model, const fb::SessionOptions& session,
                                        const fb::ReuseSweepOptions& options, const fb::ReusePoints& points) {
    std::optional<fb::Session> plain;
    std::optional<fb::PagedSession> paged;
    std::optional<fb::PrefixStore> store;
    std::optional<fb::PrefixCached> cached;
    for (const fb::ReuseWay way : options.ways) {
        if (way != fb::ReuseWay::prefix_store) {
            if (!plain)
                plain.emplace(session_of(
                    model, session, std::make_shared<fb::BlockStore>(fb::BlockStoreOptions{.budget = std::size_t{2} << 30})));
            continue;
        }
        const auto pages = std::make_shared<fb::KVPagePool>(fb::PagedSession::cache_shape(model, session));
        paged.emplace(model, session, nullptr, [&](const fb::KVShape& shape) { return fb::PagedKVCache{shape, pages}; });
        // The text of one retrieval, and what is written where two of them part.
        store.emplace(pages, (session.window / fb::tile_positions + 4) * pages->page_bytes());
        cached.emplace(*paged, *store);
    }
    const ProgressLine line{"measuring", "points"};
    std::vector<fb::ReuseRow> rows;
    for (const auto& point : points.points) {
        for (const fb::ReuseWay way : options.ways) {
            // Each axis goes through the base, which is measured once.
            const auto same =
                std::ranges::find_if(rows, [&](const fb::ReuseRow& row) { return row.way == way && row.at == point.second; });
            const fb::ReuseSweepOptions only{.ways = {way},
                                             .base = point.second,
                                             .history = {point.second.history},
                                             .stride = {},
                                             .passage = {},
                                             .k = {},
                                             .how = options.how};
            fb::ReuseRow row = same != rows.end()                  ? *same
                               : way == fb::ReuseWay::prefix_store ? fb::sweep_reuse(*cached, only).rows.front()
                                                                   : fb::sweep_reuse(*plain, only).rows.front();
            row.axis = point.first;
            rows.push_back(std::move(row));
            line.show(rows.size(), points.points.size() * options.ways.size());
        }
    }
    return rows;
}

}  // namespace cli
