/// \file Checks of evaluations that can be stopped.
#pragma once

#include "flashback/testing/detail/model_bench.hpp"

#include <chrono>
#include <stop_token>
#include <thread>

namespace flashback::inline FLASHBACK_ISA::testing::detail {

/// What became of an evaluation that was stopped, or not.
struct Stopped {
    bool asked = false;  ///< whether a stop was requested in time, or may have been
    std::size_t came = 0;
    bool whole = false;
};

struct JoinAtEnd {
    std::thread& thread;
    explicit JoinAtEnd(std::thread& other) noexcept : thread(other) {}
    JoinAtEnd(const JoinAtEnd&) = delete;
    JoinAtEnd& operator=(const JoinAtEnd&) = delete;
    ~JoinAtEnd() { thread.join(); }
};

/// Evaluates all of a text but its last token, with a stop token, and judges what is held then; notes what the model gives later.
template <class Bench, class Request>
Stopped stop_once(Bench& bench, RunningCheck& check, const TokenBuffer& tokens, Observations& seen, bool asked,
                  std::string_view how, const Request& request) {
    using Model = typename Bench::Model;
    decltype(auto) model = bench.fresh();
    Driven<Model> driven{model, seen};
    driven.evaluate(TokenSpan{tokens}.first(2), "after 2 tokens");
    const TokenSpan rest = TokenSpan{tokens}.subspan(2, tokens.size() - 3);
    const std::size_t before = bench.size_of(model);
    std::stop_source source;
    const auto logits = request(source, [&] {
        const std::span<const float> given = model.evaluate(rest, source.get_token());
        return std::vector<float>{given.begin(), given.end()};
    });
    const std::size_t after = bench.size_of(model);
    Stopped stopped{asked, after - before, !logits.empty()};
    if (!check.expect(after >= before && stopped.came <= rest.size(), "evaluate of ", rest.size(), " tokens ", how,
                      " took size() from ", before, " to ", after))
        return stopped;
    if (stopped.whole) {
        if (!check.expect(stopped.came == rest.size(), "evaluate ", how, " gave logits, but size() says that ", stopped.came,
                          " of ", rest.size(), " tokens were appended"))
            return stopped;
        driven.note(rest, logits, words("after evaluate of ", rest.size(), " tokens ", how));
    } else {
        if (!check.expect(asked, "evaluate ", how, " gave no logits, as if it had been stopped")) return stopped;
        if (!check.expect(stopped.came < rest.size(), "evaluate ", how, " gave no logits, but size() says that all ",
                          stopped.came, " tokens were appended"))
            return stopped;
    }
    const std::size_t held = 2 + stopped.came;
    if constexpr (RemembersTokens<Model>) {
        const TokenSpan told = std::as_const(model).tokens();
        if (!check.expect(std::ranges::equal(told, TokenSpan{tokens}.first(held)), "after evaluate ", how, " tokens() is ",
                          in_words(told), " of ", told.size(), ", expected the first ", held, " of the text"))
            return stopped;
    }
    driven.holds({tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(held)});
    driven.evaluate(TokenSpan{tokens}.subspan(held), words("after evaluate ", how, ", which appended ", stopped.came, " of ",
                                                           rest.size(), " tokens, and the rest"));
    return stopped;
}

/// An evaluation that is stopped: not at all, before it begins, and from another thread while it runs.
template <class Bench>
void check_stopping(Bench& bench, RunningCheck& check, std::size_t length) {
    const auto tokens = bench.text(29, length);
    Observations seen;
    using Clock = std::chrono::steady_clock;
    Clock::duration takes{};
    stop_once(bench, check, tokens, seen, false, "with a stop token that nobody used",
              [&](std::stop_source&, const auto& evaluate) {
                  const auto since = Clock::now();
                  auto logits = evaluate();
                  takes = Clock::now() - since;
                  return logits;
              });
    if (check.failed()) return;
    const Stopped early = stop_once(bench, check, tokens, seen, true, "with a stop that was requested before",
                                    [](std::stop_source& source, const auto& evaluate) {
                                        source.request_stop();
                                        return evaluate();
                                    });
    std::size_t halfway = early.came > 0 && !early.whole ? 1 : 0;
    for (int part = 1; part < 5 && !check.failed(); ++part) {
        const Stopped late = stop_once(bench, check, tokens, seen, true, "with a stop that another thread requested",
                                       [&](std::stop_source& source, const auto& evaluate) {
                                           std::thread other{[&] {
                                               std::this_thread::sleep_for(takes * part / 5);
                                               source.request_stop();
                                           }};
                                           const JoinAtEnd joins{other};  // also if evaluate throws
                                           return evaluate();
                                       });
        halfway += late.came > 0 && !late.whole ? 1 : 0;
    }
    if (!check.failed()) bench.settle(check, seen);
    if (!check.failed() && early.whole) {
        check.note("a stop that was requested before is not obeyed, which is allowed");
    } else {
        check.note("a stop is obeyed, ", halfway, " of 5 times halfway, and the next call goes on from there");
    }
}

}  // namespace flashback::inline FLASHBACK_ISA::testing::detail
