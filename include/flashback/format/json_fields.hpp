/// \file A JSON object whose fields are checked one by one.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/tokens.hpp"
#include "flashback/format/json_tree.hpp"
#include "flashback/format/mapped_file.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

namespace detail {

/// The files of a tokenizer have one field for each token, and up to three elements for each merge.
inline constexpr JsonTree::Most most_of_tokenizers{
    .bytes = std::size_t{1} << 26, .fields = std::size_t{1} << 21, .elements = std::size_t{1} << 22};

}  // namespace detail

/// A value as a message may show it.
inline std::string shown(const JsonTree& value) { return printable(value.text()); }

/// One object of a file. It remembers which fields were asked for, so that all others can be refused.
/// Requires  the object outlives it
class JsonFields {
public:
    /// `file` is the name that errors give the file, `where` the object in it; "" is the whole file.
    /// Throws    Error{format} if the value is not an object
    JsonFields(const JsonTree& object, const std::string& file, std::string where = {});
    JsonFields(const JsonTree&& object, const std::string& file, std::string where = {}) = delete;

    /// The name that errors mention.
    const std::string& file() const noexcept { return file_; }

    /// A field; null if it is absent or null.
    const JsonTree* find(const std::string& field) const;
    /// A field that must be there.
    const JsonTree& at(const std::string& field) const;

    /// The value of a field; nothing if it is absent or null.
    /// Throws    Error{format} for a value of another type
    std::optional<bool> flag(const std::string& field) const;
    /// A text; nothing if the field is absent or null.
    std::optional<std::string> text(const std::string& field) const;
    /// A number that a float can hold.
    std::optional<double> number(const std::string& field) const;
    /// A whole number from `least` to 2^31 - 1.
    std::optional<std::size_t> count(const std::string& field, std::uint64_t least = 1) const;
    /// The same of a value that the caller has.
    std::size_t count_of(const std::string& field, const JsonTree& value, std::uint64_t least = 1) const;
    /// A list; null if the field is absent or null.
    const JsonTree::Array* list(const std::string& field) const;
    /// Tokens: a single one or a list; none if the field is absent or null.
    std::vector<TokenId> tokens(const std::string& field) const;
    /// An object; nothing if the field is absent or null.
    std::optional<JsonFields> object(const std::string& field) const;

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

    /// Throws an Error{format} that names the file and the place, and goes on with `parts`.
    template <class... Parts>
    [[noreturn]] void refuse(const Parts&... parts) const {
        FLASHBACK_THROW(ErrorCode::format, "'", file_, "'", where_, ' ', parts...);
    }
    /// The same as an Error{unsupported}.
    template <class... Parts>
    [[noreturn]] void unsupported(const Parts&... parts) const {
        FLASHBACK_THROW(ErrorCode::unsupported, "'", file_, "'", where_, ' ', parts...);
    }
    /// Refuses a value that is not what was expected.
    [[noreturn]] void refuse_value(const std::string& field, const JsonTree& value, std::string_view expected) const;
    /// The same for what is right, but not implemented.
    [[noreturn]] void unsupported_value(const std::string& field, const JsonTree& value, std::string_view expected) const;

private:
    const JsonTree& object_;
    const std::string& file_;
    std::string where_;
    mutable std::set<std::string> asked_;
};

/// A JSON file of a folder; an empty object if it is absent. It has the bounds of a tokenizer's files.
/// Throws    Error{io, format} as MappedFile and JsonTree do
struct OptionalJson {
    /// Reads a file of a folder, if it is there.
    OptionalJson(const std::filesystem::path& folder, const char* file) : name((folder / file).string()) {
        present = std::filesystem::exists(name);
        if (present) json = JsonTree::parse(MappedFile{name}.text(), name, detail::most_of_tokenizers);
    }
    /// Its fields, to be asked for by name.
    JsonFields fields() const { return {json, name}; }

    std::string name;                    ///< path of the file
    bool present = false;                ///< whether the folder has it
    JsonTree json = JsonTree::Object{};  ///< what it says
};

}  // namespace flashback::inline FLASHBACK_ISA

#if !defined(FLASHBACK_COMPILED_ONCE)
#include "flashback/format/detail/json_fields.hpp"
#endif
