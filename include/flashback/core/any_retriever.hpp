/// \file A retriever that is chosen at run time.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/retriever.hpp"

#include <concepts>
#include <cstddef>
#include <functional>
#include <memory>
#include <ranges>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// Any retriever. Owns what it is made of, and copies share it; make it of a `std::ref` to refer to one that lives elsewhere.
class AnyRetriever {
public:
    /// Finds nothing.
    AnyRetriever() : AnyRetriever(NoDocuments{}) {}

    /// Holds a retriever, or refers to one by a `std::ref`.
    template <class R>
        requires(!std::same_as<R, AnyRetriever>)
    explicit AnyRetriever(R retriever) {
        using Inner = std::remove_reference_t<std::unwrap_reference_t<R>>;
        static_assert(Retriever<Inner>,
                      "flashback: a Retriever must have retrieve(const Query&, std::size_t k) and return a range of Passage");
        if constexpr (Retriever<Inner>) {
            auto held = std::make_shared<R>(std::move(retriever));
            Inner* inner = &static_cast<Inner&>(*held);
            retriever_ = std::shared_ptr<void>{std::move(held), const_cast<std::remove_const_t<Inner>*>(inner)};
            retrieve_ = [](void* object, const Query& query, std::size_t k, std::vector<Passage>& found) {
                auto&& range = static_cast<Inner*>(object)->retrieve(query, k);
                found.assign(std::ranges::begin(range), std::ranges::end(range));
            };
        }
    }

    /// The passages that the retriever found, valid until the next call.
    /// Throws    what the retriever throws; Error{contract} if this one was moved from
    /// Cost      a copy of the list of passages, not of their texts
    std::span<const Passage> retrieve(const Query& query, std::size_t k) {
        FLASHBACK_ASSERT(retriever_ != nullptr, "a retriever was used after it was moved from");
        retrieve_(retriever_.get(), query, k, found_);
        return found_;
    }

private:
    std::shared_ptr<void> retriever_;
    void (*retrieve_)(void*, const Query&, std::size_t, std::vector<Passage>&) = nullptr;
    std::vector<Passage> found_;
};

static_assert(Retriever<AnyRetriever>);

}  // namespace flashback::inline FLASHBACK_ISA
