/// \file What the commands of the tool share.
#pragma once

#include "flashback/core/executor.hpp"
#include "flashback/core/thread_pool.hpp"
#include "flashback/core/tokens.hpp"
#include "flashback/files/load.hpp"
#include "flashback/files/model_source.hpp"
#include "flashback/format/gguf.hpp"
#include "flashback/model/transformer.hpp"
#include "flashback/retrieval/corpus.hpp"
#include "flashback/tensor/dtype.hpp"
#include "flashback/text/tokenizer.hpp"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cli {

using Json = nlohmann::ordered_json;

/// What a command does once its options are parsed; throws flashback::Error.
using Command = std::function<void()>;

/// The commands: each adds itself to the program and sets `run` if it is the one that was asked for.
void add_advise(CLI::App& app, Command& run);
void add_bench(CLI::App& app, Command& run);
void add_convert(CLI::App& app, Command& run);
void add_convert_adapter(CLI::App& app, Command& run);
void add_evaluate(CLI::App& app, Command& run);
void add_finetune(CLI::App& app, Command& run);
void add_generate(CLI::App& app, Command& run);
void add_index(CLI::App& app, Command& run);
void add_inspect(CLI::App& app, Command& run);
void add_ppl(CLI::App& app, Command& run);
void add_pretrain(CLI::App& app, Command& run);
void add_quantize(CLI::App& app, Command& run);
void add_score(CLI::App& app, Command& run);
void add_search(CLI::App& app, Command& run);
void add_tokenize(CLI::App& app, Command& run);

/// The most that a count may be: products of two fit into 64 bits.
inline constexpr std::uint64_t most_count = 2147483647;

/// A whole number of at least `least`, in decimal digits: 010 is ten. It is a transformation, because CLI11 by itself takes 010
/// for eight and 2^64 + 1 for 2^64 - 1.
CLI::Validator at_least(std::uint64_t least, std::uint64_t most = most_count);

/// A whole number from 0 to 2^64 - 1 that chooses what is drawn at random; a transformation.
CLI::Validator any_seed();

/// The number of a token, even one that no vocabulary has, such as -1; a transformation.
CLI::Validator token_number();

/// A number from `least` to `most`.
CLI::Validator number_from(double least, double most);
/// A number greater than `least`, up to `most`; also as a float.
CLI::Validator number_above(double least, double most);

/// A name of a map, which becomes its value; a transformation, because CLI11's own lists the numbers of enumerators, too, and takes them.
template <class Value>
CLI::Validator one_of(std::map<std::string, Value> known) {
    std::string names;
    for (const auto& entry : known) names += (names.empty() ? "{" : ",") + entry.first;
    names += '}';
    return CLI::Validator{[known = std::move(known), names](std::string& input) -> std::string {
                              const auto found = known.find(input);
                              if (found == known.end()) return input + " not in " + names;
                              input = CLI::detail::value_string(found->second);
                              return {};
                          },
                          names};
}

/// Values without those that came before.
template <class Value>
std::vector<Value> each_once(const std::vector<Value>& values) {
    std::vector<Value> once;
    for (const Value& value : values) {
        if (std::ranges::find(once, value) == once.end()) once.push_back(value);
    }
    return once;
}

/// What the marking tokens are called in vocabularies that have them.
inline constexpr std::array marker_names{"<MARK_L>", "<MARK_R>"};

/// Says on standard error that a tensor of a file became f16, because its rows cannot be cut into blocks of the wanted type.
void say_kept_as_f16(const flashback::GgufTensor& tensor, flashback::DType wanted);

/// Adds an option that may be given several times, each time with one value, which is taken as it is.
CLI::Option* add_repeated(CLI::App& command, const std::string& name, std::vector<std::string>& values,
                          const std::string& meaning);

/// Adds --dtype: the type of the weights in a GGUF file that is written; some of f32, f16, bf16, q8_0 and q4_0.
CLI::Option* add_dtype(CLI::App& command, std::string& dtype, const std::vector<std::string>& names);
/// The type that --dtype names.
flashback::DType dtype_named(const std::string& name);

/// Writes a model as a GGUF file with the tokenizer of the file or folder that it comes from.
/// Throws    as flashback::write_model
void write_gguf(const std::string& file, const flashback::Transformer& model, const flashback::ModelSource& source,
                const flashback::Vocabulary* vocabulary, flashback::DType type);

/// Writes a file whole or not at all.
/// Throws    Error{io}
void write_whole(const std::string& file, std::string_view text);

/// Whether the value of an option is the name of a file or a folder.
bool names_file(const CLI::Option& option);

/// Adds --json.
void add_json(CLI::App& command, bool& json);

/// Adds --model: a GGUF file or a Hugging Face folder, or by default the model that is a part of the program.
void add_model(CLI::App& command, std::string& model);
flashback::ModelSource open_model(const std::string& model);

/// The model of a file or folder; what was changed while loading is said on standard error.
std::shared_ptr<const flashback::Transformer> load_weights(const flashback::ModelSource& source,
                                                           const flashback::LoadOptions& options);

/// Adds --cache: what keys and values are rounded to; by default what suits the weights.
void add_cache(CLI::App& command, std::optional<flashback::DType>& cache);

/// Adds --threads; by default as many as the machine runs at once.
void add_threads(CLI::App& command, std::size_t& threads);

/// A pool of this many threads.
/// Throws    Error{io} if the system does not give them
flashback::ThreadPool start_threads(std::size_t threads);

/// The text of a file, of a stream such as a pipe, or of standard input if it is called `-`.
std::string read_text(const std::string& file);

/// A text that is given on the command line or in a file.
class TextOption {
public:
    /// Adds `--NAME T` and `--NAME-file F`, of which at most one may be given.
    void add(CLI::App& command, const std::string& name, const std::string& meaning);
    /// The text, read with `read_text` if it is in a file.
    std::string read() const;
    bool given() const;
    /// The file, if it is in one.
    const std::string& file() const noexcept { return file_; }

private:
    std::string text_;
    std::string file_;
    const CLI::Option* text_option_ = nullptr;
    const CLI::Option* file_option_ = nullptr;
};

/// A corpus; says on standard error what had to be replaced in it.
flashback::Corpus open_corpus(const std::string& path);

/// Prints one JSON object on standard output. Text that is not UTF-8, as tokens can give it, becomes U+FFFD.
void print(const Json& object);

/// Tokens as 1,2,3.
std::string joined(flashback::TokenSpan tokens);

}  // namespace cli
