/// \file Makes policies of their names.
#pragma once

#include "flashback/policy/backoff.hpp"
#include "flashback/policy/budget.hpp"
#include "flashback/policy/detail/method_tree.hpp"
#include "flashback/policy/detail/schedule_names.hpp"
#include "flashback/policy/model_queries.hpp"
#include "flashback/policy/parse_schedule.hpp"
#include "flashback/policy/self_rag.hpp"
#include "flashback/policy/sentence.hpp"
#include "flashback/policy/thresholds.hpp"

#include <optional>
#include <string_view>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA::detail {

/// Makes policies of what was read. A text is there if a name needs one.
class MethodBuilder {
public:
    explicit MethodBuilder(const std::optional<AnyText>& text) : text_(text) {}

    AnyQuery query(const NamedPolicy& named) const {
        switch (named.entry->kind) {
            case Named::last_sentence: return AnyQuery{LastSentence{sentences(), named.count(0)}};
            case Named::masked: return AnyQuery{MaskedDraft{named.numbers[0]}};
            case Named::attention: return AnyQuery{AttentionTopN{named.count(0), words()}};
            default: return AnyQuery{LastNTokens{named.count(0)}};
        }
    }

    AnyMethod method(const NamedPolicy& named) const {
        switch (named.entry->kind) {
            case Named::flare: return AnyMethod{Flare{sentences(), {named.numbers[0], named.numbers[1], named.count(2)}}};
            case Named::dragin:
                return AnyMethod{Dragin{sentences(), words(), {named.numbers[0], named.count(1), named.count(2)}}};
            case Named::etc: return AnyMethod{Etc{words(), {named.numbers[0], named.count(1)}}};
            case Named::ircot: return AnyMethod{IrCot{sentences(), AnswerPhrase{*text_}, {named.count(0)}}};
            case Named::any: return AnyMethod{MethodGroup{MethodGroup::Takes::strongest, parts(named)}};
            case Named::all: return AnyMethod{MethodGroup{MethodGroup::Takes::weakest, parts(named)}};
            case Named::at_most: return within(AtMost{named.count(0), ScheduleOf{method(named.parts.front())}});
            case Named::budget:
                return within(WithinBudget{named.numbers[0], ScheduleOf{method(named.parts.front())}, named.count(1)});
            default: return AnyMethod{schedule(named), AnyQuery{LastNTokens{32}}};
        }
    }

private:
    AnySchedule schedule(const NamedPolicy& named) const {
        const double number = named.numbers[0];
        switch (named.entry->kind) {
            case Named::once: return AnySchedule{Once{}};
            case Named::stride: return AnySchedule{EveryNTokens{named.count(0)}};
            case Named::entropy: return AnySchedule{OnEntropy{number, named.count(1)}};
            case Named::surprisal: return AnySchedule{OnSurprisal{number, named.count(1)}};
            case Named::margin: return AnySchedule{OnMargin{number, named.count(1)}};
            case Named::entropy_z: return AnySchedule{OnUnusualEntropy{number, named.count(1), named.count(2)}};
            case Named::surprisal_z: return AnySchedule{OnUnusualSurprisal{number, named.count(1), named.count(2)}};
            case Named::margin_z: return AnySchedule{OnUnusualMargin{number, named.count(1), named.count(2)}};
            case Named::backoff: return AnySchedule{Backoff{named.count(0), named.count(1)}};
            case Named::sentence: return AnySchedule{EverySentence{sentences()}};
            case Named::self_rag:
                return AnySchedule{ReflectionRatio{sentences(),
                                                   {.retrieve = static_cast<TokenId>(named.count(0)),
                                                    .no_retrieve = static_cast<TokenId>(named.count(1)),
                                                    .delta = named.numbers[2]}}};
            default: return AnySchedule{Never{}};
        }
    }

    template <class Schedule>
    static AnyMethod within(Schedule bounded) {
        return AnyMethod{MethodWithin<Schedule>{std::move(bounded)}};
    }
    std::vector<AnyMethod> parts(const NamedPolicy& named) const {
        std::vector<AnyMethod> all;
        for (const NamedPolicy& part : named.parts) all.push_back(method(part));
        return all;
    }
    SentenceByPiece<AnyText> sentences() const { return SentenceByPiece{*text_}; }
    ContentWords<AnyText> words() const { return ContentWords{*text_}; }

    const std::optional<AnyText>& text_;
};

/// Whether a method is part of it that makes its queries itself.
inline bool asks_itself(const NamedPolicy& named) {
    switch (named.entry->kind) {
        case Named::flare:
        case Named::dragin:
        case Named::etc:
        case Named::ircot: return true;
        default: break;
    }
    for (const NamedPolicy& part : named.parts)
        if (asks_itself(part)) return true;
    return false;
}

FLASHBACK_DETAIL_ONCE AnyQuery read_query(std::string_view text, const std::optional<AnyText>& text_of) {
    return MethodBuilder{text_of}.query(read_policy("query", text, query_names, text_of.has_value()));
}

FLASHBACK_DETAIL_ONCE AnySchedule read_schedule(std::string_view text, const std::optional<AnyText>& text_of) {
    return AnySchedule{
        ScheduleOf{MethodBuilder{text_of}.method(read_policy("schedule", text, schedule_names, text_of.has_value()))}};
}

FLASHBACK_DETAIL_ONCE AnyMethod read_method(std::string_view schedule, std::string_view query,
                                            const std::optional<AnyText>& text_of) {
    const MethodBuilder builder{text_of};
    const NamedPolicy when = read_policy("schedule", schedule, schedule_names, text_of.has_value());
    MethodText text;
    write(when, text.schedule);
    FLASHBACK_ASSERT(text.schedule.size() <= TextReader::most_characters, "a schedule is written in ", text.schedule.size(),
                     " characters with all its constants, expected at most ", TextReader::most_characters);
    if (query.empty() && asks_itself(when)) return AnyMethod{builder.method(when), std::move(text)};
    const NamedPolicy what = read_policy("query", query.empty() ? "last:32" : query, query_names, text_of.has_value());
    write(what, text.query);
    return AnyMethod{AnySchedule{ScheduleOf{builder.method(when)}}, builder.query(what), std::move(text)};
}

}  // namespace flashback::inline FLASHBACK_ISA::detail
