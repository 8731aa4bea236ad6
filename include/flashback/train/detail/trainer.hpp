/// \file One step of training.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/executor.hpp"
#include "flashback/core/ranks.hpp"
#include "flashback/model/adapter.hpp"
#include "flashback/simd/backward.hpp"
#include "flashback/simd/elementwise.hpp"
#include "flashback/simd/packed_panel.hpp"
#include "flashback/train/adamw.hpp"
#include "flashback/train/detail/export.hpp"
#include "flashback/train/detail/pass.hpp"
#include "flashback/train/learning_rate.hpp"
#include "flashback/train/trainer.hpp"

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

FLASHBACK_DETAIL_ONCE Trainer::Trainer(std::shared_ptr<const Transformer> model, const TrainingTargets& targets,
                                       TrainerOptions options)
    : options_(std::move(options)),
      net_(std::move(model), targets, random_key(options_.seed, 1)),
      dropout_(detail::Dropout::of(targets.lora.modules.empty() ? 0.0f : targets.lora.dropout)),
      workspaces_(options_.executor.concurrency()) {
    FLASHBACK_ASSERT(options_.precision == DType::f32 || options_.precision == DType::bf16, "products of training in ",
                     layout_of(options_.precision).name, ", expected F32 or BF16");
    net_.precision = options_.precision;
    const std::size_t size = net_.layout.size();
    for (const TokenId id : options_.cut_columns) check_id(id, "the cut column");
    first_moments_ = zeros(size);
    second_moments_ = zeros(size);
    sum_ = zeros(size);
    const std::size_t fit = std::min(together_floats / std::max<std::size_t>(size, 1), most_together);
    std::uint64_t together = std::max(fit, workspaces_.size());
    options_.ranks.broadcast_one(together);  // ranks may have other threads, but must cut the same waves
    gradients_.resize(static_cast<std::size_t>(together));
}

FLASHBACK_DETAIL_ONCE StepResult Trainer::step(std::span<const TrainingExample> batch) {
    accumulate(batch);
    return apply();
}

FLASHBACK_DETAIL_ONCE void Trainer::accumulate(std::span<const TrainingExample> examples) {
    check(examples);
    const std::size_t most = gradients_.size() * options_.ranks.size();
    for (std::size_t first = 0; first < examples.size(); first += most)
        wave(examples.subspan(first, std::min(most, examples.size() - first)));
}

FLASHBACK_DETAIL_ONCE StepResult Trainer::apply() {
    FLASHBACK_ASSERT(pending_.targets > 0, "a step of the optimiser without examples, expected at least one");
    const Pending done = std::exchange(pending_, {});
    const double loss = done.loss / static_cast<double>(done.targets);
    const float mean = 1.0f / static_cast<float>(done.targets);
    const double norm = std::sqrt(sum_of_squares()) * static_cast<double>(mean);
    if (!std::isfinite(loss) || !std::isfinite(norm)) {
        FLASHBACK_THROW(ErrorCode::logits, "step ", steps_ + 1, " of the training has a loss of ", std::abs(loss),
                        " and a gradient of norm ", std::abs(norm), ", expected numbers: the learning rate may be too high");
    }
    const float rate = options_.learning_rate.at(steps_);
    ++steps_;
    const double most = static_cast<double>(options_.clip);
    const double clipped = most > 0 ? std::min(1.0, most / (norm + 1e-6)) : 1.0;
    update(rate, static_cast<float>(clipped) * mean);
    return {steps_, loss, norm, rate, done.targets, done.tokens};
}

FLASHBACK_DETAIL_ONCE LossSum Trainer::evaluate(std::span<const TrainingExample> examples) {
    check(examples);
    const auto share = options_.ranks.share(examples.size(), options_.ranks.rank());
    const std::size_t end = share.second;
    reserve(examples.subspan(share.first, end - share.first));
    std::vector<double> losses(examples.size());
    std::atomic<std::size_t> next = share.first;
    options_.executor.run(std::min(workspaces_.size(), end - share.first), [&](std::size_t worker) {
        for (std::size_t i; (i = next++) < end;)
            losses[i] = detail::Pass{net_, examples[i], options_.cut_columns, {}, workspaces_[worker]}.forward();
    });
    exchange(losses);
    LossSum sum;
    for (std::size_t i = 0; i < examples.size(); ++i) {
        sum.nats += losses[i];
        sum.targets += examples[i].targets.size();
    }
    return sum;
}

FLASHBACK_DETAIL_ONCE TrainerState Trainer::state() noexcept {
    return {{net_.parameters.data(), layout().size()}, first_moments_, second_moments_, steps_};
}

FLASHBACK_DETAIL_ONCE void Trainer::load(const Adapter& adapter) {
    detail::take_adapter(net_, adapter);
    std::fill_n(first_moments_.data(), first_moments_.size(), 0.0f);
    std::fill_n(second_moments_.data(), second_moments_.size(), 0.0f);
    pending_ = {};
    steps_ = 0;
}

FLASHBACK_DETAIL_ONCE std::size_t Trainer::bytes() const noexcept {
    std::size_t sum = 4 * layout().size() * sizeof(float) + net_.converted_bytes();
    for (const auto& gradients : gradients_) sum += gradients.size() * sizeof(float);
    for (const detail::TrainingWorkspace& work : workspaces_) sum += work.bytes();
    return sum;
}

FLASHBACK_DETAIL_ONCE AlignedBuffer<float> Trainer::zeros(std::size_t size) {
    AlignedBuffer<float> values = in_huge_pages(AlignedBuffer<float>{size});
    std::fill_n(values.data(), size, 0.0f);
    return values;
}

FLASHBACK_DETAIL_ONCE void Trainer::check_id(TokenId id, const char* what) const {
    FLASHBACK_ASSERT(id >= 0 && static_cast<std::size_t>(id) < net_.config.vocab, what, ' ', id,
                     " is not in the vocabulary of ", net_.config.vocab, " tokens");
}

FLASHBACK_DETAIL_ONCE void Trainer::check(std::span<const TrainingExample> examples) const {
    for (const TrainingExample& example : examples) {
        FLASHBACK_ASSERT(!example.targets.empty(), "a training example of ", example.tokens.size(),
                         " tokens has no targets, expected at least one");
        const PassageRows& beside = example.beside;
        FLASHBACK_ASSERT(beside.head <= beside.begin && beside.begin <= beside.end && beside.end < example.tokens.size(),
                         "a training example of ", example.tokens.size(), " tokens has a passage from ", beside.begin, " to ",
                         beside.end, " that sees the first ", beside.head,
                         ", expected it behind these, and at least 1 token behind it");
        std::size_t positions = std::max(example.tokens.size() - beside.size(), beside.head + beside.size());
        if (!example.runs.empty()) positions = check_runs(example);
        if (positions > net_.config.window) {
            FLASHBACK_THROW(ErrorCode::window, "a training example takes ", positions,
                            " positions, but the window of the model has ", net_.config.window);
        }
        for (const TokenId id : example.tokens) check_id(id, "the token");
        std::size_t before = 0;
        for (const std::uint32_t target : example.targets) {
            FLASHBACK_ASSERT(target > before && target < example.tokens.size(), "a training example of ", example.tokens.size(),
                             " tokens has a target at position ", target, ", expected ascending positions from 1 on");
            before = target;
            FLASHBACK_ASSERT(beside.size() == 0 || target > beside.end, "a training example has a target at token ", target,
                             ", expected all behind token ", beside.end, ", the first after its passage");
            FLASHBACK_ASSERT(std::ranges::find(options_.cut_columns, example.tokens[target]) == options_.cut_columns.end(),
                             "the target at position ", target, " of a training example is the token ", example.tokens[target],
                             ", whose column is cut");
        }
    }
}

FLASHBACK_DETAIL_ONCE std::size_t Trainer::check_runs(const TrainingExample& example) {
    FLASHBACK_ASSERT(example.beside.size() == 0, "a training example has runs and ", example.beside.size(),
                     " tokens beside the text, expected one or the other");
    const std::vector<TokenRun>& runs = example.runs;
    std::size_t positions = 0;
    std::size_t end = 0;
    auto target = example.targets.begin();
    for (std::size_t i = 0; i < runs.size(); ++i) {
        const TokenRun& run = runs[i];
        FLASHBACK_ASSERT(run.begin == end && run.end > end, "run ", i, " of a training example has the tokens from ", run.begin,
                         " to ", run.end, ", expected some from ", end, " on");
        FLASHBACK_ASSERT(run.shared <= run.begin && run.position <= run.begin, "run ", i,
                         " of a training example begins at token ", run.begin, ", position ", run.position,
                         " and sees the first ", run.shared,
                         " tokens, expected it at no position behind its token, and to see what is in front of it");
        const bool sees = run.passage != TokenRun::no_passage;
        FLASHBACK_ASSERT(!sees || (run.passage < i && runs[run.passage].begin >= run.shared), "run ", i,
                         " of a training example sees the first ", run.shared, " tokens and run ", run.passage,
                         ", expected a run between these and itself");
        positions = std::max(positions, run.position + run.size());
        end = run.end;
        for (; target != example.targets.end() && *target < end; ++target)
            FLASHBACK_ASSERT(*target > run.begin, "token ", *target, ", the first of run ", i,
                             " of a training example, is a target, expected one behind it: nothing predicts the first");
    }
    FLASHBACK_ASSERT(end == example.tokens.size(), "the runs of a training example have ", end, " tokens, expected all ",
                     example.tokens.size());
    return positions;
}

FLASHBACK_DETAIL_ONCE void Trainer::reserve(std::span<const TrainingExample> examples) {
    std::size_t tokens = 0;
    std::size_t targets = 0;
    for (const TrainingExample& example : examples) {
        tokens = std::max(tokens, example.tokens.size());
        targets = std::max(targets, example.targets.size());
    }
    const std::size_t used = std::min(workspaces_.size(), examples.size());
    for (std::size_t i = 0; i < used; ++i) workspaces_[i].reserve(net_, tokens, targets);
}

FLASHBACK_DETAIL_ONCE void Trainer::wave(std::span<const TrainingExample> examples) {
    const auto share = options_.ranks.share(examples.size(), options_.ranks.rank());
    const std::size_t mine = share.first;
    const std::size_t end = share.second;
    reserve(examples.subspan(mine, end - mine));
    for (std::size_t i = 0; i < end - mine; ++i) {
        if (gradients_[i].size() == 0 && layout().size() > 0) gradients_[i] = zeros(layout().size());
    }
    std::vector<double> losses(examples.size());
    const std::size_t workers = std::min(workspaces_.size(), end - mine);
    std::atomic<std::size_t> next = mine;  // examples differ in length, and cores in what else they do
    options_.executor.run(workers, [&](std::size_t worker) {
        for (std::size_t i; (i = next++) < end;) {
            clear_added(gradients_[i - mine].data());
            detail::Dropout dropout = dropout_;
            dropout.key = random_key(options_.seed, 2, steps_, pending_.examples + i);
            detail::Pass pass{net_, examples[i], options_.cut_columns, dropout, workspaces_[worker]};
            losses[i] = pass.forward();
            pass.backward(gradients_[i - mine].data());
        }
    });
    const bool first = pending_.examples == 0 && options_.ranks.first();
    options_.ranks.add_in_order({sum_.data(), layout().size()}, [&](std::size_t from, std::size_t to) {
        options_.executor.run_ranges(to - from, chunk, [&](std::size_t begin, std::size_t stop) {
            if (first) std::fill(sum_.data() + from + begin, sum_.data() + from + stop, 0.0f);
            for (std::size_t at = from + begin; at < from + stop; at += chunk) {
                for (std::size_t i = 0; i < end - mine; ++i)
                    simd::add(sum_.data() + at, gradients_[i].data() + at, std::min(chunk, from + stop - at));
            }
        });
    });
    exchange(losses);
    for (std::size_t i = 0; i < examples.size(); ++i) {
        pending_.loss += losses[i];
        pending_.targets += examples[i].targets.size();
        pending_.tokens += examples[i].tokens.size();
    }
    pending_.examples += examples.size();
}

FLASHBACK_DETAIL_ONCE void Trainer::exchange(std::span<double> losses) const {
    for (std::size_t rank = 0; rank < options_.ranks.size(); ++rank) {
        const auto share = options_.ranks.share(losses.size(), rank);
        options_.ranks.broadcast(losses.subspan(share.first, share.second - share.first), rank);
    }
}

FLASHBACK_DETAIL_ONCE void Trainer::clear_added(float* gradients) const noexcept {
    for (const Parameter& p : layout()) {
        const bool table = (p.offset == net_.embedding.gradient && !net_.tied) || p.offset == net_.positions.gradient;
        if (p.order == Parameter::Order::rows || table) std::fill_n(gradients + p.offset, p.size(), 0.0f);
    }
}

FLASHBACK_DETAIL_ONCE double Trainer::sum_of_squares() const {
    const std::size_t size = layout().size();
    std::vector<double> parts((size + chunk - 1) / chunk);
    options_.executor.run_ranges(size, chunk, [&](std::size_t begin, std::size_t end) {
        for (std::size_t at = begin; at < end; at += chunk) {
            double part = 0;
            for (std::size_t i = at; i < std::min(at + chunk, end); i += simd::panel_outputs)
                part += static_cast<double>(simd::sum_of_squares(sum_.data() + i));
            parts[at / chunk] = part;
        }
    });
    double sum = 0;
    for (const double part : parts) sum += part;
    return sum;
}

FLASHBACK_DETAIL_ONCE void Trainer::update(float rate, float factor) {
    for (const Parameter& p : layout()) {
        const float decay = p.decays ? options_.adamw.weight_decay : 0.0f;
        options_.executor.run_ranges(p.size(), chunk, [&](std::size_t begin, std::size_t end) {
            const std::size_t at = p.offset + begin;
            adamw(options_.adamw, {steps_, rate, factor},
                  {sum_.data() + at, net_.parameters.data() + at, first_moments_.data() + at, second_moments_.data() + at,
                   end - begin},
                  decay);
        });
    }
}

}  // namespace flashback::inline FLASHBACK_ISA
