#include "common.hpp"

#include "flashback/core/error.hpp"
#include "flashback/files/load.hpp"
#include "flashback/files/write_model.hpp"
#include "flashback/format/atomic_file.hpp"
#include "flashback/text/unicode.hpp"
#include "models/default_model.hpp"

#include <algorithm>
#include <charconv>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <limits>
#include <map>
#include <new>
#include <sstream>
#include <system_error>
#include <thread>
#include <utility>

namespace cli {

namespace {

/// Takes decimal digits that are a number of a range, and puts it there without zeros in front.
template <class Number>
CLI::Validator decimal(Number least, Number most, std::string expected, std::string description) {
    return CLI::Validator{[=](std::string& input) -> std::string {
                              Number value = 0;
                              const char* const end = input.data() + input.size();
                              const auto [rest, error] = std::from_chars(input.data(), end, value);
                              const bool digits = rest == end && error != std::errc::invalid_argument;
                              const bool beyond = error == std::errc::result_out_of_range && !input.starts_with('-');
                              if (digits && (beyond || value > most))
                                  return "found " + input + ", expected at most " + std::to_string(most);
                              if (!digits || error != std::errc{} || value < least)
                                  return "found " + input + ", expected " + expected;
                              input = std::to_string(value);
                              return {};
                          },
                          std::move(description)};
}

}  // namespace

CLI::Validator at_least(std::uint64_t least, std::uint64_t most) {
    return decimal(least, most, "a whole number of at least " + std::to_string(least), "N >= " + std::to_string(least));
}

CLI::Validator any_seed() {
    constexpr std::uint64_t most = std::numeric_limits<std::uint64_t>::max();
    return decimal(std::uint64_t{0}, most, "a whole number from 0 to " + std::to_string(most), "");
}

CLI::Validator token_number() {
    using Limits = std::numeric_limits<flashback::TokenId>;
    return decimal(Limits::min(), Limits::max(), "the number of a token", "");
}

namespace {

CLI::Validator number_in(double least, double most, bool with_least, const char* to) {
    std::ostringstream range;
    range << (with_least ? "" : "above ") << least << to << most;
    return CLI::Validator{[=, range = range.str()](std::string& input) -> std::string {
                              double value = 0;
                              const bool number = CLI::detail::lexical_cast(input, value);
                              const bool enough =
                                  with_least ? value >= least : static_cast<double>(static_cast<float>(value)) > least;
                              if (number && enough && value <= most) return {};  // NaN is neither
                              return "found " + input + ", expected a number " + (with_least ? "from " : "") + range;
                          },
                          range.str()};
}

}  // namespace

CLI::Validator number_from(double least, double most) { return number_in(least, most, true, " to "); }

CLI::Validator number_above(double least, double most) { return number_in(least, most, false, ", up to "); }

void say_kept_as_f16(const flashback::GgufTensor& tensor, flashback::DType wanted) {
    std::cerr << "flashback: tensor " << flashback::printable(tensor.name) << " has rows of " << tensor.dims[0]
              << " elements, not a multiple of " << flashback::layout_of(wanted).block_elements << ", and is stored as F16\n";
}

bool names_file(const CLI::Option& option) {
    const std::string type = option.get_type_name();
    return type.starts_with("FILE") || type.starts_with("DIR") || type.starts_with("PATH");
}

void add_json(CLI::App& command, bool& json) {
    command.add_flag("--json", json, "Print one JSON object on standard output and nothing else there");
}

void add_model(CLI::App& command, std::string& model) {
    command
        .add_option("--model", model, "A GGUF file or a Hugging Face folder; by default the model that is part of this program")
        ->type_name("PATH");
}

flashback::ModelSource open_model(const std::string& model) {
    if (!model.empty()) return flashback::ModelSource::open(model);
    return flashback::ModelSource{flashback::GgufFile::view(flashback_examples::default_model(), "the default model")};
}

std::shared_ptr<const flashback::Transformer> load_weights(const flashback::ModelSource& source,
                                                           const flashback::LoadOptions& options) {
    auto model = flashback::load_model(source, options);
    for (const std::string& note : model->notes) std::cerr << "flashback: " << flashback::harmless(note) << "\n";
    return model;
}

namespace {

const std::map<std::string, flashback::DType> cache_types{{"f32", flashback::DType::f32},
                                                          {"f16", flashback::DType::f16},
                                                          {"bf16", flashback::DType::bf16},
                                                          {"i8", flashback::DType::i8}};

}  // namespace

void add_cache(CLI::App& command, std::optional<flashback::DType>& cache) {
    command
        .add_option_function<std::string>(
            "--cache", [&cache](const std::string& name) { cache = cache_types.at(name); },
            "What keys and values are rounded to: f32, f16, bf16 or i8; by default f16 for quantised weights and f32 for "
            "others")
        ->transform(CLI::IsMember(std::vector<std::string>{"f32", "f16", "bf16", "i8"}, CLI::ignore_case))
        ->type_name("TYPE");
}

void add_threads(CLI::App& command, std::size_t& threads) {
    threads = std::max(1u, std::thread::hardware_concurrency());
    command.add_option("--threads", threads, "Threads to use; they change no bit of the result")
        ->transform(at_least(1, 1 << 20))
        ->capture_default_str();
}

flashback::ThreadPool start_threads(std::size_t threads) {
    try {
        return flashback::ThreadPool{threads};
    } catch (const std::bad_alloc&) {
        FLASHBACK_THROW(flashback::ErrorCode::io, "cannot start the ", threads,
                        " threads of --threads: there is no memory for them");
    } catch (const std::exception& error) {  // the system has no more threads
        FLASHBACK_THROW(flashback::ErrorCode::io, "cannot start the ", threads, " threads of --threads: ", error.what());
    }
}

std::string read_text(const std::string& file) {
    if (file == "-") return {std::istreambuf_iterator<char>{std::cin}, {}};
    std::error_code unknown;
    const auto type = std::filesystem::status(file, unknown).type();
    if (type == std::filesystem::file_type::fifo || type == std::filesystem::file_type::character) {  // <(...), /dev/stdin
        std::ifstream stream{file, std::ios::binary};
        if (stream) return {std::istreambuf_iterator<char>{stream}, {}};
    }
    const flashback::MappedFile mapped{file};
    return {reinterpret_cast<const char*>(mapped.bytes().data()), mapped.bytes().size()};
}

void TextOption::add(CLI::App& command, const std::string& name, const std::string& meaning) {
    auto* text = command.add_option("--" + name, text_, meaning)->type_name("TEXT");
    auto* file =
        command.add_option("--" + name + "-file", file_, "The same from a file, or - for standard input")->type_name("FILE");
    file->excludes(text);
    text_option_ = text;
    file_option_ = file;
}

bool TextOption::given() const { return text_option_->count() + file_option_->count() > 0; }

std::string TextOption::read() const { return file_option_->count() == 0 ? text_ : read_text(file_); }

flashback::Corpus open_corpus(const std::string& path) {
    flashback::Corpus corpus = flashback::read_corpus(path);
    if (corpus.replaced > 0) {
        std::cerr << "flashback: '" << path << "' is not UTF-8 in " << corpus.replaced << " places, which became U+FFFD\n";
    }
    return corpus;
}

CLI::Option* add_repeated(CLI::App& command, const std::string& name, std::vector<std::string>& values,
                          const std::string& meaning) {
    // CLI11 cuts what stands in brackets into several values, unless an option takes one at a time.
    return command.add_option(name, values, meaning + "; may be given several times")->take_all()->allow_extra_args(false);
}

CLI::Option* add_dtype(CLI::App& command, std::string& dtype, const std::vector<std::string>& names) {
    return command.add_option("--dtype", dtype, "What the weights become; norms, biases and tables of positions are f32")
        ->check(CLI::IsMember(names));
}

flashback::DType dtype_named(const std::string& name) {
    using flashback::DType;
    for (const DType type : {DType::f32, DType::f16, DType::bf16, DType::q8_0, DType::q4_0})
        if (CLI::detail::to_lower(std::string{flashback::layout_of(type).name}) == name) return type;
    FLASHBACK_THROW(flashback::ErrorCode::contract, "no weights are written as '", name, "'");
}

void write_whole(const std::string& file, std::string_view text) {
    flashback::AtomicFile whole{file};
    whole.write(text);
    whole.finish();
}

void write_gguf(const std::string& file, const flashback::Transformer& model, const flashback::ModelSource& source,
                const flashback::Vocabulary* vocabulary, flashback::DType type) {
    source.gguf() ? flashback::write_model(file, model, *source.gguf(), type)
                  : flashback::write_model(file, model, vocabulary, type);
}

void print(const Json& object) { std::cout << object.dump(-1, ' ', false, Json::error_handler_t::replace) << '\n'; }

std::string joined(flashback::TokenSpan tokens) {
    std::string text;
    for (const flashback::TokenId token : tokens) text += (text.empty() ? "" : ",") + std::to_string(token);
    return text;
}

}  // namespace cli
