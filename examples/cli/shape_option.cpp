#include "shape_option.hpp"

#include "flashback/model/random_transformer.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace cli {

namespace fb = flashback;

namespace {

std::string lower(std::string_view text) {
    std::string out{text};
    for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    return out;
}

/// Takes "SHAPE:DTYPE" apart; if it is not one, gives the reason.
std::string read_shape(const std::string& text, std::optional<fb::TransformerConfig>& shape, fb::DType& dtype) {
    const std::size_t colon = text.find(':');
    shape = fb::shape_of(text.substr(0, colon));
    if (!shape || colon == text.npos) {
        std::string names;
        for (const std::string_view name : fb::known_shapes) names += (names.empty() ? "" : ", ") + std::string{name};
        return "found '" + text + "', expected SHAPE:DTYPE with a shape of " + names;
    }
    for (std::uint32_t type = 0; type < 64; ++type) {  // more than GGUF numbers
        const fb::DTypeLayout layout = fb::layout_of(static_cast<fb::DType>(type));
        if (layout.block_elements > 0 && lower(layout.name) == lower(text.substr(colon + 1))) {
            dtype = static_cast<fb::DType>(type);
            return {};
        }
    }
    return "found the type '" + text.substr(colon + 1) + "', expected one that GGUF has, such as f32 or q4_0";
}

}  // namespace

CLI::Option* add_shape(CLI::App& command, std::optional<fb::TransformerConfig>& shape, fb::DType& dtype) {
    return command
        .add_option_function<std::string>(
            "--shape",
            [&](const std::string& text) {
                if (const std::string why = read_shape(text, shape, dtype); !why.empty())
                    throw CLI::ValidationError("--shape: " + why);
            },
            "Random weights instead of a model, and their type: llama2-7b:q4_0 or gpt2:f32, say")
        ->type_name("SHAPE:DTYPE");
}

}  // namespace cli
