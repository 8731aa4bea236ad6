/// \file Takes the weights of a GGUF file from a file of repacked weights, or repacks them and writes that file.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/files/detail/gguf_weights.hpp"
#include "flashback/files/detail/weights_cache.hpp"
#include "flashback/files/load.hpp"
#include "flashback/files/weights_cache.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

namespace flashback::inline FLASHBACK_ISA::detail {

/// Why weights are not taken from a file of them, and whether that file may be replaced.
struct CacheMiss {
    std::string why;
    bool replace = true;
};

/// Takes the weights from a file of them if that is of this model file; else says why not.
inline std::optional<CacheMiss> take_cached(const GgufFile& file, const WeightsSource& source, GgufWeights& weights,
                                            const LoadOptions& options, std::uint64_t& fingerprint) {
    std::error_code unknown;
    const std::string name = options.weights_cache.string();
    if (!std::filesystem::exists(options.weights_cache, unknown) && !unknown) return CacheMiss{"there was no such file"};
    try {
        const WeightsCache cache = WeightsCache::open(options.weights_cache);
        if (cache.source() != source || !weights.fits(cache))
            return CacheMiss{"it was made of another file, or of '" + file.name() + "' before that was changed"};
        if (options.verify_cache) {
            cache.verify(options.executor);
            if (flashback::fingerprint(file, options.executor) != cache.fingerprint())
                return CacheMiss{"'" + file.name() + "' has other weights now"};
        }
        weights.take(cache, options.cache_access, options.executor);
        fingerprint = cache.fingerprint();
        return {};
    } catch (const Error& error) {
        return CacheMiss{error.what(), is_weights_cache(options.weights_cache)};
    }
}

/// Fills the matrices, from the file of repacked weights if it fits; otherwise it is written anew. Gives the fingerprint.
/// Throws    as GgufWeights::read; nothing that is wrong with the file of repacked weights: that is said in `notes`
inline std::uint64_t read_with_cache(const GgufFile& file, GgufWeights& weights, const LoadOptions& options,
                                     std::vector<std::string>& notes) {
    const WeightsSource source = WeightsSource::of(file);
    std::uint64_t fingerprint = 0;
    const auto miss = take_cached(file, source, weights, options, fingerprint);
    if (!miss) return fingerprint;
    fingerprint = weights.read(options.executor);
    const std::string name = "'" + options.weights_cache.string() + "'";
    if (!miss->replace) {
        notes.push_back("no repacked weights were read or written: " + miss->why);
        return fingerprint;
    }
    try {
        WeightsCache::write(options.weights_cache, source, fingerprint, weights.matrices());
        notes.push_back(name + " was written with the repacked weights of '" + file.name() + "': " + miss->why);
    } catch (const Error& error) {
        notes.push_back("no repacked weights were written: " + std::string{error.what()});
    }
    return fingerprint;
}

}  // namespace flashback::inline FLASHBACK_ISA::detail
