/// \file A model that is ready to evaluate.
#pragma once

#include "adapter_option.hpp"
#include "flashback/core/thread_pool.hpp"
#include "flashback/files/model_source.hpp"
#include "flashback/model/session.hpp"
#include "flashback/tensor/dtype.hpp"
#include "weights_option.hpp"

#include <cstddef>
#include <memory>
#include <optional>
#include <string>

namespace cli {

/// A session of a model, whose window may be larger than the memory of this machine.
/// Throws    Error{window} if there is no memory for it
flashback::Session session_of(std::shared_ptr<const flashback::Transformer> model, const flashback::SessionOptions& options,
                              std::shared_ptr<flashback::BlockStore> store = {});

/// A session, and the threads that it evaluates with.
struct Engine {
    Engine(const flashback::ModelSource& source, std::size_t threads, std::optional<flashback::DType> cache,
           const AdapterOption& adapter = {}, std::shared_ptr<flashback::BlockStore> store = {},
           const WeightsOption& weights = {});

    /// What keys and values are rounded to, as JSON names it.
    std::string cache() const { return std::string{flashback::layout_of(session.cache_element()).name}; }

    flashback::ThreadPool pool;
    flashback::Session session;
};

}  // namespace cli
