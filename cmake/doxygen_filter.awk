# What Doxygen reads in place of a header of flashback: the form of doc blocks that CONTRIBUTING.md asks for, in Doxygen's words. Lines stay
# where they are, so that warnings name the right ones.
#
# A member that is explained elsewhere needs no block of its own, and gets one here that says where:
# - what a concept, or the language, explains for all types that have it (`known`);
# - a member of data that the block of its struct names in backticks;
# - an overload behind one that has a block.
#
# awk -f doxygen_filter.awk HEADER
BEGIN {
    known["reset"] = "A generation starts."
    known["rewind"] = "The newest n generated tokens are taken back."
    known["wants_surprisals"] = "Whether `StepView::surprisals` is needed."
    known["wants_attention"] = "Whether `StepView::attention` is needed."
    known["looks_at_evaluated"] = "Whether `StepView::evaluated` matters."
    known["at_end"] = "The text is about to end: see RetrievalSchedule."
    known["looks_at_ends"] = "Whether it has an `at_end` to be asked."
    known["pass_on"] = "Passes on what all policies hear: starts and rewinds."
    known["groups"] = "Which passages are read together: see DocumentFusion."
    known["begin"] = "Other passages were found: see DocumentFusion."
    known["took"] = "The text goes on with a token: see DocumentFusion."
    known["shorten"] = "How many tokens the passages lose: see Overflow."
    known["rotation"] = "Whether keys and values move: see Overflow."
    known["moves_text"] = "Whether text moves: see KVReuse."
    known["markers"] = "Ids that the sampler never takes: see MarkerWrapper."
    known["beside"] = "How passages stand beside the text: see ContextLayout."
    known["operator()"] = "The call that its concept asks for."
    known["operator=="] = "Equal if all members are."
    known["operator="] = "Takes the place of what was there."
    known["operator<<"] = "Prints it."
    known["operator+="] = "Adds member by member."
}

# The column of the first character that is no blank.
function indent(line) { match(line, /^ */); return RLENGTH }

# The function that a line declares, or nothing.
function declared(line,   at, words) {
    sub(/decltype\(auto\)/, "auto", line)
    sub(/operator std::span<(const )?T>/, "operator_span", line)
    at = index(line, "(")
    if (at == 0 || line ~ /^ *(return|if|else|for|while|switch|case|throw|static_assert|template)/) return ""
    words = substr(line, 1, at - 1)
    if (words ~ /operator$/ && substr(line, at, 2) == "()") return "operator()"
    if (words ~ /operator[^ a-zA-Z0-9_]+$/) { sub(/.*operator/, "operator", words); return words }
    if (words !~ /[a-zA-Z0-9_]$/ || words ~ /[=.]/) return ""
    sub(/.*[^a-zA-Z0-9_]/, "", words)
    return words == "requires" || words == "decltype" || words == "explicit" ? "" : words
}

# The member of data that a line declares, or nothing.
function data_member(line) {
    if (line !~ /^ *[a-zA-Z_:<>, *&0-9]+ [*&]?[a-z_0-9]+( = .*| =|\{.*\}|\[.*\])?;?$/) return ""
    sub(/( =.*|\{.*|\[.*|;)$/, "", line)
    sub(/.*[^a-z_0-9]/, "", line)
    return line
}

# A line with a block in front of it.
function explain(line, words,   n) { n = indent(line); return substr(line, 1, n) "/** " words " */ " substr(line, n + 1) }

# Macros of `detail` are private as its names are.
/^#define FLASHBACK_DETAIL_/ { sub(/define/, "pragma") }

# One block for several members: each needs its own.
/^ *[a-zA-Z_:]+(<[a-z]+>)? [a-z_0-9]+( = 0)?,[a-z_0-9, =]*; +\/\/\/< / {
    at = index($0, "///< ")
    words = substr($0, at + 5)
    $0 = substr($0, 1, at - 1)
    gsub(/, /, " /**< " words " */, ")
    $0 = $0 "///< " words
}

FNR == 1 { sub(/^\/\/\/ \\file /, "/// \\file " FILENAME " ") }  # Doxygen wants the name of a file there
{ sub(/namespace flashback::inline FLASHBACK_ISA/, "namespace flashback") }

# The five paragraphs of a doc block.
/^ *\/\/\/ (Shape|Requires|Throws|Cost|Source)  / {
    match($0, /(Shape|Requires|Throws|Cost|Source) +/)
    word = substr($0, RSTART, RLENGTH)
    rest = substr($0, RSTART + RLENGTH)
    gsub(/ /, "", word)
    $0 = substr($0, 1, RSTART - 1) "\\paragraph" word " " rest
}

# A doc block: remembers what it names in backticks.
/^ *\/\/\// {
    if (!documented) named = " "
    rest = $0
    while (match(rest, /`[a-z_0-9]+`/)) {
        named = named substr(rest, RSTART + 1, RLENGTH - 2) " "
        rest = substr(rest, RSTART + RLENGTH)
    }
    documented = 1
    print
    next
}

/^namespace detail/ { private = 1 }
/^}.*namespace detail/ { private = 0 }

/^ *(template|requires)[ <(].*[^;{}]$/ && declared($0) == "" { print; next }  # what it belongs to follows

/^ *(struct|class) / { explained = documented ? named : " " }

{
    line = $0
    name = declared(line)
    if (documented) {
        if (name != "") { last = name; column = indent(line) }
    } else if (line !~ /\/\/\/</ && line !~ /^ *\/\//) {
        if (name != "" && name == last && indent(line) == column) line = explain(line, "\\overload")
        else if (name in known && indent(line) > 0) line = explain(line, known[name])
        else if (name != "" && index(line, name "(" name "&&") > 0) line = explain(line, "Moves.")
        else if (name != "" && index(line, name "(const " name "&") > 0) line = explain(line, "Copies.")
        else if (line ~ /auto[)&]? (schedule|query|wrapper|layout|reuse|sampler|overflow|stopping|fusion)\(\) (const )?noexcept/)
            line = explain(line, "The policy of this slot.")
        else if (line ~ / (schedule|query)\(const StepView&/) line = explain(line, "What the method does in this slot.")
        else if (name == "" && index(explained, " " data_member(line) " ") > 0 && data_member(line) != "")
            line = explain(line, "See the block above.")
    }
    # Doxygen says nothing of a concept or an empty class without a block, but it does of a command that it does not know.
    if (!documented && !private && (line ~ /^concept / || line ~ /^(struct|class) .*\{\};/)) {
        split(line, parts, /[ {]+/)
        line = "/** \\" parts[2] "_is_not_documented */ " line
    }
    documented = 0
    print line
}
