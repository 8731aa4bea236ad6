#include "search_index.hpp"

#include "common.hpp"
#include "flashback/core/error.hpp"
#include "flashback/files/load.hpp"
#include "flashback/retrieval/cut_document.hpp"
#include "flashback/retrieval/index_writer.hpp"
#include "flashback/retrieval/tokenizer_codec.hpp"
#include "progress.hpp"
#if defined(FLASHBACK_TOOL_XAPIAN)
#include "flashback/interop/xapian.hpp"
#endif

#include <iostream>
#include <optional>
#include <utility>
#include <vector>

namespace cli {

namespace fb = flashback;

namespace {

#if defined(FLASHBACK_TOOL_XAPIAN)
void write_xapian(const SearchIndexOption& options, const CorpusOption& corpus, const std::string& model,
                  std::size_t passage_tokens, bool json) {
    if (options.changes() || options.whole || corpus.path.empty())
        FLASHBACK_THROW(fb::ErrorCode::contract,
                        "--backend xapian takes passages of a CORPUS, found --whole, --remove, --merge or none");
    const fb::Codec codec = fb::codec_of(fb::load_tokenizer(open_model(model)));
    fb::XapianIndexer writer{options.out,
                             corpus.analyzer == "english" ? fb::XapianStemming::english : fb::XapianStemming::none};
    const std::vector<fb::Document> documents = open_corpus(corpus.path).documents;
    std::size_t passages = 0;
    {
        const ProgressLine progress{"indexing", "documents"};
        std::size_t done = 0;
        const auto add = [&](const fb::Passage& passage) {
            writer.add({std::string{passage.id}, std::string{passage.title}, std::string{passage.text}, {}});
            ++passages;
        };
        for (const fb::Document& document : documents) {
            fb::cut_document(document, codec, passage_tokens, add);
            progress.show(++done, documents.size());
        }
    }
    writer.commit();
    if (json) {
        print({{"index", options.out}, {"added", documents.size()}, {"passages", writer.size()}});
    } else {
        std::cerr << documents.size() << " documents, " << passages << " passages written to the Xapian database "
                  << options.out << '\n';
    }
}
#endif

}  // namespace

void SearchIndexOption::add(CLI::App& command) {
    out_option =
        command.add_option("--out", out, "The folder of the index to make, or to extend if there is one")->type_name("DIR");
    command
        .add_option("--backend", backend,
                    "files: an index of ours; xapian: a Xapian database of passages, for --corpus xapian:DIR")
        ->check(CLI::IsMember({"files", "xapian"}))
        ->capture_default_str()
        ->needs(out_option);
    command.add_flag("--whole", whole, "Index whole documents, to search in, instead of passages to read")->needs(out_option);
    command.add_flag("--replace", replace, "Documents whose ids the index has take the place of those")->needs(out_option);
    add_repeated(command, "--remove", remove, "Remove the document with this id; may be repeated")
        ->type_name("ID")
        ->needs(out_option);
    command.add_flag("--merge", merge, "Make one file of all, without what was removed")->needs(out_option);
}

void write_search_index(const SearchIndexOption& options, const CorpusOption& corpus, const std::string& model,
                        std::size_t passage_tokens, std::size_t threads, bool json) {
    if (options.backend == "xapian") {
#if defined(FLASHBACK_TOOL_XAPIAN)
        return write_xapian(options, corpus, model, passage_tokens, json);
#else
        FLASHBACK_THROW(fb::ErrorCode::unsupported, "--backend xapian needs Xapian, and this tool was built without it");
#endif
    }
    fb::ThreadPool pool = start_threads(threads);
    std::optional<fb::Tokenizer> tokenizer;
    if (!options.whole) tokenizer.emplace(fb::load_tokenizer(open_model(model)));
    // The analyzer of an index that is there is the default.
    CorpusOption target = corpus;
    target.path = options.out;
    const fb::AnyAnalyzer terms = target.make_analyzer(tokenizer ? &*tokenizer : nullptr);
    fb::IndexWriter writer{options.out,
                           {.analyzer = terms,
                            .codec = tokenizer ? std::optional{fb::codec_of(*tokenizer)} : std::nullopt,
                            .passage_tokens = passage_tokens,
                            .formula = corpus.formula,
                            .executor = pool}};
    for (const std::string& id : options.remove) {
        if (!writer.remove(id))
            FLASHBACK_THROW(fb::ErrorCode::corpus, "the index '", options.out, "' has no document with the id '",
                            fb::printable(id), "'");
    }
    std::size_t added = 0;
    if (!corpus.path.empty()) {
        std::vector<fb::Document> documents = open_corpus(corpus.path).documents;
        const ProgressLine progress{"indexing", "documents"};
        for (fb::Document& document : documents) {
            if (options.replace) writer.remove(document.id);
            writer.add(std::move(document));
            progress.show(++added, documents.size());
        }
    }
    options.merge ? writer.merge() : writer.commit();

    const fb::IndexInfo info = fb::read_index_info(options.out);
    const fb::Bm25Index index = fb::Bm25Index::open(options.out, {.formula = info.formula, .analyzer = terms});
    if (json) {
        print({{"index", options.out},
               {"added", added},
               {"removed", options.remove.size()},
               {"documents", index.documents()},
               {"passages", index.size()},
               {"segments", info.segments},
               {"analyzer", info.analyzer},
               {"passage_tokens", info.passage_tokens},
               {"search_bytes", index.search_bytes()}});
    } else {
        std::cerr << index.documents() << " documents, " << index.size() << " passages, " << info.segments << " segments in "
                  << options.out << '\n';
    }
}

}  // namespace cli
