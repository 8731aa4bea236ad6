/// \file A complete decoder that retrieves: a language model writes, and every 16 tokens it reads a passage that fits its text.
///
/// 01_decoder [MODEL [CORPUS]]: a GGUF file; and a folder of texts, a text file or JSON lines (see read_corpus). By default it
/// takes those of this repository, if it is started at its top.
#include "flashback/flashback.hpp"

#include <exception>
#include <iostream>
#include <memory>
#include <string>

namespace fb = flashback;

int main(int argc, char** argv) try {
    const auto file = fb::GgufFile::open(argc > 1 ? argv[1] : "examples/models/flashback-base-5m.gguf");
    const auto tokenizer = fb::load_tokenizer(file);
    fb::Session session{fb::load_model(file), {}, std::make_shared<fb::BlockStore>()};  // one KV cache, and stored passages
    const fb::Bm25Index index{fb::read_corpus(argc > 2 ? argv[2] : "CONTRIBUTING.md").documents, fb::codec_of(tokenizer)};

    const auto policies = fb::Policies{}
                              .schedule(fb::EveryNTokens{16})  // retrieve every 16 tokens
                              .query(fb::LastNTokens{32})      // search for what the newest 32 tokens say
                              .layout(fb::PassagesAside{})     // beside the text: what was evaluated stays valid
                              .sampler(fb::TruncatedSampling{{.temperature = 0.8f, .top_p = 0.95f, .seed = 3}});

    fb::Decoder decoder{session, index, policies};
    const std::string prompt = "An operating system is the program that controls a computer, and a compiler is";
    std::cout << prompt;
    const auto run = decoder.generate(tokenizer.encode(prompt), {.max_tokens = 64, .ignore_eos = true},
                                      [&](fb::TokenId t) { std::cout << tokenizer.decode(t) << std::flush; });
    std::cout << "\n\n"
              << run.stats.retrievals << " retrievals; " << run.stats.counts.evaluated << " tokens evaluated, "
              << run.stats.counts.reused << " reused\n";
    return run.stats.retrievals == 4 && run.stats.counts.reused > 0 ? 0 : 1;  // this program is a test as well
} catch (const std::exception& error) {
    std::cerr << "01_decoder: " << error.what() << '\n';
    return 1;
}
