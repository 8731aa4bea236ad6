// Refused: flashback: the cache of a session must satisfy KVCache (see flashback/kv/kv_cache.hpp)
#include "flashback/model/session.hpp"

using namespace flashback;

/// Cannot make a branch.
struct Branchless {
    explicit Branchless(const KVShape&) {}
    KVShape shape() const;
    std::size_t size() const;
    void reserve(std::size_t n);
    void write(std::size_t layer, std::size_t head, std::size_t position, const float* key, const float* value);
    void commit(std::size_t n);
    void truncate(std::size_t n);
    KVTile tile(std::size_t layer, std::size_t head, std::size_t t) const;
    Branchless sibling() const;
};

int main() {
#ifdef WRONG
    BasicSession<Branchless> session{nullptr};
#else
    BasicSession<ContiguousKVCache> session{nullptr};
#endif
    session.truncate(0);
}
