//! What the server says of itself: `/metrics` and `/console/stats.json`.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Http, Server};

/// The samples of `/metrics`, by name with labels, as in `perseid_push_dropped_total{reason="slow"}`.
#[derive(Debug)]
pub(crate) struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    pub(crate) fn of(http: &mut Http) -> Self {
        let response = http.get("/metrics");
        assert_eq!(response.status, 200);
        Self::parse(response.text())
    }

    /// Reads OpenMetrics text, strictly enough to notice what a scraper would choke on.
    pub(crate) fn parse(text: &str) -> Self {
        let mut samples = BTreeMap::new();
        let body = text.strip_suffix("# EOF\n").expect("# EOF at the end");
        for line in body.lines() {
            if let Some(comment) = line.strip_prefix("# ") {
                let mut words = comment.split(' ');
                assert!(matches!(words.next(), Some("HELP" | "TYPE" | "UNIT")), "{line}");
                assert!(words.next().is_some_and(is_name), "{line}");
                continue;
            }
            let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line:?}"));
            let bare = name.split('{').next().unwrap();
            assert!(is_name(bare), "{line}");
            assert_eq!(name.contains('{'), name.ends_with('}'), "{line}");
            let value: f64 = value.parse().unwrap_or_else(|_| panic!("no number: {line:?}"));
            assert!(samples.insert(name.to_owned(), value).is_none(), "twice: {line}");
        }
        Self(samples)
    }

    pub(crate) fn get(&self, name: &str) -> u64 {
        let value = self.0.get(name).unwrap_or_else(|| panic!("no {name} in the metrics"));
        *value as u64
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Pushes written to sessions, by way (direct, room, all).
    pub(crate) fn delivered(&self, way: &str) -> u64 {
        self.get(&format!("perseid_transport_messages_sent_total{{way=\"{way}\"}}"))
    }

    /// Pushes not written, by reason.
    pub(crate) fn dropped(&self, reason: &str) -> u64 {
        self.get(&format!("perseid_push_dropped_total{{reason=\"{reason}\"}}"))
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
}

/// `/console/stats.json`.
pub(crate) fn stats(http: &mut Http) -> Value {
    let response = http.get("/console/stats.json");
    assert_eq!(response.status, 200);
    response.json()
}

/// A number of it, by JSON pointer.
pub(crate) fn stat(http: &mut Http, pointer: &str) -> u64 {
    let stats = stats(http);
    stats.pointer(pointer).and_then(Value::as_u64).unwrap_or_else(|| panic!("no number at {pointer} in {stats}"))
}

/// Memory of a process that is resident, bytes.
pub(crate) fn resident_bytes(server: &Server) -> u64 {
    let statm = std::fs::read_to_string(format!("/proc/{}/statm", server.pid)).expect("a living process");
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).expect("statm") * 4096
}
