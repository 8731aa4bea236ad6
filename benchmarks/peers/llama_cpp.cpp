// What a user of llama.cpp would do instead of branching our caches, timed beside ours on the same file in the same run: a copy of a
// sequence (llama_memory_seq_cp), a cut (llama_memory_seq_rm), saving and restoring its state in memory, and one token for each of 8
// sequences in one pass (llama_decode), all with F16 caches. The first logits of both are compared, so that both do the same work.
//
// peer_llama_cpp MODEL.gguf [POSITIONS [THREADS]]
#include "flashback/core/random.hpp"
#include "flashback/core/thread_pool.hpp"
#include "flashback/files/load.hpp"
#include "flashback/kv/paged_kv_cache.hpp"
#include "flashback/model/session.hpp"
#include "flashback/model/session_state.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <iomanip>
#include <iostream>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include <llama.h>

namespace {

namespace fb = flashback;
using Clock = std::chrono::steady_clock;

constexpr std::size_t sequences = 8;
constexpr int repetitions = 9;

void check(bool holds, const char* what) {
    if (!holds) throw std::runtime_error(what);
}

/// The median of the seconds of some calls; what must happen before each of them is not timed.
double median_seconds(const std::function<void()>& prepare, const std::function<void()>& work) {
    std::vector<double> seconds;
    for (int i = 0; i < repetitions; ++i) {
        prepare();
        const auto start = Clock::now();
        work();
        seconds.push_back(std::chrono::duration<double>(Clock::now() - start).count());
    }
    std::ranges::nth_element(seconds, seconds.begin() + repetitions / 2);
    return seconds[repetitions / 2];
}

/// Tokens of one pass of llama.cpp: each at a position of a sequence.
class Batch {
public:
    explicit Batch(std::size_t most) : batch_(llama_batch_init(static_cast<int32_t>(most), 0, 1)) {}
    Batch(const Batch&) = delete;
    Batch& operator=(const Batch&) = delete;
    ~Batch() { llama_batch_free(batch_); }

    void clear() { batch_.n_tokens = 0; }
    void add(fb::TokenId token, std::size_t position, std::size_t sequence, bool logits) {
        const auto i = static_cast<std::size_t>(batch_.n_tokens++);
        batch_.token[i] = token;
        batch_.pos[i] = static_cast<llama_pos>(position);
        batch_.n_seq_id[i] = 1;
        batch_.seq_id[i][0] = static_cast<llama_seq_id>(sequence);
        batch_.logits[i] = logits ? 1 : 0;
    }
    const llama_batch& get() const { return batch_; }

private:
    llama_batch batch_;
};

struct Peer {
    std::unique_ptr<llama_model, decltype(&llama_model_free)> model{nullptr, &llama_model_free};
    std::unique_ptr<llama_context, decltype(&llama_free)> context{nullptr, &llama_free};

    Peer(const std::string& file, std::size_t positions, std::size_t threads) {
#if defined(FLASHBACK_LLAMA_CPP_BACK_ENDS)
        ggml_backend_load_all_from_path(FLASHBACK_LLAMA_CPP_BACK_ENDS);
#else
        ggml_backend_load_all();
#endif
        llama_backend_init();
        llama_log_set([](ggml_log_level, const char*, void*) {}, nullptr);
        model.reset(llama_model_load_from_file(file.c_str(), llama_model_default_params()));
        check(model != nullptr, "llama.cpp cannot read the model");
        llama_context_params params = llama_context_default_params();
        params.n_ctx = static_cast<uint32_t>(positions + 64 * sequences);
        params.n_batch = params.n_ubatch = 512;
        params.n_seq_max = static_cast<uint32_t>(sequences + 1);
        params.n_threads = params.n_threads_batch = static_cast<int32_t>(threads);
        params.kv_unified = true;  // so that a copied sequence shares its cells
        context.reset(llama_init_from_model(model.get(), params));
        check(context != nullptr, "llama.cpp cannot make a context");
    }

    llama_memory_t memory() const { return llama_get_memory(context.get()); }

    void read(fb::TokenSpan tokens) {
        Batch batch{512};
        for (std::size_t i = 0; i < tokens.size(); i += 512) {
            batch.clear();
            const std::size_t end = std::min(tokens.size(), i + 512);
            for (std::size_t j = i; j < end; ++j) batch.add(tokens[j], j, 0, j + 1 == tokens.size());
            check(llama_decode(context.get(), batch.get()) == 0, "llama_decode failed");
        }
    }
};

struct Row {
    const char* what;
    double ours, peer;
};

void print(const std::vector<Row>& rows) {
    std::cout << std::left << std::setw(44) << "" << std::right << std::setw(14) << "ours" << std::setw(14) << "llama.cpp"
              << std::setw(10) << "ratio" << '\n';
    for (const Row& row : rows) {
        std::cout << std::left << std::setw(44) << row.what << std::right << std::fixed << std::setprecision(2) << std::setw(11)
                  << row.ours * 1e6 << " us" << std::setw(11) << row.peer * 1e6 << " us" << std::setw(9) << row.peer / row.ours
                  << "x\n";
    }
}

void compare(const std::string& path, std::size_t positions, std::size_t threads) {
    fb::ThreadPool pool{threads};
    const auto model = fb::load_model(fb::GgufFile::open(path), pool);
    fb::SplitMix64 random{7};
    std::vector<fb::TokenId> tokens(positions);
    for (fb::TokenId& token : tokens) token = static_cast<fb::TokenId>(random.below(model->config.vocab));

    fb::PagedSession trunk{model, {.piece = 512, .executor = pool, .cache = fb::DType::f16}};
    const auto logits = trunk.evaluate(tokens);
    Peer peer{path, positions, threads};
    peer.read(tokens);
    const float* theirs = llama_get_logits_ith(peer.context.get(), -1);
    const auto likeliest = std::ranges::max_element(logits) - logits.begin();
    check(
        std::fabs(logits[static_cast<std::size_t>(likeliest)] - theirs[likeliest]) < 0.1f * std::fabs(theirs[likeliest]) + 0.5f,
        "the logits of the two are far apart: they do not evaluate the same");

    std::vector<Row> rows;
    const auto nothing = [] {};
    const auto last = static_cast<llama_pos>(positions);
    rows.push_back({"fork, and drop the branch", median_seconds(nothing, [&] { static_cast<void>(trunk.fork().size()); }),
                    median_seconds(nothing, [&] {
                        llama_memory_seq_cp(peer.memory(), 0, 1, -1, -1);
                        llama_memory_seq_rm(peer.memory(), 1, -1, -1);
                    })});

    // Both write to memory that was touched before: else the first touch of a page of memory is what is timed.
    std::vector<std::byte> ours = fb::save_session(trunk);
    std::vector<std::uint8_t> saved(llama_state_seq_get_size(peer.context.get(), 0));
    const auto save = [&] {
        std::byte* to = ours.data();
        trunk.save([&](std::span<const std::byte> some) { to = std::ranges::copy(some, to).out; });
    };
    rows.push_back({"save to memory", median_seconds(nothing, save), median_seconds(nothing, [&] {
                        check(llama_state_seq_get_data(peer.context.get(), saved.data(), saved.size(), 0) > 0, "no state");
                    })});
    fb::PagedSession restored{model, {.piece = 512, .executor = pool, .cache = fb::DType::f16}};
    rows.push_back(
        {"restore from memory", median_seconds([&] { restored.truncate(0); }, [&] { fb::restore_session(restored, ours); }),
         median_seconds(
             [&] { llama_memory_seq_rm(peer.memory(), 0, -1, -1); },
             [&] { check(llama_state_seq_set_data(peer.context.get(), saved.data(), saved.size(), 0) > 0, "no state"); })});
    rows.push_back({"cut 16 tokens and evaluate one anew",
                    median_seconds(
                        [&] {
                            trunk.truncate(positions - 16);
                            static_cast<void>(trunk.evaluate(fb::TokenSpan{tokens}.last(16)));
                        },
                        [&] {
                            trunk.truncate(positions - 16);
                            static_cast<void>(trunk.evaluate(fb::TokenSpan{tokens}.subspan(positions - 16, 1)));
                        }),
                    median_seconds(
                        [&] {
                            llama_memory_seq_rm(peer.memory(), 0, last - 16, -1);
                            Batch batch{16};
                            for (std::size_t i = positions - 16; i < positions; ++i)
                                batch.add(tokens[i], i, 0, i + 1 == positions);
                            check(llama_decode(peer.context.get(), batch.get()) == 0, "llama_decode failed");
                        },
                        [&] {
                            llama_memory_seq_rm(peer.memory(), 0, last - 16, -1);
                            Batch batch{1};
                            batch.add(tokens[positions - 16], positions - 16, 0, true);
                            check(llama_decode(peer.context.get(), batch.get()) == 0, "llama_decode failed");
                        })});

    // One token in each of 8 branches of the text.
    trunk.truncate(positions - 16);
    llama_memory_seq_rm(peer.memory(), 0, last - 16, -1);
    std::vector<fb::PagedSession> branches;
    branches.reserve(sequences);
    std::vector<fb::PagedSession*> models;
    for (std::size_t i = 0; i < sequences; ++i) {
        branches.push_back(trunk.fork());
        models.push_back(&branches.back());
        llama_memory_seq_cp(peer.memory(), 0, static_cast<llama_seq_id>(i + 1), -1, -1);
    }
    const std::vector<fb::TokenSpan> each(sequences, fb::TokenSpan{tokens}.first(1));
    rows.push_back({"a token in each of 8 branches",
                    median_seconds(
                        [&] {
                            for (fb::PagedSession* branch : models) branch->truncate(positions - 16);
                        },
                        [&] { static_cast<void>(fb::PagedSession::evaluate_each(models, each)); }),
                    median_seconds(
                        [&] {
                            for (std::size_t i = 0; i < sequences; ++i)
                                llama_memory_seq_rm(peer.memory(), static_cast<llama_seq_id>(i + 1), last - 16, -1);
                        },
                        [&] {
                            Batch batch{sequences};
                            for (std::size_t i = 0; i < sequences; ++i) batch.add(tokens[0], positions - 16, i + 1, true);
                            check(llama_decode(peer.context.get(), batch.get()) == 0, "llama_decode failed");
                        })});
    print(rows);
    std::cout << positions << " positions, " << threads << " threads, F16 caches; medians of " << repetitions << "; states of "
              << ours.size() << " and " << saved.size() << " bytes. Ours are checked by checksums.\n";
}

}  // namespace

int main(int argc, char** argv) try {
    check(argc > 1, "peer_llama_cpp MODEL.gguf [POSITIONS [THREADS]]");
    const auto number = [&](int at, std::size_t usual) { return argc > at ? std::strtoul(argv[at], nullptr, 10) : usual; };
    const std::size_t positions = number(2, 480);
    check(positions >= 64, "POSITIONS: expected at least 64");
    compare(argv[1], positions, number(3, 2));
    return 0;
} catch (const std::exception& error) {
    std::cerr << "peer_llama_cpp: " << error.what() << '\n';
    return 1;
}
