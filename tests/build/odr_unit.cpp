// Compiled for several instruction sets, which then meet in one program: tests/odr.sh. Uses whatever makes code.
#include <flashback/flashback.hpp>

#include <string>

#if !defined(FLASHBACK_TEST_UNIT)
#define FLASHBACK_TEST_UNIT unit_older  // for clang-tidy and editors
#endif

/// Reads, retrieves and writes; gives the instruction set of this translation unit and what was written.
std::string FLASHBACK_TEST_UNIT(const char* path) {
    const auto file = flashback::GgufFile::open(path);
    const auto tokenizer = flashback::load_tokenizer(file);
    flashback::ThreadPool pool{2};
    flashback::Session session{flashback::load_model(file, pool), {.executor = pool}};
    const flashback::Bm25Index index{{{.id = "1", .title = "compiler", .text = "A compiler translates a program."}},
                                     flashback::codec_of(tokenizer)};
    flashback::Decoder decoder{session, index, flashback::Policies{}.sampler(flashback::TruncatedSampling{{.seed = 1}})};
    auto generation = decoder.generate(tokenizer.encode("A compiler is"), {.max_tokens = 8});

    auto branch = session.fork();
    branch.evaluate_all(tokenizer.encode("a program"));
    flashback::Decoder prepending{branch, index, flashback::Policies{}.layout(flashback::PrependPassages{})};
    const auto more = prepending.generate(tokenizer.encode("that"), {.max_tokens = 4});
    generation.tokens.insert(generation.tokens.end(), more.tokens.begin(), more.tokens.end());

    const auto matrix =
        flashback::simd::PackedMatrix::of(flashback::DType::q8_0, 20, 32, [](auto o, auto) { return o == 19 ? 1.0f : 0.0f; });
    float row[32];
    matrix.row(19, row);
    return FLASHBACK_ISA_NAME + std::string{row[31] > 0.9f ? ":" : "?"} + tokenizer.decode(generation.tokens);
}
