// Prefill and decode beside llama.cpp, on the same file in the same run: a model of a known shape with random weights is written in
// each type, and the two take turns, so that a drift of the machine meets both. Each figure is the best of all rounds. Ours has also its
// share of the machine's peak: of arithmetic where many tokens are evaluated at once, of reading memory where one is.
//
// peer_llama_speed [SHAPE [THREADS [ROUNDS [TYPES...]]]]          e.g. peer_llama_speed tinyllama-1.1b 2 5 q8_0 q4_0
#include "flashback/core/thread_pool.hpp"
#include "flashback/files/load.hpp"
#include "flashback/files/write_model.hpp"
#include "flashback/interop/llama_cpp.hpp"
#include "flashback/measure/machine_peaks.hpp"
#include "flashback/measure/model_cost.hpp"
#include "flashback/measure/run_time.hpp"
#include "flashback/model/random_transformer.hpp"
#include "flashback/model/session.hpp"
#include "llama_engine.hpp"
#include "support/temporary_folder.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdlib>
#include <exception>
#include <iomanip>
#include <iostream>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

namespace fb = flashback;

constexpr std::size_t context = 512;  // in front of the decoded tokens
constexpr std::size_t decoded = 16;

struct Settings {
    std::string shape = "tinyllama-1.1b";
    std::size_t threads = 2;
    std::size_t rounds = 5;
    std::vector<std::string> types = {"bf16", "q8_0", "q4_0"};
};

fb::DType type_of(const std::string& name) {
    constexpr std::array<const char*, 4> names{"f32", "bf16", "q8_0", "q4_0"};
    constexpr std::array types{fb::DType::f32, fb::DType::bf16, fb::DType::q8_0, fb::DType::q4_0};
    const auto found = std::ranges::find(names, name);
    if (found == names.end()) throw std::runtime_error("the type '" + name + "': expected f32, bf16, q8_0 or q4_0");
    return types[static_cast<std::size_t>(found - names.begin())];
}

/// What is timed: `m` tokens at once, or single tokens after `context` others.
struct Row {
    std::optional<std::size_t> m;
    double ours = 1e9, theirs = 1e9;  // seconds of the best round

    std::size_t tokens() const { return m.value_or(decoded); }
    template <class Model>
    double seconds(Model& model) const {
        if (m) model.truncate(0);
        return (m ? fb::time_prefill(model, 0, *m) : fb::time_decode(model, context, decoded)).seconds();
    }
    double share(const fb::ModelCost& cost, const fb::MachinePeaks& peaks) const {
        const double rate = static_cast<double>(tokens()) / ours;
        if (m) return rate * cost.operations / cost.product_peak(peaks);
        return rate * cost.decode_bytes(context + (decoded + 1) / 2.0) / peaks.read;
    }
};

/// Throws if the two do not evaluate the same: the likeliest token of ours must be about as likely there.
void check_same(fb::Session& ours, fb::LlamaCppModel& theirs) {
    const fb::TokenBuffer text{5, 6, 7, 8, 9, 10, 11, 12};
    ours.truncate(0);
    theirs.truncate(0);
    const auto a = ours.evaluate(text);
    const auto b = theirs.evaluate(text);
    const auto likeliest = static_cast<std::size_t>(std::ranges::max_element(a) - a.begin());
    if (std::fabs(a[likeliest] - b[likeliest]) > 0.1f * std::fabs(b[likeliest]) + 0.5f)
        throw std::runtime_error("the logits of the two are far apart: they do not evaluate the same");
}

/// The best of two measurements: the machine's other tenants come and go.
fb::MachinePeaks better(const fb::MachinePeaks& a, const fb::MachinePeaks& b) {
    return {.threads = a.threads,
            .f32 = std::max(a.f32, b.f32),
            .bf16 = std::max(a.bf16, b.bf16),
            .int8 = std::max(a.int8, b.int8),
            .read = std::max(a.read, b.read)};
}

void compare(const std::string& type, const Settings& settings, fb::ThreadPool& pool) {
    const flashback_test::TemporaryFolder folder;
    const std::string file = (folder.path() / "model.gguf").string();
    const auto shape = fb::shape_of(settings.shape);
    if (!shape) throw std::runtime_error("there is no shape '" + settings.shape + "'");
    {
        const fb::Vocabulary vocabulary = fb::read_vocabulary(fb::GgufFile::open(FLASHBACK_BENCH_MODEL));
        fb::write_model(file, *fb::random_transformer(*shape, type_of(type), 1, pool), &vocabulary, type_of(type));
    }
    const auto model = fb::load_model(fb::GgufFile::open(file), pool);
    const fb::ModelCost cost = fb::cost_of(*model, fb::DType::f16);
    fb::Session ours{model, {.piece = 512, .executor = pool, .cache = fb::DType::f16}};
    const flashback_examples::LlamaEngine engine{
        file, {.window = 1024, .texts = 1, .passages = 0, .threads = static_cast<int>(settings.threads), .exact_cache = false}};
    fb::LlamaCppModel theirs{engine.context()};
    check_same(ours, theirs);

    fb::MachinePeaks peaks = fb::measure_peaks(pool);
    std::array<Row, 4> rows{Row{.m = 16}, Row{.m = 144}, Row{.m = 512}, Row{.m = std::nullopt}};
    for (std::size_t round = 0; round < settings.rounds; ++round) {
        for (Row& row : rows) {
            row.ours = std::min(row.ours, row.seconds(ours));
            row.theirs = std::min(row.theirs, row.seconds(theirs));
        }
    }
    peaks = better(peaks, fb::measure_peaks(pool));

    std::cout << "| " << type << std::fixed;
    for (const Row& row : rows) {
        const auto tokens = static_cast<double>(row.tokens());
        std::cout << " | " << std::setprecision(row.m ? 0 : 1) << tokens / row.ours << ", " << std::setprecision(0)
                  << 100 * row.share(cost, peaks) << " %, " << std::setprecision(1) << row.theirs / row.ours << "x ("
                  << std::setprecision(row.m ? 0 : 1) << tokens / row.theirs << ")";
    }
    std::cout << " | " << std::setprecision(0) << cost.product_peak(peaks) / 1e9 << " | " << peaks.read / 1e9 << " |"
              << std::endl;
}

Settings settings_of(int argc, char** argv) {
    Settings settings;
    const auto number = [&](int at, std::size_t& to, const char* name) {
        if (argc <= at) return;
        to = std::strtoul(argv[at], nullptr, 10);
        if (to == 0) throw std::runtime_error(std::string{name} + ": expected a number above 0, found '" + argv[at] + "'");
    };
    if (argc > 1) settings.shape = argv[1];
    number(2, settings.threads, "THREADS");
    number(3, settings.rounds, "ROUNDS");
    if (argc > 4) settings.types.assign(argv + 4, argv + argc);
    return settings;
}

}  // namespace

int main(int argc, char** argv) try {
    const Settings settings = settings_of(argc, argv);
    for (const std::string& type : settings.types) static_cast<void>(type_of(type));
    fb::ThreadPool pool{settings.threads};
    std::cout << settings.shape << ", " << settings.threads << " threads, " << FLASHBACK_ISA_NAME
              << ", F16 caches, the best of " << settings.rounds
              << " rounds: tokens/s, share of the peak, times as fast as llama.cpp (its tokens/s)\n"
              << "| weights | 16 at once | 144 | 512 | one by one after " << context
              << " | peak of products, G/s | memory, GB/s |\n|---|---|---|---|---|---|---|\n";
    for (const std::string& type : settings.types) compare(type, settings, pool);
    return 0;
} catch (const std::exception& error) {
    std::cerr << "peer_llama_speed: " << error.what() << '\n';
    return 1;
}
