// Passages as ranges: the same as by their numbers, document by document, and how long they may live.
#include "flashback/retrieval/ranges.hpp"
#include "flashback/retrieval/tokenizer_codec.hpp"

#include "flashback/files/load.hpp"

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>
#include <range/v3/range/concepts.hpp>

using namespace flashback;

namespace test_retrieval_ranges {

namespace {

template <class P>
concept HasPassages = requires(P&& passages) {
    { each_passage(std::forward<P>(passages)) } -> ranges::range;
};
template <class P>
concept HasDocuments = requires(P&& passages) {
    { passages_by_document(std::forward<P>(passages)) } -> ranges::range;
};
static_assert(HasPassages<const Passages&> && HasDocuments<const Passages&>);
static_assert(!HasPassages<Passages> && !HasDocuments<Passages>);

}  // namespace

TEST_CASE("Each passage comes once, in order") {
    const Passages passages{{{"a", "A", "one"}, {"b", "B", "two"}}};
    const auto each = each_passage(passages);
    static_assert(ranges::random_access_range<decltype(each)> && ranges::sized_range<decltype(each)>);
    REQUIRE(each.size() == 2);
    CHECK(each[1].id == "b");
    CHECK(each[1].text.data() == passages[1].text.data());  // a view of the same text
    std::string ids;
    for (const Passage& passage : each) ids += passage.id;
    CHECK(ids == "ab");
    const Passages none{{}};
    CHECK(each_passage(none).empty());
}

TEST_CASE("The passages of a document come together; a document that has none does not come") {
    const Tokenizer tokenizer = load_tokenizer(std::filesystem::path{FLASHBACK_TEST_MODEL});
    const std::string three = "This is a sentence. This is a sentence. This is a sentence.";
    const std::size_t most = tokenizer.encode("This is a sentence.").size();
    const Passages passages{
        {{"a", "", three}, {"blank", "", " "}, {"b", "", "This."}, {"c", "", three}}, codec_of(tokenizer), most};
    std::vector<std::vector<std::string>> found;
    for (const auto& document : passages_by_document(passages)) {
        found.emplace_back();
        for (const std::size_t i : document) found.back().push_back(std::string{passages[i].id});
    }
    CHECK(found == std::vector<std::vector<std::string>>{{"a#1", "a#2", "a#3"}, {"b"}, {"c#1", "c#2", "c#3"}});
}

}  // namespace test_retrieval_ranges
