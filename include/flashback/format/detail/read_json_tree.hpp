/// \file Reading and writing trees of JSON.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/format/json_tree.hpp"

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

namespace flashback::inline FLASHBACK_ISA {
namespace detail {

/// Builds a tree from what the parser finds.
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
        if (error.id == 406) refuse("has a number beyond all bounds for ", printable(key_));  // no double can hold it
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
        std::string key = {};  // the name of the field that it belongs to
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

}  // namespace detail

FLASHBACK_DETAIL_ONCE double JsonTree::number() const {
    if (const auto* negative = std::get_if<std::int64_t>(&value_)) return static_cast<double>(*negative);
    return is_number_unsigned() ? static_cast<double>(whole()) : as<double>();
}

FLASHBACK_DETAIL_ONCE const JsonTree* JsonTree::find(std::string_view name) const {
    for (const auto& [field, value] : object()) {
        if (field == name) return &value;
    }
    return nullptr;
}

FLASHBACK_DETAIL_ONCE bool JsonTree::says_nothing() const {
    return is_null() || (is_boolean() && !as<bool>()) || (is_array() && array().empty()) || (is_object() && object().empty());
}

FLASHBACK_DETAIL_ONCE std::string JsonTree::text(bool in_lines) const {
    std::string out;
    write(out, in_lines, 0);
    return out;
}

FLASHBACK_DETAIL_ONCE std::string JsonTree::quoted(const std::string& text) {
    return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

FLASHBACK_DETAIL_ONCE bool JsonTree::is_utf8(const std::string& text) {
    try {
        static_cast<void>(nlohmann::json(text).dump());
        return true;
    } catch (const nlohmann::json::exception&) {
        return false;
    }
}

FLASHBACK_DETAIL_ONCE void JsonTree::write(std::string& out, bool in_lines, std::size_t depth) const {
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

FLASHBACK_DETAIL_ONCE JsonTree JsonTree::parse(std::string_view text, const std::string& file, const Most& most) {
    detail::JsonTreeBuilder builder{file, most};
    if (text.size() > most.bytes) builder.refuse("has ", text.size(), " bytes, expected at most ", most.bytes);
    if (text.find('\0') != text.npos) builder.refuse("has a NUL byte");  // the parser would take it for the end
    nlohmann::json::sax_parse(text, &builder);
    return std::move(builder.root);
}

}  // namespace flashback::inline FLASHBACK_ISA
