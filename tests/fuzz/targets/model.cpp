#include "fuzz/target.hpp"

#include "flashback/files/load.hpp"

using namespace flashback;
using flashback_test::fuzz_check;

// The tokenizer of a file, then its model: each may be there without the other.
FLASHBACK_FUZZ_TARGET(model, .per_byte = 512, .constant = 65536) {
    const GgufFile file = GgufFile::view(bytes, "fuzz.gguf");
    try {
        const Tokenizer tokenizer = load_tokenizer(file);
        for (std::size_t i = 0; i < tokenizer.size(); ++i) static_cast<void>(tokenizer.decode(static_cast<TokenId>(i)));
        static_cast<void>(tokenizer.encode(" the 12 \xc3\xa4<mark>"));
    } catch (const Error& error) {
        fuzz_check(error.code() != ErrorCode::contract, "a bad vocabulary is no broken promise of the caller");
    }
    const std::shared_ptr<const Transformer> model = load_model(file);
    fuzz_check(model->layers.size() == model->config.layers, "a model has the layers that it says");
    fuzz_check(model->embedding.outputs() == model->config.vocab, "a model has a row for each token");
    for (const TokenId token : model->text_head)
        fuzz_check(static_cast<std::size_t>(token) < model->config.vocab, "BOS is a token of the model");
    for (const TokenId token : model->text_ends)
        fuzz_check(static_cast<std::size_t>(token) < model->config.vocab, "EOS is a token of the model");
    for (const double frequency : model->rotary_frequencies) fuzz_check(std::isfinite(frequency), "a frequency is a number");
}
