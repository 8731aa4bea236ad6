#!/bin/sh
# No room uses what is private to another: a name that is declared in namespace detail, whatever header it stands in, is for its own room.
# floors.cmake sees what is included; this sees what is named, detail::NAME, and NAME alone inside of another room's detail. Of names alone
# it looks at those of a lower floor that could hardly be anything else: types and concepts, and functions of two words, unless the header has
# its own of that name.
#
# floors_names.sh SOURCE_DIR FLOORS_CMAKE
set -eu
floors=$(cd "$(dirname "$2")" && pwd)/$(basename "$2")
cd "$1/include/flashback"
headers=$(find . -mindepth 2 -name '*.hpp' | sort)
# shellcheck disable=SC2086  # one word for each header; all of them twice: what they declare, and what they use
awk '
    function room_of(path) {
        sub(/^\.\//, "", path)
        if (path ~ /^testing\/plain\//) return "testing/plain"
        sub(/\/.*/, "", path)
        return path
    }
    # The name that a line at the left margin declares, or nothing.
    function declared(line) {
        if (line ~ /^(class|struct|concept|enum class|enum|using|union) [A-Za-z_]/) {
            sub(/^(class|struct|concept|enum class|enum|using|union) /, "", line)
        } else if (line ~ /^(template|namespace|requires|friend|static_assert|public|private|protected)/ || line !~ /^[A-Za-z\[]/) {
            return ""
        } else {
            sub(/ *[({=;].*/, "", line)
            sub(/.*[ *&]/, "", line)
        }
        sub(/[^A-Za-z0-9_].*/, "", line)
        return line
    }
    FILENAME ~ /floors\.cmake$/ {
        if ($0 ~ /^set\(rooms_[0-9] /) {
            line = $0
            sub(/\).*/, "", line)
            floor = substr(line, 11, 1)
            count = split(substr(line, 13), names, " ")
            for (i = 1; i <= count; ++i) floor_of[names[i]] = floor
        }
        next
    }
    FNR == 1 {
        room = room_of(FILENAME)
        private = 0
        again = FILENAME in met
        met[FILENAME] = 1
    }
    /^namespace flashback.*::detail \{/ || /^namespace detail \{/ { private = 1 }
    /^}  \/\/ namespace/ { private = 0 }
    {
        line = $0
        gsub(/"([^"\\]|\\.)*"/, "", line)
        sub(/\/\/.*/, "", line)
    }
    !again {
        name = declared(line)
        if (name == "") next
        if (!private) open[name] = 1
        else if (!((name, room) in owns)) {
            owns[name, room] = 1
            rooms[name] = rooms[name] " " room
        }
        next
    }
    {
        rest = line
        before = ""
        while (match(rest, /[A-Za-z_][A-Za-z0-9_]*/)) {
            name = substr(rest, RSTART, RLENGTH)
            before = before substr(rest, 1, RSTART - 1)
            rest = substr(rest, RSTART + RLENGTH)
            if (name in rooms && !((name, room) in owns)) {
                if (before ~ /detail::$/) {
                    found[FILENAME ": detail::" name " is private to" rooms[name]] = 1
                } else if (!(name in open) && before !~ /(::|\.|->)$/ && (name ~ /^[A-Z]/ || (name ~ /_/ && rest ~ /^[<(]/))) {
                    is_type = name ~ /^[A-Z]/
                    if (is_type && before ~ /(class|struct|using|typename|enum|\.\.\.) $/) mine[FILENAME, name] = 1
                    if (!is_type && before ~ /[A-Za-z>] $/ && before !~ /(return|requires) $/) mine[FILENAME, name] = 1
                    count = split(rooms[name], names, " ")
                    for (i = 1; i <= count; ++i) {
                        if (floor_of[names[i]] < floor_of[room]) alone[FILENAME, name] = FILENAME ": " name " is private to" rooms[name]
                    }
                }
            }
            before = before name
        }
    }
    END {
        for (use in alone) if (!(use in mine)) found[alone[use]] = 1
        bad = 0
        for (words in found) {
            print words
            bad = 1
        }
        known = 0
        for (name in rooms) ++known
        if (known < 200) {
            print "found " known " private names, expected those of the whole library"
            bad = 1
        }
        if (!bad) print known " private names are used by their own rooms only"
        exit bad
    }' "$floors" $headers $headers
