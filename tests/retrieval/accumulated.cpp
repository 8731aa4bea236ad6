// A retriever that collects what it finds for a text.
#include "flashback/retrieval/accumulated.hpp"

#include "flashback/core/any_retriever.hpp"
#include "flashback/decoder/decoder.hpp"
#include "flashback/policy/presets.hpp"
#include "flashback/retrieval/prefetching.hpp"
#include "retrieval/fake_retrievers.hpp"
#include "support/errors.hpp"
#include "support/null_model.hpp"

#include <cstddef>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include <doctest/doctest.h>

namespace test_retrieval_accumulated {

using namespace flashback;
using namespace flashback_test;

namespace {

using Tokens = std::vector<TokenId>;
using Words = std::vector<std::string>;

Words texts_of(std::span<const Passage> answer) {
    Words words;
    for (const Passage& passage : answer) words.emplace_back(passage.text);
    return words;
}

}  // namespace

TEST_CASE("accumulated: what was found for a text stays in front, until there is no room for more") {
    Echo echo;
    Accumulated all{std::ref(echo), 1};
    const Tokens text{1, 2, 3, 4, 5, 6};
    const auto ask = [&](std::string_view words, std::size_t length, std::size_t k = 3) {
        return texts_of(all.retrieve({.text = words, .context = TokenSpan{text}.first(length)}, k));
    };
    const std::string a = "echo found this for a", b = "echo found this for b", c = "echo found this for c";
    CHECK(ask("a", 2) == Words{a});
    CHECK(ask("b", 3) == Words{a, b});
    CHECK(ask("b", 4) == Words{a, b});     // the same passage again
    CHECK(ask("c", 3) == Words{a, b, c});  // tokens were taken back
    CHECK(echo.calls == 4);
    CHECK(ask("d", 6) == Words{a, b, c});
    CHECK(echo.calls == 4);  // no room, no search
    CHECK(ask("d", 6, 2) == Words{a, b});
    CHECK(echo.depths == std::vector<std::size_t>(4, 1));
    CHECK(ask("d", 6, 0).empty());
    // The same prompt again is another text.
    CHECK(ask("b", 2) == Words{b});
    CHECK(ask("c", 3) == Words{b, c});
    const Tokens other{1, 7, 3};
    CHECK(texts_of(all.retrieve({.text = "a", .context = other}, 3)) == Words{a});
    // Without a context every query is a text.
    CHECK(texts_of(all.retrieve({.text = "b"}, 3)) == Words{b});
    CHECK(texts_of(all.retrieve({.text = "c"}, 3)) == Words{c});
    CHECK(ask("a", 2) == Words{a});
    all.clear();
    CHECK(ask("b", 3) == Words{b});
    check_error(ErrorCode::contract, "at least 1 passage at a time, found 0", [&] { Accumulated{std::ref(echo), 0}; });
}

TEST_CASE("accumulated: a search that fails loses nothing, and the best of several are added first") {
    Echo echo;
    echo.before = [](std::size_t call) {
        if (call == 2) throw std::runtime_error("the index is gone");
    };
    Accumulated all{std::ref(echo), 2};
    const Tokens text{1, 2, 3};
    const auto ask = [&](std::string_view words, std::size_t length) {
        return all.retrieve({.text = words, .context = TokenSpan{text}.first(length)}, 3).size();
    };
    CHECK(ask("a", 1) == 2);
    CHECK_THROWS(ask("b", 2));
    CHECK(ask("b", 3) == 3);
    const auto answer = all.retrieve({.text = "b", .context = text}, 3);
    CHECK(answer[2].id == "echo#0 of b");
    CHECK(std::string{answer[0].id} == "echo#0 of a");  // a copy: the retriever's own was made unreadable
    // A query may be what was found last, of this text or of the next.
    CHECK(all.retrieve({.text = answer[0].text}, 3)[0].text == "echo found this for echo found this for a");
    CHECK(decltype(all)::reads_context);
    CHECK(all.work() == echo.work());
    Echo other;
    AnyRetriever any{Accumulated{Prefetching{std::ref(other)}}};
    any.prefetch({.text = "a"}, 3);
    CHECK(any.retrieve({.text = "a"}, 3).size() == 1);
}

TEST_CASE("accumulated: under IRCoT passages are collected sentence by sentence, and a second text starts afresh") {
    FullNullModel model;
    RandomRetriever books{50, 3, 20, 4};
    Accumulated all{std::ref(books)};
    const auto ends = [](TokenSpan context) { return context.size() % 4 == 0; };
    Decoder decoder{model, all, presets::ircot(ends)};
    const Tokens prompt{7, 8};
    const GenerateOptions options{.max_tokens = 24, .passages = 15, .ignore_eos = true};
    const Generation run = decoder.generate(prompt, options);
    REQUIRE(run.retrievals.size() == 7);
    std::size_t before = 0;
    for (const Retrieval& retrieval : run.retrievals) {
        CHECK(retrieval.passages.size() >= before);
        CHECK(retrieval.passages.size() <= before + 1);
        CHECK(retrieval.passages[0].id == run.retrievals[0].passages[0].id);
        before = retrieval.passages.size();
    }
    CHECK(before > 4);
    CHECK(decoder.generate(prompt, options).tokens == run.tokens);
}

}  // namespace test_retrieval_accumulated
