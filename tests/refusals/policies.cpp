// Refused: flashback: the policies of a Decoder are a Policies, or have its members, with policies that fit: schedule, query, wrapper, layout, reuse, sampler, overflow, stopping, reset, rewind, wants_surprisals
#include "generate.hpp"

using namespace flashback;

int main() {
    testing::NullModel model{8};
    testing::NullRetriever retriever{4, 8};
#ifdef WRONG
    Decoder decoder{model, retriever, EveryNTokens{4}};
#else
    Decoder decoder{model, retriever, Policies{}.schedule(EveryNTokens{4})};
#endif
    decoder.generate({});
}
