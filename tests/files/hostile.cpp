// Models that nobody means well with; the numbers are those of hostile_cases.md.
#include "flashback/decoder/decoder.hpp"
#include "flashback/files/load.hpp"
#include "flashback/files/write_model.hpp"
#include "flashback/model/session.hpp"
#include "support/errors.hpp"
#include "support/gguf_bytes.hpp"
#include "support/random_model.hpp"
#include "support/temporary_folder.hpp"

#include <array>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>

#include <doctest/doctest.h>

namespace test_files_hostile {

using namespace flashback;
using namespace flashback_test;

namespace {

constexpr std::array<TokenId, 3> some_tokens{1, 5, 7};

/// The bytes of a model file without a vocabulary.
std::string written(const Transformer& model, DType type) {
    const TemporaryFolder folder;
    const std::string nothing = GgufBytes{}.bytes();
    write_model(folder.path() / "model.gguf", model, flashback_test::view(nothing), type);
    std::ifstream file{folder.path() / "model.gguf", std::ios::binary};
    return {std::istreambuf_iterator<char>{file}, {}};
}

}  // namespace

TEST_CASE("hostile 21: a scale that is no number is loaded, and its logits are an error and no token") {
    const auto model = random_model(
        {.layers = 1, .width = 32, .heads = 2, .kv_heads = 1, .head_dim = 16, .hidden = 32, .vocab = 20, .window = 32});
    for (const DType type : {DType::q8_0, DType::q4_0}) {
        std::string bytes = written(*model, type);
        const GgufFile file = flashback_test::view(bytes);
        const auto at = reinterpret_cast<const char*>(file.tensor("output.weight")->data.data()) - bytes.data();
        constexpr std::uint16_t nan = 0x7e00;
        std::memcpy(bytes.data() + at, &nan, sizeof nan);
        Session session{load_model(flashback_test::view(bytes))};
        CHECK(std::isnan(session.evaluate(some_tokens)[0]));
        NoPassages nothing;
        Session fresh{load_model(flashback_test::view(bytes))};
        Decoder decoder{fresh, nothing};
        check_error(ErrorCode::logits, "the logit of token 0 is not a number",
                    [&] { decoder.generate(some_tokens, {.max_tokens = 2}); });
    }
}

TEST_CASE("hostile 33: a width that the heads do not divide is accepted where their length is given") {
    const auto model = random_model(
        {.layers = 1, .width = 20, .heads = 3, .kv_heads = 1, .head_dim = 8, .hidden = 8, .vocab = 20, .window = 32});
    const std::string bytes = written(*model, DType::f32);
    const auto loaded = load_model(flashback_test::view(bytes));
    CHECK(loaded->config.head_dim == 8);
    CHECK(loaded->config.heads == 3);
    Session session{model};
    Session again{loaded};
    const auto expected = session.evaluate(some_tokens);
    const auto found = again.evaluate(some_tokens);
    CHECK(std::memcmp(expected.data(), found.data(), expected.size_bytes()) == 0);
}

}  // namespace test_files_hostile
