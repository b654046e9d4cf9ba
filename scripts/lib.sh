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

need_npm() {
    need_node
    command -v npm >/dev/null || install npm
}

# axe_core FOLDER: prints where axe.min.js is, fetched into FOLDER once.
axe_core() {
    local version=4.14.1
    local folder="$1/axe-core-$version"
    if [ ! -f "$folder/package/axe.min.js" ] && command -v npm >/dev/null; then
        mkdir -p "$folder"
        (cd "$folder" && timeout 60 npm pack --silent "axe-core@$version" >/dev/null && tar -xzf "axe-core-$version.tgz" package/axe.min.js) ||
            echo "axe-core could not be fetched: its tests are skipped" >&2
    fi
    echo "$folder/package/axe.min.js"
}

need_chromium() {
    command -v chromium >/dev/null || install chromium
}

# The README makes a certificate with it.
need_openssl() {
    command -v openssl >/dev/null || install openssl
}

# What stands in front of Perseid in deploy/. Their packages start servers of their own: those are not wanted.
need_proxies() {
    command -v nginx >/dev/null && command -v haproxy >/dev/null && return
    local policy=/usr/sbin/policy-rc.d
    if [ -e "$policy" ]; then
        install nginx-light haproxy
        return
    fi
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod +x "$policy"
    install nginx-light haproxy
    as_root rm -f "$policy"
}

need_cargo_deny() {
    local version=0.20.2
    cargo deny --version 2>/dev/null | grep -q "$version" || cargo install --quiet --locked cargo-deny --version "$version"
}
