/// \file JSON as a tree that a file of nobody's trust may ask for: bounded, in the order of the text, and no trouble where memory is short.
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

/// A value of JSON. The trees of nlohmann's library allocate in their destructor (3.11), which ends the program where that fails; these do
/// not, and the parser is its own all the same.
class JsonTree {
public:
    using Array = std::vector<JsonTree>;
    using Object = std::vector<std::pair<std::string, JsonTree>>;

    JsonTree() = default;
    template <class T>
        requires(!std::is_same_v<std::remove_cvref_t<T>, JsonTree>)
    JsonTree(T&& value) {  // as a literal reads, on purpose
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

    bool is_null() const noexcept { return is<Null>(); }
    bool is_boolean() const noexcept { return is<bool>(); }
    bool is_string() const noexcept { return is<std::string>(); }
    bool is_array() const noexcept { return is<Array>(); }
    bool is_object() const noexcept { return is<Object>(); }
    bool is_number_unsigned() const noexcept { return is<std::uint64_t>(); }
    bool is_number() const noexcept { return is<double>() || is<std::int64_t>() || is<std::uint64_t>(); }

    /// A bool or a text.
    /// Requires  it is one
    template <class T>
    const T& as() const {
        return std::get<T>(value_);
    }
    const Array& array() const { return as<Array>(); }
    const Object& object() const { return as<Object>(); }
    std::uint64_t whole() const { return as<std::uint64_t>(); }
    /// Requires  is_number()
    double number() const;

    /// A field of an object; null if it has none of that name.
    const JsonTree* find(std::string_view name) const;

    /// Whether it says nothing: null, false, or empty.
    bool says_nothing() const;

    /// As text, in one line or with each element in one of its own.
    std::string text(bool in_lines = false) const;

    /// A text with quotes; U+FFFD for what is no UTF-8.
    static std::string quoted(const std::string& text);

    static bool is_utf8(const std::string& text);

    /// How much a file may ask for: an element of a list takes 40 bytes here and 2 there.
    struct Most {
        std::size_t bytes = std::size_t{16} << 20;
        std::size_t fields = 10000;                   ///< of all objects together
        std::size_t elements = std::size_t{1} << 17;  ///< of all lists together
    };

    /// The JSON of a file: lists and objects lie at most 16 deep in each other, no object has a field twice, and nothing is beyond `most`.
    /// Throws    Error{format} for anything else, and for a number that no double holds
    static JsonTree parse(std::string_view text, const std::string& file, const Most& most);
    static JsonTree parse(std::string_view text, const std::string& file) { return parse(text, file, Most{}); }

private:
    template <class T>
    bool is() const noexcept {
        return std::holds_alternative<T>(value_);
    }

    void write(std::string& out, bool in_lines, std::size_t depth) const;

    /// No trivial type, on purpose: libstdc++ 12 takes a variant of numbers, strings and vectors alone for one that always has a value,
    /// and where copying it throws, it destroys what was never made.
    struct Null {
        ~Null() {}  // NOLINT(modernize-use-equals-default)
    };

    std::variant<Null, bool, std::int64_t, std::uint64_t, double, std::string, Array, Object> value_;
};

}  // namespace flashback::inline FLASHBACK_ISA

#if !defined(FLASHBACK_COMPILED_ONCE)
#include "flashback/format/detail/read_json_tree.hpp"
#endif
