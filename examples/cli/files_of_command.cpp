#include "files_of_command.hpp"

#include "flashback/core/error.hpp"
#include "flashback/format/atomic_file.hpp"
#include "flashback/format/folder.hpp"
#include "flashback/format/peft.hpp"
#include "job.hpp"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <optional>
#include <string_view>
#include <system_error>

#include <sys/stat.h>
#include <unistd.h>

namespace cli {

namespace fb = flashback;

namespace {

/// What is read in folders: models, adapters and texts.
constexpr std::array<std::string_view, 4> read_in_folders{".json", ".safetensors", ".txt", ".md"};

std::optional<FileIdentity> identity_of(const std::string& path) {
    struct ::stat found {};
    if (::stat(path.c_str(), &found) != 0) return {};
    return FileIdentity{found.st_dev, found.st_ino};
}

bool one_file(const std::string& a, const std::string& b) {
    const auto there = identity_of(a);
    return (there && there == identity_of(b)) || path_of(a) == path_of(b);
}

std::string folder_of(const std::string& file) {
    const std::filesystem::path path{file};
    return path.has_parent_path() ? path.parent_path().string() : ".";
}

/// As far as the folder can be read.
std::vector<std::filesystem::path> temporary_files_of(const std::filesystem::path& file) {
    try {
        return fb::temporary_files_of(file);
    } catch (const fb::Error&) {
        return {};
    }
}

template <class... Parts>
[[noreturn]] void cannot_write(const std::string& path, const Parts&... why) {
    FLASHBACK_THROW(fb::ErrorCode::io, "cannot write '", path, "': ", why...);
}

/// A folder may be made, together with folders above it. So the first of these that exists must be writable.
void check_folder(const std::string& folder) {
    std::error_code unknown;
    std::filesystem::path there = std::filesystem::absolute(folder).lexically_normal();
    while (there.has_relative_path() && !std::filesystem::exists(there, unknown)) {
        if (std::filesystem::is_symlink(std::filesystem::symlink_status(there, unknown))) {
            cannot_write(folder, "'", there.string(), "' is a symbolic link to '",
                         std::filesystem::read_symlink(there, unknown).string(), "', which is not there");
        }
        there = there.parent_path();
    }
    if (!std::filesystem::is_directory(there, unknown))
        cannot_write(folder, "'", there.string(), "' exists and is not a folder");
    if (::access(there.c_str(), W_OK) != 0) cannot_write(folder, "the folder '", there.string(), "': ", std::strerror(errno));
}

}  // namespace

std::filesystem::path path_of(const std::string& file) {
    std::error_code unknown;
    const std::filesystem::path absolute = std::filesystem::weakly_canonical(std::filesystem::absolute(file, unknown), unknown);
    return absolute.has_filename() ? absolute : absolute.parent_path();
}

void FilesOfCommand::reads(const std::string& option, const std::string& path) {
    if (path.empty()) return;
    struct ::stat input {};
    if (path == "-" && ::fstat(STDIN_FILENO, &input) == 0) inputs_.emplace(FileIdentity{input.st_dev, input.st_ino}, option);
    if (const auto there = identity_of(path)) inputs_.emplace(*there, option);
    std::error_code unknown;
    if (std::filesystem::is_directory(path, unknown)) add_folder(option, path);
}

void FilesOfCommand::add_folder(const std::string& option, const std::string& folder) {
    std::vector<std::string> names;
    try {
        names = fb::folder_entries(folder);
    } catch (const fb::Error&) {  // then nothing in it is read
    }
    for (const std::string& name : names) {
        const std::filesystem::path path = std::filesystem::path{folder} / name;
        std::error_code unknown;
        if (std::filesystem::symlink_status(path, unknown).type() == std::filesystem::file_type::directory) {
            add_folder(option, path.string());  // links to folders are not followed, as readers do not
        } else if (std::ranges::find(read_in_folders, path.extension().string()) != read_in_folders.end()) {
            if (const auto there = identity_of(path.string())) inputs_.emplace(*there, option);
        }
    }
}

void FilesOfCommand::writes(const std::string& option, const std::string& file, bool replace) {
    outputs_.push_back({option, file, Kind::file, replace});
}

void FilesOfCommand::writes_if_given(const std::string& option, const std::string& file) {
    if (!file.empty()) writes(option, file, /*replace=*/true);
}

void FilesOfCommand::writes_adapter(const std::string& option, const std::string& folder, bool replace) {
    outputs_.push_back({option, folder, Kind::folder, replace});
    for (const std::string_view name : {fb::peft_config_file, fb::peft_tensors_file})
        outputs_.push_back({option, (std::filesystem::path{folder} / name).string(), Kind::file_in_folder, true});
}

void FilesOfCommand::keeps_checkpoint(const std::string& option, const std::string& file, bool passing) {
    if (file.empty()) return;
    const Kind kind = passing ? Kind::file_in_folder : Kind::file;
    outputs_.push_back({option, file, kind, true});
    outputs_.push_back({option, file + ".lock", kind, true});
    for (const auto& leftover : temporary_files_of(file)) outputs_.push_back({option, leftover.string(), Kind::leftover, true});
}

void FilesOfCommand::check_place(const Output& output) const {
    std::error_code unknown;
    const std::filesystem::path path{output.path};
    if (output.kind == Kind::folder) {
        if (!output.replace && std::filesystem::exists(path / fb::peft_config_file, unknown))
            FLASHBACK_THROW(fb::ErrorCode::io, "'", output.path, "' holds an adapter already; --force replaces it");
        return check_folder(output.path);
    }
    if (!output.replace && std::filesystem::exists(path, unknown))
        FLASHBACK_THROW(fb::ErrorCode::io, "'", output.path, "' exists already; --force replaces it");
    const std::string folder = folder_of(output.path);
    if (!std::filesystem::is_directory(folder, unknown)) {
        if (output.kind == Kind::file_in_folder) return check_folder(folder);
        cannot_write(output.path, "there is no folder '", folder, "'");
    }
    if (std::filesystem::exists(path, unknown) && ::access(path.c_str(), W_OK) != 0)
        cannot_write(output.path, std::strerror(errno));  // a file that replaces it would not ask
    const fb::AtomicFile as_it_will_be{path};
}

void FilesOfCommand::name_leftovers(const Output& output) const {
    for (const auto& leftover : temporary_files_of(path_of(output.path))) {
        const auto there = identity_of(leftover.string());
        const auto known = [&](const Output& other) { return one_file(other.path, leftover.string()); };
        if (!there || inputs_.contains(*there) || std::ranges::any_of(outputs_, known)) continue;
        std::cerr << "flashback: '" << leftover.string() << "' was left by a killed run that wrote '" << output.path
                  << "', unless a run is writing it now; remove it if none is\n";
    }
}

void FilesOfCommand::check() const {
    for (auto a = outputs_.begin(); a != outputs_.end(); ++a) {
        for (auto b = outputs_.begin(); b != a; ++b) {
            if (!a->path.empty() && !b->path.empty() && one_file(a->path, b->path))
                throw CLI::ValidationError(b->option + " and " + a->option + " are both '" + a->path +
                                           "', expected different files");
        }
    }
    only_in_first([this] { check_outputs(); });  // no other rank writes
}

void FilesOfCommand::check_outputs() const {
    for (const Output& output : outputs_) {
        const auto there = identity_of(output.path);
        const auto input = there ? inputs_.find(*there) : inputs_.end();
        if (input == inputs_.end() || output.kind == Kind::folder) continue;
        FLASHBACK_THROW(fb::ErrorCode::io, "'", output.path, "' (", output.option, ") is what ", input->second,
                        " reads, expected another file to write");
    }
    for (const Output& output : outputs_) {
        if (output.kind != Kind::leftover) check_place(output);
    }
    for (const Output& output : outputs_) {
        if (output.kind == Kind::file || output.kind == Kind::file_in_folder) name_leftovers(output);
    }
}

}  // namespace cli
