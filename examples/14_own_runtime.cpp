/// \file Another runtime in our loop, as dropping_into_a_runtime.md tells: an adapter with all duties, and the suites that check it.
///
/// Needs only the target flashback::policy.
///
/// 14_own_runtime                  checks the adapter, also over recurrent layers, and a search; lets a decoder write
/// 14_own_runtime --tolerance 0    wants the same bits, which this runtime does not give: fails, and says why
#include "flashback/decoder/decoder.hpp"
#include "flashback/testing/language_model_suite.hpp"
#include "flashback/testing/retriever_suite.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <span>
#include <stop_token>
#include <string_view>
#include <vector>

namespace fb = flashback;

namespace {

/// The foreign runtime: it takes at most n_batch tokens at a time, gives its logits in a buffer that the next call overwrites, fails by
/// numbers, and keeps what it evaluated before it failed. Its sums depend on how many tokens it evaluates at once.
class Engine {
public:
    static constexpr int n_vocab = 64;
    static constexpr int n_ctx = 256;
    static constexpr int n_batch = 16;
    static constexpr std::int32_t bos = 1;
    static constexpr std::int32_t eos = 2;

    int n_past() const { return static_cast<int>(cells_.size()); }
    /// Forgets the positions from `from` on; false if it cannot.
    bool remove(int from) {
        if (recurrent_ && from > 0 && from < n_past()) return false;
        cells_.resize(static_cast<std::size_t>(from));
        return true;
    }
    /// Evaluates tokens: 0 if that went well, 1 if there is no room, -1 if the batch is bad, 2 if it was aborted halfway.
    int decode(const std::int32_t* tokens, int count) {
        if (count < 1 || count > n_batch) return -1;
        if (n_past() + count > n_ctx) return 1;
        for (int i = 0; i < count; ++i) {
            if (tokens[i] < 0 || tokens[i] >= n_vocab) return -1;
            if (i == count / 2 && aborts_-- == 0) return 2;
            cells_.push_back(tokens[i]);
        }
        for (std::size_t t = 0; t < logits_.size(); ++t) logits_[t] = logit(t, count == 1 ? 1 : 4);
        return 0;
    }
    const float* logits() const { return logits_.data(); }
    void abort_after(int batches) { aborts_ = batches; }
    /// Recurrent layers forget everything or nothing.
    void set_recurrent() { recurrent_ = true; }
    void set_adapter(std::uint64_t adapter) { adapter_ = adapter; }
    std::uint64_t adapter() const { return adapter_; }

private:
    /// A sum over all positions, in so many parts.
    float logit(std::size_t t, std::size_t parts) const {
        std::array<float, 4> sums{};
        for (std::size_t i = 0; i < cells_.size(); ++i) {
            std::uint64_t bits = (static_cast<std::uint64_t>(cells_[i]) * 64 + t) * 4096 + i + adapter_;
            bits = (bits ^ (bits >> 29)) * 0xbf58476d1ce4e5b9u;
            sums[i % parts] += static_cast<float>(bits >> 40) * 0x1p-24f - 0.5f;
        }
        return sums[0] + sums[1] + (sums[2] + sums[3]);
    }

    std::vector<std::int32_t> cells_;
    std::array<float, n_vocab> logits_{};
    std::uint64_t adapter_ = 0;
    int aborts_ = -1;
    bool recurrent_ = false;
};

/// The adapter. It owns nothing of the runtime.
class EngineModel {
public:
    explicit EngineModel(Engine& engine) : engine_(&engine), logits_(vocab_size()) { tokens_.reserve(window()); }

    // What every LanguageModel has.
    std::span<const float> evaluate(fb::TokenSpan tokens, const std::stop_token& stop = {}) {
        check(tokens);
        const std::size_t before = size();
        if (const int code = decode(tokens, stop); code != 0) {
            truncate(before);  // all or nothing, also if the runtime came halfway
            FLASHBACK_THROW(fb::ErrorCode::engine, "the engine failed with the code ", code);
        }
        // After a stop, size() says how far it came.
        if (size() < before + tokens.size()) return {};
        std::copy_n(engine_->logits(), logits_.size(), logits_.begin());  // whoever else calls the engine overwrites its buffer
        return logits_;
    }
    void truncate(std::size_t length) {
        FLASHBACK_ASSERT(length <= size(), "a model of ", size(), " tokens cannot be cut to ", length);
        if (engine_->remove(static_cast<int>(length))) return tokens_.resize(length);
        // The end cannot be removed: remove everything, and evaluate what is to stay.
        if (!engine_->remove(0)) FLASHBACK_THROW(fb::ErrorCode::engine, "the engine removes nothing");
        const fb::TokenBuffer stays(tokens_.begin(), tokens_.begin() + static_cast<std::ptrdiff_t>(length));
        tokens_.clear();
        if (const int code = decode(stays); code != 0) {
            engine_->remove(0);
            tokens_.clear();
            FLASHBACK_THROW(fb::ErrorCode::engine, "the engine failed with the code ", code, " when it was cut to ", length);
        }
    }
    std::size_t size() const { return tokens_.size(); }
    std::size_t vocab_size() const { return Engine::n_vocab; }

    // What it may have besides.
    std::size_t window() const { return Engine::n_ctx; }
    fb::TokenSpan head() const { return {&Engine::bos, 1}; }
    bool is_end(fb::TokenId token) const { return token == Engine::eos; }
    fb::TokenSpan tokens() const { return tokens_; }
    std::uint64_t fingerprint() const { return engine_->adapter(); }

private:
    /// Evaluates in batches, and leaves our copy of the logits alone: 0 if that went well or was stopped.
    int decode(fb::TokenSpan tokens, const std::stop_token& stop = {}) {
        while (!tokens.empty() && !stop.stop_requested()) {
            const fb::TokenSpan batch = tokens.first(std::min<std::size_t>(tokens.size(), Engine::n_batch));
            if (const int code = engine_->decode(batch.data(), static_cast<int>(batch.size())); code != 0) return code;
            fb::append(tokens_, batch);
            tokens = tokens.subspan(batch.size());
        }
        return 0;
    }

    /// Refuses what the runtime would refuse halfway, before anything is evaluated.
    void check(fb::TokenSpan tokens) const {
        FLASHBACK_ASSERT(!tokens.empty(), "evaluate needs at least 1 token, found none");
        for (const fb::TokenId token : tokens)
            FLASHBACK_ASSERT(token >= 0 && token < Engine::n_vocab, "token ", token, " is not in the vocabulary of ",
                             vocab_size());
        if (tokens.size() > window() - size())
            FLASHBACK_THROW(fb::ErrorCode::window, tokens.size(), " tokens do not fit behind ", size(), " in a window of ",
                            window());
    }

    Engine* engine_;
    fb::TokenBuffer tokens_;  // what the runtime holds
    std::vector<float> logits_;
};
static_assert(fb::InterruptibleModel<EngineModel> && fb::RemembersTokens<EngineModel> && fb::FingerprintedModel<EngineModel>);

/// A search over passages that the program has.
struct Shelf {
    std::vector<fb::TokenBuffer> texts{{20, 21, 22, 23, 24, 25}, {30, 31, 32}, {40, 41, 42, 43}};

    std::vector<fb::Passage> retrieve(const fb::Query& query, std::size_t k) const {
        std::vector<fb::Passage> found;
        for (const fb::TokenBuffer& text : texts) {
            const auto shared =
                std::ranges::count_if(query.tokens, [&](fb::TokenId token) { return std::ranges::count(text, token) > 0; });
            if (shared > 0) found.push_back({.tokens = text, .score = static_cast<float>(shared)});
        }
        std::ranges::stable_sort(found, std::greater{}, &fb::Passage::score);
        found.resize(std::min(k, found.size()));
        return found;  // the passages view `texts`, which outlive the answer
    }
};

/// The only engine that there is.
Engine& engine() {
    static Engine only;
    return only;
}

/// What the suite cannot do by itself.
struct Provocations {
    static void retune(EngineModel&) { engine().set_adapter(7); }
    static void fail_next(EngineModel&) { engine().abort_after(1); }  // the first batch goes well
};

bool check_model(double tolerance) {
    EngineModel model{engine()};
    const auto report = fb::testing::check_language_model([&]() -> EngineModel& { return model; },
                                                          {.tolerance = tolerance, .length = 40}, Provocations{});
    std::cout << report;
    return report.passed();
}

bool check_search() {
    const auto report = fb::testing::check_retriever([] { return Shelf{}; }, {.token_texts = {{20, 31, 41}, {40, 42}, {5}}});
    std::cout << report;
    return report.passed();
}

/// The adapter in a decoder: a retrieval every 8 tokens, passages appended.
void write() {
    Engine another;
    EngineModel model{another};
    Shelf shelf;
    fb::Decoder decoder{model, shelf, fb::Policies{}.schedule(fb::EveryNTokens{8})};
    const auto run = decoder.generate(fb::TokenBuffer{20, 30, 40}, {.max_tokens = 32, .ignore_eos = true});
    std::cout << "wrote " << run.tokens.size() << " tokens: " << run.stats.counts.evaluated << " evaluated, "
              << run.stats.counts.reused << " reused\n";
}

}  // namespace

int main(int argc, char** argv) {
    const bool exact = argc > 2 && std::string_view{argv[1]} == "--tolerance" && std::string_view{argv[2]} == "0";
    if (!check_model(exact ? 0 : 1e-4)) return 1;
    engine() = Engine{};
    engine().set_recurrent();
    if (!check_model(1e-4)) return 1;
    if (!check_search()) return 1;
    write();
    return 0;
}
