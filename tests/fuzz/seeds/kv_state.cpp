#include "fuzz/seeds.hpp"

#include "flashback/kv/contiguous_kv_cache.hpp"
#include "flashback/kv/kv_state.hpp"

#include <string>
#include <vector>

using namespace flashback;

namespace {

std::string written_state(std::size_t positions, DType element) {
    ContiguousKVCache cache{{.layers = 1, .kv_heads = 2, .head_dim = 2, .positions = 200, .element = element}};
    TokenBuffer tokens;
    for (std::size_t p = 0; p < positions; ++p) {
        const float row[]{static_cast<float>(p), -0.5f};
        for (std::size_t head = 0; head < 2; ++head) cache.write(0, head, p, row, row);
        tokens.push_back(static_cast<TokenId>(p % 50));
    }
    cache.commit(positions);
    std::string bytes;
    write_kv_state({77, tokens}, cache, [&](std::span<const std::byte> some) {
        bytes.append(reinterpret_cast<const char*>(some.data()), some.size());
    });
    return bytes;
}

}  // namespace

FLASHBACK_FUZZ_SEEDS(kv_state) {
    for (const std::size_t positions : {0u, 1u, 17u, 64u, 65u, 130u})
        seeds.push_back({"of_" + std::to_string(positions), written_state(positions, DType::f16)});
    seeds.push_back({"f32", written_state(5, DType::f32)});
    const std::string whole = written_state(65, DType::f16);
    seeds.push_back({"cut", whole.substr(0, whole.size() - 1)});
    seeds.push_back({"header", whole.substr(0, 72)});
    std::string many = whole;
    many[67] = '\x7f';
    seeds.push_back({"many_tokens", many});
    seeds.push_back({"text", "This is a text, and no state of a session, but as long as the header of one is, at least."});
}
