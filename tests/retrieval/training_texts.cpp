// What pre-training reads: lines of JSON or plain text, all of it and nothing else.
#include "flashback/retrieval/corpus.hpp"

#include "support/errors.hpp"
#include "support/temporary_folder.hpp"

#include <string>
#include <vector>

#include <doctest/doctest.h>

using namespace flashback;
using flashback_test::check_error;
using flashback_test::TemporaryFolder;

namespace {

using Texts = std::vector<std::string>;

Texts texts_of(const std::string& content) {
    const TemporaryFolder folder;
    const Corpus found = read_corpus(folder.write("file", content), TextForm::pages);
    CHECK(found.replaced == 0);
    Texts texts;
    for (const Document& document : found.documents) {
        texts.push_back(document.text);
        CHECK(document.id == "file-" + std::to_string(texts.size()));
        CHECK(document.title.empty());
    }
    return texts;
}

}  // namespace

TEST_CASE("Lines of JSON: the text of each, and no other field") {
    CHECK(texts_of("{\"text\": \"one\"}\n\n  \n{\"_id\": 7, \"title\": \"no\", \"text\": \"two\\nlines \\u00e4\"}") ==
          Texts{"one", "two\nlines \xc3\xa4"});
    CHECK(texts_of(" \n{\"text\": \"one\"}\r\n{\"text\": \" \\n\"}\r\n{\"text\": 12}\r\n") == Texts{"one", "12"});
    // A form feed parts plain text only.
    CHECK(texts_of("{\"text\": \"a\\n\\f\\nb\"}") == Texts{"a\n\f\nb"});
}

TEST_CASE("Plain text: one text, or several with a form feed on a line of its own between them") {
    CHECK(texts_of("one\ntwo\n") == Texts{"one\ntwo\n"});
    CHECK(texts_of("one\n\f\ntwo\n\nthree\n\f\nfour") == Texts{"one\n", "two\n\nthree\n", "four"});
    CHECK(texts_of("\f\none\r\n\f\r\n \n\f\n\f\ntwo\n\f\n") == Texts{"one\n", "two\n"});
    CHECK(texts_of("no \f parts\n\f also\n") == Texts{"no \f parts\n\f also\n"});
    CHECK(texts_of("\xef\xbb\xbftext") == Texts{"text"});
    CHECK(texts_of("[\"not an object\"]") == Texts{"[\"not an object\"]"});
}

TEST_CASE("A file may hold no text") {
    CHECK(texts_of("").empty());
    CHECK(texts_of(" \n\t\n\f\n\v").empty());
    CHECK(texts_of("{\"text\": \"\"}\n").empty());
}

TEST_CASE("What is no UTF-8 is replaced and counted") {
    const TemporaryFolder folder;
    const Corpus found = read_corpus(folder.write("latin", "caf\xe9 and \xff.\n"), TextForm::pages);
    CHECK(found.replaced == 2);
    REQUIRE(found.documents.size() == 1);
    CHECK(found.documents[0].text == "caf\xef\xbf\xbd and \xef\xbf\xbd.\n");
}

TEST_CASE("What is no text to train on is refused with its place") {
    const TemporaryFolder folder;
    const auto refused = [&](ErrorCode code, const char* words, const std::string& content) {
        check_error(code, words, [&] { static_cast<void>(read_corpus(folder.write("file", content), TextForm::pages)); });
    };
    refused(ErrorCode::corpus, "file' line 3 is no JSON, expected an object like {\"text\": ...}",
            "{\"text\": \"a\"}\n\n{\"text\"");
    refused(ErrorCode::corpus, "file' line 2 is array", "{\"text\": \"a\"}\n[1]\n");
    refused(ErrorCode::corpus, "file' line 1: the document has no \"text\"", "{\"contents\": \"a\"}");
    refused(ErrorCode::corpus, "\"text\" is of type array, expected a string", "{\"text\": [\"a\"]}");
    refused(ErrorCode::corpus, "is binary: byte 1 is 0", std::string{"a\0b", 3});
    refused(ErrorCode::corpus, "is compressed", "\x1f\x8b.");
    check_error(ErrorCode::io, "nowhere': No such file",
                [&] { static_cast<void>(read_corpus(folder.path() / "nowhere", TextForm::pages)); });
}

TEST_CASE("A folder of texts to train on: each file is one") {
    const TemporaryFolder folder;
    folder.write("a.txt", "one\n\f\nstill one");
    folder.write("b.md", "two");
    CHECK(read_corpus(folder.path(), TextForm::pages).documents.size() == 2);
}
