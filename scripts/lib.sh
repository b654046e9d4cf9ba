# Sourced by the other scripts: installs what is missing on a Debian-like machine, and nothing else.

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; elif command -v sudo >/dev/null; then sudo "$@"; else
        echo "this needs root: $*" >&2
        return 1
    fi
}

# install PACKAGE...: Debian packages.
install() {
    command -v apt-get >/dev/null || {
        echo "please install: $*" >&2
        return 1
    }
    echo "installing: $*" >&2
    as_root apt-get update -qq >/dev/null
    DEBIAN_FRONTEND=noninteractive as_root apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

need_rust() {
    [ -f "$HOME/.cargo/env" ] && . "$HOME/.cargo/env"
    command -v cargo >/dev/null && return
    echo "Rust is missing: get it with rustup (https://rustup.rs), then run this again" >&2
    exit 1
}

# The linker comes with it.
need_c_compiler() {
    command -v cc >/dev/null || install gcc libc6-dev
}

need_node() {
    command -v node >/dev/null || install nodejs
}

need_chromium() {
    command -v chromium >/dev/null || install chromium
}

need_cargo_deny() {
    local version=0.20.2
    cargo deny --version 2>/dev/null | grep -q "$version" || cargo install --quiet --locked cargo-deny --version "$version"
}
