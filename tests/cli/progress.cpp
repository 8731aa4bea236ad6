// What commands that train say of how far they are: one line that is replaced on a terminal, however narrow; plain lines elsewhere.
#include "cli/training.hpp"

#include <string>
#include <vector>

#include <fcntl.h>
#include <pty.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace flashback_test;

namespace {

/// What the tool writes to standard error where that is a terminal of so many columns.
std::string on_terminal(unsigned short columns, std::vector<std::string> arguments) {
    std::string program = FLASHBACK_TOOL;
    std::vector<char*> all{program.data()};
    for (std::string& text : arguments) all.push_back(text.data());
    all.push_back(nullptr);
    ::winsize size{.ws_row = 24, .ws_col = columns, .ws_xpixel = 0, .ws_ypixel = 0};
    int terminal = -1;
    const ::pid_t child = ::forkpty(&terminal, nullptr, nullptr, &size);
    REQUIRE(child >= 0);
    if (child == 0) {
        ::dup2(::open("/dev/null", O_WRONLY), STDOUT_FILENO);
        ::execv(program.c_str(), all.data());
        ::_exit(127);
    }
    std::string written;
    std::vector<char> part(4096);
    for (::ssize_t count; (count = ::read(terminal, part.data(), part.size())) > 0;)  // fails when the child has ended
        written.append(part.data(), static_cast<std::size_t>(count));
    ::close(terminal);
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    REQUIRE(WIFEXITED(status));
    INFO(written);
    REQUIRE(WEXITSTATUS(status) == 0);
    return written;
}

/// The lines that took the place of others, but for messages that stay.
std::vector<std::string> replacing(const std::string& written) {
    const std::string begin = "\r\x1b[K";
    std::vector<std::string> lines;
    for (std::size_t at = 0; (at = written.find(begin, at)) != written.npos;) {
        at += begin.size();
        const std::string line = written.substr(at, written.find_first_of("\r\n", at) - at);
        if (!line.empty() && !line.starts_with("flashback: ")) lines.push_back(line);
    }
    return lines;
}

struct TwoRuns {
    TemporaryFolder folder;
    std::string model = tiny_model(folder);
    std::string texts = folder.write("texts.jsonl", documents_to_retrieve(60));
    std::string valid = folder.write("valid.jsonl", documents_to_retrieve(9));
    std::string train = folder.write("train.jsonl", documents_to_learn(50));

    std::vector<std::vector<std::string>> runs() const {
        const std::string out = (folder.path() / "out").string();
        return {finetune_arguments(model, texts, out + "_adapter",
                                   {"--force", "--steps", "3", "--valid", valid, "--valid-every", "1", "--valid-strides", "2"}),
                pretrain_arguments(train, out + ".gguf", {"--force", "--steps", "3", "--valid", train, "--valid-every", "1"})};
    }
};

}  // namespace

TEST_CASE("a terminal of 60 columns: no line of progress fills it, and all steps are shown") {
    const TwoRuns two;
    for (const auto& run : two.runs()) {
        CAPTURE(run.front());
        std::size_t steps = 0;
        for (const std::string& line : replacing(on_terminal(60, run))) {
            CAPTURE(line);
            CHECK(line.size() <= 59);
            steps += line.find("step ") != line.npos ? 1u : 0u;
        }
        CHECK(steps >= 3);
    }
}

TEST_CASE("a wide terminal has a bar, a narrow one what stands first in the line, and no terminal plain lines") {
    const TwoRuns two;
    const auto run = two.runs().back();
    const auto wide = replacing(on_terminal(160, run));
    REQUIRE_FALSE(wide.empty());
    const std::string& last = wide.back();
    CHECK(last.starts_with("[########################] step 3/3  loss "));
    CHECK(last.ends_with(" left"));

    const auto narrow = replacing(on_terminal(9, run));
    REQUIRE_FALSE(narrow.empty());
    for (const std::string& line : narrow) CHECK(line.size() <= 8);
    CHECK(narrow.back() == "step 3/3");

    const Result plain = tool(run);
    CHECK(plain.status == 0);
    CHECK(plain.err.find_first_of("\r\x1b") == plain.err.npos);
    CHECK(plain.err.find("\nstep 3/3  loss ") != plain.err.npos);
}
