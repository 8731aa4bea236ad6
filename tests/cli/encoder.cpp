// What commands say of an encoder.
#include "cli/tool.hpp"
#include "support/random_encoder.hpp"

#include <filesystem>
#include <string>

#include <doctest/doctest.h>

namespace test_cli_encoder {

using flashback_test::TemporaryFolder;
using flashback_test::tool;
using flashback_test::tool_json;

TEST_CASE("inspect tells that an encoder writes no texts") {
    flashback_test::RandomEncoder random;
    random.fill();
    const TemporaryFolder folder;
    const std::string file = folder.write("encoder.gguf", random.gguf().bytes());
    random.write_folder(folder.path() / "encoder");
    for (const std::string& model : {file, (folder.path() / "encoder").string()}) {
        CAPTURE(model);
        const auto seen = tool_json({"inspect", "--model", model, "--tensors"});
        CHECK(seen["architecture"] == "bert");
        CHECK(seen["obstacle"].get<std::string>().starts_with("it is an encoder"));
        CHECK(seen["weights"]["tensors"] == seen["tensors"].size());
        CHECK(tool({"inspect", "--model", model}).out.find("can be run          no: it is an encoder") != std::string::npos);
    }
    const auto seen = tool_json({"inspect", "--model", file});
    CHECK(seen["vocabulary"]["tokenizer"] == "bert");
    CHECK(seen["vocabulary"]["tokens"] == 70);
    CHECK(seen["hyper_parameters"]["pooling_type"] == 1);
}

}  // namespace test_cli_encoder
