// What the arithmetic of each type of weights costs: the same weights as floats are the reference, so that the rounding of the
// weights themselves does not count. And what the default model is worth on the texts that it never saw.
#include "flashback/core/thread_pool.hpp"
#include "flashback/eval/perplexity.hpp"
#include "flashback/files/load.hpp"
#include "flashback/format/mapped_file.hpp"
#include "flashback/model/session.hpp"
#include "flashback/retrieval/corpus.hpp"
#include "support/repacked.hpp"
#include "support/shared.hpp"

#include <cmath>
#include <string>
#include <string_view>

#include <doctest/doctest.h>

using namespace flashback;

TEST_CASE("Quantised arithmetic has the perplexity of the same weights as floats, within 0.1 % and 0.5 %") {
    struct Case {
        DType type;
        double most;  ///< relative difference of the perplexities
        double agreement;
    };
    for (const Case& c : {Case{DType::bf16, 0.001, 0.99}, {DType::q8_0, 0.001, 0.98}, {DType::q4_0, 0.005, 0.98}}) {
        const auto path = flashback_test::shared("models/flashback-base-5m.gguf");
        if (path.empty()) return;
        CAPTURE(layout_of(c.type).name);
        const MappedFile text{flashback_test::shared("data/wikitext-2/wiki.test.raw")};
        const std::string_view begin{reinterpret_cast<const char*>(text.bytes().data()), 75000};
        const GgufFile file = GgufFile::open(path);
        TokenBuffer tokens = load_tokenizer(file).encode(begin);
        REQUIRE(tokens.size() > 16000);
        tokens.resize(16000);
        ThreadPool pool{2};
        const auto quantised = flashback_test::repacked(load_model(file, pool), c.type);
        const auto floats = flashback_test::repacked(flashback_test::repacked(load_model(file, pool), c.type), DType::f32);
        Session session{quantised, {.executor = pool}};
        Session reference{floats, {.executor = pool}};
        CHECK(session.cache_element() == (c.type == DType::bf16 ? DType::f32 : DType::f16));
        const ModelComparison found = compare_models(reference, session, tokens, {.window = 255, .executor = pool});
        CHECK(found.other.tokens == 16000);
        CHECK(std::abs(found.relative_difference()) < c.most);
        CHECK(found.same_likeliest > c.agreement);
        CHECK(found.same_likeliest < 1);  // else it was not the other arithmetic
    }
}

TEST_CASE("The default model has the perplexity on the held-out texts that its card states, far below the bootstrap's 42.54") {
    const auto path = flashback_test::shared("data/technical-heldout.jsonl");
    if (path.empty()) return;
    std::string text;
    for (const Document& one : read_corpus(path, TextForm::pages).documents) text += (text.empty() ? "" : "\n") + one.text;
    const GgufFile file = GgufFile::open(FLASHBACK_TEST_MODEL);
    const TokenBuffer tokens = load_tokenizer(file).encode(text);
    ThreadPool pool{2};
    Session session{load_model(file, pool), {.executor = pool}};
    const TokenBuffer markers{4096, 4097};  // no text has them, and flashback ppl leaves them out
    const Perplexity found = perplexity(session, tokens, {.window = 255, .masked = markers, .executor = pool});
    CHECK(found.tokens == 213435);
    CHECK(std::abs(found.perplexity() - 32.32) < 0.01);
}
