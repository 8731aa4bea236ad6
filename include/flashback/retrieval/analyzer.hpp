/// \file How text becomes the terms that are searched for.
#pragma once

#include "flashback/core/config.hpp"
#include "flashback/core/error.hpp"
#include "flashback/core/function_ref.hpp"

#include <concepts>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace flashback::inline FLASHBACK_ISA {

/// The policy by which text becomes terms. Documents and queries go the same way. Several threads may call one analyzer at
/// once.
///
/// | expression                 | result                         | meaning                                                   |
/// |----------------------------|--------------------------------|-----------------------------------------------------------|
/// | `a.analyze(text, on_term)` |                                | calls `on_term(std::string_view)` for each term, in order |
/// | `a.name()`                 | converts to `std::string_view` | what an index stores: other terms, other name             |
///
/// The view of a term is valid during its call.
template <class A>
concept Analyzer = requires(const A& analyzer, std::string_view text, FunctionRef<void(std::string_view)> on_term) {
    analyzer.analyze(text, on_term);
    { analyzer.name() } -> std::convertible_to<std::string_view>;
};

/// The words of a text in lower case, whatever language they are in ("words").
///
/// - A word is a run of Unicode letters, marks and digits.
/// - Scripts without spaces (Han, Hiragana, Katakana, Thai, Lao, Khmer, Myanmar) give the pairs of neighbours in a run, each a
///   letter with its marks; a letter that stands alone is a term by itself.
/// - Canonically equivalent texts, such as normal forms C and D, give the same terms.
/// - Characters that nobody sees, such as a soft hyphen or a zero width joiner, are left out and part no word. A zero width
///   space parts.
/// - `++` or `#` right after a word belongs to it unless a letter, mark or digit follows: `C++`, `C#` and `g++` differ from `c`
///   and `g`.
/// - Of a term that is longer than 255 bytes, only the whole characters in the first 255 bytes stay.
///
/// Bytes that are not UTF-8 part words.
/// Cost      some 30 ns for a word in ASCII, no allocation
/// Source    The Unicode Standard 15.0: section 3.11 (normal form C), Scripts.txt, Default_Ignorable_Code_Point
class WordAnalyzer {
public:
    /// Calls `on_term(word)` for each word, in order.
    void analyze(std::string_view text, FunctionRef<void(std::string_view)> on_term) const;

    /// What an index remembers it by.
    static constexpr std::string_view name() noexcept { return "words"; }
};

static_assert(Analyzer<WordAnalyzer>);

/// Any analyzer, chosen at run time. It is a value: copies share one immutable analyzer.
class AnyAnalyzer {
public:
    /// Holds a WordAnalyzer.
    AnyAnalyzer() : AnyAnalyzer(WordAnalyzer{}) {}

    /// Holds an analyzer.
    template <class A>
        requires(!std::same_as<A, AnyAnalyzer> && Analyzer<A>)
    AnyAnalyzer(A analyzer)  // NOLINT(*-explicit-*): an option is set to an analyzer
        : held_(std::make_shared<const Model<A>>(std::move(analyzer))) {}

    /// Calls `on_term(std::string_view)` for each term of a text, in order.
    /// Throws    what the analyzer throws; Error{contract} if this one was moved from
    void analyze(std::string_view text, FunctionRef<void(std::string_view)> on_term) const { held().analyze(text, on_term); }

    /// What an index stores, and compares with the analyzer that it is opened with.
    /// Throws    Error{contract} if this one was moved from
    std::string_view name() const { return held().name(); }

private:
    struct Interface {
        Interface() = default;
        Interface(const Interface&) = delete;
        Interface& operator=(const Interface&) = delete;
        virtual ~Interface() = default;
        virtual void analyze(std::string_view text, FunctionRef<void(std::string_view)> on_term) const = 0;
        virtual std::string_view name() const = 0;
    };

    template <class A>
    struct Model final : Interface {
        explicit Model(A a) : analyzer(std::move(a)), label(analyzer.name()) {}
        void analyze(std::string_view text, FunctionRef<void(std::string_view)> on_term) const override {
            analyzer.analyze(text, on_term);
        }
        std::string_view name() const override { return label; }

        A analyzer;
        std::string label;  // a copy: an analyzer may make its name anew at each call
    };

    const Interface& held() const {
        FLASHBACK_ASSERT(held_ != nullptr, "an analyzer was used after it was moved from");
        return *held_;
    }

    std::shared_ptr<const Interface> held_;
};

static_assert(Analyzer<AnyAnalyzer>);

}  // namespace flashback::inline FLASHBACK_ISA

#if !defined(FLASHBACK_COMPILED_ONCE)
#include "flashback/retrieval/detail/word_analyzer.hpp"
#endif
