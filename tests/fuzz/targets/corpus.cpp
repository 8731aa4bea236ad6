#include "fuzz/target.hpp"

#include "flashback/data/texts.hpp"
#include "flashback/retrieval/corpus.hpp"
#include "flashback/text/unicode.hpp"

#include <set>

using namespace flashback;
using flashback_test::fuzz_check;

namespace {

bool is_utf8(std::string_view text) { return replace_invalid_utf8(text).replaced == 0; }

template <class Parse>
void read_documents(const Parse& parse) {
    try {
        const Corpus corpus = parse();
        fuzz_check(!corpus.documents.empty(), "a corpus has documents");
        std::set<std::string> ids;
        for (const Document& document : corpus.documents) {
            fuzz_check(ids.insert(document.id).second, "ids are unique");
            fuzz_check(is_utf8(document.id) && is_utf8(document.title) && is_utf8(document.text), "all text is UTF-8");
        }
    } catch (const Error& error) {
        fuzz_check(error.code() == ErrorCode::corpus, "what is wrong is the corpus");
        throw;
    }
}

}  // namespace

// The first byte chooses one of both ways to read.
FLASHBACK_FUZZ_TARGET(corpus, .per_byte = 512, .constant = 65536) {
    if (bytes.empty()) return;
    const std::string_view text = flashback_test::text_of(bytes.subspan(1));
    if (std::to_integer<unsigned>(bytes[0]) % 2 == 0) {
        read_documents([&] { return parse_corpus(text, "fuzz.jsonl"); });
    } else {
        read_documents([&] { return parse_texts(text, "fuzz.txt"); });
    }
}
