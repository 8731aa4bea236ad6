#include "engine.hpp"

#include "common.hpp"
#include "flashback/model/load.hpp"

namespace cli {

Engine::Engine(const flashback::GgufFile& file, std::size_t threads)
    : pool(start_threads(threads)), session(flashback::load_model(file, pool), {.executor = pool}) {}

}  // namespace cli
