#include <counting.hpp>

#include <array>

int main() {
    const std::array<flashback::TokenId, 4> context{1, 2, 3, 4};
    return evaluated(flashback::TokenSpan{context}.first(3), context) == 1 ? 0 : 1;
}
