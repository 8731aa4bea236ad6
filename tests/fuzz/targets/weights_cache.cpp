#include "fuzz/target.hpp"

#include "flashback/core/error.hpp"
#include "flashback/files/weights_cache.hpp"

using namespace flashback;
using flashback_test::fuzz_check;

FLASHBACK_FUZZ_TARGET(weights_cache, .per_byte = 4, .constant = 4096) {
    const WeightsCache cache = WeightsCache::view(bytes, "fuzz.weights");
    for (std::size_t i = 0; i < cache.size() && i < 64; ++i) {
        const simd::PackedMatrix matrix = cache.matrix(i);
        const WeightsCache::Shape said = cache.shape(i);
        fuzz_check(matrix.type() == said.type && matrix.outputs() == said.outputs && matrix.inputs() == said.inputs,
                   "a matrix is what its entry says");
        fuzz_check(matrix.bytes() <= bytes.size(), "a matrix lies in the file");
        flashback_test::touch({matrix.panel(0), matrix.bytes()});
    }
    cache.verify();
}
