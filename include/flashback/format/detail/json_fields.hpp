/// \file Reading the fields of an object.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/tokens.hpp"
#include "flashback/format/json_fields.hpp"
#include "flashback/format/json_tree.hpp"
#include "flashback/format/mapped_file.hpp"

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

FLASHBACK_DETAIL_ONCE JsonFields::JsonFields(const JsonTree& object, const std::string& file, std::string where)
    : object_(object), file_(file), where_(where.empty() ? where : " (" + printable(where) + ')') {
    if (!object_.is_object()) refuse("is ", shown(object_), ", expected a JSON object");
}

FLASHBACK_DETAIL_ONCE const JsonTree* JsonFields::find(const std::string& field) const {
    asked_.insert(field);
    const JsonTree* found = object_.find(field);
    return found == nullptr || found->is_null() ? nullptr : found;
}

FLASHBACK_DETAIL_ONCE const JsonTree& JsonFields::at(const std::string& field) const {
    const JsonTree* value = find(field);
    if (!value) refuse("lacks the field ", field);
    return *value;
}

FLASHBACK_DETAIL_ONCE std::optional<bool> JsonFields::flag(const std::string& field) const {
    const JsonTree* value = find(field);
    if (value && !value->is_boolean()) refuse_value(field, *value, "true or false");
    return value ? std::optional{value->as<bool>()} : std::nullopt;
}

FLASHBACK_DETAIL_ONCE std::optional<std::string> JsonFields::text(const std::string& field) const {
    const JsonTree* value = find(field);
    if (value && !value->is_string()) refuse_value(field, *value, "a text");
    return value ? std::optional{value->as<std::string>()} : std::nullopt;
}

FLASHBACK_DETAIL_ONCE std::optional<double> JsonFields::number(const std::string& field) const {
    const JsonTree* value = find(field);
    if (!value) return {};
    if (!value->is_number()) refuse_value(field, *value, "a number");
    const auto number = value->number();
    if (!(std::fabs(number) <= 1e30)) refuse_value(field, *value, "a number of a sensible size");
    return number;
}

FLASHBACK_DETAIL_ONCE std::optional<std::size_t> JsonFields::count(const std::string& field, std::uint64_t least) const {
    const JsonTree* value = find(field);
    return value ? std::optional{count_of(field, *value, least)} : std::nullopt;
}

FLASHBACK_DETAIL_ONCE std::size_t JsonFields::count_of(const std::string& field, const JsonTree& value,
                                                       std::uint64_t least) const {
    constexpr std::uint64_t most = std::numeric_limits<std::int32_t>::max();
    if (!value.is_number_unsigned() || value.whole() < least || value.whole() > most) {
        refuse_value(field, value, least == 0 ? "a whole number from 0 to 2147483647" : "a whole number from 1 to 2147483647");
    }
    return static_cast<std::size_t>(value.whole());
}

FLASHBACK_DETAIL_ONCE const JsonTree::Array* JsonFields::list(const std::string& field) const {
    const JsonTree* value = find(field);
    if (value && !value->is_array()) refuse_value(field, *value, "a list");
    return value ? &value->array() : nullptr;
}

FLASHBACK_DETAIL_ONCE std::vector<TokenId> JsonFields::tokens(const std::string& field) const {
    std::vector<TokenId> ids;
    const JsonTree* value = find(field);
    if (value && !value->is_array()) ids.push_back(static_cast<TokenId>(count_of(field, *value, 0)));
    if (value && value->is_array()) {
        for (const JsonTree& id : value->array()) ids.push_back(static_cast<TokenId>(count_of(field, id, 0)));
    }
    return ids;
}

FLASHBACK_DETAIL_ONCE std::optional<JsonFields> JsonFields::object(const std::string& field) const {
    const JsonTree* value = find(field);
    if (!value) return {};
    if (!value->is_object()) refuse_value(field, *value, "an object");
    return JsonFields{*value, file_, field};
}

FLASHBACK_DETAIL_ONCE void JsonFields::refuse_value(const std::string& field, const JsonTree& value,
                                                    std::string_view expected) const {
    refuse("has ", shown(value), " for ", printable(field), ", expected ", expected);
}

FLASHBACK_DETAIL_ONCE void JsonFields::unsupported_value(const std::string& field, const JsonTree& value,
                                                         std::string_view expected) const {
    unsupported("has ", shown(value), " for ", printable(field), ", expected ", expected);
}

}  // namespace flashback::inline FLASHBACK_ISA
