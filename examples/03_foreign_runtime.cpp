/// \file The policies in a runtime that knows nothing of them, twice: once in our loop, by an adapter of four functions, and
/// once in the loop that the runtime has already, by one pure function. Both give the same tokens.
///
/// Needs only the target flashback::policy, and is built without exceptions and RTTI. So it first says how errors end it.
///
/// 03_foreign_runtime --meddle: shows what happens when something else changes the runtime between two calls.
#include <cstdlib>
#include <iostream>

template <class... Parts>
[[noreturn]] void give_up(const Parts&... sentence) {
    (std::cerr << ... << sentence) << '\n';
    std::exit(1);
}
#define FLASHBACK_THROW(code, ...) ::give_up(__VA_ARGS__)

#include "flashback/decoder/decoder.hpp"
#include "flashback/policy/presets.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace fb = flashback;

namespace {

/// The foreign runtime: its own names, its own types. It has no weights; its logits depend on every token that it holds and
/// on their order, so a position that was kept wrongly shows in the next token.
class ToyRuntime {
public:
    static constexpr int n_vocab = 50;

    int n_past() const { return static_cast<int>(cache_.size()); }
    void kv_cache_seq_rm(int from) { cache_.erase(cache_.begin() + from, cache_.end()); }

    /// Evaluates tokens after those in the cache; 0 if that went well.
    int decode(const std::int32_t* tokens, int n_tokens) {
        cache_.insert(cache_.end(), tokens, tokens + n_tokens);
        std::uint64_t state = 1;
        for (const std::int32_t token : cache_) state = (state ^ static_cast<std::uint64_t>(token)) * 0x9e3779b97f4a7c15u;
        for (float& logit : logits_) logit = static_cast<float>((state = state * 6364136223846793005u + 1) >> 40);
        evaluated_ += n_tokens;
        return 0;
    }
    const float* get_logits() const { return logits_.data(); }
    int evaluated() const { return evaluated_; }

private:
    std::vector<std::int32_t> cache_;
    std::array<float, n_vocab> logits_{};
    int evaluated_ = 0;
};

/// The adapter: nothing to inherit, nothing to register.
class RuntimeModel {
public:
    explicit RuntimeModel(ToyRuntime& runtime) : runtime_(&runtime) {}

    std::span<const float> evaluate(fb::TokenSpan tokens) {
        if (runtime_->decode(tokens.data(), static_cast<int>(tokens.size())) != 0) give_up("the runtime failed");
        return {runtime_->get_logits(), vocab_size()};
    }
    void truncate(std::size_t length) { runtime_->kv_cache_seq_rm(static_cast<int>(length)); }
    std::size_t size() const { return static_cast<std::size_t>(runtime_->n_past()); }
    std::size_t vocab_size() const { return ToyRuntime::n_vocab; }

private:
    ToyRuntime* runtime_;
};
static_assert(fb::LanguageModel<RuntimeModel>);

/// The search engine of the program: a passage that depends on the sum of the query.
struct ToySearch {
    std::vector<std::vector<fb::TokenId>> passages{{20, 21, 22, 23, 24, 25}, {30, 31, 32}, {40, 41, 42, 43}};
    std::array<fb::Passage, 1> found{};

    fb::TokenSpan best(fb::TokenSpan query) const {
        std::size_t sum = 0;
        for (const fb::TokenId token : query) sum += static_cast<std::size_t>(token);
        return passages[sum % passages.size()];
    }
    std::span<const fb::Passage> retrieve(const fb::Query& query, std::size_t /*k*/) {
        found[0] = {.id = "toy", .title = "", .text = "", .tokens = best(query.tokens)};
        return found;
    }
};
static_assert(fb::Retriever<ToySearch>);

constexpr fb::TokenId left_marker = 48;
constexpr fb::TokenId right_marker = 49;
constexpr std::size_t stride = 16;
constexpr std::size_t new_tokens = 100;
const std::vector<fb::TokenId> prompt{3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3, 2, 3, 8, 4};

/// Our loop, their model.
std::vector<fb::TokenId> by_our_loop(ToyRuntime& runtime) {
    RuntimeModel model{runtime};
    ToySearch search;
    fb::Decoder decoder{model, search, fb::presets::flashback(left_marker, right_marker)};
    return decoder.generate(prompt, {.max_tokens = new_tokens}).tokens;
}

/// Their loop. Of the policies it takes what a context consists of, and what of the cache stays valid when that changes.
std::vector<fb::TokenId> by_their_loop(ToyRuntime& runtime) {
    const auto policies = fb::presets::flashback(left_marker, right_marker);
    const ToySearch search;
    fb::PlanScratch scratch;
    std::vector<fb::TokenId> held;  // what the cache of the runtime holds
    std::vector<fb::TokenId> context = prompt;
    for (std::size_t i = 0; i < new_tokens; ++i) {
        fb::TokenSpan feed = fb::TokenSpan{context}.last(1);
        if (i % stride == 0) {
            const std::array<fb::Passage, 1> passages{
                fb::Passage{.tokens = search.best(fb::TokenSpan{context}.last(std::min<std::size_t>(32, context.size())))}};
            const fb::ContextParts parts{.head = {}, .passages = passages, .context = context};
            const auto plan = fb::plan_context(policies, held, parts, scratch);
            runtime.kv_cache_seq_rm(static_cast<int>(plan.keep));
            held.resize(plan.keep);
            feed = plan.feed;
        }
        if (runtime.decode(feed.data(), static_cast<int>(feed.size())) != 0) give_up("the runtime failed");
        held.insert(held.end(), feed.begin(), feed.end());

        const float* logits = runtime.get_logits();
        fb::TokenId token = 0;
        for (fb::TokenId t = 1; t < left_marker; ++t) {  // no text contains a marker
            if (logits[t] > logits[token]) token = t;
        }
        context.push_back(token);
    }
    return {context.begin() + static_cast<std::ptrdiff_t>(prompt.size()), context.end()};
}

/// If something else changes the size of a cache, the decoder no longer knows what it holds: an error.
int meddle() {
    ToyRuntime runtime;
    RuntimeModel model{runtime};
    ToySearch search;
    fb::Decoder decoder{model, search};
    decoder.generate(prompt, {.max_tokens = 8});
    runtime.kv_cache_seq_rm(10);                  // another part of the program wants room
    decoder.generate(prompt, {.max_tokens = 8});  // ends the program by give_up
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc > 1 && std::string_view{argv[1]} == "--meddle") return meddle();
    ToyRuntime ours, theirs;
    const auto by_us = by_our_loop(ours);
    const auto by_them = by_their_loop(theirs);
    if (by_us.size() != new_tokens || by_us != by_them) give_up("the two loops wrote different tokens");
    if (ours.evaluated() != theirs.evaluated()) give_up("the two loops evaluated different numbers of tokens");
    std::cout << "both loops wrote the same " << by_us.size() << " tokens and evaluated " << ours.evaluated() << '\n';
    return 0;
}
