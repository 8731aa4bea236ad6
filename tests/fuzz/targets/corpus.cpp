#include "fuzz/target.hpp"

#include "flashback/retrieval/corpus.hpp"
#include "flashback/text/unicode.hpp"

#include <set>

using namespace flashback;
using flashback_test::fuzz_check;

namespace {

bool is_utf8(std::string_view text) { return replace_invalid_utf8(text).replaced == 0; }

void read_documents(std::string_view text, const char* name, TextForm form) {
    try {
        const Corpus corpus = parse_corpus(text, name, form);
        fuzz_check(form == TextForm::pages || !corpus.documents.empty(), "a corpus has documents");
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

// The first byte chooses how plain text is read.
FLASHBACK_FUZZ_TARGET(corpus, .per_byte = 512, .constant = 65536) {
    if (bytes.empty()) return;
    const std::string_view text = flashback_test::text_of(bytes.subspan(1));
    switch (std::to_integer<unsigned>(bytes[0]) % 4) {
        case 1: return read_documents(text, "fuzz.txt", TextForm::whole);
        case 3: return read_documents(text, "fuzz.txt", TextForm::pages);
        default: return read_documents(text, "fuzz.jsonl", TextForm::dictionary);
    }
}
