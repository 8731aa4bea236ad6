/// \file What it is worth to keep keys and values: passages beside the text, after it, in front of it, and after it without
/// reusing anything, for texts of several lengths.
///
/// 04_kv_reuse [REPETITIONS]: times are the best of so many (default 3); counts are the same every time and everywhere.
#include "flashback/flashback.hpp"
#include "flashback/testing/null_model.hpp"
#include "models/default_model.hpp"

#include <algorithm>
#include <cstdlib>
#include <exception>
#include <iomanip>
#include <iostream>
#include <stdexcept>
#include <thread>
#include <vector>

namespace fb = flashback;

namespace {

constexpr std::size_t new_tokens = 64;
constexpr std::size_t stride = 16;
constexpr std::size_t passage_tokens = 128;

struct Measured {
    std::vector<fb::TokenId> tokens;
    fb::TokenCounts counts;
    double seconds = 0;
};

class Bench {
public:
    Bench(const std::shared_ptr<const fb::Transformer>& model, fb::ExecutorRef executor, int repetitions)
        : session_(model, {.executor = executor}), repetitions_(repetitions) {}

    /// Generates after a text that was evaluated before, as in the middle of a long text.
    template <class Layout, class Reuse>
    Measured run(const std::vector<fb::TokenId>& text, const Layout& layout, const Reuse& reuse) {
        Measured best;
        for (int i = 0; i < repetitions_; ++i) {
            session_.truncate(0);
            if (!session_.head().empty()) session_.evaluate(session_.head());
            session_.evaluate(text);
            // The same passages in the same order for everyone; the retriever costs nothing.
            fb::testing::NullRetriever retriever{passage_tokens, 256};
            fb::Decoder decoder{session_, retriever,
                                fb::Policies{}.schedule(fb::EveryNTokens{stride}).layout(layout).reuse(reuse)};
            auto run = decoder.generate(text, {.max_tokens = new_tokens, .ignore_eos = true});
            const double seconds = run.stats.seconds.total;
            if (i == 0 || seconds < best.seconds) best = {std::move(run.tokens), run.stats.counts, seconds};
        }
        return best;
    }

    std::size_t head_tokens() const { return session_.head().size(); }

private:
    fb::Session session_;
    int repetitions_;
};

void print(std::size_t text, const char* name, const Measured& m) {
    std::cout << std::setw(8) << text << "  " << std::left << std::setw(20) << name << std::right << std::fixed
              << std::setprecision(1) << std::setw(15) << static_cast<double>(m.counts.evaluated) / new_tokens << std::setw(10)
              << m.counts.reused << std::setw(10) << 1000 * m.seconds << '\n';
}

void check(bool holds, const char* what) {
    if (!holds) throw std::runtime_error(what);
}

void measure(int repetitions) {
    fb::ThreadPool pool{std::max(1u, std::thread::hardware_concurrency())};
    const auto model = fb::load_model(fb::GgufFile::view(flashback_examples::default_model(), "the default model"), pool);
    Bench bench{model, pool, repetitions};
    std::cout << new_tokens << " new tokens, every " << stride << " another passage of " << passage_tokens << "; best of "
              << repetitions << ", " << pool.concurrency() << " threads (" FLASHBACK_ISA_NAME ")\n\n"
              << "    text  passages             evaluated/token    reused        ms\n";
    for (const std::size_t length : {128u, 256u, 512u, 1024u}) {
        if (length + new_tokens + passage_tokens + bench.head_tokens() > model->config.window) break;
        fb::SplitMix64 random{length};
        std::vector<fb::TokenId> text(length);
        for (fb::TokenId& token : text) token = static_cast<fb::TokenId>(random.below(256));

        const Measured aside = bench.run(text, fb::PassagesAside{}, fb::KeepCommonPrefix{});
        const Measured append = bench.run(text, fb::AppendPassages{}, fb::KeepCommonPrefix{});
        const Measured prepend = bench.run(text, fb::PrependPassages{}, fb::KeepCommonPrefix{});
        const Measured recomputed = bench.run(text, fb::AppendPassages{}, fb::RecomputeAll{});
        print(length, "beside", aside);
        print(length, "behind", append);
        print(length, "in front", prepend);
        print(length, "behind, recomputed", recomputed);

        check(append.tokens == recomputed.tokens, "reuse changed the text");
        // Each plan evaluates a passage and the stride before it, the first one only the passage. The text never counts.
        constexpr std::size_t plans = new_tokens / stride;
        check(append.counts.evaluated == plans * passage_tokens + (plans - 1) * stride + plans * (stride - 1),
              "append evaluated another number of tokens than the paper's arithmetic says");
        // Beside the text, too, every passage is new; at the first plan only the newest token saw nothing yet.
        check(aside.counts.evaluated == plans * passage_tokens + 1 + (plans - 1) * (stride + 1) + plans * (stride - 1),
              "aside evaluated another number of tokens than its arithmetic says");
        check(prepend.counts.reused == plans * bench.head_tokens(), "prepend reuses the head and nothing else");
        check(recomputed.counts.reused == 0, "nothing was to be reused");
    }
    std::cout << "\nBeside and behind the text, the number of evaluated tokens does not depend on the length of the text.\n";
}

}  // namespace

int main(int argc, char** argv) try {
    measure(argc > 1 ? std::max(1, std::atoi(argv[1])) : 3);
    return 0;
} catch (const std::exception& error) {
    std::cerr << "04_kv_reuse: " << error.what() << '\n';
    return 1;
}
