#include "flashback/core/members.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include <doctest/doctest.h>

namespace test_core_members {

using namespace flashback::members;

namespace {

struct Nothing {};
struct Plain {
    void reset();
};
struct OneArgument {
    void reset(int);
};
struct Overloaded {
    void reset(int);
    void reset(double);
};
struct Static {
    static void reset();
};
struct Template {
    template <class T>
    void reset(T);
};
struct RvalueOnly {
    void reset() &&;
};
struct Data {
    std::vector<int> reset;
};
struct Number {
    int reset;  // a setting, which nobody takes for the function
};
class PrivateNumber {
    [[maybe_unused]] int reset;
};
struct Function {
    std::function<void()> reset;
};
struct Reference {
    int& reset;
};
struct Type {
    using reset = int;
};
struct Enumerator {
    enum { reset };
};
class Private {
    [[maybe_unused]] void reset() {}
};
class Protected {
protected:
    void reset();
};
struct Inherited : Plain {};
class InheritedPrivately : Plain {};
struct OtherPlain {
    void reset();
};
struct Ambiguous : Plain, OtherPlain {};
struct Virtual {
    virtual void reset() = 0;
    virtual ~Virtual() = default;
};
struct ProtectedDestructor {
    void reset();

protected:
    ~ProtectedDestructor() = default;
};
struct NoDefault {
    explicit NoDefault(int);
    NoDefault(const NoDefault&) = delete;
    NoDefault& operator=(const NoDefault&) = delete;
    void reset();
};
struct AddressOf {
    void reset();
    void operator&() const = delete;
};
struct OtherNames {
    void resets();
    void Reset();
    void rewind(std::size_t);
};

static_assert(!NamesReset<Number> && NamesReset<PrivateNumber>, "of a private one nothing is known but its name");
static_assert(!NamesReset<Nothing> && !NamesReset<OtherNames>);
static_assert(NamesReset<Plain> && NamesReset<OneArgument> && NamesReset<Overloaded> && NamesReset<Static>);
static_assert(NamesReset<const Plain> && NamesReset<volatile Plain> && !NamesReset<const Nothing>);
static_assert(NamesReset<Template> && NamesReset<RvalueOnly> && NamesReset<AddressOf> && NamesReset<NoDefault>);
static_assert(NamesReset<Data> && NamesReset<Function> && NamesReset<Reference> && NamesReset<Type> && NamesReset<Enumerator>);
static_assert(NamesReset<Private> && NamesReset<Protected> && NamesReset<Inherited> && NamesReset<InheritedPrivately>);
static_assert(NamesReset<Ambiguous> && NamesReset<Virtual> && NamesReset<ProtectedDestructor>);
static_assert(NamesRewind<OtherNames> && NamesCapitalReset<OtherNames> && !NamesCapitalRewind<OtherNames>);
static_assert(!NamesRewind<Plain> && !NamesAtEnd<Plain> && !NamesWork<Plain>);

// From these nothing derives: they are asked for the member itself.
struct FinalNothing final {};
struct FinalPlain final {
    void reset();
};
struct FinalOneArgument final {
    void reset(int);
};
struct FinalOverloaded final {
    void reset(int);
    void reset(int, int);
};
struct FinalOfTwo final {
    void reset(int, std::string);
    void reset(std::string, std::string, int);
};
struct FinalStatic final {
    static void reset(int);
};
struct FinalTemplate final {
    template <class T>
    void reset(T);
};
struct FinalData final {
    std::string reset;
};
struct FinalInherited final : OneArgument {};
struct FinalOther final {
    void resets();
};
union UnionNothing {
    int resets;
};
union UnionPlain {
    int i;
    void reset();
};
union UnionOneArgument {
    int i;
    void reset(int);
};
union UnionData {
    int* reset;
};
static_assert(!NamesReset<FinalNothing> && !NamesReset<FinalOther> && !NamesReset<UnionNothing>);
static_assert(NamesReset<FinalPlain> && NamesReset<const FinalPlain> && NamesReset<FinalOneArgument> &&
              NamesReset<FinalOverloaded>);
static_assert(NamesReset<FinalOfTwo> && NamesReset<FinalStatic> && NamesReset<FinalTemplate> && NamesReset<FinalData>);
static_assert(NamesReset<FinalInherited> && NamesReset<UnionPlain> && NamesReset<UnionOneArgument> && NamesReset<UnionData>);

// What has no members, and what has some that only the compiler knows.
bool free_function(int);
[[maybe_unused]] constexpr auto lambda = [](int i) { return i > 0; };
[[maybe_unused]] constexpr auto generic = [](auto... all) { return sizeof...(all) > 0; };
enum class Kind { reset };
static_assert(!NamesReset<int> && !NamesReset<bool (*)(int)> && !NamesReset<decltype(free_function)> && !NamesReset<Plain*>);
static_assert(!NamesReset<void (Plain::*)()> && !NamesReset<Kind> && !NamesReset<void> && !NamesReset<Plain[2]>);
static_assert(!NamesReset<decltype(lambda)> && !NamesReset<decltype(generic)> && !NamesReset<std::function<bool(int)>>);
static_assert(!NamesReset<std::reference_wrapper<Plain>>, "what it refers to is asked");
static_assert(NamesReset<std::unique_ptr<int>> && !NamesReset<std::vector<int>>);

static_assert(std::same_as<Unwrapped<std::reference_wrapper<Plain>>, Plain> && std::same_as<Unwrapped<Plain>, Plain>);
static_assert(std::same_as<Unwrapped<std::reference_wrapper<const Plain>>, const Plain>);
static_assert(std::same_as<Unwrapped<std::reference_wrapper<decltype(free_function)>>, bool(int)>);

static_assert(Borrowed<std::span<const int>> && Borrowed<std::vector<int>&> && Borrowed<const std::array<int, 2>&>);
static_assert(!Borrowed<std::vector<int>> && !Borrowed<std::array<int, 2>> && !Borrowed<std::initializer_list<int>>);
static_assert(!Borrowed<std::vector<int>&&> && !Borrowed<std::string> && !Borrowed<int>);

static_assert(Count<std::size_t> && Count<unsigned char> && Count<const std::size_t&>);
static_assert(!Count<int> && !Count<bool> && !Count<double> && !Count<std::size_t*> && !Count<Kind>);

struct ToSize {
    operator std::size_t() const;
};
static_assert(Whole<std::size_t> && Whole<int> && Whole<const std::int64_t&> && Whole<ToSize>);
static_assert(!Whole<bool> && !Whole<double> && !Whole<const float&> && !Whole<int*> && !Whole<Kind> && !Whole<void>);

TEST_CASE("what a std::reference_wrapper refers to is found") {
    int value = 3;
    const auto reference = std::ref(value);
    auto other = std::cref(value);
    auto to_function = std::ref(free_function);
    CHECK(&unwrap(value) == &value);
    CHECK(&unwrap(reference) == &value);
    CHECK(&unwrap(other) == &value);
    static_assert(std::same_as<decltype(unwrap(reference)), const int&>);
    static_assert(std::same_as<decltype(unwrap(other)), const int&>);
    CHECK((&unwrap(to_function) == &free_function));
}

bool free_function(int) { return true; }

}  // namespace

}  // namespace test_core_members
