// A model reads, retrieves and writes: needs every part of flashback::flashback.
#if defined(SINGLE_HEADER)
#include <flashback.hpp>
#include <flashback_policy.hpp>
#else
#include <flashback/flashback.hpp>
#endif

#include <exception>
#include <iostream>

int main(int argc, char** argv) {
    if (argc != 2) {
        std::cerr << "usage: consumer MODEL.gguf\n";
        return 2;
    }
    try {
        const auto file = flashback::GgufFile::open(argv[1]);
        const auto tokenizer = flashback::load_tokenizer(file);
        flashback::ThreadPool pool{2};
        flashback::Session session{flashback::load_model(file, pool), {.executor = pool}};
        const flashback::Bm25Index index{{{.id = "1", .title = "compiler", .text = "A compiler translates a program."},
                                          {.id = "2", .title = "bread", .text = "Bread is made of flour, water and salt."}},
                                         flashback::codec_of(tokenizer)};
        flashback::Decoder decoder{session, index};
        const auto run = decoder.generate(tokenizer.encode("A compiler is"), {.max_tokens = 8});
        const auto& passages = run.retrievals.at(0).passages;
        std::cout << tokenizer.decode(run.tokens) << '\n' << "retrieved: " << passages.at(0).title << '\n';
        return run.tokens.size() == 8 && passages.at(0).id == "1" ? 0 : 1;
    } catch (const std::exception& error) {
        std::cerr << error.what() << '\n';
        return 1;
    }
}
