/// \file Turns the header of a safetensors file into tensors.
#pragma once

#include "flashback/format/byte_reader.hpp"
#include "flashback/format/detail/safetensors_entry.hpp"
#include "flashback/format/safetensors.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <limits>
#include <tuple>
#include <unordered_set>

namespace flashback::inline FLASHBACK_ISA {
namespace detail {

/// Takes the events of the parser, which does not recurse and builds nothing, and refuses what a header must not have.
class SafetensorsHeader : public nlohmann::json_sax<nlohmann::json> {
public:
    explicit SafetensorsHeader(const std::string& file) : file_(file) {}

    std::vector<SafetensorsEntry> entries;
    std::vector<std::pair<std::string, std::string>> metadata;

    bool null() override { refuse_value("null"); }
    bool boolean(bool /*value*/) override { refuse_value("true or false"); }
    bool number_integer(number_integer_t /*value*/) override { refuse_value("a negative number"); }
    bool number_float(number_float_t /*value*/, const string_t& /*text*/) override { refuse_value("a fraction"); }
    bool binary(binary_t& /*value*/) override { refuse_value("bytes"); }

    bool number_unsigned(number_unsigned_t value) override {
        if (list_ == nullptr) refuse_value("a number");
        list_->push_back(value);
        return true;
    }
    bool string(string_t& value) override {
        if (place_ == Place::metadata) {
            metadata.back().second = std::move(value);
        } else if (place_ == Place::tensor && key_ == "dtype") {
            SafetensorsEntry& entry = entries.back();
            const auto found = std::ranges::find(safetensors_types, value, &SafetensorsType::name);
            if (found == safetensors_types.end()) {
                FLASHBACK_THROW(ErrorCode::unsupported, "'", file_, "': tensor ", printable(entry.name),
                                " has the element type '", printable(value),
                                "', expected F32, F16, BF16 or another whole number of bytes that is known");
            }
            entry.type = &*found;
        } else {
            refuse_value("a text");
        }
        return true;
    }
    bool start_object(std::size_t /*elements*/) override {
        if (place_ == Place::outside) {
            place_ = Place::header;
        } else if (place_ == Place::header) {
            place_ = key_ == safetensors_metadata ? Place::metadata : Place::tensor;
            if (place_ == Place::tensor) entries.push_back({key_, nullptr, {}, {}});
            keys_.clear();
        } else {
            refuse_value("an object");
        }
        return true;
    }
    bool key(string_t& value) override {
        auto& seen = place_ == Place::header ? names_ : keys_;
        if (!seen.insert(value).second) refuse("has ", printable(value), " twice", where());
        key_ = std::move(value);
        if (place_ == Place::metadata) metadata.emplace_back(key_, std::string{});
        if (place_ == Place::tensor && key_ != "dtype" && key_ != "shape" && key_ != "data_offsets")
            refuse("has the unknown field '", printable(key_), '\'', where());
        return true;
    }
    bool end_object() override {
        if (place_ == Place::tensor) {
            const SafetensorsEntry& entry = entries.back();
            const auto lacks = [&](bool there, const char* field) {
                if (!there) refuse("lacks the field ", field, where());
            };
            lacks(entry.type != nullptr, "dtype");
            lacks(entry.shape.has_value(), "shape");
            lacks(entry.offsets.has_value(), "data_offsets");
        }
        place_ = place_ == Place::header ? Place::outside : Place::header;
        return true;
    }
    bool start_array(std::size_t /*elements*/) override {
        if (place_ != Place::tensor || key_ == "dtype" || list_ != nullptr) refuse_value("a list");
        SafetensorsEntry& entry = entries.back();
        list_ = &(key_ == "shape" ? entry.shape : entry.offsets).emplace();
        return true;
    }
    bool end_array() override {
        list_ = nullptr;
        return true;
    }
    bool parse_error(std::size_t position, const std::string& /*token*/, const nlohmann::detail::exception& error) override {
        // 406: a number that no double can hold.
        if (error.id == 406) refuse_value("a number beyond all bounds");
        refuse("is no JSON at byte ", position);
    }

private:
    enum class Place : std::uint8_t { outside, header, metadata, tensor };

    template <class... Parts>
    [[noreturn]] void refuse(const Parts&... parts) const {
        FLASHBACK_THROW(ErrorCode::format, "'", file_, "': the header ", parts...);
    }
    std::string where() const {
        if (place_ == Place::tensor) return " in tensor " + printable(entries.back().name);
        return place_ == Place::metadata ? " in its metadata" : "";
    }
    [[noreturn]] void refuse_value(const char* found) const {
        if (place_ == Place::outside) refuse("is ", found, ", expected an object");
        const char* expected = place_ == Place::metadata ? "a text"
                               : place_ == Place::header ? "an object"
                               : key_ == "dtype"         ? "a text"
                                                         : "a list of whole numbers from 0";
        refuse("has ", found, " for ", printable(key_), where(), ", expected ", expected);
    }

    const std::string& file_;
    Place place_ = Place::outside;
    std::string key_;
    std::vector<std::uint64_t>* list_ = nullptr;  // the list that is being read
    std::unordered_set<std::string> names_, keys_;
};

}  // namespace detail

FLASHBACK_DETAIL_ONCE SafetensorsFile SafetensorsFile::open(const std::filesystem::path& path, FileAccess access) {
    auto mapped = std::make_unique<MappedFile>(path, access);
    SafetensorsFile file = view(mapped->bytes(), path.string());
    file.mapped_ = std::move(mapped);
    return file;
}

FLASHBACK_DETAIL_ONCE SafetensorsFile SafetensorsFile::view(std::span<const std::byte> bytes, std::string name) {
    SafetensorsFile file;
    file.name_ = std::move(name);
    const auto refuse = [&](const auto&... parts) { FLASHBACK_THROW(ErrorCode::format, "'", file.name_, "': ", parts...); };

    ByteReader reader{bytes, file.name_};
    const auto length = reader.number<std::uint64_t>("the length of the header");
    if (length > detail::safetensors_most_header)
        refuse("the header has ", length, " bytes, expected at most ", detail::safetensors_most_header);
    const auto text = reader.take(length, "the header");
    const std::string_view json{reinterpret_cast<const char*>(text.data()), text.size()};
    if (!json.starts_with('{')) refuse("the header does not begin with {");
    if (json.find('\0') != json.npos) refuse("the header has a NUL byte");  // the parser would take it for the end
    detail::SafetensorsHeader header{file.name_};
    nlohmann::json::sax_parse(json, &header);
    file.metadata_ = std::move(header.metadata);

    for (const detail::SafetensorsEntry& entry : header.entries) {
        if (entry.offsets->size() != 2 || (*entry.offsets)[0] > (*entry.offsets)[1])
            refuse("tensor ", printable(entry.name), " has no data_offsets of a begin and an end behind it");
    }
    std::ranges::sort(header.entries, {}, [](const auto& e) { return std::tuple{(*e.offsets)[0], (*e.offsets)[1]}; });
    const std::span<const std::byte> data = bytes.subspan(reader.position());
    std::uint64_t end = 0;
    file.tensors_.reserve(header.entries.size());
    for (detail::SafetensorsEntry& entry : header.entries) {
        const std::string shown = printable(entry.name);
        const std::uint64_t first = (*entry.offsets)[0];
        const std::uint64_t size = (*entry.offsets)[1] - first;
        if (first != end) refuse("tensor ", shown, " begins at byte ", first, " of the data, expected ", end);
        if (size > data.size() - first) {
            refuse("tensor ", shown, " ends at byte ", (*entry.offsets)[1], " of the data, but there are only ", data.size());
        }
        const auto expected = detail::bytes_of(entry);
        if (expected != size) {
            refuse("tensor ", shown, " has ", size, " bytes, but its shape and its type ", entry.type->name, " say ",
                   expected ? std::to_string(*expected) : "more than 2^64");
        }
        end = (*entry.offsets)[1];
        file.tensors_.push_back({std::move(entry.name), entry.type->name, entry.type->type, std::move(*entry.shape),
                                 data.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(size))});
    }
    if (end != data.size()) refuse(data.size() - end, " bytes stand behind the last tensor, expected none");
    for (std::size_t i = 0; i < file.tensors_.size(); ++i) file.index_.emplace(file.tensors_[i].name, i);
    return file;
}

}  // namespace flashback::inline FLASHBACK_ISA
