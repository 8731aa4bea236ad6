#include "engine.hpp"

#include "flashback/model/load.hpp"

namespace cli {

Engine::Engine(const flashback::GgufFile& file, std::size_t threads)
    : pool(threads), session(flashback::load_model(file, pool), {.executor = pool}) {}

}  // namespace cli
