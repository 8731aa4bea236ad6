/// \file One line of JSON that is a document. Only its texts are kept.
#pragma once

#include "flashback/core/error.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace flashback::inline FLASHBACK_ISA::detail {

/// The fields of a document in a line of JSON. Everything else is read over and not kept: a tree would take a hundred bytes for
/// one bracket, and the destructor of nlohmann's trees ends the program if memory is short.
class JsonLine : private nlohmann::json_sax<nlohmann::json> {
public:
    /// `where` is what errors call the line, and must outlive this object. `like` is an object as expected.
    /// Throws    Error{corpus} if the line is not JSON, or not an object
    JsonLine(std::string_view line, const std::string& where, std::string_view like) : where_(where) {
        const bool json = nlohmann::json::sax_parse(line, static_cast<nlohmann::json_sax<nlohmann::json>*>(this));
        if (!json || whole_ != object_) {
            FLASHBACK_THROW(ErrorCode::corpus, where_, " is ", json ? whole_ : "no JSON", ", expected an object like ", like);
        }
    }

    bool has(std::string_view name) const {
        return std::ranges::any_of(fields_, [&](const Field& field) { return field.name == name && field.type != nullptr; });
    }

    /// A string, or a whole number as text: the first field with one of the names.
    /// Throws    Error{corpus} if there is none, or it has another type
    std::string text(std::initializer_list<std::string_view> names) const {
        for (const std::string_view name : names) {
            const auto* const field = std::ranges::find(fields_, name, &Field::name);
            if (field == fields_.end() || field->type == nullptr) continue;
            if (field->text) return *field->text;
            FLASHBACK_THROW(ErrorCode::corpus, where_, ": \"", name, "\" is of type ", field->type, ", expected a string");
        }
        FLASHBACK_THROW(ErrorCode::corpus, where_, ": the document has no \"", *names.begin(), "\"");
    }

private:
    struct Field {
        std::string_view name;
        const char* type = nullptr;  // null: it is absent
        std::optional<std::string> text = {};
    };
    static constexpr const char* object_ = "object";
    static constexpr std::size_t most_depth = 100;

    bool take(const char* type, std::optional<std::string> text = {}) {
        if (depth_ == 0) whole_ = type;
        if (depth_ == 1 && open_ != nullptr) *open_ = {open_->name, type, std::move(text)};
        return true;
    }
    bool descend(const char* type) {
        take(type);
        if (++depth_ > most_depth)
            FLASHBACK_THROW(ErrorCode::corpus, where_, " has lists in lists, more than ", most_depth, " deep");
        return true;
    }
    bool ascend() {
        --depth_;
        return true;
    }

    bool null() override { return take("null"); }
    bool boolean(bool /*value*/) override { return take("boolean"); }
    bool number_integer(number_integer_t value) override { return take("number", std::to_string(value)); }
    bool number_unsigned(number_unsigned_t value) override { return take("number", std::to_string(value)); }
    bool number_float(number_float_t /*value*/, const string_t& /*text*/) override { return take("number"); }
    bool string(string_t& value) override { return take("string", std::move(value)); }
    bool binary(binary_t& /*value*/) override { return take("binary"); }
    bool start_object(std::size_t /*elements*/) override { return descend(object_); }
    bool end_object() override { return ascend(); }
    bool start_array(std::size_t /*elements*/) override { return descend("array"); }
    bool end_array() override { return ascend(); }
    bool key(string_t& value) override {
        if (depth_ != 1) return true;
        const auto found = std::ranges::find(fields_, std::string_view{value}, &Field::name);
        open_ = found == fields_.end() ? nullptr : &*found;
        return true;
    }
    bool parse_error(std::size_t /*position*/, const std::string& /*token*/, const nlohmann::detail::exception&) override {
        return false;
    }

    const std::string& where_;
    const char* whole_ = "nothing";
    std::size_t depth_ = 0;
    Field* open_ = nullptr;
    std::array<Field, 5> fields_{Field{"id"}, Field{"_id"}, Field{"contents"}, Field{"title"}, Field{"text"}};
};

}  // namespace flashback::inline FLASHBACK_ISA::detail
