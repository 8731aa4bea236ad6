/// \file Training examples with retrieved passages, laid out by the policies that decode.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/tokens.hpp"
#include "flashback/data/example.hpp"
#include "flashback/data/retrieval_strides.hpp"

#include <cstddef>
#include <cstdint>
#include <utility>

namespace flashback::inline FLASHBACK_ISA {

/// How training walks through a text. Every stride has its own context length: a random number from half the window to the
/// whole window less a stride (256 to 495 tokens for a window of 512). The first stride begins after a whole window. If you
/// shorten the contexts, it can begin after the longest of them.
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

/// Examples by number, each made when it is asked for. An example is head, context and passages as the policies lay them out,
/// and then the tokens of the stride, which are the targets. Passages take room from the context, unless they shall not: both together
/// have the length that was drawn for the stride. If head and markers do not fit into the window beside that, the oldest tokens of the context
/// are left out. A passage beside the text stands in front of the tokens that see it; several are one block there.
///
/// Prepare the strides once with `retrieve_strides` or `cached_strides`: they serve every layout and wrapper.
/// Requires  the text lives as long; if several threads ask for examples at once, they must be allowed to call the policies at
///           once
/// Source    FlashBack (arXiv 2405.04065), section 3.3, and data_prepare.py and run.py of the official code
template <class P>
class RetrievalExamples {
public:
    /// `policies` has wrapper(), layout(), reuse() and, if several passages are not to be concatenated each with its markers, fusion(), as Policies has; `window` is the most tokens of an example.
    /// Throws    Error{contract} if there are no strides or they are of another text, or if several passages of one would stand
    ///           beside the text, each on its own, or are fused in branches; Error{window} if a stride leaves no room for text
    RetrievalExamples(TokenSpan text, RetrievedStrides strides, P policies, TokenSpan head, std::size_t window,
                      bool passages_replace_text = true)
        : text_(text),
          strides_(std::move(strides)),
          policies_(std::move(policies)),
          head_(head.begin(), head.end()),
          window_(window),
          passages_replace_text_(passages_replace_text) {
        FLASHBACK_ASSERT(strides_.size() > 0, "no strides to make training examples of, expected at least one");
        FLASHBACK_ASSERT(window_ > 0, "training examples of at most 0 tokens, expected the window of a model");
        for (std::size_t i = 0; i < strides_.size(); ++i) {
            check_within(text_, strides_[i], strides_.stride());
            static_cast<void>((*this)[i]);
        }
    }

    /// How many examples there are.
    std::size_t size() const noexcept { return strides_.size(); }

    /// Requires  i < size()
    /// Cost      a copy of its tokens
    TrainingExample operator[](std::size_t i) const {
        const RetrievedStride stride = strides_[i];
        const std::size_t targets = strides_.stride();
        StrideScratch scratch;
        const StrideLayout layout{head_, passages_replace_text_, window_};
        const StridePlan planned = plan_stride(policies_, {}, {text_, stride, targets}, layout, scratch);
        FLASHBACK_ASSERT(!planned.branches(), "stride ", i, " has ", stride.found(), " passages that are fused in ",
                         planned.fused.branches.size(), " branches, expected one text, as Concatenate makes it, to train on");
        const ContextPlan& plan = planned.text;
        FLASHBACK_ASSERT(plan.beside.size() < 2, "stride ", i, " has ", plan.beside.size(),
                         " passages beside the text, each on its own, expected AsideOptions::joined: training knows one block");
        TokenBuffer tokens;
        tokens.reserve(plan.wanted.size() + scratch.text.wrapped.size() + targets);
        append(tokens, plan.wanted.first(plan.plain));
        append(tokens, plan.beside);
        const PassageRows beside{head_.size(), plan.plain, tokens.size()};
        append(tokens, plan.wanted.subspan(plan.plain));
        append(tokens, text_.subspan(stride.at, targets));
        TrainingExample example = predict_last(std::move(tokens), targets);
        if (beside.size() > 0) example.beside = beside;
        return example;
    }

private:
    TokenSpan text_;
    RetrievedStrides strides_;
    P policies_;
    TokenBuffer head_;
    std::size_t window_;
    bool passages_replace_text_;
};

}  // namespace flashback::inline FLASHBACK_ISA
