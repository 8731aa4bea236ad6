// Texts to measure with: WikiText, or a file as a whole.
#include "flashback/retrieval/corpus.hpp"
#include "flashback/retrieval/detail/wikitext.hpp"

#include "support/errors.hpp"
#include "support/temporary_folder.hpp"

#include <filesystem>
#include <string>
#include <string_view>

#include <doctest/doctest.h>

using namespace flashback;
using namespace flashback_test;

namespace {

Corpus parse_texts(std::string_view bytes, const std::string& name) { return parse_corpus(bytes, name, TextForm::whole); }
Corpus read_texts(const std::filesystem::path& path) { return read_corpus(path, TextForm::whole); }

}  // namespace

TEST_CASE("A plain text is one document, every character of it") {
    const Corpus corpus = parse_texts("\n  Title\n\nSome text\n = Not a title = \n", "/some/where/book.txt");
    REQUIRE(corpus.documents.size() == 1);
    CHECK(corpus.documents[0].id == "book");
    CHECK(corpus.documents[0].title.empty());
    CHECK(corpus.documents[0].text == "\n  Title\n\nSome text\n = Not a title = \n");
}

TEST_CASE("JSON lines are documents as those of a corpus") {
    const Corpus corpus =
        parse_texts("{\"_id\": \"a\", \"title\": \"A\", \"text\": \"x\"}\n{\"id\": 2, \"contents\": \"B\\ny\"}\n", "t");
    REQUIRE(corpus.documents.size() == 2);
    CHECK(corpus.documents[0].text == "A\nx");
    CHECK(corpus.documents[1].id == "2");
    CHECK(corpus.documents[1].title == "B");
    check_error(ErrorCode::corpus, "two documents with the id 'a'",
                [] { static_cast<void>(parse_texts("{\"_id\":\"a\",\"text\":\"x\"}\n{\"_id\":\"a\",\"text\":\"y\"}", "t")); });
}

TEST_CASE("WikiText falls into articles, and nothing of it is lost") {
    const std::string text =
        " \n = Robert Boulter = \n \n He acted . \n \n = = Career = = \n \n In 2000 ... \n = 5 = \n x \n"
        " \n = Gold @-@ plated 1 @,@ 000 = \n \n Dollars . \n";
    const Corpus corpus = parse_texts(text, "wiki.test.raw");
    REQUIRE(corpus.documents.size() == 2);
    CHECK(corpus.documents[0].id == "wiki.test-1");
    CHECK(corpus.documents[0].title == "Robert Boulter");
    CHECK(corpus.documents[1].title == "Gold-plated 1,000");
    CHECK(corpus.documents[1].id == "wiki.test-2");
    CHECK(corpus.documents[0].text + corpus.documents[1].text == text);
    CHECK(corpus.documents[0].text.ends_with(" x \n \n"));
    for (const char* line : {" = = A = = ", " = ", " =  =", "= A = ", " = A ", " = A", ""})
        CHECK(detail::wikitext_title(line).empty());
    CHECK(detail::wikitext_title(" = A = B = ") == "A = B");
}

TEST_CASE("Texts from files and folders; what is no text is refused in words") {
    const TemporaryFolder folder;
    CHECK(read_texts(folder.write("a.txt", "x")).documents[0].text == "x");
    CHECK(read_texts(folder.path()).documents[0].id == "a.txt");
    check_error(ErrorCode::io, "No such file", [&] { static_cast<void>(read_texts(folder.path() / "nowhere")); });
    check_error(ErrorCode::corpus, "'e.txt' holds no text", [] { static_cast<void>(parse_texts(" \n\t\n", "e.txt")); });
    check_error(ErrorCode::corpus, "is binary: byte 1 is 0", [] {
        static_cast<void>(parse_texts(std::string_view{"a\0b", 3}, "e"));
    });
    check_error(ErrorCode::corpus, "is compressed", [] { static_cast<void>(parse_texts("\x1f\x8b", "e")); });
    CHECK(parse_texts("a\xff", "e").replaced == 1);
}
