/// \file The two kinds of files that hold adapters.
#pragma once

#include "flashback/files/detail/gguf_adapter.hpp"
#include "flashback/files/detail/load_peft.hpp"
#include "flashback/files/load_adapter.hpp"
#include "flashback/format/gguf.hpp"

#include <filesystem>
#include <system_error>

namespace flashback::inline FLASHBACK_ISA {

FLASHBACK_DETAIL_ONCE Adapter load_adapter(const GgufFile& file, const Transformer& model) {
    return detail::GgufAdapterLoader{file, model}.load();
}

FLASHBACK_DETAIL_ONCE Adapter load_adapter(const std::filesystem::path& files, const Transformer& model,
                                           const LoadAdapterOptions& options) {
    std::error_code ignored;
    if (!std::filesystem::is_regular_file(files, ignored))
        return detail::PeftLoader{files, model, options.tokens, options.access}.load();
    return load_adapter(GgufFile::open(files, options.access), model);
}

}  // namespace flashback::inline FLASHBACK_ISA
