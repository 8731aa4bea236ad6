// Files of repacked weights: the same bits with and without, and what is wrong with one is noticed, said and mended.
#include "flashback/files/weights_cache.hpp"

#include "flashback/core/thread_pool.hpp"
#include "flashback/files/load.hpp"
#include "flashback/files/write_model.hpp"
#include "flashback/model/session.hpp"
#include "support/errors.hpp"
#include "support/exact_logits.hpp"
#include "support/family_models.hpp"
#include "support/gguf_bytes.hpp"
#include "support/temporary_folder.hpp"
#include "support/weights_cache_bytes.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <doctest/doctest.h>

namespace test_files_weights_cache {

using namespace flashback;
using namespace flashback_test;
using Time = std::filesystem::file_time_type;

namespace {

std::string bytes_in(const std::filesystem::path& path) {
    std::ifstream file{path, std::ios::binary};
    return {std::istreambuf_iterator<char>{file}, {}};
}

void write_bytes(const std::filesystem::path& path, std::string_view bytes) { std::ofstream{path, std::ios::binary} << bytes; }

/// A model file and the file of its repacked weights, which nobody has written yet.
struct Files {
    explicit Files(const RandomModel& shape = small(), DType type = DType::f32) { write(shape, type); }

    void write(const RandomModel& shape, DType type = DType::f32) const {
        write_model(model, *random_model(shape), nullptr, type);
        std::filesystem::last_write_time(model, time);
    }
    std::shared_ptr<const Transformer> load(LoadOptions options = {}) const {
        options.weights_cache = cache;
        return load_model(model, options);
    }
    std::size_t in_folder() const {
        return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator{folder.path()}, {}));
    }

    static RandomModel small() {
        return {.layers = 1, .width = 8, .heads = 2, .kv_heads = 1, .head_dim = 4, .hidden = 8, .vocab = 20, .window = 16};
    }

    TemporaryFolder folder;
    std::filesystem::path model = folder.path() / "model.gguf";
    std::filesystem::path cache = weights_cache_beside(model);
    Time time = Time::clock::now() - std::chrono::hours{1};
};

std::vector<float> all_logits(const std::shared_ptr<const Transformer>& model) {
    SplitMix64 random{3};
    return copy_of(Session{model, {.cache = DType::f32}}.evaluate_all(random_tokens(random, 12, 20)));
}

std::size_t views_of(const Transformer& model) {
    std::size_t views = 0;
    each_tensor(
        model, [&](const TensorId&, std::size_t, std::size_t, const simd::PackedMatrix& matrix) { views += matrix.is_view(); },
        [](const TensorId&, std::size_t, const std::vector<float>&) {});
    return views;
}

void check_same(const std::shared_ptr<const Transformer>& model, const std::shared_ptr<const Transformer>& expected) {
    CHECK(model->fingerprint == expected->fingerprint);
    CHECK(fingerprint(*model) == fingerprint(*expected));
    CHECK(same_bits(all_logits(model), all_logits(expected)));
}

/// The load says one thing, with these words, and the model is what it is without the file.
void check_said(const Files& files, std::string_view part, const LoadOptions& options = {}) {
    CAPTURE(part);
    const auto model = files.load(options);
    check_same(model, load_model(files.model));
    REQUIRE(model->notes.size() == 1);
    CHECK_MESSAGE(model->notes[0].find(part) != std::string::npos, model->notes[0]);
    CHECK(views_of(*model) == 0);
}

WeightsCache parsed(const std::string& bytes) { return WeightsCache::view(std::as_bytes(std::span{bytes}), "some.weights"); }

/// Everything that can be asked of a file.
void read_all(const std::string& bytes) {
    const WeightsCache cache = parsed(bytes);
    cache.verify();
    std::vector<float> row;
    for (std::size_t i = 0; i < cache.size(); ++i) {
        const simd::PackedMatrix matrix = cache.matrix(i);
        row.resize(matrix.inputs());
        matrix.row(matrix.outputs() - 1, row.data());
    }
}

/// Two matrices, of which the second needs two panels.
WeightsCacheBytes two_matrices() {
    WeightsCacheBytes w;
    w.add(DType::f32, 3, 2, std::string(128, '\1'));
    w.add(DType::f16, 17, 4, std::string(256, '\2'));
    return w;
}

}  // namespace

TEST_CASE("a model from repacked weights has the bits that it has without, for every family and type") {
    ThreadPool pool{2};
    std::vector<std::pair<RandomModel, DType>> models;
    for (const FamilyModel& family : family_models()) {
        if (family.shape.family != Family::opt) models.emplace_back(family.shape, DType::f32);
    }
    for (const DType type : {DType::f16, DType::bf16, DType::q8_0, DType::q4_0})
        models.emplace_back(family_models(DType::f32)[1].shape, type);
    for (const auto& tried : models) {
        CAPTURE(static_cast<int>(tried.first.family));
        CAPTURE(layout_of(tried.second).name);
        const Files files{tried.first, tried.second};
        const auto without = load_model(files.model);
        CHECK(views_of(*without) == 0);
        const auto first = files.load({.executor = pool});
        REQUIRE(first->notes.size() == 1);
        CHECK_MESSAGE(first->notes[0].find("was written with the repacked weights of") != std::string::npos, first->notes[0]);
        CHECK_MESSAGE(first->notes[0].find("there was no such file") != std::string::npos, first->notes[0]);
        check_same(first, without);
        for (const FileAccess access : {FileAccess::map, FileAccess::copy}) {
            for (const bool verify : {false, true}) {
                for (const ExecutorRef executor : {ExecutorRef{}, ExecutorRef{pool}}) {
                    const auto again = files.load({.executor = executor, .cache_access = access, .verify_cache = verify});
                    CHECK(again->notes.empty());
                    CHECK((views_of(*again) > 0) == (access == FileAccess::map));
                    check_same(again, without);
                    CHECK(again->text_ends == without->text_ends);
                }
            }
        }
        CHECK(files.in_folder() == 2);
    }
}

TEST_CASE("types that are converted are cached as what they become, and the note of the conversion stays") {
    Files files;
    GgufBytes w;
    w.set("general.architecture", "llama").set("llama.attention.layer_norm_rms_epsilon", 1e-5f);
    for (const auto& [name, value] :
         {std::pair{"context_length", 16u}, std::pair{"embedding_length", 32u}, std::pair{"block_count", 1u},
          std::pair{"feed_forward_length", 32u}, std::pair{"attention.head_count", 1u}})
        w.set<std::uint32_t>(std::string{"llama."} + name, value);
    const auto add = [&](const std::string& name, std::uint64_t rows) {
        std::string blocks;
        for (std::uint64_t i = 0; i < rows; ++i)
            blocks += std::string("\0\x2c\0\xac", 4) + std::string(16, static_cast<char>(i));
        w.tensors.push_back({name, {32, rows}, 3, blocks});  // Q4_1
    };
    add("token_embd.weight", 20);
    for (const char* name : {"attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"})
        add(std::string{"blk.0."} + name + ".weight", 32);
    for (const char* name : {"blk.0.attn_norm.weight", "blk.0.ffn_norm.weight", "output_norm.weight"})
        w.add_tensor<float>(name, {32}, DType::f32, std::vector<float>(32, 1));
    write_bytes(files.model, w.bytes());
    const auto without = load_model(files.model);
    REQUIRE(without->notes.size() == 1);
    CHECK(files.load()->notes.size() == 2);
    const auto again = files.load();
    check_same(again, without);
    CHECK(again->notes == without->notes);
    CHECK(views_of(*again) == 8);
}

TEST_CASE("hostile: every changed bit in front of and behind the weights is noticed, said and mended, and so is every cut") {
    const Files files;
    files.load();
    const std::string good = bytes_in(files.cache);
    std::uint64_t directory = 0;
    std::memcpy(&directory, good.data() + good.size() - 16, sizeof(directory));
    const std::size_t weights_end = good.size() - 16 - static_cast<std::size_t>(directory);
    REQUIRE(weights_end > 16);
    const auto mended = [&](const std::string& broken) {
        write_bytes(files.cache, broken);
        const auto model = files.load();
        CHECK(model->notes.size() == 1);
        CHECK(views_of(*model) == 0);
        CHECK(bytes_in(files.cache) == good);
    };
    for (std::size_t i = 0; i < good.size(); i += i + 1 == 16 ? weights_end - 15 : 1) {
        CAPTURE(i);
        for (const int bit : {0, 7}) {
            std::string broken = good;
            broken[i] = static_cast<char>(broken[i] ^ (1 << bit));
            CHECK_THROWS_AS(static_cast<void>(parsed(broken)), Error);
            if (i >= 8 && bit == 0 && i % 5 == 0) mended(broken);
        }
    }
    for (std::size_t length = 0; length < good.size(); ++length) {
        CAPTURE(length);
        CHECK_THROWS_AS(static_cast<void>(parsed(good.substr(0, length))), Error);
        if (length < 20 || length % 301 == 0) mended(good.substr(0, length));
    }
    mended(good + '\0');
    CHECK(files.load()->notes.empty());
    CHECK(files.in_folder() == 2);
}

TEST_CASE("hostile: a changed weight is noticed on request, in the file of weights and in the model file") {
    const Files files;
    files.load();
    const std::string good = bytes_in(files.cache);
    std::string broken = good;
    broken[64] = static_cast<char>(broken[64] ^ 1);
    write_bytes(files.cache, broken);
    CHECK(files.load()->notes.empty());  // at a glance it is whole
    check_said(files, "is damaged: a matrix does not give its checksum", {.verify_cache = true});
    CHECK(bytes_in(files.cache) == good);

    std::string model = bytes_in(files.model);
    model.back() = static_cast<char>(model.back() ^ 1);  // of its last tensor
    write_bytes(files.model, model);
    std::filesystem::last_write_time(files.model, files.time);
    CHECK(files.load()->notes.empty());
    check_said(files, "has other weights now", {.verify_cache = true});
    CHECK(files.load({.verify_cache = true})->notes.empty());
}

TEST_CASE("repacked weights of another model, or of one that was changed, are not taken") {
    const Files files;
    files.load();
    RandomModel other = Files::small();
    other.seed = 2;
    files.write(other);  // of the same size, written at the same time
    std::filesystem::last_write_time(files.model, files.time + std::chrono::nanoseconds{1000});
    check_said(files, "it was made of another file, or of");
    CHECK(files.load()->notes.empty());
    other.hidden = 16;
    files.write(other);
    check_said(files, "it was made of another file, or of");
    CHECK(files.load()->notes.empty());
    files.write(other, DType::f16);
    check_said(files, "it was made of another file, or of");

    // The same size, time and weights, but other metadata.
    std::string model = bytes_in(files.model);
    const auto epsilon = model.find("layer_norm_rms_epsilon");
    REQUIRE(epsilon != model.npos);
    char& low_byte = model[epsilon + 22 + 4];
    low_byte = static_cast<char>(low_byte ^ 1);
    const auto time = std::filesystem::last_write_time(files.model);
    write_bytes(files.model, model);
    std::filesystem::last_write_time(files.model, time);
    check_said(files, "it was made of another file, or of");
}

TEST_CASE("hostile: no number in a file of repacked weights is believed, even if the checksum is right") {
    constexpr std::uint64_t most = std::numeric_limits<std::uint64_t>::max();
    const auto refused = [](ErrorCode code, std::string_view part, const auto& change) {
        WeightsCacheBytes w = two_matrices();
        change(w);
        check_error(code, part, [&] { read_all(w.bytes()); });
    };
    CHECK_NOTHROW(read_all(two_matrices().bytes()));
    CHECK_NOTHROW(read_all(WeightsCacheBytes{}.bytes()));
    CHECK(parsed(two_matrices().bytes()).fingerprint() == 77);
    CHECK(parsed(two_matrices().bytes()).source() == WeightsSource{{100, 7}, 8});
    for (const char* text : {"", "FBWEIGHT"})
        check_error(ErrorCode::format, "is no file of repacked weights", [&] { read_all(text); });
    check_error(ErrorCode::format, "is damaged: it ends too early", [] { read_all("FBWEIGHT" + bytes_of<std::uint64_t>(1)); });
    refused(ErrorCode::format, "'some.weights' is no file of repacked weights", [](auto& w) { w.magic = "FBWEIGHS"; });
    refused(ErrorCode::unsupported, "has version 2, expected 1", [](auto& w) { w.version = 2; });
    refused(ErrorCode::unsupported, "has packing 999, expected", [](auto& w) { w.packing = 999; });
    for (const std::uint64_t length : {std::uint64_t{1} << 40, most})
        refused(ErrorCode::format, "its directory does not fit into it", [&](auto& w) { w.directory_bytes = length; });
    refused(ErrorCode::format, "no whole number of entries", [](auto& w) { w.behind_entries = "x"; });
    for (const std::uint64_t type : {std::uint64_t{3}, std::uint64_t{256}, std::uint64_t{1} << 32, most})
        refused(ErrorCode::format, "has no known type", [&](auto& w) { w.entries[0].type = type; });
    for (auto side : {&WeightsCacheBytes::Entry::outputs, &WeightsCacheBytes::Entry::inputs}) {
        for (const std::uint64_t value : {std::uint64_t{0}, (std::uint64_t{1} << 26) + 1, std::uint64_t{1} << 60, most})
            refused(ErrorCode::format, "an impossible shape", [&](auto& w) { w.entries[0].*side = value; });
        for (const std::uint64_t value : {std::uint64_t{1} << 12, std::uint64_t{1} << 26})
            refused(ErrorCode::format, "does not fit into it", [&](auto& w) { w.entries[0].*side = value; });
    }
    refused(ErrorCode::format, "an impossible shape", [](auto& w) { w.entries[0].type = 8; });  // 2 inputs of Q8_0
    for (const std::uint64_t place : {std::uint64_t{0}, std::uint64_t{65}, std::uint64_t{1} << 40, most - 63})
        refused(ErrorCode::format, "does not fit into it", [&](auto& w) { w.entries[1].place = place; });
    refused(ErrorCode::format, "does not give its checksum", [](auto& w) { ++w.entries[1].checksum; });
}

TEST_CASE("a file of repacked weights that cannot be written is said, and the model is loaded") {
    Files files;
    files.cache = files.folder.path() / "nowhere" / "model.weights";
    check_said(files, "no repacked weights were written: cannot write");
    files.cache = "/proc/flashback.weights";
    check_said(files, "no repacked weights were written: cannot write");
}

TEST_CASE("a file of another kind is never replaced by repacked weights, not even the model itself") {
    Files files;
    files.cache = files.folder.path() / "letter.txt";
    write_bytes(files.cache, "Dear reader");
    check_said(files, "letter.txt' is no file of repacked weights");
    CHECK(bytes_in(files.cache) == "Dear reader");
    files.cache = files.folder.path();
    check_said(files, "is a folder");
    const std::string model = bytes_in(files.model);
    files.cache = files.model;
    check_said(files, "model.gguf' is no file of repacked weights");
    CHECK(bytes_in(files.model) == model);
    files.cache = files.folder.path() / "empty.weights";
    write_bytes(files.cache, "");  // what a full disk leaves
    check_said(files, "empty.weights' was written");
    CHECK(files.load()->notes.empty());
}

TEST_CASE("models in memory and in folders have no repacked weights") {
    const Files files;
    const std::string bytes = bytes_in(files.model);
    check_error(ErrorCode::unsupported, "is in memory, and repacked weights are cached for models in files",
                [&] { load_model(view(bytes), {.weights_cache = files.cache}); });
    check_error(ErrorCode::unsupported, "is a folder, and repacked weights are cached for GGUF files",
                [&] { load_model(files.folder.path(), {.weights_cache = files.cache}); });
    CHECK(files.in_folder() == 1);
}

TEST_CASE("many that load at once write and read one file of repacked weights, and weights outlive its name") {
    const Files files;
    const auto without = load_model(files.model);
    std::vector<std::shared_ptr<const Transformer>> models(6);
    std::vector<std::thread> threads;
    for (auto& model : models) {
        threads.emplace_back([&] {
            for (int round = 0; round < 5; ++round) model = files.load({.verify_cache = true});
        });
    }
    for (std::thread& thread : threads) thread.join();
    for (const auto& model : models) check_same(model, without);
    CHECK(files.in_folder() == 2);  // and nothing temporary
    const auto mapped = files.load();
    CHECK(mapped->notes.empty());
    REQUIRE(views_of(*mapped) > 0);
    write_bytes(files.folder.path() / "other", "x");
    std::filesystem::rename(files.folder.path() / "other", files.cache);
    check_same(mapped, without);
}

}  // namespace test_files_weights_cache
