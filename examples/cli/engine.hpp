/// \file A model that is ready to evaluate.
#pragma once

#include "flashback/core/thread_pool.hpp"
#include "flashback/format/gguf.hpp"
#include "flashback/model/session.hpp"

#include <cstddef>

namespace cli {

/// A session, and the threads that it evaluates with.
struct Engine {
    Engine(const flashback::GgufFile& file, std::size_t threads);

    flashback::ThreadPool pool;
    flashback::Session session;
};

}  // namespace cli
