/// \file A reference to anything that can be called.
#pragma once

#include "flashback/core/config.hpp"

#include <concepts>
#include <type_traits>

namespace flashback::inline FLASHBACK_ISA {

/// Refers to a callable, and allocates nothing. By default it is empty.
/// Requires  what it refers to outlives it
template <class Signature>
class FunctionRef;

/// Refers to a callable that takes `Args...` and gives a `Result`.
template <class Result, class... Args>
class FunctionRef<Result(Args...)> {
public:
    constexpr FunctionRef() noexcept = default;

    /// Refers to a callable, which stays where it is.
    template <class F>
        requires(!std::same_as<std::remove_cv_t<F>, FunctionRef> && std::is_invocable_r_v<Result, F&, Args...> &&
                 std::is_object_v<F>)
    constexpr FunctionRef(F& callable) noexcept  // NOLINT(*-explicit-*): a reference is made as one is bound
        : object_(const_cast<std::remove_const_t<F>*>(&callable)), call_([](void* object, Args... args) -> Result {
              return static_cast<Result>((*static_cast<F*>(object))(static_cast<Args>(args)...));
          }) {}

    /// Whether it refers to something.
    constexpr explicit operator bool() const noexcept { return call_ != nullptr; }

    /// Calls what it refers to.
    /// Requires  it refers to something
    constexpr Result operator()(Args... args) const { return call_(object_, static_cast<Args>(args)...); }

private:
    void* object_ = nullptr;
    Result (*call_)(void*, Args...) = nullptr;
};

}  // namespace flashback::inline FLASHBACK_ISA
