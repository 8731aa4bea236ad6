#include "fuzz/seeds.hpp"

#include "flashback/retrieval/detail/build_segments.hpp"

#include <cstddef>
#include <cstring>
#include <string>
#include <vector>

using namespace flashback;

namespace {

std::string segment_of(const std::vector<Document>& documents) {
    const AnyAnalyzer analyzer;
    const std::vector<std::byte> bytes = detail::build_segment(documents, {&analyzer, nullptr, 0, {}});
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// A segment whose footer gives its checksum, whatever was changed in it: what stands behind the footer's own check.
template <class Change>
std::string changed(std::string segment, const Change& change) {
    detail::IndexFooter footer{};
    char* const end = segment.data() + segment.size() - sizeof(footer);
    std::memcpy(&footer, end, sizeof(footer));
    change(segment, footer);
    footer.checksum = detail::footer_checksum(footer);
    std::memcpy(end, &footer, sizeof(footer));
    return segment;
}

}  // namespace

FLASHBACK_FUZZ_SEEDS(index_segment) {
    std::vector<Document> documents;
    for (int d = 0; d < 150; ++d) documents.push_back({std::to_string(d), "t", d % 7 == 0 ? "all of them" : "all"});
    const std::string whole = segment_of(documents);
    seeds.push_back({"empty", ""});
    seeds.push_back({"none", segment_of({})});
    seeds.push_back({"one", segment_of({{"a", "A", "a word, a word"}})});
    seeds.push_back({"blocks", whole});
    using Footer = detail::IndexFooter;
    for (std::size_t s = 0; s < detail::index_sections; ++s) {
        const std::string name = std::to_string(s);
        seeds.push_back({"more_" + name, changed(whole, [&](std::string&, Footer& f) { f.sections[s].bytes += 8; })});
        seeds.push_back({"less_" + name, changed(whole, [&](std::string&, Footer& f) { f.sections[s].bytes -= 1; })});
        seeds.push_back({"ones_" + name, changed(whole, [&](std::string& text, Footer& f) {
                             for (std::size_t i = 0; i < f.sections[s].bytes; i += 5) text[f.sections[s].at + i] = '\xff';
                         })});
    }
}
