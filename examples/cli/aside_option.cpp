#include "aside_option.hpp"

#include <cstdint>
#include <map>
#include <utility>

namespace cli {
namespace {

namespace fb = flashback;

/// Whether passages stand behind the text that they were found for.
bool is_behind(const std::string& layout) { return layout == "append" || layout == "sticky"; }

const std::map<std::string, fb::BlockElement> elements{
    {"as-evaluated", fb::BlockElement::as_evaluated}, {"f16", fb::BlockElement::f16}, {"int8", fb::BlockElement::int8}};

}  // namespace

CLI::Option* AsideOption::added(CLI::Option* option, CLI::Option* needed) {
    if (needed != nullptr) option->needs(needed);
    added_.push_back(option);
    return option;
}

void AsideOption::add(CLI::App& command, CLI::Option* needed, bool text_moves) {
    added(command.add_option("--seeing", seeing_, "With --layout aside: the newest N tokens of the text see the passages"),
          needed)
        ->transform(at_least(1))
        ->capture_default_str();
    const std::string where = text_moves
                                  ? "With --layout aside, or append and sticky, where it moves to where the text goes on: "
                                    "this needs rotary positions"
                                  : "With --layout aside";
    added(command.add_flag("--approximate", approximate_,
                           "What was written while a passage was seen keeps what it saw, and is not evaluated again at a "
                           "retrieval, so it is no longer exact. " +
                               where),
          needed);
}

void AsideOption::add_element(CLI::App& command, CLI::Option* needed) {
    added(command.add_option_function<std::string>(
              "--passage-element", [this](const std::string& name) { element_ = elements.at(name); },
              "With --layout aside: what keys and values of passages are rounded to"),
          needed)
        ->check(CLI::IsMember(std::vector<std::string>{"as-evaluated", "f16", "int8"}))
        ->type_name("ELEMENT")
        ->default_str("as-evaluated");
}

void AsideOption::add_joined(CLI::App& command, CLI::Option* needed) {
    added(
        command.add_flag("--joined", joined_,
                         "With --layout aside: the passages are one block, one after the other; by default each is a block of "
                         "its own"),
        needed);
}

void AsideOption::add_store(CLI::App& command) {
    added(command.add_option(
              "--passage-store", store_,
              "With --layout aside: keep the keys and values of passages in N MiB, so that a passage that is found "
              "again is not evaluated again"),
          nullptr)
        ->transform(at_least(0, std::uint64_t{1} << 30))
        ->capture_default_str();
    added(command.add_option(
              "--passages-kv", file_,
              "With --layout aside: a file of flashback index with the keys and values of passages, which so are not "
              "evaluated; what it rounded them to is the default of --passage-element. It has each passage alone: several that "
              "are --joined are not found"),
          nullptr)
        ->type_name("FILE");
}

void AsideOption::check(const std::string& layout, const std::optional<std::string>& reuse) const {
    if (layout == "aside") return;
    for (const CLI::Option* option : added_) {
        if (option->count() == 0) continue;
        const bool moves = reuse && option->get_name() == "--approximate";
        if (moves && is_behind(layout)) {
            if (reuse == "none") throw CLI::ValidationError("--approximate needs --reuse prefix, found none");
            continue;
        }
        throw CLI::ValidationError(option->get_name() + " needs passages beside the text" + (moves ? " or behind it" : "") +
                                   ", found --layout " + (layout.empty() ? "none" : layout));
    }
}

const char* AsideOption::moving_text(const std::string& layout) const {
    return approximate_ && is_behind(layout) ? "--approximate" : nullptr;
}

fb::AnyReuse AsideOption::reuse(const std::string& layout, const std::string& name) const {
    if (name == "none") return fb::AnyReuse{fb::RecomputeAll{}};
    return moving_text(layout) != nullptr ? fb::AnyReuse{fb::KeepAndMoveText{}} : fb::AnyReuse{fb::KeepCommonPrefix{}};
}

void AsideOption::describe(const std::string& layout, Json& json) const {
    if (moving_text(layout) != nullptr) json["approximate"] = true;
    if (layout != "aside") return;
    json.update(
        {{"seeing", seeing_}, {"approximate", approximate_}, {"joined", joined_}, {"passage_element", fb::name_of(element())}});
}

std::shared_ptr<fb::BlockStore> AsideOption::store() const {
    fb::BlockStoreOptions options{.budget = store_ << 20, .element = element()};
    if (file_.empty()) return std::make_shared<fb::BlockStore>(options);
    auto file = std::make_shared<const fb::BlockFile>(fb::BlockFile::open(file_));
    if (!element_) options.element = file->header().element;
    return std::make_shared<fb::BlockStore>(options, std::move(file));
}

std::shared_ptr<fb::BlockStore> AsideOption::rounding() const {
    if (element() == fb::BlockElement::as_evaluated) return nullptr;
    return std::make_shared<fb::BlockStore>(fb::BlockStoreOptions{.budget = 0, .element = element()});
}

}  // namespace cli
