/// \file What a policy will cost, before it runs; and a schedule that keeps to a budget of seconds.
#include "flashback/flashback.hpp"
#include "flashback/measure/fit_cost_model.hpp"  // needs Eigen
#include "flashback/testing/null_model.hpp"

#include <exception>
#include <iomanip>
#include <iostream>

namespace fb = flashback;

int main() try {
    fb::Session session{fb::load_model(fb::GgufFile::open("examples/models/flashback-base-5m.gguf"))};

    // Some retrievals, each measured in two ways: an engine of your own can be swept likewise.
    const fb::ReuseSweep sweep = fb::sweep_reuse(session, {.ways = {fb::ReuseWay::append, fb::ReuseWay::aside},
                                                           .base = {.history = 128, .stride = 8, .passage = 32},
                                                           .history = {64, 192},
                                                           .stride = {2, 16},
                                                           .passage = {16},
                                                           .k = {2}});
    const fb::CostModel costs = fb::fit_cost_model(sweep.rows);
    const double seconds = fb::predict(costs, fb::ReuseWay::append, {.history = 160, .stride = 4, .passage = 32, .k = 2});
    std::cout << std::setprecision(3) << sweep.rows.size() << " rows have taught the costs; mean error "
              << 100 * fb::errors_of(costs, sweep.rows).mean << " %\n"
              << "two appended passages, every 4 tokens: " << 1000 * seconds / 4 << " ms a token\n";

    // A third of what that would take, to be spent where another schedule wants to retrieve.
    const auto schedule = fb::within_budget(seconds / 4 / 3, fb::EveryNTokens{4}, /*look_ahead=*/8,
                                            fb::PredictedSeconds{costs, fb::ReuseWay::append, 32});
    fb::testing::NullRetriever search{/*passage_tokens=*/32, session.vocab_size()};
    const auto generate = [&](const auto& when) {
        session.truncate(0);
        fb::Decoder decoder{session, search, fb::Policies{}.schedule(when)};
        return decoder.generate(fb::TokenBuffer(96, 5), {.max_tokens = 64, .ignore_eos = true}).stats;
    };
    const fb::Statistics free = generate(fb::EveryNTokens{4});
    const fb::Statistics kept = generate(schedule);
    std::cout << "without a budget: " << free.retrievals << " retrievals, " << free.counts.evaluated << " tokens evaluated\n"
              << "with one: " << kept.retrievals << " retrievals, " << kept.counts.evaluated << " tokens evaluated\n";
    // This program is a test as well. How much the budget leaves out depends on times, so it is none.
    return free.retrievals == 16 && kept.retrievals <= free.retrievals ? 0 : 1;
} catch (const std::exception& error) {
    std::cerr << "16_cost_model: " << error.what() << '\n';
    return 1;
}
