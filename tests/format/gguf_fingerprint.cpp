#include "flashback/format/gguf_fingerprint.hpp"

#include "flashback/core/thread_pool.hpp"
#include "support/gguf_bytes.hpp"

#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

using namespace flashback;
using flashback_test::bytes_of;
using flashback_test::GgufBytes;
using flashback_test::view;

namespace {

std::string weights(std::size_t count, float first) {
    std::string bytes;
    for (std::size_t i = 0; i < count; ++i) bytes += bytes_of(first + static_cast<float>(i));
    return bytes;
}

GgufBytes small_file() {
    GgufBytes w;
    w.set("general.architecture", "llama").set("general.name", "small").set<std::uint32_t>("llama.block_count", 2);
    w.set("llama.rope.freq_base", 10000.0f).set_array<float>("tokenizer.ggml.scores", {1, 2});
    w.tensors.push_back({"a.weight", {4, 3}, 0, weights(12, 1)});
    w.tensors.push_back({"b.weight", {5}, 0, weights(5, 2)});
    return w;
}

std::uint64_t of(const GgufBytes& writer) {
    const std::string bytes = writer.bytes();
    return fingerprint(view(bytes));
}

std::uint64_t of(std::string_view text) { return Fingerprint::of(text); }

}  // namespace

TEST_CASE("every byte of a text counts, and so does its length") {
    std::set<std::uint64_t> seen;
    std::size_t texts = 0;
    for (std::size_t length = 0; length <= 100; ++length) {
        const std::string zeros(length, '\0');
        seen.insert(of(zeros));
        ++texts;
        for (std::size_t at = 0; at < length; ++at) {
            for (const int bit : {0, 7}) {
                std::string changed = zeros;
                changed[at] = static_cast<char>(1 << bit);
                seen.insert(of(changed));
                ++texts;
            }
        }
    }
    CHECK(seen.size() == texts);
}

TEST_CASE("the border between two texts counts, and the order") {
    const auto both = [](std::string_view a, std::string_view b) { return Fingerprint::of(a, b); };
    CHECK(both("ab", "c") != both("a", "bc"));
    CHECK(both("a", "b") != both("b", "a"));
    CHECK(both("", "a") != both("a", ""));
}

TEST_CASE("bytes in parts have the fingerprint of the whole") {
    std::string text(133, 'x');
    for (std::size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>(i * 7);
    const auto bytes = std::as_bytes(std::span{text});
    for (std::size_t length : {0u, 1u, 31u, 32u, 33u, 64u, 100u, 133u}) {
        for (std::size_t cut = 0; cut <= length; cut += FingerprintParts::multiple) {
            FingerprintParts parts;
            parts.add(bytes.first(cut));
            parts.add(bytes.subspan(cut, length - cut));
            Fingerprint f;
            f.add(parts);
            CHECK(f.value() == of(std::string_view{text}.substr(0, length)));
        }
    }
}

TEST_CASE("a fingerprint is the same on every machine") {
    // By an implementation of its own, in Python.
    CHECK(of("flashback, 45 bytes of it in two rounds of 32") == 0x0cf4f939a99cf0e5u);
}

TEST_CASE("weights, names, shapes, types and hyper-parameters make another model") {
    const std::uint64_t model = of(small_file());
    const std::vector<std::function<void(GgufBytes&)>> changes{
        [](GgufBytes& w) { w.tensors[0].data[47] = static_cast<char>(w.tensors[0].data[47] ^ 1); },
        [](GgufBytes& w) { w.tensors[1].data[0] = static_cast<char>(w.tensors[1].data[0] ^ 1); },
        [](GgufBytes& w) { w.tensors[0].name = "c.weight"; },
        [](GgufBytes& w) {
            w.tensors[0].dims = {3, 4};
        },
        [](GgufBytes& w) { w.tensors[1].type = 26; },
        [](GgufBytes& w) { std::swap(w.tensors[0].name, w.tensors[1].name); },
        [](GgufBytes& w) { w.tensors.pop_back(); },
        [](GgufBytes& w) { w.set<std::uint32_t>("llama.context_length", 7); },
        [](GgufBytes& w) { w.set("llama.rope.scaling.type", "none"); },
    };
    std::set<std::uint64_t> seen{model};
    for (const auto& change : changes) {
        GgufBytes other = small_file();
        change(other);
        seen.insert(of(other));
    }
    CHECK(seen.size() == changes.size() + 1);
}

TEST_CASE("names, tokenizers, the order in the file and threads do not") {
    const std::uint64_t model = of(small_file());
    GgufBytes other = small_file();
    std::swap(other.tensors[0], other.tensors[1]);
    other.set("general.description", "the same weights").set_array<float>("tokenizer.other", {3});
    CHECK(of(other) == model);
    ThreadPool pool{3};
    const std::string bytes = other.bytes();
    CHECK(fingerprint(view(bytes), pool) == model);
}
