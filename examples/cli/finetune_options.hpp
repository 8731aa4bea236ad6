/// \file What `finetune` is asked to do.
#pragma once

#include "files_of_command.hpp"
#include "flashback/train/targets.hpp"
#include "markers.hpp"
#include "retrieval_setup.hpp"
#include "training_run.hpp"

#include <CLI/CLI.hpp>

#include <cstddef>
#include <string>
#include <vector>

namespace cli {

/// The options of `finetune`.
struct FinetuneOptions {
    std::string model;
    RetrievalSettings retrieval{.text = {}, .corpus = {}, .layout = "append", .stride = 16};  // the text is what trains
    std::string valid;
    std::size_t valid_strides = 500;
    MarkersOption markers{.choice = "on", .ids = {}};
    bool all = false;
    std::string dtype = "f16";  // of the model file, if all parameters train
    std::vector<std::string> modules{"q", "v"};
    flashback::LoraOptions lora;
    std::string adapter;
    OptimiserOptions optimiser{.steps = 1000,
                               .batch = 16,
                               .lr = 1e-4,
                               .warmup_ratio = 0.1,
                               .beta2 = 0.999,
                               .weight_decay = 0,
                               .clip = 1,
                               .decay = "cosine",
                               .seed = 0};
    std::size_t least_context = 0, most_context = 0;  // 0: those of training_strides
    bool share_history = true;                        // where the layout allows
    std::string examples_cache;
    std::string out;
    bool force = false;
    RunOptions run;
    std::size_t threads = 1;
    bool json = false;

    /// Whether strides share the text in front of them: passages in front of it would be another text to each.
    bool shares() const { return share_history && retrieval.layout != "prepend"; }
    bool with_markers() const { return markers.choice != "off" && retrieval.layout != "none"; }

    /// Adds all but --model.
    void add(CLI::App& command);
    /// Refuses options that contradict each other.
    /// Throws    CLI::ValidationError
    void check() const;
    /// What a run reads and writes.
    FilesOfCommand files() const;

private:
    const CLI::Option* markers_option_ = nullptr;
    const CLI::Option* share_option_ = nullptr;
    std::vector<const CLI::Option*> shape_;    ///< of the LoRA
    std::vector<const CLI::Option*> adapted_;  ///< those of an adapter, which --all-params refuses
};

}  // namespace cli
