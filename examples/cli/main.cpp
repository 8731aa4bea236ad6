/// \file flashback: generate text while retrieving, score it, tokenise it, search for it, inspect, convert, measure
/// and train models.
///
/// Results go to standard output, everything else to standard error. Exit status: 0, or 1 for an error, or 2 for options
/// that make no sense.

#include "common.hpp"
#include "flashback/core/version.hpp"
#include "flashback/simd/tiles.hpp"
#include "flashback/text/unicode.hpp"
#include "job.hpp"

#include <cerrno>
#include <csignal>
#include <cstring>
#include <exception>
#include <filesystem>
#include <iostream>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include <unistd.h>

namespace {

/// Refuses "" for options that name a file or a folder: it would be as if the option were absent.
void refuse_empty_names(CLI::App& app) {
    const auto named = [](const CLI::Option* option) { return cli::names_file(*option); };
    for (CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
        for (CLI::Option* option : command->get_options(named)) {
            option->check(
                [](const std::string& text) { return text.empty() ? "found no name, expected that of a folder or file" : ""; });
        }
    }
}

/// How an error in the options of a command ends: where they are explained, or what a lone file may have been meant as.
std::string advice(const CLI::App& command) {
    const std::vector<std::string> left = command.remaining();
    std::error_code ignored;
    if (left.size() == 1 && command.get_option_no_throw("--model") != nullptr &&
        (left[0].ends_with(".gguf") || std::filesystem::exists(left[0], ignored)))
        return "; did you mean --model " + left[0] + "?";
    return "; see flashback " + command.get_name() + " --help";
}

/// One sentence on standard error, in one piece: mpirun may put its own words between two.
int fail(std::string_view sentence, int status) {
    std::cerr << "flashback: " + flashback::harmless(sentence) + '\n';
    return status;
}

/// The version, and which arithmetic this program has.
std::string version() {
    const flashback::simd::Tiles tiles = flashback::simd::tiles();
    std::string text = "flashback " FLASHBACK_VERSION " (" FLASHBACK_ISA_NAME;
    if (tiles.use != flashback::simd::TileUse::none) text += ", " + std::string{tiles.reason};
    return text + ")";
}

}  // namespace

int main(int argc, char** argv) {
    cli::silence_other_ranks();
    CLI::App app{"Generates text with a language model while it retrieves passages from a corpus."};
    app.set_version_flag("--version", version);
    app.require_subcommand(1);
    app.footer("flashback COMMAND --help shows the options of a command and an example.");

    cli::Command run;
    cli::add_advise(app, run);
    cli::add_bench(app, run);
    cli::add_convert(app, run);
    cli::add_evaluate(app, run);
    cli::add_generate(app, run);
    cli::add_index(app, run);
    cli::add_inspect(app, run);
    cli::add_ppl(app, run);
    cli::add_convert_adapter(app, run);
    cli::add_finetune(app, run);
    cli::add_pretrain(app, run);
    cli::add_quantize(app, run);
    cli::add_score(app, run);
    cli::add_search(app, run);
    cli::add_tokenize(app, run);

    refuse_empty_names(app);

    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
        const std::string_view first = argc > 1 ? argv[1] : "-";
        const auto named = app.get_subcommands([&](const CLI::App* c) { return c->get_name() == first; });
        if (!named.empty()) return fail(error.what() + advice(*named.front()), 2);
        if (!first.starts_with('-')) return fail("there is no command '" + std::string{first} + "'; see flashback --help", 2);
        return fail(std::string{error.what()} + "; see flashback --help", 2);
    }
    const CLI::App& parsed = *app.get_subcommands().front();
    const std::string command = parsed.get_name();
    std::signal(SIGXFSZ, SIG_IGN);  // a file that may not grow is an error in words, as a full disk is
    std::optional<cli::Job> job;
    const auto give_up = [](std::string_view sentence, int status) {
        const int failed = fail(sentence, status);
        cli::Job::give_up(sentence);
        return failed;
    };
    try {
        job.emplace(parsed);
        run();
        errno = 0;
        std::cout.flush();
        if (std::cout) return 0;
        if (errno == 0) static_cast<void>(::write(STDOUT_FILENO, "\n", 1) < 0);  // fails as an earlier write did, and says why
        return give_up(std::string{"cannot write to standard output: "} + std::strerror(errno == 0 ? EIO : errno), 1);
    } catch (const CLI::ValidationError& error) {  // options that contradict each other, which the file system shows
        return give_up(error.what() + advice(parsed), 2);
    } catch (const flashback::RankLost& error) {
        cli::Job::speak();
        return fail(error.what(), 1);
    } catch (const std::bad_alloc&) {
        return give_up("the command " + command + " needs more memory than there is", 1);
    } catch (const std::length_error&) {  // more than any machine has
        return give_up("the command " + command + " needs more memory than there is", 1);
    } catch (const std::exception& error) {
        return give_up(error.what(), 1);
    }
}
