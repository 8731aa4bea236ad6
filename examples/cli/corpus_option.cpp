#include "corpus_option.hpp"

#include "common.hpp"
#include "flashback/core/error.hpp"
#include "flashback/core/fingerprint.hpp"
#include "flashback/data/stride_cache.hpp"
#include "flashback/retrieval/filtered.hpp"
#include "flashback/retrieval/token_analyzer.hpp"
#include "flashback/retrieval/tokenizer_codec.hpp"
#if defined(FLASHBACK_TOOL_ENGLISH)
#include "flashback/retrieval/english.hpp"
#endif
#if defined(FLASHBACK_TOOL_XAPIAN)
#include "flashback/interop/xapian.hpp"
#endif

#include <algorithm>
#include <string_view>
#include <utility>
#include <vector>

namespace cli {

namespace fb = flashback;

CLI::Option* CorpusOption::add_path(CLI::App& command, const char* help) {
    return command.add_option("--corpus", path, help)->type_name("PATH");
}

void CorpusOption::add_search(CLI::App& command, CLI::Option* needed) {
    for (CLI::Option* option :
         {command
              .add_option("--analyzer", analyzer,
                          "What is searched for: words in lower case; English words without endings (english); or the tokens "
                          "of the model. By default words, or what an index was made with")
              ->check(CLI::IsMember({"words", "english", "tokens"})),
          command.add_option("--k1", formula.k1, "BM25: how soon more occurrences of a word stop counting")
              ->check(number_from(0, 1000))
              ->capture_default_str(),
          command.add_option("--b", formula.b, "BM25: how much a passage is marked down for being long")
              ->check(number_from(0, 1))
              ->capture_default_str()}) {
        if (needed != nullptr) option->needs(needed);
    }
}

void CorpusOption::add_filter(CLI::App& command) {
    const auto compile = [this](const std::string& pattern) {
        try {
            filter_.emplace(pattern, std::regex::ECMAScript | std::regex::optimize);
            return true;
        } catch (const std::regex_error&) {
            return false;
        }
    };
    command
        .add_option_function<std::string>(
            "--filter", [](const std::string&) {},
            "Only passages whose id or title matches this regular expression (ECMAScript)")
        ->type_name("REGEX")
        ->check([compile](const std::string& pattern) {
            return compile(pattern) ? std::string{} : "found '" + fb::printable(pattern) + "', expected a regular expression";
        });
}

bool CorpusOption::wants(const fb::Passage& passage) const {
    constexpr std::size_t most = 4096;  // std::regex calls itself for every character
    const auto matches = [this](std::string_view text) {
        text = text.substr(0, most);
        return std::regex_search(text.begin(), text.end(), *filter_);
    };
    return !filter_ || matches(passage.id) || matches(passage.title);
}

fb::AnyAnalyzer CorpusOption::make_analyzer(const fb::Tokenizer* tokenizer) const {
    const std::string name = !analyzer.empty() || !fb::is_bm25_index(path) ? analyzer : fb::read_index_info(path).analyzer;
    if (name.empty() || name == fb::WordAnalyzer::name()) return fb::WordAnalyzer{};
    if (name == "english") {
#if defined(FLASHBACK_TOOL_ENGLISH)
        return fb::EnglishAnalyzer{};
#else
        FLASHBACK_THROW(fb::ErrorCode::unsupported,
                        "the analyzer 'english' needs libstemmer, and this tool was built without it");
#endif
    }
    if (name.starts_with("tokens")) {
        if (tokenizer == nullptr)
            FLASHBACK_THROW(fb::ErrorCode::contract,
                            "the analyzer 'tokens' needs the tokenizer of a model, but documents are whole");
        return fb::TokenAnalyzer{fb::codec_of(*tokenizer)};
    }
    FLASHBACK_THROW(fb::ErrorCode::unsupported, "the index '", path, "' was made with the analyzer '", fb::printable(name),
                    "', which this tool does not have");
}

fb::AnyRetriever CorpusOption::open_xapian(const fb::Tokenizer& tokenizer) const {
#if defined(FLASHBACK_TOOL_XAPIAN)
    constexpr std::string_view folder = "xapian:";
    constexpr std::string_view server = "xapian+";
    std::vector<std::string> shards;
    for (std::size_t begin = 0; begin <= path.size();) {
        const std::size_t end = std::min(path.find(',', begin), path.size());
        const std::string part = path.substr(begin, end - begin);
        if (part.starts_with(folder)) {
            shards.push_back(part.substr(folder.size()));
        } else if (part.starts_with(server)) {
            shards.push_back(part.substr(server.size()));
        } else {
            FLASHBACK_THROW(fb::ErrorCode::contract, "--corpus: found '", fb::printable(part),
                            "', expected xapian:FOLDER or xapian+tcp://HOST:PORT");
        }
        begin = end + 1;
    }
    const fb::Codec codec = fb::codec_of(tokenizer);
    const auto encode = [codec](std::string_view text) {
        fb::TokenBuffer tokens = codec.head;
        fb::append(tokens, codec.encode(text));
        return tokens;
    };
    return fb::AnyRetriever{fb::XapianRetriever{shards, encode, codec.decode, {.k1 = formula.k1, .b = formula.b}}};
#else
    static_cast<void>(tokenizer);
    FLASHBACK_THROW(fb::ErrorCode::unsupported, "--corpus ", fb::printable(path),
                    " needs Xapian, and this tool was built without it");
#endif
}

fb::AnyRetriever CorpusOption::open_any(const fb::Tokenizer& tokenizer, std::size_t passage_tokens) const {
    fb::AnyRetriever any = is_xapian() ? open_xapian(tokenizer) : fb::AnyRetriever{open(tokenizer, passage_tokens)};
    if (!filter_) return any;
    return fb::AnyRetriever{fb::Filtered{std::move(any), [this](const fb::Passage& passage) { return wants(passage); }}};
}

fb::Bm25Index CorpusOption::open(const fb::Tokenizer& tokenizer, std::size_t passage_tokens, fb::ExecutorRef executor) const {
    refuse_xapian();
    const fb::AnyAnalyzer terms = make_analyzer(&tokenizer);
    const fb::Codec codec = fb::codec_of(tokenizer);
    if (!fb::is_bm25_index(path)) {
        return {path.empty() ? std::vector<fb::Document>{} : open_corpus(path).documents,
                codec,
                {.formula = formula, .analyzer = terms, .passage_tokens = passage_tokens, .executor = executor}};
    }
    const std::size_t held = fb::read_index_info(path).passage_tokens;
    if (held == 0)
        FLASHBACK_THROW(fb::ErrorCode::contract, "the index '", path,
                        "' has whole documents, expected passages: only search --whole reads it");
    if (held != passage_tokens) {
        FLASHBACK_THROW(fb::ErrorCode::contract, "the passages of the index '", path, "' have at most ", held, " tokens, but ",
                        passage_tokens, " were asked for with --passage-tokens");
    }
    return fb::Bm25Index::open(path, {.formula = formula, .analyzer = terms, .codec = codec, .executor = executor});
}

fb::Bm25Index CorpusOption::open_whole() const {
    refuse_xapian();
    const fb::AnyAnalyzer terms = make_analyzer(nullptr);
    if (fb::is_bm25_index(path)) {
        if (fb::read_index_info(path).passage_tokens != 0)
            FLASHBACK_THROW(fb::ErrorCode::contract, "the index '", path,
                            "' has passages, expected whole documents for --whole");
        return fb::Bm25Index::open(path, {.formula = formula, .analyzer = terms});
    }
    return fb::Bm25Index{open_corpus(path).documents, {.formula = formula, .analyzer = terms}};
}

void CorpusOption::refuse_xapian() const {
    if (is_xapian()) {
        FLASHBACK_THROW(fb::ErrorCode::unsupported, "this command needs all passages, which '", fb::printable(path),
                        "' does not give; expected documents, or an index that index --out has written");
    }
}

std::uint64_t CorpusOption::key() const {
    fb::Fingerprint all;
    if (fb::is_bm25_index(path)) {
        all.add(fb::read_index_info(path).fingerprint);
    } else if (is_xapian()) {
        all.add(std::string_view{path});  // what the databases hold is not known
    } else if (!path.empty()) {
        all.add(fb::corpus_key(open_corpus(path).documents));
    }
    all.add(std::string_view{analyzer});
    for (const double number : {formula.k1, formula.b}) all.add(std::as_bytes(std::span{&number, 1}));
    return all.value();
}

}  // namespace cli
