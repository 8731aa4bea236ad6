// Our encoder beside llama.cpp on the same GGUF: the tokens of some texts, and their vectors.
//
// peer_llama_embeddings [MODEL.gguf [TEXT...]]     without a model: a small one with random weights
#include "flashback/files/load_encoder.hpp"
#include "flashback/model/text_encoder.hpp"
#include "support/random_encoder.hpp"
#include "support/temporary_folder.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <iostream>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <llama.h>

namespace {

namespace fb = flashback;

void check(bool holds, const char* what) {
    if (!holds) throw std::runtime_error(what);
}

class Peer {
public:
    Peer(const std::string& file, bool mean) {
#if defined(FLASHBACK_LLAMA_CPP_BACK_ENDS)
        ggml_backend_load_all_from_path(FLASHBACK_LLAMA_CPP_BACK_ENDS);
#else
        ggml_backend_load_all();
#endif
        llama_backend_init();
        llama_log_set([](ggml_log_level, const char*, void*) {}, nullptr);
        model_.reset(llama_model_load_from_file(file.c_str(), llama_model_default_params()));
        check(model_ != nullptr, "llama.cpp cannot read the model");
        llama_context_params params = llama_context_default_params();
        params.n_ctx = params.n_batch = params.n_ubatch = 512;
        params.embeddings = true;
        params.pooling_type = mean ? LLAMA_POOLING_TYPE_MEAN : LLAMA_POOLING_TYPE_CLS;
        context_.reset(llama_init_from_model(model_.get(), params));
        check(context_ != nullptr, "llama.cpp cannot make a context");
    }

    std::vector<fb::TokenId> tokens(const std::string& text) const {
        std::vector<fb::TokenId> found(text.size() + 16);
        const auto size = static_cast<int32_t>(text.size());
        const int32_t count = llama_tokenize(llama_model_get_vocab(model_.get()), text.data(), size, found.data(),
                                             static_cast<int32_t>(found.size()), true, true);
        check(count >= 0, "llama.cpp cannot tokenise the text");
        found.resize(static_cast<std::size_t>(count));
        return found;
    }

    /// The vector of a text, of length 1.
    std::vector<float> vector(std::vector<fb::TokenId> tokens) {
        llama_batch batch = llama_batch_init(static_cast<int32_t>(tokens.size()), 0, 1);
        for (std::size_t i = 0; i < tokens.size(); ++i) {
            batch.token[i] = tokens[i];
            batch.pos[i] = static_cast<llama_pos>(i);
            batch.n_seq_id[i] = 1;
            batch.seq_id[i][0] = 0;
            batch.logits[i] = 1;
        }
        batch.n_tokens = static_cast<int32_t>(tokens.size());
        const int32_t failed = llama_encode(context_.get(), batch);
        llama_batch_free(batch);
        check(failed == 0, "llama_encode failed");
        const float* found = llama_get_embeddings_seq(context_.get(), 0);
        check(found != nullptr, "llama.cpp gives no vector");
        std::vector<float> out(found, found + llama_model_n_embd(model_.get()));
        double square = 0;
        for (const float x : out) square += static_cast<double>(x) * x;
        for (float& x : out) x = static_cast<float>(x / std::sqrt(square));
        return out;
    }

private:
    std::unique_ptr<llama_model, decltype(&llama_model_free)> model_{nullptr, &llama_model_free};
    std::unique_ptr<llama_context, decltype(&llama_free)> context_{nullptr, &llama_free};
};

int compare(const std::string& file, const std::vector<std::string>& texts) {
    fb::Encoder encoder = fb::load_encoder(std::filesystem::path{file});
    encoder.normalise = true;
    Peer peer{file, encoder.pooling == fb::Pooling::mean};
    fb::TextEncoder ours{encoder};
    int different = 0;
    for (const std::string& text : texts) {
        const std::string_view view = text;
        std::vector<float> vector(ours.dimension());
        ours.embed({&view, 1}, vector);
        const std::vector<fb::TokenId> tokens = peer.tokens(text);
        const std::vector<float> theirs = peer.vector(tokens);
        check(theirs.size() == vector.size(), "the vectors have different dimensions");
        double product = 0;
        double most = 0;
        for (std::size_t i = 0; i < vector.size(); ++i) {
            product += static_cast<double>(vector[i]) * theirs[i];
            most = std::max(most, std::fabs(static_cast<double>(vector[i]) - theirs[i]));
        }
        std::printf("%zu tokens  cosine %.6f  largest difference %.1e  %s\n", tokens.size(), product, most,
                    text.substr(0, 50).c_str());
        different += product < 0.9999 ? 1 : 0;  // llama.cpp computes GELU from a table of 16 bits
    }
    return different;
}

}  // namespace

int main(int argc, char** argv) try {
    std::vector<std::string> texts{argv + std::min(argc, 2), argv + argc};
    if (texts.empty())
        texts = {
            "hello world", "Hello, WORLD.", "unaffable the query: a b c", "\u4e2d\u6587 caf\u00e9", "zebra quick jumps", "a"};
    const flashback_test::TemporaryFolder folder;
    std::string file = argc > 1 ? argv[1] : (folder.path() / "encoder.gguf").string();
    if (argc < 2) {
        auto bytes = flashback_test::RandomEncoder{}.fill().gguf();
        bytes.set("tokenizer.ggml.bos_token_id", 2u);  // llama.cpp wants [CLS] under this name, too
        folder.write("encoder.gguf", bytes.bytes());
    }
    const int different = compare(file, texts);
    if (different > 0) std::cout << different << " texts are different\n";
    return different > 0 ? 1 : 0;
} catch (const std::exception& error) {
    std::cerr << "peer_llama_embeddings: " << error.what() << '\n';
    return 1;
}
