/// \file Reading and writing files of repacked weights.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/fingerprint.hpp"
#include "flashback/files/weights_cache.hpp"
#include "flashback/format/atomic_file.hpp"
#include "flashback/format/byte_reader.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {
namespace detail {

inline constexpr std::string_view weights_magic = "FBWEIGHT";
inline constexpr std::uint64_t weights_version = 1;
inline constexpr std::size_t weights_start = 16;  // magic and version
inline constexpr std::size_t weights_end = 16;    // bytes of the directory, and the checksum
inline constexpr std::size_t weights_border = 64;
/// The most that a side of a matrix may be: its bytes fit into 64 bits.
inline constexpr std::uint64_t weights_most = std::uint64_t{1} << 26;

inline std::array<std::byte, weights_start> weights_start_bytes() noexcept {
    std::array<std::byte, weights_start> bytes{};
    std::memcpy(bytes.data(), weights_magic.data(), weights_magic.size());
    std::memcpy(bytes.data() + weights_magic.size(), &weights_version, sizeof(weights_version));
    return bytes;
}

/// Whether a file begins as files of repacked weights do, as far as it goes; others are not replaced by one.
inline bool is_weights_cache(const std::filesystem::path& path) {
    try {
        const MappedFile file{path};
        return weights_magic.starts_with(file.text().substr(0, weights_magic.size()));
    } catch (const Error&) {
        return false;
    }
}

/// Writes the panels of a matrix and gives their checksum. What lies between panels was never written: the file gets zeros.
inline std::uint64_t write_panels(AtomicFile& file, const simd::PackedMatrix& matrix) {
    FingerprintParts all;
    std::vector<std::byte> panel(matrix.panel_bytes());
    for (std::size_t p = 0; p < matrix.panels(); ++p) {
        const auto weights = matrix.panel_weights(p);
        std::ranges::copy(weights, panel.begin());
        all.add(panel);
        file.write(panel);
    }
    return Fingerprint::of(all);
}

}  // namespace detail

FLASHBACK_DETAIL_ONCE WeightsSource WeightsSource::of(const GgufFile& file) {
    const auto stamp = file.stamp();
    if (!stamp) {
        FLASHBACK_THROW(ErrorCode::unsupported, "'", file.name(),
                        "' is in memory, and repacked weights are cached for models in files");
    }
    Fingerprint sum;
    for (std::size_t i = 0; i < file.metadata().size(); ++i) {
        sum.add(file.metadata()[i].first);
        sum.add(file.raw_metadata()[i]);
    }
    for (const GgufTensor& tensor : file.tensors()) {
        sum.add(tensor.name);
        for (const std::uint64_t dim : tensor.dims) sum.add(dim);
        sum.add(std::uint64_t{tensor.rank});
        sum.add(static_cast<std::uint64_t>(tensor.type));
        sum.add(static_cast<std::uint64_t>(tensor.data.data() - file.tensors().front().data.data()));
    }
    return {*stamp, sum.value()};
}

FLASHBACK_DETAIL_ONCE WeightsCache::WeightsCache(std::shared_ptr<const MappedFile> file, std::span<const std::byte> bytes,
                                                 std::string name)
    : file_(std::move(file)), bytes_(bytes), name_(std::move(name)) {
    ByteReader start{bytes, name_};
    if (bytes.size() < detail::weights_start ||
        std::memcmp(start.take(8, "magic").data(), detail::weights_magic.data(), 8) != 0)
        FLASHBACK_THROW(ErrorCode::format, "'", name_, "' is no file of repacked weights");
    if (const auto version = start.number<std::uint64_t>("version"); version != detail::weights_version) {
        FLASHBACK_THROW(ErrorCode::unsupported, "the file of repacked weights '", name_, "' has version ", version,
                        ", expected ", detail::weights_version);
    }
    if (start.left() < detail::weights_end) damaged("it ends too early");
    ByteReader end{bytes.last(detail::weights_end), name_};
    const auto length = end.number<std::uint64_t>("bytes of the directory");
    const std::size_t most = start.left() - detail::weights_end;
    if (length > most) damaged("its directory does not fit into it");
    const std::size_t begin = detail::weights_start + most - static_cast<std::size_t>(length);
    const auto directory = bytes.subspan(begin, static_cast<std::size_t>(length));
    if (Fingerprint::of(bytes.first(detail::weights_start), directory) != end.number<std::uint64_t>("checksum"))
        damaged("its directory does not give its checksum");
    read_directory(directory);
    check_index(begin);
}

FLASHBACK_DETAIL_ONCE void WeightsCache::read_directory(std::span<const std::byte> directory) {
    constexpr std::size_t fixed = 5 * sizeof(std::uint64_t);
    if (directory.size() < fixed || (directory.size() - fixed) % entry_bytes != 0)
        damaged("its directory is no whole number of entries");
    ByteReader reader{directory, name_};
    const auto number = [&] { return reader.number<std::uint64_t>("directory"); };
    if (const std::uint64_t packing = number(); packing != simd::packing_version) {
        FLASHBACK_THROW(ErrorCode::unsupported, "the file of repacked weights '", name_, "' has packing ", packing,
                        ", expected ", simd::packing_version);
    }
    source_.stamp.size = number();
    source_.stamp.modified = static_cast<std::int64_t>(number());
    source_.directory = number();
    fingerprint_ = number();
    index_ = reader.take(reader.left(), "index");
}

FLASHBACK_DETAIL_ONCE void WeightsCache::check_index(std::size_t end) const {
    for (std::size_t i = 0; i < size(); ++i) {
        const Entry e = entry(i);
        const auto type = static_cast<DType>(e.type);
        if (static_cast<std::uint64_t>(type) != e.type || !simd::PackedMatrix::takes(type))
            damaged("one of its matrices has no known type");
        if (e.outputs == 0 || e.inputs == 0 || e.outputs > detail::weights_most || e.inputs > detail::weights_most ||
            e.inputs % layout_of(type).block_elements != 0)
            damaged("one of its matrices has an impossible shape");
        if (e.place < detail::weights_start || e.place > end || e.place % detail::weights_border != 0 ||
            simd::PackedMatrix::bytes_of(type, static_cast<std::size_t>(e.outputs), static_cast<std::size_t>(e.inputs)) >
                end - e.place)
            damaged("one of its matrices does not fit into it");
    }
}

FLASHBACK_DETAIL_ONCE WeightsCache::Entry WeightsCache::entry(std::size_t i) const noexcept {
    Entry e;
    std::memcpy(&e, index_.data() + i * entry_bytes, entry_bytes);
    return e;
}

FLASHBACK_DETAIL_ONCE WeightsCache::Shape WeightsCache::shape(std::size_t i) const noexcept {
    const Entry e = entry(i);
    return {static_cast<DType>(e.type), static_cast<std::size_t>(e.outputs), static_cast<std::size_t>(e.inputs)};
}

FLASHBACK_DETAIL_ONCE std::span<const std::byte> WeightsCache::panels(std::size_t i) const {
    const Shape s = shape(i);
    return bytes_.subspan(static_cast<std::size_t>(entry(i).place), simd::PackedMatrix::bytes_of(s.type, s.outputs, s.inputs));
}

FLASHBACK_DETAIL_ONCE simd::PackedMatrix WeightsCache::matrix(std::size_t i) const {
    const Shape s = shape(i);
    return simd::PackedMatrix::view(s.type, s.outputs, s.inputs, panels(i), file_);
}

FLASHBACK_DETAIL_ONCE void WeightsCache::verify(ExecutorRef executor) const {
    executor.run(size(), [&](std::size_t i) {
        if (Fingerprint::of(panels(i)) != entry(i).checksum) damaged("a matrix does not give its checksum");
    });
}

FLASHBACK_DETAIL_ONCE void WeightsCache::damaged(const std::string& why) const {
    FLASHBACK_THROW(ErrorCode::format, "the file of repacked weights '", name_, "' is damaged: ", why);
}

FLASHBACK_DETAIL_ONCE void WeightsCache::write(const std::filesystem::path& path, const WeightsSource& source,
                                               std::uint64_t fingerprint, std::span<const simd::PackedMatrix* const> matrices) {
    AtomicFile file{path};
    file.write(detail::weights_start_bytes());
    std::vector<std::uint64_t> directory{simd::packing_version, source.stamp.size,
                                         static_cast<std::uint64_t>(source.stamp.modified), source.directory, fingerprint};
    std::size_t place = detail::weights_start;
    for (const simd::PackedMatrix* matrix : matrices) {
        const std::array<std::byte, detail::weights_border> zeros{};
        const std::size_t gap = (detail::weights_border - place % detail::weights_border) % detail::weights_border;
        file.write(std::span{zeros}.first(gap));
        place += gap;
        const std::uint64_t checksum = detail::write_panels(file, *matrix);
        const std::array<std::uint64_t, 5> entry{static_cast<std::uint64_t>(matrix->type()), matrix->outputs(),
                                                 matrix->inputs(), place, checksum};
        directory.insert(directory.end(), entry.begin(), entry.end());
        place += matrix->panels() * matrix->panel_bytes();
    }
    const auto bytes = std::as_bytes(std::span{directory});
    const std::array<std::uint64_t, 2> end{bytes.size(), Fingerprint::of(detail::weights_start_bytes(), bytes)};
    file.write(bytes);
    file.write(std::as_bytes(std::span{end}));
    file.finish();
}

}  // namespace flashback::inline FLASHBACK_ISA
