/// \file A JSON object whose fields are checked one by one.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/tokens.hpp"
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

namespace detail {

/// Files of a tokenizer have a field for each token, and up to three elements for each merge.
inline constexpr JsonTree::Most most_of_tokenizers{
    .bytes = std::size_t{1} << 26, .fields = std::size_t{1} << 21, .elements = std::size_t{1} << 22};

/// A value as a message may show it.
inline std::string shown(const JsonTree& value) { return printable(value.text()); }

}  // namespace detail

/// One object of a file. It remembers which fields were asked for, so that the others can be refused.
/// Requires  the object outlives it
class JsonFields {
public:
    /// `file` is the name that errors give the file, `where` the object in it; "" is the whole file.
    /// Throws    Error{format} if the value is not an object
    JsonFields(const JsonTree& object, const std::string& file, std::string where = {})
        : object_(object), file_(file), where_(where.empty() ? where : " (" + printable(where) + ')') {
        if (!object_.is_object()) refuse("is ", detail::shown(object_), ", expected a JSON object");
    }
    JsonFields(const JsonTree&& object, const std::string& file, std::string where = {}) = delete;

    const std::string& file() const noexcept { return file_; }

    /// A field; null if it is absent or null.
    const JsonTree* find(const std::string& field) const {
        asked_.insert(field);
        const JsonTree* found = object_.find(field);
        return found == nullptr || found->is_null() ? nullptr : found;
    }
    /// A field that must be there.
    const JsonTree& at(const std::string& field) const {
        const JsonTree* value = find(field);
        if (!value) refuse("lacks the field ", field);
        return *value;
    }

    /// What a field says, each nothing if it is absent or null.
    /// Throws    Error{format} for a value of another type
    std::optional<bool> flag(const std::string& field) const {
        const JsonTree* value = find(field);
        if (value && !value->is_boolean()) refuse_value(field, *value, "true or false");
        return value ? std::optional{value->as<bool>()} : std::nullopt;
    }
    std::optional<std::string> text(const std::string& field) const {
        const JsonTree* value = find(field);
        if (value && !value->is_string()) refuse_value(field, *value, "a text");
        return value ? std::optional{value->as<std::string>()} : std::nullopt;
    }
    /// A number that a float can hold.
    std::optional<double> number(const std::string& field) const {
        const JsonTree* value = find(field);
        if (!value) return {};
        if (!value->is_number()) refuse_value(field, *value, "a number");
        const auto number = value->number();
        if (!(std::fabs(number) <= 1e30)) refuse_value(field, *value, "a number of a sensible size");
        return number;
    }
    /// A whole number from `least` to 2^31 - 1.
    std::optional<std::size_t> count(const std::string& field, std::uint64_t least = 1) const {
        const JsonTree* value = find(field);
        return value ? std::optional{count_of(field, *value, least)} : std::nullopt;
    }
    std::size_t count_of(const std::string& field, const JsonTree& value, std::uint64_t least = 1) const {
        constexpr std::uint64_t most = std::numeric_limits<std::int32_t>::max();
        if (!value.is_number_unsigned() || value.whole() < least || value.whole() > most) {
            refuse_value(field, value,
                         least == 0 ? "a whole number from 0 to 2147483647" : "a whole number from 1 to 2147483647");
        }
        return static_cast<std::size_t>(value.whole());
    }
    /// A list; null if the field is absent or null.
    const JsonTree::Array* list(const std::string& field) const {
        const JsonTree* value = find(field);
        if (value && !value->is_array()) refuse_value(field, *value, "a list");
        return value ? &value->array() : nullptr;
    }
    /// Tokens: a single one or a list; none if the field is absent or null.
    std::vector<TokenId> tokens(const std::string& field) const {
        std::vector<TokenId> ids;
        const JsonTree* value = find(field);
        if (value && !value->is_array()) ids.push_back(static_cast<TokenId>(count_of(field, *value, 0)));
        if (value && value->is_array()) {
            for (const JsonTree& id : value->array()) ids.push_back(static_cast<TokenId>(count_of(field, id, 0)));
        }
        return ids;
    }
    /// An object; nothing if the field is absent or null.
    std::optional<JsonFields> object(const std::string& field) const {
        const JsonTree* value = find(field);
        if (!value) return {};
        if (!value->is_object()) refuse_value(field, *value, "an object");
        return JsonFields{*value, file_, field};
    }

    /// Calls `visit(name, value)` for each field that nobody asked for and that says something: it is not null, false, 0, "" or
    /// empty.
    template <class Visit>
    void others(const Visit& visit) const {
        for (const auto& [name, value] : object_.object()) {
            const bool nothing = value.says_nothing() || (value.is_string() && value.text() == "\"\"") ||
                                 (value.is_number() && value.number() == 0);
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
    [[noreturn]] void refuse_value(const std::string& field, const JsonTree& value, std::string_view expected) const {
        refuse("has ", detail::shown(value), " for ", printable(field), ", expected ", expected);
    }
    [[noreturn]] void unsupported_value(const std::string& field, const JsonTree& value, std::string_view expected) const {
        unsupported("has ", detail::shown(value), " for ", printable(field), ", expected ", expected);
    }

private:
    const JsonTree& object_;
    const std::string& file_;
    std::string where_;
    mutable std::set<std::string> asked_;
};

/// A JSON file of a folder; an empty object if it is absent. It has the bounds of a tokenizer's files.
/// Throws    Error{io, format} as MappedFile and JsonTree do
struct OptionalJson {
    OptionalJson(const std::filesystem::path& folder, const char* file) : name((folder / file).string()) {
        present = std::filesystem::exists(name);
        if (present) json = JsonTree::parse(MappedFile{name}.text(), name, detail::most_of_tokenizers);
    }
    JsonFields fields() const { return {json, name}; }

    std::string name;
    bool present = false;
    JsonTree json = JsonTree::Object{};
};

}  // namespace flashback::inline FLASHBACK_ISA
