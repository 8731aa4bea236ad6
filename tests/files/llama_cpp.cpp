// What llama.cpp computes from the files that we write, for each architecture that we write: tests/reference/llama_cpp_files.mjs made the
// expected values. The fingerprint says that the file which it read is the one that is written today.
#include "flashback/core/fingerprint.hpp"
#include "flashback/files/load.hpp"
#include "flashback/files/write_model.hpp"
#include "flashback/format/mapped_file.hpp"
#include "flashback/model/session.hpp"
#include "support/family_models.hpp"
#include "support/temporary_folder.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

namespace test_files_llama_cpp {

using namespace flashback;
using flashback_test::FamilyModel;

/// Some vocabulary, which llama.cpp wants, with tokens for all bytes, without which it ends itself; the texts here are ids.
Vocabulary some_vocabulary(std::size_t count) {
    Vocabulary v{.model = "llama",
                 .pieces = {"<unk>", "<s>", "</s>"},
                 .scores = std::vector<float>(count),
                 .kinds = {TokenKind::unknown, TokenKind::control, TokenKind::control},
                 .bos = 1,
                 .eos = 2,
                 .unknown = 0};
    constexpr std::string_view digits = "0123456789ABCDEF";
    for (std::size_t byte = 0; byte < 256; ++byte) {
        v.pieces.push_back(std::string{"<0x"} + digits[byte / 16] + digits[byte % 16] + '>');
        v.kinds.push_back(TokenKind::byte);
    }
    while (v.pieces.size() < count) {
        v.pieces.push_back("piece" + std::to_string(v.pieces.size()));
        v.kinds.push_back(TokenKind::normal);
    }
    return v;
}

double nats_of(std::span<const float> logits, TokenId token) {
    double total = 0;
    for (const float logit : logits) total += std::exp(static_cast<double>(logit));
    return std::log(total) - static_cast<double>(logits[static_cast<std::size_t>(token)]);
}

TEST_CASE("llama.cpp computes the same from the files that are written, whatever the family") {
    std::ifstream in{FLASHBACK_TEST_DATA "/llama_cpp_files_expected.json"};
    const auto expected = nlohmann::json::parse(in);
    const char* const keep = std::getenv("FLASHBACK_TEST_KEEP");  // a folder for llama_cpp_files.mjs
    const flashback_test::TemporaryFolder folder;
    std::size_t compared = 0;
    for (const FamilyModel& family : flashback_test::family_models()) {
        if (family.shape.family == Family::opt) continue;  // GGUF has no architecture for it
        if (family.name == "qwen2, wide heads") continue;  // llama.cpp wants heads that make up the width there
        CAPTURE(family.name);
        flashback_test::RandomModel shape = family.shape;
        shape.scale = 2;
        shape.vocab = 300;
        const auto model = flashback_test::random_model(shape);
        const Vocabulary vocabulary = some_vocabulary(shape.vocab);
        const std::filesystem::path path = (keep ? std::filesystem::path{keep} : folder.path()) / (family.name + ".gguf");
        write_model(path, *model, &vocabulary, DType::f32);
        Fingerprint bytes;
        bytes.add(MappedFile{path}.bytes());
        if (keep) {
            MESSAGE(family.name, ": ", bytes.value());
            continue;
        }
        const auto& golden = expected.at("files").at(family.name);
        CHECK(golden.at("fingerprint").get<std::string>() == std::to_string(bytes.value()));
        const auto tokens = golden.at("tokens").get<std::vector<TokenId>>();
        Session session{load_model(path), {.cache = DType::f16}};  // as it keeps keys and values
        const std::span<const float> logits = session.evaluate_all(tokens);
        for (std::size_t i = 0; i + 1 < tokens.size(); ++i) {
            CAPTURE(i);
            const std::span<const float> row = logits.subspan(i * shape.vocab, shape.vocab);
            const double best = nats_of(row, static_cast<TokenId>(std::ranges::max_element(row) - row.begin()));
            CHECK(std::abs(nats_of(row, tokens[i + 1]) - golden.at("nats")[i].get<double>()) < 0.02);
            CHECK(nats_of(row, golden.at("likeliest")[i].get<TokenId>()) - best < 0.02);
            ++compared;
        }
    }
    if (!keep) CHECK(compared == 7 * 39);
}

}  // namespace test_files_llama_cpp
