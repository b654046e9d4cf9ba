//! `config docs`: the text of docs/configuration.md.

use std::fmt::Write as _;

use super::key::{Apply, Key};
use super::rules::RELATIONS;
use super::settings::SECTIONS;

const HEAD: &str = "\
<!-- Written by `perseid config docs` from the table in perseid/src/config/settings.rs. Do not edit. -->

# Configuration

Every value comes from the highest of these layers that names its key:

1. an option of its own (`--tcp`, …) or `--set section.key=value`; the two may not disagree
2. the environment: `PERSEID_SECTION__KEY`, for example `PERSEID_COMET__HEARTBEAT_MS=60000`
3. the TOML file given with `--config`
4. the default

In the environment and in `--set` a list is separated by commas, and an empty value is an empty list; quotes and
brackets as in the file are understood too.
A size is a number of bytes or a text with a unit: `65536` and `\"64KiB\"` are the same. Times are whole
numbers in the unit that the key's name ends in.

Unknown keys, wrong types, values out of bounds and keys that contradict one another are errors. All of
them are reported together, each with its place, the exit status is 2, and nothing is started.
`perseid config check` does only that; `perseid config print` shows every value and where it came from.

Keys marked *reload* are read again on SIGHUP; all others at the next start.
";

/// The whole document.
pub fn markdown() -> String {
    let mut out = HEAD.to_owned();
    for section in SECTIONS {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "\n## {}\n\n{}\n", section.name, section.doc());
        out.push_str("| key | takes | default | on SIGHUP | what it is |\n|---|---|---|---|---|\n");
        for key in section.keys {
            let _ = writeln!(out, "{}", row(key));
        }
    }
    out.push_str("\n## Relations\n\n");
    for relation in RELATIONS {
        let plus = match relation.plus {
            0 => String::new(),
            plus => format!(" + {plus}"),
        };
        let (larger, smaller, why) = (relation.larger, relation.smaller, relation.why);
        let _ = writeln!(out, "- `{larger}` ≥ `{smaller}`{plus}: {why}.");
    }
    out.push_str(
        "- `comet.handshake_ms` ≤ `comet.heartbeat_ms` × `comet.heartbeat_max`.\n\
         - No two listeners share an address, except with port 0.\n\
         - With `logic.auth = \"insecure\"` every listener is on loopback, unless `node.insecure` is true; `logic.http` always.\n\
         - `logic.auth = \"jwt\"` needs `jwt.key_file`, `jwt.secret_file`, `jwt.jwks_file` or `jwt.jwks_url`; `\"hook\"` needs `auth_hook.url`.\n\
         - `hooks.urls` needs `hooks.secret_file`; each is `https://`, or in a network of `outbound.targets_allowed`.\n",
    );
    out
}

fn row(key: &Key) -> String {
    let default = match key.kind.parse_text(key.default) {
        Ok(value) => value.to_string(),
        Err(_) => key.default.to_owned(),
    };
    let option = match key.option {
        Some(option) => format!(" Option `{option}`."),
        None => String::new(),
    };
    let apply = match key.apply {
        Apply::Reload => "reload",
        Apply::Restart => "",
    };
    let doc = key.doc().replace('|', "\\|");
    let takes = key.kind.describe().replace('|', "\\|");
    format!("| `{}` | {takes} | `{default}` | {apply} | {doc}{option} |", key.name)
}
