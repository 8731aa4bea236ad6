#include "fuzz/seeds.hpp"

#include "flashback/data/stride_cache.hpp"
#include "support/temporary_folder.hpp"

using namespace flashback;

FLASHBACK_FUZZ_SEEDS(strides) {
    const flashback_test::TemporaryFolder folder;
    const auto write = [&](const char* name, std::vector<RetrievedStrides::Entry> entries, std::vector<std::uint64_t> ends,
                           std::vector<TokenId> tokens) {
        const std::vector<float> scores(ends.size(), 1.5f);
        write_strides(folder.path() / name, RetrievedStrides{16, entries.size(), entries, ends, scores, tokens, nullptr}, 7);
        seeds.push_back({name, flashback_test::bytes_of_file(folder.path() / name)});
        return seeds.back().bytes;
    };
    write("nothing", {}, {}, {});
    const std::string good = write("two", {{100, 60, 1}, {116, 60, 3}}, {2, 3, 5}, {1, 2, 3, 4, 5});
    write("none_found", {{100, 60, 0}}, {}, {});
    write("strides_descend", {{100, 60, 2}, {116, 60, 1}}, {2, 5}, {1, 2, 3, 4, 5});
    write("passages_descend", {{100, 60, 1}, {116, 60, 2}}, {5, 2}, {1, 2, 3, 4, 5});
    write("stride_beyond", {{100, 60, 2}}, {5}, {1, 2, 3, 4, 5});
    write("passage_beyond", {{100, 60, 1}}, {6}, {1, 2, 3, 4, 5});
    write("context_too_long", {{10, 60, 1}}, {1}, {1});
    seeds.push_back({"empty", ""});
    seeds.push_back({"cut", good.substr(0, good.size() - 4)});
    seeds.push_back({"header_alone", good.substr(0, 56)});
    const auto changed = [&](const char* name, std::size_t at, char value) {
        seeds.push_back({name, good});
        seeds.back().bytes[at] = value;
    };
    changed("magic", 0, 'F');
    changed("version", 8, 1);
    changed("stride_of_0", 12, 0);
    changed("many_entries", 39, '\x7f');
    changed("many_passages", 47, '\x7f');
    changed("many_tokens", 55, '\x7f');
}
