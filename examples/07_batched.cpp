/// \file Four texts over one foreign runtime, with batched evaluations. Each text is a Generator: a loop without input and
/// output that says what it needs next. The program answers all of them together. The tokens are those of four decoders, one
/// after another.
///
/// Needs only the target flashback::policy.
#include "flashback/decoder/decoder.hpp"
#include "flashback/policy/presets.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <span>
#include <vector>

namespace fb = flashback;

namespace {

constexpr std::size_t vocab = 50;

/// Tokens for one sequence of a batch.
struct BatchEntry {
    std::size_t sequence;
    fb::TokenSpan tokens;
};

/// The foreign runtime: several sequences, each with its own cache, evaluated in one pass. It has no weights; the logits of a
/// sequence depend on all tokens that it holds.
class BatchedRuntime {
public:
    explicit BatchedRuntime(std::size_t sequences) : caches_(sequences), logits_(sequences) {}

    void remove_from(std::size_t sequence, std::size_t position) { caches_[sequence].resize(position); }
    std::size_t length(std::size_t sequence) const { return caches_[sequence].size(); }
    std::span<const float> logits(std::size_t sequence) const { return logits_[sequence]; }

    void evaluate(std::span<const BatchEntry> batch) {
        ++passes_;
        for (const auto& [sequence, tokens] : batch) {
            fb::append(caches_[sequence], tokens);
            std::uint64_t state = 1;
            for (const fb::TokenId token : caches_[sequence])
                state = (state ^ static_cast<std::uint64_t>(token)) * 0x9e3779b97f4a7c15u;
            for (float& logit : logits_[sequence]) logit = static_cast<float>((state = state * 6364136223846793005u + 1) >> 40);
        }
    }
    std::size_t passes() const { return passes_; }

private:
    std::vector<fb::TokenBuffer> caches_;
    std::vector<std::array<float, vocab>> logits_;
    std::size_t passes_ = 0;
};

/// The search engine of the program.
struct Search {
    std::vector<fb::TokenBuffer> texts{{20, 21, 22, 23, 24, 25}, {30, 31, 32}, {40, 41, 42, 43}};
    std::array<fb::Passage, 1> found{};

    std::span<const fb::Passage> retrieve(const fb::Query& query, std::size_t /*k*/) {
        std::size_t sum = 0;
        for (const fb::TokenId token : query.tokens) sum += static_cast<std::size_t>(token);
        found[0] = {.id = "toy", .tokens = texts[sum % texts.size()]};
        return found;
    }
};

/// One sequence of the runtime as a LanguageModel, for comparison.
class OneSequence {
public:
    std::span<const float> evaluate(fb::TokenSpan tokens) {
        runtime_.evaluate(std::array{BatchEntry{0, tokens}});
        return runtime_.logits(0);
    }
    void truncate(std::size_t length) { runtime_.remove_from(0, length); }
    std::size_t size() const { return runtime_.length(0); }
    static std::size_t vocab_size() { return vocab; }
    std::size_t passes() const { return runtime_.passes(); }

private:
    BatchedRuntime runtime_{1};
};

const auto policies = fb::presets::flashback(/*left_marker=*/48, /*right_marker=*/49);
using Generator = fb::Generator<std::remove_const_t<decltype(policies)>>;

/// All texts at once: first answers whatever can be answered at once, then evaluates in one pass for all that wait for it.
std::vector<fb::TokenBuffer> batched(std::span<const fb::TokenBuffer> prompts, const fb::GenerateOptions& options,
                                     std::size_t& passes) {
    BatchedRuntime runtime{prompts.size()};
    Search search;
    std::vector<Generator> texts(prompts.size(), Generator{policies});
    for (std::size_t i = 0; i < texts.size(); ++i) texts[i].start(prompts[i], options, {.vocab_size = vocab});

    std::vector<BatchEntry> batch;
    do {
        batch.clear();
        for (std::size_t i = 0; i < texts.size(); ++i) {
            for (fb::Need need = texts[i].need(); need.kind != fb::Need::Kind::done; need = texts[i].need()) {
                if (need.kind == fb::Need::Kind::evaluate) {
                    batch.push_back({i, need.tokens});
                    break;
                }
                if (need.kind == fb::Need::Kind::search) {
                    texts[i].found(search.retrieve(need.query, need.passages));
                } else if (need.kind == fb::Need::Kind::truncate) {
                    runtime.remove_from(i, need.length);
                    texts[i].truncated(runtime.length(i));
                } else {
                    texts[i].resume();  // a token, say: a server would send it now
                }
            }
        }
        if (!batch.empty()) runtime.evaluate(batch);
        for (const auto& [i, tokens] : batch) texts[i].evaluated(runtime.logits(i), runtime.length(i));
    } while (!batch.empty());

    passes = runtime.passes();
    std::vector<fb::TokenBuffer> written;
    for (Generator& text : texts) written.push_back(text.take().tokens);
    return written;
}

}  // namespace

int main() {
    const std::vector<fb::TokenBuffer> prompts{{3, 1, 4, 1, 5}, {9, 2, 6}, {5, 3, 5, 8, 9, 7, 9}, {3, 2}};
    const fb::GenerateOptions options{.max_tokens = 100};
    std::size_t together = 0;
    const auto written = batched(prompts, options, together);

    std::size_t apart = 0;
    for (std::size_t i = 0; i < prompts.size(); ++i) {
        OneSequence model;
        Search search;
        if (fb::Decoder{model, search, policies}.generate(prompts[i], options).tokens != written[i]) {
            std::cerr << "text " << i << " is not what a decoder writes\n";
            return EXIT_FAILURE;
        }
        apart += model.passes();
    }
    std::cout << "four texts of " << options.max_tokens << " tokens took " << together << " passes together and " << apart
              << " apart, and are the same\n";
    return together < apart ? EXIT_SUCCESS : EXIT_FAILURE;
}
