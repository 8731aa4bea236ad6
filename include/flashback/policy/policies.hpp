/// \file All policies of a decoder in one value.
#pragma once

#include "flashback/fwd.hpp"
#include "flashback/policy/layout.hpp"
#include "flashback/policy/query.hpp"
#include "flashback/policy/reuse.hpp"
#include "flashback/policy/sampler.hpp"
#include "flashback/policy/schedule.hpp"
#include "flashback/policy/wrapper.hpp"

#include <utility>

namespace flashback::inline FLASHBACK_ISA {

/// The policies of a decoder, one slot each; the defaults are FlashBack's, without markers.
///
/// Each slot has a setter that gives a new value with that slot replaced, and a getter of the same name:
///
///     auto policies = Policies{}.schedule(EveryNTokens{16}).layout(AppendDocuments{});
///
/// | slot       | concept             | default            | decides                                    |
/// |------------|---------------------|--------------------|--------------------------------------------|
/// | `schedule` | `RetrievalSchedule` | `EveryNTokens{16}` | when to retrieve                           |
/// | `query`    | `QueryBuilder`      | `LastNTokens{32}`  | what to search for                         |
/// | `wrapper`  | `MarkerWrapper`     | `NoMarkers`        | what stands around a passage               |
/// | `layout`   | `ContextLayout`     | `AppendDocuments`  | where passages stand                       |
/// | `reuse`    | `KVReuse`           | `KeepCommonPrefix` | what of the KV cache is kept               |
/// | `sampler`  | `Sampler`           | `Greedy`           | how a token is taken from logits           |
template <class Schedule, class QueryFrom, class Wrapper, class Layout, class Reuse, class Sampling>
class Policies {
public:
    constexpr Policies() = default;
    constexpr Policies(Schedule schedule, QueryFrom query, Wrapper wrapper, Layout layout, Reuse reuse, Sampling sampler)
        : schedule_(std::move(schedule)),
          query_(std::move(query)),
          wrapper_(std::move(wrapper)),
          layout_(std::move(layout)),
          reuse_(std::move(reuse)),
          sampler_(std::move(sampler)) {}

    constexpr Schedule& schedule() noexcept { return schedule_; }
    constexpr const Schedule& schedule() const noexcept { return schedule_; }
    constexpr QueryFrom& query() noexcept { return query_; }
    constexpr const QueryFrom& query() const noexcept { return query_; }
    constexpr const Wrapper& wrapper() const noexcept { return wrapper_; }
    constexpr const Layout& layout() const noexcept { return layout_; }
    constexpr const Reuse& reuse() const noexcept { return reuse_; }
    constexpr Sampling& sampler() noexcept { return sampler_; }
    constexpr const Sampling& sampler() const noexcept { return sampler_; }

    /// These policies with another schedule.
    template <class S>
    constexpr auto schedule(S schedule) const {
        static_assert(RetrievalSchedule<S>,
                      "flashback: a RetrievalSchedule must be callable as schedule(const StepView&) and return bool");
        return Policies<S, QueryFrom, Wrapper, Layout, Reuse, Sampling>{
            std::move(schedule), query_, wrapper_, layout_, reuse_, sampler_};
    }

    /// These policies with another query builder.
    template <class Q>
    constexpr auto query(Q query) const {
        static_assert(QueryBuilder<Q>,
                      "flashback: a QueryBuilder must be callable as builder(const StepView&) and return Query");
        return Policies<Schedule, Q, Wrapper, Layout, Reuse, Sampling>{schedule_, std::move(query), wrapper_,
                                                                       layout_,   reuse_,           sampler_};
    }

    /// These policies with another wrapper.
    template <class W>
    constexpr auto wrapper(W wrapper) const {
        static_assert(
            MarkerWrapper<W>,
            "flashback: a MarkerWrapper must be callable, when const, as wrapper(TokenSpan passage, TokenBuffer& out)");
        return Policies<Schedule, QueryFrom, W, Layout, Reuse, Sampling>{schedule_, query_, std::move(wrapper),
                                                                         layout_,   reuse_, sampler_};
    }

    /// These policies with another layout.
    template <class L>
    constexpr auto layout(L layout) const {
        static_assert(
            ContextLayout<L>,
            "flashback: a ContextLayout must be callable, when const, as layout(const LayoutParts&, TokenBuffer& out)");
        return Policies<Schedule, QueryFrom, Wrapper, L, Reuse, Sampling>{schedule_,         query_, wrapper_,
                                                                          std::move(layout), reuse_, sampler_};
    }

    /// These policies with another rule of reuse.
    template <class R>
    constexpr auto reuse(R reuse) const {
        static_assert(KVReuse<R>,
                      "flashback: a KVReuse must be callable, when const, as reuse(TokenSpan held, TokenSpan wanted) and "
                      "return a length");
        return Policies<Schedule, QueryFrom, Wrapper, Layout, R, Sampling>{schedule_, query_,           wrapper_,
                                                                           layout_,   std::move(reuse), sampler_};
    }

    /// These policies with another sampler.
    template <class S>
    constexpr auto sampler(S sampler) const {
        static_assert(Sampler<S>,
                      "flashback: a Sampler must be callable as sampler(std::span<const float> logits) and return TokenId");
        return Policies<Schedule, QueryFrom, Wrapper, Layout, Reuse, S>{schedule_, query_, wrapper_,
                                                                        layout_,   reuse_, std::move(sampler)};
    }

    /// Calls `reset()` of every policy that has one: the start of a generation.
    constexpr void reset() {
        reset_one(schedule_);
        reset_one(query_);
        reset_one(sampler_);
    }

private:
    template <class P>
    static constexpr void reset_one(P& policy) {
        if constexpr (requires { policy.reset(); }) policy.reset();
    }

    FLASHBACK_NO_UNIQUE_ADDRESS Schedule schedule_{};
    FLASHBACK_NO_UNIQUE_ADDRESS QueryFrom query_{};
    FLASHBACK_NO_UNIQUE_ADDRESS Wrapper wrapper_{};
    FLASHBACK_NO_UNIQUE_ADDRESS Layout layout_{};
    FLASHBACK_NO_UNIQUE_ADDRESS Reuse reuse_{};
    FLASHBACK_NO_UNIQUE_ADDRESS Sampling sampler_{};
};

}  // namespace flashback::inline FLASHBACK_ISA
