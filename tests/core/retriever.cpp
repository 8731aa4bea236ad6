#include "flashback/core/retriever.hpp"

#include <array>
#include <cstddef>
#include <list>
#include <span>
#include <vector>

#include <doctest/doctest.h>

using namespace flashback;

namespace {

struct OwnsItsAnswer {
    std::vector<Passage> retrieve(const Query&, std::size_t k) { return std::vector<Passage>(k); }
};
struct GivesAList {
    std::list<Passage> retrieve(const Query&, std::size_t) { return {}; }
};
struct GivesTexts {
    std::vector<const char*> retrieve(const Query&, std::size_t) { return {}; }
};

static_assert(Retriever<NoPassages> && Retriever<OwnsItsAnswer>);
static_assert(!Retriever<GivesAList> && !Retriever<GivesTexts> && !Retriever<int>);

}  // namespace

TEST_CASE("a closed book finds nothing") {
    constexpr std::array<TokenId, 2> tokens{1, 2};
    CHECK(NoPassages::retrieve(Query{tokens}, 3).empty());
}
