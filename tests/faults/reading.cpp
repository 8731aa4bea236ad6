// What reads files, while memory or the file fails: a clean error, and nothing left behind.
#include "flashback/data/stride_cache.hpp"
#include "flashback/format/gguf.hpp"
#include "flashback/format/gguf_writer.hpp"
#include "flashback/format/peft.hpp"
#include "flashback/format/safetensors.hpp"
#include "flashback/format/safetensors_writer.hpp"
#include "flashback/retrieval/bm25.hpp"
#include "flashback/retrieval/corpus.hpp"
#include "flashback/retrieval/tokenizer_codec.hpp"
#include "support/byte_level_vocabulary.hpp"
#include "support/faults.hpp"
#include "support/gguf_bytes.hpp"
#include "support/temporary_folder.hpp"

#include <array>
#include <filesystem>
#include <memory>
#include <string>

#include <doctest/doctest.h>

using namespace flashback;
using namespace flashback_test;

namespace {

constexpr std::array all_faults{Fault::allocation, Fault::file, Fault::end_of_file, Fault::less, Fault::interrupted};
constexpr std::array both_ways{FileAccess::map, FileAccess::copy};

/// Does `work(access)` with each fault there is.
template <class Work>
void read_with_faults(const Work& work) {
    for (const FileAccess access : both_ways) {
        for (const Fault fault : all_faults) {
            CAPTURE(int(access));
            CAPTURE(int(fault));
            with_each_fault(fault, [&] { work(access); });
        }
    }
}

std::string small_gguf() {
    GgufBytes w;
    w.set("general.architecture", "llama").set_array<std::string>("words", {"one", "two"});
    w.add_tensor<float>("a", {3, 2}, DType::f32, {1, 2, 3, 4, 5, 6}).add_tensor<float>("b", {1}, DType::f32, {7});
    return w.bytes();
}

std::vector<Document> some_documents() {
    return {{"a", "A", "the first text of three"}, {"b", "B", "the second, which is longer"}, {"c", "", ""}};
}

}  // namespace

TEST_CASE("faults: a GGUF file is read, or nothing is left") {
    const TemporaryFolder folder;
    const std::string path = folder.write("small.gguf", small_gguf());
    read_with_faults([&](FileAccess access) {
        const GgufFile file = GgufFile::open(path, access);
        if (file.strings("words").value().size() != 2 || file.tensor("b")->data.size() != 4) FAIL_CHECK("read wrongly");
    });
    const std::string bytes = small_gguf();
    with_each_fault(Fault::allocation, [&] { view(bytes); });
}

TEST_CASE("faults: a safetensors file is read, or nothing is left") {
    const TemporaryFolder folder;
    const std::string path = (folder.path() / "x.safetensors").string();
    SafetensorsWriter writer{path};
    writer.set_metadata("format", "pt").add_tensor("a", {2, 3}, DType::f32).add_tensor("b", {2}, DType::f16);
    writer.write(std::array<std::byte, 28>{});
    writer.finish();
    read_with_faults([&](FileAccess access) {
        const SafetensorsFile file = SafetensorsFile::open(path, access);
        if (file.tensor("b")->data.size() != 4) FAIL_CHECK("read wrongly");
    });
}

TEST_CASE("faults: a writer that failed once never finishes a file that is none") {
    const TemporaryFolder folder;
    const std::filesystem::path path = folder.path() / "written";
    const std::array<std::byte, 8> bytes{};
    const auto finished = [&](auto& writer, const auto& open) {
        try {
            writer->finish();
            open();
        } catch (const Error&) {  // it says that something is missing
        }
    };
    for (const Fault fault : all_faults) {
        with_each_fault(
            fault, [&] { return std::make_unique<GgufWriter>(path); },
            [&](auto& writer) {
                writer->set("key", "text").set("key", 7u).set("other", 1.5f);
                writer->add_tensor("a", std::array<std::uint64_t, 1>{2}, DType::f32);
                writer->write(bytes);
                writer->finish();
            },
            [&](auto& writer) { finished(writer, [&] { CHECK_NOTHROW(GgufFile::open(path)); }); });
        if (fault == Fault::allocation) continue;  // see models.cpp: an adapter is saved
        with_each_fault(
            fault, [&] { return std::make_unique<SafetensorsWriter>(path); },
            [&](auto& writer) {
                writer->set_metadata("format", "pt").add_tensor("a", {2}, DType::f32);
                writer->write(bytes);
                writer->finish();
            },
            [&](auto& writer) { finished(writer, [&] { CHECK_NOTHROW(SafetensorsFile::open(path)); }); });
    }
}

TEST_CASE("faults: the configuration of an adapter is read, or nothing is left") {
    const TemporaryFolder folder;
    PeftConfig config;
    config.target_modules = {"q_proj"};
    config.rank_pattern = {{"model.layers.0.self_attn.q_proj", 3}};
    folder.write("adapter_config.json", to_json(config));
    for (const Fault fault : all_faults) {
        with_each_fault(fault, [&] {
            if (read_peft_config(folder.path()).rank_pattern.size() != 1) FAIL_CHECK("read wrongly");
        });
    }
    with_each_fault(Fault::allocation, [&] { static_cast<void>(to_json(config)); });
}

TEST_CASE("faults: a corpus is read, or nothing is left") {
    const TemporaryFolder folder;
    const std::string lines =
        folder.write("lines.jsonl", "{\"id\":\"a\",\"contents\":\"one\"}\n{\"_id\":\"b\",\"text\":\"two\"}\n");
    const std::string dictd = folder.write("dict.txt", "Title one\n\n   A line {that}\n   was broken\n\nTitle two\n   text\n");
    const std::string wiki = folder.write("wiki.raw", " \n = First = \n \n Some text . \n \n = Second = \n \n More . \n");
    folder.write("folder/a.txt", "one");
    folder.write("folder/sub/b.md", "two");
    for (const std::string& path : {lines, dictd, (folder.path() / "folder").string()}) {
        read_with_faults([&](FileAccess access) {
            if (read_corpus(path, TextForm::dictionary, access).documents.size() != 2) FAIL_CHECK("read wrongly");
        });
    }
    for (const std::string& path : {lines, wiki}) {
        read_with_faults([&](FileAccess access) {
            if (read_corpus(path, TextForm::whole, access).documents.size() != 2) FAIL_CHECK("read wrongly");
        });
    }
    const std::string pages = folder.write("pages.txt", "one\n\f\n \n\f\ntwo");
    read_with_faults([&](FileAccess access) {
        if (read_corpus(pages, TextForm::pages, access).documents.size() != 2) FAIL_CHECK("read wrongly");
    });
}

TEST_CASE("faults: an index is built and asked, or nothing is left") {
    with_each_fault(
        Fault::allocation, [] { return some_documents(); },
        [](std::vector<Document>& documents) {
            const Bm25Index index{std::move(documents)};
            if (index.retrieve({.tokens = {}, .text = "second text"}, 2).size() != 2) FAIL_CHECK("found wrongly");
        },
        [](const auto&) {});
    struct Ready {
        Tokenizer tokenizer{with_all_bytes()};
        std::vector<Document> documents = some_documents();
    };
    with_each_fault(
        Fault::allocation, [] { return Ready{}; },
        [](Ready& ready) {
            const Bm25Index index{std::move(ready.documents), codec_of(ready.tokenizer), {.passage_tokens = 40}};
            const std::vector<TokenId> query = ready.tokenizer.encode("second");
            if (index.retrieve({.tokens = query, .text = {}}, 1).empty()) FAIL_CHECK("found wrongly");
        },
        [](const Ready& ready) {
            CHECK(ready.tokenizer.encode("ab") == std::vector<TokenId>{'a', 'b'});
        });
}

TEST_CASE("faults: a tokenizer is made and used, or nothing is left") {
    Vocabulary v = with_all_bytes();
    merge(v, "t", "h");
    flashback_test::add(v, "<mark>", TokenKind::user_defined);
    with_each_fault(Fault::allocation, [&] {
        const Tokenizer tokenizer{v};
        const std::vector<TokenId> tokens = tokenizer.encode("the <mark>th");
        StreamDecoder stream{tokenizer};
        std::string text;
        for (const TokenId token : tokens) text += stream.push(token);
        if (text != "the <mark>th" || tokenizer.decode_whole(tokens) != text) FAIL_CHECK("encoded wrongly");
    });
}

TEST_CASE("faults: strides are read and written, or nothing is left and what was there stays") {
    const TemporaryFolder folder;
    const std::filesystem::path path = folder.path() / "strides";
    const std::vector<RetrievedStrides::Entry> entries{{100, 60, 1}, {116, 60, 3}};
    const std::vector<std::uint64_t> ends{2, 3, 5};
    const std::vector<TokenId> tokens{1, 2, 3, 4, 5};
    const std::vector<float> scores(ends.size(), 1);
    const RetrievedStrides strides{16, 2, entries, ends, scores, tokens, nullptr};
    write_strides(path, strides, 7);
    read_with_faults([&](FileAccess access) {
        if (read_strides(path, 7, access)[1].passages.size() != 3) FAIL_CHECK("read wrongly");
    });
    for (const Fault fault : all_faults) {
        with_each_fault(
            fault,
            [&] {
                std::filesystem::remove(folder.path() / "new");
                return 0;
            },
            [&](int) { write_strides(folder.path() / "new", strides, 7); },
            [&](int) {
                // There or not, but never in part, and no other file is left.
                if (std::filesystem::exists(folder.path() / "new")) CHECK(read_strides(folder.path() / "new", 7).size() == 2);
                for (const auto& entry : std::filesystem::directory_iterator{folder.path()})
                    CHECK(entry.path().filename().string().find(".part") == std::string::npos);
            });
    }
}
