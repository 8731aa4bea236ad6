#include "support/tokenizer_json.hpp"
#include "flashback/format/tokenizer_files.hpp"
#include "flashback/text/tokenizer.hpp"
#include "support/errors.hpp"

#include <algorithm>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

namespace test_files_tokenizer_json {

using namespace flashback;
using flashback_test::added_token;
using flashback_test::byte_tokenizer;
using flashback_test::character_tokenizer;
using flashback_test::check_error;
using flashback_test::Json;
using flashback_test::space_mark;

namespace {

using Tokens = std::vector<TokenId>;

Vocabulary parse(const Json& json) { return parse_tokenizer_json(json.dump(), "tokenizer.json"); }
Tokenizer tokenizer_of(const Json& json) { return Tokenizer{parse(json)}; }

template <class Change>
void refuses(ErrorCode code, std::string_view part, Json json, const Change& change) {
    change(json);
    check_error(code, part, [&] { tokenizer_of(json); });
}

/// "a" 2, "b" 3, "c" 4, "▁" 5, "ab" 6, "▁a" 7, "b▁" 8, "ab▁c" 9.
Json characters() {
    return character_tokenizer({"a", "b", "c", space_mark, "ab", space_mark + "a", "b" + space_mark, "ab" + space_mark + "c"},
                               {space_mark + " a", "a b", "b " + space_mark, "ab " + space_mark + "c"});
}
Json bytes() { return byte_tokenizer({"ab", "\u0120ab"}, {"a b", "\u0120 ab"}); }

/// The definition, read literally: of all neighbours that are a merge, the one of lowest rank becomes one, the leftmost first.
std::vector<std::string> merged_by_rank(const std::string& text,
                                        const std::vector<std::pair<std::string, std::string>>& merges) {
    std::vector<std::string> pieces;
    for (const char c : text) pieces.emplace_back(1, c);
    for (;;) {
        std::size_t best = merges.size(), at = 0;
        for (std::size_t i = 0; i + 1 < pieces.size(); ++i) {
            const auto found = std::ranges::find(merges, std::pair{pieces[i], pieces[i + 1]});
            const auto rank = static_cast<std::size_t>(found - merges.begin());
            if (rank < best) {
                best = rank;
                at = i;
            }
        }
        if (best == merges.size()) return pieces;
        pieces[at] += pieces[at + 1];
        pieces.erase(pieces.begin() + static_cast<std::ptrdiff_t>(at) + 1);
    }
}

}  // namespace

TEST_CASE("a tokenizer.json of characters is read with all that it says") {
    const Vocabulary v = parse(characters());
    CHECK(v.model == "llama");
    CHECK(v.size() == 10);
    CHECK(v.scores.empty());
    CHECK(v.merges.size() == 4);
    CHECK(v.kinds[0] == TokenKind::unknown);
    CHECK(v.kinds[1] == TokenKind::control);
    CHECK(v.kinds[2] == TokenKind::normal);
    CHECK(v.unknown == 0);
    CHECK(v.bos == 1);
    CHECK(v.add_bos);
    CHECK(v.add_space_prefix);
    CHECK(v.fuse_unknown);
    CHECK_FALSE(v.bos_in_passages);
}

TEST_CASE("characters are merged by the ranks of pairs, not by what the pieces spell") {
    const Tokenizer t = tokenizer_of(characters());
    CHECK(t.encode("b a") == Tokens{5, 3, 7});  // "_ a" before "b _", which stands further left
    CHECK(t.encode("ab") == Tokens{7, 3});      // "_ a" before "a b", and then "_a b" is no merge, although ...
    Json with_piece = characters();
    with_piece["model"]["vocab"][space_mark + "ab"] = 10;
    CHECK(tokenizer_of(with_piece).encode("ab") == Tokens{7, 3});  // ... a piece spells it
    CHECK(t.encode("") == Tokens{});
    CHECK(t.decode_whole(t.encode("ab c a")) == "ab c a");
}

TEST_CASE("merges run across spaces") {
    Json json = characters();
    json["normalizer"] = json["normalizer"]["normalizers"][1];  // Replace alone
    json["model"]["vocab"][space_mark + "c"] = 10;
    json["model"]["merges"] = {"a b", space_mark + " c", "ab " + space_mark + "c"};
    const Tokenizer t = tokenizer_of(json);
    CHECK_FALSE(t.vocabulary().add_space_prefix);
    CHECK(t.encode("ab c") == Tokens{9});
    CHECK(t.decode_whole(Tokens{9}) == "ab c");
}

TEST_CASE("merging by ranks agrees with its definition for random vocabularies") {
    std::mt19937 random{1};
    for (int round = 0; round < 200; ++round) {
        std::vector<std::string> pieces{"a", "b", "c"};
        std::vector<std::pair<std::string, std::string>> merges;
        Json pairs = Json::array();
        for (int m = 0; m < 12; ++m) {
            const std::string left = pieces[random() % pieces.size()], right = pieces[random() % pieces.size()];
            if (std::ranges::find(merges, std::pair{left, right}) != merges.end()) continue;
            merges.emplace_back(left, right);
            if (random() % 2) {
                pairs.push_back(left + ' ' + right);
            } else {
                pairs.push_back({left, right});
            }
            if (std::ranges::find(pieces, left + right) == pieces.end()) pieces.push_back(left + right);
        }
        Json json = character_tokenizer(pieces, pairs);
        json["normalizer"] = json["normalizer"]["normalizers"][1];
        const Tokenizer t = tokenizer_of(json);
        std::string text;
        for (std::size_t i = random() % 30; i > 0; --i) text += static_cast<char>('a' + random() % 3);
        std::vector<std::string> found;
        for (const TokenId token : t.encode(text)) found.push_back(t.piece(token));
        CHECK(found == merged_by_rank(text, merges));
    }
}

TEST_CASE("what no token covers becomes bytes if all of them have tokens, else one unknown token for a run") {
    const Tokenizer none = tokenizer_of(characters());  // byte_fallback without byte tokens
    CHECK(none.encode("\u00e9\u00ea") == Tokens{5, 0});
    CHECK(none.encode("\u00e9b\u00ea") == Tokens{5, 0, 3, 0});

    Json json = characters();
    json["model"]["fuse_unk"] = false;
    CHECK(tokenizer_of(json).encode("\u00e9\u00ea") == Tokens{5, 0, 0});

    json["model"]["vocab"]["<0xC3>"] = 10;
    json["model"]["vocab"]["<0xA9>"] = 11;
    const Tokenizer two = tokenizer_of(json);
    CHECK(two.encode("\u00e9\u00ea") == Tokens{5, 10, 11, 0});
    CHECK(two.decode_whole(Tokens{5, 10, 11}) == "\u00e9");

    json["model"]["byte_fallback"] = false;
    CHECK(tokenizer_of(json).encode("\u00e9") == Tokens{5, 0});
    json["model"]["unk_token"] = nullptr;
    check_error(ErrorCode::vocabulary, "covers the byte 195 in no way", [&] { tokenizer_of(json).encode("\u00e9"); });
}

TEST_CASE("a tokenizer.json of bytes is read with all that it says") {
    const Vocabulary v = parse(bytes());
    CHECK(v.model == "gpt2");
    CHECK(v.pre == "gpt-2");
    CHECK(v.size() == 259);
    CHECK(v.kinds[256] == TokenKind::control);
    CHECK_FALSE(v.add_bos);
    CHECK_FALSE(v.add_space_prefix);
    const Tokenizer t{v};
    CHECK(t.encode("ab ab") == Tokens{257, 258});
    CHECK(t.decode(t.encode("ab\u00e9 <|endoftext|>")) == "ab\u00e9 <|endoftext|>");
}

TEST_CASE("the words of Llama 3 and Qwen 2 are known by their regular expressions") {
    const std::string start = R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N})";
    const std::string end = R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
    const auto with = [](const std::string& regex) {
        Json json = bytes();
        json["pre_tokenizer"] = {
            {"type", "Sequence"},
            {"pretokenizers",
             {{{"type", "Split"}, {"pattern", {{"Regex", regex}}}, {"behavior", "Isolated"}, {"invert", false}},
              {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", false}}}}};
        return json;
    };
    CHECK(parse(with(start + "{1,3}" + end)).pre == "llama-bpe");
    CHECK(parse(with(start + end)).pre == "qwen2");
    CHECK(parse(with(start + end)).whole_words == false);
    Json whole = with(start + "{1,3}" + end);
    whole["model"]["ignore_merges"] = true;
    CHECK(parse(whole).whole_words == true);
    whole["model"]["vocab"]["\u0120b\u0120"] = 259;  // no merge reaches it, and no word is it
    whole["model"]["vocab"]["aba"] = 260;            // a word that no merge reaches
    CHECK(tokenizer_of(whole).encode("aba") == Tokens{260});
    whole["model"]["ignore_merges"] = false;
    CHECK(tokenizer_of(whole).encode("aba") == Tokens{257, 'a'});
    refuses(ErrorCode::unsupported, "has the regular expression '\\w+', expected that of GPT-2, Llama 3 or Qwen 2",
            with("\\w+"), [](Json&) {});
}

TEST_CASE("added tokens: special ones never come from text, others before anything else") {
    Json json = bytes();
    json["added_tokens"].push_back(added_token(259, "<tool>", false));
    json["added_tokens"].push_back(added_token(260, "<MARK>", true));
    const Tokenizer t = tokenizer_of(json);
    CHECK(t.encode("ab<tool>ab") == Tokens{257, 259, 257});
    CHECK(t.decode(Tokens{259, 260}) == "<tool>");
    CHECK(t.encode("<MARK>").size() == 6);
    CHECK(t.id("<MARK>") == 260);
}

TEST_CASE("Qwen 2 wants texts in normal form C") {
    Json json = byte_tokenizer({"\u00c3\u00a9"}, {"\u00c3 \u00a9"});  // the bytes of e with an acute accent
    CHECK(tokenizer_of(json).encode("e\u0301").size() == 3);
    json["normalizer"] = {{"type", "NFC"}};
    const Tokenizer t = tokenizer_of(json);
    CHECK(t.encode("e\u0301") == Tokens{257});
    CHECK(t.encode("\u00e9") == Tokens{257});
    CHECK(t.encode("\xc3") == Tokens{0xc3});
}

TEST_CASE("what would tokenise in another way is refused by name") {
    const auto unsupported = ErrorCode::unsupported;
    refuses(unsupported, "has the normalizer 'Lowercase', expected Prepend and Replace", characters(), [](Json& j) {
        j["normalizer"] = {{"type", "Lowercase"}};
    });
    refuses(unsupported, "has the normalizer 'NFD', expected NFC or none", bytes(), [](Json& j) {
        j["normalizer"] = {{"type", "NFD"}};
    });
    refuses(unsupported, "has \"_\" for prepend, expected U+2581", characters(),
            [](Json& j) { j["normalizer"]["normalizers"][0]["prepend"] = "_"; });
    refuses(unsupported, "has {\"String\":\"\\n\"} for pattern", characters(),
            [](Json& j) { j["normalizer"]["normalizers"][1]["pattern"]["String"] = "\n"; });
    refuses(unsupported, "has neither the pre-tokenizer ByteLevel nor a normalizer that replaces spaces", characters(),
            [](Json& j) { j["normalizer"] = nullptr; });
    refuses(unsupported, "has the pre-tokenizer 'Whitespace', expected ByteLevel, or Split and ByteLevel, or none", bytes(),
            [](Json& j) {
                j["pre_tokenizer"] = {{"type", "Whitespace"}};
            });
    refuses(unsupported, "has the pre-tokenizer 'Metaspace'", characters(), [](Json& j) {
        j["pre_tokenizer"] = {{"type", "Metaspace"}};
    });
    refuses(unsupported, "has true for add_prefix_space, expected false", bytes(),
            [](Json& j) { j["pre_tokenizer"]["add_prefix_space"] = true; });
    refuses(unsupported, "has a model of the type 'Unigram', expected BPE", characters(),
            [](Json& j) { j["model"]["type"] = "Unigram"; });
    refuses(unsupported, "has 0.1 for dropout", characters(), [](Json& j) { j["model"]["dropout"] = 0.1; });
    refuses(unsupported, "has '##' for continuing_subword_prefix, expected none", characters(),
            [](Json& j) { j["model"]["continuing_subword_prefix"] = "##"; });
    refuses(unsupported, "has true for ignore_merges", characters(), [](Json& j) { j["model"]["ignore_merges"] = true; });
    refuses(unsupported, "(model) has 3 for new_setting", characters(), [](Json& j) { j["model"]["new_setting"] = 3; });
    refuses(unsupported, "has {\"a\":1} for new_part, expected a tokenizer without it", characters(), [](Json& j) {
        j["new_part"] = {{"a", 1}};
    });
    refuses(unsupported, "has the post-processor 'RobertaProcessing'", bytes(), [](Json& j) {
        j["post_processor"] = {{"type", "RobertaProcessing"}};
    });
    refuses(unsupported, "puts '<s>' behind every text", characters(), [](Json& j) {
        auto& single = j["post_processor"]["single"];
        std::swap(single[0], single[1]);
    });
    refuses(unsupported, "puts two tokens in front of every text", characters(), [](Json& j) {
        auto& single = j["post_processor"]["single"];
        single = {single[0], single[0], single[1]};
    });
    refuses(unsupported, "has the decoder 'WordPiece', expected Replace, ByteFallback, Fuse and Strip", characters(),
            [](Json& j) {
                j["decoder"] = {{"type", "WordPiece"}};
            });
    refuses(unsupported, "has the decoder 'Metaspace', expected ByteLevel", bytes(), [](Json& j) {
        j["decoder"] = {{"type", "Metaspace"}};
    });
    refuses(unsupported, "has the token '<tool>' with lstrip", bytes(), [](Json& j) {
        j["added_tokens"].push_back(added_token(259, "<tool>", false));
        j["added_tokens"][1]["lstrip"] = true;
    });
    refuses(unsupported, "has the token '<tool>', which is looked for after the normalizers", characters(), [](Json& j) {
        j["added_tokens"].push_back(added_token(10, "<tool>", false));
        j["added_tokens"][2]["normalized"] = true;
    });
}

TEST_CASE("tokens that contradict each other are refused by name") {
    const auto vocabulary = ErrorCode::vocabulary;
    refuses(vocabulary, "gives the token 'ab' the id 11, but there are only 10 tokens", characters(),
            [](Json& j) { j["model"]["vocab"]["ab"] = 11; });
    refuses(vocabulary, "gives the tokens 'ab' and 'b' the same id 3", characters(),
            [](Json& j) { j["model"]["vocab"]["ab"] = 3; });
    for (const char* id : {"-1", "1.5", "\"7\"", "null", "4294967296"}) {
        refuses(vocabulary, std::string{"has "} + (id == std::string{"1.5"} ? "1.5" : id) + " as the id of the token 'ab'",
                characters(), [&](Json& j) { j["model"]["vocab"]["ab"] = Json::parse(id); });
    }
    refuses(vocabulary, "has a token without text", characters(), [](Json& j) { j["model"]["vocab"][""] = 10; });
    refuses(vocabulary, "has the added token '<s>' twice", characters(),
            [](Json& j) { j["added_tokens"].push_back(added_token(1, "<s>", true)); });
    refuses(vocabulary, "has a token without text", characters(),
            [](Json& j) { j["added_tokens"].push_back(added_token(10, "", true)); });
    refuses(vocabulary, "gives the token 'ab' the id 10, but it has the id 6", characters(),
            [](Json& j) { j["added_tokens"].push_back(added_token(10, "ab", false)); });
    refuses(vocabulary, "has no token '<nothing>', which its unk_token names", characters(),
            [](Json& j) { j["model"]["unk_token"] = "<nothing>"; });
    refuses(vocabulary, "puts the token 99 in front of every text, but there are only 10 tokens", characters(),
            [](Json& j) { j["post_processor"]["special_tokens"]["<s>"]["ids"] = {99}; });
    for (const char* piece : {"<0x-1>", "<0xGG>", "<0x100>", "<0xc3>"}) {
        refuses(vocabulary, std::string{"has the byte token '"} + piece + "', expected <0x00> to <0xFF>", characters(),
                [&](Json& j) { j["model"]["vocab"][piece] = 10; });
    }
    for (const char* merge : {"ab", "a b c", " a", "a ", ""}) {
        refuses(vocabulary, "expected two pieces with one space between", characters(),
                [&](Json& j) { j["model"]["merges"].push_back(merge); });
    }
    // Merges of pieces that are no tokens are left out, and so are those that no text reaches.
    Json json = characters();
    json["model"]["merges"].push_back("b zz");
    json["model"]["merges"].push_back({"a b", " "});
    CHECK(tokenizer_of(json).encode("ab") == tokenizer_of(characters()).encode("ab"));
}

TEST_CASE("a tokenizer.json that is none is refused in a sentence") {
    const auto format = ErrorCode::format;
    const auto text_refused = [&](std::string_view part, const std::string& text) {
        check_error(format, part, [&] { parse_tokenizer_json(text, "tokenizer.json"); });
    };
    text_refused("'tokenizer.json' is no JSON at byte", "");
    text_refused("is no JSON at byte", "{\"model\": ");
    text_refused("is no JSON at byte", characters().dump() + "x");
    text_refused("is no JSON at byte", "{\"model\": \"\xff\"}");
    text_refused("is [], expected a JSON object", "[]");
    text_refused("has a NUL byte", std::string("{}\0", 3));
    text_refused("lacks the field model", "{}");
    text_refused("has the field a twice", R"({"model": {"vocab": {"a": 0, "a": 1}}})");
    text_refused("has a number beyond all bounds for dropout", R"({"model": {"dropout": 1e400}})");
    text_refused("has lists in lists, more than 16 deep", std::string(1'000'000, '['));
    refuses(format, "(model) lacks the field vocab", characters(), [](Json& j) { j["model"].erase("vocab"); });
    refuses(format, "has [] for vocab, expected an object", characters(), [](Json& j) { j["model"]["vocab"] = Json::array(); });
    refuses(format, "(model) has no merges", characters(), [](Json& j) { j["model"]["merges"] = Json::array(); });
    refuses(format, "(model) has the merge [\"a\"], expected two pieces", characters(),
            [](Json& j) { j["model"]["merges"] = Json::array({Json::array({"a"})}); });
    refuses(format, "has \"yes\" for byte_fallback, expected true or false", characters(),
            [](Json& j) { j["model"]["byte_fallback"] = "yes"; });
    refuses(format, "(added_tokens) has -1 for id, expected a whole number", characters(),
            [](Json& j) { j["added_tokens"][0]["id"] = -1; });
    refuses(format, "(added_tokens) is 3, expected a JSON object", characters(), [](Json& j) { j["added_tokens"] = {3}; });
    refuses(format, "has no single id in special_tokens for '<s>'", characters(),
            [](Json& j) { j["post_processor"]["special_tokens"] = Json::object(); });
    refuses(format, "lacks the field normalizers", characters(), [](Json& j) { j["normalizer"].erase("normalizers"); });
}

}  // namespace test_files_tokenizer_json
