# shellcheck shell=sh
# How the scripts of this project install packages and build; they source it.

# install_flashback_packages: everything that building, testing and measuring flashback needs.
install_flashback_packages() {
    install_packages cmake ninja-build g++ nlohmann-json3-dev libxsimd-dev libcli11-dev doctest-dev libbenchmark-dev \
        libeigen3-dev librange-v3-dev libstemmer-dev python3 dict-foldoc libxapian-dev xapian-tools libhnswlib-dev libsqlite3-dev
}

# install_test_packages: what the tests need besides.
install_test_packages() {
    install_packages doxygen pkgconf chromium chromium-driver python3-selenium libopenmpi-dev openmpi-bin
}

# install_text_packages: what examples/pretrain.sh makes its texts from; examples/pretrain/sources.py reads the same packages.
install_text_packages() {
    install_packages python3 dict-foldoc dict-jargon dict-devil dict-wn bible-kjv bible-kjv-text linux-doc python3-doc git git-doc \
        perl-doc postgresql-doc-15 debian-policy developers-reference debian-reference-en debian-faq apache2-doc sqlite3-doc \
        vim-runtime zsh-doc
}

# install_packages PACKAGE...: installs the Debian packages that are missing. Works for root and for a user with sudo, and asks for
# nothing if everything is there.
install_packages() {
    missing=""
    for package in "$@"; do
        status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
        [ "$status" = installed ] || missing="$missing $package"
    done
    if [ -z "$missing" ]; then
        echo "== packages: everything is installed"
        return 0
    fi
    as_root=""
    if [ "$(id -u)" != 0 ]; then
        if ! command -v sudo >/dev/null 2>&1; then
            echo "These packages are missing, and there is neither root nor sudo to install them:$missing" >&2
            return 1
        fi
        as_root="sudo"
    fi
    echo "== packages: installing$missing"
    log=$(mktemp)
    # shellcheck disable=SC2086  # $as_root and $missing are lists of words
    if ! { $as_root apt-get update && $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing; } >"$log" 2>&1; then
        cat "$log" >&2
        echo "The installation of these packages failed:$missing" >&2
        rm -f "$log"
        return 1
    fi
    rm -f "$log"
}

# build_with PRESET [TARGET...]: configures and builds, by default everything; its output is shown if that fails.
build_with() {
    build_log=$(mktemp)
    preset_of_build=$1
    shift
    [ $# = 0 ] || set -- --target "$@"
    if ! { cmake --preset "$preset_of_build" && cmake --build --preset "$preset_of_build" "$@"; } >"$build_log" 2>&1; then
        cat "$build_log" >&2
        rm -f "$build_log"
        echo "The build failed; its output stands above." >&2
        return 1
    fi
    rm -f "$build_log"
}

# find_tool: sets $flashback to the tool that FLASHBACK_TOOL names, or else builds it.
find_tool() {
    flashback=${FLASHBACK_TOOL:-build/release/bin/flashback}
    [ -z "${FLASHBACK_TOOL:-}" ] || return 0
    install_flashback_packages
    echo "== building $flashback (a few minutes the first time)"
    build_with release flashback_tool
}
