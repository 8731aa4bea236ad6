/// \file A picture of reuse: records what each plan of a generation kept and evaluated, and writes it as a page or as trace events.
#pragma once

#include "flashback/core/function_ref.hpp"
#include "flashback/core/retriever.hpp"
#include "flashback/core/tokens.hpp"
#include "flashback/decoder/carried_out_plan.hpp"
#include "flashback/decoder/generation.hpp"

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// What a run of tokens in a context is.
enum class TraceKind : unsigned char {
    head,     ///< BOS, system text
    text,     ///< the prompt and what was generated
    passage,  ///< a passage as it was found
    marker,   ///< what a wrapper puts around it
    other     ///< what else a layout puts there: the text once more, say
};

/// The name of a kind, e.g. "passage".
std::string_view to_string(TraceKind kind) noexcept;

/// A run of tokens: `count` of those in ReuseTrace::tokens(), from `begin` on.
struct TraceSpan {
    TraceKind kind = TraceKind::text;  ///< what they are
    std::size_t begin = 0;             ///< the first
    std::size_t count = 0;             ///< how many

    constexpr bool operator==(const TraceSpan&) const = default;
};

/// A text that the model, or a branch of it, read at a plan.
struct TracedContext {
    std::vector<TraceSpan> spans;   ///< all its positions, in their order
    std::size_t size = 0;           ///< how many there are
    std::size_t kept = 0;           ///< how many were kept: the cut
    std::vector<TraceSpan> beside;  ///< passages beside it
};

/// A plan, and what followed until the next one.
struct TracedPlan {
    std::size_t at = 0;                         ///< number of generated tokens before it, without those that were taken back
    std::size_t rewound = 0;                    ///< generated tokens that were taken back for it
    std::optional<std::size_t> retrieval = {};  ///< which retrieval led to it; without one it was the start, or a full window
    std::vector<TracedContext> contexts;        ///< one; or one for each branch
    TokenCounts counts;                         ///< of the plan
    TokenCounts steps;                          ///< of single tokens after it, and of a plan that was begun and cancelled
    Seconds seconds;                      ///< retrieve and prefill: of the plan; decode: of those tokens; total: all three
    Seconds unfinished = {};              ///< retrieve and prefill of what followed at the end and came to no plan
    TraceSpan written;                    ///< those tokens, and the one that the plan gave
    double done = 0;                      ///< when it was carried out, in seconds since the object was made
    std::vector<double> written_at = {};  ///< when each token was there
    std::size_t prepend = 0;              ///< tokens that PrependPassages would have evaluated at this plan
    std::size_t recompute = 0;            ///< tokens that RecomputeAll would have
};

/// Records one generation. It is what a Decoder hands its tokens to, alone or called by another one:
///
///     ReuseTrace trace;
///     trace.finish(decoder.generate(prompt, options, trace));
///     write_reuse_trace("reuse.html", trace, [&](TokenId token) { return tokenizer.decode(token); });
///
/// What other ways would have evaluated is computed from the record, for the same passages and the same text. PrependPassages: head,
/// passages and text are compared with what it would have held, and all behind the common prefix is evaluated. RecomputeAll: all
/// that was requested. The tokens between two plans cost all ways the same. Each branch counts by itself.
/// Requires  one object for each generation
/// Cost      at a plan, some comparisons of all that is read; for a token, one number
class ReuseTrace {
public:
    /// Nothing yet; times count from now on.
    ReuseTrace() : began_(Clock::now()) {}

    /// The text goes on with a token. Always true: the generation is not to be cancelled.
    bool operator()(TokenId token);
    /// The newest tokens of the text are taken back.
    void rewind(std::size_t tokens);
    /// A plan was carried out.
    /// Throws    Error{contract} if it was not told of all tokens
    void planned(const CarriedOutPlan& plan);

    /// Adds a line that says what was run: ("layout", "append"), say. A page shows the lines at its top, and trace events have them too.
    void describe(std::string name, std::string text) { description_.emplace_back(std::move(name), std::move(text)); }

    /// Takes what is known only at the end: why the text ended, and what its last tokens cost.
    void finish(const Generation& generation);

    /// What was recorded, in its order.
    const std::vector<TracedPlan>& plans() const noexcept { return plans_; }
    /// The lines that say what was run, in the order in which they were given.
    const std::vector<std::pair<std::string, std::string>>& description() const noexcept { return description_; }
    /// The tokens that spans refer to: everything that was read or written, once.
    TokenSpan tokens() const noexcept { return tokens_; }
    /// The prompt.
    TraceSpan prompt() const noexcept { return prompt_; }
    /// The generation, as it was given to `finish`; before that, empty.
    const Generation& generation() const noexcept { return generation_; }

private:
    using Clock = std::chrono::steady_clock;

    double now() const { return std::chrono::duration<double>(Clock::now() - began_).count(); }
    TraceSpan put(TraceKind kind, TokenSpan tokens);
    std::vector<TraceSpan> put_wrapped(TokenSpan wrapped, std::span<const Passage> passages, std::size_t& next);
    TracedContext context_of(const ReadContext& read, const CarriedOutPlan& plan);
    std::size_t prepended(std::size_t branch, const ReadContext& read, const CarriedOutPlan& plan);

    Clock::time_point began_;
    TokenBuffer tokens_;
    std::map<TokenBuffer, std::size_t> known_;  // where tokens stand that are not text
    TraceSpan prompt_;
    std::vector<std::size_t> text_;  // where each token of the text stands in `tokens_`
    std::vector<TracedPlan> plans_;
    std::size_t rewound_ = 0;              // since the last plan
    std::size_t retrievals_ = 0;           // until the last plan
    TokenCounts counted_;                  // the same
    Seconds spent_;                        // the same
    std::vector<TokenBuffer> prepending_;  // what each branch would hold if passages stood in front
    Generation generation_;
    std::vector<std::pair<std::string, std::string>> description_;
};

/// The text of a token, to be shown; it may be empty, and end inside a character.
using TraceText = FunctionRef<std::string(TokenId)>;

/// One page that shows a trace: HTML that needs no other file and no network. Whatever texts hold, it stays text; bytes that are not
/// UTF-8 become U+FFFD.
/// Throws    what `spell` throws
std::string reuse_trace_page(const ReuseTrace& trace, TraceText spell);

/// The data of that page as JSON: tokens, plans, retrievals, counts.
/// Throws    what `spell` throws
std::string reuse_trace_data(const ReuseTrace& trace, TraceText spell);

/// The same as trace events, which Perfetto and chrome://tracing open: a slice for each plan, its search and each token, each with
/// what it did and its own seconds; the evaluated tokens as counters; and as `otherData` the lines that say what was run.
/// Throws    what `spell` throws
/// Source    Trace Event Format (Google, 2016): "X", "C" and "M" events in the JSON object format, with `otherData`
std::string reuse_trace_events(const ReuseTrace& trace, TraceText spell);

/// Writes the page to a file whose name ends in .html, and trace events to one that ends in .json; as a whole or not at all.
/// Throws    Error{contract} for another name; Error{io}; what `spell` throws
void write_reuse_trace(const std::filesystem::path& path, const ReuseTrace& trace, TraceText spell);

/// The same with any function, such as a lambda that lives as long as the call.
template <class Spell>
void write_reuse_trace(const std::filesystem::path& path, const ReuseTrace& trace, const Spell& spell) {
    write_reuse_trace(path, trace, TraceText{spell});
}

}  // namespace flashback::inline FLASHBACK_ISA

#if !defined(FLASHBACK_COMPILED_ONCE)
#include "flashback/measure/detail/reuse_trace.hpp"
#include "flashback/measure/detail/write_reuse_trace.hpp"
#endif
