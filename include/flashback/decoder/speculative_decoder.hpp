/// \file The loop that does not wait for searches: it goes on with a guess, and goes back if that was wrong.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/function_ref.hpp"
#include "flashback/core/language_model.hpp"
#include "flashback/core/owned_passage.hpp"
#include "flashback/core/retriever.hpp"
#include "flashback/decoder/detail/driven_model.hpp"
#include "flashback/decoder/detail/guesses.hpp"
#include "flashback/decoder/detail/on_token.hpp"
#include "flashback/decoder/generate_options.hpp"
#include "flashback/decoder/generation.hpp"
#include "flashback/decoder/generator.hpp"
#include "flashback/decoder/optimal_stride.hpp"
#include "flashback/fwd.hpp"
#include "flashback/policy/fusion.hpp"
#include "flashback/policy/layout.hpp"
#include "flashback/policy/overflow.hpp"

#include <algorithm>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <ranges>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// How a SpeculativeDecoder guesses.
struct SpeculationOptions {
    std::optional<std::size_t> stride = {};  ///< guesses before they are checked; without it as many as pay (OptimalStride)
    /// Passages asked for at a search, if those that are read are fewer: a retriever that remembers has more to guess from. 20 in the
    /// paper. Requires  the best of more passages are the best of few: not so for retrievers that look at a few and rank those anew
    std::size_t prefetched = 0;
    /// Seconds since some moment, for OptimalStride alone; by default the clock of the machine. Whatever it says, the tokens are the same.
    FunctionRef<double()> clock = {};
};

/// Generates what a Decoder generates: the tokens, why they ended, what was retrieved and the surprisals. But where that waits for a
/// search, this one goes on with what the retriever guesses; after some guesses it searches for all of them at once, keeps what was
/// written up to the first wrong one, and goes back there. What on_token is told has been checked.
///
/// A guess is right if the passages that stand are those that were found, with their ids, titles, texts and tokens; and their scores, if
/// several branches are fused by them. Other scores are told afterwards: a policy that looks at those of StepView::passages sees those of
/// the guess. So the retriever's own score is the best to guess by. With a layout that looks at LayoutParts::held instead of
/// LayoutParts::standing, the text is another. Where going back would not be exact, it does not guess: with overflow policies that move keys
/// and values, with passages aside that are not exact, and with policies that look at StepView::evaluated, which counts what was evaluated
/// in vain, and say so (`looks_at_evaluated()`).
///
/// The newest search of a batch is that of the text as it stands; its answer is read at once. If the retriever is asynchronous
/// (AsynchronousRetriever), the last step of a round is written while the batch is searched. Without a guess, as at the first retrieval, it
/// searches.
/// Source    Zhang et al. 2024, RaLMSpec (arXiv 2401.14021)
template <class Model, class RetrieverT, class PoliciesT>
class SpeculativeDecoder {
    static_assert(checked_model<Model>());
    static_assert(checked_retriever<RetrieverT>());
    static_assert(
        SpeculatingRetriever<RetrieverT>,
        "flashback: a SpeculativeDecoder needs a retriever that guesses, with speculate(const Query&, std::size_t k): "
        "SeenPassages around it has that");
    static_assert(
        !detail::RemembersQueries<RetrieverT>,
        "flashback: a SpeculativeDecoder also searches for texts that it takes back, but the answers of this retriever "
        "depend on the queries before (remembers_queries), as those of Accumulated and of stale do: use a Decoder");
    static_assert(
        PolicySet<PoliciesT>,
        "flashback: the policies of a SpeculativeDecoder are a Policies, or have its members, with policies that fit: "
        "schedule, query, wrapper, layout, reuse, sampler, overflow, stopping, reset, rewind, wants_surprisals");
    static_assert(std::copy_constructible<PoliciesT>,
                  "flashback: a SpeculativeDecoder copies its policies, to go back to where they were: each must be copyable");
    static_assert(!detail::refers<PoliciesT>,
                  "flashback: a SpeculativeDecoder copies its policies, to go back to where they were, but one of these is a "
                  "std::ref to a policy that lives elsewhere, which a copy does not take back: hold it by value");
    using GeneratorT = Generator<PoliciesT>;
    using Guess = detail::Guess<PoliciesT>;

public:
    /// Refers to a model and a retriever, which must outlive it, holds the policies, and calls none of them yet.
    /// Requires  a model without `tokens()` is empty when the first generation starts; no policy refers to what changes elsewhere, as an
    ///           AnySchedule of a std::ref does, or a lambda that captures by reference; moving the policies does not throw; answers depend
    ///           on the query and the number of passages alone, also inside of an AnyRetriever
    /// Throws    Error{contract} if not even 1 guess is to be made
    SpeculativeDecoder(Model& model, RetrieverT& retriever, PoliciesT policies = {}, SpeculationOptions options = {})
        : model_(model),
          retriever_(&retriever),
          options_(options),
          generator_(std::make_unique<GeneratorT>(std::move(policies))) {
        FLASHBACK_ASSERT(options.stride.value_or(1) > 0,
                         "a SpeculativeDecoder makes at least 1 guess before it checks, found 0");
    }

    /// The policies, which stay where they are, each with the memory that it has now: while guesses are open, that is ahead of what
    /// on_token was told.
    PoliciesT& policies() noexcept { return generator_->policies(); }

    /// Continues a prompt, which is given without BOS.
    /// Throws    as Decoder::generate, and what the retriever's `speculate` throws. Then `partial()` has what was checked, and the
    ///           model holds what it says it holds. What goes wrong after a wrong guess, and would not otherwise, is not thrown
    /// Cost      as Decoder::generate, and a copy of the generator for each guess: of the text, all that was retrieved for it and the policies, so that
    ///           n guesses cost n times the length of the text; a single step allocates nothing, unless guesses are open
    Generation generate(TokenSpan prompt, const GenerateOptions& options = {}) {
        return generate(prompt, options, [](TokenId) { return true; });
    }

    /// Continues a prompt and hands each token to `on_token`, as Decoder::generate does; a token comes when it was checked.
    template <std::invocable<TokenId> OnToken>
    Generation generate(TokenSpan prompt, const GenerateOptions& options, OnToken&& on_token) {
        static_assert(detail::checked_on_token<members::Unwrapped<std::remove_reference_t<OnToken>>>());
        static_assert(
            !detail::HearsPlans<members::Unwrapped<std::remove_reference_t<OnToken>>>,
            "flashback: a SpeculativeDecoder does not tell on_token of plans (planned): some are those of wrong guesses. "
            "Use a Decoder");
        start(prompt, options);
#if defined(__cpp_exceptions)
        try {
            run(on_token);
        } catch (...) {
            model_.close();
            keep_handed_out();
            count_time();
            throw;
        }
#else
        run(on_token);
#endif
        model_.close();
        count_time();
        Generation whole = generator_->take();
        return cut_ ? *std::exchange(cut_, std::nullopt) : whole;
    }

    /// The model that this decoder drives.
    Model& model() noexcept { return model_.model(); }

    /// What the last call of `generate` had done when it threw.
    const Generation& partial() const noexcept { return cut_ ? *cut_ : generator_->result(); }

    /// How many guesses would be made now before they are checked.
    std::size_t stride() const noexcept { return options_.stride ? *options_.stride : optimal_.stride(); }

private:
    static constexpr bool asynchronous = AsynchronousRetriever<RetrieverT>;

    /// What a generator reports, until it is known whether it would have come to this without guesses.
    struct Failure {
        ErrorCode code = ErrorCode::contract;
        std::string sentence = {};
        bool happened = false;
        void operator()(ErrorCode its, std::string_view text) {
            code = its;
            sentence = text;
            happened = true;
        }
    };

    void start(TokenSpan prompt, const GenerateOptions& options) {
        const Generation last = generator_->take();  // the prompt may view it
        const std::optional<Generation> cut = std::exchange(cut_, std::nullopt);
        forget_guesses();
        forget_failure();
        batch_began_.reset();
        answered_.reset();
        speculation_ = {};
        retriever_work_ = work_of(*retriever_);
        passages_ = options.passages;
        stop_ = options.stop;
        generator_->on_error(failure_);
        model_.start(*generator_, prompt, options);
        guesses_ = !rotation_of(policies().overflow()).moves && !moves_text_of(policies().reuse());
        if constexpr (requires { policies().looks_at_evaluated(); }) guesses_ = guesses_ && !policies().looks_at_evaluated();
        const AsideOptions aside = beside_of(policies().layout());
        if (aside.seeing > 0 && !aside.exact) guesses_ = false;
    }

    template <class OnToken>
    void run(OnToken& on_token) {
        while (!ended() || !open_.empty()) {
            if (!open_.empty() && stop_.stop_requested()) return cut();
            ended() ? check(on_token) : advance(on_token);
            model_.count_work(*generator_, work_of(*retriever_) - retriever_work_);
        }
#if defined(__cpp_exceptions)
        if (thrown_) std::rethrow_exception(std::exchange(thrown_, nullptr));
#endif
        if (failure_.happened) FLASHBACK_THROW(failure_.code, failure_.sentence);
    }

    /// Whether the generator does not go on: its text ended, or something went wrong, perhaps only after a wrong guess.
    bool ended() const { return cut_ || thrown_ || generator_->need().kind == Need::Kind::done; }

    template <class OnToken>
    void advance(OnToken& on_token) {
        const Need need = generator_->need();
        switch (need.kind) {
            case Need::Kind::search: return search(on_token);
            case Need::Kind::prefetch:
                if constexpr (PrefetchingRetriever<RetrieverT>) {
                    if (open_.empty()) retriever_->prefetch(need.query, need.passages);
                }
                return attempt([&] { generator_->resume(); });
            case Need::Kind::rewind:
                if (open_.empty()) {
                    detail::tell_rewind(on_token, need.length);
                } else {
                    heard_.push_back({.rewind = need.length, .evaluated = generator_->result().stats.counts.evaluated});
                }
                return attempt([&] { generator_->resume(); });
            case Need::Kind::token:
                if (!open_.empty()) {
                    heard_.push_back(detail::Heard::newest(*generator_));
                } else if (!detail::tell_token(on_token, need.token)) {
                    return generator_->cancel();
                }
                return attempt([&] { generator_->resume(); });
            case Need::Kind::evaluate:
                return attempt([&] { model_.evaluated(*generator_, model_.evaluate(model_.pass(need, *generator_))); });
            default: return attempt([&] { model_.answer(need, *generator_); });
        }
    }

    /// Does something that may go wrong only because a guess was wrong.
    template <class Call>
    void attempt(const Call& call) {
#if defined(__cpp_exceptions)
        if (!open_.empty()) {
            try {
                call();
            } catch (...) {
                thrown_ = std::current_exception();
            }
            return;
        }
#endif
        call();
    }

    template <class OnToken>
    void search(OnToken& on_token) {
        end_step();
        if (batch_began_) return check(on_token);
        const Need need = generator_->need();
        if (guesses_ && open_.size() < stride()) {
            auto&& range = retriever_->speculate(need.query, need.passages);
            const std::span<const Passage> found{std::ranges::data(range), std::ranges::size(range)};
            if (!found.empty()) return guess(found.first(std::min(found.size(), need.passages)));
        }
        check(on_token);
    }

    void guess(std::span<const Passage> passages) {
        Guess guessed{std::make_unique<GeneratorT>(*generator_), detail::owned(passages), heard_.size()};
        open_.push_back(std::move(guessed));
        ++speculation_.speculated;
        if constexpr (asynchronous) {
            if (open_.size() >= stride()) {
                retriever_->begin_batch(queries(false), depth());
                batch_began_ = now();
            }
        }
        attempt([&] { generator_->found(detail::views(open_.back().passages)); });
        answered_ = now();
    }

    /// What is searched for: the queries of the guesses, and that of the text as it stands.
    std::vector<Query> queries(bool with_newest) const {
        std::vector<Query> all;
        for (const Guess& guess : open_) all.push_back(guess.before->need().query);
        if (with_newest) all.push_back(generator_->need().query);
        return all;
    }

    /// A step lasts until the next search comes up, or the end.
    void end_step() {
        if (answered_) optimal_.step(now() - *std::exchange(answered_, std::nullopt));
    }

    std::size_t depth() const noexcept { return std::max(passages_, options_.prefetched); }

    /// The result tells what was found for a guess, not what was guessed.
    void confirm(GeneratorT& generator, std::size_t guess) const {
        generator.confirm(open_[guess].before->result().retrievals.size(), detail::views(open_[guess].passages));
    }

    // Of a check: detail/speculative_check.hpp.
    /// Searches for what was guessed, and for what is to be found now. Hands out what was written up to the first wrong guess; goes back to
    /// that, with the passages that were found.
    template <class OnToken>
    void check(OnToken& on_token);
    detail::Checked searched();
    /// Compares an answer with the next guess; false if the answers behind it are of no use.
    template <class Answer>
    bool compare(detail::Checked& checked, const Answer& answer);
    /// Whether so many passages are read in branches that are weighed by their scores.
    bool weighs_scores(std::size_t passages);
    /// Tells what was heard in the text, up to `end`; false if that cancels the generation.
    template <class OnToken>
    bool hand_out(std::size_t end, OnToken& on_token);
    void roll_back(std::size_t guess);
    /// Another generator goes on, where it is; the model holds what it holds.
    void go_back(std::unique_ptr<GeneratorT> before);
    /// While guesses are open, ends the generation with what was handed out.
    void keep_handed_out();
    /// The same, because somebody wants that.
    void cut();
    /// Until now, the last search included.
    void count_time();

    void forget_guesses() noexcept {
        open_.clear();
        heard_.clear();
        handed_out_ = 0;
    }

    void forget_failure() noexcept {
        thrown_ = nullptr;
        failure_.happened = false;
    }

    double now() const {
        if (options_.clock) return options_.clock();
        return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
    }

    detail::DrivenModel<Model> model_;
    RetrieverT* retriever_;
    SpeculationOptions options_;
    std::unique_ptr<GeneratorT> generator_;
    OptimalStride optimal_{asynchronous};
    std::vector<Guess> open_;            // guesses that were not checked yet, the oldest first
    std::vector<detail::Heard> heard_;   // of the text after the first of them
    std::size_t handed_out_ = 0;         // of that
    std::optional<double> batch_began_;  // when the batch that is under way began: all open guesses
    std::optional<double> answered_;     // when the last search was answered
    std::optional<Generation> cut_;      // the result, if the text was cut to what was handed out
    Speculation speculation_;
    std::vector<PassageGroup> groups_;
    std::exception_ptr thrown_;
    Failure failure_;
    std::stop_token stop_;
    std::size_t passages_ = 1;        // read at each retrieval
    bool guesses_ = true;             // whether going back is exact
    std::size_t retriever_work_ = 0;  // when the generation started
};

}  // namespace flashback::inline FLASHBACK_ISA

#include "flashback/decoder/detail/speculative_check.hpp"
