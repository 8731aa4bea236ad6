#include "adapter_option.hpp"
#include "common.hpp"
#include "engine.hpp"
#include "finetune_options.hpp"
#include "flashback/core/error.hpp"
#include "flashback/core/fingerprint.hpp"
#include "flashback/data/ranges.hpp"
#include "flashback/data/retrieval_examples.hpp"
#include "flashback/data/shared_history.hpp"
#include "flashback/data/shuffled_passes.hpp"
#include "flashback/data/stride_cache.hpp"
#include "flashback/eval/retrieval_perplexity.hpp"
#include "flashback/files/load.hpp"
#include "flashback/files/load_adapter.hpp"
#include "flashback/files/save_adapter.hpp"
#include "flashback/files/write_model.hpp"
#include "flashback/format/peft.hpp"
#include "flashback/model/fingerprint.hpp"
#include "flashback/model/session.hpp"
#include "flashback/retrieval/bm25.hpp"
#include "flashback/train/trainer.hpp"
#include "job.hpp"
#include "retrieval_setup.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iomanip>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <range/v3/algorithm/count_if.hpp>

namespace cli {
namespace {

namespace fb = flashback;

fb::TrainingTargets targets_of(const FinetuneOptions& o, const Markers& markers) {
    if (o.all) return {.all = true};
    fb::TrainingTargets targets{.lora = o.lora};
    for (const fb::LinearModule module : fb::linear_modules) {
        if (std::ranges::find(o.modules, fb::to_string(module)) != o.modules.end()) targets.lora.modules.push_back(module);
    }
    if (o.with_markers() && o.markers.choice == "on") targets.markers = markers.ids;
    return targets;
}

/// A text and its strides. Documents are separated as in `ppl`.
struct Strides {
    fb::TextStream text;
    fb::RetrievedStrides found;
};

/// What is searched. It is made when it is first needed, which it is not if a file has all passages.
class Search {
public:
    Search(const FinetuneOptions& o, const fb::Tokenizer& tokenizer, fb::ExecutorRef executor)
        : o_(&o), tokenizer_(&tokenizer), executor_(executor), corpus_(o.retrieval.corpus) {
        if (o.retrieval.layout == "none") corpus_.path.clear();
    }

    fb::RetrievedStrides find(const fb::TextStream& text, fb::StrideOptions options, const fb::AnyPolicies& policies,
                              const char* what) {
        const ProgressLine line{what};
        options.executor = executor_;
        options.progress = [&](std::size_t done, std::size_t all) { line.show(done, all); };
        if (corpus_.is_xapian()) {
            options.executor = {};
            fb::AnyRetriever shards = corpus_.open_xapian(*tokenizer_);
            return fb::retrieve_strides(text, shards, policies.query(), options);
        }
        if (!index_) index_ = corpus_.open(*tokenizer_, o_->retrieval.passage_tokens, executor_);
        return fb::retrieve_strides(text, *index_, policies.query(), options);
    }

    /// A number for all that decides what is found, besides the text.
    std::uint64_t key() const {
        return fb::Fingerprint::of(corpus_.key(), std::uint64_t{o_->retrieval.query_tokens},
                                   std::uint64_t{o_->retrieval.passage_tokens});
    }

private:
    const FinetuneOptions* o_;
    const fb::Tokenizer* tokenizer_;
    fb::ExecutorRef executor_;
    CorpusOption corpus_;
    std::optional<fb::Bm25Index> index_;
};

/// What a step is made of.
struct StepShape {
    std::size_t strides_of_text = 1;  ///< that share it
    std::size_t texts = 0;

    std::size_t strides() const { return strides_of_text * texts; }
};

/// As many strides as --batch says, or nearly, of a few texts: these feed threads, and differ more than strides of one text do.
StepShape shared_step(std::size_t batch, std::size_t most_strides_of_text) {
    constexpr std::size_t texts_of_step = 4;
    const auto nearest = [](std::size_t a, std::size_t b) { return std::max<std::size_t>((a + b / 2) / b, 1); };
    const std::size_t texts = std::clamp<std::size_t>(batch / 2, 1, texts_of_step);
    const std::size_t strides = nearest(batch, texts);
    if (strides <= most_strides_of_text) return {strides, texts};
    return {most_strides_of_text, nearest(batch, most_strides_of_text)};
}

/// Lets contexts grow from a random length, so that strides share a text; the greatest is what fits.
StepShape grow_contexts(const FinetuneOptions& o, std::size_t window, std::size_t head, fb::StrideOptions& options) {
    const std::size_t passages = options.passages * options.passage_tokens;
    const std::size_t fixed = head + passages + (options.passages > 0 ? marker_names.size() * options.passages : 0) +
                              o.retrieval.repeat + options.stride;
    const std::size_t most = std::min(options.most_context - passages, window - std::min(window, fixed));
    if (most == 0) {
        FLASHBACK_THROW(fb::ErrorCode::window, "a window of ", window, " tokens leaves no room for text beside ", fixed,
                        " of head, passages and a stride, expected fewer --passages or --passage-tokens");
    }
    options.context = std::min(options.context - passages, most);
    const StepShape shape = shared_step(o.optimiser.batch, (most - options.context) / options.stride + 1);
    options.hold = shape.strides_of_text * options.stride;
    options.most_context = most - (options.hold - options.stride);
    return shape;
}

/// Where examples begin and how much they read.
fb::StrideOptions training_options(const FinetuneOptions& o, std::size_t window, std::size_t head, StepShape& shape) {
    fb::StrideOptions options = fb::training_strides(window, o.optimiser.seed,
                                                     {.stride = o.retrieval.stride,
                                                      .passages = o.retrieval.layout == "none" ? 0 : o.retrieval.passages,
                                                      .passage_tokens = o.retrieval.passage_tokens});
    if (o.most_context > 0) options.init = options.most_context = o.most_context;
    options.context = o.least_context > 0 ? o.least_context : std::min(options.context, options.most_context);
    const std::size_t passages = options.passages * options.passage_tokens;
    if (options.most_context < options.context || options.most_context > window - options.stride) {
        FLASHBACK_THROW(fb::ErrorCode::window, "contexts have ", options.context, " to ", options.most_context,
                        " tokens, expected ascending numbers up to the ", window - options.stride,
                        " that a stride leaves of the window");
    }
    if (passages >= options.context) {
        FLASHBACK_THROW(fb::ErrorCode::window, "passages of up to ", passages, " tokens leave no text of contexts of ",
                        options.context, " and more, expected a --context-min above ", passages,
                        ", or fewer --passages or --passage-tokens");
    }
    shape = {.texts = o.optimiser.batch};
    if (o.shares()) shape = grow_contexts(o, window, head, options);
    return options;
}

Strides training_data(const FinetuneOptions& o, const fb::Tokenizer& tokenizer, const fb::Transformer& model,
                      const fb::AnyPolicies& policies, Search& search, std::uint64_t& key, StepShape& shape) {
    Strides data{read_stream(o.retrieval, tokenizer), {}};
    const fb::StrideOptions options = training_options(o, model.config.window, model.text_head.size(), shape);
    const std::size_t tokens = data.text.tokens().size();
    if (tokens < options.init + options.stride) {
        FLASHBACK_THROW(fb::ErrorCode::corpus, "the text '", o.retrieval.text, "' has ", tokens, " tokens, expected at least ",
                        options.init, o.most_context > 0 ? ", the longest context" : ", a window", ", and a stride of ",
                        options.stride);
    }
    if (!o.examples_cache.empty() && o.retrieval.corpus.is_xapian()) {
        FLASHBACK_THROW(fb::ErrorCode::unsupported, "--examples-cache cannot tell whether '",
                        fb::printable(o.retrieval.corpus.path),
                        "' has changed, expected documents, or an index that index --out has written");
    }
    key = fb::strides_key(data.text, options, search.key());
    const auto make = [&] { return search.find(data.text, options, policies, "retrieving for"); };
    if (o.examples_cache.empty() || options.passages == 0) {  // without passages there is nothing to keep
        data.found = make();
    } else {
        data.found = first_before_others([&] {
            return fb::cached_strides(o.examples_cache, key, make,
                                      [](std::string_view why) { std::cerr << "flashback: " << why << "; it is made anew\n"; });
        });
    }
    const auto with_passages =
        ranges::count_if(fb::each_stride(data.found), [](const auto& stride) { return stride.found() > 0; });
    if (options.passages > 0 && with_passages == 0) {
        FLASHBACK_THROW(fb::ErrorCode::corpus, "the corpus '", o.retrieval.corpus.path, "' has no passage for any stride of '",
                        o.retrieval.text, "' that is not from the document itself");
    }
    std::cerr << "flashback: " << data.text.documents().size() << " documents of " << tokens << " tokens give "
              << data.found.size() << " strides, " << with_passages << " with passages; " << o.optimiser.steps << " steps of "
              << shape.strides();
    if (shape.strides_of_text > 1) std::cerr << ", of which each " << shape.strides_of_text << " share a text,";
    std::cerr << " are " << std::setprecision(3)
              << static_cast<double>(o.optimiser.steps) * static_cast<double>(shape.strides()) /
                     static_cast<double>(data.found.size())
              << " passes\n";
    if (shape.strides() != o.optimiser.batch) {
        std::cerr << "flashback: --batch " << o.optimiser.batch << " became " << shape.strides()
                  << ", a multiple of the strides that share a text; --no-share-history keeps it\n";
    }
    return data;
}

/// As in `ppl`, but contexts are no longer than those of the examples: their greatest length less the room of the passages, the
/// same for every layout.
Strides validation_data(const FinetuneOptions& o, const fb::Tokenizer& tokenizer, const fb::Transformer& model,
                        const fb::AnyPolicies& policies, Search& search) {
    RetrievalSettings settings = o.retrieval;
    settings.text = o.valid;
    settings.strides = o.valid_strides;
    settings.init = o.most_context;
    Strides data{read_stream(settings, tokenizer), {}};
    fb::StrideOptions options = stride_options(settings, model.config.window, model.text_head.size(), data.text.tokens().size(),
                                               "give --valid a longer text, or a shorter --context-max");
    if (o.most_context > 0) {
        const std::size_t passages = settings.passages * settings.passage_tokens;
        const std::size_t text = o.most_context > passages ? o.most_context - passages : o.most_context;
        options.context = std::min(options.context, text);
    }
    data.found = search.find(data.text, options, policies, "retrieving to validate for");
    return data;
}

/// Perplexity with what trains as it is now, measured as `ppl --layout` does.
fb::RetrievalPerplexity measured(const fb::Trainer& trainer, bool all, const Strides& data, const fb::AnyPolicies& policies,
                                 fb::TokenSpan masked, fb::ThreadPool& pool) {
    const auto model = trainer.model();
    const auto adapter = all ? nullptr : std::make_shared<const fb::PackedAdapter>(trainer.adapter(), model->config);
    std::vector<fb::Session> sessions;
    for (std::size_t i = 0; i < fb::ExecutorRef{pool}.concurrency(); ++i)
        sessions.push_back(session_of(model, {.adapter = adapter}));
    return fb::retrieval_perplexity(std::span{sessions}, policies, data.text.tokens(), data.found,
                                    {.masked = masked, .executor = pool, .ranks = ranks()});
}

fb::RunDescription describe(const FinetuneOptions& o, const fb::LoraOptions& lora, const fb::Transformer& model,
                            std::uint64_t data, const StepShape& shape, const std::optional<fb::Adapter>& first) {
    std::string modules;  // always in the same order, whatever that of the option
    for (const fb::LinearModule module : lora.modules)
        modules += (modules.empty() ? "" : ",") + std::string{fb::to_string(module)};
    const std::string trained = o.all ? "all" : modules.empty() ? "none" : modules;
    // A run that shares nothing is described as a checkpoint that does not name this.
    fb::RunDescription run{{"command", "finetune"},
                           {"share-history", o.shares() ? std::to_string(shape.strides_of_text) : "absent"},
                           {"model", hexadecimal(model.fingerprint)},
                           {"data", hexadecimal(data)},
                           {"layout", o.retrieval.layout},
                           {"markers", o.markers.choice},
                           {"lora-targets", trained},
                           {"rank", std::to_string(lora.rank)},
                           {"alpha", shortest(static_cast<double>(lora.alpha))},
                           {"dropout", shortest(static_cast<double>(lora.dropout))},
                           {"adapter", first ? hexadecimal(fb::fingerprint(*first)) : "none"}};
    // Older checkpoints lack these names, so they are added only if they say something.
    if (o.retrieval.repeat > 0) run.emplace_back("repeat", std::to_string(o.retrieval.repeat));
    if (o.retrieval.layout == "aside") run.emplace_back("seeing", std::to_string(o.retrieval.aside.options().seeing));
    if (!o.markers.ids.empty()) run.emplace_back("marker-ids", joined(o.markers.ids));
    o.optimiser.describe(run);
    return run;
}

/// Training examples by number.
struct Examples {
    std::size_t size;
    std::function<fb::TrainingExample(std::size_t)> at;
};

/// `more` are what only one kind of examples is made of.
template <class Made, class... More>
Examples examples_of(const Strides& data, const fb::AnyPolicies& policies, const fb::Transformer& model, More... more) {
    const auto made =
        std::make_shared<const Made>(data.text.tokens(), data.found, policies, model.text_head, model.config.window, more...);
    return {made->size(), [made](std::size_t i) { return (*made)[i]; }};
}

void finetune(const FinetuneOptions& o) {
    o.files().check();
    const fb::ModelSource file = open_model(o.model);
    const fb::Tokenizer tokenizer = fb::load_tokenizer(file);
    const Markers markers = markers_of({o.with_markers() ? "on" : "off", o.markers.ids}, tokenizer);  // fixed stand there, too

    fb::ThreadPool pool = start_threads(o.threads);
    const auto model = load_weights(file, {.executor = pool});
    if (o.all) fb::check_gguf_writable(model->config);
    const fb::TrainingTargets targets = targets_of(o, markers);
    const fb::AnyPolicies policies = policies_of(o.retrieval, markers);
    Search search{o, tokenizer, pool};
    std::uint64_t key = 0;
    StepShape shape;
    const Strides data = training_data(o, tokenizer, *model, policies, search, key, shape);
    if (const std::size_t threads = fb::ExecutorRef{pool}.concurrency() * ranks().size(); shape.texts < threads) {
        std::cerr << "flashback: a step has " << shape.texts << (shape.texts > 1 ? " texts" : " text")
                  << ", and one thread trains on each, so " << threads - shape.texts << " of " << threads
                  << " have nothing to do; a greater --batch has more"
                  << (o.shares() ? ", and with --no-share-history each stride is a text" : "") << "\n";
    }
    std::optional<Strides> valid;
    if (!o.valid.empty()) valid = validation_data(o, tokenizer, *model, policies, search);

    const Examples examples =
        o.shares() ? examples_of<fb::SharedHistoryExamples<fb::AnyPolicies>>(data, policies, *model, shape.strides_of_text)
                   : examples_of<fb::RetrievalExamples<fb::AnyPolicies>>(data, policies, *model);
    fb::Trainer trainer{model, targets, o.optimiser.trainer_options(markers.ids, pool)};
    std::optional<fb::Adapter> first;
    if (!o.adapter.empty()) trainer.load(first.emplace(fb::load_adapter(o.adapter, *model)));
    fb::ShuffledPasses order{examples.size, o.optimiser.seed};
    std::vector<fb::TrainingExample> batch(shape.texts);
    const auto step = [&](std::uint64_t number) {
        for (std::size_t i = 0; i < batch.size(); ++i) batch[i] = examples.at(order[number * batch.size() + i]);
        return trainer.step(batch);
    };
    std::optional<fb::RetrievalPerplexity> last;
    std::function<double()> validate;
    if (valid) {
        validate = [&] {
            last = measured(trainer, o.all, *valid, policies, markers.ids, pool);
            return last->nats;
        };
    }
    const auto write = [&] {
        if (o.all) return write_gguf(o.out, *trainer.model(), file, &tokenizer.vocabulary(), dtype_named(o.dtype));
        fb::save_adapter(trainer.adapter(), model->config, o.out,
                         {.base_model = o.model.empty() ? model->config.name : o.model, .dropout = o.lora.dropout});
    };
    const auto number_of = [](const Strides& all) { return fb::Fingerprint::of(key_of(all.text.tokens()), key_of(all.found)); };
    const std::uint64_t validation = valid ? number_of(*valid) : 0;
    const RunResult result = train(trainer, o.optimiser.steps, o.run, describe(o, targets.lora, *model, key, shape, first),
                                   {step, write, validate, validation, number_of(data)});  // what was found, wherever
    if (!ranks().first()) return;

    Json json{{"adapter", o.all ? Json(nullptr) : Json(o.out)},
              {"trained_model", o.all ? Json(o.out) : Json(nullptr)},
              {"model", file.name()},
              {"layout", o.retrieval.layout},
              {"repeat", o.retrieval.repeat},
              {"markers", o.with_markers() ? o.markers.choice : "off"},
              {"parameters", trainer.layout().elements()},
              {"examples", examples.size},
              {"share_history", o.shares()},
              {"batch", shape.strides()},
              {"strides_of_text", shape.strides_of_text}};
    o.retrieval.aside.describe(o.retrieval.layout, json);
    describe(result, o.optimiser.steps, json);
    if (last) {
        json["valid"] = {{"strides", last->strides},         {"tokens", last->tokens},
                         {"nats_per_token", last->nats},     {"standard_error", last->standard_error},
                         {"perplexity", last->perplexity()}, {"perplexity_standard_error", last->perplexity_standard_error()}};
    }
    if (o.json) return print(json);
    std::cout << std::fixed << "wrote '" << o.out << "', " << json["parameters"] << " parameters, after " << o.optimiser.steps
              << " steps in " << std::setprecision(1) << result.seconds << " s\n";
    if (last) {
        std::cout << std::setprecision(4) << "perplexity of '" << o.valid << "' " << last->perplexity() << " +- "
                  << last->perplexity_standard_error() << " over " << last->tokens << " tokens in " << last->strides
                  << " strides\n";
    }
}

}  // namespace

void add_finetune(CLI::App& app, Command& run) {
    auto o = std::make_shared<FinetuneOptions>();
    CLI::App& command = *app.add_subcommand(
        "finetune", "Train a LoRA and marking tokens, or all of a model, to read passages where they stand");
    add_model(command, o->model);
    o->add(command);
    command.footer(
        "Example:\n  flashback finetune --train README.md --corpus CHANGELOG.md --steps 3 --batch 2 --out /tmp/adapter "
        "--force");
    command.callback([o, &run] {
        o->check();
        o->run.settle(o->out);
        run = [o] { finetune(*o); };
    });
}

}  // namespace cli
