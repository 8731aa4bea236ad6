// Guesses change when a search is made, and nothing of what is generated.
#include "flashback/decoder/speculative_decoder.hpp"

#include "decoder/helpers.hpp"
#include "decoder/speculative.hpp"
#include "flashback/core/any_retriever.hpp"
#include "flashback/decoder/decoder.hpp"
#include "flashback/policy/any_policy.hpp"
#include "flashback/retrieval/seen_passages.hpp"
#include "support/null_model.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

namespace test_decoder_speculative {

using namespace flashback;
using namespace flashback_test;

namespace {

const TruncatedSampling sampled{{.temperature = 1.0f, .top_p = 0.9f, .seed = 7}};

/// A threshold with a memory: retrieves when the surprisals since the last retrieval add up.
struct SumOfSurprisals {
    double sum = 0;
    std::vector<double> newest = {};

    Decision operator()(const StepView& step) {
        if (!step.logits.empty()) {
            newest.push_back(step.surprisal());
            sum += newest.back();
        }
        if (step.retrievals > 0 && sum < 9) return false;
        sum = 0;
        return true;
    }
    void reset() { *this = {}; }
    void rewind(std::size_t tokens) { newest.resize(newest.size() - tokens); }
};

/// Takes tokens back at every other retrieval, and looks at the end.
struct TakesBack {
    std::size_t asked = 0;
    Decision operator()(const StepView& step) {
        if (step.retrievals == 0) return true;
        if (step.since_retrieval < 4) return false;
        return Decision::retrieve(++asked % 2 == 0 ? 3 : 0);
    }
    Decision at_end(const StepView& step, StopReason /*reason*/) {
        return step.retrievals % 3 == 1 && step.generated() > 1 ? Decision::retrieve(2) : Decision::go_on();
    }
    void reset() { asked = 0; }
};

/// Drops passages, prefetches and stops.
struct AllSorts {
    Decision operator()(const StepView& step) const {
        if (step.generated() % 11 == 7 && !step.passages.empty()) return Decision::drop_passages(step.generated() % 2);
        if (step.generated() == 30) return Decision::stop();
        if (step.since_retrieval == 2) return Decision::prefetch();
        return step.retrievals == 0 || step.since_retrieval >= 3;
    }
};

bool unsure(const StepView& step) { return step.retrievals == 0 || step.probability() < 0.08; }

}  // namespace

TEST_CASE("the text is that of a plain decoder over 200 seeds, whatever the schedule, the layout and the number of guesses") {
    std::size_t matched = 0, rolled_back = 0;
    for (std::uint64_t seed = 0; seed < 200; ++seed) {
        CAPTURE(seed);
        GuessedWorld world{.seed = seed};
        world.stride = 1 + seed % 6;
        world.passages = 1 + seed % 3;
        const auto layout = [&]() -> AnyLayout {
            switch (seed % 4) {
                case 0: return AnyLayout{AppendPassages{}};
                case 1: return AnyLayout{PrependPassages{}};
                case 2: return AnyLayout{Sticky{}};
                default: return AnyLayout{AppendAndRepeat{3}};
            }
        };
        for (const AnySchedule& schedule :
             {AnySchedule{EveryNTokens{1 + seed % 5}}, AnySchedule{SumOfSurprisals{}}, AnySchedule{at_most(5, EveryNTokens{2})},
              AnySchedule{TakesBack{}}, AnySchedule{AllSorts{}}, AnySchedule{unsure}}) {
            const AnyPolicies greedy =
                AnyPolicies{}.schedule(schedule).layout(layout()).wrapper(AnyWrapper{MarkerTokens{18, 19}});
            for (const AnyPolicies& policies : {greedy, greedy.sampler(AnySampler{sampled})}) {
                const Speculation all = world.check(policies);
                matched += all.matched;
                rolled_back += all.rolled_back;
            }
        }
    }
    MESSAGE(matched << " guesses were right, " << rolled_back << " were gone back to");
    CHECK(matched > 2000);
    CHECK(rolled_back > 2000);
}

}  // namespace test_decoder_speculative
