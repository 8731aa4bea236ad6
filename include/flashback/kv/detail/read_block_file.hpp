/// \file Reading files of blocks.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/format/byte_reader.hpp"
#include "flashback/kv/block_file.hpp"
#include "flashback/kv/detail/block_file_parts.hpp"
#include "flashback/kv/detail/packed_rows.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <utility>

namespace flashback::inline FLASHBACK_ISA {

FLASHBACK_DETAIL_ONCE BlockFile::BlockFile(std::optional<MappedFile> file, std::span<const std::byte> bytes, std::string name)
    : file_(std::move(file)), bytes_(bytes), name_(std::move(name)) {
    ByteReader start{bytes, name_};
    if (bytes.size() < detail::block_file_start ||
        std::memcmp(start.take(8, "magic").data(), detail::block_file_magic.data(), 8) != 0)
        FLASHBACK_THROW(ErrorCode::format, "'", name_, "' is no file of blocks");
    if (const auto version = start.number<std::uint64_t>("version"); version != detail::block_file_version) {
        FLASHBACK_THROW(ErrorCode::unsupported, "the file of blocks '", name_, "' has version ", version, ", expected ",
                        detail::block_file_version);
    }
    if (start.left() < detail::block_file_end) damaged("it ends too early");
    ByteReader end{bytes.last(detail::block_file_end), name_};
    const auto length = end.number<std::uint64_t>("bytes of the directory");
    const std::size_t most = start.left() - detail::block_file_end;
    if (length < detail::block_file_fixed || length > most) damaged("its directory does not fit into it");
    const std::size_t begin = detail::block_file_start + most - static_cast<std::size_t>(length);
    const auto directory = bytes.subspan(begin, static_cast<std::size_t>(length));
    if (Fingerprint::of(bytes.first(detail::block_file_start), directory) != end.number<std::uint64_t>("checksum"))
        damaged("its directory does not give its checksum");
    read_header(directory);
    check_index(detail::block_file_start, begin);
}

FLASHBACK_DETAIL_ONCE void BlockFile::read_header(std::span<const std::byte> directory) {
    ByteReader reader{directory, name_};
    const auto number = [&] { return reader.number<std::uint64_t>("directory"); };
    header_.fingerprint = number();
    const std::uint64_t element = number();
    const std::uint64_t type = number();
    if (element > static_cast<std::uint64_t>(BlockElement::int8)) damaged("it has elements of no known kind");
    header_.element = static_cast<BlockElement>(element);
    for (const DType known : {DType::f32, DType::f16, DType::bf16, DType::i8}) {
        if (type == static_cast<std::uint64_t>(known)) header_.shape.element = known;
    }
    if (type != static_cast<std::uint64_t>(header_.shape.element)) damaged("it is of caches of no known type");
    for (std::size_t* factor : {&header_.shape.layers, &header_.shape.kv_heads, &header_.shape.head_dim}) {
        const std::uint64_t found = number();
        if (found == 0 || found > detail::block_file_most) damaged("it is of caches of an impossible shape");
        *factor = static_cast<std::size_t>(found);
    }
    header_.first_position = static_cast<std::size_t>(number());
    const std::uint64_t seen = number();
    if (seen > reader.left() / sizeof(TokenId)) damaged("its head does not fit into it");
    const auto tokens = reader.take(seen * sizeof(TokenId), "tokens of the head");
    header_.seen.resize(static_cast<std::size_t>(seen));
    if (seen > 0) std::memcpy(header_.seen.data(), tokens.data(), tokens.size());
    if (reader.left() % entry_bytes != 0) damaged("its directory is no whole number of entries");
    index_ = reader.take(reader.left(), "index");
}

FLASHBACK_DETAIL_ONCE void BlockFile::check_index(std::size_t begin, std::size_t end) const {
    const std::size_t each = sizeof(TokenId) + detail::packed_position_bytes(header_.element, header_.shape);
    std::uint64_t last = 0;
    for (std::size_t i = 0; i < size(); ++i) {
        const Entry e = entry(i);
        if (i > 0 && e.hash <= last) damaged("its blocks are not in order");
        last = e.hash;
        if (e.place < begin || e.place > end || e.tokens == 0 || e.tokens > (end - e.place) / each)
            damaged("one of its blocks does not fit into it");
    }
}

FLASHBACK_DETAIL_ONCE BlockFile::Entry BlockFile::entry(std::size_t i) const noexcept {
    Entry e;
    std::memcpy(&e, index_.data() + i * entry_bytes, entry_bytes);
    return e;
}

FLASHBACK_DETAIL_ONCE std::optional<std::span<const std::byte>> BlockFile::find(const BlockKey& key) const {
    if (key.fingerprint != header_.fingerprint || key.first_position != header_.first_position ||
        !std::ranges::equal(key.seen, header_.seen))
        return std::nullopt;
    const std::uint64_t hash = detail::hash_of(key);
    std::size_t first = 0;
    for (std::size_t last = size(); first < last;) {
        const std::size_t middle = first + (last - first) / 2;
        if (entry(middle).hash < hash) {
            first = middle + 1;
        } else {
            last = middle;
        }
    }
    if (first == size()) return std::nullopt;
    const Entry e = entry(first);
    if (e.hash != hash || e.tokens != key.tokens.size()) return std::nullopt;
    const std::size_t tokens = key.tokens.size_bytes();
    const std::size_t rows = key.tokens.size() * detail::packed_position_bytes(header_.element, header_.shape);
    const auto block = bytes_.subspan(static_cast<std::size_t>(e.place), tokens + rows);
    if (Fingerprint::of(block) != e.checksum) damaged("a block does not give its checksum");
    if (std::memcmp(block.data(), key.tokens.data(), tokens) != 0) return std::nullopt;
    return block.subspan(tokens);
}

FLASHBACK_DETAIL_ONCE void BlockFile::check_session(std::uint64_t fingerprint, const KVShape& shape) const {
    if (header_.fingerprint != fingerprint) {
        FLASHBACK_THROW(ErrorCode::contract, "the file of blocks '", name_,
                        "' was made with a model, an adapter or a type of cache that give the fingerprint ",
                        header_.fingerprint, ", but this session has ", fingerprint);
    }
    KVShape same = shape;
    same.positions = header_.shape.positions;
    if (header_.shape != same) {
        const auto described = [](const KVShape& s) {
            return std::to_string(s.layers) + " x " + std::to_string(s.kv_heads) + " x " + std::to_string(s.head_dim) + " " +
                   std::string{layout_of(s.element).name};
        };
        FLASHBACK_THROW(ErrorCode::contract, "the file of blocks '", name_, "' is of caches of ", described(header_.shape),
                        " (layers, heads of keys, their dimension), but this session has ", described(shape));
    }
}

FLASHBACK_DETAIL_ONCE void BlockFile::damaged(const std::string& why) const {
    FLASHBACK_THROW(ErrorCode::format, "the file of blocks '", name_, "' is damaged: ", why);
}

}  // namespace flashback::inline FLASHBACK_ISA
