/// \file A conformance suite for models: what an embedder runs against their own adapter. With any test framework, or none.
#pragma once

#include "flashback/core/language_model.hpp"
#include "flashback/testing/detail/model_bench.hpp"
#include "flashback/testing/detail/model_block_checks.hpp"
#include "flashback/testing/detail/model_branch_checks.hpp"
#include "flashback/testing/detail/model_failure_checks.hpp"
#include "flashback/testing/detail/model_member_checks.hpp"
#include "flashback/testing/detail/model_stop_checks.hpp"
#include "flashback/testing/detail/model_text_checks.hpp"
#include "flashback/testing/suite_report.hpp"

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string_view>
#include <type_traits>
#include <utility>

namespace flashback::inline FLASHBACK_ISA::testing {

/// How a model is checked.
struct LanguageModelSuite {
    /// How far a logit may be from that of a from-scratch evaluation; 0 wants the same bits. An engine that chooses its kernels by the
    /// size of a batch needs more.
    double tolerance = 0;
    std::uint64_t seed = 1;  ///< of the texts, which are random tokens
    /// Tokens in a text. More than the engine takes in one batch, so that evaluations are divided. A window of less than three such
    /// texts makes them shorter.
    std::size_t length = 48;
};

/// In place of what the suite cannot do by itself.
struct NoProvocations {};

/// Checks that a model does what LanguageModel promises, and whatever else it has: what evaluate, truncate and size come to, failures,
/// branches, blocks beside the text, and so on. `make_model()` gives a model that holds nothing: a new one, or a reference to the only one
/// that there is, which the suite empties by truncate(0). At most three models live at once, two of which are forks, if it is a reference.
///
/// `provocations` is any object; these members are optional:
///
/// | expression           | meaning                                                                                      |
/// |----------------------|----------------------------------------------------------------------------------------------|
/// | `p.retune(model)`    | changes what keys and values depend on: sets an adapter, say. Then fingerprint() must change  |
/// | `p.fail_next(model)` | lets the engine fail in the next evaluation, after some of it was done if it can             |
///
/// Requires  a window of at least 36 tokens
/// Cost      evaluates about 150 · `suite.length` tokens
template <class MakeModel, class Provocations = NoProvocations>
    requires std::invocable<MakeModel&> SuiteReport check_language_model(MakeModel&& make_model,
                                                                         const LanguageModelSuite& suite = {},
                                                                         Provocations&& provocations = {}) {
        using Bench = detail::ModelBench<std::remove_reference_t<MakeModel>>;
        using Model = typename Bench::Model;
        static_assert(checked_model<Model>());
        using detail::RunningCheck;
        Bench bench{make_model, suite.tolerance, suite.seed};
        detail::SuiteRunner runner{"language model"};
        std::size_t length = std::max<std::size_t>(suite.length, 12);

        runner.run("starts empty", {}, [&](RunningCheck& check) {
            {
                decltype(auto) model = bench.fresh();
                bench.look_at(model);
                const std::size_t window = window_of(std::as_const(model));
                if (!check.expect(window >= 36, "window() is ", window, ", and the suite needs 36 positions or more")) return;
                length = std::min(length, window / 3);
            }
            check_start(bench, check);
        });
        // A check that needs another one says so; nothing is said twice.
        const auto run = [&](std::string_view name, std::initializer_list<std::string_view> upon, auto check) {
            runner.run(name, upon, [&](RunningCheck& running) { check(bench, running, length); });
        };
        const auto run_failures = [&](std::string_view name, std::initializer_list<std::string_view> upon, auto check) {
            if constexpr (detail::failures_return) {
                run(name, upon, check);
            } else {
                runner.skip(name, "without exceptions a failure ends the program");
            }
        };
#define FLASHBACK_DETAIL_CHECK(name) [](auto& b, RunningCheck& c, std::size_t n) { detail::name(b, c, n); }
        run("size of logits", {"starts empty"}, FLASHBACK_DETAIL_CHECK(check_size_of_logits));
        run("logits are numbers", {"size of logits"}, FLASHBACK_DETAIL_CHECK(check_numbers));
        run("counts", {"starts empty"}, FLASHBACK_DETAIL_CHECK(check_counts));
        run("same again", {"logits are numbers"}, FLASHBACK_DETAIL_CHECK(check_same_again));
        run("logits stay", {"size of logits"}, FLASHBACK_DETAIL_CHECK(check_logits_stay));
        run("any division", {"same again"}, FLASHBACK_DETAIL_CHECK(check_splits));
        run("tells texts apart", {"same again"}, FLASHBACK_DETAIL_CHECK(check_tells_apart));
        run("asking changes nothing", {"any division"}, FLASHBACK_DETAIL_CHECK(check_asking));
        run("truncate", {"counts", "asking changes nothing"}, FLASHBACK_DETAIL_CHECK(check_truncate));

        run_failures("bad tokens", {"starts empty"}, FLASHBACK_DETAIL_CHECK(check_bad_token_refused));
        run_failures("all or nothing", {"bad tokens", "asking changes nothing"},
                     FLASHBACK_DETAIL_CHECK(check_bad_token_all_or_nothing));
        run_failures("kinds of errors", {"bad tokens"}, FLASHBACK_DETAIL_CHECK(check_kinds));
        run_failures("odd calls", {"counts", "asking changes nothing"}, FLASHBACK_DETAIL_CHECK(check_odd_calls));

        if constexpr (detail::failures_return && requires(Model & model) { provocations.fail_next(model); }) {
            runner.run("engine fails", {"counts", "asking changes nothing"},
                       [&](RunningCheck& check) { detail::check_engine_failure(bench, check, length, provocations); });
        } else {
            runner.skip("engine fails", "there is no fail_next(model) among the provocations");
        }
        if constexpr (members::NamesWindow<Model>) {
            run("window", {"counts", "asking changes nothing"}, FLASHBACK_DETAIL_CHECK(check_window));
        } else {
            runner.skip("window", "there is no window(): no limit");
        }
        if constexpr (members::NamesHead<Model>) {
            run("head", {"counts", "asking changes nothing"}, FLASHBACK_DETAIL_CHECK(check_head));
        } else {
            runner.skip("head", "there is no head(): no BOS");
        }
        if constexpr (members::NamesIsEnd<Model>) {
            runner.run("ends", {"starts empty"}, [&](RunningCheck& check) { detail::check_ends(bench, check); });
        } else {
            runner.skip("ends", "there is no is_end(): no token ends a text");
        }
        if constexpr (RemembersTokens<Model>) {
            run("tokens", {"counts"}, FLASHBACK_DETAIL_CHECK(check_tokens));
        } else {
            runner.skip("tokens", "there is no tokens(): a decoder keeps a list");
        }
        if constexpr (CountsWork<Model>) {
            run("work", {"counts"}, FLASHBACK_DETAIL_CHECK(check_work));
        } else {
            runner.skip("work", "there is no work()");
        }
        if constexpr (ScoringModel<Model>) {
            run("evaluate_all", {"counts", "asking changes nothing"}, FLASHBACK_DETAIL_CHECK(check_evaluate_all));
        } else {
            runner.skip("evaluate_all", "there is no evaluate_all()");
        }
        if constexpr (InterruptibleModel<Model>) {
            run("cancellation", {"counts", "asking changes nothing"}, FLASHBACK_DETAIL_CHECK(check_stopping));
        } else {
            runner.skip("cancellation", "evaluate takes no stop token");
        }
        if constexpr (ForkableModel<Model>) {
            run("fork", {"truncate"}, FLASHBACK_DETAIL_CHECK(check_fork));
        } else {
            runner.skip("fork", "there is no fork()");
        }
        if constexpr (BatchedModel<Model>) {
            run("evaluate_each", {"counts", "fork", "asking changes nothing"}, FLASHBACK_DETAIL_CHECK(check_evaluate_each));
            run_failures("evaluate_each is all or nothing", {"all or nothing", "evaluate_each"},
                         FLASHBACK_DETAIL_CHECK(check_evaluate_each_fails));
        } else {
            runner.skip("evaluate_each", "there is no evaluate_each()");
        }
        if constexpr (BlockModel<Model>) {
            run("blocks are counted", {"truncate"}, FLASHBACK_DETAIL_CHECK(check_block_counts));
            run("blocks", {"truncate"}, FLASHBACK_DETAIL_CHECK(check_blocks));
            run_failures("blocks are all or nothing", {"all or nothing", "blocks"}, FLASHBACK_DETAIL_CHECK(check_block_fails));
        } else {
            runner.skip("blocks", "there are no block() and see(): no passages aside");
        }
        if constexpr (AttentiveModel<Model>) {
            run("attention", {"counts"}, FLASHBACK_DETAIL_CHECK(check_attention));
        } else {
            runner.skip("attention", "there is no attention()");
        }
        if constexpr (RotatingModel<Model>) {
            run("evict", {"counts", "logits are numbers"}, FLASHBACK_DETAIL_CHECK(check_evict));
        } else {
            runner.skip("evict", "there is no evict(): a rolling window evaluates anew");
        }
#undef FLASHBACK_DETAIL_CHECK
        if constexpr (FingerprintedModel<Model>) {
            runner.run("fingerprint", {"starts empty"},
                       [&](RunningCheck& check) { detail::check_fingerprint(bench, check, length, provocations); });
        } else {
            runner.skip("fingerprint", "there is no fingerprint(): always the same");
        }
        return runner.take();
    }

}  // namespace flashback::inline FLASHBACK_ISA::testing
