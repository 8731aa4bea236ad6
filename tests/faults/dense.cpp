// Stored vectors, while memory or a file fails: what was is what is, and nothing is left behind.
#include "flashback/dense/exact_index.hpp"
#include "flashback/dense/vector_map.hpp"
#include "flashback/dense/vector_store.hpp"
#include "support/faults.hpp"
#include "support/temporary_folder.hpp"

#include <cstddef>
#include <filesystem>
#include <iterator>
#include <memory>
#include <vector>

#include <doctest/doctest.h>

using namespace flashback;
using namespace flashback_test;

TEST_CASE("faults: vectors are added all or none, and the store goes on") {
    for (const DType element : {DType::f32, DType::f16, DType::i8}) {
        const std::vector<float> first{1, 2}, more(200, 3.0f);
        with_each_fault(
            Fault::allocation,
            [&] {
                auto store = std::make_unique<VectorStore>(2, VectorOptions{.element = element});
                store->add(first);
                return store;
            },
            [&](auto& store) { store->add(more); },
            [&](auto& store) {
                CHECK(store->size() == 1);
                const std::uint64_t before = store->checksum();
                store->add(more);
                CHECK(store->size() == 101);
                CHECK(store->checksum() != before);
            });
    }
}

TEST_CASE("faults: a search that finds no memory leaves an index that goes on") {
    VectorStore store{2};
    store.add(std::vector<float>{1, 2, 3, 4, 5, 6});
    const ExactIndex index{std::move(store)};
    const std::vector<float> queries{1, 0, 0, 1};
    with_each_fault(Fault::allocation, [&] {
        if (index.search_batch(queries, 2).at(1).at(0) != DenseHit{2, 6.0f}) FAIL_CHECK("found wrongly");
    });
}

TEST_CASE("faults: a file of vectors is written whole, or the old one stays and nothing else is left, and so is a map") {
    const TemporaryFolder folder;
    const auto path = folder.path() / "some.vec";
    VectorStore one{2, {.element = DType::i8}};
    one.add(std::vector<float>{1, 2});
    VectorStore two{2, {.element = DType::i8}};
    two.add(std::vector<float>{1, 2, 3, 4});
    for (const Fault fault : {Fault::allocation, Fault::file, Fault::less, Fault::interrupted}) {
        with_each_fault(
            fault,
            [&] {
                one.save(path);
                return 0;
            },
            [&](int) { two.save(path); },
            [&](int) {
                const VectorStore found = VectorStore::open(path);
                found.verify();
                CHECK(found.size() >= 1);  // the last call makes sure of the folder: then the new file is there
                CHECK(std::distance(std::filesystem::directory_iterator{folder.path()}, {}) == 1);
            });
    }
    const VectorMap map{{1, 2}, {3, 4}};
    const auto map_path = folder.path() / "map.safetensors";
    for (const Fault fault : {Fault::allocation, Fault::file}) {
        with_each_fault(
            fault,
            [&] {
                map.save(map_path);
                return 0;
            },
            [&](int) { map.save(map_path); }, [&](int) { CHECK(VectorMap::load(map_path).reduced() == 1); });
    }
}

TEST_CASE("faults: a file of vectors is read, or nothing is left") {
    const TemporaryFolder folder;
    const auto path = folder.path() / "some.vec";
    VectorStore store{3};
    store.add(std::vector<float>(30, 1.0f));
    store.save(path);
    for (const FileAccess access : {FileAccess::map, FileAccess::copy}) {
        for (const Fault fault : {Fault::allocation, Fault::file, Fault::end_of_file, Fault::less, Fault::interrupted}) {
            with_each_fault(fault, [&] {
                const VectorStore opened = VectorStore::open(path, access);
                opened.verify();
                if (opened.size() != 10) FAIL_CHECK("read wrongly");
            });
        }
    }
}
