/// \file Policies that are chosen at run time: one type for all models of a role. The flags of a program then do not multiply
/// the instantiations of its decoder.
#pragma once

#include "flashback/policy/policies.hpp"

#include <concepts>
#include <cstddef>
#include <memory>
#include <type_traits>
#include <utility>

namespace flashback::inline FLASHBACK_ISA {

namespace detail {

/// A copyable holder of any callable, and of the optional members that policies have. Needs no run-time type information.
template <class Result, class... Args>
class ErasedPolicy {
public:
    template <class P>
    explicit ErasedPolicy(P policy) : held_(std::make_unique<Model<P>>(std::move(policy))) {}
    ErasedPolicy(const ErasedPolicy& other) : held_(other.held_ ? other.held_->clone() : nullptr) {}
    ErasedPolicy(ErasedPolicy&&) noexcept = default;
    ErasedPolicy& operator=(ErasedPolicy other) noexcept {
        held_ = std::move(other.held_);
        return *this;
    }
    ~ErasedPolicy() = default;

    Result call(Args... args) const { return held().call(args...); }
    TokenSpan markers() const { return held().markers(); }
    void reset() { held().reset(); }
    void rewind(std::size_t tokens) { held().rewind(tokens); }

private:
    struct Interface {
        Interface() = default;
        Interface(const Interface&) = delete;
        Interface& operator=(const Interface&) = delete;
        virtual ~Interface() = default;
        virtual std::unique_ptr<Interface> clone() const = 0;
        virtual Result call(Args... args) = 0;
        virtual TokenSpan markers() const = 0;
        virtual void reset() = 0;
        virtual void rewind(std::size_t tokens) = 0;
    };

    template <class P>
    struct Model final : Interface {
        explicit Model(P p) : policy(std::move(p)) {}
        std::unique_ptr<Interface> clone() const override { return std::make_unique<Model>(policy); }
        Result call(Args... args) override {
            if constexpr (std::is_void_v<Result>) {
                policy(args...);
            } else if constexpr (std::invocable<P&, Args...>) {
                return static_cast<Result>(policy(args...));
            } else {
                return static_cast<Result>(policy(std::get<0>(std::tie(args...))));  // a sampler that needs the logits only
            }
        }
        TokenSpan markers() const override {
            if constexpr (requires {
                              { policy.markers() } -> std::convertible_to<TokenSpan>;
                          }) {
                return policy.markers();
            } else {
                return {};
            }
        }
        void reset() override { reset_policy(policy); }
        void rewind(std::size_t tokens) override {
            if constexpr (requires { policy.rewind(tokens); }) policy.rewind(tokens);
        }

        P policy;
    };

    Interface& held() const {
        FLASHBACK_ASSERT(held_ != nullptr, "a policy was used after it was moved from");
        return *held_;
    }

    std::unique_ptr<Interface> held_;
};

/// The policy; for one that does not fit, and was refused in words, the default of its role: that refusal is the only error.
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

    /// Holds a schedule; copies have copies of it.
    template <class S>
        requires(!std::same_as<S, AnySchedule>)
    explicit AnySchedule(S schedule) : held_(detail::fitting<RetrievalSchedule<S>, EveryNTokens>(std::move(schedule))) {
        static_assert(detail::checked_schedule<S>());
    }
    Decision operator()(const StepView& step) { return held_.call(step); }
    void reset() { held_.reset(); }

private:
    detail::ErasedPolicy<Decision, const StepView&> held_;
};

/// Any QueryBuilder.
class AnyQuery {
public:
    /// Holds LastNTokens{32}, the default of its slot.
    AnyQuery() : AnyQuery(LastNTokens{}) {}

    /// Holds a query builder; copies have copies of it.
    template <class Q>
        requires(!std::same_as<Q, AnyQuery>)
    explicit AnyQuery(Q query) : held_(detail::fitting<QueryBuilder<Q>, LastNTokens>(std::move(query))) {
        static_assert(detail::checked_query<Q>());
    }
    Query operator()(const StepView& step) { return held_.call(step); }
    void reset() { held_.reset(); }

private:
    detail::ErasedPolicy<Query, const StepView&> held_;
};

/// Any MarkerWrapper.
class AnyWrapper {
public:
    /// Holds NoMarkers, the default of its slot.
    AnyWrapper() : AnyWrapper(NoMarkers{}) {}

    /// Holds a wrapper; copies have copies of it.
    template <class W>
        requires(!std::same_as<W, AnyWrapper>)
    explicit AnyWrapper(W wrapper) : held_(detail::fitting<MarkerWrapper<W>, NoMarkers>(std::move(wrapper))) {
        static_assert(detail::checked_wrapper<W>());
    }
    void operator()(TokenSpan passage, TokenBuffer& out) const { held_.call(passage, out); }
    TokenSpan markers() const { return held_.markers(); }
    void reset() { held_.reset(); }

private:
    detail::ErasedPolicy<void, TokenSpan, TokenBuffer&> held_;
};

/// Any ContextLayout.
class AnyLayout {
public:
    /// Holds AppendDocuments, the default of its slot.
    AnyLayout() : AnyLayout(AppendDocuments{}) {}

    /// Holds a layout; copies have copies of it.
    template <class L>
        requires(!std::same_as<L, AnyLayout>)
    explicit AnyLayout(L layout) : held_(detail::fitting<ContextLayout<L>, AppendDocuments>(std::move(layout))) {
        static_assert(detail::checked_layout<L>());
    }
    void operator()(const LayoutParts& parts, TokenBuffer& out) const { held_.call(parts, out); }
    void reset() { held_.reset(); }

private:
    detail::ErasedPolicy<void, const LayoutParts&, TokenBuffer&> held_;
};

/// Any KVReuse.
class AnyReuse {
public:
    /// Holds KeepCommonPrefix, the default of its slot.
    AnyReuse() : AnyReuse(KeepCommonPrefix{}) {}

    /// Holds a rule of reuse; copies have copies of it.
    template <class R>
        requires(!std::same_as<R, AnyReuse>)
    explicit AnyReuse(R reuse) : held_(detail::fitting<KVReuse<R>, KeepCommonPrefix>(std::move(reuse))) {
        static_assert(detail::checked_reuse<R>());
    }
    std::size_t operator()(TokenSpan held, TokenSpan wanted) const { return held_.call(held, wanted); }
    void reset() { held_.reset(); }

private:
    detail::ErasedPolicy<std::size_t, TokenSpan, TokenSpan> held_;
};

/// Any Overflow.
class AnyOverflow {
public:
    /// Holds StopWhenFull, the default of its slot.
    AnyOverflow() : AnyOverflow(StopWhenFull{}) {}

    /// Holds a rule for a full window; copies have copies of it.
    template <class O>
        requires(!std::same_as<O, AnyOverflow>)
    explicit AnyOverflow(O overflow) : held_(detail::fitting<Overflow<O>, StopWhenFull>(std::move(overflow))) {
        static_assert(detail::checked_overflow<O>());
    }
    std::size_t operator()(const FullWindow& full) const { return held_.call(full); }
    void reset() { held_.reset(); }

private:
    detail::ErasedPolicy<std::size_t, const FullWindow&> held_;
};

/// Any Sampler.
class AnySampler {
public:
    /// Holds Greedy, the default of its slot.
    AnySampler() : AnySampler(Greedy{}) {}

    /// Holds a sampler; copies have copies of it.
    template <class S>
        requires(!std::same_as<S, AnySampler>)
    explicit AnySampler(S sampler) : held_(detail::fitting<Sampler<S>, Greedy>(std::move(sampler))) {
        static_assert(detail::checked_sampler<S>());
    }
    TokenId operator()(std::span<const float> logits, const StepView& step) { return held_.call(logits, step); }
    void reset() { held_.reset(); }

private:
    detail::ErasedPolicy<TokenId, std::span<const float>, const StepView&> held_;
};

/// Any StoppingCriterion.
class AnyStopping {
public:
    /// Holds NeverStop, the default of its slot.
    AnyStopping() : AnyStopping(NeverStop{}) {}

    /// Holds a stopping criterion; copies have copies of it.
    template <class S>
        requires(!std::same_as<S, AnyStopping>)
    explicit AnyStopping(S stopping) : held_(detail::fitting<StoppingCriterion<S>, NeverStop>(std::move(stopping))) {
        static_assert(detail::checked_stopping<S>());
    }
    bool operator()(const StepView& step) { return held_.call(step); }
    void reset() { held_.reset(); }
    void rewind(std::size_t tokens) { held_.rewind(tokens); }

private:
    detail::ErasedPolicy<bool, const StepView&> held_;
};

}  // namespace flashback::inline FLASHBACK_ISA
