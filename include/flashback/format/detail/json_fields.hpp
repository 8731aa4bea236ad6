/// \file JSON of files that nobody vouches for: a bounded tree, and an object of it whose fields are checked one by one.
#pragma once

#include "flashback/core/error.hpp"

#include <nlohmann/json.hpp>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA::detail {

/// The JSON of a file. Lists and objects lie at most 16 deep in each other, and no object has a field twice.
/// Throws    Error{format} for anything else, and for a number that no double holds
/// Cost      the parser does not recurse
inline nlohmann::json parse_json(std::string_view text, const std::string& file,
                                 std::size_t most_bytes = std::size_t{1} << 26) {
    using Json = nlohmann::json;
    const auto refuse = [&](const auto&... parts) { FLASHBACK_THROW(ErrorCode::format, "'", file, "' ", parts...); };
    if (text.size() > most_bytes) refuse("has ", text.size(), " bytes, expected at most ", most_bytes);
    if (text.find('\0') != text.npos) refuse("has a NUL byte");  // where the parser would see its end
    std::vector<std::unordered_set<std::string>> open_objects;
    std::string last_key;
    const auto check = [&](int depth, Json::parse_event_t event, const Json& value) {
        if (depth > 16) refuse("has lists in lists, more than 16 deep");
        if (event == Json::parse_event_t::object_start) open_objects.emplace_back();
        if (event == Json::parse_event_t::object_end) open_objects.pop_back();
        if (event == Json::parse_event_t::key) {
            last_key = value.get<std::string>();
            if (!open_objects.back().insert(last_key).second) refuse("has the field '", printable(last_key), "' twice");
        }
        return true;
    };
    try {
        return Json::parse(text, check);
    } catch (const Json::parse_error& error) {
        refuse("is no JSON at byte ", error.byte);
    } catch (const Json::exception&) {
        refuse("has a number beyond all bounds for ", printable(last_key));
    }
    return {};  // not reached
}

/// A value as it may stand in a message.
inline std::string shown(const nlohmann::json& value) {
    return printable(value.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace));
}

/// One object of a file. It remembers which fields were asked for, so that the others can be refused.
/// Requires  the object outlives it
class JsonFields {
public:
    using Json = nlohmann::json;

    /// `file` is the name for the sentences of errors, `where` the object in it, "" for the whole.
    /// Throws    Error{format} for a value that is no object
    JsonFields(const Json& object, const std::string& file, std::string where = {})
        : object_(object), file_(file), where_(where.empty() ? where : " (" + where + ')') {
        if (!object_.is_object()) refuse("is ", shown(object_), ", expected a JSON object");
    }
    JsonFields(const Json&& object, const std::string& file, std::string where = {}) = delete;

    const std::string& file() const noexcept { return file_; }

    /// A field; null if it is absent or null.
    const Json* find(const std::string& field) const {
        asked_.insert(field);
        const auto found = object_.find(field);
        return found == object_.end() || found->is_null() ? nullptr : &*found;
    }
    /// A field that must be there.
    const Json& at(const std::string& field) const {
        const Json* value = find(field);
        if (!value) refuse("lacks the field ", field);
        return *value;
    }

    std::optional<bool> flag(const std::string& field) const {
        const Json* value = find(field);
        if (value && !value->is_boolean()) refuse_value(field, *value, "true or false");
        return value ? std::optional{value->get<bool>()} : std::nullopt;
    }
    std::optional<std::string> text(const std::string& field) const {
        const Json* value = find(field);
        if (value && !value->is_string()) refuse_value(field, *value, "a text");
        return value ? std::optional{value->get<std::string>()} : std::nullopt;
    }
    /// A number of a size that a float holds.
    std::optional<double> number(const std::string& field) const {
        const Json* value = find(field);
        if (!value) return {};
        if (!value->is_number()) refuse_value(field, *value, "a number");
        const auto number = value->get<double>();
        if (!(std::fabs(number) <= 1e30)) refuse_value(field, *value, "a number of a sensible size");
        return number;
    }
    /// A whole number from `least` to 2^31 - 1.
    std::optional<std::size_t> count(const std::string& field, std::uint64_t least = 1) const {
        const Json* value = find(field);
        return value ? std::optional{count_of(field, *value, least)} : std::nullopt;
    }
    std::size_t count_of(const std::string& field, const Json& value, std::uint64_t least = 1) const {
        constexpr std::uint64_t most = std::numeric_limits<std::int32_t>::max();
        if (!value.is_number_unsigned() || value.get<std::uint64_t>() < least || value.get<std::uint64_t>() > most) {
            refuse_value(field, value,
                         least == 0 ? "a whole number from 0 to 2147483647" : "a whole number from 1 to 2147483647");
        }
        return value.get<std::size_t>();
    }
    /// A list; null if the field is absent or null.
    const Json* list(const std::string& field) const {
        const Json* value = find(field);
        if (value && !value->is_array()) refuse_value(field, *value, "a list");
        return value;
    }
    /// An object; nothing if the field is absent or null.
    std::optional<JsonFields> object(const std::string& field) const {
        const Json* value = find(field);
        if (!value) return {};
        if (!value->is_object()) refuse_value(field, *value, "an object");
        return JsonFields{*value, file_, field};
    }

    /// Calls `visit(name, value)` for each field that nobody asked for and that says something: not null, false, 0, "" or empty.
    template <class Visit>
    void others(const Visit& visit) const {
        for (const auto& [name, value] : object_.items()) {
            const bool nothing = value.is_null() || value == false || value == "" || value == 0 ||
                                 ((value.is_array() || value.is_object()) && value.empty());
            if (!nothing && !asked_.contains(name)) visit(name, value);
        }
    }

    template <class... Parts>
    [[noreturn]] void refuse(const Parts&... parts) const {
        FLASHBACK_THROW(ErrorCode::format, "'", file_, "'", where_, ' ', parts...);
    }
    template <class... Parts>
    [[noreturn]] void unsupported(const Parts&... parts) const {
        FLASHBACK_THROW(ErrorCode::unsupported, "'", file_, "'", where_, ' ', parts...);
    }
    [[noreturn]] void refuse_value(const std::string& field, const Json& value, std::string_view expected) const {
        refuse("has ", shown(value), " for ", field, ", expected ", expected);
    }
    [[noreturn]] void unsupported_value(const std::string& field, const Json& value, std::string_view expected) const {
        unsupported("has ", shown(value), " for ", field, ", expected ", expected);
    }

private:
    const Json& object_;
    const std::string& file_;
    std::string where_;
    mutable std::set<std::string> asked_;
};

}  // namespace flashback::inline FLASHBACK_ISA::detail
