// What Hugging Face's folders and llama.cpp's adapters hold, while memory or a file fails: a clean error, and nothing left behind.
#include "flashback/files/load.hpp"
#include "flashback/files/load_adapter.hpp"
#include "flashback/files/save_gguf_adapter.hpp"
#include "flashback/files/write_model.hpp"
#include "flashback/format/tokenizer_files.hpp"
#include "support/faults.hpp"
#include "support/folder_writer.hpp"
#include "support/random_adapter.hpp"
#include "support/temporary_folder.hpp"
#include "support/tokenizer_json.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <tuple>

#include <doctest/doctest.h>

namespace test_faults_folders {

using namespace flashback;
using namespace flashback_test;

namespace {

constexpr std::array every_fault{Fault::allocation, Fault::file, Fault::end_of_file, Fault::less, Fault::interrupted};

TransformerConfig one_layer(Family family) {
    TransformerConfig c = small_shape(family);
    c.layers = 1;
    return c;
}

/// The same tensors in two files and an index of them.
void write_shards(const FolderWriter& writer, const TemporaryFolder& folder) {
    const auto half = writer.tensors.begin() + static_cast<std::ptrdiff_t>(writer.tensors.size() / 2);
    Json map = Json::object();
    for (auto [name, begin, end] : {std::tuple{"one.safetensors", writer.tensors.begin(), half},
                                    std::tuple{"two.safetensors", half, writer.tensors.end()}}) {
        write_safetensors(folder.path() / name, {begin, end});
        for (; begin != end; ++begin) map[begin->name] = name;
    }
    folder.write("model.safetensors.index.json", Json{{"weight_map", map}}.dump());
    folder.write("config.json", writer.config.dump());
}

void check_loads(const TemporaryFolder& folder, std::uint64_t expected) {
    for (const FileAccess access : {FileAccess::map, FileAccess::copy}) {
        for (const Fault fault : every_fault) {
            with_each_fault(fault, [&] {
                if (load_model(folder.path(), {}, access)->fingerprint != expected) FAIL_CHECK("loaded wrongly");
            });
        }
    }
}

void check_reads_tokenizer(const TemporaryFolder& folder, std::size_t expected) {
    for (const Fault fault : every_fault) {
        with_each_fault(fault, [&] {
            if (load_tokenizer(folder.path()).size() != expected) FAIL_CHECK("loaded wrongly");
        });
    }
}

}  // namespace

TEST_CASE("faults: the model of a folder is loaded, whole or from shards, or nothing is left") {
    const Transformer llama = random_weights(one_layer(Family::llama), true);
    const TemporaryFolder whole;
    FolderWriter{llama}.write(whole.path());
    check_loads(whole, llama.fingerprint);
    const Transformer gpt2 = random_weights(one_layer(Family::gpt2), false);
    const TemporaryFolder shards;
    write_shards(FolderWriter{gpt2}, shards);
    check_loads(shards, gpt2.fingerprint);
}

TEST_CASE("faults: the tokenizer of a folder is read, or nothing is left") {
    const TemporaryFolder one;
    one.write("tokenizer.json", character_tokenizer({"a", "b", space_mark, "ab"}, {"a b"}).dump());
    one.write("tokenizer_config.json", R"({"add_bos_token": true, "bos_token": "<s>"})");
    one.write("config.json", R"({"model_type": "llama", "bos_token_id": 1})");
    check_reads_tokenizer(one, 6);
    const TemporaryFolder pair;
    Json vocab = byte_tokenizer({}, Json::array())["model"]["vocab"];
    vocab.erase("<|endoftext|>");
    vocab["ab"] = vocab.size();
    pair.write("vocab.json", vocab.dump());
    pair.write("merges.txt", "#version: 0.2\na b\n");
    check_reads_tokenizer(pair, 257);
}

TEST_CASE("faults: a folder becomes a whole GGUF file, or none") {
    const Transformer model = random_weights(one_layer(Family::llama), true);
    const Vocabulary vocabulary =
        parse_tokenizer_json(character_tokenizer({"a", "b", space_mark, "ab"}, {"a b"}).dump(), "tokenizer.json");
    const TemporaryFolder folder;
    const auto target = folder.path() / "out.gguf";
    for (const Fault fault : every_fault) {
        with_each_fault(
            fault, [&] { return std::filesystem::remove(target); },
            [&](bool) { write_model(target, model, &vocabulary, DType::f32); },
            [&](bool) {
                // Only what comes after the file stands there may fail and leave it: the folder that could not be synced.
                if (std::filesystem::exists(target)) CHECK(fingerprint(*load_model(target)) == model.fingerprint);
                for (const auto& entry : std::filesystem::directory_iterator{folder.path()}) CHECK(entry.path() == target);
            });
    }
}

TEST_CASE("faults: an adapter becomes a GGUF file and is loaded from one, or nothing is left") {
    const Transformer model = random_weights(one_layer(Family::llama), false);
    const Adapter adapter = random_adapter(model.config, {.ids = {3, 4}});
    const TemporaryFolder folder;
    const auto good = folder.path() / "good.gguf";
    save_gguf_adapter(adapter, model, good);
    for (const FileAccess access : {FileAccess::map, FileAccess::copy}) {
        for (const Fault fault : every_fault) {
            with_each_fault(fault, [&] {
                if (load_adapter(good, model, {.access = access}).embedding_ids.size() != 2) FAIL_CHECK("loaded wrongly");
            });
        }
    }
    const std::uint64_t expected = fingerprint(load_adapter(good, model));
    const auto target = folder.path() / "new.gguf";
    for (const Fault fault : every_fault) {
        with_each_fault(
            fault, [&] { return std::filesystem::remove(target); }, [&](bool) { save_gguf_adapter(adapter, model, target); },
            [&](bool) {
                if (std::filesystem::exists(target)) CHECK(fingerprint(load_adapter(target, model)) == expected);
                for (const auto& entry : std::filesystem::directory_iterator{folder.path()})
                    CHECK((entry.path() == target || entry.path() == good));
            });
    }
}

}  // namespace test_faults_folders
