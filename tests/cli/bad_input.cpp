// Bad input gets one sentence on standard error, nothing on standard output, and exit status 1, or 2 for wrong usage.
#include "cli/tool.hpp"
#include "support/gguf_bytes.hpp"

#include <cstdint>
#include <filesystem>
#include <limits>

using namespace flashback_test;

namespace {

void refused_in_all_forms(int status, const std::string& words, const std::vector<std::string>& arguments) {
    std::string shown;
    for (const auto& argument : arguments) shown += argument.substr(0, 60) + ' ';
    CAPTURE(shown);
    for (const bool json : {false, true}) {
        std::vector<std::string> all = arguments;
        if (json && status == 1) all.emplace_back("--json");
        check_refused(tool(all), status, words);
    }
}

std::string model_bytes() {
    std::ifstream file{FLASHBACK_TEST_MODEL, std::ios::binary};
    return {std::istreambuf_iterator<char>{file}, {}};
}

}  // namespace

TEST_CASE("wrong usage") {
    const TemporaryFolder folder;
    const std::string corpus = write_corpus(folder);
    refused_in_all_forms(2, "A subcommand is required", {});
    refused_in_all_forms(2, "no command 'frobnicate'", {"frobnicate"});
    refused_in_all_forms(2, "--frobnicate; see flashback generate --help",
                         {"generate", "--corpus", corpus, "--prompt", "x", "--frobnicate"});
    refused_in_all_forms(2, "expected: some.gguf; did you mean --model some.gguf?", {"inspect", "some.gguf"});
    refused_in_all_forms(2, "; did you mean --model " + corpus + "?", {"inspect", corpus});
    refused_in_all_forms(2, "expected: nowhere; see flashback inspect --help", {"inspect", "nowhere"});
    refused_in_all_forms(2, "were not expected: b.gguf a.gguf; see flashback inspect --help", {"inspect", "a.gguf", "b.gguf"});
    refused_in_all_forms(2, "--prompt", {"generate", "--corpus", corpus});
    refused_in_all_forms(2, "--corpus", {"generate", "--prompt", "x"});
    refused_in_all_forms(2, "--stride: found 0, expected a whole number of at least 1",
                         {"generate", "--corpus", corpus, "--prompt", "x", "--stride", "0"});
    refused_in_all_forms(2, "--stride: found -3", {"generate", "--corpus", corpus, "--prompt", "x", "--stride", "-3"});
    refused_in_all_forms(2, "--query-tokens: found 0",
                         {"generate", "--corpus", corpus, "--prompt", "x", "--query-tokens", "0"});
    refused_in_all_forms(2, "--passage-tokens: found 0",
                         {"generate", "--corpus", corpus, "--prompt", "x", "--passage-tokens", "0"});
    refused_in_all_forms(2, "--repeat 4 needs passages behind the text, found --layout prepend",
                         {"generate", "--corpus", corpus, "--prompt", "x", "--layout", "prepend", "--repeat", "4"});
    refused_in_all_forms(2, "--threads: found 0", {"generate", "--corpus", corpus, "--prompt", "x", "--threads", "0"});
    refused_in_all_forms(2, "--seed: found -1, expected a whole number from 0",
                         {"generate", "--corpus", corpus, "--prompt", "x", "--seed", "-1"});
    refused_in_all_forms(2, "--seed: found 18446744073709551616, expected",
                         {"generate", "--corpus", corpus, "--prompt", "x", "--seed", "18446744073709551616"});
    refused_in_all_forms(2, "--max-tokens: found ten",
                         {"generate", "--corpus", corpus, "--prompt", "x", "--max-tokens", "ten"});
    refused_in_all_forms(2, "--layout", {"generate", "--corpus", corpus, "--prompt", "x", "--layout", "sideways"});
    refused_in_all_forms(2, "--temperature", {"generate", "--corpus", corpus, "--prompt", "x", "--temperature", "-1"});
    refused_in_all_forms(2, "--temperature", {"generate", "--corpus", corpus, "--prompt", "x", "--temperature", "nan"});
    refused_in_all_forms(2, "--top-p", {"generate", "--corpus", corpus, "--prompt", "x", "--top-p", "0"});
    refused_in_all_forms(2, "--prompt", {"generate", "--corpus", corpus, "--prompt", "x", "--prompt-file", "-"});
    refused_in_all_forms(2, "--stop: found an empty text", {"generate", "--corpus", corpus, "--prompt", "x", "--stop", ""});
    refused_in_all_forms(2, "--overflow", {"generate", "--corpus", corpus, "--prompt", "x", "--overflow", "shift"});
    refused_in_all_forms(2, "--top-k: found -1", {"generate", "--corpus", corpus, "--prompt", "x", "--top-k", "-1"});
    refused_in_all_forms(2, "--min-p: found 1.5", {"generate", "--corpus", corpus, "--prompt", "x", "--min-p", "1.5"});
    refused_in_all_forms(2, "--repetition-penalty: found 0",
                         {"generate", "--corpus", corpus, "--prompt", "x", "--repetition-penalty", "0"});
    refused_in_all_forms(2, "either --text or --tokens", {"score"});
    refused_in_all_forms(2, "--tokens", {"score", "--tokens", "1,two"});
    refused_in_all_forms(2, "either --text or --decode", {"tokenize"});
    refused_in_all_forms(2, "either --text or --decode", {"tokenize", "--text", "x", "--decode", "1"});
    refused_in_all_forms(2, "either --query or --queries", {"search", "--corpus", corpus});
    refused_in_all_forms(2, "--query-file", {"search", "--corpus", corpus, "--query", "x", "--query-file", "-"});
    refused_in_all_forms(2, "--queries",
                         {"search", "--corpus", corpus, "--query-file", "-", "--queries", corpus, "--run", "run.trec"});
    refused_in_all_forms(2, "--run", {"search", "--corpus", corpus, "--queries", corpus});
    refused_in_all_forms(2, "in is required", {"quantize"});
    refused_in_all_forms(2, "out is required", {"quantize", FLASHBACK_TEST_MODEL, "--dtype", "f16"});
    refused_in_all_forms(2, "--dtype is required", {"quantize", FLASHBACK_TEST_MODEL, "out.gguf"});
    refused_in_all_forms(2, "--dtype: q4_k not in {f32,f16,bf16,q8_0,q4_0}",
                         {"quantize", FLASHBACK_TEST_MODEL, "out.gguf", "--dtype", "q4_k"});
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // they need more address space than this test leaves
TEST_CASE("more threads than the system gives") {
    for (const char* command : {"inspect", "score --text x"}) {
        const Result result = shell("ulimit -v 2000000; " + quoted(FLASHBACK_TOOL) + " " + command + " --threads 100000");
        CHECK(result.status == 1);
        CHECK(result.out.empty());
        CHECK(result.err.starts_with("flashback: cannot start the 100000 threads of --threads: "));
    }
}
#endif

TEST_CASE("models that are missing, cut short, foreign or only a vocabulary") {
    const TemporaryFolder folder;
    const std::string model = model_bytes();
    REQUIRE(model.size() > 1000000);
    const auto score = [&](const std::string& file) {
        return std::vector<std::string>{"score", "--text", "x", "--model", file};
    };
    refused_in_all_forms(1, "nowhere.gguf': No such file", score("nowhere.gguf"));
    refused_in_all_forms(1, "config.json': No such file", score(folder.path().string()));
    refused_in_all_forms(1, "ends too early", score(folder.write("empty.gguf", "")));
    for (const std::size_t bytes : {3u, 20u, 5000u, 94000u, 94173u, 5000000u}) {
        refused_in_all_forms(1, "'", score(folder.write("cut.gguf", std::string_view{model}.substr(0, bytes))));
    }
    refused_in_all_forms(1, "nowhere.gguf': No such file", {"inspect", "--model", "nowhere.gguf"});
    refused_in_all_forms(1, "tokenizer.ggml.tokens says",
                         {"inspect", "--model", folder.write("cut.gguf", std::string_view{model}.substr(0, 5000))});
    refused_in_all_forms(1, "ends too early",
                         score(folder.write("last.gguf", std::string_view{model}.substr(0, model.size() - 1))));
    refused_in_all_forms(1, "is no GGUF file: it starts with 'PK",
                         score(folder.write("zip.gguf", "PK\x03\x04" + std::string(100, 'x'))));
    std::string version = model;
    version[4] = 9;
    refused_in_all_forms(1, "version 9, expected 2 or 3", score(folder.write("version.gguf", version)));
}

TEST_CASE("corpora that are missing, empty, binary, unreadable or no corpus") {
    const TemporaryFolder folder;
    for (const auto& command :
         {std::vector<std::string>{"generate", "--prompt", "x"}, std::vector<std::string>{"search", "--query", "x"}}) {
        const auto with = [&](const std::string& corpus) {
            auto all = command;
            all.insert(all.end(), {"--corpus", corpus});
            return all;
        };
        refused_in_all_forms(1, "nowhere': No such file", with("nowhere"));
        refused_in_all_forms(1, "holds no document", with(folder.write("empty.txt", "")));
        refused_in_all_forms(1, "is binary", with(folder.write("binary.txt", std::string_view{"abc\0def", 7})));
        refused_in_all_forms(1, "is binary", with(FLASHBACK_TEST_MODEL));
        refused_in_all_forms(1, "line 1 is no JSON", with(folder.write("bad.jsonl", "{\"id\": 1")));
        std::filesystem::create_directories(folder.path() / "void");
        refused_in_all_forms(1, "holds no .txt or .md file", with((folder.path() / "void").string()));
    }
    const std::string secret = folder.write("secret.txt", "text\n");
    std::filesystem::permissions(secret, std::filesystem::perms::none);
    if (!std::ifstream{secret})
        refused_in_all_forms(1, "Permission denied", {"search", "--query", "x", "--corpus", secret});  // root reads all
}

TEST_CASE("prompts that are empty or do not fit, and tokens that do not exist") {
    const TemporaryFolder folder;
    const std::string corpus = write_corpus(folder);
    refused_in_all_forms(1, "the prompt is empty", {"generate", "--corpus", corpus, "--prompt", ""});
    std::string text;
    for (int i = 0; i < 600; ++i) text += " the";
    refused_in_all_forms(1, "holds 512 tokens, but the first context needs",
                         {"generate", "--corpus", corpus, "--prompt", text});
    refused_in_all_forms(1, "holds 512 tokens, but the first context needs",
                         {"generate", "--layout", "none", "--prompt", text});
    refused_in_all_forms(1, "512", {"score", "--text", text});
    refused_in_all_forms(1, "token 4098 is not in the vocabulary of 4098 tokens", {"score", "--tokens", "1,4098"});
    refused_in_all_forms(1, "token -1 is not in the vocabulary", {"score", "--tokens=-1"});
    refused_in_all_forms(1, "token 999999 is not in the vocabulary", {"tokenize", "--decode", "999999"});
    refused_in_all_forms(1, "nowhere.txt': No such file", {"generate", "--corpus", corpus, "--prompt-file", "nowhere.txt"});
    refused_in_all_forms(1, "cannot write", {"search", "--corpus", corpus, "--queries", corpus, "--run", "/nowhere/run.trec"});
}

TEST_CASE("quantize: files that are missing, the same, there already or not to be written, and nothing is left behind") {
    const TemporaryFolder folder;
    const std::string in = folder.write("in.gguf", model_bytes());
    const std::string there = folder.write("there.gguf", "as before");
    const std::string out = (folder.path() / "out.gguf").string();
    std::filesystem::create_symlink("in.gguf", folder.path() / "link.gguf");
    const auto to = [&](const std::string& target, std::vector<std::string> more = {}) {
        std::vector<std::string> all{"quantize", in, target, "--dtype", "q8_0"};
        all.insert(all.end(), more.begin(), more.end());
        return all;
    };
    refused_in_all_forms(1, "nowhere.gguf': No such file", {"quantize", "nowhere.gguf", out, "--dtype", "q8_0"});
    refused_in_all_forms(1, "is no GGUF file", {"quantize", folder.write("text.gguf", "some text"), out, "--dtype", "q8_0"});
    refused_in_all_forms(1, "is what argument in reads, expected another file", to(in, {"--force"}));
    refused_in_all_forms(1, "is what argument in reads, expected another file",
                         to((folder.path() / "link.gguf").string(), {"--force"}));
    refused_in_all_forms(1, "there.gguf' exists already; --force replaces it", to(there));
    refused_in_all_forms(1, "exists already", to(folder.path().string()));
    refused_in_all_forms(1, "it exists and is a folder, expected a file", to(folder.path().string(), {"--force"}));
    refused_in_all_forms(1, "/dev/null': it exists and is no regular file", to("/dev/null", {"--force"}));
    refused_in_all_forms(1, "nowhere/out.gguf': there is no folder", to((folder.path() / "nowhere" / "out.gguf").string()));
    CHECK(std::ifstream{there}.get() == 'a');
    CHECK(std::distance(std::filesystem::directory_iterator{folder.path()}, {}) == 4);  // in, there, link, text
}

TEST_CASE("quantize: weights of a type that is not read, or that are no numbers, or too large") {
    const TemporaryFolder folder;
    const std::string out = (folder.path() / "out.gguf").string();
    const auto model = [&](flashback::DType type, const auto& values) {
        GgufBytes w;
        w.add_tensor("good.weight", {32, 1}, flashback::DType::f32, std::vector<float>(32, 1.0f));
        w.add_tensor("bad.weight", {32, values.size() / 32}, type, values);
        return folder.write("in.gguf", w.bytes());
    };
    const auto with = [](float value) {
        std::vector<float> values(288, 1.0f);
        values[260] = value;
        return values;
    };
    using flashback::DType;
    constexpr float infinity = std::numeric_limits<float>::infinity();
    refused_in_all_forms(1, "in.gguf': tensor bad.weight has type I32, expected F32, F16, BF16",
                         {"quantize", model(DType::i32, std::vector<std::int32_t>(32, 1)), out, "--dtype", "f16"});
    for (const float value : {infinity, -infinity, std::numeric_limits<float>::quiet_NaN()}) {
        refused_in_all_forms(1, "in.gguf': element 260 of tensor bad.weight is not a finite number, expected weights",
                             {"quantize", model(DType::f32, with(value)), out, "--dtype", "f16"});
    }
    refused_in_all_forms(1, "element 260 of tensor bad.weight would not be a finite number as F16, expected smaller weights",
                         {"quantize", model(DType::f32, with(70000)), out, "--dtype", "f16"});
    refused_in_all_forms(1, "of tensor bad.weight would not be a finite number as Q8_0",
                         {"quantize", model(DType::f32, with(1e7f)), out, "--dtype", "q8_0"});
    CHECK_FALSE(std::filesystem::exists(out));
    CHECK(std::distance(std::filesystem::directory_iterator{folder.path()}, {}) == 1);
    CHECK(tool({"quantize", model(DType::f32, with(70000)), out, "--dtype", "bf16"}).status == 0);  // bf16 has the room
}
