#include "flashback/format/safetensors.hpp"
#include "flashback/kv/contiguous_kv_cache.hpp"
#include "support/golden.hpp"
#include "support/shared.hpp"

#include <cmath>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

using namespace flashback;
using flashback_test::shared;

namespace {

std::vector<float> floats_of(const SafetensorsFile& file, const std::string& name) {
    const SafeTensor* tensor = file.tensor(name);
    REQUIRE_MESSAGE(tensor, name);
    REQUIRE(tensor->dtype == "F32");
    std::vector<float> values(tensor->data.size() / sizeof(float));
    std::memcpy(values.data(), tensor->data.data(), tensor->data.size());
    return values;
}

/// The values of one forward pass by stage and layer, rows one after the other.
class Recorder {
public:
    Recorder(std::size_t rows) : rows_(rows) {}

    void operator()(Stage stage, std::size_t layer, std::size_t row, std::size_t first, std::span<const float> values) const {
        auto& of_rows = seen_[{stage, layer}];
        of_rows.resize(rows_);
        CHECK(of_rows[row].size() == first);
        of_rows[row].insert(of_rows[row].end(), values.begin(), values.end());
    }
    std::vector<float> at(Stage stage, std::size_t layer = 0) const {
        std::vector<float> all;
        for (const auto& row : seen_.at({stage, layer})) all.insert(all.end(), row.begin(), row.end());
        return all;
    }
    std::size_t stages() const { return seen_.size(); }

private:
    std::size_t rows_;
    mutable std::map<std::pair<Stage, std::size_t>, std::vector<std::vector<float>>> seen_;
};

/// Values that belong to one sequence of a batch are the reference's within 1e-5.
class Reference {
public:
    Reference(const SafetensorsFile& file, std::size_t sequence, std::size_t sequences)
        : file_(file), sequence_(sequence), sequences_(sequences) {}

    void check(const std::string& name, const std::vector<float>& found) {
        CAPTURE(name);
        const std::vector<float> all = floats_of(file_, name);
        const bool for_all = file_.tensor(name)->shape.front() == 1;
        const std::size_t count = for_all ? all.size() : all.size() / sequences_;
        REQUIRE(found.size() == count);
        const std::size_t begin = for_all ? 0 : sequence_ * count;
        double worst = 0;
        for (std::size_t i = 0; i < count; ++i) {
            const float expected = all[begin + i];
            if (std::isinf(expected) && found[i] == expected) continue;  // what a causal model must not see
            const double error = std::abs(double(found[i]) - double(expected));
            if (!(error <= worst)) worst = error;  // keeps a NaN
        }
        CHECK(worst <= 1e-5);
        ++checked_;
    }
    std::size_t checked() const { return checked_; }

private:
    const SafetensorsFile& file_;
    std::size_t sequence_, sequences_, checked_ = 0;
};

/// (rows, heads · d) as (heads, rows, d), which is how the reference has it.
std::vector<float> by_head(const std::vector<float>& values, std::size_t rows, std::size_t heads) {
    const std::size_t d = values.size() / rows / heads;
    std::vector<float> out(values.size());
    for (std::size_t r = 0; r < rows; ++r) {
        for (std::size_t h = 0; h < heads; ++h) {
            for (std::size_t i = 0; i < d; ++i) out[(h * rows + r) * d + i] = values[(r * heads + h) * d + i];
        }
    }
    return out;
}

/// The scores that queries and keys of (heads, rows, d) give, and their softmax.
void attend(const std::vector<float>& q, const std::vector<float>& k, std::size_t heads, std::size_t rows,
            std::vector<float>& scores, std::vector<float>& weights) {
    const std::size_t d = q.size() / heads / rows;
    for (std::size_t h = 0; h < heads; ++h) {
        for (std::size_t r = 0; r < rows; ++r) {
            std::vector<double> row(rows);
            double total = 0;
            for (std::size_t t = 0; t <= r; ++t) {
                for (std::size_t i = 0; i < d; ++i)
                    row[t] += double(q[(h * rows + r) * d + i]) * double(k[(h * rows + t) * d + i]);
                row[t] /= std::sqrt(double(d));
                total += std::exp(row[t]);
            }
            for (std::size_t t = 0; t < rows; ++t) {
                scores.push_back(t <= r ? float(row[t]) : -INFINITY);
                weights.push_back(t <= r ? float(std::exp(row[t]) / total) : 0);
            }
        }
    }
}

std::vector<float> joined_rows(std::size_t rows, const std::vector<std::vector<float>>& parts) {
    std::vector<float> out;
    for (std::size_t r = 0; r < rows; ++r) {
        for (const auto& part : parts) {
            const auto row = part.begin() + static_cast<std::ptrdiff_t>(r * part.size() / rows);
            out.insert(out.end(), row, row + static_cast<std::ptrdiff_t>(part.size() / rows));
        }
    }
    return out;
}

}  // namespace

TEST_CASE("TinyStories-656K says what llama.cpp says, through the end of a text") {
    const std::filesystem::path folder = shared("models/TinyStories-656K");
    if (folder.empty()) return;
    const auto facts = shared("reference/TinyStories-656K_expected.json");
    flashback_test::check_against_engine(folder, facts);
    CHECK(load_model(folder)->is_end(2));
}

TEST_CASE("gpt-nano-sort has every value of its reference") {
    const std::filesystem::path folder = shared("models/gpt-nano-sort");
    if (folder.empty()) return;
    const auto file = SafetensorsFile::open(folder / "reference.safetensors");
    const auto model = load_model(folder);
    CHECK_FALSE(ModelSource::open(folder).has_tokenizer());
    const std::vector<float> ids = floats_of(file, "idx");
    const std::size_t rows = 11, sequences = 3, heads = model->config.heads;
    REQUIRE(ids.size() == rows * sequences);
    for (std::size_t s = 0; s < sequences; ++s) {
        std::vector<TokenId> tokens;
        for (std::size_t r = 0; r < rows; ++r) tokens.push_back(static_cast<TokenId>(ids[s * rows + r]));
        const TransformerConfig& c = model->config;
        ContiguousKVCache cache{{c.layers, c.kv_heads, c.head_dim, c.window, DType::f32}};
        Workspace work{c, rows};
        const Recorder seen{rows};
        const ForwardParts parts{*model, work};
        const PiecePlace<ContiguousKVCache> place{&cache, rows};
        forward(parts, tokens, PiecePlaces<ContiguousKVCache>{&place, 1}, seen);
        std::vector<float> logits(rows * simd::padded(c.vocab));
        logits_of(parts, 0, rows, logits.data(), seen);

        Reference reference{file, s, sequences};
        reference.check("tok_emb", seen.at(Stage::token));
        reference.check("pos_emb", seen.at(Stage::position));
        reference.check("x", seen.at(Stage::stream));
        reference.check("ln1", seen.at(Stage::attention_norm));
        const std::vector<float> q = seen.at(Stage::query), k = seen.at(Stage::key), v = seen.at(Stage::value);
        reference.check("qkv", joined_rows(rows, {q, k, v}));
        reference.check("q", by_head(q, rows, heads));
        reference.check("k", by_head(k, rows, heads));
        reference.check("v", by_head(v, rows, heads));
        std::vector<float> scores, weights;
        attend(by_head(q, rows, heads), by_head(k, rows, heads), heads, rows, scores, weights);
        reference.check("att", scores);
        reference.check("attSm", weights);
        reference.check("y", seen.at(Stage::attended));
        reference.check("yProj", seen.at(Stage::attention_output));
        reference.check("attnResid", seen.at(Stage::attention_stream));
        reference.check("ln2", seen.at(Stage::ffn_norm));
        reference.check("fc", seen.at(Stage::up));
        reference.check("gelu", seen.at(Stage::activated));
        reference.check("mlp", seen.at(Stage::ffn_output));
        reference.check("mlpResid", seen.at(Stage::block));
        for (const std::size_t l : {0u, 1u, 2u}) reference.check("block" + std::to_string(l), seen.at(Stage::block, l));
        reference.check("ln_f", seen.at(Stage::final_norm));
        std::vector<float> plain_logits, probabilities;
        for (std::size_t r = 0; r < rows; ++r) {
            const std::span<const float> row{logits.data() + r * simd::padded(c.vocab), c.vocab};
            plain_logits.insert(plain_logits.end(), row.begin(), row.end());
            for (const double p : flashback_test::log_softmax(row)) probabilities.push_back(float(std::exp(p)));
        }
        reference.check("lm_head", plain_logits);
        reference.check("probs", probabilities);
        CHECK(reference.checked() + 1 == file.tensors().size());  // all but "idx"

        // Without an observer the logits are the same to the bit.
        Session session{model};
        const std::span<const float> unseen = session.evaluate_all(tokens);
        CHECK(std::memcmp(unseen.data(), plain_logits.data(), unseen.size_bytes()) == 0);
    }
}

TEST_CASE("tiny-random-opt has the logits of a forward pass in double") {
    const std::filesystem::path folder = shared("models/tiny-random-opt");
    if (folder.empty()) return;
    std::ifstream in{folder / "expected.json"};
    const auto facts = nlohmann::json::parse(in);
    Session session{load_model(folder)};
    const auto tokens = facts.at("tokens").get<std::vector<TokenId>>();
    const std::span<const float> logits = session.evaluate_all(tokens);
    double worst = 0;
    for (std::size_t t = 0; t < tokens.size(); ++t) {
        const auto row = facts.at("logits").at(t).get<std::vector<double>>();
        REQUIRE(row.size() == session.vocab_size());
        for (std::size_t i = 0; i < row.size(); ++i) {
            const double error = std::abs(double(logits[t * row.size() + i]) - row[i]);
            if (!(error <= worst)) worst = error;
        }
    }
    CHECK(worst <= 1e-4);
    CHECK(worst > 0);
    CHECK(session.is_end(2));
}
