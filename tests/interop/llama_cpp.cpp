// The adapter for llama.cpp, over a stand-in for its C API: what it gives is what comes from scratch, whatever was cut, branched, batched and
// seen, and whatever failed in between.
#include "flashback/interop/llama_cpp.hpp"

#include "flashback/core/random.hpp"
#include "flashback/decoder/decoder.hpp"
#include "flashback/decoder/decoder_group.hpp"
#include "flashback/policy/presets.hpp"
#include "flashback/testing/language_model_suite.hpp"
#include "flashback/testing/null_model.hpp"
#include "interop/llama_oracle.hpp"
#include "support/errors.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

using namespace flashback;
using namespace flashback_test;

namespace test_interop_llama_cpp {

namespace {

struct Provocations {
    void retune(LlamaCppModel& model) const {
        static llama_adapter_lora adapter{7};
        const std::array<llama_adapter_lora*, 1> adapters{&adapter};
        model.set_adapters(adapters, std::array{0.5f});
    }
    void fail_next(LlamaCppModel& model) const {
        llama_context::Faults& faults = model.context()->faults;
        faults.status = -2;
        faults.after_calls = 0;
        faults.after_batches = 1;
    }
};

testing::SuiteReport conformance(llama_context& context) {
    const LlamaCppModel root{&context, {.sequences = {3, 5, 0, 1, 2, 4, 6, 7}}};
    return testing::check_language_model([&] { return root.fork(); }, {}, Provocations{});
}

TokenBuffer random_tokens(SplitMix64& random, std::size_t most) {
    TokenBuffer tokens(1 + random.below(most));
    for (TokenId& token : tokens) token = static_cast<TokenId>(3 + random.below(60));
    return tokens;
}

bool same(std::span<const float> a, std::span<const float> b) { return std::ranges::equal(a, b); }

}  // namespace

TEST_CASE("the model over llama.cpp passes the conformance suite") {
    FakeLlama llama;
    SUBCASE("in small batches") { llama.context.n_batch = 16; }
    SUBCASE("in one") { llama.context.n_batch = 512; }
    SUBCASE("without BOS") { llama.model.vocab.add_bos = false; }
    const auto report = conformance(llama.context);
    CHECK_MESSAGE(report.passed(), report.text());
    CHECK(llama.context.misuse.empty());
    CHECK(llama.context.cells.empty());  // every sequence was given back
}

TEST_CASE("in contexts whose memory does not share cells, or refuses to be cut, all but blocks passes") {
    FakeLlama llama;
    SUBCASE("streams") {
        llama.context.unified = false;
        llama.context.n_ctx = 8 * 160;
    }
    SUBCASE("recurrent") { llama.model.recurrent = true; }
    SUBCASE("hybrid") { llama.model.hybrid = true; }
    SUBCASE("sliding") { llama.model.sliding = 12; }
    const auto report = conformance(llama.context);
    for (const testing::SuiteCheck& check : report.checks) {
        if (check.outcome != testing::CheckOutcome::failed) continue;
        CHECK_MESSAGE(check.name.starts_with("blocks"), report.text());
        CHECK_MESSAGE(check.sentence.find("kv_unified") != std::string::npos, check.sentence);
    }
    CHECK(report.find("blocks")->outcome == testing::CheckOutcome::failed);
    CHECK(llama.context.misuse.empty());
}

TEST_CASE("whatever was called before, logits are those from scratch") {
    for (const std::uint64_t seed : {1u, 2u, 3u, 4u}) {
        CAPTURE(seed);
        SplitMix64 random{seed};
        FakeLlama llama;
        llama.context.n_batch = 16;
        llama.context.n_ctx = 400;
        llama.context.n_seq_max = 12;
        LlamaCppModel model{&llama.context,
                            {.sequences = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, .block_gap = 3, .kept_blocks = 1}};
        LlamaOracle oracle{llama.context, 3};
        std::optional<LlamaCppModel> branch;
        std::optional<LlamaOracle> branch_oracle;
        for (int step = 0; step < 150; ++step) {
            CAPTURE(step);
            if (model.size() > 80) {
                model.truncate(1);
                oracle.truncate(1);
            }
            switch (random.below(7)) {
                case 0: {
                    const std::size_t length = random.below(model.size() + 1);
                    model.truncate(length);
                    oracle.truncate(length);
                    break;
                }
                case 1: {
                    if (oracle.plain_size() == 0) break;
                    std::vector<LlamaCppBlock> blocks;
                    std::vector<LlamaOracle::Block> expected;
                    for (std::size_t i = random.below(3); i > 0; --i) {
                        const TokenBuffer tokens = random_tokens(random, 20);
                        blocks.push_back(model.block(tokens, 1, 1));
                        expected.push_back(LlamaOracle::block(tokens, 1, 1));
                    }
                    model.see(blocks);
                    oracle.see(expected);
                    break;
                }
                case 2: {
                    branch.reset();
                    branch.emplace(model.fork());
                    branch_oracle.emplace(oracle);
                    break;
                }
                case 3: {  // a call that fails changes nothing
                    llama.context.faults.after_calls = random.below(2);
                    llama.context.faults.after_batches = random.below(3);
                    llama.context.faults.status = random.below(2) == 0 ? -2 : 2;
                    const TokenBuffer tokens = random_tokens(random, 40);
                    const std::size_t size = model.size();
                    try {
                        static_cast<void>(model.evaluate(tokens));
                        oracle.evaluate(tokens);
                        llama.context.faults.status = 0;
                    } catch (const Error&) {
                        CHECK(model.size() == size);
                    }
                    break;
                }
                case 4: {
                    if (!branch || branch->size() > 60) break;
                    std::array<LlamaCppModel*, 2> models{&model, &*branch};
                    const std::array texts{random_tokens(random, 12), random_tokens(random, 12)};
                    const auto rows = LlamaCppModel::evaluate_each(models, std::array<TokenSpan, 2>{texts[0], texts[1]});
                    CHECK(same(rows.first(64), oracle.evaluate(texts[0])));
                    CHECK(same(rows.last(64), branch_oracle->evaluate(texts[1])));
                    break;
                }
                default: {
                    const TokenBuffer tokens = random_tokens(random, 20);
                    CHECK(same(model.evaluate(tokens), oracle.evaluate(tokens)));
                }
            }
            REQUIRE(model.size() == oracle.size());
            REQUIRE(model.plain_size() == oracle.plain_size());
        }
        CHECK(llama.context.misuse.empty());
    }
}

TEST_CASE("several models evaluate in one batch; if it fails, none of them has changed") {
    FakeLlama llama;
    llama.context.n_ubatch = 4;
    LlamaCppModel first{&llama.context, {.sequences = {0, 1, 2, 3}}};
    first.evaluate(some_tokens(9));
    LlamaCppModel second = first.fork(), third = first.fork();
    const std::array<LlamaCppModel*, 3> all{&first, &second, &third};
    const TokenBuffer tokens = some_tokens(20);
    const std::array<TokenSpan, 3> texts{TokenSpan{tokens}.first(3), TokenSpan{tokens}.first(12), TokenSpan{tokens}.first(1)};
    llama.context.batches.clear();
    const auto rows = LlamaCppModel::evaluate_each(all, texts);
    CHECK(llama.context.batches == std::vector<std::size_t>{16});
    CHECK(rows.size() == 3 * 64);
    for (std::size_t i = 0; i < 3; ++i) {
        LlamaOracle oracle{llama.context};
        oracle.evaluate(some_tokens(9));
        CHECK(std::ranges::equal(rows.subspan(i * 64, 64), oracle.evaluate(texts[i])));
    }
    llama.context.faults = {.status = -2, .after_batches = 2};
    check_error(ErrorCode::engine, "failed with -2", [&] { LlamaCppModel::evaluate_each(all, texts); });
    CHECK(first.size() == 12);
    CHECK(second.size() == 21);
    for (LlamaCppModel* model : all) check_from_scratch(*model, llama.context);

    FakeLlama elsewhere;
    LlamaCppModel stranger{&elsewhere.context};
    CHECK_FALSE(LlamaCppModel::can_share_passes(first, stranger));
    CHECK_FALSE(LlamaCppModel::can_share_passes(first, LlamaCppModel{&llama.context, {.sequences = {7}}}));
    CHECK(LlamaCppModel::can_share_passes(second, third));
    using Models = std::vector<LlamaCppModel*>;
    const auto each = [&](const Models& models) { LlamaCppModel::evaluate_each(models, std::span{texts}.first(2)); };
    check_error(ErrorCode::contract, "evaluate_each needs at least 1 model", [] { LlamaCppModel::evaluate_each({}, {}); });
    check_error(ErrorCode::contract, "1 models were given 2 texts", [&] { each({&first}); });
    check_error(ErrorCode::contract, "model 1 of those that evaluate together is null", [&] { each({&first, nullptr}); });
    check_error(ErrorCode::contract, "was given twice", [&] { each({&first, &first}); });
    check_error(ErrorCode::contract, "model 1 is no fork of the same model as model 0", [&] { each({&first, &stranger}); });
}

TEST_CASE("a decoder writes with each layout what it writes over a model that evaluates everything from scratch") {
    FakeLlama llama;
    LlamaCppModel model{&llama.context, {.sequences = {0, 1, 2, 3}}};
    const TokenBuffer prompt(40, 9);
    const GenerateOptions options{.max_tokens = 40, .ignore_eos = true};
    const auto compare = [&](const auto& policies) {
        LlamaOracle oracle{llama.context};
        testing::NullRetriever search{20, 60}, same_search{20, 60};
        model.truncate(0);
        Decoder ours{model, search, policies};
        Decoder theirs{oracle, same_search, policies};
        const Generation written = ours.generate(prompt, options);
        CHECK(written.tokens.size() == options.max_tokens);
        CHECK(written.tokens == theirs.generate(prompt, options).tokens);
        return written;
    };
    const auto policies = Policies{}.schedule(EveryNTokens{8});
    const Generation append = compare(policies.layout(AppendPassages{}));
    const Generation prepend = compare(policies.layout(PrependPassages{}));
    const Generation aside = compare(policies.layout(PassagesAside{}));
    CHECK(append.stats.counts.evaluated < prepend.stats.counts.evaluated);
    CHECK(aside.stats.counts.evaluated < prepend.stats.counts.evaluated);
}

TEST_CASE("other adapters are another fingerprint, and what was evaluated is refused until it is cut to 0") {
    FakeLlama llama;
    LlamaCppModel model{&llama.context, {.sequences = {0, 1, 2, 3}, .kept_blocks = 2}};
    LlamaCppModel branch = model.fork();
    model.evaluate(some_tokens(40));
    const LlamaCppBlock block = model.block(some_tokens(4), 1, 1);
    const std::uint64_t before = model.fingerprint();
    llama_adapter_lora lora{11};
    const std::array<llama_adapter_lora*, 1> adapters{&lora};
    check_error(ErrorCode::contract, "1 adapters were given 0 scales", [&] { model.set_adapters(adapters, {}); });
    llama.context.faults.adapters = -1;
    check_error(ErrorCode::engine, "llama_set_adapters_lora gave -1, expected 0",
                [&] { model.set_adapters(adapters, std::array{1.0f}); });
    CHECK(model.fingerprint() == before);
    llama.context.faults.adapters = 0;
    model.set_adapters({}, {});  // as it was
    CHECK(model.fingerprint() == before);
    branch.set_adapters(adapters, std::array{1.0f});  // of the context, so of all
    CHECK(model.fingerprint() != before);
    CHECK(branch.fingerprint() == model.fingerprint());
    const char* const sentence = "the adapters of the context have changed since the 40 positions of this model were evaluated";
    check_error(ErrorCode::contract, sentence, [&] { model.evaluate(some_tokens(1)); });
    check_error(ErrorCode::contract, sentence, [&] { static_cast<void>(model.fork()); });
    check_error(ErrorCode::contract, sentence, [&] { static_cast<void>(model.block(some_tokens(4), 1, 1)); });
    check_error(ErrorCode::contract, "have changed since a block was evaluated", [&] { model.see({block}); });
    model.truncate(0);
    check_from_scratch(model, llama.context);
    check_from_scratch(branch, llama.context);
    const std::uint64_t now = model.fingerprint();
    model.set_adapters(adapters, std::array{1.0f});  // those that are set: what was evaluated is still good
    CHECK(model.fingerprint() == now);
    check_from_scratch(model, llama.context);
    model.set_adapters(adapters, std::array{0.5f});
    CHECK(model.fingerprint() != now);
    check_error(ErrorCode::contract, "have changed since the 2 positions", [&] { model.evaluate(some_tokens(1)); });
}

TEST_CASE("a model and a block can be assigned over others, also the last ones of another context") {
    FakeLlama first, second;
    const LlamaCppOptions options{.sequences = {0, 1, 2, 3, 4, 5}, .kept_blocks = 1};
    {
        LlamaCppModel model{&first.context, options};
        model.evaluate(some_tokens(20));
        LlamaCppBlock block = model.block(some_tokens(4), 1, 1);
        model.see({block});
        model.evaluate(some_tokens(3));
        {
            LlamaCppModel other{&second.context, options};
            other.evaluate(some_tokens(10));
            const LlamaCppBlock theirs = other.block(some_tokens(4), 1, 1);
            model = std::move(other);
            CHECK(first.context.cells.size() == 4);  // those of the block
            block = theirs;
        }
        CHECK(first.context.cells.empty());
        check_from_scratch(model, second.context);
        model.see({block});
        std::optional<LlamaCppModel> place{LlamaCppModel{&first.context, options}};
        place->evaluate(some_tokens(5));
        block = place->block(some_tokens(4), 1, 1);
        place = model.fork();
        CHECK(place->size() == 11);
        CHECK(first.context.cells.size() == 4);
        block = {};
        CHECK(first.context.cells.empty());
    }
    CHECK(first.context.cells.empty());
    CHECK(second.context.cells.empty());
}

TEST_CASE("the codec is llama.cpp's tokenizer") {
    const llama_vocab vocab;
    const Codec codec = llama_cpp_codec(&vocab);
    CHECK(codec.encode("") == TokenBuffer{});
    CHECK(codec.encode("abc") == TokenBuffer{3, 4, 5});
    CHECK(codec.encode("a!").size() == 21);  // more tokens than there was room for at first
    CHECK(codec.decode(codec.encode("hello")) == "hello");
    CHECK(codec.decode(TokenBuffer{3, 50, 51, 4}) == 'a' + std::string(100, 'z') + 'b');
    CHECK(codec.head.empty());
    llama_vocab other;
    other.tokens = 65;
    CHECK(codec.fingerprint != llama_cpp_codec(&other).fingerprint);
    llama_vocab lower;  // the same pieces, and other tokens for a text
    lower.lower = true;
    CHECK(codec.fingerprint != llama_cpp_codec(&lower).fingerprint);
    CHECK(codec.fingerprint == llama_cpp_codec(&vocab).fingerprint);
}

}  // namespace test_interop_llama_cpp
