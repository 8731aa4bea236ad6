/// \file Turns tokenizer.json into a vocabulary.
#pragma once

#include "flashback/format/detail/piece_table.hpp"
#include "flashback/format/json_fields.hpp"
#include "flashback/format/tokenizer_files.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace flashback::inline FLASHBACK_ISA {
namespace detail {

/// One step of a normalizer, pre-tokenizer, post-processor or decoder.
struct TokenizerStep {
    std::string type;
    JsonFields fields;
};

/// The parts of one tokenizer.json, each read into the vocabulary.
class TokenizerJson {
public:
    TokenizerJson(const JsonTree& json, const std::string& file) : all_(json, file), table_(file) {}

    Vocabulary read() {
        const JsonTree& model = all_.at("model");
        read_pre_tokenizer();
        read_normalizer();
        read_model(JsonFields{model, all_.file(), "model"});
        read_added_tokens();
        read_post_processor();
        check_decoder();
        for (const char* harmless : {"version", "truncation", "padding"}) all_.find(harmless);  // the last two concern batches
        all_.others([&](const std::string& name, const JsonTree& value) {
            all_.unsupported_value(name, value, "a tokenizer without it");
        });
        table_.give(v_);
        return std::move(v_);
    }

private:
    bool by_bytes() const { return v_.model == "gpt2"; }

    /// The steps of a part of the file; those of a sequence one by one.
    std::vector<TokenizerStep> steps(const char* part, const char* list) const {
        std::vector<TokenizerStep> found;
        const auto part_fields = all_.object(part);
        if (!part_fields) return found;
        const std::string type = part_fields->text("type").value_or("");
        if (type != "Sequence") {
            found.push_back({type, *part_fields});
            return found;
        }
        const JsonTree::Array* entries = part_fields->list(list);
        if (!entries) part_fields->refuse("lacks the field ", list);
        for (const JsonTree& entry : *entries) {
            JsonFields fields{entry, all_.file(), part};
            std::string of = fields.text("type").value_or("");
            found.push_back({std::move(of), std::move(fields)});
        }
        return found;
    }

    [[noreturn]] void unknown_step(const char* part, const std::string& type, const char* expected) const {
        all_.unsupported("has the ", part, " '", printable(type), "', expected ", expected);
    }
    /// Refuses a setting that differs from what is implemented.
    static void must_be(const JsonFields& step, const char* field, const JsonTree& value, std::string_view expected = {}) {
        const JsonTree* found = step.find(field);
        if (!found || found->text() != value.text()) {
            step.unsupported("has ", found ? shown(*found) : "nothing", " for ", field, ", expected ",
                             expected.empty() ? shown(value) : std::string{expected});
        }
    }

    void read_pre_tokenizer() {
        constexpr const char* expected = "ByteLevel, or Split and ByteLevel, or none";
        const auto found = steps("pre_tokenizer", "pretokenizers");
        v_.model = found.empty() ? "llama" : "gpt2";
        if (found.empty()) return;
        v_.whole_words = false;
        for (const TokenizerStep& step : found) {
            if (step.type != "Split" && step.type != "ByteLevel") unknown_step("pre-tokenizer", step.type, expected);
        }
        const TokenizerStep& last = found.back();
        if (found.size() > 2 || last.type != "ByteLevel" || (found.size() == 2 && found.front().type != "Split"))
            all_.unsupported("has ", found.size(), " pre-tokenizers in another order, expected ", expected);
        must_be(last.fields, "add_prefix_space", false);
        if (found.size() == 1) {
            if (!last.fields.flag("use_regex").value_or(true)) must_be(last.fields, "use_regex", true);
            v_.pre = "gpt-2";
            return;
        }
        must_be(last.fields, "use_regex", false);
        const JsonFields& split = found.front().fields;
        must_be(split, "behavior", "Isolated");
        if (split.flag("invert").value_or(false)) must_be(split, "invert", false);
        const auto pattern = split.object("pattern");
        const std::string regex = pattern ? pattern->text("Regex").value_or("") : "";
        v_.pre = pre_of(regex);
        if (v_.pre.empty())
            split.unsupported("has the regular expression '", printable(regex), "', expected that of GPT-2, Llama 3 or Qwen 2");
    }

    /// The name of a regular expression that splits words; "" if it is not known.
    static std::string pre_of(std::string_view regex) {
        constexpr std::string_view gpt2 = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
        constexpr std::string_view llama3 =
            R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
        constexpr std::string_view qwen2 =
            R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
        return regex == gpt2 ? "gpt-2" : regex == llama3 ? "llama-bpe" : regex == qwen2 ? "qwen2" : "";
    }

    void read_normalizer() {
        bool replaces = false;
        for (const auto& [type, fields] : steps("normalizer", "normalizers")) {
            if (!by_bytes() && type == "Prepend") {
                must_be(fields, "prepend", space_mark, "U+2581");
                v_.add_space_prefix = true;
            } else if (!by_bytes() && type == "Replace") {
                must_be(fields, "pattern", JsonTree::Object{{"String", " "}});
                must_be(fields, "content", space_mark, "U+2581");
                replaces = true;
            } else if (by_bytes() && type == "NFC") {
                v_.normal_form_c = true;
            } else {
                unknown_step("normalizer", type, by_bytes() ? "NFC or none with ByteLevel" : "Prepend and Replace");
            }
        }
        if (!by_bytes() && !replaces)
            all_.unsupported("has neither the pre-tokenizer ByteLevel nor a normalizer that replaces spaces by U+2581");
    }

    void read_model(const JsonFields& model) {
        if (const std::string type = model.text("type").value_or("BPE"); type != "BPE")
            all_.unsupported("has a model of the type '", printable(type), "', expected BPE");
        if (model.number("dropout").value_or(0) != 0) must_be(model, "dropout", nullptr);
        for (const char* affix : {"continuing_subword_prefix", "end_of_word_suffix"}) {
            if (const std::string text = model.text(affix).value_or(""); !text.empty())
                model.unsupported("has '", printable(text), "' for ", affix, ", expected none");
        }
        if (!model.object("vocab")) model.refuse("lacks the field vocab");
        table_.add_all(model.at("vocab").object());
        if (model.flag("ignore_merges").value_or(false)) {
            if (!by_bytes()) must_be(model, "ignore_merges", false);
            v_.whole_words = true;
        }
        const bool fuse = model.flag("fuse_unk").value_or(false);
        const bool byte_fallback = model.flag("byte_fallback").value_or(false);
        const auto unknown = model.text("unk_token");
        if (!by_bytes()) {
            v_.fuse_unknown = fuse;
            if (byte_fallback) mark_byte_tokens(model.at("vocab").object());
            unknown_ = unknown.value_or("");
        }
        read_merges(model);
        model.others([&](const std::string& name, const JsonTree& value) {
            model.unsupported_value(name, value, "a model without it");
        });
    }

    /// <0x00> to <0xFF>; a vocabulary may also have none of them.
    void mark_byte_tokens(const JsonTree::Object& vocab) {
        constexpr std::string_view digits = "0123456789ABCDEF";
        for (const auto& [piece, id] : vocab) {
            if (!piece.starts_with("<0x") || !piece.ends_with('>')) continue;
            const bool well_formed =
                piece.size() == 6 && digits.find(piece[3]) != digits.npos && digits.find(piece[4]) != digits.npos;
            if (!well_formed) {
                FLASHBACK_THROW(ErrorCode::vocabulary, "'", all_.file(), "' has the byte token '", printable(piece),
                                "', expected <0x00> to <0xFF>");
            }
            table_.mark(piece, TokenKind::byte);
        }
    }

    void read_merges(const JsonFields& model) {
        const JsonTree::Array* merges = model.list("merges");
        if (!merges || merges->empty()) model.refuse("has no merges");
        v_.merges.reserve(merges->size());
        for (const JsonTree& merge : *merges) {
            if (merge.is_string()) {
                v_.merges.push_back(merge.as<std::string>());
                continue;
            }
            const bool pair =
                merge.is_array() && merge.array().size() == 2 && merge.array()[0].is_string() && merge.array()[1].is_string();
            if (!pair) model.refuse("has the merge ", shown(merge), ", expected two pieces");
            const auto left = merge.array()[0].as<std::string>();
            const auto right = merge.array()[1].as<std::string>();
            // No text can reach a piece with a space in it: the space has become another character by then.
            if (left.find(' ') == left.npos && right.find(' ') == right.npos) v_.merges.push_back(left + ' ' + right);
        }
    }

    void read_added_tokens() {
        if (const JsonTree::Array* tokens = all_.list("added_tokens")) {
            for (const JsonTree& entry : *tokens) {
                const JsonFields token{entry, all_.file(), "added_tokens"};
                const std::size_t id = token.count_of("id", token.at("id"), 0);
                const std::string content = token.text("content").value_or("");
                if (!added_.insert(content).second) {
                    FLASHBACK_THROW(ErrorCode::vocabulary, "'", all_.file(), "' has the added token '", printable(content),
                                    "' twice");
                }
                add_added_token(table_, token, id, !by_bytes() || v_.normal_form_c);
            }
        }
        if (unknown_.empty()) return;
        v_.unknown = table_.find(unknown_);
        if (!v_.unknown) {
            FLASHBACK_THROW(ErrorCode::vocabulary, "'", all_.file(), "' has no token '", printable(unknown_),
                            "', which its unk_token names");
        }
        table_.mark(unknown_, TokenKind::unknown);
    }

    void read_post_processor() {
        for (const auto& [type, fields] : steps("post_processor", "processors")) {
            if (type == "ByteLevel") continue;  // it moves offsets into the text, not tokens
            if (type != "TemplateProcessing") unknown_step("post-processor", type, "TemplateProcessing or ByteLevel");
            const JsonTree::Array* parts = fields.list("single");
            if (!parts) fields.refuse("lacks the field single");
            bool behind = false;
            for (const JsonTree& entry : *parts) {
                const JsonFields part{entry, all_.file(), "post_processor"};
                if (part.object("Sequence")) {
                    if (behind) fields.unsupported("has the text twice in its template");
                    behind = true;
                    continue;
                }
                const auto special = part.object("SpecialToken");
                if (!special) fields.refuse("has ", shown(entry), " in its template, expected Sequence or SpecialToken");
                const std::string name = special->text("id").value_or("");
                if (behind) fields.unsupported("puts '", printable(name), "' behind every text, expected nothing there");
                if (v_.bos) fields.unsupported("puts two tokens in front of every text, expected one");
                v_.bos = template_token(fields, name);
                v_.add_bos = true;
            }
        }
    }

    TokenId template_token(const JsonFields& fields, const std::string& name) const {
        const auto tokens = fields.object("special_tokens");
        const auto token = tokens ? tokens->object(name) : std::nullopt;
        const JsonTree::Array* ids = token ? token->list("ids") : nullptr;
        if (!ids || ids->size() != 1) fields.refuse("has no single id in special_tokens for '", printable(name), '\'');
        const std::size_t id = fields.count_of("ids", ids->front(), 0);
        if (id >= table_.size()) {
            FLASHBACK_THROW(ErrorCode::vocabulary, "'", all_.file(), "' puts the token ", id,
                            " in front of every text, but there are only ", table_.size(), " tokens");
        }
        return static_cast<TokenId>(id);
    }

    void check_decoder() const {
        constexpr std::array<std::string_view, 4> of_characters{"Replace", "ByteFallback", "Fuse", "Strip"};
        for (const TokenizerStep& step : steps("decoder", "decoders")) {
            const bool known =
                by_bytes() ? step.type == "ByteLevel" : std::ranges::find(of_characters, step.type) != of_characters.end();
            if (!known) unknown_step("decoder", step.type, by_bytes() ? "ByteLevel" : "Replace, ByteFallback, Fuse and Strip");
        }
    }

    static constexpr const char* space_mark = "\xe2\x96\x81";  // U+2581

    JsonFields all_;
    PieceTable table_;
    Vocabulary v_;
    std::string unknown_;
    std::set<std::string> added_;
};

}  // namespace detail

FLASHBACK_DETAIL_ONCE Vocabulary parse_tokenizer_json(std::string_view json, const std::string& file) {
    const JsonTree tree = JsonTree::parse(json, file, detail::most_of_tokenizers);
    return detail::TokenizerJson{tree, file}.read();
}

}  // namespace flashback::inline FLASHBACK_ISA
