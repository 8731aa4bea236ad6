#include "engine.hpp"

#include "common.hpp"

namespace cli {

Engine::Engine(const flashback::GgufFile& file, std::size_t threads, std::optional<flashback::DType> cache)
    : pool(start_threads(threads)), session(load_weights(file, pool), {.executor = pool, .cache = cache}) {}

}  // namespace cli
