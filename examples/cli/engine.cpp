#include "engine.hpp"

#include "common.hpp"

namespace cli {

Engine::Engine(const flashback::GgufFile& file, std::size_t threads)
    : pool(start_threads(threads)), session(load_weights(file, pool), {.executor = pool}) {}

}  // namespace cli
