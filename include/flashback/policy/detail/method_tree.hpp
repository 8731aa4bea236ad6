/// \file Methods made of methods, as many as a text names.
#pragma once

#include "flashback/policy/any_method.hpp"
#include "flashback/policy/budget.hpp"
#include "flashback/policy/combined_schedules.hpp"

#include <cstddef>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA::detail {

/// A method as a schedule.
struct ScheduleOf {
    AnyMethod method;

    Decision operator()(const StepView& step) { return method.schedule(step); }
    Decision at_end(const StepView& step, StopReason reason) { return method.at_end(step, reason); }
    bool looks_at_ends() const { return method.looks_at_ends(); }
    void reset() { method.reset(); }
    void rewind(std::size_t tokens) { method.rewind(tokens); }
    void pass_on(News& news, std::type_identity<ScheduleOf>) { news.tell(method); }
    bool wants_surprisals() const { return method.wants_surprisals(); }
    bool wants_attention() const { return method.wants_attention(); }
    bool looks_at_evaluated() const { return method.looks_at_evaluated(); }
};

/// A schedule around that of a method, such as AtMost<ScheduleOf>, with the method's queries.
template <class Schedule>
struct MethodWithin {
    Schedule bounded;

    Decision schedule(const StepView& step) { return bounded(step); }
    Query query(const StepView& step) { return bounded.inner().method.query(step); }
    Decision at_end(const StepView& step, StopReason reason) { return bounded.at_end(step, reason); }
    bool looks_at_ends() const { return bounded.looks_at_ends(); }
    void reset() { bounded.reset(); }
    void rewind(std::size_t tokens) { bounded.rewind(tokens); }
    void pass_on(News& news, std::type_identity<MethodWithin>) { news.tell(bounded); }
    bool wants_surprisals() const { return bounded.wants_surprisals(); }
    bool wants_attention() const { return bounded.wants_attention(); }
    bool looks_at_evaluated() const { return bounded.looks_at_evaluated(); }
};

/// What AnyOf, or AllOf, makes of schedules, for methods that are known at run time. The query is that of the method which
/// retrieves and takes back most, of several the first; if none retrieves, of the first that prefetches.
class MethodGroup {
public:
    enum class Takes : bool { weakest, strongest };

    MethodGroup(Takes takes, std::vector<AnyMethod> methods) : takes_(takes), methods_(std::move(methods)) {}

    Decision schedule(const StepView& step) {
        std::optional<Decision> all;
        asked_for_ = 0;
        Decision strongest = Decision::go_on();
        for (std::size_t i = 0; i < methods_.size(); ++i) add(methods_[i].schedule(step), i, all, strongest);
        return *all;
    }
    Decision at_end(const StepView& step, StopReason reason) {
        std::optional<Decision> all;
        asked_for_ = 0;
        Decision strongest = Decision::go_on();
        for (std::size_t i = 0; i < methods_.size(); ++i)
            if (methods_[i].looks_at_ends()) add(methods_[i].at_end(step, reason), i, all, strongest);
        return all.value_or(Decision::go_on());
    }
    Query query(const StepView& step) { return methods_[asked_for_].query(step); }
    bool looks_at_ends() const {
        return any([](const AnyMethod& each) { return each.looks_at_ends(); });
    }
    void reset() { tell(News::start()); }
    void rewind(std::size_t tokens) { tell(News::rewind(tokens)); }
    void pass_on(News& news, std::type_identity<MethodGroup>) { tell(news); }
    bool wants_surprisals() const {
        return any([](const AnyMethod& each) { return each.wants_surprisals(); });
    }
    bool wants_attention() const {
        return any([](const AnyMethod& each) { return each.wants_attention(); });
    }
    bool looks_at_evaluated() const {
        return any([](const AnyMethod& each) { return each.looks_at_evaluated(); });
    }

private:
    void add(Decision one, std::size_t i, std::optional<Decision>& all, Decision& strongest) {
        all = !all ? one : takes_ == Takes::strongest ? either(*all, one) : both(*all, one);
        if (!one.retrieves() && !one.prefetches()) return;
        const bool more = one.retrieves() ? !strongest.retrieves() || one.rewind() > strongest.rewind()
                                          : !strongest.retrieves() && !strongest.prefetches();
        if (!more) return;
        strongest = one;
        asked_for_ = i;
    }

    template <class Test>
    bool any(Test test) const {
        for (const AnyMethod& each : methods_)
            if (test(each)) return true;
        return false;
    }
    void tell(News&& news) { tell(news); }
    void tell(News& news) {
        for (AnyMethod& each : methods_) news.tell(each);
    }

    Takes takes_;
    std::vector<AnyMethod> methods_;
    std::size_t asked_for_ = 0;  // whose query it is
};

}  // namespace flashback::inline FLASHBACK_ISA::detail
