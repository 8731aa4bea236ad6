/// \file JSON as a tree, for untrusted files: its size is limited, it keeps the order of the text, and it stays
/// safe if memory runs out.
#pragma once

#include "flashback/core/error.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// A JSON value. nlohmann's own trees (3.11) allocate in their destructor, which ends the program if memory is short. These do
/// not. The parser is still nlohmann's.
class JsonTree {
public:
    /// A list.
    using Array = std::vector<JsonTree>;
    /// Fields and their values, in the order of the file.
    using Object = std::vector<std::pair<std::string, JsonTree>>;

    JsonTree() = default;
    /// Holds a value of a plain type: bool, number, text, list or object.
    template <class T>
        requires(!std::is_same_v<std::remove_cvref_t<T>, JsonTree>)
    JsonTree(T&& value) {  // on purpose not explicit: trees are written as literals
        using Plain = std::remove_cvref_t<T>;
        if constexpr (std::is_same_v<Plain, bool> || std::is_same_v<Plain, Array> || std::is_same_v<Plain, Object>) {
            value_ = std::forward<T>(value);
        } else if constexpr (std::is_floating_point_v<Plain>) {
            value_ = static_cast<double>(value);
        } else if constexpr (std::is_unsigned_v<Plain>) {
            value_ = static_cast<std::uint64_t>(value);
        } else if constexpr (std::is_integral_v<Plain>) {
            value_ = static_cast<std::int64_t>(value);
        } else if constexpr (!std::is_null_pointer_v<Plain>) {
            value_ = std::string{std::forward<T>(value)};
        }
    }

    /// Whether it is null.
    bool is_null() const noexcept { return is<Null>(); }
    /// Whether it is true or false.
    bool is_boolean() const noexcept { return is<bool>(); }
    /// Whether it is a text.
    bool is_string() const noexcept { return is<std::string>(); }
    /// Whether it is a list.
    bool is_array() const noexcept { return is<Array>(); }
    /// Whether it is an object.
    bool is_object() const noexcept { return is<Object>(); }
    /// Whether it is a whole number of 0 or more.
    bool is_number_unsigned() const noexcept { return is<std::uint64_t>(); }
    /// Whether it is any number.
    bool is_number() const noexcept { return is<double>() || is<std::int64_t>() || is<std::uint64_t>(); }

    /// A bool or a text.
    /// Requires  it is one
    template <class T>
    const T& as() const {
        return std::get<T>(value_);
    }
    /// The list. It must be one.
    const Array& array() const { return as<Array>(); }
    /// The object. It must be one.
    const Object& object() const { return as<Object>(); }
    /// The whole number. It must be one of 0 or more.
    std::uint64_t whole() const { return as<std::uint64_t>(); }
    /// Requires  is_number()
    double number() const;

    /// A field of an object; null if it has none of that name.
    const JsonTree* find(std::string_view name) const;

    /// Whether it says nothing: it is null, false, or empty.
    bool says_nothing() const;

    /// As text: in one line, or each element in a line of its own.
    std::string text(bool in_lines = false) const;

    /// A text in quotes; bytes that are not UTF-8 become U+FFFD.
    static std::string quoted(const std::string& text);

    /// Whether a text is well-formed UTF-8.
    static bool is_utf8(const std::string& text);

    /// How much a file may hold. Memory is why elements are counted: one takes 2 bytes in the file and 40 here.
    struct Most {
        std::size_t bytes = std::size_t{16} << 20;    ///< of the whole file
        std::size_t fields = 10000;                   ///< of all objects together
        std::size_t elements = std::size_t{1} << 17;  ///< of all lists together
    };

    /// Reads the JSON of a file. Lists and objects may be nested 16 deep, no object may have a field twice, and the file must
    /// stay within `most`.
    /// Throws    Error{format} for anything else, and for a number that no double can hold
    static JsonTree parse(std::string_view text, const std::string& file, const Most& most);
    static JsonTree parse(std::string_view text, const std::string& file) { return parse(text, file, Most{}); }

private:
    template <class T>
    bool is() const noexcept {
        return std::holds_alternative<T>(value_);
    }

    void write(std::string& out, bool in_lines, std::size_t depth) const;

    /// Not trivial, on purpose. libstdc++ 12 assumes that a variant of only numbers, strings and vectors always has a value; if
    /// a copy throws, it destroys something that was never made.
    struct Null {
        Null() = default;
        Null(const Null&) = default;
        Null& operator=(const Null&) = default;
        ~Null() {}  // NOLINT(modernize-use-equals-default)
    };

    std::variant<Null, bool, std::int64_t, std::uint64_t, double, std::string, Array, Object> value_;
};

}  // namespace flashback::inline FLASHBACK_ISA

#if !defined(FLASHBACK_COMPILED_ONCE)
#include "flashback/format/detail/read_json_tree.hpp"
#endif
