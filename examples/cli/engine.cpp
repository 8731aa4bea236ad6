#include "engine.hpp"

#include "common.hpp"

#include <memory>
#include <utility>

namespace cli {
namespace {

flashback::Session open_session(const flashback::ModelSource& source, flashback::ExecutorRef executor,
                                std::optional<flashback::DType> cache, const AdapterOption& adapter) {
    auto model = load_weights(source, executor);
    auto packed = open_adapter(adapter, *model);
    return flashback::Session{
        std::move(model), {.executor = executor, .cache = cache, .adapter = std::move(packed), .adapter_scale = adapter.scale}};
}

}  // namespace

Engine::Engine(const flashback::ModelSource& source, std::size_t threads, std::optional<flashback::DType> cache,
               const AdapterOption& adapter)
    : pool(start_threads(threads)), session(open_session(source, pool, cache, adapter)) {}

}  // namespace cli
