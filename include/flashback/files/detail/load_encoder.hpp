/// \file The files of an encoder.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/files/config_json.hpp"
#include "flashback/files/detail/word_piece_files.hpp"
#include "flashback/files/load_encoder.hpp"
#include "flashback/format/json_fields.hpp"

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace flashback::inline FLASHBACK_ISA {
namespace detail {

/// What the files of sentence-transformers say of an encoder.
struct SentenceModules {
    std::optional<Pooling> pooling = {};
    bool normalise = false;
    std::optional<std::size_t> max_tokens = {};
};

/// The pooling in the folder of that module; nothing if the folder says nothing.
inline std::optional<Pooling> read_pooling(const std::filesystem::path& folder) {
    const OptionalJson file{folder, "config.json"};
    if (!file.present) return {};
    const JsonFields fields = file.fields();
    std::optional<Pooling> found;
    constexpr std::string_view mode = "pooling_mode_";
    for (const auto& [name, value] : file.json.object()) {
        if (!name.starts_with(mode) || !fields.flag(name).value_or(false)) continue;
        const std::string_view kind = std::string_view{name}.substr(mode.size());
        if (found || (kind != "cls_token" && kind != "mean_tokens"))
            fields.unsupported("has ", printable(name), ", expected either pooling_mode_cls_token or pooling_mode_mean_tokens");
        found = kind == "cls_token" ? Pooling::cls : Pooling::mean;
    }
    if (!found) fields.unsupported("has no pooling, expected pooling_mode_cls_token or pooling_mode_mean_tokens");
    return found;
}

inline SentenceModules read_sentence_modules(const std::filesystem::path& folder) {
    SentenceModules found;
    std::string pooling_folder = "1_Pooling";
    const OptionalJson modules{folder, "modules.json"};
    if (modules.present && !modules.json.is_array())
        FLASHBACK_THROW(ErrorCode::format, "'", modules.name, "' is not a list of modules");
    if (modules.present) {
        for (const JsonTree& module : modules.json.array()) {
            const JsonFields fields{module, modules.name};
            const std::string type = fields.text("type").value_or("");
            const std::string kind = type.substr(type.rfind('.') + 1);
            if (kind == "Pooling") {
                pooling_folder = fields.text("path").value_or("");
                if (pooling_folder.empty() || pooling_folder.find_first_of("/\\") != pooling_folder.npos ||
                    pooling_folder == "..")
                    fields.refuse("has the path '", printable(pooling_folder), "', expected the name of a folder beside it");
            } else if (kind == "Normalize") {
                found.normalise = true;
            } else if (kind != "Transformer") {
                fields.unsupported("has the module '", printable(type), "', expected Transformer, Pooling and Normalize");
            }
        }
    }
    found.pooling = read_pooling(folder / pooling_folder);
    const OptionalJson limits{folder, "sentence_bert_config.json"};
    found.max_tokens = limits.fields().count("max_seq_length", 2);
    return found;
}

/// Refuses a tokenizer that knows tokens without a row in the model.
inline void check_rows(const Encoder& encoder, const std::string& name) {
    const std::size_t tokens = std::visit([](const auto& tokenizer) { return tokenizer.size(); }, encoder.tokenizer);
    if (tokens > encoder.model->config.vocab) {
        FLASHBACK_THROW(ErrorCode::vocabulary, "'", name, "' has ", tokens, " tokens, but only ", encoder.model->config.vocab,
                        " embedding rows");
    }
}

}  // namespace detail

FLASHBACK_DETAIL_ONCE Encoder load_encoder(const GgufFile& file, ExecutorRef executor) {
    const bool causal = read_config(file).causal;
    Pooling pooling = Pooling::mean;
    if (!causal) {
        // As llama.cpp numbers them: none, mean, the first token, the last token, a rank.
        const auto number = file.integer("bert.pooling_type").value_or(1);
        if (number > 2) {
            FLASHBACK_THROW(ErrorCode::unsupported, "'", file.name(), "': bert.pooling_type is ", number,
                            ", expected 1 (the mean) or 2 (the first token)");
        }
        if (number == 2) pooling = Pooling::cls;
    }
    // The vocabulary is small: what is wrong with it is found before the weights are read.
    std::variant<WordPiece, Tokenizer> tokenizer =
        causal ? std::variant<WordPiece, Tokenizer>{load_tokenizer(file)} : WordPiece{read_word_pieces(file)};
    Encoder encoder{load_model(file, executor), std::move(tokenizer), pooling, true, 0};
    detail::check_rows(encoder, file.name());
    return encoder;
}

FLASHBACK_DETAIL_ONCE Encoder load_encoder_folder(const std::filesystem::path& folder, ExecutorRef executor,
                                                  FileAccess access) {
    const detail::SentenceModules modules = detail::read_sentence_modules(folder);
    const std::string config_file = (folder / "config.json").string();
    const std::string config_text{MappedFile{config_file}.text()};
    const TransformerConfig config = parse_config_json(config_text, config_file).shape;
    const JsonTree json = JsonTree::parse(config_text, config_file);
    const bool dpr = JsonFields{json, config_file}.text("model_type") == "dpr";
    std::variant<WordPiece, Tokenizer> tokenizer =
        config.causal ? std::variant<WordPiece, Tokenizer>{load_tokenizer(folder)} : WordPiece{read_word_piece_files(folder)};
    Encoder encoder{load_model_folder(folder, executor, access), std::move(tokenizer),
                    modules.pooling.value_or(dpr ? Pooling::cls : Pooling::mean), modules.normalise,
                    modules.max_tokens.value_or(0)};
    if (encoder.max_tokens > config.window) encoder.max_tokens = config.window;
    detail::check_rows(encoder, folder.string());
    return encoder;
}

}  // namespace flashback::inline FLASHBACK_ISA
