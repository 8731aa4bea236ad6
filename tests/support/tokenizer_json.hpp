/// \file Small tokenizer.json files, built by hand.
#pragma once

#include "flashback/text/tokenizer.hpp"
#include "support/byte_level_vocabulary.hpp"

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

namespace flashback_test {

using Json = nlohmann::ordered_json;

inline const std::string space_mark = "\xe2\x96\x81";

/// Numbers the pieces of a vocabulary in their order.
inline Json numbered(const std::vector<std::string>& pieces) {
    Json vocab = Json::object();
    for (const std::string& piece : pieces) vocab[piece] = vocab.size();
    return vocab;
}

inline Json added_token(int id, std::string content, bool special) {
    return {{"id", id},        {"content", std::move(content)}, {"single_word", false}, {"lstrip", false},
            {"rstrip", false}, {"normalized", false},           {"special", special}};
}

/// BPE over characters, with U+2581 for spaces, as converters of SentencePiece write it: "<unk>", "<s>", then the pieces.
inline Json character_tokenizer(const std::vector<std::string>& pieces, const Json& merges) {
    std::vector<std::string> all{"<unk>", "<s>"};
    all.insert(all.end(), pieces.begin(), pieces.end());
    return {{"version", "1.0"},
            {"truncation", nullptr},
            {"padding", nullptr},
            {"added_tokens", {added_token(0, "<unk>", true), added_token(1, "<s>", true)}},
            {"normalizer",
             {{"type", "Sequence"},
              {"normalizers",
               {{{"type", "Prepend"}, {"prepend", space_mark}},
                {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", space_mark}}}}}},
            {"pre_tokenizer", nullptr},
            {"post_processor",
             {{"type", "TemplateProcessing"},
              {"single", {{{"SpecialToken", {{"id", "<s>"}, {"type_id", 0}}}}, {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}}},
              {"pair", Json::array()},
              {"special_tokens", {{"<s>", {{"id", "<s>"}, {"ids", {1}}, {"tokens", {"<s>"}}}}}}}},
            {"decoder",
             {{"type", "Sequence"},
              {"decoders",
               {{{"type", "Replace"}, {"pattern", {{"String", space_mark}}}, {"content", " "}},
                {{"type", "ByteFallback"}},
                {{"type", "Fuse"}},
                {{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}}}}}},
            {"model",
             {{"type", "BPE"},
              {"dropout", nullptr},
              {"unk_token", "<unk>"},
              {"continuing_subword_prefix", nullptr},
              {"end_of_word_suffix", nullptr},
              {"fuse_unk", true},
              {"byte_fallback", true},
              {"ignore_merges", false},
              {"vocab", numbered(all)},
              {"merges", merges}}}};
}

/// BPE over bytes, as GPT-2 has it: all bytes (id = byte), "<|endoftext|>" (256), then the pieces.
inline Json byte_tokenizer(const std::vector<std::string>& pieces, const Json& merges) {
    std::vector<std::string> all;
    for (int b = 0; b < 256; ++b) {
        const char byte = static_cast<char>(b);
        all.push_back(spelled({&byte, 1}));
    }
    all.emplace_back("<|endoftext|>");
    all.insert(all.end(), pieces.begin(), pieces.end());
    return {{"version", "1.0"},
            {"added_tokens", {added_token(256, "<|endoftext|>", true)}},
            {"normalizer", nullptr},
            {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}}},
            {"post_processor", {{"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", false}}},
            {"decoder", {{"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", true}}},
            {"model",
             {{"dropout", nullptr},
              {"unk_token", nullptr},
              {"continuing_subword_prefix", ""},
              {"end_of_word_suffix", ""},
              {"fuse_unk", false},
              {"vocab", numbered(all)},
              {"merges", merges}}}};
}

}  // namespace flashback_test
