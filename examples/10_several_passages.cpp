/// \file Four passages at each retrieval, each in a branch of its own that shares the pages of the text: the mean of their logits, their
/// weighted mixture, and what the passages change. Then a text that is longer than the window.
#include "flashback/flashback.hpp"
#include "models/default_model.hpp"

#include <algorithm>
#include <cstddef>
#include <exception>
#include <iostream>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace fb = flashback;

namespace {

/// Believes the branch that is surest of a token: its greatest logit counts.
struct MostSure {
    void groups(std::size_t passages, std::vector<fb::PassageGroup>& out) const {
        if (passages == 0) out.push_back({});  // a text without any
        for (std::size_t i = 0; i < passages; ++i) out.push_back({.first = i, .count = 1});
    }

    void operator()(const fb::LogitRows& rows, std::span<float> out) const {
        for (std::size_t v = 0; v < out.size(); ++v) {
            out[v] = rows[0][v];
            for (std::size_t r = 1; r < rows.size(); ++r) out[v] = std::max(out[v], rows[r][v]);
        }
    }
};

void check(bool holds, const char* what) {
    if (!holds) throw std::runtime_error(what);
}

void fuse_passages(const std::string& corpus) {
    fb::ThreadPool pool{std::max(1u, std::thread::hardware_concurrency())};
    const auto file = fb::GgufFile::view(flashback_examples::default_model(), "the default model");
    const auto tokenizer = fb::load_tokenizer(file);
    const auto model = fb::load_model(file, pool);
    const fb::Bm25Index index{fb::read_corpus(corpus).documents, fb::codec_of(tokenizer), {.passage_tokens = 32}};
    const auto prompt = tokenizer.encode("A warning is an error, and a test that cannot fail is");
    const fb::GenerateOptions options{.max_tokens = 48, .passages = 4, .ignore_eos = true};
    fb::PagedSession session{model, {.executor = pool}};

    const auto policies = fb::Policies{}.schedule(fb::EveryNTokens{16}).fusion(fb::MeanOfLogits{});
    fb::Decoder decoder{session, index, policies};
    const fb::Generation mean = decoder.generate(prompt, options);
    for (const fb::TokenCounts& branch : mean.stats.branches)
        std::cout << "a branch evaluated " << branch.evaluated << " tokens, and shared " << branch.reused << '\n';

    const auto write = [&](const char* name, const auto& fusion) {
        fb::Decoder other{session, index, policies.fusion(fusion)};
        const fb::Generation written = other.generate(prompt, options);
        std::cout << name << ':' << tokenizer.decode(written.tokens) << "\n  " << written.stats.counts.evaluated
                  << " evaluated, " << written.stats.counts.reused << " reused\n";
        return written;
    };
    write("mixture", fb::WeightedMixture{/*temperature=*/5});
    write("sequence", fb::RagSequence{/*temperature=*/5});
    write("contrast", fb::ContrastWithout{/*alpha=*/0.5});
    write("most sure", MostSure{});
    const fb::Generation one = write("in one text", fb::Concatenate{});
    check(one.stats.branches.empty() && mean.stats.branches.size() == 4, "a branch for each passage");
    const fb::TokenCounts& counts = mean.stats.counts;
    check(counts.evaluated + counts.reused == counts.requested, "every token was evaluated or reused");

    const auto rolling = policies.fusion(fb::Concatenate{}).overflow(fb::AttentionSinks{});
    fb::Decoder endless{session, index, rolling};
    const fb::Generation whole = endless.generate(prompt, {.max_tokens = 600, .ignore_eos = true});
    check(whole.tokens.size() == 600 && whole.stats.dropped > 0, "600 tokens pass through a window of 512");
    std::cout << "600 tokens through a window of " << session.window() << ": " << whole.stats.dropped << " were dropped\n";
}

}  // namespace

int main(int argc, char** argv) try {
    fuse_passages(argc > 1 ? argv[1] : "CONTRIBUTING.md");
    return 0;
} catch (const std::exception& error) {
    std::cerr << "10_several_passages: " << error.what() << '\n';
    return 1;
}
