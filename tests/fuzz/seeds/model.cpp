#include "fuzz/seeds.hpp"

#include "flashback/files/write_model.hpp"
#include "support/byte_level_vocabulary.hpp"
#include "support/gguf_bytes.hpp"
#include "support/random_model.hpp"
#include "support/temporary_folder.hpp"

using namespace flashback;
using flashback_test::GgufBytes;

namespace {

GgufBytes vocabulary_file(const Vocabulary& v) {
    GgufBytes w;
    std::vector<std::int32_t> kinds;
    for (const TokenKind kind : v.kinds) kinds.push_back(static_cast<std::int32_t>(kind));
    w.set("tokenizer.ggml.model", v.model.c_str()).set_array("tokenizer.ggml.tokens", v.pieces);
    w.set_array("tokenizer.ggml.token_type", kinds);
    if (!v.scores.empty()) w.set_array("tokenizer.ggml.scores", v.scores);
    if (v.model == "gpt2") w.set("tokenizer.ggml.pre", v.pre.c_str()).set_array("tokenizer.ggml.merges", v.merges);
    return w;
}

GgufBytes sentencepiece_file() {
    Vocabulary v;
    v.model = "llama";
    v.pieces = {"<unk>", "<s>", "</s>", "<0x41>", "\xe2\x96\x81", "t", "h", "e", "th", "the", "<mark>"};
    v.kinds = {TokenKind::unknown, TokenKind::control, TokenKind::control,     TokenKind::byte,
               TokenKind::normal,  TokenKind::normal,  TokenKind::normal,      TokenKind::normal,
               TokenKind::normal,  TokenKind::normal,  TokenKind::user_defined};
    v.scores.assign(v.size(), -1);
    GgufBytes w = vocabulary_file(v);
    w.set<std::uint32_t>("tokenizer.ggml.bos_token_id", 1).set<std::uint32_t>("tokenizer.ggml.eos_token_id", 2);
    return w.set<std::uint32_t>("tokenizer.ggml.unknown_token_id", 0);
}

GgufBytes byte_level_file() {
    Vocabulary v = flashback_test::with_bytes("the <>0123mark", "llama-bpe");
    flashback_test::merge(v, "t", "h");
    flashback_test::merge(v, "th", "e");
    return vocabulary_file(v).set("tokenizer.ggml.add_bos_token", false);
}

std::string model_with(const GgufBytes& vocabulary, DType type, bool tied) {
    const flashback_test::TemporaryFolder folder;
    const std::size_t width = type == DType::f32 ? 4 : 32;
    const auto model = flashback_test::random_model({.layers = 1,
                                                     .width = width,
                                                     .heads = 2,
                                                     .kv_heads = 1,
                                                     .head_dim = width / 2,
                                                     .hidden = width,
                                                     .vocab = 20,
                                                     .window = 16,
                                                     .tied = tied});
    const std::string tokenizer = vocabulary.bytes();
    write_model(folder.path() / "model.gguf", *model, flashback_test::view(tokenizer), type);
    return flashback_test::bytes_of_file(folder.path() / "model.gguf");
}

}  // namespace

FLASHBACK_FUZZ_SEEDS(model) {
    seeds.push_back({"f32", model_with(sentencepiece_file(), DType::f32, false)});
    seeds.push_back({"f32_tied", model_with(byte_level_file(), DType::f32, true)});
    seeds.push_back({"without_vocabulary", model_with({}, DType::f32, true)});
    seeds.push_back({"f16", model_with(sentencepiece_file(), DType::f16, true)});
    seeds.push_back({"q8_0", model_with(sentencepiece_file(), DType::q8_0, true)});
    seeds.push_back({"large_vocabulary",
                     model_with(vocabulary_file(flashback_test::with_bytes("the <>0123markndoyswxz:lgu")), DType::f32, true)});
    seeds.push_back({"vocabulary_alone", sentencepiece_file().bytes()});
    const auto change = [&](const char* name, GgufBytes file) { seeds.push_back({name, file.bytes()}); };
    change("byte_level_alone", byte_level_file());
    change("no_merges", byte_level_file().erase("tokenizer.ggml.merges"));
    change("kind_of_0", sentencepiece_file().set_array("tokenizer.ggml.token_type", std::vector<std::int32_t>(11)));
    change("few_kinds", sentencepiece_file().set_array("tokenizer.ggml.token_type", std::vector<std::int32_t>(3)));
    change("bos_beyond", sentencepiece_file().set<std::uint32_t>("tokenizer.ggml.bos_token_id", 11));
    change("bos_wanted_but_absent",
           sentencepiece_file().erase("tokenizer.ggml.bos_token_id").set("tokenizer.ggml.add_bos_token", true));
    change("another_algorithm", sentencepiece_file().set("tokenizer.ggml.model", "t5"));
    change("another_split", byte_level_file().set("tokenizer.ggml.pre", "odd"));
    change("merges_of_one", byte_level_file().set_array("tokenizer.ggml.merges", std::vector<std::string>{"th"}));
    GgufBytes config;
    for (const char* name :
         {"context_length", "embedding_length", "block_count", "feed_forward_length", "attention.head_count"})
        config.set<std::uint32_t>(std::string{"llama."} + name, std::string_view{name} == "embedding_length" ? 4 : 2);
    change("no_tensors", config.set("general.architecture", "llama").set("llama.attention.layer_norm_rms_epsilon", 1e-5f));
    change("scaled", GgufBytes{config}.set("llama.rope.scaling.type", "yarn"));
    change("other_values", GgufBytes{config}.set<std::uint32_t>("llama.attention.value_length", 7));
    change("odd_rotary", GgufBytes{config}.set<std::uint32_t>("llama.rope.dimension_count", 1));
    change("bad_base", GgufBytes{config}.set("llama.rope.freq_base", -1.0f));
    change("odd_heads", GgufBytes{config}.set<std::uint32_t>("llama.attention.head_count_kv", 3));
    change("no_multiple", GgufBytes{config}.set<std::uint32_t>("llama.attention.head_count", 3));
    change("count_of_0", GgufBytes{config}.set<std::uint32_t>("llama.block_count", 0));
    change("no_epsilon", GgufBytes{config}.erase("llama.attention.layer_norm_rms_epsilon"));
    change("experts", GgufBytes{config}.set<std::uint32_t>("llama.expert_count", 8));
    config.add_tensor<float>("token_embd.weight", {4, 1}, DType::f32, {1, 2, 3, 4});
    change("no_layers", config);
    GgufBytes other = config;
    other.tensors[0].dims = {1, 4};
    change("other_shape", other);
    other = config;
    other.tensors[0].type = static_cast<std::uint32_t>(DType::i32);
    change("other_type", other);
    other = config;
    other.set<std::uint32_t>("llama.embedding_length", 32).tensors[0] = {"token_embd.weight", {32, 1}, 3, std::string(20, 'q')};
    change("q4_1", other);
    change("many_layers", GgufBytes{config}.set<std::uint32_t>("llama.block_count", 1000000000));
    change("another_family", config.set("general.architecture", "mamba"));
}
