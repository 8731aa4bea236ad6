// Models, adapters and what runs them, while memory or a file fails: a clean error, nothing left behind, and what was is what is.
#include "flashback/core/thread_pool.hpp"
#include "flashback/decoder/decoder.hpp"
#include "flashback/eval/perplexity.hpp"
#include "flashback/files/load.hpp"
#include "flashback/files/load_adapter.hpp"
#include "flashback/files/save_adapter.hpp"
#include "flashback/files/weights_cache.hpp"
#include "flashback/files/write_model.hpp"
#include "flashback/format/gguf_fingerprint.hpp"
#include "flashback/format/peft.hpp"
#include "flashback/model/packed_adapter.hpp"
#include "flashback/model/session.hpp"
#include "flashback/testing/null_model.hpp"
#include "support/faults.hpp"
#include "support/gguf_bytes.hpp"
#include "support/random_adapter.hpp"
#include "support/random_model.hpp"
#include "support/temporary_folder.hpp"

#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <vector>

#include <doctest/doctest.h>

using namespace flashback;
using namespace flashback_test;

namespace {

constexpr std::array every_fault{Fault::allocation, Fault::file, Fault::end_of_file, Fault::less, Fault::interrupted};

std::shared_ptr<const Transformer> tiny_model() {
    return random_model(
        {.layers = 1, .width = 8, .heads = 2, .kv_heads = 1, .head_dim = 4, .hidden = 8, .vocab = 20, .window = 64});
}

GgufBytes tiny_vocabulary() {
    GgufBytes w;
    std::vector<std::string> pieces{"<unk>", "<s>", "</s>"};
    std::vector<std::int32_t> kinds{2, 3, 3};
    while (pieces.size() < 20) {
        pieces.emplace_back(1, static_cast<char>('a' + pieces.size()));
        kinds.push_back(1);
    }
    w.set("tokenizer.ggml.model", "llama").set_array("tokenizer.ggml.tokens", pieces);
    return w.set_array("tokenizer.ggml.token_type", kinds).set<std::uint32_t>("tokenizer.ggml.bos_token_id", 1);
}

/// A model file in a folder; its vocabulary has a space in every text's front.
std::filesystem::path model_file(const TemporaryFolder& folder, DType type = DType::f32) {
    const std::string vocabulary = tiny_vocabulary().bytes();
    const auto path = folder.path() / "model.gguf";
    const std::size_t width = type == DType::f32 ? 8 : 32;
    const auto model = random_model({.layers = 1,
                                     .width = width,
                                     .heads = 2,
                                     .kv_heads = 1,
                                     .head_dim = width / 2,
                                     .hidden = width,
                                     .vocab = 20,
                                     .window = 64});
    write_model(path, *model, view(vocabulary), type);
    return path;
}

bool same(std::span<const float> a, std::span<const float> b) { return std::ranges::equal(std::as_bytes(a), std::as_bytes(b)); }

constexpr std::array<TokenId, 5> text{1, 5, 7, 9, 11};

}  // namespace

TEST_CASE("faults: a model and its tokenizer are loaded, or nothing is left") {
    const TemporaryFolder folder;
    for (const DType type : {DType::f32, DType::q8_0}) {
        const auto path = model_file(folder, type);
        for (const FileAccess access : {FileAccess::map, FileAccess::copy}) {
            for (const Fault fault : every_fault) {
                with_each_fault(fault, [&] {
                    if (load_model(path, {}, access)->layers.size() != 1) FAIL_CHECK("loaded wrongly");
                });
                with_each_fault(fault, [&] {
                    if (load_tokenizer(path, access).size() != 20) FAIL_CHECK("loaded wrongly");
                });
            }
        }
    }
}

TEST_CASE(
    "faults: a file of repacked weights is written whole or not at all, and whatever fails, a model that is loaded is right") {
    const TemporaryFolder folder;
    const auto path = model_file(folder);
    const auto cache = weights_cache_beside(path);
    const std::uint64_t expected = fingerprint(*load_model(path));
    for (const bool there : {false, true}) {
        for (const Fault fault : every_fault) {
            with_each_fault(
                fault,
                [&] {
                    std::filesystem::remove(cache);
                    if (there) load_model(path, {.weights_cache = cache});
                    return 0;
                },
                [&](int) {
                    const auto model = load_model(path, {.weights_cache = cache, .verify_cache = true});
                    if (fingerprint(*model) != expected) FAIL_CHECK("loaded wrongly");
                },
                [&](int) {
                    if (std::filesystem::exists(cache)) CHECK_NOTHROW(WeightsCache::open(cache).verify());
                    CHECK(std::distance(std::filesystem::directory_iterator{folder.path()}, {}) <= 2);
                    CHECK(fingerprint(*load_model(path, {.weights_cache = cache})) == expected);
                });
        }
    }
}

TEST_CASE("faults: a model that several threads convert is loaded, or nothing is left and no thread ends the program") {
    GgufBytes w = tiny_vocabulary();
    w.set("general.architecture", "llama").set("llama.attention.layer_norm_rms_epsilon", 1e-5f);
    for (const auto& [name, value] :
         {std::pair{"context_length", 8u}, std::pair{"embedding_length", 32u}, std::pair{"block_count", 1u},
          std::pair{"feed_forward_length", 32u}, std::pair{"attention.head_count", 1u}})
        w.set<std::uint32_t>(std::string{"llama."} + name, value);
    const auto add = [&](const std::string& name, std::uint64_t rows) {  // Q4_1 becomes Q8_0, in memory of the threads' own
        w.tensors.push_back({name, {32, rows}, 3, std::string(20 * rows, '\1')});
    };
    add("token_embd.weight", 20);
    for (const char* name : {"attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"})
        add(std::string{"blk.0."} + name + ".weight", 32);
    for (const char* name : {"blk.0.attn_norm.weight", "blk.0.ffn_norm.weight", "output_norm.weight"})
        w.add_tensor<float>(name, {32}, DType::f32, std::vector<float>(32, 1));
    const std::string bytes = w.bytes();
    const GgufFile file = view(bytes);
    ThreadPool pool{2};
    with_each_fault(Fault::allocation, [&] {
        if (load_model(file, pool)->notes.size() != 1) FAIL_CHECK("loaded wrongly");
    });
}

TEST_CASE("faults: a model is written whole, or what was there stays and nothing else is left") {
    const TemporaryFolder folder;
    const auto path = model_file(folder);
    const std::uint64_t before = fingerprint(GgufFile::open(path));
    const auto other = random_model(
        {.layers = 1, .width = 8, .heads = 2, .kv_heads = 1, .head_dim = 4, .hidden = 8, .vocab = 20, .window = 64, .seed = 2});
    const std::string vocabulary = tiny_vocabulary().bytes();
    const GgufFile tokenizer = view(vocabulary);
    const auto target = folder.path() / "written.gguf";
    for (const Fault fault : every_fault) {
        with_each_fault(
            fault,
            [&] {
                std::filesystem::copy_file(path, target, std::filesystem::copy_options::overwrite_existing);
                return 0;
            },
            [&](int) { write_model(target, *other, tokenizer, DType::f32); },
            [&](int) {
                // The old one, or the new one where only the folder could not be synced.
                const std::uint64_t now = fingerprint(GgufFile::open(target));
                CHECK((now == before || now == other->fingerprint || load_model(target)->fingerprint == now));
                CHECK(std::distance(std::filesystem::directory_iterator{folder.path()}, {}) == 2);
            });
    }
}

TEST_CASE("faults: an adapter is saved and loaded, or nothing is left") {
    const TemporaryFolder folder;
    const auto model = tiny_model();
    const Adapter adapter = random_adapter(model->config, {.ids = {3, 4}});
    save_adapter(adapter, model->config, folder.path() / "good");
    for (const FileAccess access : {FileAccess::map, FileAccess::copy}) {
        for (const Fault fault : every_fault) {
            with_each_fault(fault, [&] {
                if (load_adapter(folder.path() / "good", *model, {.access = access}).embedding_ids.size() != 2)
                    FAIL_CHECK("loaded wrongly");
            });
        }
    }
    for (const Fault fault : every_fault) {
        with_each_fault(
            fault,
            [&] {
                std::filesystem::remove_all(folder.path() / "new");
                return 0;
            },
            [&](int) { save_adapter(adapter, model->config, folder.path() / "new"); },
            [&](int) {
                // A configuration that is there has its numbers beside it, and no part of a file is left.
                if (!std::filesystem::exists(folder.path() / "new")) return;
                if (std::filesystem::exists(folder.path() / "new" / peft_config_file))
                    CHECK(fingerprint(load_adapter(folder.path() / "new", *model)) == fingerprint(adapter));
                for (const auto& entry : std::filesystem::directory_iterator{folder.path() / "new"})
                    CHECK(entry.path().filename().string().find(".part") == std::string::npos);
            });
    }
    with_each_fault(Fault::allocation, [&] { const PackedAdapter packed{adapter, model->config}; });
}

TEST_CASE("faults: a session that fails holds what it held, and goes on to the same logits") {
    const auto model = tiny_model();
    const auto adapter = std::make_shared<const PackedAdapter>(random_adapter(model->config), model->config);
    for (const bool adapted : {false, true}) {
        SessionOptions options{.piece = 2};
        if (adapted) options.adapter = adapter;
        Session whole{model, options};
        const std::span<const float> logits = whole.evaluate(text);
        const std::vector<float> expected{logits.begin(), logits.end()};
        const auto at_three = [&] {
            Session session{model, options};
            session.evaluate(TokenSpan{text}.first(3));
            return session;
        };
        const auto unchanged = [&](Session& session) {
            REQUIRE(session.size() == 3);
            CHECK(same(session.evaluate(TokenSpan{text}.subspan(3)), expected));
        };
        with_each_fault(Fault::allocation, [&] { const Session session{model, options}; });
        with_each_fault(
            Fault::allocation, at_three,
            [](Session& session) { static_cast<void>(session.evaluate_all(TokenSpan{text}.subspan(3))); }, unchanged);
        with_each_fault(
            Fault::allocation, at_three, [](Session& session) { static_cast<void>(session.fork()); }, unchanged);
        Session session = at_three();
        arm(Fault::allocation, 1);  // and `evaluate` asks for nothing at all
        session.evaluate(TokenSpan{text}.subspan(3));
        CHECK_FALSE(disarm());
    }
}

TEST_CASE("faults: a generation that fails leaves a session that says truly what it holds, and a decoder that works") {
    const auto model =
        random_model({.layers = 1, .width = 8, .heads = 2, .kv_heads = 1, .head_dim = 4, .hidden = 8, .vocab = 20});
    const auto policies = Policies{}.schedule(EveryNTokens{4}).wrapper(MarkerTokens{3, 4});
    const GenerateOptions options{.max_tokens = 10, .ignore_eos = true};
    const auto generate = [&](Session& session) {
        testing::NullRetriever retriever{12, session.vocab_size()};
        Decoder decoder{session, retriever, policies};
        return decoder.generate(text, options).tokens;
    };
    Session undisturbed{model};
    const auto expected = generate(undisturbed);
    with_each_fault(
        Fault::allocation, [&] { return Session{model}; }, [&](Session& session) { static_cast<void>(generate(session)); },
        [&](Session& session) {
            CHECK(session.tokens().size() == session.size());
            CHECK(generate(session) == expected);
        });
}

TEST_CASE("faults: perplexity is measured, or nothing is left") {
    const auto model = tiny_model();
    std::vector<TokenId> tokens;
    for (int i = 0; i < 40; ++i) tokens.push_back(static_cast<TokenId>(3 + i * 7 % 17));
    const PerplexityOptions options{.window = 16, .stride = 8, .block = 4};
    Session session{model};
    const double expected = perplexity(session, tokens, options).nats;
    with_each_fault(
        Fault::allocation, [&] { return Session{model}; },
        [&](Session& fresh) {
            if (perplexity(fresh, tokens, options).nats != expected) FAIL_CHECK("measured wrongly");
        },
        [&](Session& fresh) { CHECK(perplexity(fresh, tokens, options).nats == expected); });
}
