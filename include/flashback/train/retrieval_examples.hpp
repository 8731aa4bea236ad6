/// \file Training examples with retrieved passages, laid out by the policies that decode.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/tokens.hpp"
#include "flashback/eval/retrieval_strides.hpp"
#include "flashback/policy/random.hpp"
#include "flashback/train/detail/dropout.hpp"
#include "flashback/train/example.hpp"

#include <cstddef>
#include <cstdint>
#include <numeric>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// How training walks through a text: every stride has its own context, uniform from half the window to all that a stride leaves of
/// it; 256 to 495 tokens in a window of 512.
/// Source    FlashBack (arXiv 2405.04065), data_prepare.py of the official code, context sampling
inline StrideOptions training_strides(std::size_t window, std::uint64_t seed, StrideOptions options = {}) {
    FLASHBACK_ASSERT(window / 2 > 0 && options.stride + 1 + window / 2 <= window, "a window of ", window,
                     " tokens is too short for examples with strides of ", options.stride);
    options.init = window;
    options.context = window / 2;
    options.most_context = window - options.stride - 1;
    options.seed = seed;
    return options;
}

/// Examples by their number, each made when it is asked for: head, context and passages as the policies lay them out, and the
/// tokens of the stride, which are the targets. Passages take room from the context: both together have the length that the stride
/// was given; where head and markers do not fit into the window beside that, the oldest tokens of the context go.
///
/// Prepare the strides once with `retrieve_strides` or `cached_strides`: they serve every layout and wrapper.
/// Requires  the text lives as long; threads may ask for examples at once, if they may call the policies at once
/// Source    FlashBack (arXiv 2405.04065), section 3.3, and data_prepare.py and run.py of the official code
template <class P>
class RetrievalExamples {
public:
    /// `policies` has wrapper(), layout() and reuse(), as Policies has; `window` is the most tokens of an example.
    /// Throws    Error{contract} for no strides or strides that are not of this text, Error{window} if one leaves no room for text
    RetrievalExamples(TokenSpan text, RetrievedStrides strides, P policies, TokenSpan head, std::size_t window)
        : text_(text),
          strides_(std::move(strides)),
          policies_(std::move(policies)),
          head_(head.begin(), head.end()),
          window_(window) {
        FLASHBACK_ASSERT(strides_.size() > 0, "no strides to make training examples of, expected at least one");
        FLASHBACK_ASSERT(window_ > 0, "training examples of at most 0 tokens, expected the window of a model");
        for (std::size_t i = 0; i < strides_.size(); ++i) {
            detail::check_within(text_, strides_[i], strides_.stride());
            static_cast<void>((*this)[i]);
        }
    }

    std::size_t size() const noexcept { return strides_.size(); }

    /// Requires  i < size()
    /// Cost      a copy of its tokens
    TrainingExample operator[](std::size_t i) const {
        const RetrievedStride stride = strides_[i];
        const std::size_t targets = strides_.stride();
        PlanScratch scratch;
        const StrideLayout layout{head_, /*passages_replace_text=*/true, window_};
        TokenBuffer tokens;
        {
            const ContextPlan plan = plan_stride(policies_, {}, text_, stride, targets, layout, scratch);
            tokens.reserve(plan.wanted.size() + targets);
            append(tokens, plan.wanted);
        }
        append(tokens, text_.subspan(stride.at, targets));
        return predict_last(std::move(tokens), targets);
    }

private:
    TokenSpan text_;
    RetrievedStrides strides_;
    P policies_;
    TokenBuffer head_;
    std::size_t window_;
};

/// The order of training: a sequence without end that goes through `count` examples in a new random order each time. What stands at
/// a place depends on seed and place alone, so that a run can go on anywhere.
/// Source    Fisher and Yates 1938, Durstenfeld 1964, for each order
class ExampleOrder {
public:
    /// Throws    Error{contract} if there are no examples
    ExampleOrder(std::size_t count, std::uint64_t seed) : seed_(seed), order_(count) {
        FLASHBACK_ASSERT(count > 0, "an order of 0 examples, expected at least one");
        shuffle(0);
    }

    /// The number of the example at a place.
    /// Cost      O(1); O(count) where the place is in another pass than the one before
    std::size_t operator()(std::uint64_t place) {
        const std::uint64_t pass = place / order_.size();
        if (pass != pass_) shuffle(pass);
        return order_[place % order_.size()];
    }

private:
    void shuffle(std::uint64_t pass) {
        std::iota(order_.begin(), order_.end(), std::size_t{0});
        SplitMix64 random{detail::random_key(seed_, pass)};
        for (std::size_t i = order_.size(); i > 1; --i) std::swap(order_[i - 1], order_[random.below(i)]);
        pass_ = pass;
    }

    std::uint64_t seed_;
    std::vector<std::size_t> order_;  // of the pass
    std::uint64_t pass_ = 0;
};

}  // namespace flashback::inline FLASHBACK_ISA
