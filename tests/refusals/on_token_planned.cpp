// Refused: flashback: planned of on_token is called as planned(const CarriedOutPlan&) when a plan was carried out: this one cannot be
#include "generate.hpp"

using namespace flashback;

struct Wrong {
    void operator()(TokenId token);
    void planned(std::size_t reused);
};

struct Right {
    void operator()(TokenId token);
    void planned(const CarriedOutPlan& plan);
};

int main() {
    testing::NullModel model{8};
    testing::NullRetriever retriever{4, 8};
    Decoder decoder{model, retriever};
#ifdef WRONG
    decoder.generate({}, {}, Wrong{});
#else
    decoder.generate({}, {}, Right{});
#endif
}
