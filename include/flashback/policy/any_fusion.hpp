/// \file A fusion of passages that is chosen at run time.
#pragma once

#include "flashback/policy/fusion.hpp"

#include <concepts>
#include <cstddef>
#include <memory>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// Any DocumentFusion.
class AnyFusion {
public:
    /// Holds Concatenate, the default of its slot.
    AnyFusion() : AnyFusion(Concatenate{}) {}

    /// Holds a fusion; copies have copies of it, or refer to the same one if it is a `std::ref`.
    template <class P>
        requires(!std::same_as<P, AnyFusion>)
    explicit AnyFusion(P policy) : held_(std::make_unique<Model<P>>(std::move(policy))) {
        static_assert(detail::checked_fusion<members::Unwrapped<P>>());
        static_assert(std::copy_constructible<P>,
                      "flashback: a policy that is chosen at run time is copied; refer to one that cannot be by std::ref");
    }
    AnyFusion(const AnyFusion& other) : held_(other.held_->clone()) {}
    AnyFusion(AnyFusion&& other) noexcept : held_(std::move(other.held_)) {}
    AnyFusion& operator=(AnyFusion other) noexcept {
        held_ = std::move(other.held_);
        return *this;
    }
    ~AnyFusion() = default;

    void groups(std::size_t passages, std::vector<PassageGroup>& out) const { held_->groups(passages, out); }
    void begin(std::span<const float> scores) { held_->begin(scores); }
    void operator()(const LogitRows& rows, std::span<float> out) { held_->fuse(rows, out); }
    void took(const LogitRows& rows, TokenId token) { held_->took(rows, token); }
    void reset() {
        detail::News news = detail::News::start();
        held_->hear(news);
    }
    void rewind(std::size_t tokens) {
        detail::News news = detail::News::rewind(tokens);
        held_->hear(news);
    }
    void pass_on(detail::News& news, std::type_identity<AnyFusion>) { held_->hear(news); }
    bool wants_surprisals() const { return held_->wants_surprisals(); }
    bool wants_attention() const { return held_->wants_attention(); }
    bool looks_at_evaluated() const { return held_->looks_at_evaluated(); }

private:
    struct Interface {
        Interface() = default;
        Interface(const Interface&) = delete;
        Interface& operator=(const Interface&) = delete;
        virtual ~Interface() = default;
        virtual std::unique_ptr<Interface> clone() const = 0;
        virtual void groups(std::size_t passages, std::vector<PassageGroup>& out) const = 0;
        virtual void begin(std::span<const float> scores) = 0;
        virtual void fuse(const LogitRows& rows, std::span<float> out) = 0;
        virtual void took(const LogitRows& rows, TokenId token) = 0;
        virtual void hear(detail::News& news) = 0;
        virtual bool wants_surprisals() const = 0;
        virtual bool wants_attention() const = 0;
        virtual bool looks_at_evaluated() const = 0;
    };

    template <class P>
    struct Model final : Interface {
        explicit Model(P p) : policy(std::move(p)) {}
        std::unique_ptr<Interface> clone() const override { return std::make_unique<Model>(policy); }
        void groups(std::size_t passages, std::vector<PassageGroup>& out) const override {
            members::unwrap(policy).groups(passages, out);
        }
        void begin(std::span<const float> scores) override { begin_fusion(members::unwrap(policy), scores); }
        void fuse(const LogitRows& rows, std::span<float> out) override { fuse_logits(members::unwrap(policy), rows, out); }
        void took(const LogitRows& rows, TokenId token) override { tell_fusion(members::unwrap(policy), rows, token); }
        void hear(detail::News& news) override { news.tell(policy); }
        bool wants_surprisals() const override { return detail::wants_surprisals(policy); }
        bool wants_attention() const override { return detail::wants_attention(policy); }
        bool looks_at_evaluated() const override { return detail::looks_at_evaluated(policy); }

        P policy;
    };

    std::unique_ptr<Interface> held_;
};

}  // namespace flashback::inline FLASHBACK_ISA
