// The perplexities that llama.cpp finds: windows of 255 tokens, BOS in front of each, all of them counted.
#include "flashback/core/thread_pool.hpp"
#include "flashback/eval/perplexity.hpp"
#include "flashback/files/load.hpp"
#include "flashback/format/mapped_file.hpp"
#include "flashback/model/session.hpp"
#include "support/shared.hpp"

#include <cmath>
#include <string_view>

#include <doctest/doctest.h>

using namespace flashback;

TEST_CASE("The models of ../shared have the perplexities that llama.cpp finds") {
    struct Case {
        const char* model;
        const char* text;
        double nats;
    };
    for (const Case& c : {Case{"models/stories260K.gguf", "data/tinystories-sample.txt", 1.5544},
                          {"models/stories260K.gguf", "data/wikitext-2/wiki.test.raw", 4.7906},
                          {"models/flashback-base-5m.gguf", "data/tinystories-sample.txt", 4.0959},
                          {"models/flashback-base-5m.gguf", "data/wikitext-2/wiki.test.raw", 5.3189}}) {
        const auto path = flashback_test::shared(c.model);
        if (path.empty()) return;
        CAPTURE(c.model);
        CAPTURE(c.text);
        const MappedFile text{flashback_test::shared(c.text)};
        const std::string_view begin{reinterpret_cast<const char*>(text.bytes().data()), 120000};
        const GgufFile file = GgufFile::open(path);
        TokenBuffer tokens = load_tokenizer(file).encode(begin);
        REQUIRE(tokens.size() > 16320);
        tokens.resize(16320);
        ThreadPool pool{2};
        Session session{load_model(file, pool), {.executor = pool}};
        const Perplexity found = perplexity(session, tokens, {.window = 255, .executor = pool});
        CHECK(found.tokens == 16320);
        CHECK(found.windows == 64);
        CHECK(std::abs(found.nats - c.nats) <= 2e-3);
    }
}
