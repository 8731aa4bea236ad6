// Stored vectors: what comes back, what is refused, and files that are damaged or cannot be written.
#include "flashback/dense/vector_store.hpp"

#include "flashback/dense/exact_index.hpp"
#include "support/errors.hpp"
#include "support/gguf_bytes.hpp"
#include "support/random_vectors.hpp"
#include "support/temporary_folder.hpp"
#include "support/vector_file_bytes.hpp"

#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

namespace test_dense_vector_store {

using namespace flashback;
using namespace flashback_test;

namespace {

constexpr std::array every_element{DType::f32, DType::f16, DType::i8};
constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();

std::string bytes_in(const std::filesystem::path& path) {
    std::ifstream file{path, std::ios::binary};
    return {std::istreambuf_iterator<char>{file}, {}};
}

/// Bytes at a border of 64.
AlignedBuffer<std::byte> aligned(std::string_view bytes) {
    AlignedBuffer<std::byte> copy{bytes.size()};
    if (!bytes.empty()) std::memcpy(copy.data(), bytes.data(), bytes.size());
    return copy;
}

/// Opens bytes as a file, and verifies it.
void read_whole(std::string_view bytes) {
    const auto copy = aligned(bytes);
    VectorStore::view(copy, "some.vec").verify();
}

std::vector<float> all_of(const VectorStore& store) {
    std::vector<float> all(store.size() * store.dimension());
    for (std::size_t i = 0; i < store.size(); ++i)
        store.read(i, std::span{all}.subspan(i * store.dimension(), store.dimension()));
    return all;
}

}  // namespace

TEST_CASE("dense: what is stored comes back, as near as the element can") {
    for (const std::size_t dimension : {1u, 3u, 16u, 33u, 64u, 100u}) {
        const auto vectors = random_vectors(21, dimension, dimension);
        for (const DType element : every_element) {
            VectorStore store{dimension, {.element = element}};
            store.add(std::span{vectors}.first(5 * dimension));
            store.add({});
            store.add(std::span{vectors}.subspan(5 * dimension));
            CHECK(store.size() == 21);
            CHECK(store.dimension() == dimension);
            CHECK(store.row_bytes() % 64 == 0);
            const auto found = all_of(store);
            for (std::size_t i = 0; i < store.size(); ++i) {
                float most = 0;
                for (std::size_t k = 0; k < dimension; ++k) most = std::max(most, std::fabs(vectors[i * dimension + k]));
                for (std::size_t k = 0; k < dimension; ++k) {
                    const float x = vectors[i * dimension + k];
                    const float off = std::fabs(found[i * dimension + k] - x);
                    if (element == DType::f32) CHECK(off == 0);
                    if (element == DType::f16) CHECK(off <= std::fabs(x) * 0x1p-11f + 0x1p-25f);
                    if (element == DType::i8) CHECK(off <= most / 127 * 0.501f);
                }
            }
            store.verify();
        }
    }
}

TEST_CASE("dense: normalised vectors have length 1, those of zeros stay, and extremes do neither overflow nor vanish") {
    const std::vector<float> vectors{3, 4, 0, 0, 3e38f, 3e38f, 1e-40f, 0, -1e-45f, 1e-45f};
    VectorStore store{2, {.normalise = true}};
    store.add(vectors);
    const float root = static_cast<float>(std::sqrt(0.5));
    CHECK(all_of(store) == std::vector<float>{0.6f, 0.8f, 0, 0, root, root, 1, 0, -root, root});
    CHECK(store.normalised());
}

TEST_CASE("dense: what is no vector is refused by its number, and nothing changes") {
    check_error(ErrorCode::contract, "vectors of dimension 0, expected 1 to 65536", [] { VectorStore{0}; });
    check_error(ErrorCode::contract, "dimension 65537", [] { VectorStore{65537}; });
    check_error(ErrorCode::contract, "vectors of BF16, expected F32, F16 or I8", [] {
        VectorStore{4, {.element = DType::bf16}};
    });
    check_error(ErrorCode::contract, "vectors of unknown", [] { VectorStore{4, {.element = static_cast<DType>(77)}}; });
    for (const DType element : every_element) {
        for (const bool normalise : {false, true}) {
            VectorStore store{2, {.element = element, .normalise = normalise}};
            store.add(std::vector<float>{1, 2});
            const std::uint64_t before = store.checksum();
            check_error(ErrorCode::contract, "vectors of dimension 2 cannot be 3 floats", [&] {
                store.add(std::vector<float>{1, 2, 3});
            });
            check_error(ErrorCode::contract, "element 1 of vector 2 is not finite: found inf", [&] {
                store.add(std::vector<float>{1, 2, 3, infinity});
            });
            check_error(ErrorCode::contract, "element 0 of vector 1 is not finite", [&] {
                store.add(std::vector<float>{not_a_number, 2});
            });
            CHECK(store.size() == 1);
            CHECK(store.checksum() == before);
        }
    }
    VectorStore half{2, {.element = DType::f16}};
    half.add(std::vector<float>{65504, -65519});
    check_error(ErrorCode::contract, "element 1 of vector 1 is 65520", [&] { half.add(std::vector<float>{1, 65520}); });
    VectorStore bytes{1, {.element = DType::i8}};
    bytes.add(std::vector<float>{1e38f});
    check_error(ErrorCode::contract, "which is too large for I8",
                [&] { bytes.add(std::vector<float>{std::numeric_limits<float>::max()}); });
}

TEST_CASE("dense: a file has the bytes of the page, and gives the same vectors and answers, mapped or copied") {
    const TemporaryFolder folder;
    const auto path = folder.path() / "some.vec";
    {
        VectorStore store{2};
        store.add(std::vector<float>{1, -2});
        store.save(path);
        CHECK(bytes_in(path) == VectorFileBytes{}.bytes());
        VectorStore bytes{2, {.element = DType::i8, .normalise = true}};
        bytes.add(std::vector<float>{0, -2});
        bytes.save(path);
        VectorFileBytes expected{.element = 24, .normalised = 1};
        // The step is 1 / 127, rounded up to 16 bits; in it, -1 is nearly -127.
        expected.behind = std::string{'\0', '\x81'} + std::string(62, '\0') + bytes_of<std::uint32_t>(0x3c010300);
        CHECK(bytes_in(path) == expected.bytes());
    }
    for (const std::size_t count : {0u, 1u, 70u}) {
        const auto vectors = random_vectors(count, 19, 3);
        const auto query = random_vectors(1, 19, 4);
        for (const DType element : every_element) {
            VectorStore store{19, {.element = element, .normalise = element == DType::f16}};
            store.add(vectors);
            store.save(path);
            const auto expected = all_of(store);
            const std::uint64_t checksum = store.checksum();
            const auto answer = ExactIndex{std::move(store)}.search(query, 5);
            for (const FileAccess access : {FileAccess::map, FileAccess::copy}) {
                VectorStore opened = VectorStore::open(path, access);
                opened.verify();
                CHECK(opened.size() == count);
                CHECK(opened.dimension() == 19);
                CHECK(opened.element() == element);
                CHECK(opened.normalised() == (element == DType::f16));
                CHECK(opened.checksum() == checksum);
                CHECK(all_of(opened) == expected);
                check_error(ErrorCode::contract, "cannot be added to", [&] { opened.add(query); });
                CHECK(ExactIndex{std::move(opened)}.search(query, 5) == answer);
            }
        }
    }
}

TEST_CASE("dense: hostile: every byte of a file that changes is noticed, at the latest by verify, and so is every cut") {
    const TemporaryFolder folder;
    const auto path = folder.path() / "some.vec";
    for (const DType element : every_element) {
        VectorStore store{3, {.element = element}};
        store.add(random_vectors(3, 3, 1));
        store.save(path);
        const std::string bytes = bytes_in(path);
        REQUIRE_NOTHROW(read_whole(bytes));
        for (std::size_t i = 0; i < bytes.size(); ++i) {
            CAPTURE(i);
            for (const int change : {1, 128, 255}) {
                std::string broken = bytes;
                broken[i] = static_cast<char>(broken[i] ^ change);
                const auto copy = aligned(broken);
                CHECK_THROWS_AS(VectorStore::view(copy, "some.vec").verify(), Error);
                if (i >= 64) CHECK_NOTHROW(static_cast<void>(VectorStore::view(copy, "some.vec")));
            }
            const auto cut = aligned(bytes.substr(0, i));
            CHECK_THROWS_AS(static_cast<void>(VectorStore::view(cut, "some.vec")), Error);
        }
        const auto longer = aligned(bytes + '\0');
        CHECK_THROWS_AS(static_cast<void>(VectorStore::view(longer, "some.vec")), Error);
    }
}

TEST_CASE("dense: hostile 48: no number in a file of vectors is believed, even if the checksum is right") {
    constexpr std::uint64_t most = std::numeric_limits<std::uint64_t>::max();
    const auto refused = [](ErrorCode code, std::string_view part, const VectorFileBytes& file) {
        check_error(code, part, [&] { read_whole(file.bytes()); });
    };
    REQUIRE_NOTHROW(read_whole(VectorFileBytes{}.bytes()));
    check_error(ErrorCode::format, "'some.vec' is no file of vectors", [] { read_whole(""); });
    check_error(ErrorCode::format, "is no file of vectors", [] { read_whole("FBVECTOR"); });
    refused(ErrorCode::format, "is no file of vectors", {.magic = "FBVECTOS"});
    for (const std::uint64_t version : {std::uint64_t{0}, std::uint64_t{2}, std::uint64_t{1} << 56})
        refused(ErrorCode::unsupported, "expected 1 (little-endian)", {.version = version});
    for (const std::uint64_t element : {std::uint64_t{2}, std::uint64_t{30}, std::uint64_t{1} << 32, most})
        refused(ErrorCode::format, "elements of no known type", {.element = element});
    for (const std::uint64_t dimension : {std::uint64_t{0}, std::uint64_t{65537}, std::uint64_t{1} << 62, most})
        refused(ErrorCode::format, "an impossible dimension", {.dimension = dimension});
    for (const std::uint64_t vectors :
         {std::uint64_t{0}, std::uint64_t{2}, (std::uint64_t{1} << 58) + 1, std::uint64_t{1} << 63, most})
        refused(ErrorCode::format, "64 bytes are no ", {.vectors = vectors});
    refused(ErrorCode::format, "64 bytes are no 1 vectors of 128", {.dimension = 17});
    refused(ErrorCode::format, "64 bytes are no 1 vectors of 68", {.element = 24});
    refused(ErrorCode::format, "neither normalised nor not", {.normalised = 2});
    for (const float bad : {infinity, not_a_number}) {
        VectorFileBytes file;
        file.behind.replace(4, 4, bytes_of(bad));
        refused(ErrorCode::format, "element 1 of vector 0 is not finite", file);
    }
    const auto copy = aligned(VectorFileBytes{}.bytes());
    check_error(ErrorCode::contract, "do not begin at a multiple of 4", [&] {
        static_cast<void>(VectorStore::view({copy.data() + 1, 64}, "some.vec"));
    });
    check_error(ErrorCode::io, "cannot open", [] { static_cast<void>(VectorStore::open("/nowhere/some.vec")); });
}

TEST_CASE("dense: what a damaged file holds is searched without harm, and NaN is the worst score") {
    VectorFileBytes file{.vectors = 3};
    file.behind += bytes_of(not_a_number) + bytes_of(1.0f) + std::string(56, '\0');
    file.behind += bytes_of(1.0f) + bytes_of(5.0f) + std::string(56, '\xff');  // NaN where there should be zeros
    const auto copy = aligned(file.bytes());
    const ExactIndex index{VectorStore::view(copy, "some.vec")};
    for (const std::size_t k : {1u, 2u, 3u}) {
        const auto hits = index.search(std::vector<float>{1, 1}, k);
        REQUIRE(hits.size() == k);
        CHECK(hits[0] == DenseHit{0, -1.0f});
        if (k > 1) CHECK(hits[1] == DenseHit{1, -infinity});
    }
}

TEST_CASE("dense: a file that cannot be written leaves the old one") {
    const TemporaryFolder folder;
    VectorStore store{2};
    store.add(std::vector<float>{1, -2});
    const auto path = folder.path() / "some.vec";
    store.save(path);
    const std::string before = bytes_in(path);
    std::filesystem::create_directory(folder.path() / "taken");
    check_error(ErrorCode::io, "it exists and is a folder", [&] { store.save(folder.path() / "taken"); });
    check_error(ErrorCode::io, "cannot write", [&] { store.save(folder.path() / "nowhere" / "some.vec"); });
    store.add(std::vector<float>{3, 4});
    store.save(path);
    CHECK(VectorStore::open(path).size() == 2);
    CHECK(bytes_in(path) != before);
    CHECK(std::distance(std::filesystem::directory_iterator{folder.path()}, {}) == 2);
}

}  // namespace test_dense_vector_store
