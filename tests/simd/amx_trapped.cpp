// Compiled for a processor with tiles. On another one the trap decodes what the compiler made of the kernel, and does what Intel's manual
// says, with the arithmetic of the oracle; so order of operands, addresses, sizes of tiles and the end of their use are seen everywhere.
#include "simd/amx_trapped.hpp"

#include "flashback/core/random.hpp"
#include "flashback/kv/contiguous_kv_cache.hpp"
#include "flashback/simd/attention.hpp"
#include "flashback/simd/bursts.hpp"
#include "flashback/simd/matmul.hpp"
#include "flashback/testing/plain/matmul.hpp"
#include "support/random_packed.hpp"

#include <array>
#include <bit>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>
#include <vector>

#include <ucontext.h>

namespace flashback_test {

using namespace flashback;

namespace {

struct Tile {
    std::size_t rows = 0, row_bytes = 0;
    std::byte bytes[16][64] = {};
};
Tile tile[8];
bool configured = false;
std::size_t trapped = 0;
std::size_t products = 0;
const char* fault = nullptr;  // what the processor would not do

void complain(const char* sentence) {
    if (fault == nullptr) fault = sentence;
}

/// An instruction of three prefix bytes (VEX), as the manual writes it: VEX.128.pp.0F38.W0 opcode ModRM.
struct Instruction {
    Instruction(const std::uint8_t* code, const greg_t* registers) : length(5) {
        known = code[0] == 0xc4 && (code[1] & 0x1f) == 2 && (code[2] & 0x84) == 0;
        prefix = code[2] & 3;
        third = ~code[2] >> 3 & 15;
        opcode = code[3];
        const unsigned mod = code[4] >> 6;
        reg = code[4] >> 3 & 7;
        rm = code[4] & 7;
        memory = mod != 3;
        if (!memory) return;
        constexpr std::array<int, 16> number{REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                             REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
        const auto value = [&](unsigned n, unsigned high) { return registers[number[n | (high != 0 ? 0 : 8)]]; };
        greg_t base = 0;
        bool far = mod == 2;
        if (rm == 4) {
            const unsigned sib = code[length++];
            has_index = (sib >> 3 & 7) != 4 || (code[1] & 0x40) == 0;
            if (has_index) index = value(sib >> 3 & 7, code[1] & 0x40) << (sib >> 6);
            const bool none = (sib & 7) == 5 && mod == 0;
            far |= none;
            if (!none) base = value(sib & 7, code[1] & 0x20);
        } else if (rm == 5 && mod == 0) {
            complain("an address beside the code, which the trap does not know");
        } else {
            base = value(rm, code[1] & 0x20);
        }
        if (mod == 1) base += static_cast<std::int8_t>(code[length++]);
        if (far) {
            std::int32_t offset;
            std::memcpy(&offset, code + length, sizeof offset);
            base += offset;
            length += sizeof offset;
        }
        address = base;
    }

    bool known, memory = false, has_index = false;
    unsigned prefix, third, opcode, reg, rm;
    greg_t address = 0, index = 0;
    std::size_t length;
};

void configure(const std::byte* from) {
    std::uint8_t bytes[64];
    std::memcpy(bytes, from, sizeof bytes);
    if (bytes[0] != 1) complain("a palette other than 1");
    for (std::size_t i = 1; i < 16; ++i) {
        if (bytes[i] != 0) complain("a configuration whose reserved bytes are not zero");
    }
    for (std::size_t t = 0; t < 16; ++t) {
        std::uint16_t row_bytes;
        std::memcpy(&row_bytes, bytes + 16 + 2 * t, sizeof row_bytes);
        const std::size_t rows = bytes[48 + t];
        if (rows > 16 || row_bytes > 64 || (rows == 0) != (row_bytes == 0) || (t >= 8 && rows != 0))
            complain("a tile of a size that there is not");
        if (t < 8) tile[t] = Tile{.rows = rows, .row_bytes = row_bytes};
    }
    configured = true;
}

float element(const Tile& t, std::size_t row, std::size_t i) {
    std::uint16_t bits;
    std::memcpy(&bits, t.bytes[row] + 2 * i, sizeof bits);
    return testing::plain::flushed(bf16_to_float(bits));
}

void check_sizes(const Tile& c, const Tile& a, const Tile& b) {
    ++products;
    if (a.rows != c.rows || b.rows * 4 != a.row_bytes || b.row_bytes != c.row_bytes)
        complain("a product of tiles that do not fit");
}

/// Both are signed.
void add_products_of_bytes(Tile& c, const Tile& a, const Tile& b) {
    check_sizes(c, a, b);
    for (std::size_t r = 0; r < c.rows; ++r) {
        for (std::size_t o = 0; o < c.row_bytes / 4; ++o) {
            std::int32_t sum;
            std::memcpy(&sum, c.bytes[r] + 4 * o, sizeof sum);
            for (std::size_t k = 0; k < a.row_bytes; ++k)
                sum += static_cast<std::int8_t>(a.bytes[r][k]) * static_cast<std::int8_t>(b.bytes[k / 4][4 * o + k % 4]);
            std::memcpy(c.bytes[r] + 4 * o, &sum, sizeof sum);
        }
    }
}

void add_products(Tile& c, const Tile& a, const Tile& b) {
    check_sizes(c, a, b);
    for (std::size_t r = 0; r < c.rows; ++r) {
        for (std::size_t o = 0; o < c.row_bytes / 4; ++o) {
            float chain[2] = {};
            for (std::size_t k = 0; k < a.row_bytes / 4; ++k) {
                for (std::size_t i = 0; i < 2; ++i)
                    chain[i] = testing::plain::flushed_fma(element(a, r, 2 * k + i), element(b, k, 2 * o + i), chain[i]);
            }
            float sum;
            std::memcpy(&sum, c.bytes[r] + 4 * o, sizeof sum);
            sum = testing::plain::flushed(sum + testing::plain::flushed(chain[0] + chain[1]));
            std::memcpy(c.bytes[r] + 4 * o, &sum, sizeof sum);
        }
    }
}

void trap(int, siginfo_t*, void* context) {
    greg_t* const registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
    const Instruction one{reinterpret_cast<const std::uint8_t*>(registers[REG_RIP]), registers};
    constexpr unsigned none = 0, f3 = 2, f2 = 3;
    std::byte* const memory = reinterpret_cast<std::byte*>(one.address);
    Tile& first = tile[one.reg];
    if (!one.known) {
        std::signal(SIGILL, SIG_DFL);  // not ours: it happens again
        return;
    }
    ++trapped;
    if (one.opcode == 0x49 && one.prefix == none && one.memory && one.reg == 0) {
        configure(memory);
    } else if (one.opcode == 0x49 && one.prefix == none && !one.memory) {
        configured = false;
    } else if (!configured) {
        complain("an instruction before a configuration");
    } else if (one.opcode == 0x49 && one.prefix == f2 && !one.memory) {
        std::memset(first.bytes, 0, sizeof first.bytes);
    } else if (one.opcode == 0x4b && one.prefix == f2 && one.has_index) {
        for (std::size_t r = 0; r < first.rows; ++r)
            std::memcpy(first.bytes[r], memory + static_cast<greg_t>(r) * one.index, first.row_bytes);
    } else if (one.opcode == 0x4b && one.prefix == f3 && one.has_index) {
        for (std::size_t r = 0; r < first.rows; ++r)
            std::memcpy(memory + static_cast<greg_t>(r) * one.index, first.bytes[r], first.row_bytes);
    } else if (one.opcode == 0x5c && one.prefix == f3 && !one.memory) {
        add_products(first, tile[one.rm], tile[one.third]);
    } else if (one.opcode == 0x5e && one.prefix == f2 && !one.memory) {
        add_products_of_bytes(first, tile[one.rm], tile[one.third]);
    } else {
        complain("an instruction that the trap does not know");
    }
    registers[REG_RIP] += static_cast<greg_t>(one.length);
}

/// Calls `call` with the trap set. Gives a sentence if an instruction was not as it should be.
template <class Call>
std::string trapped_fault(const Call& call) {
    trapped = 0;
    products = 0;
    fault = nullptr;
    struct sigaction action = {};
    struct sigaction before = {};
    action.sa_sigaction = trap;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGILL, &action, &before);
    call();
    sigaction(SIGILL, &before, nullptr);

    const bool real = simd::tiles().use == simd::TileUse::tiles;
    if (fault != nullptr) return "the kernel has " + std::string{fault};
    if ((trapped == 0) != real) return "expected each instruction to trap, found " + std::to_string(trapped);
    if (configured) return "the kernel keeps its tiles";
    return {};
}

}  // namespace

std::string tiles_differ_from_twin(std::uint32_t type_number, std::size_t rows, std::size_t outputs, std::size_t inputs) {
    const auto type = static_cast<DType>(type_number);
    SplitMix64 random{rows + 100 * outputs + 10000 * inputs};
    const simd::PackedMatrix w =
        type == DType::bf16
            ? simd::PackedMatrix::of(type, outputs, inputs,
                                     [&](std::size_t, std::size_t) { return static_cast<float>(2 * random.uniform() - 1); })
            : random_packed(type, outputs, inputs, random);
    std::vector<float> x(rows * inputs);
    for (float& one : x) one = static_cast<float>(2 * random.uniform() - 1);
    simd::ActivationBuffer converted{rows, inputs};
    for (std::size_t r = 0; r < rows; ++r) converted.convert(simd::operand_of(type), r, x.data() + r * inputs, 0, inputs);
    const simd::Activations a = converted.view(x.data(), inputs);
    const simd::detail::MatmulPanels panels{w.panel(0), w.panel_bytes(), inputs, 0, w.panels()};
    const std::size_t stride = simd::row_stride(outputs);
    const std::vector<float> none(rows * stride, 7.0f);
    std::vector<float> twin = none;
    std::vector<float> vectors = none;
    std::vector<float> y = none;
    std::string sentence = "no type that is multiplied in tiles";
    simd::detail::with_format(type, [&](auto format) {
        using Format = decltype(format);
        if constexpr (Format::operand == simd::Operand::bf16) {
            simd::detail::matmul_with<simd::detail::AmxTwin>(panels, a, rows, twin.data(), stride);
            vectors = twin;
            sentence =
                trapped_fault([&] { simd::detail::matmul_with<simd::detail::AmxTiles>(panels, a, rows, y.data(), stride); });
        } else if constexpr (Format::operand == simd::Operand::int8) {
            simd::detail::BytesMatmul<Format, simd::detail::AmxTwin>{panels, a, rows, twin.data(), stride}.run();
            simd::detail::matmul_in_vectors<Format>(panels, a, rows, vectors.data(), stride);
            sentence = trapped_fault([&] {
                simd::detail::BytesMatmul<Format, simd::detail::AmxTiles>{panels, a, rows, y.data(), stride}.run();
            });
        }
    });
    if (!sentence.empty()) return sentence;
    if (std::memcmp(y.data(), twin.data(), y.size() * sizeof(float)) != 0) return "an output differs from that of the twin";
    if (std::memcmp(y.data(), vectors.data(), y.size() * sizeof(float)) != 0) return "an output differs from that of vectors";
    // Without the trap: a product that took tiles without permission would end the program.
    simd::matmul(w, {0, w.panels()}, a, rows, {y.data(), stride});
    if (std::memcmp(y.data(), twin.data(), y.size() * sizeof(float)) != 0)
        return "a product without the trap differs from the twin";
    return {};
}

std::string tile_burst_is_wrong(bool bytes) {
    constexpr std::size_t rounds = 3;
    const std::string sentence = trapped_fault([&] {
        bytes ? simd::detail::tile_burst<simd::detail::AmxTiles, true>(rounds)
              : simd::detail::tile_burst<simd::detail::AmxTiles, false>(rounds);
    });
    if (!sentence.empty() || trapped == 0) return sentence;
    if (products != rounds * simd::detail::tile_burst_chains) return "found " + std::to_string(products) + " products";
    for (std::size_t t = 0; t < simd::detail::tile_burst_chains; ++t) {
        const std::uint32_t right = bytes ? rounds * 64 : std::bit_cast<std::uint32_t>(float{rounds * 32});
        for (std::size_t i = 0; i < 256; ++i) {
            std::uint32_t sum;
            std::memcpy(&sum, tile[t].bytes[i / 16] + i % 16 * sizeof sum, sizeof sum);
            if (sum != right) return "a sum of the burst is not that of full tiles of ones";
        }
    }
    return {};
}

std::string attention_differs_from_twin(std::size_t queries, std::size_t d, std::size_t start) {
    SplitMix64 random{queries + 100 * d + 100000 * start};
    const auto value = [&] { return static_cast<float>(2 * random.uniform() - 1); };
    const std::size_t positions = start + (queries + 3) / 4;
    ContiguousKVCache cache{{.layers = 1, .kv_heads = 1, .head_dim = d, .positions = positions, .element = DType::bf16}};
    std::vector<float> key(d);
    std::vector<float> held(d);
    for (std::size_t p = 0; p < positions; ++p) {
        for (float& one : key) one = value();
        for (float& one : held) one = value();
        cache.write(0, 0, p, key.data(), held.data());
    }
    std::vector<float> q(queries * d);
    for (float& one : q) one = value();
    const auto with = [&](auto name, std::vector<float>& out) {
        std::vector<simd::AttentionQuery> all;
        for (std::size_t a = 0; a < queries; ++a) all.push_back({q.data() + a * d, out.data() + a * d, start + a / 4});
        simd::detail::QueryStates states{all, d};
        simd::detail::AttentionSums sums[simd::attention_queries];
        for (std::size_t a = 0; a < queries; ++a) sums[a].out = all[a].out;
        typename decltype(name)::type way{states.data(), queries, d};
        simd::detail::attend_each_part(
            way, states.data(), all, {}, [&](std::size_t t) { return cache.tile(0, 0, t); }, d, simd::SeesNoOther{},
            [&](std::size_t /*part*/) {
                for (std::size_t a = 0; a < queries; ++a) {
                    const simd::detail::QueryState& state = states.data()[a];
                    const simd::detail::PartSums its{state.out, state.most, state.total};
                    simd::detail::add_parts(sums + a, &its, 1, d);
                }
            });
        for (std::size_t a = 0; a < queries; ++a) sums[a].divide(d);
    };
    std::vector<float> twin(queries * d, 7.0f);
    std::vector<float> out = twin;
    with(std::type_identity<simd::detail::AttendInTiles<simd::detail::AmxTwin>>{}, twin);
    const std::string wrong =
        trapped_fault([&] { with(std::type_identity<simd::detail::AttendInTiles<simd::detail::AmxTiles>>{}, out); });
    if (!wrong.empty()) return wrong;
    return std::memcmp(out.data(), twin.data(), out.size() * sizeof(float)) == 0 ? ""
                                                                                 : "an output differs from that of the twin";
}

}  // namespace flashback_test
