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

/// All files and folders that a command reads and writes. It names them here, each by the option that says it, before it opens one to
/// write.
///
///     FilesOfCommand files;
///     files.reads("--model", o.model);
///     files.writes("--out", o.out, o.force);
///     files.check();
class FilesOfCommand {
public:
    /// A file, or a folder and what is read in folders. Empty: nothing was asked for; `-`: what standard input is.
    void reads(const std::string& option, const std::string& path);
    /// A file that is written whole, over one that is there if `replace`.
    void writes(const std::string& option, const std::string& file, bool replace);
    /// A file that is written if a name is given; it takes the place of one that is there.
    void writes_if_given(const std::string& option, const std::string& file);
    /// The folder of an adapter, which is made if it is not there.
    void writes_adapter(const std::string& option, const std::string& folder, bool replace);
    /// The checkpoint of a run, if one is kept, with its lock; what killed runs left of it is removed. A `passing` one is made with its
    /// folder.
    void keeps_checkpoint(const std::string& option, const std::string& file, bool passing);

    /// Refuses what would lose something, and what could not be written later, when the work is done. Names on standard error what
    /// killed runs have left of files that are written. Two files are the same if they have one device and inode, whatever their names.
    /// Throws    CLI::ValidationError if two outputs are one file; flashback::Error{io} if an output is an input, or is there and may not
    ///           be replaced, or cannot be written
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
    void check_place(const Output& output) const;
    void name_leftovers(const Output& output) const;

    std::map<FileIdentity, std::string> inputs_;  ///< and the options that name them
    std::vector<Output> outputs_;
};

}  // namespace cli
