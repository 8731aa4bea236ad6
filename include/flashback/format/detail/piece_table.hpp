/// \file The tokens of a vocabulary while its files are read.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/core/vocabulary.hpp"
#include "flashback/format/json_fields.hpp"

#include <cstddef>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace flashback::inline FLASHBACK_ISA::detail {

/// Texts, their ids and kinds.
class PieceTable {
public:
    explicit PieceTable(std::string file) : file_(std::move(file)) {}

    const std::string& file() const noexcept { return file_; }

    /// Adds a token. If it is there already, checks that it has the same id.
    /// Throws    Error{vocabulary}
    void add(const std::string& piece, std::size_t id) {
        if (piece.empty()) refuse("has a token without text, id ", id);
        const auto [at, added] = ids_.emplace(piece, id);
        if (!added && at->second != id)
            refuse("gives the token '", printable(piece), "' the id ", id, ", but it has the id ", at->second);
    }
    /// Adds the tokens of an object, text -> id.
    /// Throws    Error{vocabulary} for an id that is not a whole number >= 0
    void add_all(const JsonTree::Object& object) {
        ids_.reserve(object.size());
        for (const auto& [piece, id] : object) {
            if (!id.is_number_unsigned() || id.whole() > std::numeric_limits<std::int32_t>::max())
                refuse("has ", shown(id), " as the id of the token '", printable(piece), "', expected a whole number from 0");
            add(piece, static_cast<std::size_t>(id.whole()));
        }
    }
    /// Says what a token is for.
    /// Requires  the token is there
    void mark(const std::string& piece, TokenKind kind) { kinds_[piece] = kind; }

    std::optional<TokenId> find(const std::string& piece) const {
        const auto found = ids_.find(piece);
        if (found == ids_.end()) return {};
        return static_cast<TokenId>(found->second);
    }
    bool is_marked(const std::string& piece) const { return kinds_.contains(piece); }
    std::size_t size() const noexcept { return ids_.size(); }

    /// Puts pieces and kinds into a vocabulary.
    /// Throws    Error{vocabulary} unless the ids are 0, 1, 2, ... without a gap
    void give(Vocabulary& v) const {
        std::vector<const std::string*> pieces(size());
        for (const auto& [piece, id] : ids_) {
            if (id >= pieces.size())
                refuse("gives the token '", printable(piece), "' the id ", id, ", but there are only ", size(), " tokens");
            if (pieces[id])
                refuse("gives the tokens '", printable(std::min(piece, *pieces[id])), "' and '",
                       printable(std::max(piece, *pieces[id])), "' the same id ", id);
            pieces[id] = &piece;
        }
        v.pieces.clear();
        v.kinds.clear();
        for (const std::string* piece : pieces) {
            const auto kind = kinds_.find(*piece);
            v.kinds.push_back(kind == kinds_.end() ? TokenKind::normal : kind->second);
            v.pieces.push_back(*piece);
        }
    }

private:
    template <class... Parts>
    [[noreturn]] void refuse(const Parts&... parts) const {
        FLASHBACK_THROW(ErrorCode::vocabulary, "'", file_, "' ", parts...);
    }

    std::string file_;
    std::unordered_map<std::string, std::size_t> ids_;
    std::unordered_map<std::string, TokenKind> kinds_;
};

/// Adds an added token. Special ones are only put by id; others are found in texts. `normalizes` tells whether the vocabulary
/// changes a text before it looks for some of them.
/// Throws    Error{unsupported} for a token that is found in another way than as its plain text
inline void add_added_token(PieceTable& table, const JsonFields& token, std::size_t id, bool normalizes) {
    const std::string content = token.text("content").value_or("");
    table.add(content, id);
    const bool special = token.flag("special").value_or(false);
    if (!special) {
        for (const char* setting : {"lstrip", "rstrip", "single_word"}) {
            if (token.flag(setting).value_or(false)) {
                token.unsupported("has the token '", printable(content), "' with ", setting,
                                  ", expected one that is found wherever its text stands");
            }
        }
        if (normalizes && token.flag("normalized").value_or(true)) {
            token.unsupported(
                "has the token '", printable(content),
                "', which is looked for after the normalizers (normalized), expected one that is found in the text itself");
        }
    }
    table.mark(content, special ? TokenKind::control : TokenKind::user_defined);
}

}  // namespace flashback::inline FLASHBACK_ISA::detail
