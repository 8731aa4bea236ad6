// Promise 1 for machines with many processors: into how many tasks work is cut changes no bit.
#include "flashback/model/detail/cuts.hpp"

#include "flashback/model/session.hpp"
#include "support/exact_logits.hpp"
#include "support/family_models.hpp"
#include "support/random_adapter.hpp"
#include "support/random_model.hpp"

#include <algorithm>
#include <cstddef>
#include <memory>
#include <vector>

#include <doctest/doctest.h>

namespace test_model_cuts {

using namespace flashback;
using namespace flashback_test;

namespace {

/// As many threads as it says, one after the other, from the last to the first.
struct OneByOne {
    std::size_t threads;
    std::size_t most_tasks = 0;

    std::size_t concurrency() const noexcept { return threads; }
    template <class Task>
    void run(std::size_t count, Task&& task) {
        most_tasks = std::max(most_tasks, count);
        for (std::size_t i = count; i-- > 0;) task(i);
    }
};

std::vector<float> all_logits(const ModelPtr& model, const SessionOptions& options, std::size_t rows) {
    SplitMix64 random{rows};
    const std::vector<TokenId> tokens = random_tokens(random, 3 + rows, model->config.vocab);
    Session session{model, options};
    session.evaluate(TokenSpan{tokens}.first(3));
    return copy_of(session.evaluate_all(TokenSpan{tokens}.subspan(3)));
}

void same_however_cut(const ModelPtr& model, SessionOptions options) {
    for (const std::size_t rows : {1u, 16u, 70u, 144u}) {
        CAPTURE(rows);
        options.executor = {};
        const std::vector<float> expected = all_logits(model, options, rows);
        for (const std::size_t threads : {5u, 16u, 64u, 200u}) {
            CAPTURE(threads);
            OneByOne executor{threads};
            options.executor = executor;
            REQUIRE(same_bits(all_logits(model, options, rows), expected));
            if (rows == 144) CHECK(executor.most_tasks >= std::min<std::size_t>(threads, 30));
        }
    }
}

}  // namespace

TEST_CASE("logits are the same for any number of tasks, for every family and kind of weights") {
    for (const DType type : {DType::f32, DType::bf16, DType::q4_0}) {
        CAPTURE(layout_of(type).name);
        for (const FamilyModel& family : family_models(type)) {
            CAPTURE(family.name);
            same_however_cut(random_model(family.shape), {});
        }
    }
}

TEST_CASE("logits with an adapter are the same for any number of tasks, also if single rows are cut, and heads are narrow") {
    for (const DType type : {DType::bf16, DType::q8_0}) {
        const std::size_t head_dim = type == DType::bf16 ? 4 : 16;
        const ModelPtr model = random_model(
            {.width = 288, .heads = 6, .kv_heads = 3, .head_dim = head_dim, .hidden = 352, .vocab = 501, .type = type});
        const auto adapter =
            std::make_shared<const PackedAdapter>(random_adapter(model->config, {.rank = 19, .scale = 0.3f}), model->config);
        same_however_cut(model, {.adapter = adapter});
    }
}

TEST_CASE("the parts of a product cover each output of each row once, and stand where they may") {
    for (const std::size_t panels : {1u, 3u, 40u, 128u, 352u}) {
        for (const std::size_t rows : {1u, 2u, 33u, 144u}) {
            for (const std::size_t threads : {1u, 2u, 7u, 48u, 64u, 1000u}) {
                for (const std::size_t finest : {1u, 2u}) {
                    const detail::CutProduct product{panels, 2048, rows, 4, finest};
                    OneByOne executor{threads};
                    std::vector<int> seen(panels * rows);
                    bool well_cut = true;
                    detail::run_product(executor, product, [&](const detail::ProductPart& part) {
                        well_cut = well_cut && part.first < part.last && part.first % finest == 0 &&
                                   (part.last % finest == 0 || part.last == panels) && part.first_row < part.last_row;
                        for (std::size_t row = part.first_row; row < part.last_row; ++row)
                            for (std::size_t p = part.first; p < part.last; ++p) ++seen[row * panels + p];
                    });
                    CAPTURE(panels);
                    CAPTURE(rows);
                    CAPTURE(threads);
                    REQUIRE(seen == std::vector<int>(panels * rows, 1));
                    REQUIRE(well_cut);
                    REQUIRE(executor.most_tasks <= threads);
                }
            }
        }
    }
}

TEST_CASE("a product is cut as coarsely as balance allows") {
    const auto cut = [](std::size_t panels, std::size_t rows, std::size_t threads) {
        const detail::ProductCut found = detail::cut_of({panels, 2048, rows, 4, 1}, threads);
        return std::vector<std::size_t>{found.panels, found.panel_parts, found.row_parts};
    };
    CHECK(cut(128, 1, 2) == std::vector<std::size_t>{8, 2, 1});
    CHECK(cut(128, 1, 64) == std::vector<std::size_t>{2, 64, 1});
    CHECK(cut(160, 1, 64) == std::vector<std::size_t>{1, 64, 1});
    CHECK(cut(128, 144, 2) == std::vector<std::size_t>{8, 2, 1});
    CHECK(cut(128, 144, 64) == std::vector<std::size_t>{4, 32, 2});  // four panels are multiplied together: rows are cut, too
    CHECK(cut(1, 1, 64) == std::vector<std::size_t>{8, 1, 1});       // a panel is not cut
    CHECK(detail::cut_of({16, 64, 1, 4, 1}, 64).panel_parts == 1);   // too little for two threads
    CHECK(detail::cut_of({32, 64, 1, 4, 1}, 64).panel_parts == 2);
}

TEST_CASE("rows of queries go over keys together, unless threads would have nothing to do") {
    CHECK(detail::rows_together(16, 32, 1, 2) == 16);
    CHECK(detail::rows_together(16, 32, 1, 32) == 16);
    CHECK(detail::rows_together(16, 32, 1, 64) == 8);
    CHECK(detail::rows_together(144, 4, 8, 2) == 2);
    CHECK(detail::rows_together(1, 4, 8, 64) == 1);
    CHECK(detail::rows_together(5, 2, 24, 8) == 1);
}

}  // namespace test_model_cuts
