/// \file What a checkpoint file must contain, and how it is read.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/fingerprint.hpp"
#include "flashback/format/gguf.hpp"
#include "flashback/train/parameters.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA {

/// What identifies a run: its options and a hash of its data, as texts by name. Two runs that agree in all of these do the
/// same, to the bit.
using RunDescription = std::vector<std::pair<std::string, std::string>>;

namespace detail {

inline constexpr std::string_view checkpoint_architecture = "flashback-checkpoint-1";
inline constexpr std::string_view checkpoint_run_prefix = "run.";
/// Endings of the names of parameters: for the parameters themselves, and for both moments of AdamW.
inline constexpr std::array<const char*, 3> checkpoint_suffixes{"", ".m", ".v"};

/// The checksum of a checkpoint before its tensors are added. Each is added by name and bytes.
inline Fingerprint begin_checkpoint_sum(std::uint64_t steps, std::string_view note, const RunDescription& run) {
    Fingerprint sum;
    sum.add(steps);
    sum.add(note);
    for (const auto& [name, value] : run) {
        sum.add(name);
        sum.add(value);
    }
    return sum;
}

/// Reads a GGUF file as a checkpoint: first what it says of itself, then what is asked for.
class CheckpointReader {
public:
    /// Parameters or moments: for each parameter of a layout its tensor, (outputs, inputs) row-major.
    using Values = std::vector<std::vector<float>>;

    /// Throws    Error{format} if it is not a checkpoint, or is damaged
    explicit CheckpointReader(const GgufFile& file) : file_(file) {
        if (file.text("general.architecture") != checkpoint_architecture)
            FLASHBACK_THROW(ErrorCode::format, "'", file.name(), "' is no checkpoint, but another GGUF file");
        steps = number("checkpoint.steps");
        note = file.text("checkpoint.note").value_or("");
        for (const auto& [key, value] : file.metadata()) {
            if (key.starts_with(checkpoint_run_prefix))
                run.emplace_back(key.substr(checkpoint_run_prefix.size()), file.text(key).value_or(std::string_view{}));
        }
    }

    std::uint64_t steps = 0;
    std::string note;
    RunDescription run;

    /// Throws    Error{format} if a byte that counts differs from what was written
    /// Cost      reads the file
    void check_sum() const {
        Fingerprint sum = begin_checkpoint_sum(steps, note, run);
        for (const GgufTensor& tensor : file_.tensors()) {
            sum.add(tensor.name);
            sum.add(tensor.data);
        }
        if (sum.value() != number("checkpoint.sum")) damaged("what it holds does not give its checksum");
    }

    /// Throws    Error{contract} if it belongs to a run with another description
    void check_run(const RunDescription& expected) const {
        const auto value_in = [](const RunDescription& description, const std::string& name) {
            const auto it = std::ranges::find(description, name, &RunDescription::value_type::first);
            return it == description.end() ? std::string{"absent"} : printable(it->second);
        };
        const auto compare = [&](const RunDescription& names) {
            for (const auto& [name, value] : names) {
                const std::string then = value_in(run, name);
                const std::string now = value_in(expected, name);
                if (then == now) continue;
                FLASHBACK_THROW(ErrorCode::contract, "the checkpoint '", file_.name(), "' is of another run: its ",
                                printable(name), " is ", then, ", but now it is ", now);
            }
        };
        compare(expected);
        compare(run);
    }

    /// Throws    Error{contract} if one is missing: then it belongs to another run
    Values values(const ParameterLayout& layout, const char* suffix) const {
        Values all;
        for (const Parameter& p : layout) all.push_back(tensor(p, suffix));
        return all;
    }

private:
    [[noreturn]] void damaged(const std::string& why) const {
        FLASHBACK_THROW(ErrorCode::format, "the checkpoint '", file_.name(), "' is damaged: ", why,
                        "; a run without it begins anew");
    }

    std::uint64_t number(std::string_view key) const {
        const std::string_view text = file_.text(key).value_or("");
        std::uint64_t value = 0;
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
        if (error != std::errc{} || end != text.data() + text.size()) damaged(std::string{key} + " is no whole number");
        return value;
    }

    std::vector<float> tensor(const Parameter& p, const char* suffix) const {
        const std::string name = p.name + suffix;
        const GgufTensor* found = file_.tensor(name);
        if (!found || found->type != DType::f32 || found->dims != std::array<std::uint64_t, 4>{p.inputs, p.outputs, 1, 1}) {
            FLASHBACK_THROW(ErrorCode::contract, "the checkpoint '", file_.name(), "' is of another run: it has no tensor ",
                            name, " of ", p.outputs, " x ", p.inputs, " floats");
        }
        std::vector<float> values(p.outputs * p.inputs);
        std::memcpy(values.data(), found->data.data(), values.size() * sizeof(float));
        return values;
    }

    const GgufFile& file_;
};

}  // namespace detail
}  // namespace flashback::inline FLASHBACK_ISA
