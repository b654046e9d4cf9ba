//! What the operator may set.

use std::path::PathBuf;

use aws_lc_rs::digest::{SHA256, digest};
use perseid_outbound::{ClientConfig, TargetPolicy};
use perseid_rpc::EventKind;

/// How much of an answer is read: enough to see in the log what is wrong.
const RESPONSE_BYTES_MAX: usize = 1 << 10;

/// Settings of the hooks.
#[derive(Clone, Debug)]
pub struct HookConfig {
    /// Where events are posted: each gets all, on its own.
    pub urls: Vec<String>,
    /// Which events.
    pub events: Vec<EventKind>,
    /// Events in one request, at least 1.
    pub batch_events: usize,
    /// Bytes of their bodies in one request; one that is larger goes alone.
    pub batch_bytes: usize,
    /// How long a batch that is not full waits for more, ms.
    pub linger_ms: u64,
    /// From the call to the end of its answer, ms.
    pub deadline_ms: u64,
    /// The longest wait between two tries, ms.
    pub retry_ms_max: u64,
    /// How often an event is tried that the receiver refuses for what it says, before it is given up.
    pub refusals_max: u32,
    /// An event that is older is given up, ms.
    pub keep_ms: u64,
    /// Which servers may be called.
    pub targets: TargetPolicy,
    /// Root certificates that are trusted beside the system's, as PEM.
    pub ca_file: Option<PathBuf>,
}

impl HookConfig {
    pub(crate) fn client(&self) -> ClientConfig {
        ClientConfig {
            deadline_ms: self.deadline_ms,
            response_bytes_max: RESPONSE_BYTES_MAX,
            targets: self.targets.clone(),
            ca_file: self.ca_file.clone(),
            concurrency_max: self.urls.len().max(1),
            ..ClientConfig::default()
        }
    }

    pub(crate) fn wants(&self, kind: EventKind) -> bool {
        self.events.contains(&kind)
    }
}

/// The name of a URL's cursor. It depends on nothing else, so that the place in the log stays when the list changes.
#[must_use]
pub fn cursor_name(url: &str) -> String {
    let hash = digest(&SHA256, url.as_bytes());
    let hex: String = hash.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("hook-{hex}")
}

/// Scheme, host and port of a URL, for people: the rest may be secret.
pub(crate) fn origin(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return String::new() };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_origins() {
        assert_eq!(cursor_name("https://a.example/x"), cursor_name("https://a.example/x"));
        assert_ne!(cursor_name("https://a.example/x"), cursor_name("https://a.example/y"));
        assert_eq!(cursor_name("").len(), 21);
        assert_eq!(origin("https://user:pass@a.example:8443/secret?token=x"), "https://a.example:8443");
        assert_eq!(origin("http://127.0.0.1"), "http://127.0.0.1");
        assert_eq!(origin("nonsense"), "");
    }
}
