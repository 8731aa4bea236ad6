#include "adapter_option.hpp"

#include "flashback/model/load_adapter.hpp"

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
                adapter = {text, 1};
                const auto colon = text.rfind(':');
                std::error_code ignored;
                if (colon == text.npos || std::filesystem::is_directory(text, ignored)) return;
                adapter.folder = text.substr(0, colon);
                const char* const end = text.data() + text.size();
                const auto [rest, error] = std::from_chars(text.data() + colon + 1, end, adapter.scale);
                if (error != std::errc{} || rest != end || !std::isfinite(adapter.scale) || adapter.folder.empty()) {
                    throw CLI::ValidationError("--adapter: found '" + text.substr(colon + 1) + "' behind the last colon of '" +
                                               text + "', which is no folder; expected a number, as in DIR:0.5");
                }
            },
            "A folder with a LoRA adapter in the layout of PEFT, and by what to scale it; by default 1")
        ->check([](const std::string& text) { return text.empty() ? "found no folder, expected one" : ""; })
        ->type_name("DIR[:SCALE]");
}

std::shared_ptr<const fb::PackedAdapter> open_adapter(const AdapterOption& adapter, const fb::Transformer& model) {
    if (!adapter.given()) return nullptr;
    return std::make_shared<const fb::PackedAdapter>(fb::load_adapter(adapter.folder, model), model.config);
}

void describe(const AdapterOption& adapter, Json& json) {
    if (adapter.given()) json["adapter"] = {{"folder", adapter.folder}, {"scale", adapter.scale}};
}

}  // namespace cli
