/// \file Four continuations of one prompt at once: the prompt is evaluated once, its keys and values are shared, and the weights are read
/// once for all four. Then the prompt is saved and restored.
#include "flashback/flashback.hpp"
#include "models/default_model.hpp"

#include <algorithm>
#include <cstddef>
#include <exception>
#include <iostream>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace fb = flashback;

namespace {

constexpr std::size_t new_tokens = 32;

void check(bool holds, const char* what) {
    if (!holds) throw std::runtime_error(what);
}

void write_branches() {
    fb::ThreadPool pool{std::max(1u, std::thread::hardware_concurrency())};
    const auto file = fb::GgufFile::view(flashback_examples::default_model(), "the default model");
    const auto tokenizer = fb::load_tokenizer(file);
    const auto model = fb::load_model(file, pool);
    const auto prompt = tokenizer.encode("A compiler is a program that");
    const fb::GenerateOptions options{.max_tokens = new_tokens, .ignore_eos = true};
    const auto sampled = [](std::uint64_t seed) {
        return fb::presets::closed_book().sampler(fb::TruncatedSampling{{.temperature = 0.8f, .top_p = 0.95f, .seed = seed}});
    };

    const auto pages =
        std::make_shared<fb::KVPagePool>(fb::PagedSession::cache_shape(model), fb::KVPagePoolOptions{.budget = 64 << 20});
    const auto in_pool = [&](const fb::KVShape& shape) { return fb::PagedKVCache{shape, pages}; };
    fb::PagedSession trunk{model, {.executor = pool}, nullptr, in_pool};
    trunk.evaluate(trunk.head());
    trunk.evaluate(prompt);

    std::vector<fb::PagedSession> branches;
    branches.reserve(4);
    for (int i = 0; i < 4; ++i) branches.push_back(trunk.fork());  // pointers to pages
    fb::NoPassages nothing;
    fb::DecoderGroup<fb::PagedSession> group;
    for (std::size_t i = 0; i < branches.size(); ++i) group.add(branches[i], nothing, sampled(i), prompt, options);
    group.run();

    for (std::size_t i = 0; i < branches.size(); ++i) {
        std::cout << i << ':' << tokenizer.decode(group.result(i).tokens) << "\n\n";
        fb::Session alone{model, {.executor = pool}};
        fb::Decoder decoder{alone, nothing, sampled(i)};
        check(decoder.generate(prompt, options).tokens == group.result(i).tokens,
              "a branch writes what a decoder writes alone");
    }
    std::cout << "pages for four branches: " << pages->used_bytes() / 1024 << " KiB\n";

    const std::vector<std::byte> saved = fb::save_session(trunk);  // or to a stream, or to a file
    fb::PagedSession restored{model};
    fb::restore_session(restored, saved);
    check(std::ranges::equal(restored.tokens(), trunk.tokens()), "what is restored is what was saved");
    std::cout << "the prompt, saved: " << saved.size() / 1024 << " KiB\n";
}

}  // namespace

int main() try {
    write_branches();
    return 0;
} catch (const std::exception& error) {
    std::cerr << "08_branches: " << error.what() << '\n';
    return 1;
}
