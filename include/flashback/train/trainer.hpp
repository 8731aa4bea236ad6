/// \file The trainer: batches of examples go in, better parameters come out.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/executor.hpp"
#include "flashback/core/ranks.hpp"
#include "flashback/model/adapter.hpp"
#include "flashback/simd/backward.hpp"
#include "flashback/tensor/dtype.hpp"
#include "flashback/train/adamw.hpp"
#include "flashback/train/detail/export.hpp"
#include "flashback/train/detail/pass.hpp"
#include "flashback/train/learning_rate.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// The settings of a trainer.
struct TrainerOptions {
    LearningRate learning_rate = {};        ///< of each step
    AdamWOptions adamw = {};                ///< the other constants
    float clip = 1;                         ///< the greatest norm of the whole gradient; 0: any
    std::vector<TokenId> cut_columns = {};  ///< ids that are left out of the softmax: the marking tokens
    std::uint64_t seed = 0;                 ///< for the first A of a LoRA, and for dropout
    ExecutorRef executor = {};              ///< must outlive the trainer; changes no bit of any result
    RanksRef ranks = {};                    ///< divide the examples of a batch; must outlive the trainer; change no bit either
    DType precision = DType::f32;           ///< of the factors of products with matrices: f32, or bf16, which rounds them
};

/// What a step did.
struct StepResult {
    std::uint64_t number = 0;  ///< of this step, from 1
    double loss = 0;           ///< nats for each target, before the step
    double gradient_norm = 0;  ///< before clipping
    float learning_rate = 0;   ///< of this step
    std::size_t targets = 0;   ///< tokens that were predicted
    std::size_t tokens = 0;    ///< tokens that were evaluated
};

/// The loss of some examples.
struct LossSum {
    double nats = 0;          ///< sum over all targets
    std::size_t targets = 0;  ///< tokens that were predicted

    /// Nats for each target.
    double mean() const noexcept { return nats / static_cast<double>(targets); }
};

/// What a run must keep to go on, bit for bit, as if it had never stopped: three arrays in the layout of Trainer::layout(), and
/// the number of steps done. The caller keeps track of the batches.
struct TrainerState {
    std::span<float> parameters;      ///< what trains
    std::span<float> first_moments;   ///< m of AdamW
    std::span<float> second_moments;  ///< v of AdamW
    std::uint64_t& steps;             ///< done so far
};

/// Trains a model of any family, or a LoRA and marker rows on top of it. The gradient of a batch is a sum over its examples in
/// order, and one thread computes each of them. So no bit depends on the number of threads, or on how a batch is divided among
/// calls of `accumulate`.
///
/// Ranks divide each batch: each makes a trainer and calls it with all examples, and computes only its share. Each adds its
/// gradients to the sum of the ranks before it, so all have the bits of one process in every part of the state.
///
/// A trainer belongs to one thread at a time. A frozen model of f32 is shared; of matrices of other types the trainer keeps
/// copies in f32.
///
/// In bf16, products with matrices round both of their factors, forward and backward, and add in f32: with tiles or `vdpbf16ps`
/// where the processor has them. What trains, its gradients and moments, attention and norms stay f32.
/// Source    Liu et al. 2024, FlashBack, section 3 (marking tokens and LoRA)
class Trainer {
public:
    /// Requires  all ranks make one
    /// Throws    Error{contract} for a null model, for impossible targets or ids, and for another precision; std::bad_alloc; what
    ///           the ranks throw
    /// Cost      memory: 16 bytes for each trained parameter; for each thread the activations of the longest example; 4 bytes
    ///           of gradient for each trained parameter and example, for as many examples at a time as fit into 192 MiB, or
    ///           as rank 0 has threads; 4 bytes for each frozen weight that is not f32
    Trainer(std::shared_ptr<const Transformer> model, const TrainingTargets& targets, TrainerOptions options = {});
    Trainer(const Trainer&) = delete;
    Trainer& operator=(const Trainer&) = delete;

    /// One step of the optimiser on a batch: accumulate, then apply.
    /// Throws    as both
    StepResult step(std::span<const TrainingExample> batch);

    /// Adds the gradients of some examples of a batch. They count as following those that were added before.
    /// Throws    Error{contract} for an example without tokens or targets, or with impossible ids or positions; Error{window}
    ///           for one that is longer than the model's window; then nothing has changed. std::bad_alloc; what the ranks
    ///           throw: then the sum may lack some examples
    /// Cost      3 · 2 operations for each parameter and token if all train, about 2 · 2 for a LoRA; allocates only for an
    ///           example that is longer than all before
    void accumulate(std::span<const TrainingExample> examples);

    /// Makes a step of AdamW with the sum of the gradients since the last step, divided by the number of targets.
    /// Throws    Error{contract} if there are none; Error{logits} if loss or gradient are not numbers: then the parameters are
    ///           as they were, and the gradients are forgotten
    StepResult apply();

    /// The loss of some examples, without dropout; changes nothing.
    /// Throws    as accumulate
    /// Cost      a third of the operations of a step
    LossSum evaluate(std::span<const TrainingExample> examples);

    /// What trains, and where it lies in the arrays of `state()` and `gradient()`.
    const ParameterLayout& layout() const noexcept { return net_.layout; }
    /// The state of the run. Write to it to resume one; the options must be those of that run.
    TrainerState state() noexcept;
    /// The sum of the gradients of all targets since the last step, not yet divided by their number.
    std::span<const float> gradient() const noexcept { return sum_; }

    /// Continues from an adapter: its numbers become the parameters. The optimiser starts again, with moments of zero and step
    /// 0.
    /// Throws    Error{contract} if it has other modules, ranks, scales or rows than what trains; then nothing has changed
    void load(const Adapter& adapter);

    /// The LoRA and the marker rows as they are now; empty if all parameters train.
    Adapter adapter() const { return detail::adapter_of(net_); }
    /// The model as it is now, to evaluate or to write; without LoRA and marker rows.
    std::shared_ptr<const Transformer> model() const { return detail::model_of(net_); }

    /// Bytes of everything that the trainer itself holds, including copies of frozen matrices in f32, but not the frozen model.
    std::size_t bytes() const noexcept;

private:
    static constexpr std::size_t together_floats = std::size_t{48} << 20;  // gradients that wait to be added: 192 MiB
    static constexpr std::size_t most_together = 64;                       // examples
    static constexpr std::size_t chunk = 4096;                             // parameters that one sum of squares covers

    struct Pending {
        double loss = 0;
        std::size_t targets = 0, tokens = 0;
        std::uint64_t examples = 0;
    };

    static AlignedBuffer<float> zeros(std::size_t size);

    void check_id(TokenId id, const char* what) const;

    void check(std::span<const TrainingExample> examples) const;

    // Gives the number of positions that the runs take.
    static std::size_t check_runs(const TrainingExample& example);

    void reserve(std::span<const TrainingExample> examples);

    // Computes the gradients of this rank's share of some examples side by side, then adds those of all in order.
    void wave(std::span<const TrainingExample> examples);

    // Zeros the parts to which a backward pass adds. It overwrites matrices of linear layers, which are nearly everything.
    void clear_added(float* gradients) const noexcept;

    double sum_of_squares() const;

    void update(float rate, float factor);

    // Gives all ranks what each has computed for its share.
    void exchange(std::span<double> losses) const;

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

#if !defined(FLASHBACK_COMPILED_ONCE)
#include "flashback/train/detail/trainer.hpp"
#endif
