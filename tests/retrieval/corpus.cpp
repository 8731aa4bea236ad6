#include "flashback/retrieval/corpus.hpp"

#include "flashback/core/error.hpp"
#include "support/temporary_folder.hpp"

#include <string>

#include <doctest/doctest.h>

using namespace flashback;
using doctest::Contains;
using flashback_test::TemporaryFolder;

TEST_CASE("JSON lines as Pyserini writes them: the title is the first line of the contents") {
    const TemporaryFolder folder;
    const auto corpus = read_corpus(folder.write(
        "c.jsonl", "{\"id\": \"a\", \"contents\": \"Ada\\nwrote it\"}\n\n{\"id\": 7, \"contents\": \"one line\"}"));
    REQUIRE(corpus.documents.size() == 2);
    CHECK(corpus.documents[0].id == "a");
    CHECK(corpus.documents[0].title == "Ada");
    CHECK(corpus.documents[0].text == "Ada\nwrote it");
    CHECK(corpus.documents[1].id == "7");
    CHECK(corpus.documents[1].text == "one line");
}

TEST_CASE("JSON lines as BEIR has them: the text begins with the title") {
    const TemporaryFolder folder;
    const auto corpus = read_corpus(folder.write(
        "c.jsonl",
        "\xef\xbb\xbf{\"_id\":\"1\",\"title\":\"T\",\"text\":\"body\"}\r\n{\"_id\":\"2\",\"title\":\"\",\"text\":\"b\"}\r\n"));
    REQUIRE(corpus.documents.size() == 2);
    CHECK(corpus.documents[0].text == "T\nbody");
    CHECK(corpus.documents[0].title == "T");
    CHECK(corpus.documents[1].text == "b");
}

TEST_CASE("A folder: .txt and .md files by path, others left alone") {
    const TemporaryFolder folder;
    folder.write("b.md", "second");
    folder.write("a/x.txt", "first");
    folder.write("c.png", std::string_view{"\0", 1});
    const auto corpus = read_corpus(folder.path());
    REQUIRE(corpus.documents.size() == 2);
    CHECK(corpus.documents[0].id == "a/x.txt");
    CHECK(corpus.documents[0].title == "x");
    CHECK(corpus.documents[0].text == "first");
    CHECK(corpus.documents[1].id == "b.md");
}

TEST_CASE("dictd-style text: a document starts at a line that is not indented, after an empty line") {
    const TemporaryFolder folder;
    const auto corpus = read_corpus(folder.write("d.txt",
                                                 "\n"
                                                 "compiler\n"
                                                 "\n"
                                                 "   <tool> A {program} that turns\n"
                                                 "   {source code} into another\n"
                                                 "form.\n"
                                                 "\n"
                                                 "      x = {a; b}\n"
                                                 "      y = 2\n"
                                                 "   \n"
                                                 "(not a new document)\n"
                                                 "\n"
                                                 "linker\n"
                                                 "ld\n"
                                                 "\n"
                                                 "   Joins.\n"));
    REQUIRE(corpus.documents.size() == 2);
    CHECK(corpus.documents[0].id == "d-1");
    CHECK(corpus.documents[0].title == "compiler");
    CHECK(corpus.documents[0].text ==
          "compiler\n\n<tool> A program that turns source code into another form.\n\n   x = a; b\n   y = 2\n\n(not a new "
          "document)");
    CHECK(corpus.documents[1].id == "d-2");
    CHECK(corpus.documents[1].title == "linker");
    CHECK(corpus.documents[1].text == "linker\nld\n\nJoins.");
}

TEST_CASE("Text that is no UTF-8 is replaced and counted") {
    const TemporaryFolder folder;
    const auto corpus = read_corpus(folder.write("latin1.txt", "caf\xe9\n\n   na\xefve\n"));
    REQUIRE(corpus.documents.size() == 1);
    CHECK(corpus.replaced == 2);
    CHECK(corpus.documents[0].title == "caf\xef\xbf\xbd");
}

TEST_CASE("What is no corpus is refused in words") {
    const TemporaryFolder folder;
    const auto refusal = [&](const char* name, std::string_view content) {
        try {
            read_corpus(folder.write(name, content));
        } catch (const Error& error) {
            CHECK(error.code() == ErrorCode::corpus);
            return doctest::String{error.what()};
        }
        return doctest::String{"accepted"};
    };
    CHECK(refusal("empty.txt", "") == Contains("empty.txt' holds no document"));
    CHECK(refusal("blank.txt", " \n\n \t\n") == Contains("blank.txt' holds no document"));
    CHECK(refusal("indented.txt", "   all of it\n   indented\n") == Contains("holds no document"));
    CHECK(refusal("binary.txt", std::string_view{"ab\0c", 4}) == Contains("binary: byte 2 is 0"));
    CHECK(refusal("packed.gz", "\x1f\x8b\x08") == Contains("compressed"));
    CHECK(refusal("cut.jsonl", "{\"id\":\"1\",\"contents\":\"x\"}\n{\"id\":\"2\",") == Contains("line 2 is no JSON"));
    CHECK(refusal("array.jsonl", "{\"id\":\"1\",\"contents\":\"x\"}\n[1]") == Contains("line 2 is array"));
    CHECK(refusal("no_id.jsonl", "{\"contents\":\"x\"}") == Contains("line 1: the document has no \"id\""));
    CHECK(refusal("no_text.jsonl", "{\"_id\":\"x\"}") == Contains("line 1: the document has no \"text\""));
    CHECK(refusal("number.jsonl", "{\"_id\":\"x\",\"text\":1.5}") == Contains("\"text\" is of type number, expected a string"));
    CHECK(refusal("twice.jsonl", "{\"id\":\"1\",\"contents\":\"x\"}\n{\"id\":\"1\",\"contents\":\"y\"}") ==
          Contains("two documents with the id '1'"));
    CHECK(refusal("deep.jsonl", "{\"id\":" + std::string(100000, '[')) ==
          Contains("line 1 has lists in lists, more than 100 deep"));
    CHECK(refusal("cut_deep.jsonl", "{\"id\":" + std::string(99, '[')) == Contains("line 1 is no JSON"));
    std::filesystem::create_directory(folder.path() / "nothing");
    CHECK_THROWS_WITH_AS(read_corpus(folder.path() / "nothing"), Contains("holds no .txt or .md file"), Error);
    CHECK_THROWS_WITH_AS(read_corpus(folder.path() / "missing"), Contains("No such file"), Error);
}

TEST_CASE("A JSON array of objects: one document each") {
    const auto read = [](const std::string& text) { return parse_corpus(text, "c.json").documents; };
    const auto documents = read(
        "\xef\xbb\xbf [\n {\"_id\": \"a\", \"title\": \"T\", \"text\": \"x, ]} \\\" [{ \\\\\"},\r\n {\"id\": 7, \"more\": "
        "[1, {\"b\": [2]}], \"contents\": \"one\\nline\"} ]\n");
    REQUIRE(documents.size() == 2);
    CHECK(documents[0].id == "a");
    CHECK(documents[0].title == "T");
    CHECK(documents[0].text == "T\nx, ]} \" [{ \\");
    CHECK(documents[1].id == "7");
    CHECK(documents[1].title == "one");
    CHECK(read("[{\"_id\":\"a\",\"text\":\"b\"}]").size() == 1);
    CHECK(parse_corpus("[{\"text\":\"a\"},{\"text\":\"b\"},{\"text\":\" \"}]", "t", TextForm::pages).documents.size() == 2);
    CHECK(parse_corpus("[]", "t", TextForm::pages).documents.empty());
    CHECK(parse_corpus("[{\"_id\":\"a\",\"text\":\"b\"}]", "t", TextForm::whole).documents[0].text == "b");
}

TEST_CASE("A text that begins with a bracket stays text") {
    for (const char* text : {"[1] a note", "[ ] to do", "[] to do", "[", "[\"a\"]", "[[{}]]", "x [{}]"}) {
        CAPTURE(text);
        const auto documents = parse_corpus(text, "c.txt", TextForm::whole).documents;
        REQUIRE(documents.size() == 1);
        CHECK(documents[0].text == text);
    }
}

TEST_CASE("A broken JSON array is refused with its place") {
    const auto read = [](const std::string& text) { return parse_corpus(text, "c.json"); };
    const std::string one = "{\"_id\":\"a\",\"text\":\"b\"}";
    CHECK_THROWS_WITH(read("[]"), "'c.json' holds no document");
    CHECK_THROWS_WITH(read("[" + one), Contains("'c.json' ends within element 1 of its JSON array"));
    CHECK_THROWS_WITH(read("[{\"_id"), Contains("'c.json' ends within element 1 of its JSON array"));
    CHECK_THROWS_WITH(read("[{\"_id\":\"a\\"), Contains("'c.json' ends within element 1 of its JSON array"));
    CHECK_THROWS_WITH(read("[" + one + ","), Contains("'c.json' ends within element 2 of its JSON array"));
    CHECK_THROWS_WITH(read("[" + one + ",]"), Contains("'c.json' element 2 is no JSON"));
    CHECK_THROWS_WITH(read("[" + one + ",,"), Contains("'c.json' element 2 is no JSON"));
    CHECK_THROWS_WITH(read("[" + one + ", 1]"), Contains("'c.json' element 2 is number, expected an object"));
    CHECK_THROWS_WITH(read("[" + one + "}]"), Contains("'c.json' element 1 is no JSON"));
    CHECK_THROWS_WITH(read("[" + one + " " + one + "]"), Contains("'c.json' element 1 is no JSON"));
    CHECK_THROWS_WITH(read("[" + one + "] x"), Contains("'c.json' has more behind the end of its JSON array"));
    CHECK_THROWS_WITH(read("[" + one + "," + one + "]"), Contains("two documents with the id 'a'"));
    CHECK_THROWS_WITH(read("[{\"text\":\"b\"}]"), Contains("'c.json' element 1: the document has no \"_id\""));
    CHECK_THROWS_AS(read("[{\"a\":" + std::string(1'000'000, '[')), Error);
}
