/// \file A model on the bench: how the suite makes models, writes texts for them, and compares their logits.
#pragma once

#include "flashback/core/language_model.hpp"
#include "flashback/core/random.hpp"
#include "flashback/testing/detail/suite_runner.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA::testing::detail {

/// How far two rows of logits are apart, and where most.
struct Apart {
    bool same_bits = true;
    double most = 0;
    std::size_t logit = 0;
};

inline Apart apart(std::span<const float> found, std::span<const float> expected) {
    Apart all;
    for (std::size_t i = 0; i < std::min(found.size(), expected.size()); ++i) {
        if (std::bit_cast<std::uint32_t>(found[i]) == std::bit_cast<std::uint32_t>(expected[i])) continue;
        double here = std::abs(double{found[i]} - double{expected[i]});
        if (std::isnan(here)) here = std::numeric_limits<double>::infinity();
        if (all.same_bits || here > all.most) all = {false, here, i};
    }
    if (found.size() != expected.size())
        all = {false, std::numeric_limits<double>::infinity(), std::min(found.size(), expected.size())};
    return all;
}

/// A number in a sentence.
inline std::string in_words(double value) {
    char text[32];
    static_cast<void>(std::snprintf(text, sizeof text, "%.9g", value));
    return text;
}

/// Tokens in a sentence: the first few.
inline std::string in_words(TokenSpan tokens) {
    std::string text = "{";
    for (std::size_t i = 0; i < std::min<std::size_t>(tokens.size(), 6); ++i)
        text += (i > 0 ? ", " : "") + std::to_string(tokens[i]);
    return text + (tokens.size() > 6 ? ", ...}" : "}");
}

/// Joins two runs of tokens.
inline TokenBuffer joined(TokenSpan a, TokenSpan b) {
    TokenBuffer all{a.begin(), a.end()};
    append(all, b);
    return all;
}

/// Something else that a model may have evaluated, and what that would mean.
struct Mistake {
    std::string meaning;
    TokenBuffer held;
};

/// Logits that a model gave, what it held then, and how it came to hold it.
struct Observed {
    std::string when;
    TokenBuffer held;
    std::vector<float> logits;
    std::vector<Mistake> mistakes;
};

/// What a model gave while it was driven. It is compared later: a model that there is only once cannot evaluate the same from
/// scratch meanwhile.
using Observations = std::vector<Observed>;

/// Makes models, and evaluates from scratch what they are compared with.
template <class MakeModel>
class ModelBench {
public:
    using Made = std::invoke_result_t<MakeModel&>;
    using Model = std::remove_cvref_t<Made>;
    /// Whether several models can live at once: a reference is to the one that there is.
    static constexpr bool several = !std::is_lvalue_reference_v<Made>;

    ModelBench(MakeModel& make, double tolerance, std::uint64_t seed) : make_(&make), tolerance_(tolerance), seed_(seed) {}

    /// A model that holds nothing.
    decltype(auto) fresh() {
        if constexpr (several) {
            return (*make_)();
        } else {
            Model& model = (*make_)();
            if (size_of(model) != 0) model.truncate(0);
            return static_cast<Model&>(model);
        }
    }

    static std::size_t size_of(const Model& model) { return static_cast<std::size_t>(model.size()); }

    double tolerance() const noexcept { return tolerance_; }

    /// Looks at a model, once: how large its vocabulary is, and which tokens end no text.
    void look_at(const Model& model) {
        vocab_ = static_cast<std::size_t>(model.vocab_size());
        for (std::size_t i = 0; i < vocab_; ++i)
            if (!is_end_of(model, static_cast<TokenId>(i))) words_.push_back(static_cast<TokenId>(i));
        if (words_.empty()) words_.push_back(0);
    }
    std::size_t vocab() const noexcept { return vocab_; }

    /// The tokens of the text of that number.
    TokenBuffer text(std::uint64_t number, std::size_t length) const {
        SplitMix64 random{random_key(seed_, number)};
        TokenBuffer tokens;
        for (std::size_t i = 0; i < length; ++i)
            tokens.push_back(words_[static_cast<std::size_t>(random.below(words_.size()))]);
        return tokens;
    }

    /// The logits after some tokens, evaluated in one call by a model that held nothing.
    /// Requires  no other model lives, if there is only one
    const std::vector<float>& from_scratch(const TokenBuffer& tokens) {
        const auto known = scratch_.find(tokens);
        if (known != scratch_.end()) return known->second;
        decltype(auto) model = fresh();
        const std::span<const float> logits = model.evaluate(TokenSpan{tokens});
        return scratch_.emplace(tokens, std::vector<float>(logits.begin(), logits.end())).first->second;
    }

    bool within(const Apart& difference) const noexcept {
        return difference.same_bits || (tolerance_ > 0 && difference.most <= tolerance_);
    }
    bool equal(std::span<const float> a, std::span<const float> b) const { return within(apart(a, b)); }

    /// Whether logits are those that they should be; if not, the check fails.
    bool compare(RunningCheck& check, std::span<const float> found, std::span<const float> expected, std::string_view when,
                 std::string_view than = "those of a from-scratch evaluation", std::string_view meaning = {}) {
        const Apart difference = apart(found, expected);
        ++compared_;
        if (!difference.same_bits && difference.most >= worst_.most) {
            worst_ = difference;
            worst_when_ = when;
        }
        if (within(difference)) return true;
        if (found.size() != expected.size())
            return check.fail(when, ", there are ", found.size(), " logits, expected ", expected.size());
        std::string hint;
        if (tolerance_ > 0) {
            hint = " +- " + in_words(tolerance_);
        } else if (difference.most < 1e-3 * (1 + std::abs(double{expected[difference.logit]}))) {
            hint = "; if that is rounding, because kernels are chosen by the size of a batch, the suite needs a tolerance";
        }
        return check.fail(when, ", the logits differ from ", than, " by up to ", in_words(difference.most), " (logit ",
                          difference.logit, " is ", in_words(double{found[difference.logit]}), ", expected ",
                          in_words(double{expected[difference.logit]}), hint, ")", meaning);
    }

    /// Compares all that was seen with evaluations from scratch.
    /// Requires  as from_scratch
    void settle(RunningCheck& check, const Observations& seen) {
        begin();
        for (const Observed& one : seen) {
            const std::vector<float>& expected = from_scratch(one.held);
            std::string meaning;
            if (!equal(one.logits, expected)) {
                for (const Mistake& mistake : one.mistakes) {
                    if (mistake.held.empty() || !meaning.empty() || !equal(one.logits, from_scratch(mistake.held))) continue;
                    meaning = ": " + mistake.meaning;
                }
            }
            compare(check, one.logits, expected, one.when, "those of a from-scratch evaluation", meaning);
        }
        tell(check);
    }

    /// Begins to count comparisons, for `tell`.
    void begin() {
        compared_ = 0;
        worst_ = {};
    }
    /// Says how many comparisons there were, and the worst of them.
    void tell(RunningCheck& check) const {
        if (worst_.same_bits) {
            check.note(compared_, compared_ == 1 ? " row of logits has" : " rows of logits have", " the same bits");
        } else {
            check.note(compared_, " rows of logits; the worst differs by ", in_words(worst_.most), " at logit ", worst_.logit,
                       ", ", worst_when_);
        }
    }

private:
    MakeModel* make_;
    double tolerance_;
    std::uint64_t seed_;
    std::size_t vocab_ = 0;
    TokenBuffer words_;
    std::map<TokenBuffer, std::vector<float>> scratch_;
    std::size_t compared_ = 0;
    Apart worst_;
    std::string worst_when_;
};

/// A model and what it should hold: everything that it is told is noted with the logits that it gives.
template <class Model>
class Driven {
public:
    explicit Driven(Model& model, Observations& seen, std::string_view name = {}) : model_(&model), seen_(&seen), name_(name) {}

    Model& model() noexcept { return *model_; }
    const TokenBuffer& held() const noexcept { return held_; }

    /// Evaluates, and notes the logits.
    void evaluate(TokenSpan tokens, std::string_view when, std::vector<Mistake> mistakes = {}) {
        const std::span<const float> logits = model_->evaluate(tokens);
        note(tokens, logits, when, std::move(mistakes));
    }
    /// Notes logits that were given for tokens.
    void note(TokenSpan tokens, std::span<const float> logits, std::string_view when, std::vector<Mistake> mistakes = {}) {
        append(held_, tokens);
        for (Mistake& mistake : mistakes) append(mistake.held, tokens);
        seen_->push_back({words(name_, when), held_, {logits.begin(), logits.end()}, std::move(mistakes)});
    }
    void truncate(std::size_t length) {
        model_->truncate(length);
        held_.resize(length);
    }
    /// A second model that holds the same.
    void holds(const TokenBuffer& tokens) { held_ = tokens; }

private:
    Model* model_;
    Observations* seen_;
    std::string name_;
    TokenBuffer held_;
};

}  // namespace flashback::inline FLASHBACK_ISA::testing::detail
