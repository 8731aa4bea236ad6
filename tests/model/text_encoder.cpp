// Vectors of texts: against a forward pass in double, whatever stands beside a text, and what goes wrong.
#include "flashback/model/text_encoder.hpp"

#include "flashback/core/thread_pool.hpp"
#include "flashback/files/load_encoder.hpp"
#include "flashback/model/session.hpp"
#include "support/errors.hpp"
#include "support/random_encoder.hpp"
#include "support/random_model.hpp"
#include "support/temporary_folder.hpp"

#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <doctest/doctest.h>

namespace test_model_text_encoder {

using namespace flashback;
using namespace flashback_test;

namespace {

Encoder encoder_of(const RandomEncoder& random, std::uint32_t pooling = 1) {
    const std::string bytes = random.gguf(pooling).bytes();
    return load_encoder(view(bytes));
}

const std::vector<std::string> some_texts{
    "hello",
    "",
    "Hello, world.",
    "the query: unaffable \u4e2d\u6587",
    "a b c d e f g h i j k l m n o p q r s t u v w x y z a b c d e f g h i j k l m n o p q r s t "
    "u v w x y z a b c d e f g h i j k l m n o p q r s t u v w x y z",  // beyond a tile of keys
    "\u0416",
    "world hello"};

std::vector<float> vectors_of(TextEncoder& e, const std::vector<std::string>& texts, bool queries = false) {
    const std::vector<std::string_view> views{texts.begin(), texts.end()};
    std::vector<float> out(texts.size() * e.dimension(), 77.0f);
    if (queries) {
        e.embed_queries(views, out);
    } else {
        e.embed(views, out);
    }
    return out;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

std::shared_ptr<Transformer> copy_of(const Transformer& model) {
    auto copy = std::make_shared<Transformer>(without_tensors(model));
    each_tensor(
        *copy, [&](const TensorId& id, std::size_t, std::size_t, simd::PackedMatrix& w) { w = matrix_of(model, id).copy(); },
        [&](const TensorId& id, std::size_t, std::vector<float>& v) { v = vector_of(model, id); });
    return copy;
}

std::vector<TokenId> tokens_of(const Encoder& e, std::string_view text) {
    return std::get<WordPiece>(e.tokenizer).encode(text);
}

}  // namespace

TEST_CASE("vectors are those of a plain forward pass in double") {
    for (const char* activation : {"gelu", "gelu_new", "relu"}) {
        for (const bool mean : {true, false}) {
            CAPTURE(activation);
            CAPTURE(mean);
            RandomEncoder random{.activation = activation};
            random.fill();
            const TemporaryFolder folder;  // a GGUF file cannot say what the activation is
            random.write_folder(folder.path(), mean ? "mean_tokens" : "cls_token");
            Encoder encoder = load_encoder(folder.path());
            for (const bool normalise : {true, false}) {
                encoder.normalise = normalise;
                TextEncoder e{encoder};
                const std::vector<float> found = vectors_of(e, some_texts);
                for (std::size_t i = 0; i < some_texts.size(); ++i) {
                    CAPTURE(some_texts[i]);
                    const std::vector<TokenId> tokens = tokens_of(encoder, some_texts[i]);
                    const std::vector<double> expected = random.vector(tokens, mean, normalise);
                    // How far the vector comes to lie if every number is off by what its rounding may do: a sum of n terms by 2^-24 of
                    // their magnitudes for each of sqrt(n) steps, which is what n steps to either side come to.
                    double tolerance = 0;
                    SplitMix64 dice{9};
                    for (int run = 0; run < 4; ++run) {
                        const std::vector<double> disturbed =
                            random.vector(tokens, mean, normalise, [&](double magnitudes, std::size_t terms) {
                                return (2 * dice.uniform() - 1) * magnitudes * std::sqrt(static_cast<double>(terms)) * 0x1p-24;
                            });
                        for (std::size_t k = 0; k < expected.size(); ++k)
                            tolerance = std::max(tolerance, std::abs(disturbed[k] - expected[k]));
                    }
                    double worst = 0;
                    for (std::size_t k = 0; k < expected.size(); ++k)
                        worst = std::max(worst, std::abs(static_cast<double>(found[i * e.dimension() + k]) - expected[k]));
                    CHECK(worst <= 2 * tolerance);
                    CHECK(tolerance < 1e-4);
                }
                CHECK(e.work() > 0);
            }
        }
    }
}

TEST_CASE("every choice of a BERT is heard in its vectors") {
    RandomEncoder random;
    random.fill();
    const Encoder encoder = encoder_of(random);
    TextEncoder e{encoder};
    const std::vector<float> found = vectors_of(e, {"hello unaffable world"});
    const std::vector<TokenId> tokens = tokens_of(encoder, "hello unaffable world");
    const auto distance = [&](const RandomEncoder& other) {
        const std::vector<double> expected = other.vector(tokens, true, true);
        double worst = 0;
        for (std::size_t k = 0; k < expected.size(); ++k)
            worst = std::max(worst, std::abs(static_cast<double>(found[k]) - expected[k]));
        return worst;
    };
    CHECK(distance(random) < 1e-5);
    for (const char* name :
         {"token_types.weight", "position_embd.weight", "token_embd_norm.bias", "blk.0.attn_k.weight", "blk.1.attn_v.bias",
          "blk.0.attn_output_norm.bias", "blk.1.layer_output_norm.bias", "blk.0.ffn_up.bias"}) {
        CAPTURE(name);
        RandomEncoder other = random;
        for (auto& t : other.tensors) {
            if (t.gguf == name) t.values.assign(t.values.size(), 0.0f);
        }
        CHECK(distance(other) > 1e-4);
    }
    RandomEncoder other = random;
    other.activation = "gelu_new";
    CHECK(distance(other) > 2e-5);  // the two forms of GELU differ by up to 5e-4
    other = random;
    other.heads = 2;
    CHECK(distance(other) > 1e-4);
}

TEST_CASE("a vector does not depend on the texts beside it, their order, the batch or the threads, to the bit") {
    for (const DType type : {DType::f32, DType::f16, DType::bf16, DType::q8_0, DType::q4_0}) {
        CAPTURE(layout_of(type).name);
        RandomEncoder random{.width = 64, .heads = 4, .hidden = 96, .type = type};
        random.fill();
        const Encoder encoder = encoder_of(random);
        TextEncoder one{encoder};
        std::vector<float> alone;
        for (const std::string& text : some_texts) {
            const std::vector<float> v = vectors_of(one, {text});
            alone.insert(alone.end(), v.begin(), v.end());
        }
        CHECK(same_bits(vectors_of(one, some_texts), alone));
        CHECK(same_bits(vectors_of(one, some_texts), alone));  // what was there before does no harm
        ThreadPool pool{3};
        for (const std::size_t batch : {7u, 5000u}) {
            CAPTURE(batch);
            TextEncoder other{encoder, {.batch_tokens = batch, .executor = pool}};
            CHECK(same_bits(vectors_of(other, some_texts), alone));
            if (type != DType::f32) continue;
            std::vector<std::string> many;
            std::vector<float> expected;
            for (std::size_t i = 0; i < 300; ++i) {
                const std::size_t k = (i * 5 + i / 7) % some_texts.size();
                many.push_back(some_texts[k]);
                const auto first = alone.begin() + static_cast<std::ptrdiff_t>(k * one.dimension());
                expected.insert(expected.end(), first, first + static_cast<std::ptrdiff_t>(one.dimension()));
            }
            CHECK(same_bits(vectors_of(other, many), expected));
        }
    }
}

TEST_CASE("prefixes stand in front of queries and passages") {
    RandomEncoder random;
    random.fill();
    const Encoder encoder = encoder_of(random);
    TextEncoder plain{encoder};
    TextEncoder e{encoder, {.query_prefix = "query: ", .passage_prefix = "the "}};
    CHECK(same_bits(vectors_of(e, {"hello", "world"}, true), vectors_of(plain, {"query: hello", "query: world"})));
    CHECK(same_bits(vectors_of(e, {"hello", "world"}), vectors_of(plain, {"the hello", "the world"}, true)));
    CHECK(e.fingerprint() != plain.fingerprint());
    CHECK(TextEncoder{encoder}.fingerprint() == plain.fingerprint());
    Encoder other = encoder;
    other.pooling = Pooling::cls;
    CHECK(TextEncoder{other}.fingerprint() != plain.fingerprint());
    CHECK(vectors_of(plain, {}).empty());
}

TEST_CASE("a text that is too long is cut and counted, or refused") {
    RandomEncoder random;
    random.fill();
    Encoder encoder = encoder_of(random);
    CHECK(TextEncoder{encoder}.max_tokens() == 160);
    encoder.max_tokens = 5;
    TextEncoder e{encoder};
    CHECK(same_bits(vectors_of(e, {"a b c d e f", "a b c"}), vectors_of(e, {"a b c", "a b c x"})));
    CHECK(e.cut() == 2);
    CHECK(e.work() == 20);
    TextEncoder strict{encoder, {.long_text = LongText::refuse}};
    CHECK(same_bits(vectors_of(strict, {"a b c"}), vectors_of(e, {"a b c"})));
    check_error(ErrorCode::window, "text 1 of 7 bytes has more than 5 tokens, the most that the encoder takes", [&] {
        vectors_of(strict, {"a", "a b c d"});
    });
    CHECK(same_bits(vectors_of(strict, {"a b c"}), vectors_of(e, {"a b c"})));
    // A text that fills the window to the last position; and one of a million words.
    encoder.max_tokens = 0;
    TextEncoder whole{encoder};
    std::string text;
    for (int i = 0; i < 158; ++i) text += "a ";
    const std::vector<float> full = vectors_of(whole, {text});
    CHECK(whole.cut() == 0);
    CHECK(whole.work() == 160);
    for (int i = 0; i < 1000000; ++i) text += "a ";
    CHECK(same_bits(vectors_of(whole, {text}), full));
    CHECK(whole.cut() == 1);
}

TEST_CASE("an encoder that cannot work is refused") {
    RandomEncoder random;
    random.fill();
    const Encoder encoder = encoder_of(random);
    const auto refuse = [&](const Encoder& e, const TextEncoderOptions& options, std::string_view sentence) {
        check_error(ErrorCode::contract, sentence, [&] { TextEncoder{e, options}; });
    };
    refuse({nullptr, encoder.tokenizer}, {}, "a text encoder needs a model, found null");
    Encoder other = encoder;
    other.max_tokens = 161;
    refuse(other, {}, "takes texts of up to 161 tokens, expected 2 to the 160 positions");
    other.max_tokens = 1;
    refuse(other, {}, "takes texts of up to 1 tokens");
    refuse(encoder, {.batch_tokens = 0}, "evaluates at least 1 token at once, found 0");
    WordPieceVocabulary more = std::get<WordPiece>(encoder.tokenizer).vocabulary();
    more.pieces.push_back("more");
    refuse({encoder.model, WordPiece{more}}, {}, "but the model has only 70 embedding rows");
    TextEncoder e{encoder};
    std::vector<float> out(e.dimension() + 1);
    const std::string_view text = "hello";
    check_error(ErrorCode::contract, "1 vectors of 48 numbers are asked for, but there is room for 49", [&] {
        e.embed({&text, 1}, out);
    });
    check_error(ErrorCode::contract, "is an encoder, whose positions see those after them too",
                [&] { Session{encoder.model}; });
}

TEST_CASE("a damaged model gives no vectors") {
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
        RandomEncoder random;
        random.fill();
        random.tensors[0].values[5 * random.width] = bad;  // of "hello"
        TextEncoder e{encoder_of(random)};
        check_error(ErrorCode::engine, "the vector of text 2 is not finite", [&] { vectors_of(e, {"a", "b", "hello"}); });
        vectors_of(e, {"a", "b"});
    }
}

TEST_CASE("the hidden states of a model that writes texts are vectors, too") {
    // If the head is the identity, the logits of a session are the last hidden states.
    const auto model = random_model({.width = 32, .vocab = 32, .window = 100});
    const auto identity = copy_of(*model);
    identity->head =
        simd::PackedMatrix::of(DType::f32, 32, 32, [](std::size_t o, std::size_t i) { return o == i ? 1.0f : 0.0f; });
    Vocabulary v;
    v.model = "llama";
    v.pieces = {"<unk>", "<s>", "</s>", "a", "b", "c", "\u2581"};
    v.scores.assign(v.pieces.size(), 0.0f);
    v.kinds.assign(v.pieces.size(), TokenKind::normal);
    v.kinds[0] = TokenKind::unknown;
    v.kinds[1] = v.kinds[2] = TokenKind::control;
    v.unknown = 0;
    v.bos = 1;
    v.add_bos = true;
    const Tokenizer tokenizer{v};
    TextEncoder e{{model, tokenizer, Pooling::mean, false}};
    const std::vector<float> found = vectors_of(e, {"abc", "", "abcabcab"});
    std::size_t row = 0;
    for (const std::string text : {"abc", "", "abcabcab"}) {
        CAPTURE(text);
        std::vector<TokenId> tokens{1};
        append(tokens, tokenizer.encode(text));
        Session session{identity};
        const std::span<const float> all = session.evaluate_all(tokens);
        for (std::size_t i = 0; i < 32; ++i) {
            double mean = 0;
            for (std::size_t t = 0; t < tokens.size(); ++t) mean += static_cast<double>(all[t * 32 + i]);
            CHECK(found[row * 32 + i] == static_cast<float>(mean / static_cast<double>(tokens.size())));
        }
        ++row;
    }
    Vocabulary bare = v;
    bare.add_bos = false;
    TextEncoder without{{model, Tokenizer{bare}, Pooling::mean, false}};
    check_error(ErrorCode::contract, "text 0 has no token, and so it has no vector", [&] { vectors_of(without, {""}); });
}

}  // namespace test_model_text_encoder
