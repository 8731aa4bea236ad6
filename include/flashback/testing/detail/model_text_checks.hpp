/// \file Checks of what every LanguageModel has: evaluate, truncate, size and vocab_size.
#pragma once

#include "flashback/testing/detail/model_bench.hpp"

namespace flashback::inline FLASHBACK_ISA::testing::detail {

template <class Bench>
void check_start(Bench& bench, RunningCheck& check) {
    decltype(auto) model = bench.fresh();
    const typename Bench::Model& held = model;
    if (!check.expect(bench.vocab() > 0, "vocab_size() is 0, expected at least 1")) return;
    check.expect(held.size() == 0, "a model that was just made, or cut to 0, has the size ", bench.size_of(held),
                 ", expected 0");
}

template <class Bench>
void check_size_of_logits(Bench& bench, RunningCheck& check, std::size_t length) {
    for (const std::size_t n : {std::size_t{1}, std::size_t{2}, length}) {
        decltype(auto) model = bench.fresh();
        const auto tokens = bench.text(1, n);
        std::span<const float> logits;
        const Thrown thrown = thrown_by([&] { logits = model.evaluate(TokenSpan{tokens}); });
        if (!check.expect(!thrown.threw, "evaluate of ", n, " tokens by an empty model threw ", thrown.words(),
                          n > 2 ? "; fewer tokens went well: does the engine take so many at once?" : ""))
            return;
        check.expect(logits.size() == bench.vocab(), "evaluate of ", n, " tokens gave ", logits.size(),
                     " logits, expected those after the last token: vocab_size() is ", bench.vocab());
    }
}

template <class Bench>
void check_numbers(Bench& bench, RunningCheck& check, std::size_t length) {
    decltype(auto) model = bench.fresh();
    const auto tokens = bench.text(2, length);
    for (std::size_t i = 0; i < length; ++i) {
        const std::span<const float> logits = model.evaluate(TokenSpan{&tokens[i], 1});
        bool any = false;
        for (std::size_t j = 0; j < logits.size(); ++j) {
            const float logit = logits[j];
            if (!check.expect(!std::isnan(logit) && logit < std::numeric_limits<float>::infinity(), "logit ", j, " after ",
                              i + 1, " tokens is ", in_words(double{logit}), ", expected a number"))
                return;
            any = any || logit > -std::numeric_limits<float>::infinity();
        }
        if (!check.expect(any, "all logits after ", i + 1, " tokens are -infinity, expected one that is more")) return;
    }
}

/// What size() says after each call, against a count of our own.
template <class Bench>
void check_counts(Bench& bench, RunningCheck& check, std::size_t length) {
    decltype(auto) model = bench.fresh();
    const auto tokens = bench.text(3, length);
    std::size_t held = 0;
    if (!check.expect(bench.size_of(model) == 0,
                      Bench::several ? "a model that was just made has the size " : "after truncate(0) size() is ",
                      bench.size_of(model), ", expected 0", Bench::several ? "" : ": does truncate(0) empty the model?"))
        return;
    const auto evaluate = [&](std::size_t n) {
        model.evaluate(TokenSpan{tokens}.subspan(held, n));
        const std::size_t before = held;
        held += n;
        const std::size_t found = bench.size_of(model);
        const bool head = before == 0 && found > held && found - held == std::max<std::size_t>(1, head_of(model).size());
        return check.expect(found == held, "after evaluate of ", n, " tokens by a model of ", before, " size() is ", found,
                            ", expected ", held,
                            head ? ": has evaluate put BOS in front? It must not: that is what head() is for" : "");
    };
    const auto truncate = [&](std::size_t n) {
        model.truncate(n);
        const std::size_t before = held;
        held = n;
        return check.expect(bench.size_of(model) == n, "after truncate(", n, ") of a model of ", before, " size() is ",
                            bench.size_of(model), ", expected ", n);
    };
    static_cast<void>(evaluate(3) && evaluate(1) && evaluate(length - 4) && truncate(length) && truncate(length - 1) &&
                      evaluate(1) && truncate(2) && evaluate(2) && truncate(0) && evaluate(5));
}

/// Two models that evaluate the same in the same calls.
template <class Bench>
void check_same_again(Bench& bench, RunningCheck& check, std::size_t length) {
    const auto tokens = bench.text(4, length);
    std::vector<float> first;
    bench.begin();
    for (std::size_t i = 0; i < 3; ++i) {
        decltype(auto) model = bench.fresh();
        const std::span<const float> logits = model.evaluate(TokenSpan{tokens});
        if (i == 0) {
            first.assign(logits.begin(), logits.end());
        } else {
            bench.compare(check, logits, first,
                          words("when ", length, " tokens were evaluated once more by a model that held nothing"),
                          "those of the first time", Bench::several ? "" : ": does truncate(0) empty the model?");
        }
    }
    bench.tell(check);
}

/// Any division of a text into calls gives the logits after the last token of each.
template <class Bench>
void check_splits(Bench& bench, RunningCheck& check, std::size_t length) {
    const auto tokens = bench.text(5, length);
    std::vector<std::vector<float>> after;  // after[i]: after i + 1 tokens, one by one
    {
        decltype(auto) model = bench.fresh();
        for (const TokenId& token : tokens) {
            const std::span<const float> logits = model.evaluate(TokenSpan{&token, 1});
            after.emplace_back(logits.begin(), logits.end());
        }
    }
    bench.begin();
    const auto compare = [&](std::span<const float> logits, std::size_t held, std::size_t newest) {
        std::string meaning;
        if (!bench.equal(logits, after[held - 1])) {
            for (std::size_t i = 0; i < length && meaning.empty(); ++i)
                if (bench.equal(logits, after[i]) && !bench.equal(after[i], after[held - 1]))
                    meaning = words(": they are those after token ", i + 1, " of the text, not after the last one, ", held);
        }
        return bench.compare(check, logits, after[held - 1],
                             words("after ", newest, " tokens in one call by a model of ", held - newest),
                             "those of the tokens one by one", meaning);
    };
    SplitMix64 random{length};
    std::vector<std::vector<std::size_t>> splits{
        {length}, {2, 1, length - 3}, {length - 1, 1}, {1, length - 1}, {length / 2, length - length / 2}};
    for (const std::size_t most : {std::size_t{4}, std::size_t{7}, std::size_t{17}}) {
        std::vector<std::size_t> pieces;
        for (std::size_t held = 0; held < length; held += pieces.back())
            pieces.push_back(std::min<std::size_t>(length - held, 1 + static_cast<std::size_t>(random.below(most))));
        splits.push_back(std::move(pieces));
    }
    for (const auto& pieces : splits) {
        decltype(auto) model = bench.fresh();
        std::size_t held = 0;
        for (const std::size_t n : pieces) {
            const std::span<const float> logits = model.evaluate(TokenSpan{tokens}.subspan(held, n));
            held += n;
            if (!compare(logits, held, n)) return;
        }
    }
    bench.tell(check);
}

/// Whether wrong positions could show at all.
template <class Bench>
void check_tells_apart(Bench& bench, RunningCheck& check, std::size_t length) {
    if (bench.vocab() < 2) return check.not_asked("the vocabulary has one token");
    auto one = bench.text(6, length);
    auto other = one;
    const auto words_of = bench.text(7, 64);
    const auto found = std::ranges::find_if(words_of, [&](TokenId token) { return token != one[length / 2]; });
    if (found == words_of.end()) return check.not_asked("the vocabulary has one token that ends no text");
    other[length / 2] = *found;
    const std::vector<float> a = bench.from_scratch(one);
    const Apart difference = apart(a, bench.from_scratch(other));
    if (difference.same_bits) {
        return check.not_asked(
            "logits do not change with a token in the middle of the text, so a position that was kept wrongly "
            "may not show");
    }
    check.expect(!bench.within(difference), "two texts that differ by a token give logits that differ by ",
                 in_words(difference.most), " at most, and the tolerance is ", in_words(bench.tolerance()),
                 ": it would hide every fault");
    check.note("one other token in the middle changes a logit by ", in_words(difference.most));
}

/// What was cut is forgotten, and what is kept stays.
template <class Bench>
void check_truncate(Bench& bench, RunningCheck& check, std::size_t length) {
    const auto tokens = bench.text(8, length);
    const auto other = bench.text(9, length);
    Observations seen;
    {
        decltype(auto) model = bench.fresh();
        Driven<typename Bench::Model> driven{model, seen};
        const auto evaluate_after = [&](std::size_t cut, std::size_t from, std::size_t n) {
            const TokenBuffer before = driven.held();
            driven.truncate(cut);
            std::vector<Mistake> mistakes{{"as if nothing had been forgotten", before}};
            if (cut > 0)
                mistakes.push_back({"as if a position too many had been forgotten",
                                    {before.begin(), before.begin() + static_cast<std::ptrdiff_t>(cut - 1)}});
            if (cut < before.size())
                mistakes.push_back({"as if a position too few had been forgotten",
                                    {before.begin(), before.begin() + static_cast<std::ptrdiff_t>(cut + 1)}});
            driven.evaluate(TokenSpan{other}.subspan(from, n),
                            words("after truncate(", cut, ") of a model of ", before.size(), " and evaluate of ", n, " tokens"),
                            std::move(mistakes));
        };
        driven.evaluate(tokens, words("after ", length, " tokens"));
        evaluate_after(length - 5, 0, 1);
        evaluate_after(length - 4, 0, 1);  // nothing is cut
        evaluate_after(length - 4, 0, 1);  // the newest one is
        evaluate_after(length / 2, 1, 1);
        evaluate_after(length / 2, 0, length / 2);
        evaluate_after(length / 3, 3, 5);
        evaluate_after(1, 2, 1);
        evaluate_after(1, 0, length - 1);
        evaluate_after(0, 4, 3);
        evaluate_after(2, 1, length - 2);
        driven.truncate(length / 2);
        driven.truncate(length / 4);
        driven.evaluate(TokenSpan{other}.first(2), "after two truncations in a row and evaluate of 2 tokens");
        driven.truncate(0);
        driven.truncate(0);
        driven.evaluate(tokens, words("after truncate(0), twice, and evaluate of ", length, " tokens"));
    }
    bench.settle(check, seen);
}

}  // namespace flashback::inline FLASHBACK_ISA::testing::detail
