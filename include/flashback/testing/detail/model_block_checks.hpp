/// \file Checks of models that hold blocks beside their text: passages aside.
#pragma once

#include "flashback/testing/detail/model_bench.hpp"
#include "flashback/testing/detail/model_failure_checks.hpp"

namespace flashback::inline FLASHBACK_ISA::testing::detail {

/// Tokens, and the passages that they see beside what is held.
struct Stage {
    std::vector<TokenBuffer> beside;
    TokenBuffer tokens;
};
using Scene = std::vector<Stage>;

/// Drives a model with blocks, and compares it with one that was given the same scene from scratch.
template <class Bench>
class BlockBench {
public:
    using Model = typename Bench::Model;

    BlockBench(Bench& bench, std::size_t length) : bench_(&bench) {
        {
            decltype(auto) model = bench.fresh();
            const TokenSpan head = head_of(std::as_const(model));
            head_ = head.size();
            plain_ = joined(head, bench.text(50, length));
        }
        tail_ = bench.text(51, 6);
        other_ = bench.text(52, 6);
        first_ = bench.text(53, 12);
        second_ = bench.text(54, 9);
    }

    const TokenBuffer& plain() const noexcept { return plain_; }
    const TokenBuffer& tail() const noexcept { return tail_; }
    const TokenBuffer& other() const noexcept { return other_; }
    const TokenBuffer& first() const noexcept { return first_; }
    const TokenBuffer& second() const noexcept { return second_; }

    /// Lets the model see passages from now on.
    void see(Model& model, const std::vector<TokenBuffer>& passages) const {
        const std::vector<TokenSpan> views{passages.begin(), passages.end()};
        static_cast<void>(see_passages(model, views, head_));
    }
    auto block(Model& model, const TokenBuffer& tokens) const { return model.block(TokenSpan{tokens}, head_, head_); }

    std::vector<float> from_scratch(const Scene& scene) {
        decltype(auto) model = bench_->fresh();
        std::vector<float> logits;
        std::vector<TokenBuffer> sees;
        for (const Stage& stage : scene) {
            if (stage.beside != sees) see(model, sees = stage.beside);
            const std::span<const float> given = model.evaluate(TokenSpan{stage.tokens});
            logits.assign(given.begin(), given.end());
        }
        return logits;
    }

    /// Compares what `drive(model)` gives with a scene; other scenes say what a difference may mean.
    template <class Drive>
    bool same(RunningCheck& check, std::string_view when, const Scene& scene, const Drive& drive,
              const std::vector<std::pair<std::string, Scene>>& mistakes = {}) {
        std::vector<float> found;
        {
            decltype(auto) model = bench_->fresh();
            static_cast<void>(model.evaluate(TokenSpan{plain_}));
            const std::span<const float> logits = drive(static_cast<Model&>(model));
            found.assign(logits.begin(), logits.end());
        }
        const std::vector<float> expected = from_scratch(scene);
        std::string meaning;
        if (!bench_->equal(found, expected)) {
            for (const auto& [what, mistake] : mistakes)
                if (meaning.empty() && bench_->equal(found, from_scratch(mistake))) meaning = ": " + what;
        }
        return bench_->compare(check, found, expected, when, "those of the same from scratch", meaning);
    }

private:
    Bench* bench_;
    std::size_t head_ = 0;
    TokenBuffer plain_, tail_, other_, first_, second_;
};

/// What is seen, and until when.
template <class Bench>
void check_blocks(Bench& bench, RunningCheck& check, std::size_t length) {
    using Model = typename Bench::Model;
    BlockBench<Bench> with{bench, length};
    const TokenBuffer &plain = with.plain(), &tail = with.tail(), &other = with.other();
    const std::vector<TokenBuffer> one{with.first()}, two{with.second()}, both{with.first(), with.second()};
    const TokenSpan rest = TokenSpan{tail}.subspan(1);
    const Scene without{{{}, joined(plain, tail)}}, seeing{{{}, plain}, {one, tail}};
    const Scene without_other{{{}, joined(plain, other)}}, seeing_other{{{}, plain}, {one, other}};
    const auto still = std::string{"as if the block were still seen"};
    bench.begin();
    const auto evaluate = [](Model& model, TokenSpan tokens) { return model.evaluate(tokens); };

    const bool right =
        with.same(check, "after a block was made that nobody saw", without,
                  [&](Model& model) {
                      static_cast<void>(with.block(model, with.first()));
                      return evaluate(model, tail);
                  },
                  {{"as if it had been seen", seeing}}) &&
        with.same(check, "with a block beside, one token at a time", seeing,
                  [&](Model& model) {
                      with.see(model, one);
                      for (const TokenId& token : TokenSpan{tail}.first(tail.size() - 1))
                          static_cast<void>(evaluate(model, {&token, 1}));
                      return evaluate(model, TokenSpan{tail}.last(1));
                  },
                  {{"as if it had not been seen", without}}) &&
        with.same(check, "with a handle that was copied, made before other tokens were held", seeing,
                  [&](Model& model) {
                      model.truncate(plain.size() - 3);
                      const auto handle = with.block(model, with.first());
                      static_cast<void>(evaluate(model, TokenSpan{plain}.last(3)));
                      const auto copy = handle;
                      model.see({copy});
                      return evaluate(model, tail);
                  },
                  {{"as if it had not been seen", without}}) &&
        with.same(check, "with another block in place of the first", Scene{{{}, plain}, {two, tail}},
                  [&](Model& model) {
                      with.see(model, one);
                      with.see(model, two);
                      return evaluate(model, tail);
                  },
                  {{"as if the first were seen still", seeing}, {"as if both were seen", Scene{{{}, plain}, {both, tail}}}}) &&
        with.same(check, "with two blocks", Scene{{{}, plain}, {both, tail}},
                  [&](Model& model) {
                      const auto a = with.block(model, with.first()), b = with.block(model, with.second());
                      model.see({a, b});
                      static_cast<void>(evaluate(model, TokenSpan{tail}.first(2)));
                      return evaluate(model, TokenSpan{tail}.subspan(2));
                  },
                  {{"as if only the first were seen", seeing},
                   {"as if only the second were seen", Scene{{{}, plain}, {two, tail}}}}) &&
        with.same(check, "after see({})", without,
                  [&](Model& model) {
                      with.see(model, one);
                      with.see(model, {});
                      return evaluate(model, tail);
                  },
                  {{still, seeing}}) &&
        with.same(check, "after a cut to where the block was first seen", without_other,
                  [&](Model& model) {
                      with.see(model, one);
                      static_cast<void>(evaluate(model, tail));
                      model.truncate(plain.size());
                      return evaluate(model, other);
                  },
                  {{still, seeing_other}}) &&
        with.same(check, "after a cut far behind where the block was first seen",
                  Scene{{{}, joined(TokenSpan{plain}.first(plain.size() - 5), other)}},
                  [&](Model& model) {
                      with.see(model, one);
                      static_cast<void>(evaluate(model, tail));
                      model.truncate(plain.size() - 5);
                      return evaluate(model, other);
                  },
                  {{still, Scene{{{}, {plain.begin(), plain.end() - 5}}, {one, other}}}}) &&
        with.same(check, "after a cut to one token that saw the block",
                  Scene{{{}, plain}, {one, joined(TokenSpan{tail}.first(1), other)}},
                  [&](Model& model) {
                      with.see(model, one);
                      static_cast<void>(evaluate(model, tail));
                      model.truncate(plain.size() + 1);
                      return evaluate(model, other);
                  },
                  {{"as if it were not seen any more", Scene{{{}, plain}, {one, {tail.front()}}, {{}, other}}}}) &&
        with.same(check, "after a block was seen by a token, and another one by the rest",
                  Scene{{{}, plain}, {one, {tail.front()}}, {two, {rest.begin(), rest.end()}}},
                  [&](Model& model) {
                      with.see(model, one);
                      static_cast<void>(evaluate(model, TokenSpan{tail}.first(1)));
                      const auto handle = with.block(model, with.second());
                      model.see({handle});
                      static_cast<void>(evaluate(model, rest.first(2)));
                      return evaluate(model, rest.subspan(2));
                  },
                  {{"as if the first token had seen the second block, too", Scene{{{}, plain}, {two, tail}}}});
    if (!right) return;
    bench.tell(check);
    if (bench.equal(with.from_scratch(without), with.from_scratch(seeing)))
        check.not_asked("a block does not change the logits of tokens that see it, so it cannot show whether it is seen");
}

/// plain_size(), size() and tokens() with blocks beside, and blocks that are refused.
template <class Bench>
void check_block_counts(Bench& bench, RunningCheck& check, std::size_t length) {
    BlockBench<Bench> with{bench, length};
    const std::size_t plain = with.plain().size();
    decltype(auto) model = bench.fresh();
    const auto right = [&](std::size_t size, std::size_t unseeing, std::string_view after) {
        const auto told = static_cast<std::size_t>(std::as_const(model).plain_size());
        return check.expect(bench.size_of(model) == size, "after ", after, " size() is ", bench.size_of(model), ", expected ",
                            size) &&
               check.expect(told == unseeing, "after ", after, " plain_size() is ", told, ", expected ", unseeing,
                            ": the positions in front of the first that saw a block");
    };
    if (!right(0, 0, "nothing")) return;
    static_cast<void>(model.evaluate(TokenSpan{with.plain()}));
    if (!right(plain, plain, "a text")) return;
    const auto block = with.block(model, with.first());
    if (!right(plain, plain, "a block was made")) return;
    model.see({block});
    if (!right(plain, plain, "see, and no token yet,")) return;
    static_cast<void>(model.evaluate(TokenSpan{with.tail()}));
    if (!right(plain + with.tail().size(), plain, "tokens that see a block")) return;
    model.truncate(plain + 2);
    if (!right(plain + 2, plain, "a cut to 2 tokens that see a block")) return;
    model.truncate(plain);
    static_cast<void>(model.evaluate(TokenSpan{with.other()}));
    right(plain + with.other().size(), plain + with.other().size(),
          "a cut to where the block was first seen, and tokens that see none");
}

/// A block that is refused changes nothing.
template <class Bench>
void check_block_fails(Bench& bench, RunningCheck& check, std::size_t length) {
    BlockBench<Bench> with{bench, length};
    bench.begin();
    with.same(check, "after a block with a bad token was refused", Scene{{{}, joined(with.plain(), with.tail())}},
              [&](typename Bench::Model& model) {
                  const std::size_t before = bench.size_of(model);
                  for (const TokenId bad : bad_tokens) {
                      TokenBuffer tokens = with.first();
                      tokens.back() = bad;
                      const Thrown thrown = thrown_by([&] { static_cast<void>(with.block(model, tokens)); });
                      check.expect(thrown.threw, "block took the token ", bad, ", expected a refusal");
                      check.expect(bench.size_of(model) == before, "after a block with the token ", bad,
                                   " was refused size() is ", bench.size_of(model), ", but it was ", before);
                  }
                  return model.evaluate(TokenSpan{with.tail()});
              });
    bench.tell(check);
}

}  // namespace flashback::inline FLASHBACK_ISA::testing::detail
