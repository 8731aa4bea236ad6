/// \file Policies that are chosen at run time: one type for all models of a role. The flags of a program then do not multiply
/// the instantiations of its decoder.
#pragma once

#include "flashback/policy/any_fusion.hpp"  // AnyPolicies has one
#include "flashback/policy/policies.hpp"

#include <concepts>
#include <cstddef>
#include <memory>
#include <span>
#include <type_traits>
#include <utility>

namespace flashback::inline FLASHBACK_ISA {

namespace detail {

/// What a policy of any slot can be asked besides its call.
struct OptionalMembers {
    OptionalMembers() = default;
    OptionalMembers(const OptionalMembers&) = delete;
    OptionalMembers& operator=(const OptionalMembers&) = delete;
    virtual ~OptionalMembers() = default;
    virtual TokenSpan markers() const = 0;
    virtual Decision at_end(const StepView& step, StopReason reason) = 0;
    virtual bool looks_at_ends() const = 0;
    virtual void hear(News& news) = 0;
    virtual bool wants_surprisals() const = 0;
    virtual bool wants_attention() const = 0;
    virtual bool looks_at_evaluated() const = 0;
};

/// A copyable holder of any policy of one role, with the optional members that policies have. `Role::call(policy, args...)`
/// calls it. It needs no run-time type information.
template <class Role, class Result, class... Args>
class ErasedPolicy {
public:
    template <class P>
    explicit ErasedPolicy(P policy) : held_(std::make_unique<Model<P>>(std::move(policy))) {
        static_assert(std::copy_constructible<P>,
                      "flashback: a policy that is chosen at run time is copied; refer to one that cannot be by std::ref");
    }
    ErasedPolicy(const ErasedPolicy& other) : held_(other.held_ ? other.held_->clone() : nullptr) {}
    ErasedPolicy(ErasedPolicy&&) noexcept = default;
    ErasedPolicy& operator=(ErasedPolicy other) noexcept {
        held_ = std::move(other.held_);
        return *this;
    }
    ~ErasedPolicy() = default;

    Result call(Args... args) const { return held().call(args...); }
    TokenSpan markers() const { return held().markers(); }
    Decision at_end(const StepView& step, StopReason reason) { return held().at_end(step, reason); }
    bool looks_at_ends() const { return held().looks_at_ends(); }
    void hear(News&& news) { hear(news); }
    void hear(News& news) { held().hear(news); }
    bool wants_surprisals() const { return held().wants_surprisals(); }
    bool wants_attention() const { return held().wants_attention(); }
    bool looks_at_evaluated() const { return held().looks_at_evaluated(); }

private:
    struct Interface : OptionalMembers {
        virtual std::unique_ptr<Interface> clone() const = 0;
        virtual Result call(Args... args) = 0;
    };

    template <class P>
    struct Model final : Interface {
        explicit Model(P p) : policy(std::move(p)) {}
        std::unique_ptr<Interface> clone() const override { return std::make_unique<Model>(policy); }
        Result call(Args... args) override { return static_cast<Result>(Role::call(unwrap(policy), args...)); }
        TokenSpan markers() const override {
            if constexpr (NamesItsMarkers<Unwrapped<P>>) {
                return unwrap(policy).markers();
            } else {
                return {};
            }
        }
        Decision at_end(const StepView& step, StopReason reason) override { return at_end_of(policy, step, reason); }
        bool looks_at_ends() const override { return detail::looks_at_ends(policy); }
        void hear(News& news) override { news.tell(policy); }
        bool wants_surprisals() const override { return detail::wants_surprisals(policy); }
        bool wants_attention() const override { return detail::wants_attention(policy); }
        bool looks_at_evaluated() const override { return detail::looks_at_evaluated(policy); }

        P policy;
    };

    Interface& held() const {
        FLASHBACK_ASSERT(held_ != nullptr, "a policy was used after it was moved from");
        return *held_;
    }

    std::unique_ptr<Interface> held_;
};

/// How most roles are called: with the arguments as they are, for what the policy returns.
struct PlainCall {
    template <class P, class... Args>
    static constexpr decltype(auto) call(P& policy, Args&&... args) {
        return policy(static_cast<Args&&>(args)...);
    }
};
struct DecisionCall {
    template <class P>
    static constexpr Decision call(P& policy, const StepView& step) {
        return policy(step);
    }
};
struct QueryCall {
    template <class P>
    static void call(P& policy, const StepView& step, OwnedQuery& out) {
        out.assign(policy(step));
    }
};
struct WrapperCall {
    template <class P>
    static void call(const P& policy, const Passage& passage, std::size_t rank, TokenBuffer& out) {
        wrap(policy, passage, rank, out);
    }
};
struct CountCall {
    template <class P, class... Args>
    static constexpr std::size_t call(const P& policy, Args&&... args) {
        return policy(static_cast<Args&&>(args)...);
    }
};
/// A number of tokens: to drop, or to take from the passages.
struct OverflowCall {
    template <class P>
    static constexpr std::size_t call(const P& policy, const FullWindow& full, bool shorten) {
        return shorten ? shorten_of(policy, full) : static_cast<std::size_t>(policy(full));
    }
};
struct SamplerCall {
    template <class P>
    static TokenId call(P& policy, std::span<const float> logits, const StepView& step) {
        return take_token(policy, logits, step);
    }
};

/// The policy. If it does not fit, it was refused in words already; then this is the default of its role, so that there is no
/// second error.
template <bool Fits, class Default, class P>
auto fitting(P policy) {
    if constexpr (Fits) {
        return policy;
    } else {
        return Default{};
    }
}

}  // namespace detail

/// Any RetrievalSchedule.
class AnySchedule {
public:
    /// Holds EveryNTokens{16}, the default of its slot.
    AnySchedule() : AnySchedule(EveryNTokens{}) {}

    /// Holds a schedule; copies have copies of it, or refer to the same one if it is a `std::ref`.
    template <class P>
        requires(!std::same_as<P, AnySchedule>)
    explicit AnySchedule(P policy)
        : held_(detail::fitting<detail::FittingSchedule<members::Unwrapped<P>>, EveryNTokens>(std::move(policy))) {
        static_assert(detail::checked_schedule<members::Unwrapped<P>>());
    }
    Decision operator()(const StepView& step) { return held_.call(step); }
    Decision at_end(const StepView& step, StopReason reason) { return held_.at_end(step, reason); }
    /// Whether the schedule has an `at_end`.
    bool looks_at_ends() const { return held_.looks_at_ends(); }
    void reset() { held_.hear(detail::News::start()); }
    void rewind(std::size_t tokens) { held_.hear(detail::News::rewind(tokens)); }
    void pass_on(detail::News& news, std::type_identity<AnySchedule>) { held_.hear(news); }
    bool wants_surprisals() const { return held_.wants_surprisals(); }
    bool wants_attention() const { return held_.wants_attention(); }
    bool looks_at_evaluated() const { return held_.looks_at_evaluated(); }

private:
    detail::ErasedPolicy<detail::DecisionCall, Decision, const StepView&> held_;
};

/// Any QueryBuilder.
class AnyQuery {
public:
    /// Holds LastNTokens{32}, the default of its slot.
    AnyQuery() : AnyQuery(LastNTokens{}) {}

    /// Holds a query builder; copies have copies of it, or refer to the same one if it is a `std::ref`.
    template <class P>
        requires(!std::same_as<P, AnyQuery>)
    explicit AnyQuery(P policy)
        : held_(detail::fitting<detail::FittingQuery<members::Unwrapped<P>>, LastNTokens>(std::move(policy))) {
        static_assert(detail::checked_query<members::Unwrapped<P>>());
    }
    /// The query; valid until the next call.
    Query operator()(const StepView& step) {
        held_.call(step, query_);
        return query_.view();
    }
    void reset() { held_.hear(detail::News::start()); }
    void rewind(std::size_t tokens) { held_.hear(detail::News::rewind(tokens)); }
    void pass_on(detail::News& news, std::type_identity<AnyQuery>) { held_.hear(news); }
    bool wants_surprisals() const { return held_.wants_surprisals(); }
    bool wants_attention() const { return held_.wants_attention(); }
    bool looks_at_evaluated() const { return held_.looks_at_evaluated(); }

private:
    detail::ErasedPolicy<detail::QueryCall, void, const StepView&, OwnedQuery&> held_;
    OwnedQuery query_;
};

/// Any MarkerWrapper.
class AnyWrapper {
public:
    /// Holds NoMarkers, the default of its slot.
    AnyWrapper() : AnyWrapper(NoMarkers{}) {}

    /// Holds a wrapper; copies have copies of it, or refer to the same one if it is a `std::ref`.
    template <class P>
        requires(!std::same_as<P, AnyWrapper>)
    explicit AnyWrapper(P policy)
        : held_(detail::fitting<detail::FittingWrapper<members::Unwrapped<P>>, NoMarkers>(std::move(policy))) {
        static_assert(detail::checked_wrapper<members::Unwrapped<P>>());
    }
    void operator()(const Passage& passage, std::size_t rank, TokenBuffer& out) const { held_.call(passage, rank, out); }
    TokenSpan markers() const { return held_.markers(); }
    void reset() { held_.hear(detail::News::start()); }
    void rewind(std::size_t tokens) { held_.hear(detail::News::rewind(tokens)); }
    void pass_on(detail::News& news, std::type_identity<AnyWrapper>) { held_.hear(news); }
    bool wants_surprisals() const { return held_.wants_surprisals(); }
    bool wants_attention() const { return held_.wants_attention(); }
    bool looks_at_evaluated() const { return held_.looks_at_evaluated(); }

private:
    detail::ErasedPolicy<detail::WrapperCall, void, const Passage&, std::size_t, TokenBuffer&> held_;
};

/// Any ContextLayout.
class AnyLayout {
public:
    /// Holds AppendPassages, the default of its slot.
    AnyLayout() : AnyLayout(AppendPassages{}) {}

    /// Holds a layout; copies have copies of it, or refer to the same one if it is a `std::ref`.
    template <class P>
        requires(!std::same_as<P, AnyLayout>)
    explicit AnyLayout(P policy)
        : beside_(beside_of(members::unwrap(policy))),
          held_(detail::fitting<detail::FittingLayout<members::Unwrapped<P>>, AppendPassages>(std::move(policy))) {
        static_assert(detail::checked_layout<members::Unwrapped<P>>());
    }
    void operator()(const LayoutParts& parts, TokenBuffer& out) const { held_.call(parts, out); }
    AsideOptions beside() const noexcept { return beside_; }
    void reset() { held_.hear(detail::News::start()); }
    void rewind(std::size_t tokens) { held_.hear(detail::News::rewind(tokens)); }
    void pass_on(detail::News& news, std::type_identity<AnyLayout>) { held_.hear(news); }
    bool wants_surprisals() const { return held_.wants_surprisals(); }
    bool wants_attention() const { return held_.wants_attention(); }
    bool looks_at_evaluated() const { return held_.looks_at_evaluated(); }

private:
    AsideOptions beside_;
    detail::ErasedPolicy<detail::PlainCall, void, const LayoutParts&, TokenBuffer&> held_;
};

/// Any KVReuse.
class AnyReuse {
public:
    /// Holds KeepCommonPrefix, the default of its slot.
    AnyReuse() : AnyReuse(KeepCommonPrefix{}) {}

    /// Holds a rule of reuse; copies have copies of it, or refer to the same one if it is a `std::ref`.
    template <class P>
        requires(!std::same_as<P, AnyReuse>)
    explicit AnyReuse(P policy)
        : moves_text_(moves_text_of(members::unwrap(policy))),
          held_(detail::fitting<detail::FittingReuse<members::Unwrapped<P>>, KeepCommonPrefix>(std::move(policy))) {
        static_assert(detail::checked_reuse<members::Unwrapped<P>>());
    }
    std::size_t operator()(TokenSpan held, TokenSpan wanted) const { return held_.call(held, wanted); }
    bool moves_text() const noexcept { return moves_text_; }
    void reset() { held_.hear(detail::News::start()); }
    void rewind(std::size_t tokens) { held_.hear(detail::News::rewind(tokens)); }
    void pass_on(detail::News& news, std::type_identity<AnyReuse>) { held_.hear(news); }
    bool wants_surprisals() const { return held_.wants_surprisals(); }
    bool wants_attention() const { return held_.wants_attention(); }
    bool looks_at_evaluated() const { return held_.looks_at_evaluated(); }

private:
    bool moves_text_;
    detail::ErasedPolicy<detail::CountCall, std::size_t, TokenSpan, TokenSpan> held_;
};

/// Any Overflow.
class AnyOverflow {
public:
    /// Holds StopWhenFull, the default of its slot.
    AnyOverflow() : AnyOverflow(StopWhenFull{}) {}

    /// Holds a rule for a full window; copies have copies of it, or refer to the same one if it is a `std::ref`.
    template <class P>
        requires(!std::same_as<P, AnyOverflow>)
    explicit AnyOverflow(P policy)
        : rotation_(rotation_of(members::unwrap(policy))),
          held_(detail::fitting<detail::FittingOverflow<members::Unwrapped<P>>, StopWhenFull>(std::move(policy))) {
        static_assert(detail::checked_overflow<members::Unwrapped<P>>());
    }
    std::size_t operator()(const FullWindow& full) const { return held_.call(full, false); }
    std::size_t shorten(const FullWindow& full) const { return held_.call(full, true); }
    Rotation rotation() const noexcept { return rotation_; }
    void reset() { held_.hear(detail::News::start()); }
    void rewind(std::size_t tokens) { held_.hear(detail::News::rewind(tokens)); }
    void pass_on(detail::News& news, std::type_identity<AnyOverflow>) { held_.hear(news); }
    bool wants_surprisals() const { return held_.wants_surprisals(); }
    bool wants_attention() const { return held_.wants_attention(); }
    bool looks_at_evaluated() const { return held_.looks_at_evaluated(); }

private:
    Rotation rotation_;
    detail::ErasedPolicy<detail::OverflowCall, std::size_t, const FullWindow&, bool> held_;
};

/// Any Sampler.
class AnySampler {
public:
    /// Holds Greedy, the default of its slot.
    AnySampler() : AnySampler(Greedy{}) {}

    /// Holds a sampler; copies have copies of it, or refer to the same one if it is a `std::ref`.
    template <class P>
        requires(!std::same_as<P, AnySampler>)
    explicit AnySampler(P policy)
        : held_(detail::fitting<detail::FittingSampler<members::Unwrapped<P>>, Greedy>(std::move(policy))) {
        static_assert(detail::checked_sampler<members::Unwrapped<P>>());
    }
    TokenId operator()(std::span<const float> logits, const StepView& step) { return held_.call(logits, step); }
    void reset() { held_.hear(detail::News::start()); }
    void rewind(std::size_t tokens) { held_.hear(detail::News::rewind(tokens)); }
    void pass_on(detail::News& news, std::type_identity<AnySampler>) { held_.hear(news); }
    bool wants_surprisals() const { return held_.wants_surprisals(); }
    bool wants_attention() const { return held_.wants_attention(); }
    bool looks_at_evaluated() const { return held_.looks_at_evaluated(); }

private:
    detail::ErasedPolicy<detail::SamplerCall, TokenId, std::span<const float>, const StepView&> held_;
};

/// Any StoppingCriterion.
class AnyStopping {
public:
    /// Holds NeverStop, the default of its slot.
    AnyStopping() : AnyStopping(NeverStop{}) {}

    /// Holds a stopping criterion; copies have copies of it, or refer to the same one if it is a `std::ref`.
    template <class P>
        requires(!std::same_as<P, AnyStopping>)
    explicit AnyStopping(P policy)
        : held_(detail::fitting<detail::FittingStopping<members::Unwrapped<P>>, NeverStop>(std::move(policy))) {
        static_assert(detail::checked_stopping<members::Unwrapped<P>>());
    }
    bool operator()(const StepView& step) { return held_.call(step); }
    void reset() { held_.hear(detail::News::start()); }
    void rewind(std::size_t tokens) { held_.hear(detail::News::rewind(tokens)); }
    void pass_on(detail::News& news, std::type_identity<AnyStopping>) { held_.hear(news); }
    bool wants_surprisals() const { return held_.wants_surprisals(); }
    bool wants_attention() const { return held_.wants_attention(); }
    bool looks_at_evaluated() const { return held_.looks_at_evaluated(); }

private:
    detail::ErasedPolicy<detail::PlainCall, bool, const StepView&> held_;
};

}  // namespace flashback::inline FLASHBACK_ISA
