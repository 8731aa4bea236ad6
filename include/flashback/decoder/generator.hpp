/// \file The loop as a state machine without input or output: it says what it needs next, and is given it.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/retriever.hpp"
#include "flashback/decoder/carried_out_plan.hpp"
#include "flashback/decoder/detail/generation_state.hpp"
#include "flashback/decoder/generate_options.hpp"
#include "flashback/decoder/generation.hpp"
#include "flashback/decoder/need.hpp"
#include "flashback/fwd.hpp"
#include "flashback/policy/branch_plan.hpp"
#include "flashback/policy/context_plan.hpp"
#include "flashback/policy/fusion.hpp"
#include "flashback/policy/policies.hpp"

#include <algorithm>
#include <cstddef>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace flashback::inline FLASHBACK_ISA {

/// One generation after another, without a model and without a retriever: `need()` says what must be done, and the answer to it
/// leads to the next need. Whoever drives it may batch the evaluations of several generators in one forward pass, search in
/// another thread, or wait in an event loop; the tokens are those of a Decoder, which is one way of driving it.
///
///     generator.start(prompt, options, {.vocab_size = engine.vocab_size()});
///     for (;;) {
///         const Need need = generator.need();
///         switch (need.kind) {
///             case Need::Kind::search: generator.found(index.retrieve(need.query, need.passages)); break;
///             case Need::Kind::truncate: engine.truncate(need.length); generator.truncated(engine.size()); break;
///             case Need::Kind::evaluate: {
///                 const auto logits = engine.evaluate(need.tokens);
///                 generator.evaluated(logits, engine.size());  // the size after it
///                 break;
///             }
///             case Need::Kind::see: generator.seen(see_passages(engine, need.beside, need.length)); break;
///             case Need::Kind::done: return generator.take();
///             default: generator.resume();  // a token, a rewind, a hint to prefetch
///         }
///     }
///
/// Between two generations it remembers what the model holds. A copy goes on independently from here: drive it over a fork of
/// the model. Errors throw, unless `on_error` was given a handler.
template <class PoliciesT>
class Generator {
    static_assert(
        PolicySet<PoliciesT>,
        "flashback: the policies of a Generator are a Policies, or have its members, with policies that fit: schedule, query, "
        "wrapper, layout, reuse, sampler, overflow, stopping, reset, rewind, wants_surprisals");

public:
    /// What it can need: see Need.
    using Kind = Need::Kind;

    /// Holds the policies, and calls none of them yet.
    explicit Generator(PoliciesT policies = {}) : policies_(std::move(policies)) {}

    /// The policies, each with the memory that it has now.
    PoliciesT& policies() noexcept { return policies_; }

    /// Gives errors to a handler instead of throwing them. If the handler returns, the generation ends with StopReason::failed.
    /// Requires  the handler outlives the generator
    void on_error(ErrorHandler handler) noexcept { on_error_ = handler; }

    /// Begins a generation that continues a prompt, which is given without BOS. A generation that has not ended is given up.
    /// Requires  `facts.is_end` outlives the generation
    /// Throws    Error{contract} if the number of logits is 0; what policies throw
    void start(TokenSpan prompt, const GenerateOptions& options, const ModelFacts& facts) {
        state_.begin(prompt, options, facts, policies_.wants_surprisals(), wants_attention());
        kind_ = Kind::done;
        if (!fits(facts)) return;
        state_.sinks = rotation_of(policies_.overflow()).sinks;
        passages_changed_ = evicting_ = branching_ = reads_ = carried_out_ = false;
        policies_.reset();
        next_token();
    }

    /// What must be done next; `done` before the first `start`.
    Need need() const noexcept {
        Need need{.kind = kind_};
        switch (kind_) {
            case Kind::search:
            case Kind::prefetch:
                need.query = state_.query.view();
                need.query.context = TokenSpan{state_.context}.first(state_.context.size() - rewind_);
                need.passages = state_.options.passages;
                break;
            case Kind::rewind: need.length = rewind_; break;
            case Kind::evict:
                need.first = evict_.begin;
                need.length = evict_.count;
                break;
            case Kind::truncate: need.length = keep_; break;
            case Kind::evaluate:
                need.each = state_.fused.next();
                if (need.each.empty()) need.tokens = feed();
                break;
            case Kind::branch:
                need.branches = state_.fused.planned();
                need.length = state_.head().size();
                break;
            case Kind::see:
                if (!see_nothing_) need.beside = state_.scratch.passages;
                need.length = state_.head().size();
                break;
            case Kind::token: need.token = state_.context.back(); break;
            case Kind::done: need.stop = state_.result.stop; break;
        }
        return need;
    }

    /// The answer to `search`: what was found, the best first. It is copied.
    /// Throws    Error{contract} if nothing is searched for; what policies throw
    void found(std::span<const Passage> passages) {
        if (!answers(Kind::search)) return;
        const double seconds = detail::GenerationState::since(state_.needed);
        state_.result.stats.seconds.retrieve += seconds;
        state_.standing.assign(passages);
        passages_changed_ = true;
        state_.report_retrieval(rewind_);
        state_.retrieval->seconds = seconds;
        take_back();
    }

    /// The answer to `prefetch`, `rewind` and `token`: go on.
    /// Throws    Error{contract} if another answer is needed; Error{window} if the first context does not fit into the window;
    ///           what policies throw
    void resume() {
        if (kind_ == Kind::token) {
            stopping_ ? conclude(StopReason::stop_string) : next_token();
        } else if (kind_ == Kind::rewind) {
            plan();
        } else if (kind_ == Kind::prefetch) {
            evaluate_newest();
        } else {
            fail(ErrorCode::contract, "a generator goes on after a token, a rewind or a hint to prefetch, but it needs ",
                 to_string(kind_));
        }
    }

    /// Ends the generation now, whatever it needs, with what it has.
    void cancel() {
        if (stopping()) return conclude(StopReason::stop_string);
        finish(StopReason::cancelled);
    }

    /// The answer to `truncate`: how many positions the model holds now.
    /// Throws    Error{contract} if no truncation is needed; Error{engine} if the model has another length than was needed
    void truncated(std::size_t size) {
        if (!answers(Kind::truncate)) return;
        if (size != keep_) {
            return fail(ErrorCode::engine, "the model holds ", size, " positions after it was cut to ", keep_,
                        ": its truncate does not do what it says");
        }
        if (evicting_) state_.count({0, 0, 0, state_.held.size() - keep_});
        state_.held.resize(keep_);
        if (state_.held_plain && keep_ <= *state_.held_plain) state_.held_plain.reset();
        if (keep_ <= state_.evicted_at) state_.evicted_at = std::numeric_limits<std::size_t>::max();
        evicting_ ? ask(Kind::evict) : go_on();
    }

    /// The answer to `evict`: how many positions the model holds now.
    /// Throws    as `truncated`
    void evicted(std::size_t size);

    /// The answer to `see`: how many tokens the model evaluated so that it sees the passages. It had the others.
    /// Throws    Error{contract} if it does not need that; Error{engine} for more tokens than the passages have
    void seen(std::size_t tokens);

    /// The answer to `branch`: how many tokens each branch evaluated so that it sees its passages beside the text.
    /// Throws    Error{contract} if it does not need that; Error{engine} for a wrong number of branches, or for more tokens than the
    ///           passages have
    void branched(std::span<const std::size_t> tokens);

    /// The answer to `evaluate`: the logits after the last token, or those of each branch, row by row, valid until the next evaluation, and how many positions the
    /// model holds now. Without logits it means that the evaluation was stopped before its end, because a stop token asked for
    /// that. If `wants_attention()`, what the last position read stands with them, and is asked for before the next answer.
    /// Throws    Error{contract} if no evaluation is needed; Error{engine} if the model does not hold what it was given, or
    ///           gave the wrong number of logits, or none although nobody asked it to stop; Error{logits} if a logit is NaN or
    ///           +infinity, or if the sampler takes a token that has none; what policies throw
    void evaluated(std::span<const float> logits, std::size_t size, const ModelAttention& attention = {});

    /// Whether a policy asks for what the model read.
    bool wants_attention() const {
        if constexpr (requires { policies_.wants_attention(); }) {
            return policies_.wants_attention();
        } else {
            return false;
        }
    }

    /// Whether the stopping criterion ends the text at the newest token, which is handed out: then `cancel` changes nothing.
    bool stopping() const noexcept { return kind_ == Kind::token && stopping_; }

    /// What the model holds, as far as the generator knows.
    TokenSpan held() const noexcept { return state_.held; }

    /// Tells what the model holds, if something else changed it: between two generations, or before an answer to `search`. The
    /// tokens after the first `plain` see passages beside the text; by default none does.
    void holds(TokenSpan tokens, std::size_t plain = std::numeric_limits<std::size_t>::max()) {
        if (!std::ranges::equal(tokens, state_.held)) state_.planned_tokens = tokens.size();
        state_.held.assign(tokens.begin(), tokens.end());
        // What was moved in this generation is what it asked for, and hides where passages were seen.
        if (plain == state_.evicted_at) return;
        state_.held_plain.reset();
        if (plain < tokens.size()) state_.held_plain = plain;
    }

    /// Sets, in the statistics, how many tokens were evaluated without being asked for.
    void count_work(std::size_t of_model, std::size_t of_retriever) noexcept {
        state_.result.stats.model_work = of_model;
        state_.result.stats.retriever_work = of_retriever;
    }

    /// Of a copy that needs a search: takes the place of `other`, which went on from here with an answer that is withdrawn. What that did
    /// counts, and what the model holds is what it left there; its branches have ended.
    /// Throws    Error{contract} if this one does not need a search
    void take_over(Generator& other);

    /// What was found in the end by a search that had been answered before, where passages that read the same took its place: the result
    /// tells of it. `retrieval` counts from 0, the searches of the text that stands.
    void confirm(std::size_t retrieval, std::span<const Passage> passages);

    /// Sets what guesses came to, and adds seconds that a retriever took to check them; it took until now.
    void count_speculation(const Speculation& all, double seconds) {
        state_.result.stats.speculation = all;
        state_.result.stats.seconds.retrieve += seconds;
        state_.result.stats.seconds.total = detail::GenerationState::since(state_.began);
    }

    /// The result so far.
    const Generation& result() const noexcept { return state_.result; }

    /// Whether the last answer carried a plan out.
    bool carried_out_plan() const noexcept { return carried_out_; }

    /// That plan; its views are valid until the next answer.
    /// Requires  `carried_out_plan()`
    /// Cost      looks for the text in what was planned: the length of both
    CarriedOutPlan newest_plan() const;

    /// The result, which leaves the generator.
    Generation take() { return std::exchange(state_.result, {}); }

private:
    template <class... Parts>
    void fail(ErrorCode code, const Parts&... parts) {
        state_.retrieval.reset();
        if (on_error_) finish(StopReason::failed);
        report(on_error_, code, parts...);
    }

    bool answers(Kind kind) {
        if (kind_ == kind) return true;
        fail(ErrorCode::contract, "a generator was given the answer to ", to_string(kind), ", but it needs ", to_string(kind_));
        return false;
    }

    void ask(Kind kind) {
        kind_ = kind;
        state_.needed = detail::GenerationState::Clock::now();
    }

    void finish(StopReason reason) {
        state_.result.stop = reason;
        state_.fused.close();
        state_.result.stats.seconds.total = detail::GenerationState::since(state_.began);
        kind_ = Kind::done;
    }

    /// The text is about to end, and the schedule has the last word.
    void conclude(StopReason reason) {
        stopping_ = false;
        auto&& schedule = policies_.schedule();
        const Decision decision = at_end_of(schedule, state_.step(), reason);
        const bool goes_on = decision.retrieves() || decision.drops_passages();
        if (!goes_on || (reason == StopReason::max_tokens && decision.rewind() == 0)) return finish(reason);
        if (state_.put_off++ == state_.options.max_rewinds) return finish(StopReason::max_rewinds);
        follow(decision);
    }

    void next_token() {
        if (state_.result.tokens.size() >= state_.options.max_tokens) return conclude(StopReason::max_tokens);
        if (state_.options.stop.stop_requested()) return finish(StopReason::cancelled);
        follow(policies_.schedule()(state_.step()));
    }

    void follow(Decision decision) {
        if (decision.stops()) return finish(StopReason::schedule);
        rewind_ = decision.rewind();
        if (rewind_ > 0) {
            if (state_.result.stats.rewinds == state_.options.max_rewinds) return finish(StopReason::max_rewinds);
            if (rewind_ > state_.result.tokens.size()) {
                return fail(ErrorCode::contract, "the schedule takes back ", rewind_, " tokens, but only ",
                            state_.result.tokens.size(), " were generated");
            }
        }
        if (decision.drops_passages()) {
            state_.standing.assign({});
            passages_changed_ = true;
            take_back();
        } else if (decision.retrieves() || decision.prefetches()) {
            make_query();
            ask(decision.retrieves() ? Kind::search : Kind::prefetch);
        } else {
            evaluate_newest();
        }
    }

    void make_query() {
        StepView asking = state_.step();
        asking.rewind = rewind_;
        state_.query.assign(policies_.query()(asking));
    }

    /// Takes tokens back, tells everyone, and plans.
    void take_back() {
        if (rewind_ == 0) return plan();
        carried_out_ = false;  // the text that was read is no longer there
        state_.rewind(rewind_);
        policies_.rewind(rewind_);
        ask(Kind::rewind);
    }

    // Of a plan: detail/generator_plan.hpp.
    bool fits(const ModelFacts& facts);
    void plan();
    bool make_room(const FullWindow& full);
    bool find_evicted();
    std::size_t plan_groups();
    std::size_t plan_text();
    std::size_t plan_branches();
    void go_on();
    void refuse(const FullWindow& full);
    void fail_seen(std::size_t tokens, std::size_t all);

    void evaluate_newest() {
        if (!reads_ || state_.longest_held() >= state_.model.window) return plan();
        planned_ = carried_out_ = false;
        if (state_.fused.stand()) {
            state_.fused.step(state_.context.back());
        } else {
            state_.laid_out.push_back(state_.context.back());
        }
        ask(Kind::evaluate);
    }

    /// What is evaluated next: of the plan, up to where passages are to be seen; or the newest token.
    TokenSpan feed() const {
        if (!planned_) return TokenSpan{state_.context}.last(1);
        const TokenSpan wanted = state_.scratch.wanted;
        return wanted.first(sees_ ? plain_ : wanted.size()).subspan(state_.held.size());
    }

    void sample(std::span<const float> all);

    /// The logits of the fused distribution; or those of a branch that has a bad one.
    std::span<const float> fuse(const LogitRows& rows);

    FLASHBACK_NO_UNIQUE_ADDRESS PoliciesT policies_;
    detail::GenerationState state_;
    Kind kind_ = Kind::done;
    ErrorHandler on_error_;
    std::size_t rewind_ = 0;  // of the decision that is being carried out
    struct {
        std::size_t begin = 0, count = 0, kept = 0;
    } evict_, leaving_;        // positions that are to be forgotten, of the first `kept`; those that a plan wants to leave
    std::size_t keep_ = 0;     // of the plan that is being carried out
    std::size_t plain_ = 0;    // the same: how many of its tokens see no passages beside the text
    bool sees_ = false;        // the same: whether passages beside the text are still to be seen
    bool see_nothing_ = true;  // the same: whether there are none
    bool passages_changed_ = false;  // whether the fusion is still to hear of it
    bool evicting_ = false;          // whether the model is cut so that positions can be forgotten
    bool branching_ = false;         // the same: whether branches are still to be made, or ended
    bool reads_ = false;             // whether there was a plan: the model reads the text of this generation
    bool planned_ = false;           // whether the evaluation is of a plan, or of the newest token
    bool carried_out_ = false;       // whether that was the end of a plan, and nothing was planned since
    bool stopping_ = false;          // whether the stopping criterion ends the text at the newest token
};

}  // namespace flashback::inline FLASHBACK_ISA

#include "flashback/decoder/detail/generator_plan.hpp"
#include "flashback/decoder/detail/generator_report.hpp"
#include "flashback/decoder/detail/generator_roll_back.hpp"
#include "flashback/decoder/detail/generator_sample.hpp"
