//! What `/metrics` exports, and that docs/operations.md says the same.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use crate::support::tls::Authority;
use crate::support::{Client, Http, Server, Transport, until};

/// A family: its type, and the labels of its samples with their values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Family {
    pub(crate) kind: String,
    pub(crate) labels: BTreeMap<String, BTreeSet<String>>,
}

/// The families of a server with some traffic behind it, by name with `perseid_` and without `_total`.
pub(crate) fn families() -> BTreeMap<String, Family> {
    // What is exported only where it is switched on is switched on here.
    let authority = Authority::new();
    authority.issue("node", &["localhost"]);
    let mut args = authority.args(&["node"]);
    args.extend(["--wss", "127.0.0.1:0"].map(str::to_owned));
    let dir = tempfile::TempDir::new().unwrap();
    let secrets = dir.path().join("secrets");
    std::fs::write(&secrets, "0123456789abcdef").unwrap();
    let secrets = format!("hooks.secret_file={}", secrets.display());
    // Nobody listens there.
    args.extend(["--set", "hooks.urls=http://127.0.0.1:1/", "--set", &secrets].map(str::to_owned));
    let server = Server::start(&args.iter().map(String::as_str).collect::<Vec<_>>());
    let mut http = server.http();
    let _client = Client::user(&server, Transport::Tcp, 7);
    http.push(&json!({ "to": { "mids": [7] }, "body": "x" }));
    // A comet beside it exports what only such a comet has.
    let comet = Server::start_comet(server.ready["logic_grpc"].as_str().unwrap(), &[]);
    until("logic knows the comet", || {
        let text = Http::connect(server.http).get("/metrics").text().to_owned();
        text.contains("perseid_wire_comet_connected{").then_some(())
    });
    let mut all = parse(Http::connect(server.http).get("/metrics").text());
    for (name, family) in parse(Http::connect(comet.http).get("/metrics").text()) {
        let known = all.entry(name).or_default();
        assert!(known.kind.is_empty() || known.kind == family.kind);
        known.kind = family.kind;
        for (label, values) in family.labels {
            known.labels.entry(label).or_default().extend(values);
        }
    }
    all
}

fn parse(text: &str) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix("# TYPE ") {
            let (name, kind) = comment.split_once(' ').unwrap();
            families.entry(name.to_owned()).or_default().kind = kind.to_owned();
        } else if !line.starts_with('#') {
            let (name, labels) = sample(line);
            let family = families.get_mut(family_of(&name)).unwrap_or_else(|| panic!("a sample without a type: {line}"));
            for (label, value) in labels.into_iter().filter(|(label, _)| label != "le") {
                family.labels.entry(label).or_default().insert(value);
            }
        }
    }
    families
}

/// `perseid_x_seconds_bucket` belongs to `perseid_x_seconds`.
pub(crate) fn family_of(sample: &str) -> &str {
    ["_total", "_bucket", "_count", "_sum"].iter().find_map(|suffix| sample.strip_suffix(suffix)).unwrap_or(sample)
}

fn sample(line: &str) -> (String, Vec<(String, String)>) {
    let (name, _) = line.rsplit_once(' ').unwrap();
    let Some((name, labels)) = name.split_once('{') else { return (name.to_owned(), Vec::new()) };
    // No value of ours has a comma or a quote in it.
    let labels = labels.strip_suffix('}').unwrap().split(',').filter(|label| !label.is_empty());
    let pairs = labels.map(|label| label.split_once('=').unwrap());
    (name.to_owned(), pairs.map(|(label, value)| (label.to_owned(), value.trim_matches('"').to_owned())).collect())
}

/// The families of the tables of docs/operations.md, section Metrics.
fn documented() -> BTreeMap<String, Family> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operations.md");
    let text = std::fs::read_to_string(path).unwrap();
    let section = text.split("\n## ").find(|section| section.starts_with("Metrics\n")).expect("a section Metrics");
    let mut families = BTreeMap::new();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    for cells in rows.map(|row| row.split('|').map(str::trim).collect::<Vec<_>>()) {
        let kinds: Vec<&str> = cells[2].split(", ").collect();
        if !["counter", "gauge", "histogram"].contains(&kinds[0]) {
            continue;
        }
        for (at, name) in cells[1].split('`').skip(1).step_by(2).enumerate() {
            let (name, labels) = name.strip_suffix('}').and_then(|name| name.split_once('{')).unwrap_or((name, ""));
            let labels = labels.split(',').filter(|label| !label.is_empty());
            let family = Family {
                kind: (*kinds.get(at).unwrap_or(&kinds[0])).to_owned(),
                labels: labels.map(|label| (label.to_owned(), BTreeSet::new())).collect(),
            };
            assert!(families.insert(format!("perseid_{name}"), family).is_none(), "{name} is documented twice");
        }
    }
    families
}

#[test]
fn every_metric_is_documented_and_the_other_way_round() {
    let names = |families: BTreeMap<String, Family>| -> Vec<String> {
        let labels = |family: &Family| family.labels.keys().cloned().collect::<Vec<_>>().join(",");
        families.iter().map(|(name, family)| format!("{name}{{{}}} {}", labels(family), family.kind)).collect()
    };
    let (exported, documented) = (names(families()), names(documented()));
    let missing: Vec<_> = exported.iter().filter(|name| !documented.contains(name)).collect();
    let gone: Vec<_> = documented.iter().filter(|name| !exported.contains(name)).collect();
    assert!(missing.is_empty() && gone.is_empty(), "not in docs/operations.md: {missing:#?}\nonly there: {gone:#?}");
}
