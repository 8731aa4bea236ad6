/// \file Sessions as bytes: in memory, in a stream, in a file.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/format/atomic_file.hpp"
#include "flashback/format/mapped_file.hpp"
#include "flashback/kv/kv_bytes.hpp"
#include "flashback/kv/kv_state.hpp"
#include "flashback/model/session.hpp"

#include <cstddef>
#include <cstring>
#include <filesystem>
#include <istream>
#include <limits>
#include <ostream>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

namespace detail {

template <class... Why>
[[noreturn]] void refuse_state(const std::string& name, const Why&... why) {
    FLASHBACK_THROW(ErrorCode::format, "the state '", name, "' is damaged: ", why...);
}

}  // namespace detail

/// What a state is restored as.
struct RestoreOptions {
    std::size_t positions = std::numeric_limits<std::size_t>::max();  ///< only the first so many; a prefix of a text is a text
    std::string name = "state";                                       ///< what errors call it
};

/// The tokens of a session and their keys and values as bytes (write_kv_state has the format). Text that saw passages beside it is left
/// out: the first plain_size() positions are saved.
/// Throws    std::bad_alloc
/// Cost      a copy of the positions
template <class Cache>
std::vector<std::byte> save_session(const BasicSession<Cache>& session) {
    KVShape shape = session.cache().shape();
    shape.positions = session.plain_size();
    std::vector<std::byte> bytes;
    bytes.reserve(kv_bytes(shape) + session.plain_size() * (sizeof(TokenId) + 1) +
                  4096);  // and checksums: rarely more than it takes
    session.save([&](std::span<const std::byte> some) { bytes.insert(bytes.end(), some.begin(), some.end()); });
    return bytes;
}
/// Likewise, to a stream.
/// Throws    Error{io} if the stream fails
template <class Cache>
void save_session(const BasicSession<Cache>& session, std::ostream& out) {
    session.save([&](std::span<const std::byte> some) {
        if (!out.write(reinterpret_cast<const char*>(some.data()), static_cast<std::streamsize>(some.size())))
            FLASHBACK_THROW(ErrorCode::io, "a stream fails to which a session is saved");
    });
}
/// Likewise, to a file, as a whole or not at all.
/// Throws    Error{io} as AtomicFile
template <class Cache>
void save_session(const BasicSession<Cache>& session, const std::filesystem::path& path) {
    AtomicFile file{path};
    session.save([&](std::span<const std::byte> some) { file.write(some); });
    file.finish();
}

/// Lets a session hold what was saved, in place of what it holds, and gives the number of positions. Logits after them are those of the
/// session that was saved, to the bit. A state from another instruction set (FLASHBACK_ISA) is taken too; its keys and values stay
/// rounded as they were there.
/// Throws    as read_kv_state, and Error{format} if bytes follow a whole state; then nothing has changed
/// Cost      a copy of the positions
template <class Cache>
std::size_t restore_session(BasicSession<Cache>& session, std::span<const std::byte> bytes,
                            const RestoreOptions& options = {}) {
    std::span<const std::byte> rest = bytes;
    const auto read = [&](std::span<std::byte> to, std::string_view what) {
        if (to.size() > rest.size()) detail::refuse_state(options.name, "it ends in its ", what);
        if (!to.empty()) std::memcpy(to.data(), rest.data(), to.size());
        rest = rest.subspan(to.size());
    };
    return session.restore(read, options.positions, options.name, [&](bool whole) {
        if (whole && !rest.empty()) detail::refuse_state(options.name, "more follows its last page");
    });
}
/// Likewise, from a stream, which is read up to the end of what is restored.
template <class Cache>
std::size_t restore_session(BasicSession<Cache>& session, std::istream& in, const RestoreOptions& options = {}) {
    const auto read = [&](std::span<std::byte> to, std::string_view what) {
        if (!in.read(reinterpret_cast<char*>(to.data()), static_cast<std::streamsize>(to.size())))
            detail::refuse_state(options.name, "it ends in its ", what);
    };
    return session.restore(read, options.positions, options.name, [](bool) {});
}
/// Likewise, from a file, of which only what is restored is read.
/// Throws    also Error{io} as MappedFile
template <class Cache>
std::size_t restore_session(BasicSession<Cache>& session, const std::filesystem::path& path, RestoreOptions options = {}) {
    const MappedFile file{path};
    options.name = path.string();
    return restore_session(session, file.bytes(), options);
}

}  // namespace flashback::inline FLASHBACK_ISA
