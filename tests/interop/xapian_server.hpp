/// \file xapian-tcpsrv on this machine, which can be stopped and killed.
#pragma once

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <sstream>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <doctest/doctest.h>

namespace flashback_test {

/// A socket of the loopback interface; closed at the end.
class LoopbackSocket {
public:
    LoopbackSocket() : descriptor_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) { REQUIRE(descriptor_ >= 0); }
    LoopbackSocket(LoopbackSocket&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
    LoopbackSocket& operator=(LoopbackSocket&&) = delete;
    ~LoopbackSocket() {
        if (descriptor_ >= 0) ::close(descriptor_);
    }

    int descriptor() const { return descriptor_; }

    /// Takes a free port, and gives its number.
    unsigned bind_any() const {
        ::sockaddr_in address = loopback(0);
        REQUIRE(::bind(descriptor_, reinterpret_cast<const ::sockaddr*>(&address), sizeof address) == 0);
        ::socklen_t length = sizeof address;
        REQUIRE(::getsockname(descriptor_, reinterpret_cast<::sockaddr*>(&address), &length) == 0);
        return ntohs(address.sin_port);
    }
    void listen(int backlog) const { REQUIRE(::listen(descriptor_, backlog) == 0); }
    bool connect(unsigned port) const {
        const ::sockaddr_in address = loopback(port);
        return ::connect(descriptor_, reinterpret_cast<const ::sockaddr*>(&address), sizeof address) == 0;
    }

private:
    static ::sockaddr_in loopback(unsigned port) {
        ::sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(static_cast<std::uint16_t>(port));
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        return address;
    }

    int descriptor_;
};

/// Where xapian-tcpsrv is; empty if it is not installed.
inline std::string xapian_tcpsrv() {
    const char* path = std::getenv("PATH");  // NOLINT(concurrency-mt-unsafe): nothing else runs
    std::istringstream folders{path ? path : ""};
    for (std::string folder; std::getline(folders, folder, ':');) {
        std::string file = folder + "/xapian-tcpsrv";
        if (::access(file.c_str(), X_OK) == 0) return file;
    }
    return {};
}

/// A server of one database. It makes a process for each connection; all of them are one group, and end with this object.
class XapianServer {
public:
    /// Starts one on a port, by default on one that is free.
    explicit XapianServer(const std::string& database, unsigned port = 0)
        : port_(port != 0 ? port : LoopbackSocket{}.bind_any()) {
        const std::string program = xapian_tcpsrv();
        const std::string number = std::to_string(port_);
        group_ = ::fork();
        REQUIRE(group_ >= 0);
        if (group_ == 0) {
            ::setpgid(0, 0);
            const int nothing = ::open("/dev/null", O_WRONLY | O_CLOEXEC);  // it tells of each client that went away
            ::dup2(nothing, STDOUT_FILENO);
            ::dup2(nothing, STDERR_FILENO);
            ::execl(program.c_str(), program.c_str(), "--quiet", "--interface", "127.0.0.1", "--port", number.c_str(),
                    database.c_str(), static_cast<const char*>(nullptr));
            ::_exit(127);
        }
        ::setpgid(group_, group_);
        for (int i = 0; i < 1000; ++i) {
            if (LoopbackSocket{}.connect(port_)) return;
            std::this_thread::sleep_for(std::chrono::milliseconds{10});
        }
        FAIL("xapian-tcpsrv does not listen to port " << port_ << " after 10 seconds");
    }
    XapianServer(const XapianServer&) = delete;
    XapianServer& operator=(const XapianServer&) = delete;
    ~XapianServer() { kill(); }

    std::string name() const { return "tcp://127.0.0.1:" + std::to_string(port_); }
    unsigned port() const { return port_; }

    void kill() {
        if (group_ <= 0) return;
        ::kill(-group_, SIGKILL);
        ::waitpid(group_, nullptr, 0);
        group_ = 0;
    }
    /// Connections stay, and nothing answers.
    void stop() const { ::kill(-group_, SIGSTOP); }
    void go_on() const { ::kill(-group_, SIGCONT); }

private:
    unsigned port_;
    ::pid_t group_ = 0;
};

}  // namespace flashback_test
