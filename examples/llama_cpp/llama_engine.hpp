/// \file A model and a context of llama.cpp, which this program owns: what an embedder has already.
#pragma once

#include "flashback/core/error.hpp"

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>

#include <llama.h>

namespace flashback_examples {

struct LlamaSettings {
    std::size_t window = 0;    // positions of a text; 0: those that the model was trained for
    std::size_t texts = 4;     // that are written at once
    std::size_t passages = 8;  // that stand beside a text, or are kept, at once
    std::size_t passage_tokens = 64;
    int threads = 1;
    bool exact_cache = true;  // keys and values in F32; else F16, as llama.cpp has by default
};

class LlamaEngine {
public:
    LlamaEngine(const std::string& file, const LlamaSettings& settings) : window_(settings.window) {
        load_back_ends();
        llama_backend_init();
        llama_log_set(
            [](ggml_log_level level, const char* text, void*) {
                if (level >= GGML_LOG_LEVEL_ERROR) static_cast<void>(std::fputs(text, stderr));
            },
            nullptr);
        model_.reset(llama_model_load_from_file(file.c_str(), llama_model_default_params()));
        if (!model_) throw flashback::Error{flashback::ErrorCode::io, "llama.cpp cannot load the model '" + file + "'"};
        if (window_ == 0) window_ = static_cast<std::size_t>(llama_model_n_ctx_train(model_.get()));
        llama_context_params params = llama_context_default_params();
        // Sequences share their cells: so a branch copies nothing, and a token of the text can see a passage of another sequence.
        params.kv_unified = true;
        params.n_seq_max = static_cast<std::uint32_t>(2 * settings.texts + settings.passages);
        params.n_ctx = static_cast<std::uint32_t>(settings.texts * window_ + settings.passages * settings.passage_tokens);
        params.n_batch = params.n_ubatch = 512;
        params.n_threads = params.n_threads_batch = settings.threads;
        if (settings.exact_cache) params.type_k = params.type_v = GGML_TYPE_F32;
        context_.reset(llama_init_from_model(model_.get(), params));
        if (!context_)
            throw flashback::Error{flashback::ErrorCode::engine, "llama.cpp cannot make a context for '" + file + "'"};
    }

    llama_context* context() const { return context_.get(); }
    llama_model* model() const { return model_.get(); }
    const llama_vocab* vocab() const { return llama_model_get_vocab(model_.get()); }
    std::size_t window() const { return window_; }

private:
    /// The kernels for the processor are libraries of their own, which llama.cpp looks for beside the program.
    static void load_back_ends() {
#if defined(FLASHBACK_LLAMA_CPP_BACK_ENDS)
        ggml_backend_load_all_from_path(FLASHBACK_LLAMA_CPP_BACK_ENDS);
#else
        ggml_backend_load_all();
#endif
    }

    struct Free {
        void operator()(llama_model* model) const { llama_model_free(model); }
        void operator()(llama_context* context) const { llama_free(context); }
    };
    std::size_t window_;
    std::unique_ptr<llama_model, Free> model_;
    std::unique_ptr<llama_context, Free> context_;
};

}  // namespace flashback_examples
