/// \file flashback: generate text while retrieving, score it, tokenise it, search for it, inspect, convert, measure
/// and train models.
///
/// Results go to standard output, everything else to standard error. Exit status: 0, or 1 for an error, or 2 for options
/// that make no sense.

#include "common.hpp"
#include "flashback/core/error.hpp"
#include "flashback/core/version.hpp"

#include <cerrno>
#include <csignal>
#include <cstring>
#include <exception>
#include <iostream>
#include <new>
#include <string_view>

#include <unistd.h>

int main(int argc, char** argv) {
    CLI::App app{"Generates text with a language model while it retrieves passages from a corpus."};
    app.set_version_flag("--version", "flashback " FLASHBACK_VERSION " (" FLASHBACK_ISA_NAME ")");
    app.require_subcommand(1);
    app.footer("flashback COMMAND --help shows the options of a command and an example.");

    cli::Command run;
    cli::add_bench(app, run);
    cli::add_convert(app, run);
    cli::add_generate(app, run);
    cli::add_inspect(app, run);
    cli::add_ppl(app, run);
    cli::add_convert_adapter(app, run);
    cli::add_finetune(app, run);
    cli::add_pretrain(app, run);
    cli::add_quantize(app, run);
    cli::add_score(app, run);
    cli::add_search(app, run);
    cli::add_tokenize(app, run);

    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
        const std::string_view first = argc > 1 ? argv[1] : "-";
        if (!first.starts_with('-') && app.get_subcommands([&](const CLI::App* c) { return c->get_name() == first; }).empty()) {
            std::cerr << "flashback: there is no command '" << first << "'; see flashback --help\n";
        } else {
            std::cerr << "flashback: " << error.what() << "; see flashback --help\n";
        }
        return 2;
    }
    std::signal(SIGXFSZ, SIG_IGN);  // a file that may not grow is an error in words, as a full disk is
    try {
        run();
        errno = 0;
        std::cout.flush();
        if (std::cout) return 0;
        if (errno == 0) static_cast<void>(::write(STDOUT_FILENO, "\n", 1) < 0);  // fails as an earlier write did, and says why
        std::cerr << "flashback: cannot write to standard output: " << std::strerror(errno == 0 ? EIO : errno) << '\n';
        return 1;
    } catch (const CLI::ValidationError& error) {  // options that contradict each other, which the file system shows
        std::cerr << "flashback: " << error.what() << "; see flashback --help\n";
        return 2;
    } catch (const flashback::Error& error) {
        std::cerr << "flashback: " << error.what() << '\n';
    } catch (const std::bad_alloc&) {
        std::cerr << "flashback: there is not enough memory\n";
    } catch (const std::exception& error) {
        std::cerr << "flashback: " << error.what() << '\n';
    }
    return 1;
}
