// Refused: flashback: an Embedder must have dimension() const, which returns std::size_t, and embed(std::span<const std::string_view> texts, std::span<float> out)
#include "flashback/core/embedder.hpp"

#include <cstddef>
#include <span>
#include <string_view>

using namespace flashback;

struct Wrong {
    std::size_t dimension() const;
    void embed(std::string_view text, std::span<float> out);
};

struct Right {
    std::size_t dimension() const;
    void embed(std::span<const std::string_view> texts, std::span<float> out);
};

int main() {
#ifdef WRONG
    static_assert(checked_embedder<Wrong>());
#else
    static_assert(checked_embedder<Right>());
#endif
}
