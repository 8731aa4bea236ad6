/// \file Checks of what a LanguageModel may have besides: what it tells of itself.
#pragma once

#include "flashback/testing/detail/model_bench.hpp"

#include <chrono>
#include <stop_token>

namespace flashback::inline FLASHBACK_ISA::testing::detail {

/// Asks everything that can be asked of a const model.
template <class Model>
void ask_all(const Model& model) {
    static_cast<void>(model.size());
    static_cast<void>(model.vocab_size());
    static_cast<void>(window_of(model));
    static_cast<void>(head_of(model));
    static_cast<void>(is_end_of(model, 0));
    static_cast<void>(work_of(model));
    if constexpr (RemembersTokens<Model>) static_cast<void>(model.tokens());
    if constexpr (FingerprintedModel<Model>) static_cast<void>(model.fingerprint());
    if constexpr (BlockModel<Model>) static_cast<void>(model.plain_size());
    if constexpr (RotatingModel<Model>) static_cast<void>(model.can_evict());
    if constexpr (AttentiveModel<Model>) static_cast<void>(model.layers());
}

/// Logits are valid until the next call that is not const, whatever is asked, and whatever other models do.
template <class Bench>
void check_logits_stay(Bench& bench, RunningCheck& check, std::size_t length) {
    using Model = typename Bench::Model;
    const auto tokens = bench.text(20, length);
    const auto other = bench.text(21, length);
    decltype(auto) model = bench.fresh();
    const std::span<const float> logits = model.evaluate(TokenSpan{tokens});
    const std::vector<float> before{logits.begin(), logits.end()};
    const auto stayed = [&](std::string_view meanwhile) {
        return check.expect(
            apart(logits, before).same_bits, "the logits that evaluate gave were overwritten while ", meanwhile,
            ", expected them to stay until this model evaluates again: copy them, if the runtime shares its buffer");
    };
    ask_all(std::as_const(model));
    if (!stayed("const members were asked")) return;
    if constexpr (AttentiveModel<Model>) {
        static_cast<void>(model.attention(0));
        if (!stayed("attention was asked")) return;
    }
    if constexpr (ForkableModel<Model>) {
        auto branch = model.fork();
        if (!stayed("a fork was made")) return;
        static_cast<void>(branch.evaluate(TokenSpan{other}));
        if (!stayed("a fork of the model evaluated something else")) return;
    }
    if constexpr (Bench::several) {
        decltype(auto) second = bench.fresh();
        static_cast<void>(second.evaluate(TokenSpan{other}));
        stayed("another model evaluated something else");
    }
}

/// Const members change nothing.
template <class Bench>
void check_asking(Bench& bench, RunningCheck& check, std::size_t length) {
    Observations seen;
    {
        decltype(auto) model = bench.fresh();
        Driven<typename Bench::Model> driven{model, seen};
        const auto tokens = bench.text(22, length);
        ask_all(std::as_const(model));
        for (std::size_t i = 0; i < length; i += 3) {
            driven.evaluate(TokenSpan{tokens}.subspan(i, std::min<std::size_t>(3, length - i)),
                            words("after const members were asked, and ", i, " tokens and up to 3 more"));
            ask_all(std::as_const(model));
        }
    }
    bench.settle(check, seen);
}

template <class Bench>
void check_head(Bench& bench, RunningCheck& check, std::size_t length) {
    using Model = typename Bench::Model;
    Observations seen;
    TokenBuffer head;
    {
        decltype(auto) model = bench.fresh();
        const TokenSpan first = head_of(std::as_const(model));
        head.assign(first.begin(), first.end());
        if (!check.expect(head.size() < window_of(model), "head() has ", head.size(), " tokens, and the window is ",
                          window_of(model)))
            return;
        for (const TokenId token : head)
            if (!check.expect(token >= 0, "head() has the token ", token,
                              ", which no vocabulary has: return an empty span if there is no BOS"))
                return;
        if (head.empty()) return check.note("head() is empty: no BOS");
        Driven<Model> driven{model, seen};
        const auto tokens = bench.text(23, length);
        driven.evaluate(TokenSpan{head}, "after head()");
        if (!check.expect(bench.size_of(model) == head.size(), "after evaluate of the ", head.size(),
                          " tokens of head() size() is ", bench.size_of(model), ": has evaluate put them in front once more?"))
            return;
        driven.evaluate(TokenSpan{tokens}, "after head() and a text");
        const TokenSpan again = head_of(std::as_const(model));
        if (!check.expect(std::ranges::equal(again, head), "head() is ", in_words(TokenSpan{head}), " at first and ",
                          in_words(again), " later"))
            return;
    }
    bench.settle(check, seen);
    if (check.failed()) return;
    // A model that puts its head in front by itself, if it misses it, and says nothing of it.
    const auto text = bench.text(24, length), other = bench.text(25, length);
    const auto same = [&](const TokenBuffer& tokens) {
        return apart(bench.from_scratch(tokens), bench.from_scratch(joined(head, tokens))).same_bits;
    };
    const bool depends = !apart(bench.from_scratch(joined(text, TokenSpan{other}.last(1))),
                                bench.from_scratch(joined(other, TokenSpan{other}.last(1))))
                              .same_bits;
    check.expect(!depends || !same(text),
                 "a text without head() and the same with it give the same logits: evaluate puts the head "
                 "in front by itself, and must not");
}

template <class Bench>
void check_ends(Bench& bench, RunningCheck& check) {
    decltype(auto) model = bench.fresh();
    std::size_t ends = 0;
    for (std::size_t i = 0; i < bench.vocab(); ++i) ends += is_end_of(std::as_const(model), static_cast<TokenId>(i)) ? 1u : 0u;
    check.expect(ends < bench.vocab(), "is_end() says of all ", ends, " tokens that they end a text");
    check.note(ends, ends == 1 ? " token ends" : " tokens end", " a text");
}

/// tokens() is what was evaluated and not cut.
template <class Bench>
void check_tokens(Bench& bench, RunningCheck& check, std::size_t length) {
    decltype(auto) model = bench.fresh();
    const auto tokens = bench.text(26, length);
    TokenBuffer held;
    const auto right = [&](std::string_view after) {
        const TokenSpan told = std::as_const(model).tokens();
        return check.expect(std::ranges::equal(told, held), "after ", after, " tokens() is ", in_words(told), " of ",
                            told.size(), ", expected ", in_words(TokenSpan{held}), " of ", held.size());
    };
    if (!right(Bench::several ? "nothing" : "truncate(0)")) return;
    const auto evaluate = [&](TokenSpan some) {
        static_cast<void>(model.evaluate(some));
        append(held, some);
        return right(words("evaluate of ", some.size(), " tokens"));
    };
    const auto truncate = [&](std::size_t to) {
        model.truncate(to);
        held.resize(to);
        return right(words("truncate(", to, ")"));
    };
    static_cast<void>(evaluate(tokens) && truncate(length / 2) && evaluate(TokenSpan{tokens}.first(3)) && truncate(1) &&
                      evaluate(TokenSpan{tokens}.first(2)) && truncate(0) && evaluate(TokenSpan{tokens}.first(4)));
}

/// What a model evaluates is counted, and nothing takes it back.
template <class Bench>
void check_work(Bench& bench, RunningCheck& check, std::size_t length) {
    decltype(auto) model = bench.fresh();
    const auto tokens = bench.text(27, length);
    std::size_t before = work_of(std::as_const(model));
    const auto grew = [&](std::size_t least, std::string_view after) {
        const std::size_t now = work_of(std::as_const(model));
        const std::size_t old = std::exchange(before, now);
        return check.expect(now >= old && now - old >= least, "work() is ", now, " after ", after, ", and was ", old,
                            " before, expected ", old + least, " or more");
    };
    static_cast<void>(model.evaluate(TokenSpan{tokens}));
    if (!grew(length, words("evaluate of ", length, " tokens"))) return;
    model.truncate(1);
    if (!grew(0, "truncate(1)")) return;
    static_cast<void>(model.evaluate(TokenSpan{tokens}.first(1)));
    grew(1, "evaluate of 1 token");
}

/// Logits after every token are those that evaluate gives.
template <class Bench>
void check_evaluate_all(Bench& bench, RunningCheck& check, std::size_t length) {
    Observations seen;
    {
        decltype(auto) model = bench.fresh();
        const std::size_t vocab = bench.vocab();
        Driven<typename Bench::Model> driven{model, seen};
        const auto tokens = bench.text(28, length);
        driven.evaluate(TokenSpan{tokens}.first(3), "after 3 tokens");
        const std::span<const float> all = model.evaluate_all(TokenSpan{tokens}.subspan(3, length - 4));
        if (!check.expect(all.size() == (length - 4) * vocab, "evaluate_all of ", length - 4, " tokens gave ", all.size(),
                          " logits, expected a row of ", vocab, " for each token"))
            return;
        for (std::size_t i = 0; i < length - 4; ++i)
            driven.note(TokenSpan{tokens}.subspan(3 + i, 1), all.subspan(i * vocab, vocab),
                        words("in row ", i, " of evaluate_all"));
        if (!check.expect(bench.size_of(model) == length - 1, "after evaluate_all size() is ", bench.size_of(model),
                          ", expected ", length - 1))
            return;
        driven.evaluate(TokenSpan{tokens}.last(1), "after evaluate_all and 1 more token");
    }
    bench.settle(check, seen);
}

/// The weights of each head are a softmax over what the newest position sees.
template <class Bench>
void check_attention(Bench& bench, RunningCheck& check, std::size_t length) {
    decltype(auto) model = bench.fresh();
    const auto tokens = bench.text(30, length);
    const auto layers = static_cast<std::size_t>(std::as_const(model).layers());
    if (!check.expect(layers > 0, "layers() is 0, expected at least 1")) return;
    for (std::size_t held = 0; held < length; held += 5) {
        const std::size_t n = std::min<std::size_t>(5, length - held);
        static_cast<void>(model.evaluate(TokenSpan{tokens}.subspan(held, n)));
        for (std::size_t layer = 0; layer < layers; ++layer) {
            const AttentionWeights read = model.attention(layer);
            if (!check.expect(read.heads > 0, "attention of layer ", layer, " has no heads")) return;
            if (!check.expect(read.weights.size() == read.heads * (held + n), "attention of layer ", layer, " has ",
                              read.weights.size(), " weights of ", read.heads, " heads, expected ", held + n,
                              " for each head: the positions held"))
                return;
            for (std::size_t head = 0; head < read.heads; ++head) {
                double sum = 0;
                bool good = true;
                for (const float weight : read.head(head)) {
                    good = good && weight >= 0;
                    sum += double{weight};
                }
                if (!check.expect(good && std::abs(sum - 1) < 0.01, "the weights of layer ", layer, ", head ", head, " sum to ",
                                  in_words(sum), good ? "" : ", and some are less than 0 or no number",
                                  ", expected a softmax: weights from 0 on that sum to 1"))
                    return;
            }
        }
    }
}

/// Positions in the middle are forgotten: what is left is counted and can be written on.
template <class Bench>
void check_evict(Bench& bench, RunningCheck& check, std::size_t length) {
    using Model = typename Bench::Model;
    decltype(auto) model = bench.fresh();
    if (!std::as_const(model).can_evict()) return check.not_asked("can_evict() is false");
    auto tokens = bench.text(31, length);
    static_cast<void>(model.evaluate(TokenSpan{tokens}));
    model.evict(4, 3);
    tokens.erase(tokens.begin() + 4, tokens.begin() + 7);
    if (!check.expect(bench.size_of(model) == length - 3, "after evict(4, 3) of ", length, " positions size() is ",
                      bench.size_of(model), ", expected ", length - 3))
        return;
    if constexpr (RemembersTokens<Model>) {
        if (!check.expect(std::ranges::equal(std::as_const(model).tokens(), tokens), "after evict(4, 3) tokens() is ",
                          in_words(std::as_const(model).tokens()), ", expected ", in_words(TokenSpan{tokens})))
            return;
    }
    const std::span<const float> logits = model.evaluate(TokenSpan{tokens}.first(2));
    if (!check.expect(bench.size_of(model) == length - 1, "after evict(4, 3) of ", length,
                      " positions and 2 tokens more size() is ", bench.size_of(model), ", expected ", length - 1))
        return;
    for (const float logit : logits)
        if (!check.expect(std::isfinite(logit), "after evict(4, 3) a logit is ", in_words(double{logit}))) return;
}

/// What keys and values depend on does not change by itself, and changes if it is changed.
template <class Bench, class Provocations>
void check_fingerprint(Bench& bench, RunningCheck& check, std::size_t length, Provocations& provocations) {
    using Model = typename Bench::Model;
    std::uint64_t first = 0;
    const auto tokens = bench.text(32, length);
    for (std::size_t i = 0; i < 2; ++i) {
        decltype(auto) model = bench.fresh();
        const auto now = [&] { return static_cast<std::uint64_t>(std::as_const(model).fingerprint()); };
        if (i == 0) first = now();
        const auto same = [&](std::string_view after) {
            return check.expect(now() == first, "fingerprint() is ", now(), " after ", after, ", and was ", first,
                                " before, expected the same: weights, adapter and rounding have not changed");
        };
        if (!same("another model was made")) return;
        static_cast<void>(model.evaluate(TokenSpan{tokens}));
        if (!same("evaluate")) return;
        model.truncate(1);
        if (!same("truncate")) return;
        if constexpr (ForkableModel<Model>) {
            auto branch = std::as_const(model).fork();
            if constexpr (FingerprintedModel<std::remove_cvref_t<decltype(branch)>>) {
                const auto forked = static_cast<std::uint64_t>(std::as_const(branch).fingerprint());
                if (!check.expect(forked == first, "fingerprint() of a fork is ", forked, ", and that of the model is ", first))
                    return;
            }
        }
    }
    if constexpr (requires(Model & model) { provocations.retune(model); }) {
        decltype(auto) model = bench.fresh();
        provocations.retune(static_cast<Model&>(model));
        const auto now = static_cast<std::uint64_t>(std::as_const(model).fingerprint());
        check.expect(now != first, "fingerprint() is still ", now,
                     " after retune(model): whoever holds keys and values would "
                     "go on with those of the other weights");
    } else {
        check.note("stays the same; whether it changes with an adapter was not asked, because there is no retune(model)");
    }
}

}  // namespace flashback::inline FLASHBACK_ISA::testing::detail
