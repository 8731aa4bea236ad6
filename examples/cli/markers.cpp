#include "markers.hpp"

#include "flashback/core/error.hpp"

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <system_error>

namespace cli {

namespace fb = flashback;

void add_marker_ids(CLI::App& command, std::vector<fb::TokenId>& ids) {
    command
        .add_option_function<std::string>(
            "--marker-ids",
            [&ids](const std::string& text) {
                fb::TokenId left = -1;
                fb::TokenId right = -1;
                const char* const end = text.data() + text.size();
                const auto first = std::from_chars(text.data(), end, left);
                const bool comma = first.ec == std::errc{} && first.ptr != end && *first.ptr == ',';
                const auto second = comma ? std::from_chars(first.ptr + 1, end, right) : first;
                if (!comma || second.ec != std::errc{} || second.ptr != end || left < 0 || right < 0 || left == right) {
                    throw CLI::ValidationError("--marker-ids: found '" + text +
                                               "', expected the numbers of two different tokens, as in 4096,4097");
                }
                ids = {left, right};
            },
            "The two marking tokens by number, for models without <MARK_L> and <MARK_R>: tokens that no text has")
        ->type_name("L,R");
}

CLI::Option* add_markers(CLI::App& command, std::string& choice) {
    return command.add_option("--markers", choice, "Marking tokens around passages; auto: if the adapter has trained them")
        ->check(CLI::IsMember({"auto", "on", "off"}))
        ->capture_default_str();
}

std::size_t tokens_with(const std::vector<fb::TokenId>& ids) {
    return ids.empty() ? 0 : static_cast<std::size_t>(std::ranges::max(ids)) + 1;
}

std::vector<fb::TokenId> named_markers(const fb::Tokenizer& tokenizer) {
    std::vector<fb::TokenId> markers;
    for (const char* name : marker_names) {
        const auto id = tokenizer.find(name);
        const auto& kinds = tokenizer.vocabulary().kinds;
        if (id && kinds[static_cast<std::size_t>(*id)] == fb::TokenKind::control) markers.push_back(*id);
    }
    return markers;
}

Markers markers_of(const MarkersOption& asked, const fb::Tokenizer& tokenizer, const fb::PackedAdapter* adapter) {
    for (const fb::TokenId id : asked.ids) {
        const bool brought = adapter != nullptr && adapter->embedding_row(id) != nullptr;
        if (static_cast<std::size_t>(id) >= tokenizer.size() && !brought) {
            FLASHBACK_THROW(fb::ErrorCode::vocabulary, "--marker-ids names the token ", id, ", but the vocabulary has ",
                            tokenizer.size(), " tokens");
        }
    }
    const auto among = [](const std::vector<fb::TokenId>& ids) {
        return [&ids](fb::TokenId id) { return std::ranges::find(ids, id) != ids.end(); };
    };
    Markers markers{asked.ids.empty() ? named_markers(tokenizer) : asked.ids, asked.choice == "on"};
    if (adapter != nullptr && asked.choice != "off") {
        const std::vector<fb::TokenId>& rows = adapter->embedding_ids();
        const bool others = rows.size() == marker_names.size() && std::ranges::none_of(rows, among(markers.ids));
        if (asked.ids.empty() && others) markers.ids = rows;
        if (asked.choice == "auto") {
            markers.around = markers.ids.size() == marker_names.size() && std::ranges::all_of(markers.ids, among(rows));
        }
    }
    if (markers.around && markers.ids.size() != marker_names.size()) {
        FLASHBACK_THROW(fb::ErrorCode::vocabulary, "the vocabulary has no control tokens ", marker_names[0], " and ",
                        marker_names[1],
                        " to stand around passages; expected them, or two others as --marker-ids, or --markers off");
    }
    return markers;
}

fb::AnyWrapper wrapper_of(const Markers& markers) {
    if (!markers.around) return fb::AnyWrapper{fb::NoMarkers{}};
    return fb::AnyWrapper{fb::MarkerTokens{markers.ids[0], markers.ids[1]}};
}

}  // namespace cli
