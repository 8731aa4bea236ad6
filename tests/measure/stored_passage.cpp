// What is timed is what a store and a file do; bytes and break-even follow from the shape and from the seconds.
#include "flashback/measure/stored_passage.hpp"

#include "flashback/model/session.hpp"
#include "support/errors.hpp"
#include "support/random_model.hpp"
#include "support/temporary_folder.hpp"

#include <algorithm>
#include <cmath>

#include <doctest/doctest.h>

namespace test_measure_stored_passage {

using namespace flashback;
using namespace flashback_test;

TEST_CASE("A passage is evaluated as often as it is timed, and kept as the element says") {
    const TemporaryFolder folder;
    const auto model = random_model({.layers = 2, .kv_heads = 2, .head_dim = 8, .vocab = 60, .window = 200});
    SplitMix64 random{3};
    const TokenBuffer passage = random_tokens(random, 33, 60);
    for (const bool stored : {false, true}) {
        Session session{model, {}, stored ? std::make_shared<BlockStore>() : nullptr};
        session.evaluate(session.head());
        for (const BlockElement element : {BlockElement::as_evaluated, BlockElement::f16, BlockElement::int8}) {
            CAPTURE(name_of(element));
            const std::size_t before = session.work();
            const StoredPassage found = time_stored_passage(session, passage, element, folder.path() / "block", 4);
            CHECK(session.work() - before == 4 * passage.size());
            CHECK(found.tokens == 33);
            CHECK(found.evaluations.size() == 4);
            CHECK(found.evaluate_seconds == std::ranges::min(found.evaluations));
            CHECK(found.element == element);
            // A key and a value for each of 2 layers and 2 heads: 8 numbers, with a scale if they are whole ones.
            const std::size_t rows = std::size_t{2} * 2 * 2;
            if (element == BlockElement::f16) CHECK(found.bytes == 33 * rows * 16);
            if (element == BlockElement::int8) CHECK(found.bytes == 33 * rows * (8 + 4));
            if (element == BlockElement::as_evaluated) CHECK(found.bytes >= 33 * rows * 32);
            for (const double seconds : {found.evaluate_seconds, found.keep_seconds, found.find_seconds, found.file_seconds}) {
                CHECK(seconds > 0);
                CHECK(seconds < 10);
            }
            CHECK(BlockFile::open(folder.path() / "block").header().element == element);
        }
    }
}

TEST_CASE("Keeping pays after so many uses, or never") {
    const StoredPassage cheap{.bytes = 600, .evaluate_seconds = 3, .keep_seconds = 4, .find_seconds = 1};
    CHECK(cheap.break_even_uses() == 2);
    CHECK(cheap.break_even_rate() == 200);
    const StoredPassage dear{.bytes = 600, .evaluate_seconds = 3, .keep_seconds = 4, .find_seconds = 3};
    CHECK(std::isinf(dear.break_even_uses()));
}

TEST_CASE("What cannot be timed is refused") {
    const TemporaryFolder folder;
    Session session{random_model({.vocab = 60, .window = 200})};
    session.evaluate(session.head());
    const TokenBuffer passage{3, 4};
    check_error(ErrorCode::contract, "was to be timed 0 times", [&] {
        static_cast<void>(time_stored_passage(session, passage, BlockElement::f16, folder.path() / "block", 0));
    });
    check_error(ErrorCode::io, "nowhere", [&] {
        static_cast<void>(time_stored_passage(session, passage, BlockElement::f16, folder.path() / "nowhere" / "block"));
    });
}

}  // namespace test_measure_stored_passage
