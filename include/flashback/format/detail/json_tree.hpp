/// \file JSON as a tree that a file of nobody's trust may ask for: bounded, in the order of the text, and no trouble where memory is short.
#pragma once

#include "flashback/core/error.hpp"

#include <nlohmann/json.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <unordered_set>
#include <utility>
#include <variant>
#include <vector>

namespace flashback::inline FLASHBACK_ISA::detail {

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
    double number() const {
        if (const auto* negative = std::get_if<std::int64_t>(&value_)) return static_cast<double>(*negative);
        return is_number_unsigned() ? static_cast<double>(whole()) : as<double>();
    }

    /// A field of an object; null if it has none of that name.
    const JsonTree* find(std::string_view name) const {
        for (const auto& [field, value] : object()) {
            if (field == name) return &value;
        }
        return nullptr;
    }

    /// Whether it says nothing: null, false, or empty.
    bool says_nothing() const {
        return is_null() || (is_boolean() && !as<bool>()) || (is_array() && array().empty()) ||
               (is_object() && object().empty());
    }

    /// As text, in one line or with each element in one of its own.
    std::string text(bool in_lines = false) const {
        std::string out;
        write(out, in_lines, 0);
        return out;
    }

    /// A text with quotes; U+FFFD for what is no UTF-8.
    static std::string quoted(const std::string& text) {
        return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    }

    static bool is_utf8(const std::string& text) {
        try {
            static_cast<void>(nlohmann::json(text).dump());
            return true;
        } catch (const nlohmann::json::exception&) {
            return false;
        }
    }

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

    void write(std::string& out, bool in_lines, std::size_t depth) const {
        const auto line = [&](std::size_t indent) {
            if (in_lines) out.append("\n").append(2 * indent, ' ');
        };
        const auto list = [&](char open, char close, const auto& elements, const auto& write_one) {
            out += open;
            for (std::size_t i = 0; i < elements.size(); ++i) {
                if (i > 0) out += ',';
                line(depth + 1);
                write_one(elements[i]);
            }
            if (!elements.empty()) line(depth);
            out += close;
        };
        if (is_array()) {
            list('[', ']', array(), [&](const JsonTree& element) { element.write(out, in_lines, depth + 1); });
        } else if (is_object()) {
            list('{', '}', object(), [&](const auto& field) {
                out += quoted(field.first) + (in_lines ? ": " : ":");
                field.second.write(out, in_lines, depth + 1);
            });
        } else if (is_string()) {
            out += quoted(as<std::string>());
        } else if (const auto* negative = std::get_if<std::int64_t>(&value_)) {
            out += std::to_string(*negative);
        } else if (is_number_unsigned()) {
            out += std::to_string(whole());
        } else if (is<double>()) {
            out += nlohmann::json(as<double>()).dump();
        } else {
            out += is_null() ? "null" : as<bool>() ? "true" : "false";
        }
    }

    /// No trivial type, on purpose: libstdc++ 12 takes a variant of numbers, strings and vectors alone for one that always has a value,
    /// and where copying it throws, it destroys what was never made.
    struct Null {
        ~Null() {}  // NOLINT(modernize-use-equals-default)
    };

    std::variant<Null, bool, std::int64_t, std::uint64_t, double, std::string, Array, Object> value_;
};

/// Builds a tree of what the parser finds.
class JsonTreeBuilder : public nlohmann::json_sax<nlohmann::json> {
public:
    JsonTreeBuilder(const std::string& file, const JsonTree::Most& most) : file_(file), most_(most) {}

    JsonTree root;

    bool null() override { return add({}); }
    bool boolean(bool value) override { return add(value); }
    bool number_integer(number_integer_t value) override { return add(value); }
    bool number_unsigned(number_unsigned_t value) override { return add(value); }
    bool number_float(number_float_t value, const string_t& /*text*/) override { return add(value); }
    bool string(string_t& value) override { return add(std::move(value)); }
    bool binary(binary_t& /*value*/) override { return add({}); }  // not in texts
    bool start_object(std::size_t /*elements*/) override { return open(JsonTree::Object{}); }
    bool start_array(std::size_t /*elements*/) override { return open(JsonTree::Array{}); }
    bool end_object() override { return close(); }
    bool end_array() override { return close(); }
    bool key(string_t& value) override {
        if (++fields_ > most_.fields) refuse("has more than ", most_.fields, " fields");
        if (!open_.back().names.insert(value).second) refuse("has the field ", printable(value), " twice");
        key_ = std::move(value);
        return true;
    }
    bool parse_error(std::size_t position, const std::string& /*token*/, const nlohmann::detail::exception& error) override {
        if (error.id == 406) refuse("has a number beyond all bounds for ", printable(key_));  // that no double holds
        refuse("is no JSON at byte ", position);
    }

    template <class... Parts>
    [[noreturn]] void refuse(const Parts&... parts) const {
        FLASHBACK_THROW(ErrorCode::format, "'", file_, "' ", parts...);
    }

private:
    static constexpr std::size_t most_depth = 16;

    struct Open {
        std::vector<JsonTree> elements = {};
        JsonTree::Object fields = {};
        bool object = false;
        std::string key = {};  // under which it lies
        std::unordered_set<std::string> names = {};
    };

    bool add(JsonTree value) {
        if (open_.empty()) {
            root = std::move(value);
        } else if (open_.back().object) {
            open_.back().fields.emplace_back(std::move(key_), std::move(value));
        } else {
            if (++elements_ > most_.elements) refuse("has more than ", most_.elements, " elements in lists");
            open_.back().elements.push_back(std::move(value));
        }
        return true;
    }
    bool open(const JsonTree& empty) {
        if (open_.size() == most_depth) refuse("has lists in lists, more than ", most_depth, " deep");
        open_.push_back({.object = empty.is_object(), .key = std::move(key_)});
        return true;
    }
    bool close() {
        Open done = std::move(open_.back());
        open_.pop_back();
        key_ = std::move(done.key);
        return done.object ? add(std::move(done.fields)) : add(std::move(done.elements));
    }

    const std::string& file_;
    std::vector<Open> open_;
    std::string key_;
    const JsonTree::Most most_;
    std::size_t fields_ = 0;
    std::size_t elements_ = 0;
};

inline JsonTree JsonTree::parse(std::string_view text, const std::string& file, const Most& most) {
    JsonTreeBuilder builder{file, most};
    if (text.size() > most.bytes) builder.refuse("has ", text.size(), " bytes, expected at most ", most.bytes);
    if (text.find('\0') != text.npos) builder.refuse("has a NUL byte");  // where the parser would see its end
    nlohmann::json::sax_parse(text, &builder);
    return std::move(builder.root);
}

}  // namespace flashback::inline FLASHBACK_ISA::detail
