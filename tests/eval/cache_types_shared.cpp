// What the rounding of keys and values costs: the same model with caches of f32 is the reference.
#include "flashback/core/thread_pool.hpp"
#include "flashback/eval/perplexity.hpp"
#include "flashback/files/load.hpp"
#include "flashback/format/mapped_file.hpp"
#include "flashback/kv/paged_kv_cache.hpp"
#include "flashback/model/session.hpp"
#include "support/shared.hpp"

#include <cmath>
#include <string_view>

#include <doctest/doctest.h>

namespace test_eval_cache_types_shared {

using namespace flashback;

TEST_CASE("Caches of f16, bf16 and i8 have the perplexity of a cache of f32 on WikiText-2, within 0.5 %") {
    const auto path = flashback_test::shared("data/wikitext-2/wiki.test.raw");
    if (path.empty()) return;
    const MappedFile text{path};
    const std::string_view begin{reinterpret_cast<const char*>(text.bytes().data()), 25000};
    const GgufFile file = GgufFile::open(FLASHBACK_TEST_MODEL);
    TokenBuffer tokens = load_tokenizer(file).encode(begin);
    REQUIRE(tokens.size() > 4000);
    tokens.resize(4000);
    ThreadPool pool{2};
    const auto model = load_model(file, pool);
    struct Case {
        DType element;
        double agreement;
        double nats;  ///< the most that the mean divergence may be: three times what it is, or more
    };
    for (const Case& c : {Case{DType::f16, 0.998, 1e-6}, {DType::bf16, 0.99, 3e-5}, {DType::i8, 0.985, 2e-4}}) {
        CAPTURE(layout_of(c.element).name);
        Session reference{model, {.executor = pool, .cache = DType::f32}};
        PagedSession rounded{model, {.executor = pool, .cache = c.element}};
        REQUIRE(rounded.cache_element() == c.element);
        const ModelComparison found = compare_models(reference, rounded, tokens, {.window = 255, .executor = pool});
        CHECK(found.other.tokens == 4000);
        CHECK(std::abs(found.relative_difference()) < 0.005);
        CHECK(found.same_likeliest > c.agreement);
        CHECK(found.relative_entropy < c.nats);
        CHECK(found.relative_entropy > c.nats / 100);  // else nothing was rounded
    }
}

}  // namespace test_eval_cache_types_shared
