#include "fuzz/seeds.hpp"

#include "support/tokenizer_json.hpp"

namespace seeds_of_tokenizer_json {

using flashback_test::added_token;
using flashback_test::Json;
using flashback_test::space_mark;

Json of_bytes() { return flashback_test::byte_tokenizer({"th", "the"}, Json::parse(R"(["t h", ["th", "e"]])")); }
Json of_characters() {
    return flashback_test::character_tokenizer({space_mark, "t", "h", "th", "<0x0A>"}, Json::parse(R"(["t h"])"));
}

FLASHBACK_FUZZ_SEEDS(tokenizer_json) {
    const auto add = [&](const std::string& name, const Json& json) { seeds.push_back({name, json.dump()}); };
    add("bytes", of_bytes());
    add("characters", of_characters());
    for (const char* text : {"", "[]", "{", R"({"model":{}})", R"({"model":{"type":"BPE","vocab":{"a":0,"a":1}}})"})
        seeds.push_back({"text_" + std::to_string(seeds.size()), text});
    seeds.push_back({"deep", R"({"model":)" + std::string(500, '[')});
    // One change of a valid file each; a JSON pointer, and what stands there then.
    const auto change = [&](const Json& base, const char* where, const char* value) {
        Json json = base;
        json[Json::json_pointer{where}] = Json::parse(value);
        add("change_" + std::to_string(seeds.size()), json);
    };
    constexpr const char* llama3 =
        R"("(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+")";
    const std::string split = R"({"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":)" +
                              std::string{llama3} +
                              R"(},"behavior":"Isolated","invert":false},{"type":"ByteLevel","add_prefix_space":false,)"
                              R"("trim_offsets":true,"use_regex":false}]})";
    change(of_bytes(), "/pre_tokenizer", split.c_str());
    change(of_bytes(), "/normalizer", R"({"type":"NFC"})");
    change(of_bytes(), "/normalizer", R"({"type":"Lowercase"})");
    change(of_bytes(), "/pre_tokenizer", R"({"type":"Sequence"})");
    change(of_bytes(), "/pre_tokenizer", R"({"type":"Sequence","pretokenizers":[{"type":"ByteLevel"},{"type":"Split"}]})");
    change(of_bytes(), "/pre_tokenizer", R"({"type":"Whitespace"})");
    change(of_bytes(), "/pre_tokenizer/add_prefix_space", "true");
    change(of_bytes(), "/pre_tokenizer/use_regex", "false");
    change(of_bytes(), "/decoder/type", R"("WordPiece")");
    change(of_bytes(), "/unheard_of", "1");
    change(of_bytes(), "/model/type", R"("Unigram")");
    change(of_bytes(), "/model/dropout", "0.1");
    change(of_bytes(), "/model/ignore_merges", "true");
    change(of_bytes(), "/model/end_of_word_suffix", R"("</w>")");
    change(of_bytes(), "/model/unheard_of", "1");
    change(of_bytes(), "/model/vocab", "[]");
    change(of_bytes(), "/model/vocab/th", "1000000");
    change(of_bytes(), "/model/vocab/th", "-1");
    change(of_bytes(), "/model/vocab/th", "1");
    for (const char* merges :
         {"[]", R"(["nothing"])", R"([["t"]])", R"([["t","x y"]])", R"(["q z"])", R"([["t","h"],["t","h"]])"})
        change(of_bytes(), "/model/merges", merges);
    change(of_bytes(), "/added_tokens/0/id", "999");
    change(of_bytes(), "/added_tokens/0/lstrip", "true");
    change(of_bytes(), "/added_tokens/0/content", R"("")");
    change(of_bytes(), "/added_tokens",
           Json{added_token(256, "<|endoftext|>", true), added_token(257, "<|endoftext|>", true)}.dump().c_str());
    change(of_characters(), "/normalizer", "null");
    change(of_characters(), "/normalizer/normalizers/0/prepend", R"("x")");
    change(of_characters(), "/normalizer/normalizers/1/content", R"("x")");
    change(of_characters(), "/decoder/decoders/0/type", R"("Metaspace")");
    change(of_characters(), "/model/unk_token", R"("absent")");
    change(of_characters(), "/model/ignore_merges", "true");
    change(of_characters(), "/model/vocab/<0xGG>", "7");
    change(of_characters(), "/post_processor/type", R"("BertProcessing")");
    change(of_characters(), "/post_processor/single", "null");
    change(of_characters(), "/post_processor/single/0", R"({"Sequence":{"id":"A"}})");
    change(of_characters(), "/post_processor/single/1", R"({"SpecialToken":{"id":"<s>"}})");
    change(of_characters(), "/post_processor/single/1", R"({"Other":{}})");
    change(of_characters(), "/post_processor/single/0/SpecialToken/id", R"("absent")");
    change(of_characters(), "/post_processor/special_tokens/<s>/ids", "[99]");
    change(of_characters(), "/post_processor/single", R"([{"Sequence":{"id":"A"}},{"SpecialToken":{"id":"<s>"}}])");
}

}  // namespace seeds_of_tokenizer_json
