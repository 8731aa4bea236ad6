/// \file The options of passages beside the text.
#pragma once

#include "common.hpp"
#include "flashback/kv/block_store.hpp"
#include "flashback/policy/any_policy.hpp"
#include "flashback/policy/layout.hpp"

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace cli {

/// What --layout aside can be told.
class AsideOption {
public:
    /// Adds --seeing and --approximate, which layouts behind the text know, too, if text may move; they make no sense without the option
    /// `needed` if there is one.
    void add(CLI::App& command, CLI::Option* needed = nullptr, bool text_moves = true);
    /// Adds --passage-element.
    void add_element(CLI::App& command, CLI::Option* needed = nullptr);
    /// Adds --joined.
    void add_joined(CLI::App& command, CLI::Option* needed = nullptr);
    /// Adds --passage-store and --passages-kv: passages may come again.
    void add_store(CLI::App& command);

    /// As with --joined.
    void join() { joined_ = true; }

    /// Refuses them with a layout that puts passages into the text; but --approximate goes with one behind it if `reuse`, what --reuse
    /// says, is to keep something.
    void check(const std::string& layout, const std::optional<std::string>& reuse = {}) const;

    /// The name of --approximate if it was given and text is to move; else null.
    const char* moving_text(const std::string& layout) const;

    /// What of the KV cache is kept: "prefix", with --approximate behind the text also the text that moves, or "none".
    flashback::AnyReuse reuse(const std::string& layout, const std::string& name) const;

    /// Adds to JSON what they say.
    void describe(const std::string& layout, Json& json) const;

    flashback::AsideOptions options() const { return {.seeing = seeing_, .exact = !approximate_, .joined = joined_}; }

    /// What was asked for.
    flashback::BlockElement element() const { return element_.value_or(flashback::BlockElement::as_evaluated); }

    /// A store that keeps what it is told to, and looks in the file that it is told of; that says what it rounds to if nobody did.
    /// Throws    as BlockFile::open; Error{contract} if the file keeps something else than was asked for
    std::shared_ptr<flashback::BlockStore> store() const;
    /// A store that keeps nothing, but rounds what it is told to, so that counts do not depend on what came before; null if it
    /// would do nothing.
    std::shared_ptr<flashback::BlockStore> rounding() const;
    /// The file of --passages-kv; empty: none.
    const std::string& file() const noexcept { return file_; }

private:
    CLI::Option* added(CLI::Option* option, CLI::Option* needed);

    std::size_t seeing_ = 1;
    bool approximate_ = false;
    bool joined_ = false;
    std::optional<flashback::BlockElement> element_;
    std::size_t store_ = 256;  // MiB
    std::string file_;
    std::vector<const CLI::Option*> added_;
};

}  // namespace cli
