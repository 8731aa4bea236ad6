#include "retrieval_setup.hpp"

#include "flashback/core/error.hpp"
#include "flashback/policy/policies.hpp"
#include "flashback/retrieval/corpus.hpp"

#include <algorithm>
#include <optional>

namespace cli {

namespace fb = flashback;

CLI::Option* add_passages(CLI::App& command, RetrievalSettings& settings, CLI::Option* needed) {
    const auto count = [&](const char* name, std::size_t& value, const char* meaning) {
        CLI::Option* option = command.add_option(name, value, meaning)->transform(at_least(1))->capture_default_str();
        if (needed != nullptr) option->needs(needed);
        return option;
    };
    CLI::Option* query = count("--query-tokens", settings.query_tokens, "The N tokens in front of a stride are its query");
    count("--passages", settings.passages, "Passages for each stride");
    count("--passage-tokens", settings.passage_tokens, "The most tokens of a passage");
    return query;
}

CLI::Option* add_repeat(CLI::App& command, std::size_t& repeat) {
    return command
        .add_option("--repeat", repeat,
                    "With --layout append: repeat the newest N tokens of the text after the passages, which helps a model that "
                    "is not tuned to passages there")
        ->transform(at_least(0))
        ->capture_default_str();
}

void check_repeat(const std::string& layout, std::size_t repeat) {
    if (repeat > 0 && layout != "append") {
        throw CLI::ValidationError("--repeat " + std::to_string(repeat) + " needs passages behind the text, found --layout " +
                                   (layout.empty() ? "none" : layout));
    }
}

fb::AnyLayout layout_of(const std::string& name, std::size_t repeat, const fb::AsideOptions& aside) {
    if (name == "prepend" || name == "overwrite") return fb::AnyLayout{fb::PrependPassages{}};
    if (name == "sticky") return fb::AnyLayout{fb::Sticky{}};
    if (name == "aside") return fb::AnyLayout{fb::PassagesAside{aside}};
    return repeat > 0 ? fb::AnyLayout{fb::AppendAndRepeat{repeat}} : fb::AnyLayout{fb::AppendPassages{}};
}

namespace {

std::optional<fb::TokenId> end_of_documents(const RetrievalSettings& settings, const fb::Tokenizer& tokenizer) {
    const fb::Vocabulary& vocabulary = tokenizer.vocabulary();
    if (settings.separator == "newline") return {};
    if (settings.separator == "eos" && !vocabulary.eos)
        FLASHBACK_THROW(fb::ErrorCode::vocabulary, "the vocabulary has no EOS for --separator eos");
    if (settings.separator == "auto" && vocabulary.eos == vocabulary.bos) return {};
    return vocabulary.eos;
}

}  // namespace

fb::TextStream read_stream(const RetrievalSettings& settings, const fb::Tokenizer& tokenizer) {
    const fb::Corpus documents = settings.text == "-" ? fb::parse_corpus(read_text("-"), "-", fb::TextForm::whole)
                                                      : fb::read_corpus(settings.text, fb::TextForm::whole);
    return fb::text_stream(documents.documents, tokenizer, end_of_documents(settings, tokenizer));
}

fb::AnyPolicies policies_of(const RetrievalSettings& settings, const Markers& markers) {
    return fb::AnyPolicies{}
        .query(fb::AnyQuery{fb::LastNTokens{settings.query_tokens}})
        .layout(layout_of(settings.layout, settings.repeat, settings.aside.options()))
        .wrapper(wrapper_of(markers))
        .fusion(settings.fusion.fusion(settings.joined()));
}

fb::StrideOptions stride_options(const RetrievalSettings& settings, std::size_t window, std::size_t head, std::size_t tokens,
                                 std::string_view advice) {
    const bool each_marked = settings.layout != "aside" && settings.fusion.each(settings.joined());
    const std::size_t passages =
        settings.passages * settings.passage_tokens + marker_names.size() * (each_marked ? settings.passages : 1);
    const std::size_t held = settings.hold > settings.stride ? settings.hold - settings.stride : 0;
    const std::size_t fixed = head + passages + settings.repeat + settings.stride + held;
    if (settings.context == 0 && fixed >= window) {
        FLASHBACK_THROW(fb::ErrorCode::window, "a window of ", window, " tokens leaves no room for text beside ", fixed, ": ",
                        head, " of the head, ", passages, " of ", settings.passages, " passages and markers, and a stride of ",
                        settings.stride, held > 0 ? " and --hold" : "", settings.repeat > 0 ? " and --repeat" : "");
    }
    fb::StrideOptions options{.init = settings.init > 0 ? settings.init : window,
                              .stride = settings.stride,
                              .strides = settings.strides,
                              .context = settings.context > 0 ? settings.context : window - fixed,
                              .hold = settings.hold,
                              .passages = settings.layout == "none" ? 0 : settings.passages,
                              .passage_tokens = settings.passage_tokens};
    if (tokens < options.init + options.stride) {
        FLASHBACK_THROW(fb::ErrorCode::corpus, "the text '", settings.text, "' has ", tokens, " tokens, expected at least the ",
                        options.init, " in front of the first stride, and a stride of ", options.stride, ": ", advice);
    }
    return options;
}

}  // namespace cli
