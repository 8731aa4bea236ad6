/// \file Which files a command reads and writes.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <sys/types.h>

namespace cli {

/// Device and inode.
using FileIdentity = std::pair<::dev_t, ::ino_t>;

/// A path that is the same for all names of a file, also of one that is not there yet.
std::filesystem::path path_of(const std::string& file);

/// All files and folders that a command reads and writes. A command names them here, each with its option, before it opens one
/// to write.
///
///     FilesOfCommand files;
///     files.reads("--model", o.model);
///     files.writes("--out", o.out, o.force);
///     files.check();
class FilesOfCommand {
public:
    /// A file, or a folder with the files in it that are read. Empty: none; `-`: standard input.
    void reads(const std::string& option, const std::string& path);
    /// A file that is written as a whole. It may replace one that exists if `replace` is true.
    void writes(const std::string& option, const std::string& file, bool replace);
    /// A file that is written if a name is given; it replaces one that exists.
    void writes_if_given(const std::string& option, const std::string& file);
    /// The folder of an adapter, which is made if it does not exist.
    void writes_adapter(const std::string& option, const std::string& folder, bool replace);
    /// The checkpoint of a run, if one is kept, with its lock. What killed runs left of it is removed. A `passing` one is made
    /// with its folder.
    void keeps_checkpoint(const std::string& option, const std::string& file, bool passing);

    /// Refuses what would lose something, and what could not be written later, when the work is done. Names on standard error
    /// what killed runs have left of the files to write. Two files are the same if they have the same device and inode,
    /// whatever their names.
    /// Throws    CLI::ValidationError if two outputs are one file; flashback::Error{io} if an output is an input, exists and
    ///           may not be replaced, or cannot be written
    void check() const;

private:
    enum class Kind {
        file,
        file_in_folder,
        folder,
        leftover
    };  ///< the folder of a `file_in_folder` may be made, a leftover is removed
    struct Output {
        std::string option;
        std::string path;
        Kind kind;
        bool replace;
    };
    void add_folder(const std::string& option, const std::string& folder);
    void check_outputs() const;
    void check_place(const Output& output) const;
    void name_leftovers(const Output& output) const;

    std::map<FileIdentity, std::string> inputs_;  ///< and the options that name them
    std::vector<Output> outputs_;
};

}  // namespace cli
