//! Contradictions between keys that are each right by themselves.

use perseid_logic::auth::jwt::Bound;
use perseid_rpc::EventKind;

mod cluster;

use super::Entry;
use super::bytes::ByteSize;
use super::kind::Kind;
use super::nearest::nearest;
use super::problem::{Origin, Problem};
use super::settings::Settings;
use super::value::{Auth, Value};
use crate::traces::HAS_EXPORTER;

/// The extended header and the outer header of a batch: what a body is wrapped in.
const FRAME_OVERHEAD_BYTES: u64 = 72 + 16;
/// The longest header that a client may send.
const HEADER_BYTES_MAX: u64 = 256;

/// Kinds of listeners for clients, in the order of the comet's transports.
pub const LISTENER_KINDS: [&str; 4] = ["tcp", "ws", "tls", "wss"];

/// One key may not be smaller than another.
#[derive(Debug)]
pub struct Relation {
    /// The key that must be the larger one.
    pub larger: &'static str,
    /// The key that bounds it from below.
    pub smaller: &'static str,
    /// What must be between the two at least.
    pub plus: u64,
    /// Why.
    pub why: &'static str,
}

const fn at_least(larger: &'static str, smaller: &'static str, plus: u64, why: &'static str) -> Relation {
    Relation { larger, smaller, plus, why }
}

/// All relations between two keys.
pub static RELATIONS: &[Relation] = &[
    at_least(
        "comet.session_bytes_max",
        "logic.push_bytes_max",
        FRAME_OVERHEAD_BYTES,
        "the largest push must fit a session's queue",
    ),
    at_least(
        "comet.session_bytes_max",
        "comet.body_bytes_max",
        FRAME_OVERHEAD_BYTES,
        "the largest echoed request must fit a session's queue",
    ),
    at_least("comet.node_bytes_max", "comet.session_bytes_max", 0, "what waits for one session counts for the node too"),
    at_least(
        "comet.message_bytes_max",
        "comet.body_bytes_max",
        HEADER_BYTES_MAX,
        "a WebSocket message holds at least one whole frame",
    ),
    at_least(
        "comet.message_bytes_max",
        "comet.auth_bytes_max",
        HEADER_BYTES_MAX,
        "a WebSocket message holds at least one whole frame",
    ),
    at_least("room.ring_bytes_max", "logic.push_bytes_max", FRAME_OVERHEAD_BYTES, "the largest push must fit a room's ring"),
    at_least("logic.request_bytes_max", "logic.push_bytes_max", 0, "the largest push must fit a request"),
    at_least("log.retention_bytes", "log.segment_bytes", 0, "at least the segment in use is kept"),
    at_least("job.lane_bytes_max", "logic.push_bytes_max", FRAME_OVERHEAD_BYTES, "the largest push must fit a lane"),
    at_least("goim.backoff_max_delay", "goim.backoff_base_delay", 0, "waits grow from the one to the other"),
];

/// All contradictions, but for those that involve a doubtful key.
pub(super) fn check(settings: &Settings, entries: &[Entry], doubtful: &[String]) -> Vec<Problem> {
    let known = Known { entries, doubtful };
    let mut problems = Vec::new();
    for relation in RELATIONS {
        problems.extend(known.relation(relation));
    }
    problems.extend(known.handshake(settings));
    problems.extend(known.certificates(settings));
    problems.extend(known.listeners(settings));
    problems.extend(known.exposure(settings));
    problems.extend(known.jwt_keys(settings));
    problems.extend(known.any_origin(settings, "logic.origins", &settings.logic.origins, "push"));
    problems.extend(known.any_origin(settings, "comet.origins", &settings.comet.origins, "be any user"));
    problems.extend(known.origins("logic.origins", &settings.logic.origins));
    problems.extend(known.origins("comet.origins", &settings.comet.origins));
    problems.extend(known.proxy_protocol(settings));
    problems.extend(known.hook_url(settings));
    problems.extend(known.jwt_bind(settings));
    problems.extend(known.targets(settings));
    problems.extend(known.event_names(settings));
    problems.extend(known.hook_urls(settings));
    problems.extend(known.hook_secrets(settings));
    problems.extend(known.cluster(settings));
    problems.extend(known.trace_endpoint(settings));
    problems
}

/// The entries that can be relied on.
struct Known<'a> {
    entries: &'a [Entry],
    doubtful: &'a [String],
}

impl<'a> Known<'a> {
    fn get(&self, path: &str) -> Option<&'a Entry> {
        let (section, name) = path.split_once('.')?;
        let mut entries = self.entries.iter();
        let entry = entries.find(|entry| entry.key.section == section && entry.key.name == name)?;
        (!self.doubtful.iter().any(|doubtful| doubtful == path)).then_some(entry)
    }

    /// The place that decided: of the entries, the one of the highest layer.
    fn place(entries: &[&Entry]) -> Origin {
        let origins = entries.iter().map(|entry| &entry.origin);
        origins.max().cloned().unwrap_or(Origin::Default)
    }

    fn relation(&self, relation: &Relation) -> Option<Problem> {
        let (larger, smaller) = (self.get(relation.larger)?, self.get(relation.smaller)?);
        let least = smaller.value.as_integer()?.saturating_add(relation.plus);
        if larger.value.as_integer()? >= least {
            return None;
        }
        let plus = match relation.plus {
            0 => String::new(),
            plus => format!(" + {plus}"),
        };
        let least = match larger.key.kind {
            Kind::Bytes { .. } => Value::Bytes(ByteSize(least)),
            _ => Value::Integer(least),
        };
        Some(Problem {
            place: Self::place(&[larger, smaller]),
            subject: relation.larger.to_owned(),
            what: format!(
                "{} ({}) is less than {}{plus} with {} ({}): {}",
                larger.value, larger.origin, relation.smaller, smaller.value, smaller.origin, relation.why
            ),
            hint: Some(format!("{} must be at least {least}", relation.larger)),
        })
    }

    fn handshake(&self, settings: &Settings) -> Option<Problem> {
        let entries = [self.get("comet.handshake_ms")?, self.get("comet.heartbeat_ms")?, self.get("comet.heartbeat_max")?];
        let comet = &settings.comet;
        let silence_ms = comet.heartbeat_ms.saturating_mul(comet.heartbeat_max.into());
        (comet.handshake_ms > silence_ms).then(|| Problem {
            place: Self::place(&entries),
            subject: "comet.handshake_ms".to_owned(),
            what: format!(
                "{} ({}) is more than comet.heartbeat_ms × comet.heartbeat_max = {} × {} ({}, {}): a stranger may not be silent for longer than a session",
                comet.handshake_ms, entries[0].origin, comet.heartbeat_ms, comet.heartbeat_max, entries[1].origin, entries[2].origin
            ),
            hint: Some(format!("comet.handshake_ms must be at most {silence_ms}")),
        })
    }

    fn certificates(&self, settings: &Settings) -> Vec<Problem> {
        let names = ["tls.certificates", "tls.keys", "comet.tls", "comet.wss"];
        let [Some(certificates), Some(keys), tls, wss] = names.map(|name| self.get(name)) else { return Vec::new() };
        let mut problems = Vec::new();
        let (count, of_keys) = (settings.tls.certificates.len(), settings.tls.keys.len());
        if count != of_keys {
            problems.push(Problem {
                place: Self::place(&[certificates, keys]),
                subject: "tls.keys".to_owned(),
                what: format!(
                    "{of_keys} keys ({}) for {count} certificates ({}): each certificate needs its own",
                    keys.origin, certificates.origin
                ),
                hint: Some("name the key files in the order of the certificate files".to_owned()),
            });
        }
        let asked = [(tls, &settings.comet.tls), (wss, &settings.comet.wss)];
        for (entry, addresses) in asked.into_iter().filter_map(|(entry, addresses)| Some((entry?, addresses))) {
            if count == 0 && !addresses.is_empty() {
                problems.push(Problem {
                    place: entry.origin.clone(),
                    subject: entry.key.path(),
                    what: "a TLS listener needs a certificate, and tls.certificates is empty".to_owned(),
                    hint: Some("set tls.certificates and tls.keys, or listen without TLS".to_owned()),
                });
            }
        }
        problems
    }

    fn listeners(&self, settings: &Settings) -> Vec<Problem> {
        let listeners = settings.listeners();
        let mut problems = Vec::new();
        for (i, (path, address)) in listeners.iter().enumerate() {
            let clash = listeners[..i].iter().find(|(_, earlier)| {
                let any = earlier.ip().is_unspecified() || address.ip().is_unspecified();
                let same_ip = earlier.ip() == address.ip();
                let same_family = earlier.is_ipv4() == address.is_ipv4();
                address.port() != 0 && earlier.port() == address.port() && (same_ip || (any && same_family))
            });
            let Some((earlier_path, earlier)) = clash else {
                continue;
            };
            let (Some(entry), Some(earlier_entry)) = (self.get(path), self.get(earlier_path)) else {
                continue;
            };
            problems.push(Problem {
                place: Self::place(&[earlier_entry, entry]),
                subject: (*path).to_owned(),
                what: format!("{address} is taken by {earlier_path}: {earlier} ({})", earlier_entry.origin),
                hint: Some("every listener needs a port of its own; 0 picks a free one".to_owned()),
            });
        }
        problems
    }

    fn any_origin(&self, settings: &Settings, path: &str, list: &[String], may: &str) -> Option<Problem> {
        let (origins, auth) = (self.get(path)?, self.get("logic.auth")?);
        let any = list.iter().find(|origin| matches!(origin.as_str(), "*" | "null"))?;
        (settings.logic.auth == Auth::Insecure).then(|| Problem {
            place: Self::place(&[origins, auth]),
            subject: path.to_owned(),
            what: format!("with logic.auth = \"insecure\" ({}) `{any}` would let any web page {may}", auth.origin),
            hint: Some("name the origins, as in https://app.example".to_owned()),
        })
    }

    fn origins(&self, path: &str, list: &[String]) -> Vec<Problem> {
        let Some(entry) = self.get(path) else { return Vec::new() };
        let is_origin = |text: &str| {
            let host = text.split_once("://").map(|(_, host)| host).unwrap_or_default();
            matches!(text, "*" | "null") || !(host.is_empty() || host.contains(['/', '@', ' ']))
        };
        let wrong = list.iter().filter(|text| !is_origin(text));
        let problem = |text: &String| Problem {
            place: entry.origin.clone(),
            subject: path.to_owned(),
            what: format!("`{text}` is no origin"),
            hint: Some("write scheme and host, with a port if it is not the usual one: https://app.example".to_owned()),
        };
        wrong.map(problem).collect()
    }

    fn proxy_protocol(&self, settings: &Settings) -> Vec<Problem> {
        let (Some(kinds), Some(proxies)) = (self.get("comet.proxy_protocol"), self.get("comet.proxies")) else {
            return Vec::new();
        };
        let problem = |place, what: String, hint: &str| Problem {
            place,
            subject: "comet.proxy_protocol".to_owned(),
            what,
            hint: Some(hint.to_owned()),
        };
        let unknown = settings.comet.proxy_protocol.iter().filter(|kind| !LISTENER_KINDS.contains(&kind.as_str()));
        let mut problems: Vec<Problem> = unknown
            .map(|kind| {
                problem(kinds.origin.clone(), format!("`{kind}` is no kind of listener"), "they are tcp, ws, tls and wss")
            })
            .collect();
        if !settings.comet.proxy_protocol.is_empty() && settings.comet.proxies.is_empty() {
            let what = format!("a PROXY header is believed only from comet.proxies, and that is empty ({})", proxies.origin);
            problems.push(problem(Self::place(&[kinds, proxies]), what, "set comet.proxies to the addresses of the proxies"));
        }
        problems
    }

    fn exposure(&self, settings: &Settings) -> Vec<Problem> {
        let (Some(auth), Some(insecure)) = (self.get("logic.auth"), self.get("node.insecure")) else {
            return Vec::new();
        };
        if settings.node.insecure {
            return Vec::new();
        }
        let why = |path| match path {
            "logic.http" => "callers need no token there: logic.api_tokens names no file".to_owned(),
            "comet.grpc" | "logic.grpc" => "without certificates in [cluster] nobody is asked there who he is".to_owned(),
            _ => format!("logic.auth = \"insecure\" ({}) lets anyone be any user", auth.origin),
        };
        let exposed = settings.exposed().into_iter();
        exposed
            .filter_map(|(path, address)| Some((path, address, self.get(path)?)))
            .map(|(path, address, entry)| Problem {
                place: Self::place(&[entry, auth, insecure]),
                subject: path.to_owned(),
                what: format!("{address} is reachable from beyond this machine, and {}", why(path)),
                hint: Some("listen on 127.0.0.1, or say --insecure aloud".to_owned()),
            })
            .collect()
    }

    fn event_names(&self, settings: &Settings) -> Vec<Problem> {
        let lists = [("events.keep", &settings.events.keep), ("hooks.events", &settings.hooks.events)];
        let known = || EventKind::PUBLIC.into_iter().filter_map(EventKind::word);
        let mut problems = Vec::new();
        for (path, words) in lists {
            let Some(entry) = self.get(path) else { continue };
            for word in words.iter().filter(|word| EventKind::from_word(word).is_none()) {
                let nearest = nearest(word, known()).map(|near| format!("did you mean `{near}`?"));
                problems.push(Problem {
                    place: Self::place(&[entry]),
                    subject: path.to_owned(),
                    what: format!("{word:?} is no event: {}", known().collect::<Vec<_>>().join(", ")),
                    hint: nearest,
                });
            }
        }
        problems
    }

    fn hook_urls(&self, settings: &Settings) -> Vec<Problem> {
        let (Some(urls), Some(allowed)) = (self.get("hooks.urls"), self.get("outbound.targets_allowed")) else {
            return Vec::new();
        };
        let policy = settings.targets();
        let mut problems = Vec::new();
        for (at, url) in settings.hooks.urls.iter().enumerate() {
            let twice = settings.hooks.urls[..at].contains(url);
            let why = match policy.check_url(url) {
                Err(error) => error.to_string(),
                Ok(()) if twice => "named twice".to_owned(),
                Ok(()) => continue,
            };
            problems.push(Problem {
                place: Self::place(&[urls, allowed]),
                subject: "hooks.urls".to_owned(),
                what: format!("{url}: {why}"),
                hint: (!twice)
                    .then(|| "https:// with a public address, or name its network in outbound.targets_allowed".to_owned()),
            });
        }
        problems
    }

    fn hook_secrets(&self, settings: &Settings) -> Option<Problem> {
        let entries = [self.get("hooks.urls")?, self.get("hooks.secret_file")?];
        let unsigned = !settings.hooks.urls.is_empty() && settings.hooks.secret_file.as_os_str().is_empty();
        unsigned.then(|| Problem {
            place: Self::place(&entries),
            subject: "hooks.secret_file".to_owned(),
            what: "webhooks are signed, and there is no secret".to_owned(),
            hint: Some("set hooks.secret_file to a file with a random line, as of: openssl rand -hex 32".to_owned()),
        })
    }

    fn trace_endpoint(&self, settings: &Settings) -> Option<Problem> {
        let entry = self.get("trace.endpoint")?;
        let endpoint = &settings.trace.endpoint;
        if endpoint.is_empty() {
            return None;
        }
        let problem = |what: String, hint: &str| Problem {
            place: Self::place(&[entry]),
            subject: "trace.endpoint".to_owned(),
            what,
            hint: Some(hint.to_owned()),
        };
        if !HAS_EXPORTER {
            let what = "this build can't send traces: it was made without the feature otel".to_owned();
            return Some(problem(what, "build it with cargo build --release --package perseid --features otel"));
        }
        let uri = endpoint.parse::<axum::http::Uri>().ok();
        let good = uri.is_some_and(|uri| uri.scheme_str() == Some("http") && uri.host().is_some_and(|host| !host.is_empty()));
        (!good).then(|| {
            problem(format!("{endpoint:?} is no http:// address"), "as in http://127.0.0.1:4317; for TLS put a collector beside")
        })
    }

    fn jwt_keys(&self, settings: &Settings) -> Option<Problem> {
        let auth = self.get("logic.auth")?;
        let sources = ["jwt.key_file", "jwt.secret_file", "jwt.jwks_file", "jwt.jwks_url"].map(|path| self.get(path));
        let [Some(a), Some(b), Some(c), Some(d)] = sources else { return None };
        let none = [a, b, c, d].iter().all(|entry| entry.value == Value::Text(String::new()));
        (settings.logic.auth == Auth::Jwt && none).then(|| Problem {
            place: Self::place(&[auth, a, b, c, d]),
            subject: "logic.auth".to_owned(),
            what: format!("\"jwt\" ({}) needs keys, and [jwt] names none", auth.origin),
            hint: Some("set jwt.key_file (public keys in PEM), jwt.secret_file, jwt.jwks_file or jwt.jwks_url".to_owned()),
        })
    }

    fn hook_url(&self, settings: &Settings) -> Option<Problem> {
        let (auth, url) = (self.get("logic.auth")?, self.get("auth_hook.url")?);
        (settings.logic.auth == Auth::Hook && settings.auth_hook.url.is_empty()).then(|| Problem {
            place: Self::place(&[auth, url]),
            subject: "logic.auth".to_owned(),
            what: format!("\"hook\" ({}) needs somebody to ask, and auth_hook.url is empty", auth.origin),
            hint: Some("set auth_hook.url".to_owned()),
        })
    }

    fn jwt_bind(&self, settings: &Settings) -> Option<Problem> {
        let bind = self.get("jwt.bind")?;
        let words = Bound::ALL.map(Bound::word);
        let unknown = settings.jwt.bind.iter().find(|word| !words.contains(&word.as_str()))?;
        Some(Problem {
            place: Self::place(&[bind]),
            subject: "jwt.bind".to_owned(),
            what: format!("{unknown:?} is none of the fields that a token can be bound to"),
            hint: Some(format!("those are: {}", words.join(", "))),
        })
    }

    /// URLs that no call could ever be made to.
    fn targets(&self, settings: &Settings) -> Vec<Problem> {
        let Some(allowed) = self.get("outbound.targets_allowed") else { return Vec::new() };
        let policy = settings.targets();
        let urls = [("jwt.jwks_url", &settings.jwt.jwks_url), ("auth_hook.url", &settings.auth_hook.url)];
        let named = urls.into_iter().filter(|(_, url)| !url.is_empty());
        let wrong = named.filter_map(|(path, url)| Some((path, self.get(path)?, policy.check_url(url).err()?)));
        wrong
            .map(|(path, entry, error)| Problem {
                place: Self::place(&[entry, allowed]),
                subject: path.to_owned(),
                what: format!("it can't be called: {error}"),
                hint: Some("https:// with a public address, or name its network in outbound.targets_allowed".to_owned()),
            })
            .collect()
    }
}
