/// \file The WordPiece vocabularies of files.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/files/load_encoder.hpp"
#include "flashback/format/gguf.hpp"
#include "flashback/format/json_fields.hpp"
#include "flashback/format/mapped_file.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {
namespace detail {

/// The lines of vocab.txt: token 0, token 1, ...
inline std::vector<std::string> read_vocabulary_lines(std::string_view text) {
    std::vector<std::string> pieces;
    while (!text.empty()) {
        const std::size_t end = std::min(text.find('\n'), text.size());
        std::string_view line = text.substr(0, end);
        text.remove_prefix(std::min(end + 1, text.size()));
        if (line.ends_with('\r')) line.remove_suffix(1);
        pieces.emplace_back(line);
    }
    return pieces;
}

/// The parts of a tokenizer.json whose model is WordPiece.
class WordPieceJson {
public:
    WordPieceJson(const JsonTree& json, const std::string& file) : all_(json, file) {}

    WordPieceVocabulary read() {
        read_model();
        read_added_tokens();
        part("pre_tokenizer", {"BertPreTokenizer"});
        const JsonFields normalizer = part("normalizer", {"BertNormalizer"});
        v_.lower_case = normalizer.flag("lowercase").value_or(true);
        v_.strip_accents = normalizer.flag("strip_accents");
        v_.split_cjk = normalizer.flag("handle_chinese_chars").value_or(true);
        if (!normalizer.flag("clean_text").value_or(true))
            normalizer.unsupported("has false for clean_text, expected a tokenizer that leaves control characters out");
        part("post_processor", {"TemplateProcessing", "BertProcessing"});
        return std::move(v_);
    }

private:
    JsonFields part(const char* name, std::initializer_list<std::string_view> types) const {
        const auto found = all_.object(name);
        const std::string type = found ? found->text("type").value_or("") : "";
        if (std::ranges::find(types, type) == types.end())
            all_.unsupported("has the ", name, " '", printable(type), "', expected ", *types.begin());
        return *found;
    }

    void put(const std::string& piece, std::size_t id, std::size_t most) {
        if (id >= most) {
            FLASHBACK_THROW(ErrorCode::vocabulary, "'", all_.file(), "' gives the token '", printable(piece), "' the id ", id,
                            ", but there are only ", most, " tokens");
        }
        if (v_.pieces.size() <= id) v_.pieces.resize(id + 1);
        if (!v_.pieces[id].empty() && v_.pieces[id] != piece) {
            FLASHBACK_THROW(ErrorCode::vocabulary, "'", all_.file(), "' gives the tokens '", printable(v_.pieces[id]),
                            "' and '", printable(piece), "' the same id ", id);
        }
        v_.pieces[id] = piece;
    }

    void read_model() {
        const JsonTree& tree = all_.at("model");
        const JsonFields model{tree, all_.file(), "model"};
        if (const std::string type = model.text("type").value_or(""); type != "WordPiece")
            model.unsupported("has the type '", printable(type), "', expected WordPiece");
        if (const std::string prefix = model.text("continuing_subword_prefix").value_or("##"); prefix != "##")
            model.unsupported("has '", printable(prefix), "' for continuing_subword_prefix, expected '##'");
        v_.unknown = model.text("unk_token").value_or(v_.unknown);
        v_.longest_word = model.count("max_input_chars_per_word").value_or(v_.longest_word);
        const JsonTree& vocabulary = model.at("vocab");
        if (!vocabulary.is_object()) model.refuse_value("vocab", vocabulary, "an object");
        for (const auto& [piece, id] : vocabulary.object())
            put(piece, model.count_of("vocab", id, 0), vocabulary.object().size());
    }

    /// Special tokens may stand here alone; others would be found in texts before anything else.
    void read_added_tokens() {
        const JsonTree::Array* added = all_.list("added_tokens");
        if (!added) return;
        const std::size_t most = v_.pieces.size() + added->size();
        for (const JsonTree& token : *added) {
            const JsonFields fields{token, all_.file(), "added_tokens"};
            const std::string piece = fields.text("content").value_or("");
            if (!fields.flag("special").value_or(false))
                fields.unsupported("has the token '", printable(piece), "', which is not special, expected only special ones");
            put(piece, fields.count_of("id", fields.at("id"), 0), most);
        }
    }

    JsonFields all_;
    WordPieceVocabulary v_;
};

/// What tokenizer_config.json says of a special token: its text, or an object with it.
inline std::string special_token(const JsonFields& fields, const char* name, std::string usual) {
    const JsonTree* value = fields.find(name);
    if (!value) return usual;
    if (value->is_string()) return value->as<std::string>();
    return fields.object(name)->text("content").value_or(usual);
}

}  // namespace detail

FLASHBACK_DETAIL_ONCE WordPieceVocabulary read_word_piece_files(const std::filesystem::path& folder) {
    const OptionalJson json{folder, "tokenizer.json"};
    const OptionalJson config{folder, "tokenizer_config.json"};
    const JsonFields fields = config.fields();
    WordPieceVocabulary v;
    if (json.present) {
        v = detail::WordPieceJson{json.json, json.name}.read();
    } else if (std::filesystem::exists(folder / "vocab.txt")) {
        v.pieces = detail::read_vocabulary_lines(MappedFile{folder / "vocab.txt"}.text());
        v.lower_case = fields.flag("do_lower_case").value_or(true);
        v.strip_accents = fields.flag("strip_accents");
        v.split_cjk = fields.flag("tokenize_chinese_chars").value_or(true);
        v.unknown = detail::special_token(fields, "unk_token", v.unknown);
        if (!fields.flag("do_basic_tokenize").value_or(true))
            fields.unsupported("has false for do_basic_tokenize, expected a tokenizer that splits words itself");
    } else {
        FLASHBACK_THROW(ErrorCode::vocabulary, "'", folder.string(),
                        "' has no tokenizer: neither tokenizer.json nor vocab.txt");
    }
    v.cls = detail::special_token(fields, "cls_token", v.cls);
    v.separator = detail::special_token(fields, "sep_token", v.separator);
    return v;
}

FLASHBACK_DETAIL_ONCE WordPieceVocabulary read_word_pieces(const GgufFile& file) {
    const auto refuse = [&](const auto&... parts) { FLASHBACK_THROW(ErrorCode::vocabulary, "'", file.name(), "' ", parts...); };
    const auto texts = file.strings("tokenizer.ggml.tokens");
    if (!texts) refuse("has no vocabulary (the key tokenizer.ggml.tokens)");
    if (const auto model = file.text("tokenizer.ggml.model").value_or(""); model != "bert")
        refuse("has a tokenizer of the kind '", printable(model), "', expected 'bert'");
    const auto kinds = file.numbers<std::int32_t>("tokenizer.ggml.token_type");
    if (kinds && kinds->size() != texts->size()) refuse("has ", texts->size(), " tokens, but ", kinds->size(), " token types");
    WordPieceVocabulary v;
    const auto special = [&](std::initializer_list<const char*> keys, std::string& name) {
        for (const char* const key : keys) {
            const auto id = file.integer(key);
            if (!id) continue;
            if (*id >= texts->size()) refuse("has ", *id, " for ", key, ", but there are ", texts->size(), " tokens");
            name = (*texts)[static_cast<std::size_t>(*id)];
            return static_cast<std::size_t>(*id);
        }
        return static_cast<std::size_t>(std::ranges::find(*texts, name) - texts->begin());
    };
    const std::size_t specials[]{
        special({"tokenizer.ggml.cls_token_id", "tokenizer.ggml.bos_token_id"}, v.cls),
        special({"tokenizer.ggml.seperator_token_id", "tokenizer.ggml.separator_token_id", "tokenizer.ggml.eos_token_id"},
                v.separator),  // the first is how llama.cpp spells it
        special({"tokenizer.ggml.unknown_token_id"}, v.unknown)};
    constexpr std::string_view word = "\xe2\x96\x81";
    constexpr std::int32_t control = 3, unused = 5;
    for (std::size_t i = 0; i < texts->size(); ++i) {
        const std::string_view text = (*texts)[i];
        const std::int32_t kind = kinds ? (*kinds)[i] : 1;
        if (kind == unused || text.empty()) {
            v.pieces.emplace_back();
        } else if (kind == control || std::ranges::find(specials, i) != std::end(specials)) {
            v.pieces.emplace_back(text);
        } else if (text.starts_with(word)) {
            v.pieces.emplace_back(text.substr(word.size()));
        } else {
            v.pieces.push_back("##" + std::string{text});
        }
    }
    v.lower_case = file.boolean("tokenizer.ggml.normalizer.lowercase").value_or(true);
    v.strip_accents = file.boolean("tokenizer.ggml.normalizer.strip_accents");
    return v;
}

}  // namespace flashback::inline FLASHBACK_ISA
