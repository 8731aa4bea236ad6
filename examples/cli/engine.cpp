#include "engine.hpp"

#include "common.hpp"
#include "flashback/core/error.hpp"
#include "flashback/measure/model_cost.hpp"
#include "progress.hpp"

#include <memory>
#include <new>
#include <stdexcept>
#include <utility>

namespace cli {

namespace {

[[noreturn]] void refuse_window(const flashback::Transformer& model, const flashback::SessionOptions& options) {
    const flashback::TransformerConfig& c = model.config;
    const std::size_t window = options.window > 0 ? options.window : c.window;
    const double bytes = flashback::cost_of(model, options.cache.value_or(model.default_cache_element())).cache_bytes *
                         static_cast<double>(window);
    FLASHBACK_THROW(flashback::ErrorCode::window, "there is no memory for a window of ", window,
                    " positions, whose keys and values take ", formatted("%.3g", bytes / (1 << 30)), " GiB");
}

}  // namespace

flashback::Session session_of(std::shared_ptr<const flashback::Transformer> model, const flashback::SessionOptions& options,
                              std::shared_ptr<flashback::BlockStore> store) {
    try {
        return flashback::Session{model, options, std::move(store)};
    } catch (const std::bad_alloc&) {
        refuse_window(*model, options);
    } catch (const std::length_error&) {  // more than any machine has
        refuse_window(*model, options);
    }
}

namespace {

flashback::Session open_session(const flashback::ModelSource& source, const flashback::LoadOptions& loading,
                                std::optional<flashback::DType> cache, const AdapterOption& adapter,
                                std::shared_ptr<flashback::BlockStore> store) {
    auto model = load_weights(source, loading);
    auto packed = open_adapter(adapter, *model);
    return session_of(
        std::move(model),
        {.executor = loading.executor, .cache = cache, .adapter = std::move(packed), .adapter_scale = adapter.scale},
        std::move(store));
}

}  // namespace

Engine::Engine(const flashback::ModelSource& source, std::size_t threads, std::optional<flashback::DType> cache,
               const AdapterOption& adapter, std::shared_ptr<flashback::BlockStore> store, const WeightsOption& weights)
    : pool(start_threads(threads)),
      session(open_session(source, weights.options(source, pool), cache, adapter, std::move(store))) {}

}  // namespace cli
