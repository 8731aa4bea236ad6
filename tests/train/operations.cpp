// The derivative of each operation against finite differences in double.
#include "flashback/simd/backward.hpp"
#include "flashback/train/detail/activation_backward.hpp"
#include "flashback/train/detail/attention.hpp"
#include "flashback/train/detail/linear.hpp"
#include "train/helpers.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

#include <doctest/doctest.h>

using namespace flashback;
using namespace flashback_test;

namespace {

using Numbers = std::vector<double>;

Numbers random_numbers(SplitMix64& random, std::size_t count) {
    Numbers x(count);
    for (double& value : x) value = static_cast<double>(static_cast<float>(3 * random.uniform() - 1.5));
    return x;
}

std::vector<float> as_floats(const Numbers& x) { return {x.begin(), x.end()}; }

DoubleRows as_rows(const Numbers& x, std::size_t width) { return matrix64(x, index64(width)); }

detail::Rows to_library(const Numbers& x, std::size_t width) {
    detail::Rows rows{x.size() / width, width};
    for (std::size_t i = 0; i < x.size(); ++i) rows.row(i / width)[i % width] = static_cast<float>(x[i]);
    return rows;
}

Numbers from_library(const detail::Rows& x, std::size_t rows, std::size_t width) {
    Numbers out;
    for (std::size_t r = 0; r < rows; ++r) out.insert(out.end(), x.row(r), x.row(r) + width);
    return out;
}

/// The sum of y, weighed by the gradient that comes from above.
double weighed(const DoubleRows& y, const Numbers& dy) { return y.cwiseProduct(matrix64(dy, y.cols())).sum(); }

template <class Gradient, class Function>
void check(const char* what, const Gradient& gradient, Numbers& x, const Function& f) {
    CAPTURE(what);
    REQUIRE(gradient.size() >= x.size());
    double most = 0;
    double worst = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
        const double expected = difference(x[i], f);
        most = std::max(most, std::abs(expected));
        worst = std::max(worst, std::abs(static_cast<double>(gradient[i]) - expected));
    }
    CHECK(most > 0);
    CHECK(worst <= 1e-5 * most);
}

}  // namespace

TEST_CASE("the derivative of rms_norm") {
    for (const std::size_t n : {1u, 5u, 16u, 37u}) {
        SplitMix64 random{n};
        Numbers x = random_numbers(random, n);
        Numbers weight = random_numbers(random, n);
        const Numbers dy = random_numbers(random, n);
        const auto f = [&] { return weighed(rms_norm64(row64(x), weight, 0.1), dy); };
        std::vector<float> dx(n, 2.0f);
        std::vector<float> dweight(n, 3.0f);
        simd::rms_norm_backward(as_floats(x).data(), as_floats(weight).data(), n, 0.1f,
                                {as_floats(dy).data(), dx.data(), dweight.data()});
        for (float& g : dx) g -= 2.0f;  // it adds
        for (float& g : dweight) g -= 3.0f;
        check("x", dx, x, f);
        check("weight", dweight, weight, f);
    }
}

TEST_CASE("the derivative of silu(gate) times up, and its ends") {
    SplitMix64 random{1};
    Numbers gate = random_numbers(random, 35);
    Numbers up = random_numbers(random, 35);
    const Numbers dy = random_numbers(random, 35);
    const auto f = [&] {
        double sum = 0;
        for (std::size_t i = 0; i < gate.size(); ++i) sum += dy[i] * silu64(gate[i]) * up[i];
        return sum;
    };
    std::vector<float> dgate = as_floats(gate);
    std::vector<float> dup = as_floats(up);
    simd::silu_times_backward(dgate.data(), dup.data(), as_floats(dy).data(), 35);
    check("gate", dgate, gate, f);
    check("up", dup, up, f);

    std::vector<float> far{-200, 200};
    std::vector<float> ones{1, 1};
    simd::silu_times_backward(far.data(), ones.data(), std::vector<float>{1, 1}.data(), 2);
    CHECK(far == std::vector<float>{0, 1});
    CHECK(ones == std::vector<float>{0, 200});
}

TEST_CASE("the derivative of layer_norm") {
    for (const std::size_t n : {1u, 7u, 16u, 50u}) {
        SplitMix64 random{n};
        Numbers x = random_numbers(random, n);
        Numbers weight = random_numbers(random, n);
        Numbers bias = random_numbers(random, n);
        const Numbers dy = random_numbers(random, n);
        const auto f = [&] { return weighed(layer_norm64(row64(x), weight, bias, 0.1), dy); };
        std::vector<float> dx(n, 1.0f);  // what is there is added to
        std::vector<float> dweight(n);
        std::vector<float> dbias(n);
        simd::layer_norm_backward(as_floats(x).data(), as_floats(weight).data(), n, 0.1f,
                                  {as_floats(dy).data(), dx.data(), dweight.data(), dbias.data()});
        for (float& value : dx) value -= 1;
        if (n > 1) check("x", dx, x, f);  // one number alone is its own mean
        if (n == 1) CHECK(std::abs(dx[0]) < 1e-6f);
        if (n > 1) check("weight", dweight, weight, f);
        check("bias", dbias, bias, f);
        std::vector<float> again(n, 1.0f);
        simd::layer_norm_backward(as_floats(x).data(), as_floats(weight).data(), n, 0.1f,
                                  {as_floats(dy).data(), again.data(), nullptr, nullptr});
        for (float& value : again) value -= 1;
        CHECK(again == dx);
    }
}

TEST_CASE("the derivatives of activations without gates, and their ends") {
    const auto check_one = [](Activation activation, double (*function)(double), double step) {
        SplitMix64 random{12};
        Numbers x = random_numbers(random, 35);
        const Numbers dy = random_numbers(random, 35);
        std::vector<float> dx = as_floats(x);
        detail::activation_backward(activation, dx.data(), as_floats(dy).data(), 35);
        for (std::size_t i = 0; i < x.size(); ++i) {
            const double expected = difference(
                x[i], [&] { return dy[i] * function(x[i]); }, step);
            CHECK(std::abs(static_cast<double>(dx[i]) - expected) < 2e-6);
        }
        std::vector<float> far{-200, 200};
        detail::activation_backward(activation, far.data(), std::vector<float>{3, 3}.data(), 2);
        CHECK(far == std::vector<float>{0, 3});
    };
    check_one(Activation::silu, silu64, 1e-3);
    check_one(Activation::gelu_tanh, gelu64, 1e-3);
    check_one(Activation::relu, relu64, 1e-6);
    std::vector<float> zeros{0.0f, -0.0f};
    detail::activation_backward(Activation::relu, zeros.data(), std::vector<float>{1, 1}.data(), 2);
    CHECK(zeros == std::vector<float>{0, 0});
}

TEST_CASE("cross entropy and its derivative, with columns cut and without, far from 0 too") {
    for (const double offset : {0.0, 500.0, -500.0}) {
        SplitMix64 random{2};
        Numbers logits = random_numbers(random, 41);
        for (double& logit : logits) logit += offset;
        for (const std::vector<TokenId>& cut : {std::vector<TokenId>{}, std::vector<TokenId>{0, 40}}) {
            std::vector<float> gradient = as_floats(logits);
            for (const TokenId id : cut) gradient[static_cast<std::size_t>(id)] = -std::numeric_limits<float>::infinity();
            const double loss = simd::cross_entropy(gradient.data(), 41, 7);
            CHECK(loss == doctest::Approx(cross_entropy64(row64(logits), 7, cut)).epsilon(1e-5));
            for (const TokenId id : cut) CHECK(gradient[static_cast<std::size_t>(id)] == 0);
            if (offset == 0.0) check("logits", gradient, logits, [&] { return cross_entropy64(row64(logits), 7, cut); });
        }
    }
}

TEST_CASE("a target of probability nearly 0 has a finite loss") {
    std::vector<float> logits{300, -300};
    CHECK(simd::cross_entropy(logits.data(), 2, 1) == doctest::Approx(600));
    CHECK(logits == std::vector<float>{1, -1});
}

TEST_CASE("the derivative of attention, for one query to a head of keys and for three") {
    for (const std::size_t sharing : {1u, 3u}) {
        for (const std::size_t rows : {1u, 20u, 67u}) {
            const std::size_t kv_heads = 2;
            const std::size_t d = 5;
            const std::size_t width = kv_heads * sharing * d;
            SplitMix64 random{rows};
            Numbers q = random_numbers(random, rows * width);
            Numbers k = random_numbers(random, rows * kv_heads * d);
            Numbers v = random_numbers(random, rows * kv_heads * d);
            const Numbers dy = random_numbers(random, rows * width);
            // The library's queries are scaled already.
            const auto f = [&] {
                const DoubleRows scaled = as_rows(q, width) * std::sqrt(static_cast<double>(d));
                return weighed(
                    attention64(scaled, as_rows(k, kv_heads * d), as_rows(v, kv_heads * d), kv_heads * sharing, kv_heads, d),
                    dy);
            };
            detail::AttentionScratch scratch{rows, d};
            detail::Rows lq = to_library(q, width);
            detail::Rows lk = to_library(k, kv_heads * d);
            detail::Rows lv = to_library(v, kv_heads * d);
            detail::Rows out{rows, width};
            const detail::AttentionShape shape{kv_heads * sharing, kv_heads, d};
            const TokenRun all[]{{.end = rows}};
            detail::attention_forward(shape, {lq, lk, lv}, {0, all}, out, scratch);
            CHECK(weighed(as_rows(from_library(out, rows, width), width), dy) == doctest::Approx(f()).epsilon(1e-4));
            detail::attention_backward(shape, {lq, lk, lv}, out, to_library(dy, width), {0, all}, scratch);
            // A sample of the rows: each difference evaluates everything.
            if (rows < 67) {
                if (rows > 1) check("q", from_library(lq, rows, width), q, f);  // one position alone has the weight 1
                if (rows > 1) check("k", from_library(lk, rows, kv_heads * d), k, f);
                check("v", from_library(lv, rows, kv_heads * d), v, f);
            } else {
                const Numbers dk = from_library(lk, rows, kv_heads * d);
                for (const std::size_t at : {0u, 31u, 640u, 669u})
                    CHECK(dk[at] == doctest::Approx(difference(k[at], f)).epsilon(1e-3));
            }
        }
    }
}

TEST_CASE("attention from a position on: its rows are those of all positions, and its gradients those of no gradient before") {
    constexpr std::size_t rows = 150;
    constexpr std::size_t d = 16;
    constexpr std::size_t width = 4 * d;
    constexpr detail::AttentionShape shape{4, 2, d};
    SplitMix64 random{5};
    const Numbers q = random_numbers(random, rows * width);
    const Numbers k = random_numbers(random, rows * 2 * d);
    const Numbers v = random_numbers(random, rows * 2 * d);
    Numbers dy = random_numbers(random, rows * width);
    const TokenRun every[]{{.end = rows}};
    for (const std::size_t begin : {1u, 63u, 64u, 133u, 149u}) {
        CAPTURE(begin);
        std::fill_n(dy.begin(), begin * width, 0.0);
        struct Result {
            Numbers out, dq, dk, dv;
        };
        const auto from = [&](std::size_t first) {
            detail::AttentionScratch scratch{rows, d};
            detail::Rows lq = to_library(q, width);
            detail::Rows lk = to_library(k, 2 * d);
            detail::Rows lv = to_library(v, 2 * d);
            detail::Rows out{rows, width};
            detail::attention_forward(shape, {lq, lk, lv}, {first, every}, out, scratch);
            Result result{from_library(out, rows, width), {}, {}, {}};
            detail::attention_backward(shape, {lq, lk, lv}, out, to_library(dy, width), {first, every}, scratch);
            result.dq = from_library(lq, rows, width);
            result.dk = from_library(lk, rows, 2 * d);
            result.dv = from_library(lv, rows, 2 * d);
            return result;
        };
        const Result all = from(0);
        const Result some = from(begin);
        for (std::size_t i = 0; i < rows * width; ++i) {
            if (i < begin * width) {
                CHECK(some.out[i] == 0);
                CHECK(static_cast<float>(some.dq[i]) == static_cast<float>(q[i]));  // left alone
            } else {
                CHECK(some.out[i] == doctest::Approx(all.out[i]).epsilon(1e-4));
                CHECK(some.dq[i] == doctest::Approx(all.dq[i]).epsilon(1e-4));
            }
        }
        for (std::size_t i = 0; i < rows * 2 * d; ++i) {
            CHECK(some.dk[i] == doctest::Approx(all.dk[i]).epsilon(1e-4));
            CHECK(some.dv[i] == doctest::Approx(all.dv[i]).epsilon(1e-4));
        }
    }
}

TEST_CASE("the derivative of a rotation is the rotation back") {
    SplitMix64 random{3};
    Numbers x = random_numbers(random, 12);
    const Numbers dy = random_numbers(random, 12);
    const std::vector<float> cosine{0.6f, 0.8f, -0.28f};
    const std::vector<float> sine{0.8f, -0.6f, 0.96f};
    const std::vector<float> minus_sine{-0.8f, 0.6f, -0.96f};
    const auto f = [&] {
        double sum = 0;
        for (std::size_t i = 0; i < 3; ++i) {
            const auto c = static_cast<double>(cosine[i]);
            const auto s = static_cast<double>(sine[i]);
            sum += dy[2 * i] * (x[2 * i] * c - x[2 * i + 1] * s) + dy[2 * i + 1] * (x[2 * i + 1] * c + x[2 * i] * s);
        }
        for (std::size_t i = 6; i < 12; ++i) sum += dy[i] * x[i];
        return sum;
    };
    std::vector<float> dx = as_floats(dy);
    simd::rotate_pairs(dx.data(), cosine.data(), minus_sine.data(), 3);
    check("x", dx, x, f);
}

TEST_CASE("the derivative of a linear layer with LoRA, dropout and a bias") {
    const std::size_t rows = 7;
    const std::size_t inputs = 19;
    const std::size_t outputs = 34;
    const std::size_t rank = 3;
    SplitMix64 random{4};
    Numbers x = random_numbers(random, rows * inputs);
    Numbers w = random_numbers(random, outputs * inputs);
    Numbers a = random_numbers(random, rank * inputs);
    Numbers b = random_numbers(random, outputs * rank);
    Numbers bias = random_numbers(random, outputs);
    const Numbers dy = random_numbers(random, rows * outputs);

    ParameterLayout layout;
    layout.add("w", outputs, inputs, Parameter::Order::panels, true);
    layout.add("a", rank, inputs, Parameter::Order::panels, true);
    layout.add("b", outputs, rank, Parameter::Order::panels, true);
    layout.add("bias", 1, outputs, Parameter::Order::rows, false);
    std::vector<float> values(layout.size());
    layout["w"].write(as_floats(w), values.data());
    layout["a"].write(as_floats(a), values.data());
    layout["b"].write(as_floats(b), values.data());
    layout["bias"].write(as_floats(bias), values.data());
    const auto matrix = [&](const char* name) {
        const Parameter& p = layout[name];
        return detail::Matrix{values.data() + p.offset, p.outputs, p.inputs, p.offset};
    };
    for (const float probability : {0.0f, 0.3f}) {
        detail::Dropout dropout = detail::Dropout::of(probability);
        dropout.key = 5;
        const detail::Linear linear{
            matrix("w"), matrix("a"), matrix("b"), 1.5f, {values.data() + layout["bias"].offset, layout["bias"].offset}};
        DoubleRows mask = DoubleRows::Ones(index64(rows), index64(inputs));
        for (std::size_t r = 0; dropout.active() && r < rows; ++r) {
            std::vector<float> ones(inputs, 1.0f);
            dropout.apply(r, ones.data(), inputs, ones.data());
            mask.row(index64(r)) = row64({ones.begin(), ones.end()});
        }
        const auto f = [&] {
            const DoubleRows dropped = as_rows(x, inputs).cwiseProduct(mask);
            return weighed(row64(bias).replicate(index64(rows), 1), dy) + weighed(linear64(as_rows(x, inputs), w), dy) +
                   1.5 * weighed(linear64(linear64(dropped, a), b), dy);
        };
        detail::LinearScratch scratch{rows, inputs, outputs, rank};
        const detail::Rows lx = to_library(x, inputs);
        const detail::Rows ldy = to_library(dy, outputs);
        detail::Rows y{rows, outputs};
        detail::linear_forward(linear, lx, y, {rows, simd::GemmStart::zero, dropout, scratch});
        CHECK(weighed(as_rows(from_library(y, rows, outputs), outputs), dy) == doctest::Approx(f()).epsilon(1e-4));
        detail::Rows dx{rows, inputs};
        std::vector<float> gradients(layout.size());
        detail::linear_backward(linear, lx, ldy, dx, gradients.data(), {rows, simd::GemmStart::zero, dropout, scratch});
        check("x", from_library(dx, rows, inputs), x, f);
        check("w", layout["w"].read(gradients.data()), w, f);
        check("a", layout["a"].read(gradients.data()), a, f);
        check("b", layout["b"].read(gradients.data()), b, f);
        check("bias", layout["bias"].read(gradients.data()), bias, f);
    }
}
