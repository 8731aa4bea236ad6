/// \file A retriever that is chosen at run time.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/owned_passage.hpp"
#include "flashback/core/retriever.hpp"

#include <concepts>
#include <cstddef>
#include <memory>
#include <ranges>
#include <span>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// Any retriever. It owns the one that it is made from, and copies share it; made from a `std::ref`, it refers to one that
/// lives elsewhere. It always has the optional members of a Retriever, but for `begin_batch` and `take_batch`. If the retriever
/// lacks `retrieve_batch`, queries are asked one after the other; if it lacks `prefetch`, nothing is prefetched; if it lacks
/// `speculate`, nothing is guessed; if it lacks `work`, that is 0.
class AnyRetriever {
public:
    /// Finds nothing.
    AnyRetriever() : AnyRetriever(NoPassages{}) {}

    /// Holds a retriever, or refers to one by a `std::ref`.
    template <class R>
        requires(!std::same_as<R, AnyRetriever>)
    explicit AnyRetriever(R retriever) {
        static_assert(checked_retriever<members::Unwrapped<R>>());
        if constexpr (Retriever<members::Unwrapped<R>>) held_ = std::make_shared<Model<R>>(std::move(retriever));
    }

    /// The passages that the retriever found, valid until the next call.
    /// Throws    what the retriever throws; Error{contract} if this one was moved from
    /// Cost      a copy of the list of passages, not of their texts
    std::span<const Passage> retrieve(const Query& query, std::size_t k) {
        held().retrieve(query, k, found_);
        return found_;
    }

    /// The answers to several queries, valid until the next call.
    /// Throws    as `retrieve`
    /// Cost      a copy of the lists of passages, and of their texts if the retriever answers one query at a time
    std::span<const std::vector<Passage>> retrieve_batch(std::span<const Query> queries, std::size_t k) {
        batch_.resize(queries.size());
        held().retrieve_batch(queries, k, batch_, texts_);
        return batch_;
    }

    /// What the retriever guesses that it will find, valid until the next guess; nothing if it does not guess.
    /// Throws    as `retrieve`
    std::span<const Passage> speculate(const Query& query, std::size_t k) {
        held().speculate(query, k, guessed_);
        return guessed_;
    }

    /// Lets the retriever begin a search, if it can.
    void prefetch(const Query& query, std::size_t k) { held().prefetch(query, k); }

    /// Whether what was prefetched is there; true if the retriever does not prefetch.
    bool ready() const { return held().ready(); }

    /// The tokens that models of the retriever have evaluated, ever.
    std::size_t work() const { return held().work(); }

private:
    /// Copies of what passages view, because an answer lives only until the next query.
    using Texts = std::vector<OwnedPassage>;

    struct Interface {
        Interface() = default;
        Interface(const Interface&) = delete;
        Interface& operator=(const Interface&) = delete;
        virtual ~Interface() = default;
        virtual void retrieve(const Query& query, std::size_t k, std::vector<Passage>& found) = 0;
        virtual void retrieve_batch(std::span<const Query> queries, std::size_t k, std::vector<std::vector<Passage>>& found,
                                    Texts& texts) = 0;
        virtual void speculate(const Query& query, std::size_t k, std::vector<Passage>& guessed) = 0;
        virtual void prefetch(const Query& query, std::size_t k) = 0;
        virtual bool ready() const = 0;
        virtual std::size_t work() const = 0;
    };

    template <class R>
    struct Model final : Interface {
        explicit Model(R r) : retriever(std::move(r)) {}
        using Inner = members::Unwrapped<R>;

        void retrieve(const Query& query, std::size_t k, std::vector<Passage>& found) override {
            auto&& range = members::unwrap(retriever).retrieve(query, k);
            found.assign(std::ranges::begin(range), std::ranges::end(range));
        }
        void retrieve_batch(std::span<const Query> queries, std::size_t k, std::vector<std::vector<Passage>>& found,
                            Texts& texts) override {
            if constexpr (BatchRetriever<Inner>) {
                auto&& answers = members::unwrap(retriever).retrieve_batch(queries, k);
                FLASHBACK_ASSERT(std::ranges::size(answers) == queries.size(), "a retriever gave ", std::ranges::size(answers),
                                 " answers to ", queries.size(), " queries");
                auto out = found.begin();
                for (auto&& answer : answers) (out++)->assign(std::ranges::begin(answer), std::ranges::end(answer));
            } else {
                texts.clear();
                for (std::size_t i = 0; i < queries.size(); ++i) {
                    retrieve(queries[i], k, found[i]);
                    for (const Passage& passage : found[i]) texts.emplace_back(passage);
                }
                auto text = texts.begin();  // only now: the copies moved while their number grew
                for (std::vector<Passage>& answer : found) {
                    for (Passage& passage : answer) passage = (text++)->view();
                }
            }
        }
        void speculate(const Query& query, std::size_t k, std::vector<Passage>& guessed) override {
            guessed.clear();
            if constexpr (SpeculatingRetriever<Inner>) {
                auto&& range = members::unwrap(retriever).speculate(query, k);
                guessed.assign(std::ranges::begin(range), std::ranges::end(range));
            }
        }
        void prefetch(const Query& query, std::size_t k) override {
            if constexpr (PrefetchingRetriever<Inner>) members::unwrap(retriever).prefetch(query, k);
        }
        bool ready() const override {
            if constexpr (PrefetchingRetriever<Inner>) {
                return members::unwrap(retriever).ready();
            } else {
                return true;
            }
        }
        std::size_t work() const override { return work_of(members::unwrap(retriever)); }

        R retriever;
    };

    Interface& held() const {
        FLASHBACK_ASSERT(held_ != nullptr, "a retriever was used after it was moved from");
        return *held_;
    }

    std::shared_ptr<Interface> held_;
    std::vector<Passage> found_;
    std::vector<Passage> guessed_;
    std::vector<std::vector<Passage>> batch_;
    Texts texts_;
};

static_assert(BatchRetriever<AnyRetriever> && PrefetchingRetriever<AnyRetriever> && SpeculatingRetriever<AnyRetriever> &&
              CountsWork<AnyRetriever>);

}  // namespace flashback::inline FLASHBACK_ISA
