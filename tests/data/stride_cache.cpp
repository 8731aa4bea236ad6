// Strides in a file: what comes back, and what is refused.
#include "flashback/data/stride_cache.hpp"

#include "support/errors.hpp"
#include "support/ranked_passages.hpp"
#include "support/temporary_folder.hpp"

#include <fstream>
#include <iterator>
#include <string>

#include <doctest/doctest.h>

using namespace flashback;
using namespace flashback_test;

namespace {

TextStream some_text() {
    SplitMix64 random{3};
    TextStream text;
    text.add("a", "A", random_tokens(random, 200, 90));
    text.add("b", "B", random_tokens(random, 200, 90));
    return text;
}

RetrievedStrides some_strides(const TextStream& text,
                              StrideOptions options = {.init = 100, .stride = 16, .context = 60, .passages = 2}) {
    RankedPassages passages;
    SplitMix64 random{4};
    for (int i = 0; i < 20; ++i) passages.add("p" + std::to_string(i), "", random_tokens(random, 5 + random.below(9), 90));
    return retrieve_strides(text, passages, LastNTokens{8}, options);
}

std::string bytes_of(const std::filesystem::path& path) {
    std::ifstream file{path, std::ios::binary};
    return {std::istreambuf_iterator<char>{file}, {}};
}

void check_same(const RetrievedStrides& found, const RetrievedStrides& expected) {
    CHECK(found.stride() == expected.stride());
    CHECK(found.retrievals() == expected.retrievals());
    CHECK(std::ranges::equal(found.entries(), expected.entries()));
    CHECK(std::ranges::equal(found.passage_ends(), expected.passage_ends()));
    CHECK(std::ranges::equal(found.scores(), expected.scores()));
    CHECK(std::ranges::equal(found.tokens(), expected.tokens()));
}

}  // namespace

TEST_CASE("What was written comes back, and stays when the file is replaced or gone") {
    const TemporaryFolder folder;
    const auto path = folder.path() / "strides";
    const TextStream text = some_text();
    const RetrievedStrides strides = some_strides(text);
    write_strides(path, strides, 7);
    const RetrievedStrides found = read_strides(path, 7);
    check_same(found, strides);
    write_strides(path, RetrievedStrides{16, 0, {}, {}, {}, {}, nullptr}, 8);
    check_same(found, strides);
    CHECK(read_strides(path, 8).size() == 0);
    std::filesystem::remove(path);
    check_same(found, strides);
    CHECK(std::distance(std::filesystem::directory_iterator{folder.path()}, {}) == 0);  // no temporary file is left
}

TEST_CASE("Every changed bit and every cut is noticed, and no length is believed") {
    const TemporaryFolder folder;
    const auto path = folder.path() / "strides";
    const TextStream text = some_text();
    write_strides(path, some_strides(text, {.init = 100, .stride = 16, .strides = 2, .context = 60}), 7);
    const std::string bytes = bytes_of(path);
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        for (const int bit : {0, 7}) {
            std::string broken = bytes;
            broken[i] = static_cast<char>(broken[i] ^ (1 << bit));
            const std::string file = folder.write("broken", broken);
            CHECK_THROWS_AS(static_cast<void>(read_strides(file, 7)), Error);
        }
        const std::string file = folder.write("broken", bytes.substr(0, i));
        CHECK_THROWS_AS(static_cast<void>(read_strides(file, 7)), Error);
    }
    check_error(ErrorCode::format, "is damaged",
                [&] { static_cast<void>(read_strides(folder.write("longer", bytes + '\0'), 7)); });
    check_error(ErrorCode::format, "was made of another text", [&] { static_cast<void>(read_strides(path, 8)); });
    check_error(ErrorCode::io, "No such file", [&] { static_cast<void>(read_strides(folder.path() / "nowhere", 7)); });
}

TEST_CASE("Strides are made once; damaged and other ones are replaced with a word, and other files are not touched") {
    const TemporaryFolder folder;
    const auto path = folder.path() / "strides";
    const TextStream text = some_text();
    int made = 0;
    std::string why;
    const auto get = [&](std::uint64_t key) {
        return cached_strides(
            path, key,
            [&] {
                ++made;
                return some_strides(text);
            },
            [&](std::string_view sentence) { why = sentence; });
    };
    check_same(get(1), some_strides(text));
    check_same(get(1), some_strides(text));
    CHECK(made == 1);
    CHECK(why.empty());
    get(2);
    CHECK(made == 2);
    CHECK(why.find("was made of another text, another corpus or with other options") != why.npos);
    std::string bytes = bytes_of(path);
    bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] + 1);
    folder.write("strides", bytes);
    check_same(get(2), some_strides(text));
    CHECK(made == 3);
    CHECK(why.find("is damaged: its checksum is wrong") != why.npos);

    folder.write("strides", "a letter that somebody wrote, and that is long enough for a header");
    check_error(ErrorCode::format, "is no file of retrieved strides", [&] { get(2); });
    CHECK(bytes_of(path).starts_with("a letter"));
    CHECK(made == 3);
}

TEST_CASE("The key knows the text, its documents, every option and the search") {
    const TextStream text = some_text();
    const StrideOptions options{.init = 100, .context = 60};
    const std::uint64_t key = strides_key(text, options, 5);
    CHECK(strides_key(text, options, 5) == key);
    CHECK(strides_key(text, options, 6) != key);
    const std::vector<void (*)(StrideOptions&)> changes{
        [](StrideOptions& o) { ++o.init; },           [](StrideOptions& o) { ++o.stride; },
        [](StrideOptions& o) { ++o.strides; },        [](StrideOptions& o) { ++o.context; },
        [](StrideOptions& o) { ++o.most_context; },   [](StrideOptions& o) { ++o.seed; },
        [](StrideOptions& o) { ++o.hold; },           [](StrideOptions& o) { ++o.passages; },
        [](StrideOptions& o) { ++o.passage_tokens; },
    };
    for (const auto& change : changes) {
        StrideOptions changed = options;
        change(changed);
        CHECK(strides_key(text, changed, 5) != key);
    }
    TextStream other = some_text();
    other.add("", "", TokenBuffer{1});
    CHECK(strides_key(other, options, 5) != key);
    TextStream renamed;
    renamed.add("a", "A", text.tokens().first(200));
    renamed.add("b", "C", text.tokens().subspan(200));
    CHECK(strides_key(renamed, options, 5) != key);
    CHECK(corpus_key(std::vector<Document>{{"a", "b", "c"}}) != corpus_key(std::vector<Document>{{"a", "bc", ""}}));
}
