// What the threads of a large machine would do: counted, on any machine.
#include "support/counted_work.hpp"

#include "flashback/files/load.hpp"
#include "flashback/model/random_transformer.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <initializer_list>
#include <memory>
#include <vector>

#include <doctest/doctest.h>

using namespace flashback;
using namespace flashback_test;

namespace {

using ModelPtr = std::shared_ptr<const Transformer>;

/// Two layers of a known shape: all layers are alike.
ModelPtr of_shape(const char* name) {
    TransformerConfig c = *shape_of(name);
    c.layers = 2;
    return unwritten(c, DType::q4_0);
}

double weight_bytes(const Transformer& model) {
    std::size_t bytes = model.output_matrix().bytes();
    for (const TransformerLayer& layer : model.layers)
        for (const LinearModule m : linear_modules) bytes += layer[m].bytes();
    return static_cast<double>(bytes);
}

/// The bytes of weights that are read to evaluate a token in each of some sessions, all in one pass.
double read_together(const ModelPtr& model, std::size_t sequences, std::size_t threads) {
    CountingExecutor executor{threads};
    std::vector<std::unique_ptr<Session>> sessions;
    std::vector<Session*> all;
    for (std::size_t i = 0; i < sequences; ++i) {
        sessions.push_back(std::make_unique<Session>(model, SessionOptions{.window = 64, .executor = executor}));
        all.push_back(sessions.back().get());
    }
    const TokenId token = 1;
    const std::vector<TokenSpan> tokens(sequences, TokenSpan{&token, 1});
    counted = {};
    Session::evaluate_each(all, tokens);
    return counted.weight_bytes;
}

}  // namespace

TEST_CASE("the counts of one thread are those of the model") {
    const ModelPtr model = of_shape("tinyllama-1.1b");
    const TransformerConfig& c = model->config;
    const Division alone = divide(*model, 1, 511, 1);
    CHECK(alone.rounds == 0);
    CHECK(alone.operations == 1);
    CHECK(counted.weight_bytes == weight_bytes(*model));
    CHECK(counted.bytes - counted.weight_bytes == 2 * 4 * 512 * 64 * 2 * 2);  // layers, heads, positions, numbers, f16, two
    const double products =
        static_cast<double>(c.layers * (c.width * (2 * 2048 + 2 * 256) + 3 * c.width * c.hidden) + c.vocab * c.width);
    CHECK(counted.operations == products + 2.0 * 32 * 512 * 64 * 2);
}

TEST_CASE("threads wait for each other five times a layer for one row, and eight times for many") {
    for (const std::size_t threads : {2u, 64u}) {
        CAPTURE(threads);
        for (const char* shape : {"tinyllama-1.1b", "llama2-7b"}) {
            const ModelPtr model = of_shape(shape);
            const std::size_t layers = model->config.layers;
            CHECK(divide(*model, 1, 512, threads).rounds == 5 * layers + 1);  // and for the head
            // If there are more threads than heads, these share the keys of many positions, and then join what they found.
            CHECK(divide(*model, 1, 4096, threads).rounds == (threads == 2 ? 5 : 6) * layers + 1);
            CHECK(divide(*model, 16, 512, threads).rounds <= 8 * layers + 3);  // and for the embedding and the angles
            CHECK(divide(*model, 144, 512, threads).rounds <= 8 * layers + 3);
        }
    }
    // Rows of a small model are too short to be worth a round.
    CHECK(divide(*load_model(FLASHBACK_TEST_MODEL), 16, 512, 2).rounds == 5 * 6 + 2);
}

TEST_CASE("as many as 64 threads have about the same to do") {
    for (const char* shape : {"tinyllama-1.1b", "llama2-7b"}) {
        CAPTURE(shape);
        const ModelPtr model = of_shape(shape);
        for (const std::size_t threads : {2u, 8u, 16u, 32u, 64u}) {
            CAPTURE(threads);
            CHECK(divide(*model, 16, 512, threads).operations < 1.12);
            CHECK(divide(*model, 16, 4096, threads).operations < 1.12);
            CHECK(divide(*model, 144, 4096, threads).operations < 1.12);
            CHECK(divide(*model, 1, 0, threads).bytes < 1.12);
        }
    }
}

TEST_CASE("threads share the keys of a token if that saves time") {
    const ModelPtr small = of_shape("tinyllama-1.1b");  // four heads with keys of their own
    const ModelPtr large = of_shape("llama2-7b");       // 32
    const auto more_rounds = [](const Transformer& model, std::size_t threads) {
        return divide(model, 1, 4096, threads).rounds - divide(model, 1, 512, threads).rounds;
    };
    CHECK(more_rounds(*small, 64) == small->config.layers);
    CHECK(more_rounds(*small, 4) == 0);
    CHECK(more_rounds(*small, 5) == 0);   // one of five would do two of eight tasks, and its part is no smaller
    CHECK(more_rounds(*large, 48) == 0);  // likewise
    CHECK(more_rounds(*large, 64) == large->config.layers);
}

TEST_CASE("sequences that are evaluated together read the weights once") {
    const ModelPtr model = of_shape("tinyllama-1.1b");
    const double once = weight_bytes(*model);
    for (const std::size_t threads : {1u, 2u, 64u}) {
        CAPTURE(threads);
        CHECK(read_together(model, 1, threads) == once);
        CHECK(read_together(model, 8, threads) == once);
        CHECK(read_together(model, 16, threads) == once);
        // The head is read once for each 16 of them.
        CHECK(read_together(model, 40, threads) == once + 2 * static_cast<double>(model->output_matrix().bytes()));
    }
}

// For benchmarks/README.md: test_many_threads --no-skip --test-case="a table*"
TEST_CASE("a table of rounds and shares" * doctest::skip()) {
    for (const DType type : {DType::q4_0, DType::bf16}) {
        const ModelPtr small = unwritten(load_model(FLASHBACK_TEST_MODEL)->config, type);
        for (const ModelPtr& model :
             {small, unwritten(*shape_of("tinyllama-1.1b"), type), unwritten(*shape_of("llama2-7b"), type)}) {
            for (const std::size_t rows : {1u, 16u, 144u}) {
                for (const std::size_t before : {512u, 4096u}) {
                    std::printf("| %s %s | %zu | %zu |", model->config.name.c_str(), type == DType::bf16 ? "BF16" : "Q4_0",
                                rows, before);
                    for (const std::size_t threads : {2u, 8u, 16u, 32u, 48u, 64u}) {
                        const Division found = divide(*model, rows, before, threads);
                        if (threads == 2) std::printf(" %zu |", found.rounds);
                        std::printf(" %.2f |", rows == 1 ? found.bytes : found.operations);
                    }
                    std::printf("\n");
                }
            }
        }
    }
}
