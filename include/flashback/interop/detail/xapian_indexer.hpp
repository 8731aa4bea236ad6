/// \file Writing a Xapian database.
#pragma once

#include "flashback/core/error.hpp"
#include "flashback/interop/detail/xapian_passage.hpp"
#include "flashback/interop/xapian.hpp"

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <string>

namespace flashback::inline FLASHBACK_ISA {
namespace detail {

/// Does something with a database; an error of Xapian becomes one of ours that names the database.
template <class Work>
void of_xapian(const std::string& name, const Work& work) {
    try {
        work();
    } catch (const Xapian::Error& error) {
        FLASHBACK_THROW(ErrorCode::io, "cannot write the Xapian database '", printable(name), "': ", xapian_reason(error));
    }
}

}  // namespace detail

inline XapianIndexer::XapianIndexer(const std::filesystem::path& folder, XapianStemming stemming) : name_(folder.string()) {
    const std::string wanted = detail::xapian_mark_of(stemming);
    stem_ = detail::xapian_stem(wanted, name_);
    detail::of_xapian(name_, [&] {
        database_ = Xapian::WritableDatabase{name_, Xapian::DB_CREATE_OR_OPEN};
        const std::string mark = database_.get_metadata(detail::xapian_mark);
        if (mark == wanted) return;
        if (!mark.empty() || database_.get_doccount() > 0) {
            FLASHBACK_THROW(ErrorCode::format, "the Xapian database '", printable(name_), "' has the mark '", printable(mark),
                            "', expected '", wanted, "' or an empty database");
        }
        database_.set_metadata(detail::xapian_mark, wanted);
        database_.commit();
    });
}

inline void XapianIndexer::add(const XapianPassage& passage) {
    // Xapian has 245 bytes for a term, and takes two for a NUL.
    const auto nuls = static_cast<std::size_t>(std::ranges::count(passage.id, '\0'));
    if (passage.id.empty() || passage.id.size() + nuls > 240) {
        FLASHBACK_THROW(ErrorCode::corpus, "a passage has the id '", printable(passage.id), "' of ", passage.id.size(),
                        " bytes, expected 1 to 240");
    }
    detail::of_xapian(name_, [&] {
        Xapian::Document document;
        document.set_data(detail::xapian_data(passage));
        detail::for_each_xapian_term(stem_, passage.text, [&](const std::string& term) { document.add_term(term); });
        const std::string id = "Q" + passage.id;  // no word begins with a capital
        document.add_boolean_term(id);
        database_.replace_document(id, document);
    });
}

inline void XapianIndexer::commit() {
    detail::of_xapian(name_, [&] { database_.commit(); });
}

}  // namespace flashback::inline FLASHBACK_ISA
