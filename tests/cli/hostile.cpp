// What a file says reaches a terminal harmlessly, and what it asks for is refused in a sentence.
#include "cli/tool.hpp"
#include "cli/training.hpp"
#include "flashback/core/fingerprint.hpp"
#include "flashback/format/gguf.hpp"
#include "flashback/format/gguf_writer.hpp"
#include "flashback/train/detail/checkpoint_reader.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include <sys/stat.h>

namespace test_cli_hostile {

using namespace flashback_test;
using nlohmann::json;

namespace {

/// The default model with other bytes at a place: behind the first of a text.
std::string patched(std::string_view behind, std::size_t skip, std::string_view bytes) {
    std::string model = read_file(FLASHBACK_TEST_MODEL);
    const std::size_t at = model.find(behind);
    REQUIRE(at != model.npos);
    model.replace(at + behind.size() + skip, bytes.size(), bytes);
    return model;
}

/// No byte of it steers a terminal but ends of lines.
void check_harmless(const std::string& printed) {
    CAPTURE(printed);
    CHECK(std::ranges::none_of(printed, [](char c) { return (c >= 0 && c < 32 && c != '\n') || c == 127; }));
    for (const char* steers : {"\xc2\x9b", "\xe2\x80\xae", "\xff"}) CHECK(printed.find(steers) == printed.npos);
}

/// The last weights of the default model, of its last norm.
std::string with_last_weights(std::span<const float> weights) {
    std::string model = read_file(FLASHBACK_TEST_MODEL);
    std::memcpy(model.data() + model.size() - weights.size_bytes(), weights.data(), weights.size_bytes());
    return model;
}

/// Gives a checkpoint another note, and the checksum that belongs to it.
void forge_note(const std::string& path, const std::string& note) {
    using namespace flashback;
    const GgufFile file = GgufFile::open(path, FileAccess::copy);
    const detail::CheckpointReader reader{file};
    Fingerprint sum = detail::begin_checkpoint_sum(reader.steps, note, reader.run);
    GgufWriter writer{path};
    for (const GgufTensor& tensor : file.tensors()) {
        writer.add_tensor(tensor.name, std::span{tensor.dims}.first(tensor.rank), tensor.type);
        sum.add(tensor.name);
        sum.add(tensor.data);
    }
    writer.set("general.architecture", detail::checkpoint_architecture)
        .set("checkpoint.steps", std::to_string(reader.steps))
        .set("checkpoint.note", note)
        .set("checkpoint.sum", std::to_string(sum.value()));
    for (const auto& [name, value] : reader.run) writer.set(std::string{detail::checkpoint_run_prefix} + name, value);
    for (const GgufTensor& tensor : file.tensors()) writer.write(tensor.data);
    writer.finish();
}

}  // namespace

TEST_CASE("hostile 43: ids, titles and texts of a corpus are printed harmlessly, and cannot look like another hit") {
    const TemporaryFolder folder;
    const std::string corpus = folder.write("corpus.jsonl",
                                            "{\"_id\":\"k\\u001b[2Jone\\n9.9999  forged\",\"title\":\"na\xc3\xafve "
                                            "\xe4\xb8\xad\\u0007\\u202eeltit\",\"text\":\"A kernel "
                                            "\\u001b]0;x\\u0007 shares\\n9.9999  forged  id\\u009b memory.\"}\n");
    const Result found = tool({"search", "--corpus", corpus, "--query", "kernel"});
    CHECK(found.status == 0);
    check_harmless(found.out);
    CHECK(found.out.find("  k\ufffd[2Jone\ufffd9.9999  forged  na\xc3\xafve \xe4\xb8\xad\ufffd\ufffd"
                         "eltit\n") != found.out.npos);
    CHECK(found.out.find("\n9.9999") == found.out.npos);
    CHECK(found.out.find("\n    9.9999  forged  id\ufffd memory.") != found.out.npos);
    const Result generated = tool({"generate", "--corpus", corpus, "--prompt", "kernel", "--max-tokens", "2"});
    CHECK(generated.status == 0);
    check_harmless(generated.err);
    CHECK(generated.err.find("k\ufffd[2Jone\ufffd9.9999") != generated.err.npos);
    const std::string run = (folder.path() / "run").string();
    const Result refused = tool({"search", "--corpus", corpus, "--queries", corpus, "--run", run});
    check_refused(refused, 1, "cannot hold the id 'k?[2Jone?9.9999  forged'");
    check_harmless(refused.err);
}

TEST_CASE("hostile 10: names in a model are printed harmlessly") {
    const TemporaryFolder folder;
    const std::string named = folder.write("named.gguf", patched("general.name", 12, "\x1b[2J\n\xc2\x9b\xff"));
    for (const auto& arguments :
         {std::vector<std::string>{"inspect", "--model", named},
          std::vector<std::string>{"bench", "--model", named, "--m", "1", "--repetitions", "1", "--warmup", "0"}}) {
        const Result printed = tool(arguments);
        CHECK(printed.status == 0);
        check_harmless(printed.out);
        CHECK(printed.out.find("\ufffd[2J\ufffd\ufffd\ufffd") != printed.out.npos);
    }
    const std::string tensor = folder.write("tensor.gguf", patched("blk.0.attn_q", 0, "\x1bweight"));
    const Result listed = tool({"inspect", "--tensors", "--model", tensor});
    CHECK(listed.status == 0);
    check_harmless(listed.out);
    CHECK(listed.out.find("blk.0.attn_q\ufffdweight") != listed.out.npos);
    check_harmless(tool({"score", "--text", "x", "--model", tensor}).err);
    const std::string key = folder.write("key.gguf", patched("llama.rope.dimension", 0,
                                                             "\x1b"
                                                             "count"));
    check_harmless(tool({"inspect", "--model", key}).out);
    check_harmless(tool({"score", "--text", "x", "--model", "no\x1b[2Jwhere\n"}).err);
    check_harmless(tool({"score", "--text", "x", "--\x1b[2J"}).err);
}

TEST_CASE("hostile 21: weights that are no numbers are an error in score, and inspect tells which they are") {
    const TemporaryFolder folder;
    const auto number = [](std::uint32_t bits) {
        float value = 0;
        std::memcpy(&value, &bits, sizeof value);
        return value;
    };
    for (const float strange : {number(0x7fc00000), number(0x7f800000)}) {  // NaN and infinity
        const std::string model = folder.write("nan.gguf", with_last_weights(std::array{1.0f, strange, 1.0f, strange, 1.0f}));
        refused(1, "after token 0 of the text, the logit of token 0 is not a finite number: the weights of '" + model + "'",
                {"score", "--text", "x", "--model", model});
        const json weights = tool_json({"inspect", "--model", model})["weights"];
        CHECK(weights["not_finite"] == json{{"weights", 2}, {"tensor", "output_norm.weight"}, {"element", 252}});
        CHECK(tool({"inspect", "--model", model})
                  .out.find("not finite          2 of the weights; the first is element 252 of output_norm.weight\n") !=
              std::string::npos);
    }
    CHECK(tool_json({"inspect"})["weights"]["not_finite"].is_null());
    CHECK(tool({"inspect"}).out.find("finite") == std::string::npos);
}

TEST_CASE("hostile 19: a window beyond the memory of a machine is refused in a sentence") {
    const TemporaryFolder folder;
    const std::string texts = folder.write("texts.txt", "title\n    A kernel shares the memory among programs.\n");
    const std::string model =
        folder.write("long.gguf", patched("llama.context_length", 4, std::string_view{"\xff\xff\xff\x7f", 4}));
    const std::string words = "there is no memory for a window of 2147483647 positions, whose keys and values take ";
    refused(1, words, {"score", "--text", "x", "--model", model});
    refused(1, words, {"generate", "--layout", "none", "--prompt", "x", "--model", model});
    refused(1, words, {"ppl", "--text", texts, "--model", model});
    refused(1, "there is no memory for a window of 2147483647 positions", {"bench", "--m", "2147483647", "--repetitions", "1"});
    refused(1, "there is no memory for a window of 2147483663 positions", {"bench", "--context", "2147483647", "--m", "16"});
}

TEST_CASE("hostile 50: counts are decimal and have a greatest value, and no name is empty") {
    for (const char* most : {"2147483648", "9223372036854775807", "9223372036854775808", "18446744073709551617"}) {
        const std::string found = std::string{"found "} + most + ", expected at most 2147483647";
        refused(2, "--m: " + found, {"bench", "--m", most});
        refused(2, "--m: " + found, {"bench", "--m", std::string{"1,"} + most});
        refused(2, "--context: " + found, {"bench", "--context", most});
        refused(2, "--max-tokens: " + found, {"generate", "--layout", "none", "--prompt", "x", "--max-tokens", most});
        refused(2, "--threads: found " + std::string{most} + ", expected at most 1048576",
                {"score", "--text", "x", "--threads", most});
    }
    refused(2, "--seed: found 18446744073709551616, expected at most 18446744073709551615",
            {"pretrain", "--seed", "18446744073709551616"});
    refused(2, "--seed: found -1, expected a whole number from 0", {"finetune", "--seed", "-1"});
    for (const char* number : {"", " 3", "0x10", "1e3", "3.0", "-0", "ten"})
        refused(2, "--top: found " + std::string{number} + ", expected a whole number of at least 0",
                {"score", "--text", "x", "--top", number});
    CHECK(tool_json({"score", "--tokens", "010", "--top", "03"}) == tool_json({"score", "--tokens", "10", "--top", "3"}));
    CHECK(tool_json({"generate", "--layout", "none", "--prompt", "x", "--max-tokens", "010"})["tokens"].size() == 10);
    const std::string empty = ": found no name, expected that of a folder or file";
    refused(2, "--model" + empty, {"score", "--text", "x", "--model", ""});
    refused(2, "--model" + empty, {"bench", "--model", ""});
    refused(2, "--against" + empty, {"ppl", "--text", "x", "--against", ""});
    refused(2, "--adapter" + empty, {"inspect", "--adapter", ""});
    refused(2, "--log" + empty, {"pretrain", "--log", ""});
    refused(2, "out" + empty, {"quantize", "x", "", "--dtype", "f16"});
}

TEST_CASE("hostile 31: a pipe in place of a model or a corpus is refused at once") {
    const TemporaryFolder folder;
    const std::string pipe = (folder.path() / "pipe").string();
    REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
    const auto within = [&](const std::string& arguments) {
        return shell("timeout 20 " + quoted(FLASHBACK_TOOL) + ' ' + arguments + ' ' + quoted(pipe));
    };
    for (const char* arguments : {"score --text x --model", "search --query x --corpus", "inspect --model"})
        check_refused(within(arguments), 1, "pipe' is no regular file, expected a file");
}

TEST_CASE("hostile 52: the note of a checkpoint that was forged is refused in a sentence") {
    const TemporaryFolder folder;
    const auto path = [&](const char* name) { return (folder.path() / name).string(); };
    const std::string texts = folder.write("train.jsonl", documents_to_learn(40));
    const auto arguments =
        pretrain_arguments(texts, path("out.gguf"), {"--steps", "2", "--checkpoint", path("ckpt"), "--force"});
    REQUIRE(tool(arguments).status == 0);
    for (const char* note :
         {"{\"seconds\":\"x\"}", "{\"seconds\":-1}", "{\"seconds\":null}", "[1]", "{}", "", "\x1b[2J{\"seconds\":1}"}) {
        forge_note(path("ckpt"), note);
        check_refused_at_last(1, "expected the seconds of the run, as in {\"seconds\":12.5}", arguments);
    }
    forge_note(path("ckpt"), "{\"seconds\":2.5}");
    CHECK(tool_json(arguments)["resumed_from"] == 2);
}

}  // namespace test_cli_hostile
