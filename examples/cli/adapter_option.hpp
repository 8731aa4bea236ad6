/// \file --adapter DIR|FILE[:SCALE]: a LoRA and marker rows on top of the model.
#pragma once

#include "common.hpp"
#include "flashback/core/tokens.hpp"
#include "flashback/model/packed_adapter.hpp"
#include "flashback/model/transformer.hpp"
#include "flashback/policy/wrapper.hpp"
#include "flashback/text/tokenizer.hpp"

#include <memory>
#include <string>
#include <vector>

namespace cli {

/// What --adapter asks for.
struct AdapterOption {
    std::string path;  ///< a folder of PEFT or a GGUF file; empty: no adapter
    float scale = 1;
    std::vector<flashback::TokenId> marker_ids;  ///< none, or two: what --marker-ids says

    bool given() const noexcept { return !path.empty(); }
};

/// Adds --adapter and --marker-ids. Behind the last colon stands a scale, unless the whole is the name of what is there.
void add_adapter(CLI::App& command, AdapterOption& adapter);

/// The adapter, packed for a model; null where none was asked for.
/// Throws    as flashback::load_adapter
std::shared_ptr<const flashback::PackedAdapter> open_adapter(const AdapterOption& adapter, const flashback::Transformer& model);

/// The marking tokens: those of --marker-ids, else those that the vocabulary names.
/// Throws    Error{vocabulary} if it names none
flashback::MarkerTokens marker_tokens(const AdapterOption& option, const flashback::Tokenizer& tokenizer);

/// Tokens that have no probability: the marking tokens, as far as there are some.
std::vector<flashback::TokenId> masked_markers(const AdapterOption& option, const flashback::Tokenizer& tokenizer);

/// What --markers means: `auto` is on where an adapter has rows for both marking tokens.
bool markers_on(const std::string& choice, const AdapterOption& option, const flashback::PackedAdapter* adapter,
                const flashback::Tokenizer& tokenizer);

/// "folder" or "file", by what an adapter is.
std::string kind_of(const std::string& adapter);

/// Adds to the JSON object of a command what was asked for, if something was.
void describe(const AdapterOption& adapter, Json& json);

}  // namespace cli
