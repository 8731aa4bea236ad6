// Refused: flashback: a SpeculativeDecoder copies its policies, to go back to where they were, but one of these is a std::ref to a policy that lives elsewhere, which a copy does not take back: hold it by value
#include "generate.hpp"

#include "flashback/decoder/speculative_decoder.hpp"

#include <functional>

using namespace flashback;

struct Guesses : testing::NullRetriever {
    using NullRetriever::NullRetriever;
    static constexpr bool remembers_queries = false;
    std::span<const Passage> speculate(const Query& query, std::size_t k) { return retrieve(query, k); }
};

int main() {
    testing::NullModel model{8};
    Guesses retriever{4, 8};
    Once once;
#ifdef WRONG
    SpeculativeDecoder decoder{model, retriever, Policies{}.schedule(any_of(EveryNTokens{4}, std::ref(once)))};
#else
    SpeculativeDecoder decoder{model, retriever, Policies{}.schedule(any_of(EveryNTokens{4}, std::cref(once)))};
#endif
    decoder.generate({});
}
