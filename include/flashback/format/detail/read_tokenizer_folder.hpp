/// \file Turns the tokenizer files of a Hugging Face folder into one vocabulary.
#pragma once

#include "flashback/format/detail/piece_table.hpp"
#include "flashback/format/json_fields.hpp"
#include "flashback/format/mapped_file.hpp"
#include "flashback/format/tokenizer_files.hpp"

#include <array>
#include <optional>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {
namespace detail {

/// What the other files say about the tokens.
struct TokenizerSettings {
    std::optional<std::string> bos, eos;
    std::optional<bool> add_bos, add_space;
    std::vector<std::string> special;                        ///< texts of special tokens
    std::vector<std::pair<std::string, std::size_t>> added;  ///< texts and ids of added tokens
    std::optional<std::size_t> bos_id, eos_id;               ///< of the model
    bool opt = false;                                        ///< whether the model is OPT
    bool said = false;                                       ///< whether any file names special tokens
};

/// The text of a token. A file gives it as text, or as an object with `content`; nothing if it is absent.
inline std::optional<std::string> token_text(const JsonFields& fields, const char* field) {
    const JsonTree* value = fields.find(field);
    if (!value || value->is_string()) return fields.text(field);
    const auto token = fields.object(field);
    return token->text("content");
}

/// Adds what tokenizer_config.json or special_tokens_map.json says; what was said before stays.
inline void read_special_tokens(const OptionalJson& file, TokenizerSettings& settings) {
    const JsonFields fields = file.fields();
    settings.said = settings.said || file.present;
    for (const char* name : {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"}) {
        if (auto text = token_text(fields, name)) settings.special.push_back(std::move(*text));
    }
    if (!settings.bos) settings.bos = token_text(fields, "bos_token");
    if (!settings.eos) settings.eos = token_text(fields, "eos_token");
    if (const JsonTree::Array* more = fields.list("additional_special_tokens")) {
        for (const JsonTree& token : *more) {
            if (token.is_string()) {
                settings.special.push_back(token.as<std::string>());
            } else {
                settings.special.push_back(JsonFields{token, file.name}.text("content").value_or(""));
            }
        }
    }
}

/// Reads the settings of a folder; refuses those that would tokenise in another way.
inline TokenizerSettings read_tokenizer_settings(const std::filesystem::path& folder) {
    TokenizerSettings settings;
    const OptionalJson config{folder, "tokenizer_config.json"};
    const JsonFields fields = config.fields();
    read_special_tokens(config, settings);
    read_special_tokens({folder, "special_tokens_map.json"}, settings);
    settings.add_bos = fields.flag("add_bos_token");
    settings.add_space = fields.flag("add_prefix_space");
    for (const char* setting : {"add_eos_token", "do_lower_case"}) {
        if (fields.flag(setting).value_or(false)) fields.unsupported("has ", setting, ", expected a tokenizer without it");
    }
    if (const auto tokens = fields.object("added_tokens_decoder")) {
        for (const auto& [id, token] : fields.at("added_tokens_decoder").object()) {
            const JsonFields entry{token, config.name, "added_tokens_decoder"};
            if (id.empty() || id.size() > 9 || id.find_first_not_of("0123456789") != id.npos)
                entry.refuse("has the id '", printable(id), "', expected a whole number");
            const std::string content = entry.text("content").value_or("");
            if (entry.flag("special").value_or(false)) settings.special.push_back(content);
            settings.added.emplace_back(content, std::stoul(id));
        }
    }
    const OptionalJson added{folder, "added_tokens.json"};
    const JsonFields added_fields = added.fields();
    for (const auto& [content, id] : added.json.object())
        settings.added.emplace_back(content, added_fields.count_of(content, id, 0));
    const OptionalJson model{folder, "config.json"};
    const JsonFields model_fields = model.fields();
    settings.opt = model_fields.text("model_type") == "opt";
    const auto token_id = [&](const char* field) -> std::optional<std::size_t> {
        const std::vector<TokenId> ids = model_fields.tokens(field);
        return ids.empty() ? std::nullopt : std::optional{static_cast<std::size_t>(ids.front())};
    };
    settings.bos_id = token_id("bos_token_id");
    settings.eos_id = token_id("eos_token_id");
    return settings;
}

/// The lines of merges.txt.
inline std::vector<std::string> read_merge_lines(std::string_view text) {
    std::vector<std::string> merges;
    for (bool first = true; !text.empty(); first = false) {
        const std::size_t end = std::min(text.find('\n'), text.size());
        std::string_view line = text.substr(0, end);
        text.remove_prefix(std::min(end + 1, text.size()));
        if (line.ends_with('\r')) line.remove_suffix(1);
        if (!line.empty() && !(first && line.starts_with("#version"))) merges.emplace_back(line);
    }
    return merges;
}

/// vocab.json and merges.txt, with the tokens that other files add.
inline Vocabulary read_vocab_and_merges(const std::filesystem::path& folder, const TokenizerSettings& settings) {
    const OptionalJson vocab{folder, "vocab.json"};
    vocab.fields();  // checks that it is an object
    PieceTable table{vocab.name};
    table.add_all(vocab.json.object());
    for (const auto& [content, id] : settings.added) {
        const bool there = table.find(content).has_value();
        table.add(content, id);
        if (!there) table.mark(content, TokenKind::user_defined);
    }
    Vocabulary v;
    v.model = "gpt2";
    v.pre = "gpt-2";
    v.whole_words = false;
    v.merges = read_merge_lines(MappedFile{folder / "merges.txt"}.text());
    table.give(v);
    return v;
}

/// Marks special tokens, and finds BOS and EOS.
inline void apply(const TokenizerSettings& settings, const std::string& file, Vocabulary& v) {
    std::unordered_map<std::string_view, TokenId> ids;
    for (std::size_t i = 0; i < v.size(); ++i) ids.emplace(v.pieces[i], static_cast<TokenId>(i));
    const auto find = [&](const std::string& text) -> std::optional<TokenId> {
        const auto found = ids.find(text);
        if (found == ids.end()) return {};
        return found->second;
    };
    for (const std::string& text : settings.special) {
        const auto id = find(text);
        if (!id) continue;
        TokenKind& kind = v.kinds[static_cast<std::size_t>(*id)];
        if (kind == TokenKind::normal || kind == TokenKind::user_defined) kind = TokenKind::control;
    }
    for (const auto& [content, id] : settings.added) {
        if (find(content) != static_cast<TokenId>(id)) {
            FLASHBACK_THROW(ErrorCode::vocabulary, "'", file, "' does not have the token '", printable(content),
                            "' with the id ", id, ", as the files beside it say");
        }
    }
    if (settings.add_space && *settings.add_space != v.add_space_prefix) {
        FLASHBACK_THROW(ErrorCode::unsupported, "'", file, "' puts ", v.add_space_prefix ? "a" : "no",
                        " space in front of texts, but tokenizer_config.json has the opposite for add_prefix_space");
    }
    const auto named = [&](const std::optional<std::string>& text, std::optional<std::size_t> id) -> std::optional<TokenId> {
        if (text && find(*text)) return find(*text);
        if (id && *id < v.size()) return static_cast<TokenId>(*id);
        return {};
    };
    if (!v.bos) v.bos = named(settings.bos, settings.bos_id);
    v.eos = named(settings.eos, settings.eos_id);
    if (settings.add_bos) v.add_bos = *settings.add_bos;
    if (v.add_bos && !v.bos) {
        FLASHBACK_THROW(ErrorCode::vocabulary, "'", file,
                        "' wants BOS in front of every text, but no file beside it names a BOS "
                        "token that it has");
    }
    v.bos_in_passages = v.add_bos && settings.opt;
}

}  // namespace detail

FLASHBACK_DETAIL_ONCE bool has_tokenizer_files(const std::filesystem::path& folder) {
    const auto has = [&](const char* file) { return std::filesystem::exists(folder / file); };
    return has("tokenizer.json") || (has("vocab.json") && has("merges.txt"));
}

FLASHBACK_DETAIL_ONCE Vocabulary read_tokenizer_files(const std::filesystem::path& folder) {
    if (!has_tokenizer_files(folder)) {
        FLASHBACK_THROW(ErrorCode::vocabulary, "'", folder.string(),
                        "' has no tokenizer: neither tokenizer.json, nor vocab.json and merges.txt",
                        std::filesystem::exists(folder / "tokenizer.model") ? " (tokenizer.model is not read)" : "");
    }
    detail::TokenizerSettings settings = detail::read_tokenizer_settings(folder);
    const std::filesystem::path json = folder / "tokenizer.json";
    const bool one_file = std::filesystem::exists(json);
    Vocabulary v = one_file ? parse_tokenizer_json(MappedFile{json}.text(), json.string())
                            : detail::read_vocab_and_merges(folder, settings);
    if (!one_file) {
        v.add_bos = settings.opt;
        // If no file says which tokens are special, these are their usual names.
        if (!settings.said) settings.special = {"<s>", "</s>", "<pad>", "<unk>", "<mask>", "<|endoftext|>"};
        if (!settings.bos && !settings.bos_id) settings.bos = "<|endoftext|>";
        if (!settings.eos && !settings.eos_id) settings.eos = "<|endoftext|>";
    }
    detail::apply(settings, one_file ? json.string() : (folder / "vocab.json").string(), v);
    return v;
}

}  // namespace flashback::inline FLASHBACK_ISA
