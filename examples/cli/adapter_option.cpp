#include "adapter_option.hpp"

#include "flashback/model/load_adapter.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <system_error>

namespace cli {

namespace fb = flashback;

void add_adapter(CLI::App& command, AdapterOption& adapter) {
    command
        .add_option_function<std::string>(
            "--adapter",
            [&adapter](const std::string& text) {
                adapter.path = text;
                adapter.scale = 1;
                const auto colon = text.rfind(':');
                std::error_code ignored;
                if (colon == text.npos || std::filesystem::exists(text, ignored)) return;
                adapter.path = text.substr(0, colon);
                const char* const end = text.data() + text.size();
                const auto [rest, error] = std::from_chars(text.data() + colon + 1, end, adapter.scale);
                if (error != std::errc{} || rest != end || !std::isfinite(adapter.scale) || adapter.path.empty()) {
                    throw CLI::ValidationError("--adapter: found '" + text.substr(colon + 1) + "' behind the last colon of '" +
                                               text +
                                               "', which is neither a folder nor a file; expected a number, as in DIR:0.5");
                }
            },
            "A LoRA adapter, a folder in the layout of PEFT or a GGUF file, and by what to scale it; by default 1")
        ->check([](const std::string& text) { return text.empty() ? "found no name, expected that of a folder or file" : ""; })
        ->type_name("DIR|FILE[:SCALE]");
    command
        .add_option("--marker-ids", adapter.marker_ids,
                    "The two marking tokens, where the vocabulary does not name them: an adapter may have added them")
        ->delimiter(',')
        ->expected(2)
        ->check(at_least(0))
        ->type_name("L,R");
}

std::shared_ptr<const fb::PackedAdapter> open_adapter(const AdapterOption& adapter, const fb::Transformer& model) {
    if (!adapter.given()) return nullptr;
    std::size_t tokens = model.config.vocab;
    for (const fb::TokenId id : adapter.marker_ids) tokens = std::max(tokens, static_cast<std::size_t>(id) + 1);
    return std::make_shared<const fb::PackedAdapter>(fb::load_adapter(adapter.path, model, {.tokens = tokens}), model.config);
}

fb::MarkerTokens marker_tokens(const AdapterOption& option, const fb::Tokenizer& tokenizer) {
    if (!option.marker_ids.empty()) return {option.marker_ids[0], option.marker_ids[1]};
    return {tokenizer.id(marker_names[0]), tokenizer.id(marker_names[1])};
}

std::vector<fb::TokenId> masked_markers(const AdapterOption& option, const fb::Tokenizer& tokenizer) {
    return option.marker_ids.empty() ? markers_of(tokenizer) : option.marker_ids;
}

bool markers_on(const std::string& choice, const AdapterOption& option, const fb::PackedAdapter* adapter,
                const fb::Tokenizer& tokenizer) {
    if (choice != "auto") return choice == "on";
    if (adapter == nullptr) return false;
    if (option.marker_ids.empty() &&
        !std::ranges::all_of(marker_names, [&](const char* name) { return tokenizer.find(name).has_value(); }))
        return false;
    return std::ranges::all_of(marker_tokens(option, tokenizer).markers(),
                               [&](fb::TokenId id) { return adapter->embedding_row(id) != nullptr; });
}

std::string kind_of(const std::string& adapter) {
    std::error_code ignored;
    return std::filesystem::is_regular_file(adapter, ignored) ? "file" : "folder";
}

void describe(const AdapterOption& adapter, Json& json) {
    if (adapter.given()) json["adapter"] = {{kind_of(adapter.path), adapter.path}, {"scale", adapter.scale}};
}

}  // namespace cli
