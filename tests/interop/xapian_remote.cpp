// Xapian on several machines, as far as one can play them: servers that answer, die, and say nothing.
#include "flashback/interop/xapian.hpp"

#include "interop/xapian_corpus.hpp"
#include "interop/xapian_server.hpp"
#include "support/errors.hpp"
#include "support/shared.hpp"
#include "support/temporary_folder.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include <fcntl.h>

#include <doctest/doctest.h>

using namespace flashback;
using namespace flashback_test;
using namespace std::chrono_literals;

namespace test_interop_xapian_remote {

namespace {

/// Says that a test is skipped if there is no server to run.
bool no_server() {
    if (!xapian_tcpsrv().empty()) return false;
    std::printf("skipped: needs xapian-tcpsrv, which is not in the PATH (Debian: xapian-tools)\n");
    skipped_something() = true;
    return true;
}

const std::string query = "w0 w1 w2 w3 w7";

/// How long something takes, in seconds.
template <class Work>
double seconds_of(const Work& work) {
    const auto begin = std::chrono::steady_clock::now();
    work();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

}  // namespace

TEST_CASE("Xapian: two servers, and a server beside a folder, find what one database does, bit by bit") {
    if (no_server()) return;
    const TemporaryFolder folder;
    const auto passages = random_passages(300, 5);
    XapianRetriever one{write_shards(folder.path(), 1, passages), bytes_as_tokens};
    const auto shards = write_shards(folder.path(), 2, passages);
    const XapianServer first{shards[0]}, second{shards[1]};
    XapianRetriever servers{{first.name(), second.name()}, bytes_as_tokens};
    XapianRetriever mixed{{shards[0], "tcp://localhost:" + std::to_string(second.port())}, bytes_as_tokens};
    SplitMix64 random{6};
    for (int repetition = 0; repetition < 30; ++repetition) {
        std::string words;
        for (std::uint64_t left = 1 + random.below(12); left > 0; --left) words += "w" + std::to_string(random.below(60)) + ' ';
        CAPTURE(words);
        const std::size_t k = 1 + random.below(30);
        const auto expected = found_by(one, words, k);
        const std::vector<XapianPassage> whole{one.found().begin(), one.found().end()};
        CHECK(found_by(servers, words, k) == expected);
        CHECK(std::ranges::equal(servers.found(), whole));
        CHECK(found_by(mixed, words, k) == expected);
    }
}

TEST_CASE("Xapian: a server that dies between two searches is named, or left out, until it is back") {
    if (no_server()) return;
    const TemporaryFolder folder;
    const auto shards = write_shards(folder.path(), 2, random_passages(100, 7));
    const XapianServer first{shards[0]};
    auto second = std::make_unique<XapianServer>(shards[1]);
    const std::vector<std::string> names{first.name(), second->name()};
    const unsigned port = second->port();
    const XapianOptions partial_options{.dead_shard = DeadShard::partial};
    XapianRetriever strict{names, bytes_as_tokens};
    XapianRetriever partial{names, bytes_as_tokens, {}, partial_options};
    const auto all = found_by(strict, query, 50);
    CHECK(found_by(partial, query, 50) == all);
    CHECK(partial.missing_shards().empty());

    second->kill();
    for (int repetition = 0; repetition < 2; ++repetition) {
        check_error(ErrorCode::io, "1 of 2 shards of Xapian did not answer: '" + names[1] + "' (NetworkError: ", [&] {
            static_cast<void>(strict.retrieve({.text = query}, 50));
        });
        REQUIRE(strict.missing_shards().size() == 1);
        CHECK(strict.missing_shards()[0].shard == names[1]);
        CHECK(strict.found().empty());
    }
    XapianRetriever alone{{shards[0]}, bytes_as_tokens};
    const auto half = found_by(alone, query, 50);
    CHECK(half != all);
    for (int repetition = 0; repetition < 2; ++repetition) {
        CHECK(found_by(partial, query, 50) == half);
        REQUIRE(partial.missing_shards().size() == 1);
        CHECK(partial.missing_shards()[0].shard == names[1]);
        CHECK(partial.missing_shards()[0].reason.starts_with("NetworkError: "));
    }

    second = std::make_unique<XapianServer>(shards[1], port);
    CHECK(found_by(strict, query, 50) == all);  // after an error everything is opened again
    CHECK(strict.missing_shards().empty());
    CHECK(found_by(partial, query, 50) == half);
    partial.reopen();
    CHECK(partial.missing_shards().empty());
    CHECK(found_by(partial, query, 50) == all);
}

TEST_CASE("Xapian: a server that was started again meanwhile is not missed") {
    if (no_server()) return;
    const TemporaryFolder folder;
    const auto shards = write_shards(folder.path(), 2, random_passages(100, 8));
    auto first = std::make_unique<XapianServer>(shards[0]);
    XapianRetriever retriever{{first->name(), shards[1]}, bytes_as_tokens};
    const auto all = found_by(retriever, query, 50);
    const unsigned port = first->port();
    first.reset();
    first = std::make_unique<XapianServer>(shards[0], port);
    CHECK(found_by(retriever, query, 50) == all);
}

TEST_CASE("Xapian: a shard that was missing stays away when another one dies, though it is back") {
    if (no_server()) return;
    const TemporaryFolder folder;
    const auto shards = write_shards(folder.path(), 3, random_passages(100, 11));
    auto second = std::make_unique<XapianServer>(shards[1]);
    XapianServer third{shards[2]};
    const std::string name = second->name();
    XapianRetriever partial{{shards[0], name, third.name()}, bytes_as_tokens, {}, {.dead_shard = DeadShard::partial}};
    second->kill();
    CHECK(!found_by(partial, query, 50).empty());
    CHECK(partial.missing_shards().size() == 1);
    second = std::make_unique<XapianServer>(shards[1], second->port());
    third.kill();
    XapianRetriever alone{{shards[0]}, bytes_as_tokens};
    CHECK(found_by(partial, query, 50) == found_by(alone, query, 50));
    REQUIRE(partial.missing_shards().size() == 2);
    CHECK(partial.missing_shards()[0].shard == name);
    CHECK(partial.missing_shards()[1].shard == third.name());
}

TEST_CASE("Xapian: if no server is left, a partial result is an error, too") {
    if (no_server()) return;
    const TemporaryFolder folder;
    const auto shards = write_shards(folder.path(), 2, random_passages(50, 9));
    XapianServer first{shards[0]}, second{shards[1]};
    XapianRetriever partial{{first.name(), second.name()}, bytes_as_tokens, {}, {.dead_shard = DeadShard::partial}};
    CHECK(!found_by(partial, query, 5).empty());
    first.kill();
    second.kill();
    for (int repetition = 0; repetition < 2; ++repetition) {
        check_error(ErrorCode::io, "2 of 2 shards of Xapian did not answer: '" + first.name(),
                    [&] { static_cast<void>(partial.retrieve({.text = query}, 5)); });
    }
}

TEST_CASE("Xapian: a server that says nothing costs its timeout twice at most") {
    if (no_server()) return;
    const TemporaryFolder folder;
    const auto shards = write_shards(folder.path(), 2, random_passages(100, 10));
    const XapianServer first{shards[0]}, second{shards[1]};
    const std::vector<std::string> names{first.name(), second.name()};
    XapianRetriever strict{names, bytes_as_tokens, {}, {.timeout = 500ms}};
    XapianRetriever partial{names, bytes_as_tokens, {}, {.dead_shard = DeadShard::partial, .timeout = 500ms}};
    const auto all = found_by(strict, query, 50);
    CHECK(found_by(partial, query, 50) == all);
    second.stop();
    const double refused = seconds_of([&] {
        check_error(ErrorCode::io, "did not answer: '" + names[1] + "' (NetworkTimeoutError: ", [&] {
            static_cast<void>(strict.retrieve({.text = query}, 50));
        });
    });
    CHECK(refused >= 0.9);
    CHECK(refused < 5);
    const double first_search = seconds_of([&] { CHECK(!found_by(partial, query, 50).empty()); });
    CHECK(first_search >= 0.9);
    CHECK(first_search < 5);
    REQUIRE(partial.missing_shards().size() == 1);
    CHECK(partial.missing_shards()[0].shard == names[1]);
    const double next_search = seconds_of([&] { CHECK(!found_by(partial, query, 50).empty()); });
    CHECK(next_search < 0.5);
    second.go_on();
    partial.reopen();
    CHECK(found_by(partial, query, 50) == all);
    CHECK(found_by(strict, query, 50) == all);
}

TEST_CASE("Xapian: who takes no connection, and who takes one and says nothing, have timeouts of their own") {
    const LoopbackSocket silent;
    const std::string silent_name = "tcp://127.0.0.1:" + std::to_string(silent.bind_any());
    silent.listen(16);  // the system takes connections, and nobody ever reads them
    const auto open = [](const std::string& name, const XapianOptions& options) {
        return seconds_of([&] {
            check_error(ErrorCode::io, "1 of 1 shards of Xapian did not answer: '" + name + "' (NetworkTimeoutError: ", [&] {
                static_cast<void>(XapianRetriever{{name}, bytes_as_tokens, {}, options});
            });
        });
    };
    const double answer = open(silent_name, {.timeout = 300ms, .connect_timeout = 1min});
    CHECK(answer >= 0.25);
    CHECK(answer < 10);

    // A queue that is full: further connections wait.
    const LoopbackSocket full;
    const unsigned port = full.bind_any();
    full.listen(0);
    std::vector<LoopbackSocket> waiting(4);
    for (const LoopbackSocket& socket : waiting) {
        REQUIRE(::fcntl(socket.descriptor(), F_SETFL, O_NONBLOCK) == 0);
        static_cast<void>(socket.connect(port));
    }
    const double connection = open("tcp://127.0.0.1:" + std::to_string(port), {.timeout = 1min, .connect_timeout = 300ms});
    CHECK(connection >= 0.25);
    CHECK(connection < 10);

    const unsigned nobody = LoopbackSocket{}.bind_any();
    check_error(ErrorCode::io, "Connection refused", [&] {
        static_cast<void>(XapianRetriever{{"tcp://127.0.0.1:" + std::to_string(nobody)}, bytes_as_tokens});
    });
}

}  // namespace test_interop_xapian_remote
