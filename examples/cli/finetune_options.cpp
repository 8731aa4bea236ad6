#include "finetune_options.hpp"

#include "common.hpp"
#include "flashback/model/linear_module.hpp"

#include <algorithm>

namespace cli {

namespace fb = flashback;

void FinetuneOptions::add(CLI::App& command) {
    command
        .add_option("--train", retrieval.text,
                    "What to train on: JSON lines {_id,title,text}, WikiText, plain text or a folder; - for standard input")
        ->required()
        ->type_name("FILE");
    retrieval.corpus.add_path(command,
                              "Where passages are found, never those of the document itself: JSON lines, a folder of .txt and "
                              ".md files, a dictd-style text file, or a folder that index --out has written");
    retrieval.corpus.add_search(command);
    command.add_option("--out", out, "The folder to write: the adapter as PEFT has it; with --all-params a GGUF file")
        ->required()
        ->type_name("DIR|FILE");
    command.add_flag("--force", force, "Replace what is to be written if it exists");
    command
        .add_option(
            "--layout", retrieval.layout,
            "Where passages stand: after the text (append), in front of it (prepend), or beside it, where only its newest "
            "tokens see them (aside); none: the same without passages")
        ->check(CLI::IsMember({"append", "prepend", "aside", "none"}))
        ->capture_default_str();
    markers_option_ =
        command
            .add_option("--markers", markers.choice,
                        "Marking tokens around passages. on: train their two rows, starting from the model's; fixed: leave "
                        "these rows as they are; off: no markers, as with --layout none. With --all-params only on or off")
            ->check(CLI::IsMember({"on", "fixed", "off"}))
            ->capture_default_str();
    add_marker_ids(command, markers.ids);
    std::vector<std::string> names{"none"};
    for (const fb::LinearModule module : fb::linear_modules) names.emplace_back(fb::to_string(module));
    auto* const all_params = command.add_flag("--all-params", all, "Train every parameter, instead of a LoRA and two rows");
    add_dtype(command, dtype, {"f32", "f16", "bf16"})->needs(all_params)->capture_default_str();
    adapted_.push_back(
        command.add_option("--lora-targets", modules, "The linear layers that get a LoRA, or none: only markers train")
            ->delimiter(',')
            ->check(CLI::IsMember(names))
            ->capture_default_str());
    shape_.push_back(command.add_option("--rank", lora.rank, "The rank of the LoRA")
                         ->transform(at_least(1))
                         ->check(CLI::Range(1, 1 << 16))
                         ->capture_default_str());
    shape_.push_back(command.add_option("--alpha", lora.alpha, "The LoRA is scaled by alpha / rank")
                         ->check(number_above(0, 1e6))
                         ->capture_default_str());
    shape_.push_back(command.add_option("--dropout", lora.dropout, "The dropout of what enters the LoRA")
                         ->check(number_from(0, 0.99))
                         ->capture_default_str());
    adapted_.push_back(
        command.add_option("--adapter", adapter, "Begin with the numbers of this adapter")->type_name("DIR|FILE"));
    command.add_option("--stride", retrieval.stride, "Tokens to predict for each retrieval")
        ->transform(at_least(1))
        ->capture_default_str();
    add_passages(command, retrieval);
    add_repeat(command, retrieval.repeat);
    retrieval.aside.add(command, nullptr, /*text_moves=*/false);
    retrieval.aside.join();  // training knows passages beside the text as one block only
    command
        .add_option("--context-min", least_context,
                    "The fewest tokens of text and passages in front of a stride; each stride, or the first of those that "
                    "share a text, "
                    "gets a random number of them. By default half of the window")
        ->transform(at_least(1));
    command
        .add_option("--context-max", most_context,
                    "The most of them; the first stride begins after that many. By default all that a stride leaves of the "
                    "window, less 1, and the first stride begins after a whole window")
        ->transform(at_least(1));
    share_option_ = command.add_flag(
        "--share-history,!--no-share-history", share_history,
        "Let strides share the text in front of them: it is evaluated once, and they are branches that read on with their own "
        "passages. A step then has the strides of up to four texts, --batch in all, or nearly. The default, but for --layout "
        "prepend, where each text follows another passage. --no-share-history: each stride is an example of its own");
    command
        .add_option(
            "--examples-cache", examples_cache,
            "Keep in this file what was found for the examples; it serves all runs with the same text, corpus and strides, "
            "whatever the layout (none searches nothing, and leaves the file alone). With shared histories --batch and "
            "--repeat "
            "change the strides")
        ->type_name("FILE");
    optimiser.add(command, "Strides",
                  "The seed of the LoRA, of dropout, of the lengths of contexts and of the order of the examples");
    auto* const validation =
        command
            .add_option("--valid", valid,
                        "Measure the perplexity of this text, as ppl --layout does. With --context-max N, contexts are what N "
                        "leaves beside passages, and the first stride begins at token N")
            ->type_name("FILE");
    command.add_option("--valid-strides", valid_strides, "Measure only the first N strides of --valid")
        ->transform(at_least(1))
        ->needs(validation)
        ->capture_default_str();
    run.add(command, validation);
    add_threads(command, threads);
    add_json(command, json);
}

void FinetuneOptions::check() const {
    if (retrieval.layout == "none" && markers_option_->count() > 0 && markers.choice != "off")
        throw CLI::ValidationError("--markers " + markers.choice + " needs passages to stand around, found --layout none");
    if (retrieval.layout != "none" && retrieval.corpus.path.empty())
        throw CLI::ValidationError("finetune needs --corpus, or --layout none");
    if (share_option_->count() > 0 && share_history && !shares())
        throw CLI::ValidationError(
            "--share-history needs passages behind the text or beside it, found --layout prepend, where the text reads them");
    check_repeat(retrieval.layout, retrieval.repeat);
    retrieval.aside.check(retrieval.layout);
    if (all) {
        for (const CLI::Option* option : adapted_) {
            if (option->count() > 0)
                throw CLI::ValidationError(option->get_name() + " belongs to an adapter, found --all-params, which makes none");
        }
        if (with_markers() && markers.choice == "fixed")
            throw CLI::ValidationError("--markers fixed would train with --all-params, expected on or off");
    }
    const bool with_lora = !all && std::ranges::find(modules, "none") == modules.end();
    if (!all && !with_lora) {
        if (modules.size() > 1)
            throw CLI::ValidationError("--lora-targets: found none beside other names, expected one or the other");
        if (!with_markers() || markers.choice != "on")
            throw CLI::ValidationError("nothing trains: expected --lora-targets, or --markers on with passages");
    }
    for (const CLI::Option* option : shape_) {
        if (!with_lora && option->count() > 0)
            throw CLI::ValidationError(option->get_name() + " belongs to a LoRA, found " +
                                       (all ? "--all-params" : "--lora-targets none"));
    }
}

FilesOfCommand FinetuneOptions::files() const {
    FilesOfCommand files;
    files.reads("--model", model);
    files.reads("--train", retrieval.text);
    files.reads("--corpus", retrieval.corpus.path);
    files.reads("--valid", valid);
    files.reads("--adapter", adapter);
    all ? files.writes("--out", out, force) : files.writes_adapter("--out", out, force);
    files.writes_if_given("--examples-cache", examples_cache);
    run.name_files(files);
    return files;
}

}  // namespace cli
