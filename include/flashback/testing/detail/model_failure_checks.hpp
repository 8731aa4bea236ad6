/// \file Checks of what a model does if it cannot do what it is told: all or nothing, and in words.
#pragma once

#include "flashback/testing/detail/model_bench.hpp"

namespace flashback::inline FLASHBACK_ISA::testing::detail {

/// Tokens that no vocabulary has.
inline constexpr TokenId bad_tokens[] = {-1, std::numeric_limits<TokenId>::max(), std::numeric_limits<TokenId>::min()};

/// A window that is not smaller means that there is no limit: no text is made that would not fit.
inline constexpr std::size_t unlimited_window = 65536;

/// Gives a model texts that it must refuse, and looks at what it holds then. `refused(what, tokens, thrown)` judges what was thrown.
template <class Bench, class Refused>
void provoke(Bench& bench, RunningCheck& check, std::span<const std::pair<std::string, TokenBuffer>> texts, std::size_t length,
             const Refused& refused) {
    using Model = typename Bench::Model;
    Observations seen;
    std::string unusable;
    {
        decltype(auto) model = bench.fresh();
        Driven<Model> driven{model, seen};
        const auto tokens = bench.text(10, 6 + 2 * texts.size());
        driven.evaluate(TokenSpan{tokens}.first(6), "after 6 tokens");
        std::size_t next = 6;
        for (const auto& pair : texts) {
            const std::string& what = pair.first;
            const TokenBuffer& text = pair.second;
            const std::size_t before = bench.size_of(model);
            TokenBuffer tokens_before;
            if constexpr (RemembersTokens<Model>) append(tokens_before, std::as_const(model).tokens());
            const Thrown thrown = thrown_by([&] { static_cast<void>(model.evaluate(TokenSpan{text})); });
            if (!refused(what, text, thrown)) return;
            if (thrown.threw && !check.expect(bench.size_of(model) == before, "after evaluate of ", text.size(),
                                              " tokens with ", what, " threw, size() is ", bench.size_of(model),
                                              ", but it was ", before, ": evaluate must be all or nothing"))
                return;
            if constexpr (RemembersTokens<Model>) {
                const TokenSpan told = std::as_const(model).tokens();
                if (!check.expect(std::ranges::equal(told, tokens_before), "after evaluate of ", text.size(), " tokens with ",
                                  what, " threw, tokens() is ", in_words(told), " of ", told.size(),
                                  ", expected what it was: ", tokens_before.size(), " tokens"))
                    return;
            }
            if (!thrown.threw) return;  // what a model holds that takes such tokens, nobody knows
            std::vector<Mistake> mistakes;
            for (std::size_t kept = 1; kept < text.size() && kept < length; ++kept)
                mistakes.push_back({words("as if ", kept, " tokens of what was refused had been kept"),
                                    joined(driven.held(), TokenSpan{text}.first(kept))});
            const Thrown after = thrown_by([&] {
                driven.evaluate(TokenSpan{tokens}.subspan(next, 2),
                                words("after ", what, " was refused and 2 more tokens were evaluated"), std::move(mistakes));
            });
            if (after.threw) {
                unusable = words("after ", what, " was refused, evaluate of 2 more tokens threw ", after.words(),
                                 ", expected that the model goes on from what it held");
                break;
            }
            next += 2;
        }
    }
    bench.settle(check, seen);
    if (!unusable.empty()) check.fail(unusable);
}

/// The texts with tokens that no vocabulary has: alone, first, in the middle, and last, where much was evaluated already.
template <class Bench>
std::vector<std::pair<std::string, TokenBuffer>> bad_texts(Bench& bench, std::size_t length) {
    std::vector<std::pair<std::string, TokenBuffer>> texts;
    for (const TokenId bad : bad_tokens) {
        for (const std::size_t at : {std::size_t{0}, length / 2, length - 1}) {
            TokenBuffer text = bench.text(11 + at, length);
            text[at] = bad;
            texts.emplace_back(words("token ", bad, " as number ", at + 1), std::move(text));
        }
        texts.emplace_back(words("token ", bad, " alone"), TokenBuffer{bad});
    }
    return texts;
}

template <class Bench>
void check_bad_token_refused(Bench& bench, RunningCheck& check, std::size_t length) {
    for (const auto& pair : bad_texts(bench, length)) {
        const std::string& what = pair.first;
        const TokenBuffer& text = pair.second;
        decltype(auto) model = bench.fresh();
        const Thrown thrown = thrown_by([&] { static_cast<void>(model.evaluate(TokenSpan{text})); });
        if (!check.expect(thrown.threw, "evaluate took ", what, " of ", text.size(),
                          ", expected a refusal: no vocabulary has such a token"))
            return;
    }
}

template <class Bench>
void check_bad_token_all_or_nothing(Bench& bench, RunningCheck& check, std::size_t length) {
    const auto texts = bad_texts(bench, length);
    provoke(bench, check, texts, length, [](const auto&...) { return true; });
}

template <class Bench>
void check_kinds(Bench& bench, RunningCheck& check, std::size_t length) {
    const auto of_kind = [&](const Thrown& thrown, ErrorCode code, std::string_view what) {
        return check.expect(!thrown.threw || (thrown.is_error && thrown.code == code && !thrown.sentence.empty()), what,
                            " was refused by ", thrown.words(), ", expected Error{", to_string(code), "} with a sentence");
    };
    for (const auto& pair : bad_texts(bench, length)) {
        const std::string& what = pair.first;
        const TokenBuffer& text = pair.second;
        decltype(auto) model = bench.fresh();
        const Thrown thrown = thrown_by([&] { static_cast<void>(model.evaluate(TokenSpan{text})); });
        if (!of_kind(thrown, ErrorCode::contract, what)) return;
    }
    if constexpr (members::NamesWindow<typename Bench::Model>) {
        decltype(auto) model = bench.fresh();
        const std::size_t window = window_of(std::as_const(model));
        if (window >= unlimited_window)
            return check.note("a text that does not fit was not asked, because window() is ", window);
        const auto text = bench.text(12, window + 1);
        const Thrown thrown = thrown_by([&] { static_cast<void>(model.evaluate(TokenSpan{text})); });
        of_kind(thrown, ErrorCode::window, words(text.size(), " tokens in a window of ", text.size() - 1));
    }
}

/// A text that does not fit into the window, and one that fills it if that does not take long.
template <class Bench>
void check_window(Bench& bench, RunningCheck& check, std::size_t length) {
    std::size_t window = 0;
    {
        decltype(auto) model = bench.fresh();
        const typename Bench::Model& held = model;
        window = window_of(held);
        if (!check.expect(window > 0, "window() is 0, expected at least 1")) return;
        if (window >= unlimited_window)
            return check.not_asked("window() is ", window, ": no limit, or one of ", unlimited_window,
                                   " tokens or more, which would take too long to fill");
    }
    if constexpr (failures_return) {
        const std::vector<std::pair<std::string, TokenBuffer>> texts{
            {words("a text that is 1 token longer than what is left of the window of ", window), bench.text(13, window - 5)},
            {"a text that is 1 token longer than the window", bench.text(14, window + 1)}};
        provoke(bench, check, texts, length, [&](const std::string& what, const TokenBuffer&, const Thrown& thrown) {
            return check.expect(thrown.threw, "evaluate took ", what, ", expected a refusal");
        });
        if (check.failed()) return;
    }
    if (window > 8 * length) return;
    Observations seen;
    {
        decltype(auto) model = bench.fresh();
        Driven<typename Bench::Model> driven{model, seen};
        const auto text = bench.text(15, window);
        driven.evaluate(TokenSpan{text}.first(window - 1), words("after ", window - 1, " tokens in a window of ", window));
        driven.evaluate(TokenSpan{text}.last(1), words("after ", window, " tokens, the whole window,"));
    }
    bench.settle(check, seen);
}

/// An engine that fails after a part was evaluated, if the embedder can let it.
template <class Bench, class Provocations>
void check_engine_failure(Bench& bench, RunningCheck& check, std::size_t length, Provocations& provocations) {
    using Model = typename Bench::Model;
    const auto tokens = bench.text(17, length), text = bench.text(18, length);
    Observations seen;
    {
        decltype(auto) model = bench.fresh();
        Driven<Model> driven{model, seen};
        driven.evaluate(TokenSpan{tokens}.first(6), "after 6 tokens");
        provocations.fail_next(static_cast<Model&>(model));
        const Thrown thrown = thrown_by([&] { static_cast<void>(model.evaluate(TokenSpan{text})); });
        if (!check.expect(thrown.threw, "evaluate after fail_next(model) threw nothing: is the failure of the engine noticed?"))
            return;
        if (!check.expect(thrown.is_error && thrown.code == ErrorCode::engine && !thrown.sentence.empty(),
                          "evaluate after fail_next(model) threw ", thrown.words(), ", expected Error{engine} with a sentence"))
            return;
        if (!check.expect(bench.size_of(model) == 6, "after the engine failed, size() is ", bench.size_of(model),
                          ", but it was 6: evaluate must be all or nothing"))
            return;
        if constexpr (RemembersTokens<Model>) {
            const TokenSpan told = std::as_const(model).tokens();
            if (!check.expect(std::ranges::equal(told, driven.held()), "after the engine failed, tokens() has ", told.size(),
                              ", expected the 6 that it had"))
                return;
        }
        std::vector<Mistake> mistakes;
        for (std::size_t kept = 1; kept <= text.size(); ++kept)
            mistakes.push_back({words("as if ", kept, " tokens of the evaluation that failed had been kept"),
                                joined(driven.held(), TokenSpan{text}.first(kept))});
        driven.evaluate(TokenSpan{tokens}.subspan(6, 2), "after the engine failed and 2 more tokens were evaluated",
                        std::move(mistakes));
    }
    bench.settle(check, seen);
}

/// Calls that ask for nothing, or for what is not there, may be refused, but they change nothing.
template <class Bench>
void check_odd_calls(Bench& bench, RunningCheck& check, std::size_t) {
    Observations seen;
    {
        decltype(auto) model = bench.fresh();
        Driven<typename Bench::Model> driven{model, seen};
        const auto tokens = bench.text(16, 12);
        driven.evaluate(TokenSpan{tokens}.first(6), "after 6 tokens");
        const auto stays = [&](std::string_view what) {
            return check.expect(bench.size_of(model) == 6, "after ", what, " of a model of 6 size() is ", bench.size_of(model),
                                ", expected 6");
        };
        static_cast<void>(thrown_by([&] { static_cast<void>(model.evaluate(TokenSpan{})); }));
        if (!stays("evaluate of no tokens")) return;
        for (const std::size_t beyond : {std::size_t{7}, std::size_t{1000}, std::numeric_limits<std::size_t>::max()}) {
            static_cast<void>(thrown_by([&] { model.truncate(beyond); }));
            if (!stays(words("truncate(", beyond, ")"))) return;
        }
        driven.evaluate(TokenSpan{tokens}.last(6),
                        "after evaluate of no tokens, truncate beyond what is held, and 6 more tokens");
    }
    bench.settle(check, seen);
}

}  // namespace flashback::inline FLASHBACK_ISA::testing::detail
