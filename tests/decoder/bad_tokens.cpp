// Tokens that the model of a decoder does not have: what a session says of them.
#include "flashback/decoder/decoder.hpp"
#include "flashback/model/session.hpp"

#include "decoder/helpers.hpp"
#include "support/random_model.hpp"

#include <algorithm>
#include <cstddef>
#include <limits>
#include <string>

#include <doctest/doctest.h>

using namespace flashback;
using namespace flashback_test;

TEST_CASE("A token that the model does not have is refused in words, wherever it comes from, and leaves a true session") {
    Session session{random_model({.layers = 1})};
    FixedRetriever retriever{.passages = {{5, 6}}};
    Decoder decoder{session, retriever, Policies{}.schedule(EveryNTokens{3})};
    const GenerateOptions options{.max_tokens = 7, .ignore_eos = true};
    const Tokens prompt{7, 8, 9};
    const Tokens whole = decoder.generate(prompt, options).tokens;
    for (const TokenId bad : {-1, 100, 101, std::numeric_limits<TokenId>::max(), std::numeric_limits<TokenId>::min()}) {
        const std::string sentence = "token " + std::to_string(bad) + " is not in the vocabulary of 100 tokens";
        const auto refused = [&](const Tokens& text, const GenerateOptions& with, std::size_t stays) {
            CHECK(error_of(ErrorCode::contract, [&] { decoder.generate(text, with); }) == sentence);
            CHECK(decoder.partial().tokens.empty());
            CHECK(session.size() == session.tokens().size());
            CHECK(session.size() == stays);
            CHECK(decoder.partial().stats.counts == TokenCounts{});
            // The next generation reuses what was left and is right.
            CHECK(decoder.generate(prompt, options).tokens == whole);
        };
        refused({7, 8, bad}, options, 3);
        refused({bad}, options, 1);
        const Tokens head{bad};
        GenerateOptions with_head = options;
        with_head.head = TokenSpan{head};
        refused(prompt, with_head, 0);
        retriever.passages[0] = {5, bad};
        CHECK(error_of(ErrorCode::contract, [&] { decoder.generate(prompt, options); }) == sentence);
        CHECK(session.size() == session.tokens().size());
        CHECK(decoder.partial().tokens.empty());
        retriever.passages[0] = {5, 6};
        CHECK(decoder.generate(prompt, options).tokens == whole);
    }
}

TEST_CASE("A token that the model does not have, retrieved later, ends with the tokens so far") {
    Session session{random_model({.layers = 1})};
    FixedRetriever retriever{.passages = {{5, 6}}};
    Decoder decoder{session, retriever, Policies{}.schedule(EveryNTokens{3})};
    const GenerateOptions options{.max_tokens = 7, .ignore_eos = true};
    const Tokens whole = decoder.generate(Tokens{7, 8}, options).tokens;
    auto poison = [&, seen = 0](TokenId) mutable {
        if (++seen == 3) retriever.passages[0] = {5, -7};
    };
    CHECK(error_of(ErrorCode::contract, [&] {
              decoder.generate(Tokens{7, 8}, options, poison);
          }) == "token -7 is not in the vocabulary of 100 tokens");
    CHECK(decoder.partial().tokens == first_of(whole, 3));
    CHECK(std::ranges::equal(session.tokens(), Tokens{1, 7, 8}));  // behind them stood the passage, and still would
    retriever.passages[0] = {5, 6};
    CHECK(decoder.generate(Tokens{7, 8}, options).tokens == whole);
}
