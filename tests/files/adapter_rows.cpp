// Input embeddings that an adapter replaces or adds: which rows of a file are kept, and what a session makes of them.
#include "flashback/decoder/decoder.hpp"
#include "flashback/files/load_adapter.hpp"
#include "flashback/files/save_adapter.hpp"
#include "flashback/format/safetensors_writer.hpp"
#include "flashback/model/merge_adapter.hpp"
#include "flashback/model/session.hpp"
#include "support/allocations.hpp"
#include "support/errors.hpp"
#include "support/exact_logits.hpp"
#include "support/random_adapter.hpp"
#include "support/random_model.hpp"
#include "support/random_retriever.hpp"
#include "support/temporary_folder.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

namespace test_files_adapter_rows {

using namespace flashback;
using namespace flashback_test;

namespace {

const RandomModel rows_shape{.layers = 1, .width = 32, .heads = 4, .kv_heads = 2, .head_dim = 8, .hidden = 64, .vocab = 37};
const std::string embedding_name = "base_model.model.model.embed_tokens";

struct Matrix {
    std::size_t rows;
    std::vector<float> values;
};

/// A folder with these tensors, all as wide as the model.
void write_folder(const TemporaryFolder& folder, const std::string& fields, const std::map<std::string, Matrix>& matrices) {
    folder.write("adapter_config.json", R"({"peft_type":"LORA","target_modules":[])" + fields + "}");
    SafetensorsWriter writer{folder.path() / "adapter_model.safetensors"};
    for (const auto& [name, matrix] : matrices)
        writer.add_tensor(name, std::vector<std::uint64_t>{matrix.rows, matrix.values.size() / matrix.rows}, DType::f32);
    for (const auto& [name, matrix] : matrices) writer.write(std::as_bytes(std::span{matrix.values}));
    writer.finish();
}

Matrix rows_of(const simd::PackedMatrix& matrix, std::size_t more = 0) {
    Matrix all{matrix.outputs() + more, std::vector<float>((matrix.outputs() + more) * matrix.inputs())};
    for (std::size_t id = 0; id < matrix.outputs(); ++id) matrix.row(id, all.values.data() + id * matrix.inputs());
    for (std::size_t i = matrix.outputs() * matrix.inputs(); i < all.values.size(); ++i)
        all.values[i] = static_cast<float>(std::sin(static_cast<double>(i)));
    return all;
}

SessionOptions beside(const Transformer& model, const Adapter& adapter) {
    return {.adapter = std::make_shared<const PackedAdapter>(adapter, model.config)};
}

}  // namespace

TEST_CASE("of a whole embedding the rows are kept that differ from the model's, under each of its names") {
    const auto model = random_model(rows_shape);
    Matrix all = rows_of(model->embedding);
    all.values[std::size_t{5} * 32 + 7] += 1;
    all.values[std::size_t{36} * 32] += 1;
    for (const char* name : {".weight", ".modules_to_save.default.weight", ".modules_to_save.weight"}) {
        const TemporaryFolder folder;
        write_folder(folder, R"(,"modules_to_save":["embed_tokens"])", {{embedding_name + name, all}});
        const Adapter adapter = load_adapter(folder.path(), *model);
        CHECK(adapter.layers.empty());
        CHECK(adapter.embedding_ids == std::vector<TokenId>{5, 36});
        REQUIRE(adapter.embedding_rows.size() == 64);
        CHECK(std::ranges::equal(std::span{adapter.embedding_rows}.first(32), std::span{all.values}.subspan(5 * 32, 32)));
        CHECK(std::ranges::equal(std::span{adapter.embedding_rows}.last(32), std::span{all.values}.subspan(36 * 32, 32)));
    }
    // PEFT also saves it unasked where the vocabulary was changed.
    const TemporaryFolder folder;
    write_folder(folder, "", {{embedding_name + ".weight", all}});
    CHECK(load_adapter(folder.path(), *model).embedding_ids == std::vector<TokenId>{5, 36});
}

TEST_CASE("a row that rounds to the model's is the model's") {
    for (const DType type : {DType::f16, DType::bf16, DType::q8_0}) {
        CAPTURE(layout_of(type).name);
        RandomModel how = rows_shape;
        how.type = DType::f32;
        const auto exact = random_model(how);
        how.type = type;
        const auto model = random_model(how);  // the same numbers, rounded
        Matrix all = rows_of(exact->embedding);
        CHECK(all.values != rows_of(model->embedding).values);
        all.values[std::size_t{9} * 32 + 3] += 0.5f;
        const TemporaryFolder folder;
        write_folder(folder, "", {{embedding_name + ".weight", all}});
        const Adapter adapter = load_adapter(folder.path(), *model);
        CHECK(adapter.embedding_ids == std::vector<TokenId>{9});
        CHECK(std::ranges::equal(adapter.embedding_rows, std::span{all.values}.subspan(9 * 32, 32)));  // unrounded
    }
}

TEST_CASE("a whole embedding is never in memory") {
    RandomModel how = rows_shape;
    how.vocab = 8000;
    const auto model = random_model(how);
    Matrix all = rows_of(model->embedding, 2);
    const TemporaryFolder folder;
    write_folder(folder, "", {{embedding_name + ".weight", all}});
    Adapter adapter;
    const Allocations asked = allocations_of([&] { adapter = load_adapter(folder.path(), *model, {.tokens = 8002}); });
    CHECK(adapter.embedding_ids == std::vector<TokenId>{8000, 8001});
    const std::size_t matrix = all.values.size() * sizeof(float);
    CHECK(asked.bytes < (counts_malloc ? matrix : 0) + 100'000);  // the file is mapped
    CHECK(matrix > 1'000'000);
}

TEST_CASE("rows beyond the model's belong to tokens that the vocabulary gains, or to nobody") {
    const auto model = random_model(rows_shape);
    const Matrix all = rows_of(model->embedding, 2);
    const TemporaryFolder folder;
    write_folder(folder, R"(,"modules_to_save":["embed_tokens"])", {{embedding_name + ".weight", all}});
    const Adapter adapter = load_adapter(folder.path(), *model, {.tokens = 39});
    CHECK(adapter.embedding_ids == std::vector<TokenId>{37, 38});
    CHECK(std::ranges::equal(adapter.embedding_rows, std::span{all.values}.subspan(37 * 32)));
    CHECK(load_adapter(folder.path(), *model, {.tokens = 1000}).embedding_ids == std::vector<TokenId>{37, 38});
    for (const std::size_t tokens : {0u, 37u, 38u}) {
        check_error(ErrorCode::vocabulary,
                    "has the tensor " + embedding_name +
                        ".weight with a row for the token 38, but the model has 37 rows and the "
                        "vocabulary " +
                        (tokens == 38 ? "38" : "37") + " tokens",
                    [&] { load_adapter(folder.path(), *model, {.tokens = tokens}); });
    }
    // The same as trained rows: saved and loaded again.
    const TemporaryFolder again;
    save_adapter(adapter, model->config, again.path());
    CHECK(load_adapter(again.path(), *model, {.tokens = 39}).embedding_rows == adapter.embedding_rows);
    check_error(ErrorCode::vocabulary, "trainable_tokens_delta with a row for the token 37, but the model has 37 rows",
                [&] { load_adapter(again.path(), *model); });
    // Fewer rows than the model's are those of another one.
    Matrix fewer = rows_of(model->embedding);
    fewer.values.resize(std::size_t{36} * 32);
    fewer.rows = 36;
    write_folder(folder, "", {{embedding_name + ".weight", fewer}});
    check_error(ErrorCode::format, "embed_tokens.weight has the shape 36 x 32, expected 37 x 32",
                [&] { load_adapter(folder.path(), *model); });
    write_folder(folder, R"(,"trainable_token_indices":[38])",
                 {{embedding_name + ".token_adapter.trainable_tokens_delta", {1, std::vector<float>(32)}}});
    check_error(ErrorCode::vocabulary, "with a row for the token 38, but the model has 37 rows, and new ones follow on",
                [&] { load_adapter(folder.path(), *model, {.tokens = 39}); });
}

TEST_CASE("trained rows replace the model's, and a token has one row") {
    const auto model = random_model(rows_shape);
    const std::string delta = embedding_name + ".token_adapter.trainable_tokens_delta";
    const Matrix two{2, std::vector<float>(64, 0.25f)};
    const TemporaryFolder folder;
    for (const char* suffix : {"", ".default"}) {
        write_folder(folder, R"(,"trainable_token_indices":{"embed_tokens":[30,5]})", {{delta + suffix, two}});
        const Adapter adapter = load_adapter(folder.path(), *model);
        CHECK(adapter.embedding_ids == std::vector<TokenId>{30, 5});
        CHECK(adapter.embedding_rows == two.values);  // the rows themselves, and no differences
    }
    Matrix all = rows_of(model->embedding);
    all.values[std::size_t{7} * 32] += 1;
    write_folder(folder, R"(,"trainable_token_indices":[30,5])", {{delta, two}, {embedding_name + ".weight", all}});
    CHECK(load_adapter(folder.path(), *model).embedding_ids == std::vector<TokenId>{30, 5, 7});
    all.values[std::size_t{5} * 32] += 1;
    write_folder(folder, R"(,"trainable_token_indices":[30,5])", {{delta, two}, {embedding_name + ".weight", all}});
    check_error(ErrorCode::format, "replaces the embedding row 5 twice", [&] { load_adapter(folder.path(), *model); });
    write_folder(folder, "", {{delta, two}});
    check_error(ErrorCode::unsupported, "trainable_tokens_delta, for which this model has no place",
                [&] { load_adapter(folder.path(), *model); });
}

TEST_CASE("an output head that was saved with the embedding must be the model's") {
    for (const bool tied : {false, true}) {
        RandomModel how = rows_shape;
        how.tied = tied;
        const auto model = random_model(how);
        Matrix all = rows_of(model->embedding, 1);
        all.values[std::size_t{5} * 32] += 1;
        Matrix head = rows_of(model->output_matrix(), 1);
        const TemporaryFolder folder;
        const auto load = [&] {
            write_folder(folder, "", {{embedding_name + ".weight", all}, {"base_model.model.lm_head.weight", head}});
            return load_adapter(folder.path(), *model, {.tokens = 38});
        };
        CHECK(load().embedding_ids == std::vector<TokenId>{5, 37});
        head.values[std::size_t{11} * 32] += 1;
        check_error(ErrorCode::unsupported,
                    "lm_head.weight, whose row 11 is not the model's: an output head cannot be replaced", load);
    }
}

TEST_CASE("a session takes tokens that only its adapter knows, and has no logits for them") {
    const std::vector<TokenId> text{1, 37, 5, 38, 37, 9};
    for (const bool tied : {false, true}) {
        RandomModel how = rows_shape;
        how.tied = tied;
        const auto model = random_model(how);
        Adapter adapter{.layers = {}, .embedding_ids = {38, 37}, .embedding_rows = std::vector<float>(64)};
        model->embedding.row(20, adapter.embedding_rows.data());
        model->embedding.row(7, adapter.embedding_rows.data() + 32);
        std::vector<TokenId> known = text;
        std::ranges::replace(known, 37, 7);
        std::ranges::replace(known, 38, 20);
        Session session{model, beside(*model, adapter)};
        CHECK(session.vocab_size() == 37);
        const std::vector<float> logits = copy_of(session.evaluate(text));
        CHECK(logits.size() == 37);
        CHECK(same_bits(logits, copy_of(Session{model}.evaluate(known))));
        CHECK(session.evaluate_all(TokenSpan{text}.first(2)).size() == 74);
        const std::size_t size = session.size();
        for (const TokenId wrong : {39, 1000, -1}) {
            check_error(ErrorCode::contract,
                        "token " + std::to_string(wrong) + " is not in the vocabulary of 37 tokens, nor has the adapter a row",
                        [&] {
                            session.evaluate(std::vector<TokenId>{1, wrong});
                        });
        }
        CHECK(session.size() == size);
        Session plain{model};
        check_error(ErrorCode::contract, "token 37 is not in the vocabulary of 37 tokens", [&] { plain.evaluate(text); });

        // Marking tokens of this kind stand around passages and are never generated.
        RandomRetriever retriever{20, 8, 36, 3};
        Decoder decoder{session, retriever, Policies{}.schedule(EveryNTokens{4}).wrapper(MarkerTokens{37, 38})};
        session.truncate(0);
        const Generation generation = decoder.generate(TokenSpan{known}, {.max_tokens = 12, .ignore_eos = true});
        CHECK(generation.tokens.size() == 12);
        CHECK(std::ranges::all_of(generation.tokens, [](TokenId id) { return id < 37; }));
        CHECK(std::ranges::count(session.tokens(), 37) == 1);
        CHECK(std::ranges::count(session.tokens(), 38) == 1);

        check_error(ErrorCode::unsupported, "an adapter cannot be merged that adds 2 tokens to the 37 of the model",
                    [&] { merged(*model, adapter); });
    }
}

TEST_CASE("an adapter with new tokens belongs to a model of that many rows") {
    const auto model = random_model(rows_shape);
    RandomModel how = rows_shape;
    how.vocab = 38;
    const auto other = random_model(how);
    const Adapter adapter = random_adapter(model->config, {.modules = {}, .ids = {37, 4}});
    const PackedAdapter packed{adapter, model->config};
    CHECK(packed.fits(model->config));
    CHECK_FALSE(packed.fits(other->config));
    CHECK(packed.embedding_row(37) != nullptr);
    CHECK(packed.embedding_row(38) == nullptr);
    CHECK(packed.embedding_row(-1) == nullptr);
    Adapter gap = adapter;
    gap.embedding_ids = {38, 4};
    check_error(ErrorCode::contract, "replaces the embedding row 38, but the model has 37 rows, and new ones follow on without",
                [&] {
                    PackedAdapter{gap, model->config};
                });
}

}  // namespace test_files_adapter_rows
