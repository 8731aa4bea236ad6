#include "bench_parts.hpp"
#include "engine.hpp"
#include "flashback/core/random.hpp"
#include "flashback/decoder/decoder.hpp"
#include "flashback/files/load.hpp"
#include "flashback/measure/model_cost.hpp"
#include "flashback/model/session.hpp"
#include "flashback/policy/any_method.hpp"
#include "flashback/policy/parse_schedule.hpp"
#include "flashback/policy/policies.hpp"

#include <algorithm>
#include <chrono>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace cli {
namespace {

namespace fb = flashback;

std::vector<fb::TokenId> random_tokens(fb::SplitMix64& random, std::size_t count, std::size_t vocab) {
    std::vector<fb::TokenId> tokens(count);
    for (fb::TokenId& token : tokens) token = static_cast<fb::TokenId>(random.below(vocab));
    return tokens;
}

/// Finds a passage that depends on the query alone, after a while.
class SlowPassages {
public:
    SlowPassages(std::size_t tokens, std::size_t vocab, double milliseconds)
        : tokens_(tokens), vocab_(vocab), latency_(milliseconds) {}

    std::span<const fb::Passage> retrieve(const fb::Query& query, std::size_t k) {
        std::this_thread::sleep_for(latency_);
        std::uint64_t seed = query.text.size();
        for (const fb::TokenId token : query.tokens) seed = fb::SplitMix64{seed ^ static_cast<std::uint64_t>(token)}.next();
        for (const char c : query.text) seed = fb::SplitMix64{seed ^ static_cast<unsigned char>(c)}.next();
        fb::SplitMix64 random{seed};
        passage_ = random_tokens(random, tokens_, vocab_);
        found_.assign(std::min<std::size_t>(k, 1), {.id = "random", .tokens = passage_, .score = 1});
        return found_;
    }

private:
    std::size_t tokens_;
    std::size_t vocab_;
    std::chrono::duration<double, std::milli> latency_;
    std::vector<fb::TokenId> passage_;
    std::vector<fb::Passage> found_;
};

fb::AnyLayout layout_of(fb::RunTimeLayout layout) {
    if (layout == fb::RunTimeLayout::aside) return fb::AnyLayout{fb::PassagesAside{}};
    if (layout == fb::RunTimeLayout::prepend) return fb::AnyLayout{fb::PrependPassages{}};
    return fb::AnyLayout{fb::AppendPassages{}};
}

}  // namespace

Json bench_schedule(const BenchSettings& settings) {
    std::vector<std::string> schedules = settings.schedules;
    if (schedules.empty()) schedules = {"never", "stride:16", "backoff:16", "entropy:3", "flare"};
    const std::size_t context = settings.contexts.empty() ? 256 : settings.contexts.front();
    const std::size_t passage = settings.passages.empty() ? 128 : settings.passages.front();
    std::optional<fb::Tokenizer> tokenizer;  // random weights have none: then no token ends a sentence
    if (!settings.shape) tokenizer = fb::load_tokenizer(open_model(settings.model));
    const auto text_of = [&](fb::TokenId token) { return tokenizer ? tokenizer->decode(token) : std::string{}; };
    std::vector<fb::AnyMethod> methods;
    for (const std::string& schedule : schedules) methods.push_back(fb::parse_method(schedule, {}, text_of));

    fb::ThreadPool pool = start_threads(settings.threads);
    const std::size_t window = 1 + context + settings.steps + passage;
    const auto model = bench_model(settings, window, pool);
    const fb::MachinePeaks peaks = peaks_of(pool, settings);
    fb::Session session =
        session_of(model, {.window = window, .piece = 512, .executor = pool, .cache = settings.cache}, nullptr);
    const fb::ModelCost cost = fb::cost_of(*model, session.cache_element());
    const std::size_t vocab = session.vocab_size();
    fb::SplitMix64 random{1};
    const std::vector<fb::TokenId> prompt = random_tokens(random, context, vocab);

    Json runs = Json::array();
    for (const fb::RunTimeLayout layout : settings.layouts) {
        for (const fb::AnyMethod& method : methods) {
            SlowPassages retriever{passage, vocab, settings.latency};
            fb::Decoder decoder{session, retriever,
                                fb::Policies{}
                                    .layout(layout_of(layout))
                                    .reuse(layout == fb::RunTimeLayout::recompute ? fb::AnyReuse{fb::RecomputeAll{}}
                                                                                  : fb::AnyReuse{fb::KeepCommonPrefix{}})
                                    .sampler(fb::TruncatedSampling{{.temperature = 1, .seed = 1}})
                                    .method(method)};
            const auto generate = [&] {
                session.truncate(0);
                return decoder.generate(prompt, {.max_tokens = settings.steps, .ignore_eos = true});
            };
            for (std::size_t i = settings.warmup.value_or(1); i > 0; --i) static_cast<void>(generate());
            fb::Generation found;
            std::vector<double> seconds;
            for (std::size_t i = settings.repetitions.value_or(3); i > 0; --i) {
                found = generate();
                seconds.push_back(found.stats.seconds.total);
            }
            const fb::MethodText& text = method.text();
            const fb::Statistics& stats = found.stats;
            const auto tokens = static_cast<double>(found.tokens.size());
            Json run = begin_run(*model, cost, session.cache_element(), settings.threads);
            run.update({{"layout", fb::to_string(layout)},
                        {"schedule", text.schedule},
                        {"query", text.query.empty() ? Json(nullptr) : Json(text.query)},
                        {"context", context},
                        {"passage", passage},
                        {"latency", settings.latency},
                        {"steps", found.tokens.size()},
                        {"stop", to_string(found.stop)},
                        {"retrievals", stats.retrievals},
                        {"rewinds", stats.rewinds},
                        {"rewound", stats.rewound},
                        {"evaluated", stats.counts.evaluated},
                        {"evaluated_per_token", static_cast<double>(stats.counts.evaluated) / tokens},
                        {"seconds_per_token", std::ranges::min(seconds) / tokens}});
            add_speed(run, seconds, found.tokens.size(), 0);
            run["share_of_peak"] = nullptr;
            run["retrieve_seconds"] = stats.seconds.retrieve;
            runs.push_back(std::move(run));
        }
    }
    return {{"mode", "schedule"}, {"runs", runs}, {"peaks", to_json(peaks)}};
}

}  // namespace cli
