#include "generate_options.hpp"

#include "retrieval_setup.hpp"

#include <cstdint>
#include <string>

namespace cli {

namespace fb = flashback;

void add_options(CLI::App& command, GenerateSettings& settings) {
    const auto choice = [&](const char* name, std::string& value, std::vector<std::string> values, const char* meaning) {
        command.add_option(name, value, meaning)->check(CLI::IsMember(std::move(values)))->capture_default_str();
    };
    const auto count = [&](const char* name, std::size_t& value, std::uint64_t least, const char* meaning) {
        return command.add_option(name, value, meaning)->transform(at_least(least))->capture_default_str();
    };
    const auto number = [&](const char* name, float& value, double least, double most, const char* meaning) {
        command.add_option(name, value, meaning)->check(number_from(least, most))->capture_default_str();
    };
    add_model(command, settings.model);
    settings.weights.add(command);
    add_adapter(command, settings.adapter);
    settings.corpus.add_path(command);
    settings.corpus.add_search(command);
    settings.corpus.add_filter(command);
    settings.prompt.add(command, "prompt", "The text to continue");

    choice("--layout", settings.layout, {"aside", "append", "sticky", "prepend", "none"},
           "Where passages stand: beside the text, where only its newest tokens see them (aside), after it (append), likewise "
           "but left in place if they are found again (sticky), or in front of it (prepend); none: no retrieval");
    choice("--reuse", settings.reuse, {"prefix", "none"},
           "What of the KV cache is kept at a retrieval: the common prefix, or nothing");
    add_markers(command, settings.markers.choice);
    add_marker_ids(command, settings.markers.ids);
    choice(
        "--overflow", settings.overflow, {"stop", "drop-oldest", "shorten", "sinks", "rotate"},
        "When the window of the model is full: stop; drop the older half of the text and evaluate the rest anew (drop-oldest); "
        "cut the passages, and stop when there are none (shorten). Approximate, for models with rotary positions: keep the "
        "first "
        "4 tokens, drop the oldest of the rest, 64 at a time, and move keys and values (sinks: StreamingLLM); or "
        "likewise with the older half (rotate)");
    CLI::Option* stride = count("--stride", settings.stride, 1, "Retrieve every N tokens");
    CLI::Option* query_tokens = count("--query-tokens", settings.query_tokens, 1, "The newest N tokens are the query");
    settings.schedule.add(command, stride, query_tokens);
    count("--passages", settings.passages, 0, "Passages at each retrieval");
    count("--passage-tokens", settings.passage_tokens, 1, "The most tokens of a passage");
    add_repeat(command, settings.repeat);
    settings.aside.add(command);
    settings.aside.add_element(command);
    settings.aside.add_joined(command);
    settings.aside.add_store(command);
    settings.fusion.add(command, "each, with --joined concatenate");

    count("--max-tokens", settings.max_tokens, 0, "The most tokens to generate");
    add_repeated(command, "--stop", settings.stop, "Stop when the new text contains TEXT, and leave TEXT out")
        ->type_name("TEXT")
        ->check([](const std::string& text) { return text.empty() ? "found an empty text, expected some" : ""; });
    command.add_flag("--ignore-eos", settings.ignore_eos, "Go on when the model ends its text");
    number("--temperature", settings.sampling.temperature, 0, 1e6, "0: always the likeliest token; else sample");
    count("--top-k", settings.sampling.top_k, 0, "Sample among the K likeliest tokens; 0: among all");
    number("--top-p", settings.sampling.top_p, 1e-6, 1,
           "Sample among the likeliest tokens that together have this probability");
    number("--min-p", settings.sampling.min_p, 0, 1,
           "Sample among the tokens that have at least this part of the likeliest one's probability");
    command.add_option("--seed", settings.sampling.seed, "The same seed gives the same text")
        ->transform(any_seed())
        ->capture_default_str();
    number("--repetition-penalty", settings.repetition.penalty, 1e-3, 1e3,
           "Make tokens of the newest text less likely; 1: do not");
    count("--repetition-window", settings.repetition.window, 0, "How many of the newest tokens --repetition-penalty counts");
    add_cache(command, settings.cache);
    add_threads(command, settings.threads);
    settings.trace.add(command);
    add_json(command, settings.json);
}

namespace {

fb::AnySampler sampler_of(const GenerateSettings& settings) {
    const fb::TruncatedSampling sampling{settings.sampling};  // greedy at temperature 0
    if (settings.repetition.penalty == 1) return fb::AnySampler{sampling};
    return fb::AnySampler{fb::RepetitionPenalty{settings.repetition, sampling}};
}

fb::AnyOverflow overflow_of(const std::string& name) {
    if (name == "drop-oldest") return fb::AnyOverflow{fb::DropOldest{}};
    if (name == "shorten") return fb::AnyOverflow{fb::ShortenPassages{}};
    if (name == "sinks") return fb::AnyOverflow{fb::AttentionSinks{}};
    if (name == "rotate") return fb::AnyOverflow{fb::KeepAndRotate{}};
    return fb::AnyOverflow{fb::StopWhenFull{}};
}

}  // namespace

GeneratePolicies policies_of(const GenerateSettings& settings, const flashback::Tokenizer& tokenizer, const Markers& markers) {
    using namespace flashback;
    return AnyPolicies{}
        .wrapper(wrapper_of(markers))
        .layout(layout_of(settings.layout, settings.repeat, settings.aside.options()))
        .reuse(settings.aside.reuse(settings.layout, settings.reuse))
        .overflow(overflow_of(settings.overflow))
        .fusion(settings.fusion.fusion(settings.aside.options().joined))
        .sampler(sampler_of(settings))
        .stopping(StopStrings{settings.stop, Detokenize{[tokenizer](TokenId token) { return tokenizer.decode(token); }}})
        .method(settings.layout == "none" ? AnyMethod{AnySchedule{Never{}}, AnyQuery{}, {"never", {}}}
                                          : settings.schedule.method(settings.stride, settings.query_tokens, tokenizer));
}

}  // namespace cli
