/// \file The trainer: batches of examples go in, better parameters come out.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/executor.hpp"
#include "flashback/model/adapter.hpp"
#include "flashback/train/adamw.hpp"
#include "flashback/train/detail/export.hpp"
#include "flashback/train/detail/pass.hpp"
#include "flashback/train/learning_rate.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// The settings of a trainer.
struct TrainerOptions {
    LearningRate learning_rate = {};
    AdamWOptions adamw = {};
    float clip = 1;                         ///< the greatest norm of the whole gradient; 0: any
    std::vector<TokenId> cut_columns = {};  ///< ids that are left out of the softmax: the marking tokens
    std::uint64_t seed = 0;                 ///< for the first A of a LoRA, and for dropout
    ExecutorRef executor = {};              ///< must outlive the trainer; changes no bit of any result
};

/// What a step did.
struct StepResult {
    std::uint64_t number = 0;  ///< of this step, from 1
    double loss = 0;           ///< nats for each target, before the step
    double gradient_norm = 0;  ///< before clipping
    float learning_rate = 0;
    std::size_t targets = 0;
    std::size_t tokens = 0;
};

/// The loss of some examples.
struct LossSum {
    double nats = 0;  ///< sum over all targets
    std::size_t targets = 0;

    double mean() const noexcept { return nats / static_cast<double>(targets); }
};

/// What a run must keep to go on, bit for bit, as if it had never stopped: three arrays in the layout of Trainer::layout(), and
/// the number of steps done. The caller keeps track of the batches.
struct TrainerState {
    std::span<float> parameters;
    std::span<float> first_moments;   ///< m of AdamW
    std::span<float> second_moments;  ///< v of AdamW
    std::uint64_t& steps;
};

/// Trains a model of any family, or a LoRA and marker rows on top of it. The gradient of a batch is a sum over its examples in
/// order, and one thread computes each of them. So no bit depends on the number of threads, or on how a batch is divided among
/// calls of `accumulate`.
///
/// A trainer belongs to one thread at a time. A frozen model of f32 is shared; of matrices of other types the trainer keeps
/// copies in f32.
/// Source    Liu et al. 2024, FlashBack, section 3 (marking tokens and LoRA)
class Trainer {
public:
    /// Throws    Error{contract} for a null model and for impossible targets or ids; std::bad_alloc
    /// Cost      memory: 16 bytes for each trained parameter; for each thread the activations of the longest example; 4 bytes
    ///           of gradient for each trained parameter and example, for as many examples at a time as fit into 192 MiB; 4
    ///           bytes for each frozen weight that is not f32
    Trainer(std::shared_ptr<const Transformer> model, const TrainingTargets& targets, TrainerOptions options = {})
        : options_(std::move(options)),
          net_(std::move(model), targets, detail::random_key(options_.seed, 1)),
          dropout_(detail::Dropout::of(targets.lora.modules.empty() ? 0.0f : targets.lora.dropout)),
          workspaces_(options_.executor.concurrency()) {
        const std::size_t size = net_.layout.size();
        for (const TokenId id : options_.cut_columns) check_id(id, "the cut column");
        first_moments_ = zeros(size);
        second_moments_ = zeros(size);
        sum_ = zeros(size);
        gradients_.resize(
            std::clamp<std::size_t>(together_floats / std::max<std::size_t>(size, 1), workspaces_.size(), most_together));
    }
    Trainer(const Trainer&) = delete;
    Trainer& operator=(const Trainer&) = delete;

    /// One step of the optimiser on a batch: accumulate, then apply.
    /// Throws    as both
    StepResult step(std::span<const TrainingExample> batch) {
        accumulate(batch);
        return apply();
    }

    /// Adds the gradients of some examples of a batch. They count as following those that were added before.
    /// Throws    Error{contract} for an example without tokens or targets, or with impossible ids or positions; Error{window}
    ///           for one that is longer than the model's window; then nothing has changed; std::bad_alloc
    /// Cost      3 · 2 operations for each parameter and token if all train, about 2 · 2 for a LoRA; allocates only for an
    ///           example that is longer than all before
    void accumulate(std::span<const TrainingExample> examples) {
        check(examples);
        for (std::size_t first = 0; first < examples.size(); first += gradients_.size())
            wave(examples.subspan(first, std::min(gradients_.size(), examples.size() - first)));
    }

    /// Makes a step of AdamW with the sum of the gradients since the last step, divided by the number of targets.
    /// Throws    Error{contract} if there are none; Error{logits} if loss or gradient are not numbers: then the parameters are
    ///           as they were, and the gradients are forgotten
    StepResult apply() {
        FLASHBACK_ASSERT(pending_.targets > 0, "a step of the optimiser without examples, expected at least one");
        const Pending done = std::exchange(pending_, {});
        const double loss = done.loss / static_cast<double>(done.targets);
        const float mean = 1.0f / static_cast<float>(done.targets);
        const double norm = std::sqrt(sum_of_squares()) * static_cast<double>(mean);
        if (!std::isfinite(loss) || !std::isfinite(norm)) {
            FLASHBACK_THROW(ErrorCode::logits, "step ", steps_ + 1, " of the training has a loss of ", std::abs(loss),
                            " and a gradient of norm ", std::abs(norm),
                            ", expected numbers: the learning rate may be too high");
        }
        const float rate = options_.learning_rate.at(steps_);
        ++steps_;
        const double most = static_cast<double>(options_.clip);
        const double clipped = most > 0 ? std::min(1.0, most / (norm + 1e-6)) : 1.0;
        update(rate, static_cast<float>(clipped) * mean);
        return {steps_, loss, norm, rate, done.targets, done.tokens};
    }

    /// The loss of some examples, without dropout; changes nothing.
    /// Throws    as accumulate
    /// Cost      a third of the operations of a step
    LossSum evaluate(std::span<const TrainingExample> examples) {
        check(examples);
        reserve(examples);
        std::vector<double> losses(examples.size());
        const std::size_t workers = std::min(workspaces_.size(), examples.size());
        std::atomic<std::size_t> next = 0;
        options_.executor.run(workers, [&](std::size_t worker) {
            for (std::size_t i; (i = next++) < examples.size();)
                losses[i] = detail::Pass{net_, examples[i], options_.cut_columns, {}, workspaces_[worker]}.forward();
        });
        LossSum sum;
        for (std::size_t i = 0; i < examples.size(); ++i) {
            sum.nats += losses[i];
            sum.targets += examples[i].targets.size();
        }
        return sum;
    }

    /// What trains, and where it lies in the arrays of `state()` and `gradient()`.
    const ParameterLayout& layout() const noexcept { return net_.layout; }
    /// The state of the run. Write to it to resume one; the options must be those of that run.
    TrainerState state() noexcept {
        return {{net_.parameters.data(), layout().size()}, first_moments_, second_moments_, steps_};
    }
    /// The sum of the gradients of all targets since the last step, not yet divided by their number.
    std::span<const float> gradient() const noexcept { return sum_; }

    /// Continues from an adapter: its numbers become the parameters. The optimiser starts again, with moments of zero and step
    /// 0.
    /// Throws    Error{contract} if it has other modules, ranks, scales or rows than what trains; then nothing has changed
    void load(const Adapter& adapter) {
        detail::take_adapter(net_, adapter);
        std::fill_n(first_moments_.data(), first_moments_.size(), 0.0f);
        std::fill_n(second_moments_.data(), second_moments_.size(), 0.0f);
        pending_ = {};
        steps_ = 0;
    }

    /// The LoRA and the marker rows as they are now; empty if all parameters train.
    Adapter adapter() const { return detail::adapter_of(net_); }
    /// The model as it is now, to evaluate or to write; without LoRA and marker rows.
    std::shared_ptr<const Transformer> model() const { return detail::model_of(net_); }

    /// Bytes of everything that the trainer itself holds: including copies of frozen matrices in f32, but not the frozen model.
    std::size_t bytes() const noexcept {
        std::size_t sum = 4 * layout().size() * sizeof(float) + net_.converted_bytes();
        for (const auto& gradients : gradients_) sum += gradients.size() * sizeof(float);
        for (const detail::TrainingWorkspace& work : workspaces_) sum += work.bytes();
        return sum;
    }

private:
    static constexpr std::size_t together_floats = std::size_t{48} << 20;  // gradients that wait to be added: 192 MiB
    static constexpr std::size_t most_together = 64;                       // examples
    static constexpr std::size_t chunk = 4096;                             // parameters that one sum of squares covers

    struct Pending {
        double loss = 0;
        std::size_t targets = 0, tokens = 0;
        std::uint64_t examples = 0;
    };

    static AlignedBuffer<float> zeros(std::size_t size) {
        AlignedBuffer<float> values = in_huge_pages(AlignedBuffer<float>{size});
        std::fill_n(values.data(), size, 0.0f);
        return values;
    }

    void check_id(TokenId id, const char* what) const {
        FLASHBACK_ASSERT(id >= 0 && static_cast<std::size_t>(id) < net_.config.vocab, what, ' ', id,
                         " is not in the vocabulary of ", net_.config.vocab, " tokens");
    }

    void check(std::span<const TrainingExample> examples) const {
        for (const TrainingExample& example : examples) {
            FLASHBACK_ASSERT(!example.targets.empty(), "a training example of ", example.tokens.size(),
                             " tokens has no targets, expected at least one");
            if (example.tokens.size() > net_.config.window) {
                FLASHBACK_THROW(ErrorCode::window, "a training example has ", example.tokens.size(),
                                " tokens, but the window of the model has ", net_.config.window);
            }
            for (const TokenId id : example.tokens) check_id(id, "the token");
            std::size_t before = 0;
            for (const std::uint32_t target : example.targets) {
                FLASHBACK_ASSERT(target > before && target < example.tokens.size(), "a training example of ",
                                 example.tokens.size(), " tokens has a target at position ", target,
                                 ", expected ascending positions from 1 on");
                before = target;
                FLASHBACK_ASSERT(std::ranges::find(options_.cut_columns, example.tokens[target]) == options_.cut_columns.end(),
                                 "the target at position ", target, " of a training example is the token ",
                                 example.tokens[target], ", whose column is cut");
            }
        }
    }

    void reserve(std::span<const TrainingExample> examples) {
        std::size_t tokens = 0;
        std::size_t targets = 0;
        for (const TrainingExample& example : examples) {
            tokens = std::max(tokens, example.tokens.size());
            targets = std::max(targets, example.targets.size());
        }
        const std::size_t used = std::min(workspaces_.size(), examples.size());
        for (std::size_t i = 0; i < used; ++i) workspaces_[i].reserve(net_, tokens, targets);
    }

    // Computes the gradients of some examples side by side, then adds them in order.
    void wave(std::span<const TrainingExample> examples) {
        reserve(examples);
        for (std::size_t i = 0; i < examples.size(); ++i) {
            if (gradients_[i].size() == 0 && layout().size() > 0) gradients_[i] = zeros(layout().size());
        }
        std::vector<double> losses(examples.size());
        const std::size_t workers = std::min(workspaces_.size(), examples.size());
        std::atomic<std::size_t> next = 0;  // examples differ in length, and cores in what else they do
        options_.executor.run(workers, [&](std::size_t worker) {
            for (std::size_t i; (i = next++) < examples.size();) {
                clear_added(gradients_[i].data());
                detail::Dropout dropout = dropout_;
                dropout.key = detail::random_key(options_.seed, 2, steps_, pending_.examples + i);
                detail::Pass pass{net_, examples[i], options_.cut_columns, dropout, workspaces_[worker]};
                losses[i] = pass.forward();
                pass.backward(gradients_[i].data());
            }
        });
        const bool first = pending_.examples == 0;
        options_.executor.run_ranges(layout().size(), chunk, [&](std::size_t begin, std::size_t end) {
            if (first) std::fill(sum_.data() + begin, sum_.data() + end, 0.0f);
            for (std::size_t at = begin; at < end; at += chunk) {
                for (std::size_t i = 0; i < examples.size(); ++i)
                    simd::add(sum_.data() + at, gradients_[i].data() + at, std::min(chunk, end - at));
            }
        });
        for (std::size_t i = 0; i < examples.size(); ++i) {
            pending_.loss += losses[i];
            pending_.targets += examples[i].targets.size();
            pending_.tokens += examples[i].tokens.size();
        }
        pending_.examples += examples.size();
    }

    // Zeros the parts to which a backward pass adds. It overwrites matrices of linear layers, which are nearly everything.
    void clear_added(float* gradients) const noexcept {
        for (const Parameter& p : layout()) {
            const bool table = (p.offset == net_.embedding.gradient && !net_.tied) || p.offset == net_.positions.gradient;
            if (p.order == Parameter::Order::rows || table) std::fill_n(gradients + p.offset, p.size(), 0.0f);
        }
    }

    double sum_of_squares() const {
        const std::size_t size = layout().size();
        std::vector<double> parts((size + chunk - 1) / chunk);
        options_.executor.run_ranges(size, chunk, [&](std::size_t begin, std::size_t end) {
            for (std::size_t at = begin; at < end; at += chunk) {
                double part = 0;
                for (std::size_t i = at; i < std::min(at + chunk, end); i += simd::panel_outputs) {
                    const simd::Lanes g = simd::Lanes::load(sum_.data() + i);
                    part += static_cast<double>(simd::tree_sum(g * g));
                }
                parts[at / chunk] = part;
            }
        });
        double sum = 0;
        for (const double part : parts) sum += part;
        return sum;
    }

    void update(float rate, float factor) {
        for (const Parameter& p : layout()) {
            const float decay = p.decays ? options_.adamw.weight_decay : 0.0f;
            options_.executor.run_ranges(p.size(), chunk, [&](std::size_t begin, std::size_t end) {
                const std::size_t at = p.offset + begin;
                adamw(options_.adamw, rate, decay, steps_, factor, sum_.data() + at, end - begin, net_.parameters.data() + at,
                      first_moments_.data() + at, second_moments_.data() + at);
            });
        }
    }

    TrainerOptions options_;
    detail::Network net_;
    detail::Dropout dropout_;
    std::vector<detail::TrainingWorkspace> workspaces_;  // one for each thread
    std::vector<AlignedBuffer<float>> gradients_;        // of the examples of a wave
    AlignedBuffer<float> first_moments_, second_moments_;
    AlignedBuffer<float> sum_;
    Pending pending_;
    std::uint64_t steps_ = 0;
};

}  // namespace flashback::inline FLASHBACK_ISA
