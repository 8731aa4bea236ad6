/// \file Retrievers around retrievers: one that may fail and be late made robust, two merged and filtered, passages ordered by the model, and a search
/// that runs while the model writes.
#include "documents.hpp"
#include "flashback/flashback.hpp"
#include "models/default_model.hpp"

#include <chrono>
#include <exception>
#include <functional>
#include <iostream>
#include <stdexcept>
#include <vector>

namespace fb = flashback;
using namespace std::chrono_literals;

namespace {

/// An index at the end of a line that fails at first.
struct Remote {
    const fb::Bm25Index& index;
    std::size_t calls = 0;
    std::vector<fb::Passage> retrieve(const fb::Query& query, std::size_t k) {
        if (++calls == 1) throw fb::Error{fb::ErrorCode::io, "connection reset"};
        return index.retrieve(query, k);
    }
};

void check(bool holds, const char* what) {
    if (!holds) throw std::runtime_error(what);
}

}  // namespace

int main() try {
    const auto file = fb::GgufFile::view(flashback_examples::default_model(), "the default model");
    const auto tokenizer = fb::load_tokenizer(file);
    fb::Session session{fb::load_model(file)};
    const fb::Bm25Index index{flashback_examples::a_few_documents(), fb::codec_of(tokenizer)};

    Remote remote{index};
    fb::Watched watched{std::ref(remote)};
    fb::Cached robust{fb::Retry{fb::WithTimeout{std::ref(watched), 10s, std::cref(index)}, {.attempts = 3, .delay = 5ms}}};
    for (int i = 0; i < 5; ++i)
        check(robust.retrieve({.text = "machine code"}, 1)[0].id == "compiler", "the answer gets through");
    check(robust.counts().hits == 4 && watched.health().failures == 1, "one query failed, was tried again, and was kept");

    // Two ways to score, of which one marks long passages down; and no passage about languages.
    const fb::Bm25Index strict{flashback_examples::a_few_documents(), fb::codec_of(tokenizer), {.formula = {.b = 1}}};
    fb::Union both{fb::ReciprocalRank{}, std::cref(index), fb::UnionPart{std::cref(strict), {.weight = 0.5, .depth = 20}}};
    fb::Filtered filtered{std::ref(both), [](const fb::Passage& passage) { return passage.id != "language"; }};
    const auto found = filtered.retrieve({.text = "the compiler of a language"}, 3);
    check(found.size() == 3 && found[0].id == "compiler", "three are found without the one that is left out");

    const auto policies = fb::Policies{}.schedule(fb::EveryNTokens{8});
    const fb::GenerateOptions options{.max_tokens = 32, .ignore_eos = true};
    const auto prompt = tokenizer.encode("A compiler reads the source code and writes");
    fb::Reranked ordered{std::cref(index), std::ref(session)};  // by what makes the newest 16 tokens likeliest
    const auto run = fb::Decoder{session, ordered, policies}.generate(prompt, options);
    std::cout << run.stats.retriever_work << " tokens were evaluated to order passages\n";
    check(run.stats.retriever_work == ordered.work() && ordered.work() > 0, "the work of the retriever is in the statistics");

    // The search begins three tokens early, for the text as it is then, and runs while the model writes them.
    const auto early = [](const fb::StepView& step) {
        if (step.retrievals == 0 || step.since_retrieval == 8) return fb::Decision::retrieve();
        return step.since_retrieval == 5 ? fb::Decision::prefetch() : fb::Decision::go_on();
    };
    fb::Prefetching ahead{std::cref(index), [](const fb::Query& /*prefetched*/, const fb::Query& /*asked*/) { return true; }};
    fb::Decoder{session, ahead, policies.schedule(early)}.generate(prompt, options);
    check(ahead.hits() == 3, "all answers but the first were prefetched");
    return 0;
} catch (const std::exception& error) {
    std::cerr << "11_retrievers: " << error.what() << '\n';
    return 1;
}
