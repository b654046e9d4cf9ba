//! The walls of the workspace: who may know whom, read from the manifests. A red test here means that a wall moves, which
//! is a decision to write down in docs/decisions, not a line to add to a list.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::Path;

/// The crates that a crate's manifest names under `[dependencies]`.
fn dependencies(folder: &str) -> BTreeSet<String> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder).join("Cargo.toml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    let table: toml::Table = text.parse().unwrap();
    let mut names: BTreeSet<String> = table["dependencies"].as_table().unwrap().keys().cloned().collect();
    for (_, target) in table.get("target").and_then(|targets| targets.as_table()).into_iter().flatten() {
        names.extend(
            target.get("dependencies").and_then(|names| names.as_table()).into_iter().flatten().map(|(name, _)| name.clone()),
        );
    }
    names
}

fn ours(folder: &str) -> Vec<String> {
    dependencies(folder).into_iter().filter(|name| name.starts_with("perseid-")).collect()
}

#[test]
fn the_parts_do_not_know_one_another() {
    let parts = ["perseid-comet", "perseid-logic", "perseid-job"];
    for folder in ["comet", "logic", "job"] {
        let known = dependencies(folder);
        assert!(parts.iter().all(|part| !known.contains(*part)), "{folder} knows another part: {known:?}");
    }
}

#[test]
fn the_protocol_is_pure() {
    for folder in ["protocol", "protocol/rpc"] {
        let known = dependencies(folder);
        for io in ["tokio", "tokio-util", "mio", "socket2", "hyper", "axum", "libc"] {
            assert!(!known.contains(io), "{folder} depends on {io}");
        }
    }
    assert!(ours("protocol").is_empty());
}

#[test]
fn log_and_store_know_no_part_and_the_generator_knows_nobody() {
    assert!(ours("log").is_empty(), "a log holds opaque bytes");
    assert_eq!(ours("store"), ["perseid-protocol"]);
    assert!(ours("bench").is_empty(), "what measures others must not be built of us");
}

#[test]
fn a_client_knows_the_protocol_alone() {
    assert_eq!(ours("client"), ["perseid-protocol"]);
}

#[test]
fn workers_are_free_of_tokio() {
    let known = dependencies("comet");
    assert!(!known.contains("tokio") && !known.contains("tokio-util"), "a worker is one loop over its own poll");
}

/// The parts meet over gRPC in `wire`, as they meet by calls in the standalone: neither is known to the parts.
#[test]
fn the_parts_know_no_transport_between_them() {
    for folder in ["comet", "job"] {
        assert!(!dependencies(folder).contains("tonic"), "{folder} depends on tonic");
    }
    for folder in ["comet", "logic", "job", "hooks"] {
        assert!(!dependencies(folder).contains("perseid-wire"), "{folder} knows the wire");
    }
    assert!(ours("outbound").is_empty(), "a client of other people's servers");
}

#[test]
fn the_rules_have_no_clock() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut folders = vec![root.join("protocol/src"), root.join("client/src/core")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            for banned in ["Instant::now", "SystemTime", "std::net", "std::thread", "tokio::"] {
                assert!(!text.contains(banned), "{} uses {banned}", path.display());
            }
        }
    }
}

/// Unsafe code stands in files that say so in their name or their first lines, and nowhere else.
#[test]
fn unsafe_code_has_its_places() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let allowed = ["comet/src/net/sys.rs", "perseid/src/limits.rs"];
    for folder in [
        "protocol/src",
        "protocol/rpc/src",
        "log/src",
        "store/src",
        "client/src",
        "comet/src",
        "logic/src",
        "job/src",
        "outbound/src",
        "hooks/src",
        "wire/src",
        "bench/src",
        "perseid/src",
    ] {
        let mut folders = vec![root.join(folder)];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if std::fs::read_to_string(&path).unwrap().contains("allow(unsafe_code)") {
                    assert!(allowed.iter().any(|place| path.ends_with(place)), "{}", path.display());
                }
            }
        }
    }
}
