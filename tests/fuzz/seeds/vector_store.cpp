#include "fuzz/seeds.hpp"

#include "flashback/dense/vector_store.hpp"
#include "support/temporary_folder.hpp"
#include "support/vector_file_bytes.hpp"

#include <limits>

using namespace flashback;
using flashback_test::bytes_of;
using flashback_test::VectorFileBytes;

FLASHBACK_FUZZ_SEEDS(vector_store) {
    static constexpr std::uint64_t most = std::numeric_limits<std::uint64_t>::max();
    seeds.push_back({"empty", ""});
    for (const DType element : {DType::f32, DType::f16, DType::i8}) {
        const flashback_test::TemporaryFolder folder;
        const auto path = folder.path() / "written.vec";
        VectorStore store{3, {.element = element, .normalise = element == DType::f16}};
        store.save(path);
        seeds.push_back({"none_" + std::string{layout_of(element).name}, flashback_test::bytes_of_file(path)});
        store.add(std::vector<float>{1, 2, 3, -4, 5, -6});
        store.save(path);
        seeds.push_back({"written_" + std::string{layout_of(element).name}, flashback_test::bytes_of_file(path)});
    }
    const auto add = [&](const char* name, const VectorFileBytes& file) { seeds.push_back({name, file.bytes()}); };
    add("magic", {.magic = "FBVECTOS"});
    add("version", {.version = 2});
    add("element", {.element = 30});
    add("no_dimension", {.dimension = 0});
    add("wide", {.dimension = most});
    add("many", {.vectors = most});
    add("none", {.vectors = 0});
    add("neither", {.normalised = 2});
    VectorFileBytes file;
    file.behind.replace(0, 8,
                        bytes_of(std::numeric_limits<float>::infinity()) + bytes_of(-std::numeric_limits<float>::infinity()));
    add("not_finite", file);
    seeds.push_back({"short", "FBVECTOR" + bytes_of<std::uint64_t>(1)});
}
