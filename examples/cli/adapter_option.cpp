#include "adapter_option.hpp"

#include "flashback/files/load_adapter.hpp"

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
        ->type_name("DIR|FILE[:SCALE]");
}

std::shared_ptr<const fb::PackedAdapter> open_adapter(const AdapterOption& adapter, const fb::Transformer& model) {
    if (!adapter.given()) return nullptr;
    return std::make_shared<const fb::PackedAdapter>(fb::load_adapter(adapter.path, model, {.tokens = adapter.tokens}),
                                                     model.config);
}

std::string kind_of(const std::string& adapter) {
    std::error_code ignored;
    return std::filesystem::is_regular_file(adapter, ignored) ? "file" : "folder";
}

void describe(const AdapterOption& adapter, Json& json) {
    if (adapter.given()) json["adapter"] = {{kind_of(adapter.path), adapter.path}, {"scale", adapter.scale}};
}

}  // namespace cli
