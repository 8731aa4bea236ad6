// An index in files under every failure: of memory, of a call on a file, of the whole program. What was committed last is always there.
#include "flashback/retrieval/bm25.hpp"
#include "flashback/retrieval/index_writer.hpp"
#include "support/faults.hpp"
#include "support/killed_at.hpp"
#include "support/temporary_folder.hpp"

#include <cstddef>
#include <filesystem>
#include <string>

#include <doctest/doctest.h>

namespace test_faults_index {

using namespace flashback;
using flashback_test::Fault;
using flashback_test::TemporaryFolder;

/// An index of three documents; made once, and copied.
void make(const std::filesystem::path& path) {
    static const TemporaryFolder made;
    if (!std::filesystem::exists(made.path() / "index")) {
        IndexWriter writer{made.path()};
        for (const char* id : {"a", "b", "c"}) writer.add({id, "", std::string{"all of "} + id});
        writer.commit();
    }
    std::filesystem::remove_all(path);
    std::filesystem::copy(made.path(), path);
}

/// One of them is removed, two are added in batches of their own; then all is merged.
void extend(const std::filesystem::path& path) {
    IndexWriter writer{path, {.batch_bytes = 1}};
    writer.remove("b");
    for (const char* id : {"d", "e"}) writer.add({id, "", std::string{"all of "} + id});
    writer.commit();
    writer.merge();
}

/// Whether it is the old index or the new one, whole.
void check(const std::filesystem::path& path) {
    const Bm25Index index = Bm25Index::open(path, {.verify = true});
    const bool extended = index.documents() == 4;
    CHECK((extended || index.documents() == 3));
    CHECK(index.search("all", 9).size() == index.documents());
    CHECK(index.search("b", 9).size() == (extended ? 0 : 1));
    CHECK(index.search("e", 9).size() == (extended ? 1 : 0));
}

TEST_CASE("faults: an index is extended, or it is as it was") {
    const TemporaryFolder folder;
    const auto path = folder.path() / "index";
    make(path);
    for (const Fault fault : {Fault::allocation, Fault::file, Fault::less, Fault::interrupted}) {
        flashback_test::with_each_fault(
            fault,
            [&] {
                make(path);
                return 0;
            },
            [&](int) { extend(path); }, [&](int) { check(path); });
    }
}

TEST_CASE("faults: an index is opened, or nothing is left") {
    const TemporaryFolder folder;
    const auto path = folder.path() / "index";
    make(path);
    {
        IndexWriter writer{path};
        writer.remove("b");
        writer.commit();
    }
    for (const Fault fault : {Fault::allocation, Fault::file, Fault::end_of_file, Fault::less, Fault::interrupted}) {
        for (const FileAccess access : {FileAccess::map, FileAccess::copy}) {
            flashback_test::with_each_fault(fault, [&] {
                const Bm25Index index = Bm25Index::open(path, {.verify = true, .access = access});
                if (index.search("all", 9).size() != 2) FAIL_CHECK("found wrongly");
            });
        }
    }
}

TEST_CASE("faults: an index whose writer is killed at any call on a file is the old or the new one, and can be extended") {
    const TemporaryFolder folder;
    const auto path = folder.path() / "index";
    std::size_t old = 0;
    std::size_t extended = 0;
    for (std::size_t n = 1;; ++n) {
        CAPTURE(n);
        make(path);
        const bool killed = flashback_test::killed_at(n, [&] { extend(path); });
        check(path);
        (Bm25Index::open(path).documents() == 3 ? old : extended) += 1;
        IndexWriter writer{path};
        writer.add({"f", "", "unheard of"});
        writer.commit();
        CHECK(Bm25Index::open(path, {.verify = true}).search("unheard", 9).size() == 1);
        if (!killed) break;
    }
    CHECK(old > 10);
    CHECK(extended > 2);
}

}  // namespace test_faults_index
