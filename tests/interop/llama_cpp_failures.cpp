// Everything that a llama_context can refuse, over a stand-in for the C API: what the adapter does about it, what it says, and that nothing
// changes if a call fails.
#include "flashback/interop/llama_cpp.hpp"

#include "interop/llama_oracle.hpp"
#include "support/errors.hpp"

#include <algorithm>
#include <cstddef>
#include <stop_token>
#include <string_view>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

using namespace flashback;
using namespace flashback_test;

namespace test_interop_llama_cpp_failures {

TEST_CASE("texts are split by n_batch, and logits are copied") {
    FakeLlama llama;
    llama.context.n_batch = 16;
    LlamaCppModel model{&llama.context};
    const auto logits = model.evaluate(some_tokens(40));
    CHECK(llama.context.batches == std::vector<std::size_t>{16, 16, 8});
    CHECK(model.counts().calls == 3);
    CHECK(model.counts().evaluated == 40);
    CHECK(model.work() == 40);
    const std::vector<float> kept{logits.begin(), logits.end()};
    llama_batch none{};
    CHECK(llama_decode(&llama.context, none) == -1);  // somebody else's call spoils the buffer of the context
    CHECK(std::ranges::equal(logits, kept));
    CHECK(llama.context.misuse.empty());
}

TEST_CASE("what llama_decode gives is said, and everything is as it was") {
    struct Case {
        int status;
        ErrorCode code;
        const char* sentence;
    };
    const Case cases[] = {
        {1, ErrorCode::window, "found no room for 8 more tokens in its memory of 512 cells (llama_decode gave 1)"},
        {2, ErrorCode::engine, "llama_decode was aborted (2), but not by the stop token of this call"},
        {-1, ErrorCode::engine, "llama_decode refused its input (-1)"},
        {-2, ErrorCode::engine, "llama_decode failed with -2, expected 0"},
        {-3, ErrorCode::engine, "llama_decode failed with -3, expected 0"}};
    for (const Case& one : cases) {
        for (const bool refuses : {false, true}) {  // to be cut back
            CAPTURE(one.status);
            CAPTURE(refuses);
            FakeLlama llama;
            llama.context.n_batch = 8;
            llama.context.n_ubatch = 2;
            LlamaCppModel model{&llama.context};
            model.evaluate(some_tokens(10));
            llama.context.faults = {.refuse_removal = refuses, .status = one.status, .after_calls = 1, .after_batches = 2};
            if (one.status == 1) llama.context.faults.most_at_once = 0;
            if (one.status == 1) {  // smaller batches go well: the fault is over
                CHECK(model.evaluate(some_tokens(20)).size() == 64);
                CHECK(model.counts().smaller_batches == 1);
                CHECK(model.size() == 30);
                check_from_scratch(model, llama.context);
                continue;
            }
            check_error(one.code, one.sentence, [&] { model.evaluate(some_tokens(20)); });
            CHECK(model.size() == 10);
            CHECK(model.tokens().size() == 10);
            CHECK(model.counts().rollbacks == 1);
            CHECK(model.counts().refused_removals == (refuses ? 1 : 0));
            llama.context.faults = {};
            check_from_scratch(model, llama.context);
            CHECK(model.counts().evaluated_again == (refuses ? 10 : 0));
        }
    }
}

TEST_CASE("without room, less is tried at once, and then it is said") {
    FakeLlama llama;
    llama.context.faults.most_at_once = 5;
    LlamaCppModel model{&llama.context, {.sequences = {0, 1}}};
    model.evaluate(some_tokens(40));
    CHECK(model.counts().smaller_batches == 3);  // 32, 16, 8
    CHECK(*std::max_element(llama.context.batches.begin() + 3, llama.context.batches.end()) == 4);
    llama.context.n_ctx = 60;
    LlamaCppModel other = model.fork();
    other.evaluate(some_tokens(15));
    check_error(ErrorCode::window, "found no room for 1 more tokens in its memory of 60 cells",
                [&] { model.evaluate(some_tokens(20)); });
    CHECK(model.size() == 40);
    check_error(ErrorCode::window, "the model holds 40 of 512 positions, and 500 more do not fit",
                [&] { model.evaluate(some_tokens(500)); });
    other.truncate(0);
    check_from_scratch(model, llama.context);
}

TEST_CASE("a refused cut is made good by evaluating again, and counted") {
    FakeLlama llama;
    SUBCASE("refused") { llama.context.faults.refuse_removal = true; }
    SUBCASE("recurrent") { llama.model.recurrent = true; }
    SUBCASE("hybrid") { llama.model.hybrid = true; }
    SUBCASE("what the window needs is gone") { llama.model.sliding = 8; }
    LlamaCppModel model{&llama.context, {.sequences = {0, 1}}};
    model.evaluate(some_tokens(30));
    model.truncate(20);
    CHECK(model.size() == 20);
    CHECK(model.counts().refused_removals == 1);
    CHECK(model.counts().evaluated_again == 0);  // nobody needs it yet
    model.truncate(12);
    CHECK(model.counts().refused_removals == 1);
    LlamaCppModel branch = model.fork();
    check_from_scratch(branch, llama.context);
    check_from_scratch(model, llama.context);
    CHECK(model.counts().evaluated_again == 12);
    CHECK(model.work() == 43);
    model.truncate(0);  // of a whole sequence: this never fails
    check_from_scratch(model, llama.context);
    CHECK(model.counts().refused_removals == 1);
    CHECK(model.counts().evaluated_again == 12);
}

TEST_CASE("after a cut, a sliding window has all that it needs, or it is a refusal") {
    FakeLlama llama;
    llama.model.sliding = 8;
    LlamaCppModel model{&llama.context};
    model.evaluate(some_tokens(6));
    model.truncate(3);
    check_from_scratch(model, llama.context);
    CHECK(model.counts().refused_removals == 0);
    model.evaluate(some_tokens(26));
    model.truncate(29);  // the positions 22 to 28 are needed, and 22 is the oldest that is there
    CHECK(model.counts().refused_removals == 0);
    check_from_scratch(model, llama.context);
    model.truncate(28);  // 21 is needed
    CHECK(model.counts().refused_removals == 1);
    check_from_scratch(model, llama.context);
}

TEST_CASE("tokens that saw blocks cannot be evaluated again") {
    FakeLlama llama;
    LlamaCppModel model{&llama.context, {.sequences = {0, 1, 2}}};
    model.evaluate(some_tokens(40));
    model.see({model.block(some_tokens(4), 1, 1)});
    model.evaluate(some_tokens(10));
    llama.context.faults.refuse_removal = true;
    check_error(ErrorCode::engine, "refused to be cut to 45 positions, and those from 40 on saw blocks",
                [&] { model.truncate(45); });
    CHECK(model.size() == 0);
    check_from_scratch(model, llama.context);
}

TEST_CASE("a stop token ends a call before and within a batch; another callback is an error, and is set again") {
    FakeLlama llama;
    llama.context.n_ubatch = 4;
    static int calls = 0;
    static bool users = false;
    static std::stop_source* source = nullptr;
    calls = 0;
    users = false;
    const ggml_abort_callback callback = [](void*) {
        if (++calls == 3 && source != nullptr) source->request_stop();
        return users;
    };
    llama.context.abort = callback;
    llama.context.abort_data = &llama;
    LlamaCppModel model{&llama.context, {.abort = callback, .abort_data = &llama}};
    std::stop_source stop;
    source = &stop;
    // The third micro-batch asks the stop token first and then the user; so the fourth is the first that is not evaluated.
    CHECK(model.evaluate(some_tokens(40), stop.get_token()).empty());
    CHECK(model.size() == 12);
    CHECK(model.work() == 12);
    const bool set_again = llama.context.abort == callback;
    CHECK(set_again);
    CHECK(llama.context.abort_data == &llama);
    check_from_scratch(model, llama.context);
    const std::size_t size = model.size();
    CHECK(model.evaluate(some_tokens(4), stop.get_token()).empty());
    CHECK(model.size() == size);
    source = nullptr;
    users = true;
    const std::stop_source other;
    check_error(ErrorCode::engine, "aborted (2), but not by the stop token",
                [&] { model.evaluate(some_tokens(4), other.get_token()); });
    CHECK(model.size() == size);
    users = false;
    check_from_scratch(model, llama.context);
}

TEST_CASE("a state that a stop or a failure spoiled is evaluated again") {
    FakeLlama llama;
    llama.context.n_ubatch = 4;
    SUBCASE("recurrent") { llama.model.recurrent = true; }
    SUBCASE("hybrid") { llama.model.hybrid = true; }
    static int calls = 0;
    static std::stop_source* source = nullptr;
    const ggml_abort_callback callback = [](void*) {
        if (--calls == 0) source->request_stop();
        return false;
    };
    LlamaCppModel stopped{&llama.context, {.sequences = {0, 1}, .abort = callback}};
    LlamaCppModel model = stopped.fork();
    for (const int batches : {2, 9}) {  // within the first batch of a call, and within the second
        std::stop_source stop;
        source = &stop;
        calls = batches;
        const std::size_t size = stopped.size();
        CHECK(stopped.evaluate(some_tokens(40), stop.get_token()).empty());
        CHECK(stopped.size() == size + (batches == 9 ? 32u : 0u));
        CHECK(stopped.counts().refused_removals == (batches == 9 ? 1u : 0u));  // at first nothing was lost
        llama.context.abort = nullptr;
        check_from_scratch(stopped, llama.context);
    }
    CHECK(stopped.counts().evaluated_again == 33);

    model.evaluate(some_tokens(10));
    for (const int status : {2, -2, -3}) {
        for (const std::size_t after_calls : {0u, 1u}) {
            llama.context.faults = {.status = status, .after_calls = after_calls, .after_batches = 1};
            const std::size_t size = model.size();
            const std::size_t again = model.counts().evaluated_again;
            check_error(ErrorCode::engine, "llama_decode", [&] { model.evaluate(some_tokens(40)); });
            CHECK(model.size() == size);
            check_from_scratch(model, llama.context);
            CHECK(model.counts().evaluated_again == again + size);
        }
    }
}

TEST_CASE("a stop while lost tokens are evaluated again leaves the text as it was") {
    FakeLlama llama;
    llama.context.n_batch = 8;
    LlamaCppModel model{&llama.context};
    model.evaluate(some_tokens(30));
    llama.context.faults.refuse_removal = true;
    model.truncate(25);
    std::stop_source stop;
    stop.request_stop();
    CHECK(model.evaluate(some_tokens(5), stop.get_token()).empty());
    CHECK(model.size() == 25);
    check_from_scratch(model, llama.context);
}

TEST_CASE("blocks take ids, and give them back") {
    FakeLlama llama;
    LlamaCppModel model{&llama.context, {.sequences = {0, 1, 2}, .kept_blocks = 1}};
    model.evaluate(some_tokens(40));
    {
        const LlamaCppBlock block = model.block(some_tokens(5), 1, 1);
        const std::size_t work = model.work();
        static_cast<void>(model.block(some_tokens(5), 1, 1));  // it was kept
        CHECK(model.work() == work);
        model.see({block});
        check_error(ErrorCode::contract, "all 3 sequence ids are in use", [&] { static_cast<void>(model.fork()); });
        check_error(ErrorCode::contract, "all 3 sequence ids are in use",
                    [&] { static_cast<void>(model.block(some_tokens(6), 1, 1)); });
    }
    model.see({});
    const LlamaCppModel one = model.fork();
    const LlamaCppModel two = model.fork();  // the kept block is given up for it
    CHECK(two.size() == 40);

    check_error(ErrorCode::contract, "cannot see a block that is empty", [&] { model.see({LlamaCppBlock{}}); });
    check_error(ErrorCode::contract, "a block sees 41 positions of the text, but 40 are held",
                [&] { static_cast<void>(model.block(some_tokens(5), 41, 41)); });
    check_error(ErrorCode::unsupported, "a block that sees 1 positions was to start at 5",
                [&] { static_cast<void>(model.block(some_tokens(5), 1, 5)); });
    check_error(ErrorCode::window, "a block of 5 tokens at position 510 does not fit into a window of 512",
                [&] { static_cast<void>(model.block(some_tokens(5), 0, 510)); });
    check_error(ErrorCode::contract, "evaluate needs at least 1 token", [&] { static_cast<void>(model.block({}, 1, 1)); });
}

TEST_CASE("a block that fails leaves nothing behind, and one of another text is refused") {
    FakeLlama llama;
    llama.context.n_batch = 8;
    LlamaCppModel model{&llama.context, {.sequences = {0, 1, 2, 3}}};
    model.evaluate(some_tokens(40));
    const auto cells = [&] { return llama.context.cells.size(); };
    llama.context.faults = {.status = -2, .after_calls = 1, .after_batches = 0};
    check_error(ErrorCode::engine, "failed with -2", [&] { static_cast<void>(model.block(some_tokens(20), 1, 1)); });
    llama.context.faults = {.refuse_front = true};
    check_error(ErrorCode::engine, "refused to part a block from the 1 positions",
                [&] { static_cast<void>(model.block(some_tokens(20), 1, 1)); });
    CHECK(cells() == 40);
    CHECK(model.counts().rollbacks == 1);
    llama.context.faults = {.most_at_once = 3};
    LlamaCppBlock block = model.block(some_tokens(20), 1, 1);
    CHECK(model.counts().smaller_batches == 2);
    CHECK(cells() == 60);
    llama.context.faults = {};
    model.truncate(0);
    model.evaluate(TokenBuffer{5, 5});
    check_error(ErrorCode::contract, "a block sees a head of 1 tokens that are not the first ones",
                [&] { model.see({block}); });
    FakeLlama elsewhere;
    LlamaCppModel stranger{&elsewhere.context};
    stranger.evaluate(some_tokens(40));
    check_error(ErrorCode::contract, "by a model that is no fork of this one", [&] { stranger.see({block}); });
    llama.context.faults.refuse_removal = true;  // the head that a block sees is evaluated again first
    model.truncate(1);
    llama.context.faults.refuse_removal = false;
    static_cast<void>(model.block(some_tokens(2), 1, 1));
    CHECK(model.counts().evaluated_again == 1);
    CHECK(model.plain_size() == 1);
}

TEST_CASE("what something else did to the sequence is noticed") {
    FakeLlama llama;
    LlamaCppModel model{&llama.context, {.sequences = {2, 3}}};
    model.evaluate(some_tokens(10));
    llama_memory_seq_rm(&llama.context, 2, 4, -1);
    const char* const sentence = "the sequence 2 of the llama_context has 4 positions, but this model left 10 in it";
    check_error(ErrorCode::engine, sentence, [&] { model.evaluate(some_tokens(1)); });
    check_error(ErrorCode::engine, sentence, [&] { static_cast<void>(model.fork()); });
    model.truncate(0);
    check_from_scratch(model, llama.context);
    llama.context.faults.no_logits = true;
    check_error(ErrorCode::engine, "gave no logits", [&] { model.evaluate(some_tokens(2)); });
    CHECK(model.size() == 1);
    llama.context.faults.no_logits = false;
    check_from_scratch(model, llama.context);
}

TEST_CASE("what a model cannot be made of is said, and so is a token that there is not") {
    FakeLlama llama;
    const auto make = [&](const LlamaCppOptions& options) { const LlamaCppModel model{&llama.context, options}; };
    check_error(ErrorCode::contract, "needs a llama_context, found null", [] { const LlamaCppModel model{nullptr}; });
    check_error(ErrorCode::contract, "needs at least 1 sequence id", [&] { make({.sequences = {}}); });
    check_error(ErrorCode::contract, "the sequence id 8 is not below n_seq_max of the context, which is 8", [&] {
        make({.sequences = {0, 8}});
    });
    check_error(ErrorCode::contract, "the sequence id -1 is not below", [&] { make({.sequences = {-1}}); });
    check_error(ErrorCode::contract, "the sequence id 1 was given twice", [&] { make({.sequences = {1, 1}}); });
    check_error(ErrorCode::contract, "block_gap is 0, expected at least 1", [&] { make({.block_gap = 0}); });
    {
        LlamaCppModel model{&llama.context};
        check_error(ErrorCode::contract, "the token 64 is not in the vocabulary of 64",
                    [&] { model.evaluate(TokenBuffer{64}); });
        check_error(ErrorCode::contract, "the token -1 is not in the vocabulary", [&] { model.evaluate_all(TokenBuffer{-1}); });
        check_error(ErrorCode::contract, "a model of 0 tokens cannot be cut to 1", [&] { model.truncate(1); });
        CHECK(model.head().size() == 1);
        CHECK(model.is_end(2));
        CHECK_FALSE(model.is_end(3));
        CHECK(model.window() == 512);
        model.evaluate(some_tokens(3));
        check_error(ErrorCode::contract, "the sequence 0 of the context holds positions up to 2, whose tokens are not known",
                    [&] { make({}); });
        LlamaCppModel moved = std::move(model);
        check_from_scratch(moved, llama.context);
    }
    CHECK(llama.context.cells.empty());
    CHECK(LlamaCppModel{&llama.context, {.window = 100}}.window() == 100);
    CHECK(LlamaCppModel{&llama.context, {.window = 1000}}.window() == 512);
    llama.model.vocab.tokens = 0;
    check_error(ErrorCode::unsupported, "has no tokens", [&] { make({}); });
    llama.context.n_ctx = 0;
    check_error(ErrorCode::unsupported, "this llama_context has no memory", [&] { make({}); });
    check_error(ErrorCode::contract, "a codec needs a llama_vocab", [] { static_cast<void>(llama_cpp_codec(nullptr)); });
    llama_vocab none;
    none.type = LLAMA_VOCAB_TYPE_NONE;
    check_error(ErrorCode::unsupported, "this llama_vocab has no tokenizer",
                [&] { static_cast<void>(llama_cpp_codec(&none)); });
    const llama_vocab vocab;
    const Codec codec = llama_cpp_codec(&vocab);
    check_error(ErrorCode::vocabulary, "llama_tokenize gave -2147483648 for a text of 2 bytes",
                [&] { static_cast<void>(codec.encode("a#")); });
    if constexpr (sizeof(std::size_t) == 8) {  // it is refused before it is read, and before there is room for its tokens
        const std::string_view huge{"a", std::size_t{1} << 50};
        check_error(ErrorCode::vocabulary, "a text has 1125899906842624 bytes, expected less than 2 GB",
                    [&] { static_cast<void>(codec.encode(huge)); });
    }
    check_error(ErrorCode::contract, "the token 64 is not in the vocabulary of 64",
                [&] { static_cast<void>(codec.decode(TokenBuffer{64})); });
}

}  // namespace test_interop_llama_cpp_failures
