//! `perseid doctor`: what would hurt in production on this machine.
//!
//! Facts are gathered at the edge ([`gather`]); what they mean is decided by plain functions over them, one file for each
//! concern, so that every judgement is a row of a table in a test.

mod certificates;
mod clock;
mod configuration;
mod cpu;
mod disk;
mod files;
pub mod gather;
mod listeners;
mod memory;
mod network;
mod report;

use std::path::PathBuf;

pub use report::{json, text};

use crate::config::{Problems, Settings};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It serves, but something will hurt: under load, later, or after a fault.
    Warn,
    /// It will not serve, or not what was asked for.
    Fail,
}

impl Verdict {
    /// The word in the answer.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// What was found about one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at: a word or two.
    pub check: &'static str,
    /// How bad it is.
    pub verdict: Verdict,
    /// What was found, one sentence with figures.
    pub what: String,
    /// What to do about it; empty where nothing is to be done.
    pub advice: String,
}

impl Finding {
    fn ok(check: &'static str, what: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Ok, what: what.into(), advice: String::new() }
    }

    fn warn(check: &'static str, what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Warn, what: what.into(), advice: advice.into() }
    }

    fn fail(check: &'static str, what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Fail, what: what.into(), advice: advice.into() }
    }
}

/// How many sessions this machine is to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// So many.
    pub sessions: u64,
    /// Somebody said so (`--sessions`, `comet.sessions_max`); otherwise it is a modest guess.
    pub named: bool,
}

/// Sessions that are assumed where nobody says how many there will be.
const SESSIONS_ASSUMED: u64 = 10_000;

impl Wanted {
    /// What was asked for on the command line, else by the configuration, else a guess.
    pub fn new(asked: Option<u64>, settings: &Settings) -> Self {
        let configured = Some(settings.comet.sessions_max as u64).filter(|max| *max > 0);
        match asked.or(configured) {
            Some(sessions) => Self { sessions, named: true },
            None => Self { sessions: SESSIONS_ASSUMED, named: false },
        }
    }
}

/// Everything that was gathered. What this machine does not tell is `None`, and is not judged.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Sessions to hold.
    pub wanted: Wanted,
    /// Now, unix ms.
    pub now_ms: u64,
    /// File descriptors.
    pub files: files::Files,
    /// The kernel's network settings.
    pub network: network::Network,
    /// Memory of the machine, and what the configuration may take of it.
    pub memory: memory::Memory,
    /// Cores and threads.
    pub cpu: cpu::Cpu,
    /// The clocks.
    pub clock: clock::Clock,
    /// The disk under the data directory.
    pub disk: disk::Disk,
    /// Addresses to listen on.
    pub listeners: Vec<listeners::Listener>,
    /// Certificates with their keys.
    pub certificates: Vec<certificates::Certificate>,
    /// How many keys for tokens of clients there are, or why they can't be used; `None` where none are asked for.
    pub token_keys: Option<Result<usize, String>>,
    /// Files with secrets of another kind.
    pub secrets: Vec<Secret>,
}

/// A file that the configuration names and that only this server should read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secret {
    /// The key that names it.
    pub key: String,
    /// The file.
    pub path: PathBuf,
    /// Its permission bits, or why it can't be read.
    pub mode: Result<u32, String>,
}

/// Judges all facts under the configuration that they were gathered for; `problems` are those of a configuration that is
/// not valid, in whose place the defaults were looked at.
pub fn examine(facts: &Facts, settings: &Settings, problems: Option<&Problems>) -> Vec<Finding> {
    let mut findings = configuration::judge(settings, problems);
    findings.extend(files::judge(&facts.files, facts.wanted));
    findings.extend(network::judge(&facts.network, facts.wanted));
    findings.extend(listeners::judge(&facts.listeners, facts.network.port_range));
    findings.extend(memory::judge(&facts.memory, facts.wanted));
    findings.extend(cpu::judge(&facts.cpu));
    findings.extend(clock::judge(&facts.clock, facts.now_ms));
    findings.extend(disk::judge(&facts.disk));
    findings.extend(certificates::judge(&facts.certificates, facts.now_ms));
    findings.extend(facts.token_keys.as_ref().map(token_keys));
    findings.extend(facts.secrets.iter().map(secret));
    findings.push(Finding::ok("Kafka, Redis", "not used by the standalone: its log and its store are its own"));
    findings
}

/// The worst of them.
pub fn worst(findings: &[Finding]) -> Verdict {
    findings.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Ok)
}

fn token_keys(keys: &Result<usize, String>) -> Finding {
    match keys {
        Ok(count) => Finding::ok("tokens", format!("keys for clients' tokens: {count}")),
        Err(error) => Finding::fail("tokens", error.clone(), "correct the file; a running server keeps its old keys until then"),
    }
}

/// Bits of a mode that let others than the owner read or write.
const OTHERS_READ_WRITE: u32 = 0o066;

fn secret(secret: &Secret) -> Finding {
    let path = secret.path.display();
    match &secret.mode {
        Err(error) => Finding::fail(
            "secrets",
            format!("{} = {path} can't be read: {error}", secret.key),
            "correct the path or its permissions",
        ),
        Ok(mode) if mode & OTHERS_READ_WRITE != 0 => Finding::warn(
            "secrets",
            format!("{path} ({}) may be read or written by others: mode {:o}", secret.key, mode & 0o777),
            format!("chmod 600 {path}"),
        ),
        Ok(_) => Finding::ok("secrets", format!("{path} ({}) can be read, by its owner only", secret.key)),
    }
}

/// `1234567` as `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The next power of two: limits look like that.
fn rounded_up(number: u64) -> u64 {
    number.checked_next_power_of_two().unwrap_or(u64::MAX)
}

/// Bytes for people: `1.5 GiB`.
fn size(bytes: u64) -> String {
    const UNITS: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match UNITS.iter().find(|(_, unit)| bytes >= *unit) {
        Some((name, unit)) => format!("{:.1} {name}", bytes as f64 / *unit as f64),
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The verdicts of some findings, for tables.
    pub(super) fn verdicts(findings: &[Finding]) -> Vec<Verdict> {
        findings.iter().map(|finding| finding.verdict).collect()
    }

    /// Whoever is told that something is wrong is told what to do, and only then.
    pub(super) fn advice_where_needed(findings: &[Finding]) {
        for finding in findings {
            assert_eq!(finding.verdict == Verdict::Ok, finding.advice.is_empty(), "{finding:?}");
        }
    }

    #[test]
    fn numbers_for_people() {
        for (number, text) in
            [(0, "0"), (999, "999"), (1000, "1,000"), (1_048_576, "1,048,576"), (u64::MAX, "18,446,744,073,709,551,615")]
        {
            assert_eq!(grouped(number), text);
        }
        for (bytes, text) in [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (1 << 30, "1.0 GiB"), (u64::MAX, "16777216.0 TiB")]
        {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn sessions_that_are_wanted() {
        let mut settings = Settings::default();
        assert_eq!(Wanted::new(None, &settings), Wanted { sessions: SESSIONS_ASSUMED, named: false });
        settings.comet.sessions_max = 7;
        assert_eq!(Wanted::new(None, &settings), Wanted { sessions: 7, named: true });
        assert_eq!(Wanted::new(Some(9), &settings), Wanted { sessions: 9, named: true });
    }

    #[test]
    fn keys_for_tokens_can_be_used_or_not() {
        let findings = [Ok(2), Err("no key in k.pem".to_owned())].map(|keys| token_keys(&keys));
        assert_eq!(verdicts(&findings), [Verdict::Ok, Verdict::Fail]);
        advice_where_needed(&findings);
    }

    #[test]
    fn secrets_are_for_their_owner() {
        let of = |mode| secret(&Secret { key: "jwt.key_file".to_owned(), path: "k".into(), mode });
        let modes = [Ok(0o100_600), Ok(0o400), Ok(0o640), Ok(0o602), Err("no such file".to_owned())];
        let findings: Vec<Finding> = modes.into_iter().map(of).collect();
        assert_eq!(verdicts(&findings), [Verdict::Ok, Verdict::Ok, Verdict::Warn, Verdict::Warn, Verdict::Fail]);
        advice_where_needed(&findings);
    }
}
