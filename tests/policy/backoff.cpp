#include "flashback/policy/backoff.hpp"

#include "flashback/policy/any_policy.hpp"

#include <cstddef>
#include <string>
#include <vector>

#include <doctest/doctest.h>

namespace test_policy_backoff {

using namespace flashback;

namespace {

/// Asks a schedule before each of so many tokens; retrieval i finds a passage with the id `ids[i]`, or nothing if that is empty.
/// Where it retrieved.
template <class Schedule>
std::vector<std::size_t> retrieved(Schedule& schedule, const std::vector<std::string>& ids, std::size_t tokens) {
    std::vector<std::size_t> places;
    const TokenBuffer text(tokens + 1, 7);
    std::vector<Passage> found;
    std::size_t last = 0;
    for (std::size_t n = 0; n < tokens; ++n) {
        StepView step{TokenSpan{text}.first(n + 1), 1, places.size(), n - last};
        step.passages = found;
        if (!Decision{schedule(step)}.retrieves()) continue;
        const std::string& id = ids[std::min(places.size(), ids.size() - 1)];
        found.assign(id.empty() ? 0 : 1, Passage{.id = id});
        places.push_back(n);
        last = n;
    }
    return places;
}

using Places = std::vector<std::size_t>;

}  // namespace

TEST_CASE("Backoff doubles while the top passage is the same, and starts again if it is another") {
    Backoff schedule{2, 8};
    // a at 0; a at 2: 4 now; a at 6: 8; a at 14: still 8; b at 22: 2; b at 24: 4; c at 28: 2
    CHECK(retrieved(schedule, {"a", "a", "a", "a", "b", "b", "c"}, 31) == Places{0, 2, 6, 14, 22, 24, 28, 30});
    schedule.reset();
    CHECK(schedule.stride() == 2);
    AnySchedule any{schedule};
    CHECK(retrieved(any, {"a", "a", "a", "a", "b", "b", "c"}, 31) == Places{0, 2, 6, 14, 22, 24, 28, 30});
}

TEST_CASE("Backoff never is longer than its longest stride") {
    Backoff schedule{3, 10};
    CHECK(retrieved(schedule, {"a"}, 40) == Places{0, 3, 9, 19, 29, 39});
    Backoff constant{4, 4};
    CHECK(retrieved(constant, {"a"}, 13) == Places{0, 4, 8, 12});
}

TEST_CASE("Backoff takes nothing for the same as nothing, and for another than something") {
    Backoff schedule{2, 8};
    CHECK(retrieved(schedule, {"", "", "a", "", "a"}, 15) == Places{0, 2, 6, 8, 10, 12});
}

TEST_CASE("Backoff knows a passage without an id by its tokens") {
    Backoff schedule{2, 8};
    const TokenBuffer text(20, 7);
    std::size_t retrievals = 0;
    const auto stride_after = [&](const Passage& top, std::size_t generated) {
        StepView step{TokenSpan{text}.first(generated + 1), 1, ++retrievals, 1};
        step.passages = {&top, 1};
        schedule(step);
        return schedule.stride();
    };
    const TokenBuffer one{1, 2};
    const TokenBuffer again{1, 2};
    const TokenBuffer other{1, 3};
    CHECK(stride_after({.tokens = one}, 1) == 2);
    CHECK(stride_after({.tokens = again}, 3) == 4);
    CHECK(stride_after({.tokens = other}, 5) == 2);
    CHECK(stride_after({.id = "x", .tokens = other}, 7) == 2);
    CHECK(stride_after({.id = "x", .tokens = one}, 9) == 4);  // the id decides
}

TEST_CASE("Backoff forgets retrievals of tokens that are taken back") {
    Backoff schedule{2, 8};
    const TokenBuffer text(40, 7);
    const Passage a{.id = "a"};
    const auto tell = [&](std::size_t generated, std::size_t since, std::size_t retrievals) {
        StepView step{TokenSpan{text}.first(generated + 1), 1, retrievals, since};
        step.passages = {&a, 1};
        return schedule(step);
    };
    tell(1, 1, 1);
    tell(3, 1, 2);  // retrieved at 2
    tell(7, 1, 3);  // retrieved at 6
    CHECK(schedule.stride() == 8);
    Backoff copy = schedule;
    tell(7, 1, 3);  // the newest token was taken back, and written anew: that retrieval was for what is still there
    CHECK(schedule.stride() == 8);
    tell(6, 2, 3);  // and one more
    CHECK(schedule.stride() == 4);
    CHECK(copy.stride() == 8);
    tell(6, 1, 4);  // found again from 5
    CHECK(schedule.stride() == 8);
    tell(1, 1, 4);  // back at 0
    CHECK(schedule.stride() == 2);
}

TEST_CASE("Backoff refuses strides that cannot be") {
    CHECK_THROWS_WITH_AS(Backoff{0}, "Backoff needs a stride of at least 1 token, found 0", Error);
    CHECK_THROWS_WITH_AS((Backoff{8, 4}), "Backoff has a stride of 8 tokens, expected at most its longest, 4", Error);
}

}  // namespace test_policy_backoff
