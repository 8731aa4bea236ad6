// Where strides are, what is found for them, and what never is.
#include "flashback/data/retrieval_strides.hpp"

#include "flashback/core/any_retriever.hpp"
#include "flashback/core/thread_pool.hpp"
#include "flashback/data/ranges.hpp"
#include "flashback/policy/any_fusion.hpp"
#include "flashback/policy/policies.hpp"
#include "flashback/retrieval/bm25.hpp"
#include "flashback/retrieval/tokenizer_codec.hpp"
#include "support/errors.hpp"
#include "support/ranked_passages.hpp"

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

#include <doctest/doctest.h>
#include <range/v3/view/enumerate.hpp>

using namespace flashback;
using namespace flashback_test;

namespace {

constexpr std::size_t vocab = 500;

/// Random documents of 20 to 59 tokens: "doc 0", "doc 1", ...
TextStream random_stream(std::size_t documents, std::uint64_t seed = 3) {
    TextStream text;
    SplitMix64 random{seed};
    for (std::size_t d = 0; d < documents; ++d) {
        text.add("doc" + std::to_string(d), "Title " + std::to_string(d), random_tokens(random, 20 + random.below(40), vocab));
    }
    return text;
}

/// Random passages, and the documents of the text themselves, under their id, under their title, or with nothing but their text.
RankedPassages adversary(const TextStream& text, std::size_t others, std::uint64_t seed = 8) {
    RankedPassages passages;
    SplitMix64 random{seed};
    for (std::size_t i = 0; i < others; ++i)
        passages.add("other" + std::to_string(i), "Other " + std::to_string(i),
                     random_tokens(random, 5 + random.below(30), vocab));
    for (const auto& [d, streamed] : ranges::views::enumerate(each_document(text))) {
        const auto& [document, own] = streamed;
        const TokenBuffer unrelated = random_tokens(random, 10, vocab);
        passages.add(document.id + "#2", "", unrelated);
        passages.add("x" + std::to_string(d), "  \"TITLE\"  " + std::to_string(d), unrelated);
        passages.add("y" + std::to_string(d), "something else", {own.begin(), own.end()});
    }
    return passages;
}

/// The documents, by number, of a range of tokens: one by one.
std::set<std::size_t> documents_of(const TextStream& text, std::size_t begin, std::size_t end) {
    std::set<std::size_t> found;
    for (std::size_t i = begin; i < end; ++i) {
        std::size_t d = 0;
        while (text.documents()[d].end <= i) ++d;
        found.insert(d);
    }
    return found;
}

}  // namespace

TEST_CASE("A stream knows the documents of every range, empty documents included") {
    TextStream text = random_stream(6);
    text.add("empty", "", {});
    text.add("last", "", TokenBuffer{1, 2, 3});
    for (std::size_t begin = 0; begin <= text.tokens().size(); begin += 7) {
        for (std::size_t end = begin; end <= text.tokens().size(); ++end) {
            std::set<std::size_t> found;
            for (const SourceDocument& d : text.documents_of(begin, end)) {
                const auto number = static_cast<std::size_t>(&d - text.documents().data());
                if (d.id != "empty") found.insert(number);
            }
            REQUIRE(found == documents_of(text, begin, end));
        }
    }
}

TEST_CASE("Every whole stride has its place and its context; the walk asks nothing where no passages are wanted") {
    const TextStream text = random_stream(20);
    NoPassages nothing;
    const auto walk = [&](StrideOptions options) {
        options.passages = 0;
        return retrieve_strides(text, nothing, LastNTokens{8}, options);
    };
    const std::size_t tokens = text.tokens().size();
    for (const std::size_t stride : {1u, 4u, 16u, 50u}) {
        CAPTURE(stride);
        const RetrievedStrides all = walk({.init = 100, .stride = stride, .context = 60});
        CHECK(all.size() == (tokens - 100) / stride);
        CHECK(all.stride() == stride);
        CHECK(all.retrievals() == 0);
        for (const auto& [i, one] : ranges::views::enumerate(each_stride(all))) {
            REQUIRE(one.at == 100 + i * stride);
            REQUIRE(one.context == 60);
            REQUIRE(one.passages.empty());
        }
        CHECK(walk({.init = 100, .stride = stride, .strides = 3, .context = 60}).size() == 3);
    }
    CHECK(walk({.init = tokens - 16, .stride = 16, .context = 60}).size() == 1);

    // Held starts: the context begins at the same token until `hold` tokens of strides are through.
    const RetrievedStrides held = walk({.init = 100, .stride = 4, .context = 60, .hold = 20});
    for (const auto& [i, one] : ranges::views::enumerate(each_stride(held))) REQUIRE(one.at - one.context == 40 + i / 5 * 20);
}

TEST_CASE("Random contexts are uniform, and those of a stride depend on seed and number alone") {
    TextStream text;
    text.add("", "", TokenBuffer(60000, 7));
    NoPassages nothing;
    StrideOptions options{.init = 512, .stride = 2, .context = 256, .most_context = 495, .seed = 5, .passages = 0};
    const RetrievedStrides all = retrieve_strides(text, nothing, LastNTokens{}, options);
    std::map<std::size_t, int> seen;
    for (const RetrievedStride one : each_stride(all)) ++seen[one.context];
    CHECK(seen.size() == 240);
    CHECK(seen.begin()->first == 256);
    CHECK(seen.rbegin()->first == 495);
    double chi_squared = 0;
    const double expected = static_cast<double>(all.size()) / 240;
    for (const auto& one : seen) chi_squared += (one.second - expected) * (one.second - expected) / expected;
    CHECK(chi_squared > 160);  // 239 degrees of freedom: 239 +- 22
    CHECK(chi_squared < 320);

    options.strides = 100;
    const RetrievedStrides some = retrieve_strides(text, nothing, LastNTokens{}, options);
    CHECK(std::ranges::equal(some.entries(), all.entries().first(100)));
    options.seed = 6;
    CHECK(!std::ranges::equal(retrieve_strides(text, nothing, LastNTokens{}, options).entries(), some.entries()));

    // Held starts: the context of each start's first stride is drawn, and grows with the others.
    options = {.init = 512, .stride = 2, .context = 256, .most_context = 495, .seed = 5, .hold = 8, .passages = 0};
    const RetrievedStrides held = retrieve_strides(text, nothing, LastNTokens{}, options);
    for (const auto& [i, one] : ranges::views::enumerate(each_stride(held)))
        REQUIRE(one.context == all[i / 4].context + i % 4 * 2);
}

TEST_CASE(
    "Passages are the best that are allowed, cut and joined, for a query of the newest tokens; by any number of threads") {
    const TextStream text = random_stream(30);
    const RankedPassages passages = adversary(text, 40);
    ThreadPool pool{3};
    for (const std::size_t k : {1u, 3u}) {
        StrideOptions options{.init = 150, .stride = 7, .context = 90, .passages = k, .passage_tokens = 12};
        options.executor = pool;
        std::vector<std::size_t> progress;
        options.progress = [&](std::size_t done, std::size_t) { progress.push_back(done); };
        const RetrievedStrides all = retrieve_strides(text, passages, LastNTokens{32}, options);
        CHECK(all.retrievals() == all.size());
        REQUIRE(!progress.empty());
        CHECK(std::ranges::is_sorted(progress));
        CHECK(progress.back() == all.size());
        std::size_t forbidden = 0;
        for (std::size_t i = 0; i < all.size(); ++i) {
            const std::size_t at = 150 + 7 * i;
            const std::set<std::size_t> own = documents_of(text, at - 90, at + 7);
            TokenBuffer expected;
            std::vector<TokenBuffer> each;
            std::size_t taken = 0;
            for (const std::size_t p : passages.ranking(text.tokens().subspan(at - 32, 32))) {
                if (taken == k) break;
                const std::size_t copy = p < 40 ? 0 : (p - 40) / 3;  // the document that a passage is from
                bool from = p >= 40 && own.contains(copy);
                // Its text gives a document away where the stride's neighbourhood has 16 tokens of it in a row.
                if (p >= 40 && (p - 40) % 3 == 2) {
                    const std::size_t begin = at - 90;
                    const std::size_t end = std::min(at + 7 + 64, text.tokens().size());
                    const std::size_t first = copy == 0 ? 0 : text.documents()[copy - 1].end;
                    const std::size_t last = text.documents()[copy].end;
                    from = std::min(end, last) >= std::max(begin, first) + 16;
                }
                if (from) {
                    ++forbidden;
                    continue;
                }
                const TokenSpan tokens = passages.tokens(p);
                const TokenSpan cut = tokens.first(std::min<std::size_t>(tokens.size(), 12));
                append(expected, cut);
                each.emplace_back(cut.begin(), cut.end());
                ++taken;
            }
            CAPTURE(i);
            REQUIRE(all[i].found() == k);
            REQUIRE(std::ranges::equal(all[i].passages, expected));
            for (std::size_t p = 0; p < k; ++p) REQUIRE(std::ranges::equal(all[i].passage(p), each[p]));
        }
        CHECK(forbidden > all.size() / 20);  // or nothing was tested

        // A retriever that is not const is asked in one thread, and finds the same.
        AnyRetriever any{std::ref(passages)};
        const RetrievedStrides serial = retrieve_strides(text, any, LastNTokens{32}, options);
        CHECK(std::ranges::equal(serial.entries(), all.entries()));
        CHECK(std::ranges::equal(serial.passage_ends(), all.passage_ends()));
        CHECK(std::ranges::equal(serial.tokens(), all.tokens()));
    }
}

TEST_CASE("Where everything is forbidden nothing is found, and where little is left, that is found") {
    const TextStream text = random_stream(8);
    const StrideOptions options{.init = 120, .stride = 16, .context = 100, .passages = 2};
    const RankedPassages only_itself = adversary(text, 0);
    const auto everything = [](const Passage&, const StrideSource&) { return true; };
    const RetrievedStrides none = retrieve_strides(text, only_itself, LastNTokens{}, options, everything);
    for (const RetrievedStride one : each_stride(none)) REQUIRE(one.found() == 0);
    CHECK(none.tokens().empty());

    // The one passage that is allowed stands behind hundreds that are not.
    RankedPassages many;
    for (std::size_t i = 0; i < 700; ++i) many.add(text.documents()[i % 8].id + '#' + std::to_string(i), "", {1, 2});
    many.add("allowed", "", {3, 4, 5});
    const auto not_allowed = [](const Passage& passage, const StrideSource&) { return passage.id != "allowed"; };
    const RetrievedStrides one = retrieve_strides(text, many, LastNTokens{}, options, not_allowed);
    for (const RetrievedStride stride : each_stride(one)) REQUIRE(stride.found() == 1);
}

TEST_CASE("What a passage is from: ids, titles and texts") {
    const std::vector<SourceDocument> documents{{"C", "The \"C\" language", 0}, {"", "", 0}};
    TokenBuffer source(40);
    for (std::size_t i = 0; i < source.size(); ++i) source[i] = static_cast<TokenId>(i);
    const StrideSource from{documents, source};
    const FromSource forbidden;
    const auto passage = [](std::string_view id, std::string_view title, TokenSpan tokens = {}) {
        return Passage{.id = id, .title = title, .text = "", .tokens = tokens, .score = 0};
    };
    for (const char* id : {"C", "C#1", "C#12"}) CHECK(forbidden(passage(id, "x"), from));
    for (const char* id : {"", "C#", "C#1a", "C+", "c", "D", "CC"}) CHECK(!forbidden(passage(id, ""), from));
    for (const char* title : {"the c language", "THE  C\tLANGUAGE", "\"The C language\"", "TheClanguage"})
        CHECK(forbidden(passage("d", title), from));
    for (const char* title : {"", "The C++ language", "C", "The C languages"}) CHECK(!forbidden(passage("d", title), from));
    TokenBuffer text{900, 901};
    append(text, TokenSpan{source}.subspan(10, 15));
    text.push_back(902);
    CHECK(!forbidden(passage("d", "e", text), from));
    text.insert(text.begin() + 2, 9);
    CHECK(forbidden(passage("d", "e", text), from));
    CHECK(!FromSource{.run = 17}(passage("d", "e", text), from));
    CHECK(forbidden(passage("d", "e", TokenSpan{source}.last(16)), from));
    CHECK(!forbidden(passage("d", "e", TokenSpan{source}.last(15)), from));
    CHECK(!FromSource{.run = 0}(passage("d", "e", source), from));
    CHECK(detail::title_key("\xc3\x84 \"B\"") ==
          "\xc3\xa4"
          "b");  // Ä
}

TEST_CASE("BM25 over the text itself finds other documents only") {
    // One document that has every word, and a text whose documents are all in the corpus.
    std::vector<std::string> pieces{"<unk>", "<s>"};
    Vocabulary vocabulary{
        .model = "llama", .pieces = {"<unk>", "<s>"}, .scores = {0, 0}, .kinds = {TokenKind::unknown, TokenKind::control}};
    for (int byte = 0; byte < 256; ++byte) {
        constexpr const char* digits = "0123456789ABCDEF";
        vocabulary.pieces.push_back(std::string{"<0x"} + digits[byte / 16] + digits[byte % 16] + ">");
        vocabulary.scores.push_back(0);
        vocabulary.kinds.push_back(TokenKind::byte);
    }
    vocabulary.unknown = 0;
    vocabulary.bos = 1;
    const Tokenizer tokenizer{vocabulary};
    std::vector<Document> documents;
    for (const char* word : {"alpha", "beta", "gamma", "delta"}) {
        std::string text = word;
        for (int i = 0; i < 12; ++i) text += std::string{" "} + word + " common";
        documents.push_back({word, word, text});
    }
    const TextStream text = text_stream(documents, tokenizer);
    const Bm25Index index{documents, codec_of(tokenizer), {.passage_tokens = 64}};
    const RetrievedStrides all =
        retrieve_strides(text, index, LastNTokens{32}, {.init = 100, .stride = 16, .context = 60, .passage_tokens = 64});
    for (const RetrievedStride one : each_stride(all)) {
        REQUIRE(one.found() == 1);
        const std::string found = tokenizer.decode(one.passages);
        for (const SourceDocument& own : text.documents_of(one.at - 60, one.at + 16)) REQUIRE(found.find(own.id) == found.npos);
    }
}

TEST_CASE("Strides that make no sense are refused in words") {
    const TextStream text = random_stream(10);
    RankedPassages passages = adversary(text, 5);
    const auto refused = [&](const char* words, const StrideOptions& options) {
        check_error(ErrorCode::contract, words,
                    [&] { static_cast<void>(retrieve_strides(text, passages, LastNTokens{}, options)); });
    };
    refused("a stride needs at least 1 token, found 0", {.stride = 0});
    refused("a passage needs at least 1 token, found a limit of 0", {.init = 100, .context = 50, .passage_tokens = 0});
    refused("contexts have up to 0 tokens, expected 1 to the 100 in front", {.init = 100, .context = 0});
    refused("contexts have up to 101 tokens, expected 1 to the 100 in front", {.init = 100, .context = 101});
    refused("contexts have up to 112 tokens, expected 1 to the 100 in front", {.init = 100, .context = 96, .hold = 32});
    refused("random contexts of 50 to 40 tokens", {.init = 100, .context = 50, .most_context = 40});
    refused("held for 20 tokens, expected a multiple of the stride of 16", {.init = 100, .context = 50, .hold = 20});
    refused("contexts have up to 101 tokens, expected 1 to the 100 in front",
            {.init = 100, .context = 50, .most_context = 85, .hold = 32});
    refused("expected at least 100000 and a stride of 16", {.init = 100000, .context = 50});
    passages.add("bare", "", {});
    refused("the passage 'bare' has no tokens", {.init = 100, .context = 50, .passages = 100});

    struct Fails {
        std::vector<Passage> retrieve(const Query&, std::size_t) const {
            FLASHBACK_THROW(ErrorCode::corpus, "the index is gone");
        }
    };
    ThreadPool pool{2};
    Fails fails;
    check_error(ErrorCode::corpus, "the index is gone", [&] {
        static_cast<void>(retrieve_strides(text, fails, LastNTokens{}, {.init = 100, .context = 50, .executor = pool}));
    });
}

TEST_CASE("A layout reads the newest of the context; passages may take room from it, and so may the window") {
    const TextStream text = random_stream(10);
    const TokenSpan tokens = text.tokens();
    const TokenBuffer head{1};
    const TokenBuffer passages{900, 901, 902};
    const std::vector<std::uint64_t> ends{7, 8};
    const RetrievedStride stride{.at = 200, .context = 50, .passages = passages, .ends = ends, .begin = 5};
    const auto policies = Policies{}.wrapper(MarkerTokens{910, 911}).fusion(ConcatenateJoined{});
    StrideScratch scratch;
    const auto read = [&](const auto& with, const StrideLayout& how) {
        const ContextPlan plan = plan_stride(with, {}, {tokens, stride, 16}, how, scratch).text;
        return TokenBuffer{plan.wanted.begin(), plan.wanted.end()};
    };
    const auto text_of = [&](std::size_t length) {
        const TokenSpan newest = tokens.subspan(200 - length, length);
        return TokenBuffer{newest.begin(), newest.end()};
    };
    const auto joined = [](std::initializer_list<TokenBuffer> parts) {
        TokenBuffer all;
        for (const TokenBuffer& part : parts) append(all, part);
        return all;
    };
    const TokenBuffer marked{910, 900, 901, 902, 911};
    const auto prepend = policies.layout(PrependPassages{});
    CHECK(read(policies, {head}) == joined({head, text_of(50), marked}));
    CHECK(read(prepend, {head}) == joined({head, marked, text_of(50)}));
    CHECK(read(prepend, {head, true}) == joined({head, marked, text_of(47)}));
    CHECK(read(policies, {head, true, 69 + 16 - 16}) == joined({head, text_of(47), marked}));
    CHECK(read(policies, {head, true, 68}) == joined({head, text_of(46), marked}));
    CHECK(read(policies, {head, false, 23}) == joined({head, text_of(1), marked}));
    check_error(ErrorCode::window, "need 22 positions, and a window of 22 leaves no room", [&] {
        read(policies, {head, false, 22});
    });
    const RetrievedStride none{.at = 200, .context = 50};
    CHECK(plan_stride(policies, {}, {tokens, none, 16}, {head}, scratch).longest() == 51);  // no markers around nothing

    // Beside the text, each passage is a block with marks of its own, or all are one.
    const auto blocks_of = [&](bool one) {
        const auto with =
            policies.layout(PassagesAside{}).fusion(one ? AnyFusion{ConcatenateJoined{}} : AnyFusion{Concatenate{}});
        std::vector<TokenBuffer> blocks;
        for (const TokenSpan block : plan_stride(with, {}, {tokens, stride, 16}, {head}, scratch).text.beside)
            blocks.emplace_back(block.begin(), block.end());
        CHECK(read(with, {head}) == joined({head, text_of(50)}));
        return blocks;
    };
    CHECK(blocks_of(false) == std::vector{TokenBuffer{910, 900, 901, 911}, TokenBuffer{910, 902, 911}});
    CHECK(blocks_of(true) == std::vector<TokenBuffer>{marked});
    // With a fusion there are branches, or each passage has its own marks.
    const auto each = policies.fusion(Concatenate{});
    CHECK(read(each, {head}) == joined({head, text_of(50), {910, 900, 901, 911}, {910, 902, 911}}));
    const StridePlan fused = plan_stride(policies.fusion(MeanOfLogits{}), {}, {tokens, stride, 16}, {head}, scratch);
    REQUIRE(fused.fused.branches.size() == 2);
    CHECK(TokenBuffer(fused.fused.wanted.begin(), fused.fused.wanted.end()) == joined({head, text_of(50), {910}}));
    CHECK(std::ranges::equal(fused.fused.branches[0].fed(), TokenBuffer{900, 901, 911}));
    CHECK(std::ranges::equal(fused.fused.branches[1].fed(), TokenBuffer{902, 911}));
    CHECK(fused.longest() == 55);
    const RetrievedStride longer{.at = 200, .context = 3, .passages = passages, .ends = ends, .begin = 5};
    check_error(ErrorCode::contract, "passages of 3 tokens replace all of a context of 3", [&] {
        static_cast<void>(plan_stride(policies, {}, {tokens, longer, 16}, {head, true}, scratch));
    });
}
