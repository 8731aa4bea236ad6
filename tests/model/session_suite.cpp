// The session on the default model, and what an engine below it that fails leaves: the suite that others run on their adapters.
#include "flashback/core/error.hpp"
#include "flashback/core/executor.hpp"
#include "flashback/files/load.hpp"
#include "flashback/model/session.hpp"
#include "flashback/testing/language_model_suite.hpp"
#include "support/random_model.hpp"
#include "support/sanitizer.hpp"

#include <cstddef>
#include <memory>

#include <doctest/doctest.h>

namespace test_model_session_suite {

using namespace flashback;
using flashback::testing::check_language_model;
using flashback::testing::CheckOutcome;

namespace {

/// Fails at the call that `left` counts down to, once.
struct FailingExecutor {
    std::size_t left = 0;

    static std::size_t concurrency() { return 2; }
    template <class Task>
    void run(std::size_t count, Task&& task) {
        if (left > 0 && --left == 0) FLASHBACK_THROW(ErrorCode::engine, "the executor was told to fail");
        SerialExecutor::run(count, task);
    }
};

struct Provocations {
    std::shared_ptr<const Transformer> weights;
    FailingExecutor& executor;

    void retune(Session& session) const { session = Session{weights, {.cache = DType::f16}}; }
    // After some of the evaluation; the small model of the sanitizers makes few calls, because its products are too small to be cut.
    void fail_next(Session&) const { executor.left = 2; }
};

}  // namespace

TEST_CASE("The session on the default model passes the suite for models, to the bit, with nothing left out") {
    FailingExecutor executor;
    const std::shared_ptr<const Transformer> weights =
        flashback_test::sanitized ? flashback_test::random_model({.window = 200}) : load_model(FLASHBACK_TEST_MODEL);
    const auto report = check_language_model(
        [&] {
            return Session{weights, {.window = 200, .piece = 7, .executor = executor, .cache = DType::f32, .block_gap = 8}};
        },
        {.length = 24}, Provocations{weights, executor});
    CHECK_MESSAGE(report.passed(), report.text());
    CHECK_MESSAGE(report.count(CheckOutcome::not_asked) == 0, report.text());
}

}  // namespace test_model_session_suite
