// The adapter over llama.cpp itself, with the default model: it passes the conformance suite, and writes what our own engine writes.
#include "flashback/interop/llama_cpp.hpp"

#include "flashback/decoder/decoder.hpp"
#include "flashback/decoder/decoder_group.hpp"
#include "flashback/files/load.hpp"
#include "flashback/files/load_adapter.hpp"
#include "flashback/files/save_gguf_adapter.hpp"
#include "flashback/model/packed_adapter.hpp"
#include "flashback/model/session.hpp"
#include "flashback/policy/any_policy.hpp"
#include "flashback/policy/layout.hpp"
#include "flashback/testing/language_model_suite.hpp"
#include "llama_engine.hpp"
#include "support/temporary_folder.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <numeric>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

using namespace flashback;
using flashback_examples::LlamaEngine;

namespace test_interop_llama_cpp_real {

namespace {

LlamaCppOptions all_sequences(const LlamaEngine& llama, std::size_t kept_blocks = 0) {
    LlamaCppOptions options{.window = llama.window(), .kept_blocks = kept_blocks};
    options.sequences.resize(llama_n_seq_max(llama.context()));
    std::iota(options.sequences.begin(), options.sequences.end(), 0);
    return options;
}

struct Provocations {
    /// llama.cpp asks this callback after each node of its graph, and then gives 2.
    void fail_next(LlamaCppModel& model) const {
        static bool fails = false;
        fails = true;
        llama_set_abort_callback(
            model.context(), [](void*) { return std::exchange(fails, false); }, nullptr);
    }
};

/// Parts of one text in turn, which differ from one retrieval to the next.
struct Parts {
    TokenSpan text;
    std::size_t next = 0;
    std::array<Passage, 1> found{};

    std::span<const Passage> retrieve(const Query& /*query*/, std::size_t /*k*/) {
        next = (next + 57) % (text.size() - 48);
        found[0] = {.id = "part", .tokens = text.subspan(next, 48)};
        return found;
    }
};

const std::string& page() {
    static const std::string text =
        "A computer is a machine that follows instructions. The processor reads them from memory, one after the other, and "
        "does "
        "what they say: it adds numbers, compares them, and decides where to go on. An operating system shares the processor "
        "among "
        "the programs that run, so that each of them seems to have a machine of its own. A compiler translates what people "
        "write "
        "into what the processor reads. A network carries messages from one machine to another; each message is cut into "
        "packets, "
        "which may take different ways, and which are put together at the end. A file is a sequence of bytes with a name. "
        "Memory "
        "is fast and forgets everything when the power is gone; a disk is slow and keeps it. A cache holds what was used "
        "lately, "
        "because it will be used again soon. Virtual memory lets a program use more memory than there is.";
    return text;
}

}  // namespace

TEST_CASE("the adapter over llama.cpp passes the conformance suite") {
    const LlamaEngine llama{FLASHBACK_TEST_MODEL, {.window = 192}};
    const LlamaCppModel root{llama.context(), all_sequences(llama)};
    // llama.cpp chooses its sums by the size of a batch; that makes up to 0.008, and any mistake makes 0.1 or more.
    const auto report = testing::check_language_model([&] { return root.fork(); }, {.tolerance = 0.02}, Provocations{});
    CHECK_MESSAGE(report.passed(), report.text());
}

TEST_CASE("llama.cpp writes the 200 tokens that our engine writes, with every layout") {
    const LlamaEngine llama{FLASHBACK_TEST_MODEL, {}};
    const Codec codec = llama_cpp_codec(llama.vocab());
    const GgufFile file = GgufFile::open(FLASHBACK_TEST_MODEL);
    const Tokenizer tokenizer = load_tokenizer(file);
    const TokenBuffer text = codec.encode(page());
    CHECK(text == tokenizer.encode(page()));
    CHECK(codec.decode(text) == tokenizer.decode(text));
    Session session{load_model(file), {.cache = DType::f32}};
    LlamaCppModel model{llama.context(), all_sequences(llama, 4)};
    CHECK(std::ranges::equal(model.head(), session.head()));
    CHECK(model.vocab_size() == session.vocab_size());
    CHECK(model.window() == session.window());
    const GenerateOptions options{.max_tokens = 200, .ignore_eos = true};
    const TokenSpan prompt = TokenSpan{text}.first(64);
    const auto policies = Policies{}.schedule(EveryNTokens{16});
    struct Case {
        const char* name;
        AnyLayout layout;
    };
    const Case cases[] = {{"prepend", AnyLayout{PrependPassages{}}},
                          {"append", AnyLayout{AppendPassages{}}},
                          {"sticky", AnyLayout{Sticky{}}},
                          {"repeat", AnyLayout{AppendAndRepeat{}}},
                          {"aside", AnyLayout{PassagesAside{}}},
                          {"aside, seen by 16", AnyLayout{PassagesAside{{.seeing = 16}}}},
                          {"aside, joined", AnyLayout{PassagesAside{{.joined = true}}}}};
    for (const Case& one : cases) {
        CAPTURE(one.name);
        Parts search{text}, same_search{text};
        model.truncate(0);
        session.truncate(0);
        Decoder theirs{model, search, policies.layout(one.layout)};
        Decoder ours{session, same_search, policies.layout(one.layout)};
        const Generation written = theirs.generate(prompt, options);
        const Generation expected = ours.generate(prompt, options);
        CHECK(common_prefix(written.tokens, expected.tokens) == 200);
        CHECK(written.stats.counts.requested == expected.stats.counts.requested);
    }
    CHECK(model.counts().refused_removals == 0);
}

TEST_CASE("four texts that share their batches are what each is alone in our engine") {
    const LlamaEngine llama{FLASHBACK_TEST_MODEL, {}};
    const Codec codec = llama_cpp_codec(llama.vocab());
    const TokenBuffer text = codec.encode(page());
    const LlamaCppModel root{llama.context(), all_sequences(llama)};
    const auto policies = Policies{}.schedule(EveryNTokens{16});
    const GenerateOptions options{.max_tokens = 48, .ignore_eos = true};
    std::vector<LlamaCppModel> models;
    for (int i = 0; i < 4; ++i) models.push_back(root.fork());
    std::vector<Parts> searches(4, Parts{text});
    DecoderGroup<LlamaCppModel> group;
    for (std::size_t i = 0; i < 4; ++i)
        group.add(models[i], searches[i], policies, TokenSpan{text}.subspan(16 * i, 40), options);
    group.run();
    Session session{load_model(GgufFile::open(FLASHBACK_TEST_MODEL)), {.cache = DType::f32}};
    for (std::size_t i = 0; i < 4; ++i) {
        session.truncate(0);
        Parts search{text};
        Decoder alone{session, search, policies};
        CHECK(group.result(i).tokens == alone.generate(TokenSpan{text}.subspan(16 * i, 40), options).tokens);
    }
}

TEST_CASE("an adapter makes what our engine makes of it, and what was evaluated without it is refused") {
    const LlamaEngine llama{FLASHBACK_TEST_MODEL, {}};
    const TokenBuffer text = llama_cpp_codec(llama.vocab()).encode(page());
    const auto ours = load_model(GgufFile::open(FLASHBACK_TEST_MODEL));
    Adapter adapter = load_adapter(std::filesystem::path{FLASHBACK_TEST_MODEL}.parent_path() / "flashback-adapter-5m", *ours);
    adapter.embedding_ids.clear();  // llama.cpp would take the rows of the markers for the output head, too
    adapter.embedding_rows.clear();
    const flashback_test::TemporaryFolder folder;
    const std::filesystem::path path = folder.path() / "adapter.gguf";
    save_gguf_adapter(adapter, *ours, path);
    llama_adapter_lora* lora = llama_adapter_lora_init(llama.model(), path.c_str());
    REQUIRE(lora != nullptr);
    LlamaCppModel model{llama.context()};
    const auto evaluate = [&] {
        const auto logits = model.evaluate(text);
        return std::vector<float>{logits.begin(), logits.end()};
    };
    const std::vector<float> plain = evaluate();
    const std::uint64_t before = model.fingerprint();
    const std::array<llama_adapter_lora*, 1> adapters{lora};
    model.set_adapters(adapters, std::array{1.0f});
    CHECK(model.fingerprint() != before);
    CHECK_THROWS_AS(model.evaluate(TokenBuffer{5}), Error);
    model.truncate(0);
    const std::vector<float> tuned = evaluate();
    const auto packed = std::make_shared<const PackedAdapter>(adapter, ours->config);
    Session session{ours, {.cache = DType::f32, .adapter = packed}};
    const auto expected = session.evaluate(text);
    double worst = 0, change = 0;
    for (std::size_t i = 0; i < expected.size(); ++i) {
        worst = std::max(worst, std::abs(double{tuned[i]} - double{expected[i]}));
        change = std::max(change, std::abs(double{tuned[i]} - double{plain[i]}));
    }
    CHECK(worst < 0.05);
    CHECK(change > 1);
    model.set_adapters({}, {});
    model.truncate(0);
    CHECK(evaluate() == plain);
}

}  // namespace test_interop_llama_cpp_real
