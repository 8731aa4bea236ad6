/// \file Methods that are chosen at run time: one type for all that say when to retrieve and what to search for.
#pragma once

#include "flashback/policy/any_policy.hpp"

#include <concepts>
#include <cstddef>
#include <string>
#include <type_traits>
#include <utility>

namespace flashback::inline FLASHBACK_ISA {

/// How a method is written for `parse_method`, with all its constants, so that a result can print it.
struct MethodText {
    std::string schedule = {};  ///< when it retrieves
    std::string query = {};     ///< empty if the method makes its queries itself

    bool operator==(const MethodText&) const = default;
};

namespace detail {

/// A method calls two members; which one, the argument says: a query, if there is room for one.
struct MethodCall {
    template <class M>
    static Decision call(M& method, const StepView& step, OwnedQuery* query) {
        if (query == nullptr) return method.schedule(step);
        query->assign(method.query(step));
        return Decision::go_on();
    }
};

/// Two policies as one method.
struct ScheduleAndQuery {
    AnySchedule when;
    AnyQuery what;

    Decision schedule(const StepView& step) { return when(step); }
    Query query(const StepView& step) { return what(step); }
    Decision at_end(const StepView& step, StopReason reason) { return when.at_end(step, reason); }
    bool looks_at_ends() const { return when.looks_at_ends(); }
    void reset() { pass_on(News::start()); }
    void rewind(std::size_t tokens) { pass_on(News::rewind(tokens)); }
    void pass_on(News&& news) { pass_on(news, {}); }
    void pass_on(News& news, std::type_identity<ScheduleAndQuery>) {
        news.tell(when);
        news.tell(what);
    }
    bool wants_surprisals() const { return when.wants_surprisals() || what.wants_surprisals(); }
    bool wants_attention() const { return when.wants_attention() || what.wants_attention(); }
    bool looks_at_evaluated() const { return when.looks_at_evaluated() || what.looks_at_evaluated(); }
};

/// A method that fills the slots of schedule and query, and no other.
template <class M>
concept SaysWhenAndWhat = filled_slots<M>
== (ScheduleSlot::bit | QuerySlot::bit);

/// Refuses, in words, what AnyMethod does not hold.
template <class M>
constexpr bool checked_any_method() {
    if constexpr (checked_method<M>() && filled_slots<M> != 0) {
        static_assert(
            SaysWhenAndWhat<M>,
            "flashback: AnyMethod holds a method that has schedule and query, and nothing for other slots: make it of "
            "AnySchedule and AnyQuery, or put the others into slots of their own");
    }
    return true;
}

}  // namespace detail

/// Any method that says when to retrieve and what to search for, such as Flare, or a schedule and a query builder as one. It is
/// for `Policies::method`, where it fills both slots.
class AnyMethod {
public:
    /// Holds EveryNTokens{16} and LastNTokens{32}, the defaults of the slots.
    AnyMethod() : AnyMethod(AnySchedule{}, AnyQuery{}, {"stride:16", "last:32"}) {}

    /// Holds a method; copies have copies of it, or refer to the same one if it is a `std::ref`. `text` is what results print.
    template <class M>
        requires(!std::same_as<M, AnyMethod>)
    explicit AnyMethod(M method, MethodText text = {})
        : held_(detail::fitting<detail::SaysWhenAndWhat<members::Unwrapped<M>>, detail::ScheduleAndQuery>(std::move(method))),
          text_(std::move(text)) {
        static_assert(detail::checked_any_method<members::Unwrapped<M>>());
    }

    /// Holds a schedule and a query builder.
    AnyMethod(AnySchedule schedule, AnyQuery query, MethodText text = {})
        : AnyMethod(detail::ScheduleAndQuery{std::move(schedule), std::move(query)}, std::move(text)) {}

    /// The same as another, with that text.
    AnyMethod(AnyMethod other, MethodText text) : AnyMethod(std::move(other)) { text_ = std::move(text); }

    Decision schedule(const StepView& step) { return held_.call(step, nullptr); }
    /// The query; valid until the next call.
    Query query(const StepView& step) {
        held_.call(step, &query_);
        return query_.view();
    }
    Decision at_end(const StepView& step, StopReason reason) { return held_.at_end(step, reason); }
    /// Whether the method has an `at_end`.
    bool looks_at_ends() const { return held_.looks_at_ends(); }
    void reset() { held_.hear(detail::News::start()); }
    void rewind(std::size_t tokens) { held_.hear(detail::News::rewind(tokens)); }
    void pass_on(detail::News& news, std::type_identity<AnyMethod>) { held_.hear(news); }
    bool wants_surprisals() const { return held_.wants_surprisals(); }
    bool wants_attention() const { return held_.wants_attention(); }
    bool looks_at_evaluated() const { return held_.looks_at_evaluated(); }

    /// How it is written; empty if nobody said so.
    const MethodText& text() const noexcept { return text_; }

private:
    detail::ErasedPolicy<detail::MethodCall, Decision, const StepView&, OwnedQuery*> held_;
    OwnedQuery query_;
    MethodText text_;
};

}  // namespace flashback::inline FLASHBACK_ISA
