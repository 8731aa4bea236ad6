#include "fuzz/target.hpp"

#include "flashback/kv/contiguous_kv_cache.hpp"
#include "flashback/kv/kv_state.hpp"
#include "flashback/kv/paged_kv_cache.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

using namespace flashback;
using flashback_test::fuzz_check;

namespace {

constexpr KVShape shape{.layers = 1, .kv_heads = 2, .head_dim = 2, .positions = 200, .element = DType::f16};
constexpr std::size_t fingerprint_at = 24;
constexpr std::size_t count_at = 64;
constexpr std::size_t tokens_at = 72;

template <class Cache>
void restore(std::span<const std::byte> bytes, std::size_t positions) {
    std::uint64_t fingerprint = 77;
    if (bytes.size() >= tokens_at) std::memcpy(&fingerprint, bytes.data() + fingerprint_at, sizeof(fingerprint));
    Cache cache{shape};
    std::span<const std::byte> rest = bytes;
    const auto [tokens, whole] =
        read_kv_state(fingerprint, cache, positions, "fuzz", [&](std::span<std::byte> to, std::string_view what) {
            if (to.size() > rest.size()) detail::damaged_kv_state("fuzz", what);
            std::ranges::copy(rest.first(to.size()), to.begin());
            rest = rest.subspan(to.size());
        });
    fuzz_check(tokens.size() <= positions && cache.size() == tokens.size(),
               "as many positions as tokens, and as were asked for");
    if (!tokens.empty()) flashback_test::touch({cache.tile(0, 1, (tokens.size() - 1) / tile_positions).keys, 4});
    if (!whole) return;
    // All of it was read: what is written again are the same bytes, apart from positions behind the last token.
    std::vector<std::byte> again;
    write_kv_state({fingerprint, tokens}, cache,
                   [&](std::span<const std::byte> some) { again.insert(again.end(), some.begin(), some.end()); });
    fuzz_check(again.size() == bytes.size() - rest.size(), "as long as what was read");
    fuzz_check(std::ranges::equal(std::span{again}.first(tokens_at), bytes.first(tokens_at)), "the same header");
}

}  // namespace

// The tokens come twice, as bytes and as numbers; a cache has room for whole tiles.
FLASHBACK_FUZZ_TARGET(kv_state, .per_byte = 32, .constant = 524288) {
    std::vector<std::byte> repaired(bytes.begin(), bytes.end());
    if (bytes.size() >= tokens_at) {
        std::uint64_t count = 0;
        std::memcpy(&count, bytes.data() + count_at, sizeof(count));
        const std::size_t most = (bytes.size() - tokens_at) / sizeof(TokenId);
        const std::size_t front =
            tokens_at + std::min<std::uint64_t>(count, most) * 4 + (std::min<std::uint64_t>(count, most) + 63) / 64 * 8;
        if (front + 8 <= bytes.size()) {
            const std::uint64_t sum = detail::kv_state_sum(std::span{repaired}.first(front));
            std::memcpy(repaired.data() + front, &sum, sizeof(sum));
        }
    }
    flashback_test::of_anything([&] { restore<PagedKVCache>(repaired, 1000); });
    flashback_test::of_anything([&] { restore<PagedKVCache>(repaired, 70); });
    flashback_test::of_anything([&] { restore<ContiguousKVCache>(bytes, 1000); });
}
