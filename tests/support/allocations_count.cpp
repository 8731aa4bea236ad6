// Proves that the counter of support/allocations.hpp counts, each way to ask for memory once.
#include "support/allocations.hpp"

#include <array>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>
#include <string>
#include <thread>
#include <vector>

#include <doctest/doctest.h>

#if defined(__GLIBC__)
#include <malloc.h>
#include <sys/mman.h>
#endif

using flashback_test::allocations_of;

namespace {

// What a compiler cannot see through, so that it does not leave out what nobody uses.
void* kept(void* memory) {
    void* volatile hidden = memory;
    return hidden;
}

struct alignas(128) Wide {
    std::array<char, 128> bytes{};
};

}  // namespace

TEST_CASE("the counter sees every form of operator new once, and nothing where nothing is asked for") {
    CHECK(allocations_of([] {}).calls == 0);
    std::vector<int> numbers;
    numbers.reserve(4);
    CHECK(allocations_of([&] {
              numbers.assign(4, 1);
              std::array<char, 100> local{};
              kept(local.data());
          }).calls == 0);

    const auto check = [](std::size_t bytes, auto&& work) {
        const auto seen = allocations_of(work);
        CHECK(seen.calls == 1);
        CHECK(seen.bytes >= bytes);
    };
    check(sizeof(int), [] { delete static_cast<int*>(kept(new int{1})); });
    check(40, [] { delete[] static_cast<int*>(kept(new int[10]{})); });
    check(sizeof(Wide), [] { delete static_cast<Wide*>(kept(new Wide)); });
    check(2 * sizeof(Wide), [] { delete[] static_cast<Wide*>(kept(new Wide[2])); });
    check(3, [] { ::operator delete(kept(::operator new(3, std::nothrow))); });
    check(5, [] { ::operator delete[](kept(::operator new[](5, std::nothrow))); });
    constexpr std::align_val_t wide{256};
    check(7, [&] { ::operator delete(kept(::operator new(7, wide, std::nothrow)), wide); });
    check(9, [&] { ::operator delete[](kept(::operator new[](9, wide, std::nothrow)), wide); });
    check(400, [] { kept(std::vector<int>(100).data()); });
    check(64, [] { kept(std::string(64, 'x').data()); });
    check(sizeof(int), [] { kept(std::make_shared<int>(3).get()); });
}

TEST_CASE("the counter sees what other threads ask for") {
    const std::size_t alone = allocations_of([] { std::thread{[] {}}.join(); }).calls;
    const std::size_t busy = allocations_of([] {
                                 std::thread{[] {
                                     for (int i = 0; i < 1000; ++i) delete static_cast<int*>(kept(new int{i}));
                                 }}.join();
                             }).calls;
    CHECK(busy >= 1000);
    CHECK(alone < 100);
}

#if defined(__GLIBC__)
TEST_CASE("the counter sees malloc, its relatives and mmap once each" * doctest::skip(!flashback_test::counts_malloc)) {
    const auto check = [](auto&& work) {
        const auto seen = allocations_of(work);
        CHECK(seen.calls == 1);
        CHECK(seen.bytes == 96);
    };
    void* grown = std::malloc(8);
    check([] { std::free(kept(std::malloc(96))); });
    check([] { std::free(kept(std::calloc(12, 8))); });
    check([&] { grown = kept(std::realloc(grown, 96)); });
    std::free(grown);
    check([] { std::free(kept(std::aligned_alloc(32, 96))); });
    check([] { std::free(kept(::memalign(32, 96))); });
    check([] { std::free(kept(::valloc(96))); });
    check([] { std::free(kept(::pvalloc(96))); });
    check([] {
        void* memory = nullptr;
        REQUIRE(::posix_memalign(&memory, 64, 96) == 0);
        std::free(kept(memory));
    });
    void* mapped = nullptr;
    check([&] { mapped = kept(::mmap(nullptr, 96, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)); });
    REQUIRE(mapped != MAP_FAILED);
    *static_cast<char*>(mapped) = 1;
    ::munmap(mapped, 96);
    check([&] { mapped = kept(::mmap64(nullptr, 96, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)); });
    ::munmap(mapped, 96);
    CHECK(::mmap(nullptr, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED);
}
#endif
