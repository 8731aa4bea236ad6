/// \file Checks of models that branch, and of passes that several share.
#pragma once

#include "flashback/testing/detail/model_bench.hpp"
#include "flashback/testing/detail/model_failure_checks.hpp"

#include <array>

namespace flashback::inline FLASHBACK_ISA::testing::detail {

/// A fork holds what the model holds, and then each goes its own way.
template <class Bench>
void check_fork(Bench& bench, RunningCheck& check, std::size_t length) {
    using Model = typename Bench::Model;
    using Branch = std::remove_cvref_t<decltype(std::declval<const Model&>().fork())>;
    Observations seen;
    {
        decltype(auto) model = bench.fresh();
        Driven<Model> trunk{model, seen, "in the model, "};
        const auto text = bench.text(40, length), a = bench.text(41, length), b = bench.text(42, length);
        const auto part = [](const TokenBuffer& tokens, std::size_t from, std::size_t n) {
            return TokenSpan{tokens}.subspan(from, n);
        };
        {
            Branch empty = std::as_const(model).fork();
            Driven<Branch> driven{empty, seen, "in a fork of an empty model, "};
            if (!check.expect(empty.size() == 0, "a fork of an empty model has the size ",
                              static_cast<std::size_t>(empty.size()), ", expected 0"))
                return;
            driven.evaluate(part(b, 0, 3), "after 3 tokens");
            if (!check.expect(bench.size_of(model) == 0,
                              "after a fork of an empty model evaluated 3 tokens, size() of the model is ",
                              bench.size_of(model), ", expected 0: they share what is held"))
                return;
        }
        trunk.evaluate(text, words("after a fork of it evaluated 3 tokens, and ", length, " tokens"),
                       {{"as if what a fork evaluated were held here, too", TokenBuffer{b.begin(), b.begin() + 3}}});
        {
            Branch branch = std::as_const(model).fork();
            Driven<Branch> fork{branch, seen, "in a fork, "};
            fork.holds(trunk.held());
            const auto sizes = [&](std::string_view after) {
                return check.expect(bench.size_of(model) == trunk.held().size(), "after ", after, " size() of the model is ",
                                    bench.size_of(model), ", expected ", trunk.held().size()) &&
                       check.expect(branch.size() == fork.held().size(), "after ", after, " size() of the fork is ",
                                    static_cast<std::size_t>(branch.size()), ", expected ", fork.held().size());
            };
            const auto other = [](const TokenBuffer& held) {
                return std::vector<Mistake>{{"as if what the other one holds were held here, too", held}};
            };
            if (!sizes("a fork")) return;
            fork.evaluate(part(b, 0, 4), "after 4 tokens more", {});
            if (!sizes("the fork evaluated 4 tokens")) return;
            trunk.evaluate(part(a, 0, 2), "after a fork evaluated 4 tokens, and 2 tokens more", other(fork.held()));
            if (!sizes("the model evaluated 2 tokens")) return;
            fork.evaluate(part(b, 4, 1), "after the model evaluated 2 tokens, and 1 token more", other(trunk.held()));
            fork.truncate(length / 2);
            if (!sizes("the fork was cut to half of the text")) return;
            trunk.evaluate(part(a, 2, 1), "after a fork was cut, and 1 token more");
            fork.evaluate(part(b, 5, 3), "after a cut to half of the text, and 3 tokens more");
            {
                Branch twig = std::as_const(branch).fork();
                Driven<Branch> second{twig, seen, "in a fork of a fork, "};
                second.holds(fork.held());
                second.evaluate(part(a, 5, 2), "after 2 tokens more");
                fork.evaluate(part(b, 1, 2), "after a fork of it evaluated 2 tokens, and 2 tokens more", other(second.held()));
                second.evaluate(part(a, 7, 1), "after 1 token more", other(fork.held()));
            }
            trunk.truncate(length / 3);
            fork.evaluate(part(b, 3, 2), "after the model was cut, and 2 tokens more");
            if constexpr (RemembersTokens<Branch>) {
                if (!check.expect(std::ranges::equal(std::as_const(branch).tokens(), fork.held()), "tokens() of a fork is ",
                                  in_words(std::as_const(branch).tokens()), ", expected ", in_words(TokenSpan{fork.held()})))
                    return;
            }
        }
        trunk.evaluate(part(a, 0, 3), "after its forks are gone, and 3 tokens more");
    }
    bench.settle(check, seen);
}

/// What is evaluated by several models in one pass is what each comes to alone.
template <class Model, class Bench>
void drive_each(Bench& bench, RunningCheck& check, std::span<Model* const> models, const TokenBuffer& text,
                Observations& seen) {
    const std::size_t vocab = bench.vocab();
    std::vector<TokenBuffer> held(models.size(), text);
    const auto a = bench.text(44, 24);
    const auto pass = [&](std::span<const std::size_t> lengths, std::span<const std::size_t> order, std::string_view when) {
        std::vector<Model*> these;
        std::vector<TokenSpan> tokens;
        std::size_t from = 0;
        for (const std::size_t i : order) {
            these.push_back(models[i]);
            tokens.push_back(TokenSpan{a}.subspan(from, lengths[i]));
            from += lengths[i];
        }
        const std::span<const float> all =
            Model::evaluate_each(std::span<Model* const>{these}, std::span<const TokenSpan>{tokens});
        if (!check.expect(all.size() == order.size() * vocab, "evaluate_each of ", order.size(), " models gave ", all.size(),
                          " logits, expected a row of ", vocab, " for each"))
            return false;
        for (std::size_t row = 0; row < order.size(); ++row) append(held[order[row]], tokens[row]);
        for (std::size_t row = 0; row < order.size(); ++row) {
            std::vector<Mistake> mistakes;
            for (std::size_t other = 0; other < order.size(); ++other)
                if (other != row) mistakes.push_back({words("they are those of row ", other), held[order[other]]});
            const std::span<const float> logits = all.subspan(row * vocab, vocab);
            seen.push_back({words("in row ", row, " of evaluate_each ", when),
                            held[order[row]],
                            {logits.begin(), logits.end()},
                            std::move(mistakes)});
            if (!check.expect(bench.size_of(*these[row]) == held[order[row]].size(), "after evaluate_each ", when,
                              " size() of model ", row, " is ", bench.size_of(*these[row]), ", expected ",
                              held[order[row]].size()))
                return false;
        }
        return true;
    };
    const std::size_t n = models.size();
    constexpr std::array<std::size_t, 3> unlike{4, 1, 3}, ones{1, 1, 1}, more{2, 5, 1};
    constexpr std::array<std::size_t, 3> forward{0, 1, 2};
    const std::array<std::size_t, 3> backward{n - 1, n > 1 ? n - 2 : 0, 0};
    if (!pass(unlike, std::span{forward}.first(n), "with texts of several lengths")) return;
    if (!pass(ones, std::span{forward}.first(n), "with a token each")) return;
    if (!pass(more, std::span{backward}.first(n), "in another order")) return;
    if (!pass(more, std::span{forward}.subspan(n - 1, 1), "of one model")) return;
    for (std::size_t i = 0; i < n; ++i) {
        const std::span<const float> logits = models[i]->evaluate(TokenSpan{a}.last(1));
        held[i].push_back(a.back());
        seen.push_back(
            {words("in model ", i, ", alone, after passes that it shared"), held[i], {logits.begin(), logits.end()}, {}});
    }
}

/// Calls `use(models)` with several models that hold a text: forks, or new ones, or the only one.
template <class Bench, class Use>
void with_models(Bench& bench, const TokenBuffer& text, const Use& use) {
    using Model = typename Bench::Model;
    constexpr bool forks = requires(const Model& model) {
        { model.fork() } -> std::same_as<Model>;
    };
    decltype(auto) model = bench.fresh();
    static_cast<void>(model.evaluate(TokenSpan{text}));
    if constexpr (forks) {
        Model one = std::as_const(model).fork(), two = std::as_const(model).fork();
        const std::array<Model*, 3> models{&model, &one, &two};
        use(std::span<Model* const>{models});
    } else if constexpr (Bench::several) {
        decltype(auto) one = bench.fresh();
        decltype(auto) two = bench.fresh();
        static_cast<void>(one.evaluate(TokenSpan{text}));
        static_cast<void>(two.evaluate(TokenSpan{text}));
        const std::array<Model*, 3> models{&model, &one, &two};
        use(std::span<Model* const>{models});
    } else {
        const std::array<Model*, 1> models{&model};
        use(std::span<Model* const>{models});
    }
}

template <class Bench>
void check_evaluate_each(Bench& bench, RunningCheck& check, std::size_t length) {
    using Model = typename Bench::Model;
    Observations seen;
    const auto text = bench.text(43, length);
    with_models(bench, text, [&](std::span<Model* const> models) { drive_each<Model>(bench, check, models, text, seen); });
    bench.settle(check, seen);
}

/// A pass of which one text cannot be evaluated changes no model.
template <class Bench>
void check_evaluate_each_fails(Bench& bench, RunningCheck& check, std::size_t length) {
    using Model = typename Bench::Model;
    Observations seen;
    const auto text = bench.text(46, length), more = bench.text(45, 3);
    with_models(bench, text, [&](std::span<Model* const> models) {
        for (const TokenId bad : bad_tokens) {
            const TokenBuffer wrong{more[0], bad};
            std::vector<TokenSpan> tokens(models.size(), TokenSpan{more});
            tokens.back() = wrong;
            const Thrown thrown =
                thrown_by([&] { static_cast<void>(Model::evaluate_each(models, std::span<const TokenSpan>{tokens})); });
            if (!check.expect(thrown.threw, "evaluate_each took the token ", bad, ", expected a refusal")) return;
            for (std::size_t i = 0; i < models.size(); ++i)
                if (!check.expect(bench.size_of(*models[i]) == length, "after evaluate_each threw, size() of model ", i, " is ",
                                  bench.size_of(*models[i]), ", but it was ", length, ": it must be all or nothing"))
                    return;
        }
        for (std::size_t i = 0; i < models.size(); ++i) {
            const std::span<const float> logits = models[i]->evaluate(TokenSpan{more});
            seen.push_back({words("in model ", i, ", alone, after a pass that was refused"),
                            joined(text, more),
                            {logits.begin(), logits.end()},
                            {}});
        }
    });
    if (!check.failed()) bench.settle(check, seen);
}

}  // namespace flashback::inline FLASHBACK_ISA::testing::detail
