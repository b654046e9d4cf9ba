//! The client: one call, from the check of its URL to the end of its answer.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{HeaderName, HeaderValue, RETRY_AFTER};
use tokio::sync::Semaphore;

use crate::error::{ConfigError, OutboundError};
use crate::policy::TargetPolicy;
use crate::resolve::{Checked, Lookup, SystemLookup};
use crate::retry_after;

/// Connections that nobody uses are kept this long.
const IDLE: Duration = Duration::from_secs(30);

/// A file of root certificates is not longer than this.
const CA_BYTES_MAX: u64 = 4 << 20;

/// How a client calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    /// From the call to the end of its answer, ms; at least 1.
    pub deadline_ms: u64,
    /// For a connection with its TLS, ms; no longer than the deadline in effect.
    pub connect_ms: u64,
    /// How much of an answer's body is read.
    pub response_bytes_max: usize,
    /// Which servers may be called.
    pub targets: TargetPolicy,
    /// Root certificates that are trusted beside the system's, as PEM.
    pub ca_file: Option<PathBuf>,
    /// Calls under way at once; further ones wait for their turn. At least 1.
    pub concurrency_max: usize,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            deadline_ms: 5_000,
            connect_ms: 2_000,
            response_bytes_max: 64 << 10,
            targets: TargetPolicy::default(),
            ca_file: None,
            concurrency_max: 64,
        }
    }
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Read.
    Get,
    /// Send.
    Post,
}

/// A call.
#[derive(Clone, Debug)]
pub struct Request {
    /// What is done.
    pub method: Method,
    /// To whom.
    pub url: String,
    /// Headers, as they are to be sent.
    pub headers: Vec<(&'static str, String)>,
    /// Body; empty: none.
    pub body: Bytes,
    /// Headers of the answer that the caller wants to see, in lower case.
    pub wanted: &'static [&'static str],
}

/// An answer, of any status.
#[derive(Clone, Debug)]
pub struct Response {
    /// Its status. A redirect is not followed: 3xx is an answer.
    pub status: u16,
    /// `Retry-After`, ms, at most a day.
    pub retry_after_ms: Option<u64>,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
    bytes_max: usize,
    cut: bool,
}

impl Response {
    /// Whether the status is 2xx.
    #[must_use]
    pub const fn is_success(&self) -> bool {
        matches!(self.status, 200..=299)
    }

    /// One of the headers that were wanted, if the answer has it (the first, where it is there more than once) and it is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// The body.
    ///
    /// # Errors
    /// [`OutboundError::TooLarge`] when it was longer than is read.
    pub const fn body(&self) -> Result<&Bytes, OutboundError> {
        if self.cut { Err(OutboundError::TooLarge { bytes_max: self.bytes_max }) } else { Ok(&self.body) }
    }

    /// As much of the body as was read: for people.
    #[must_use]
    pub const fn body_start(&self) -> &Bytes {
        &self.body
    }
}

/// Calls other servers. Cloning shares the connections and the bounds.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    /// Why there is no TLS client: a machine without root certificates can still call what needs none.
    tls: Result<reqwest::Client, String>,
    plain: reqwest::Client,
    config: ClientConfig,
    turns: Semaphore,
}

impl Client {
    /// A client. Reads the system's root certificates and the CA file, now and never again.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn new(config: ClientConfig) -> Result<Self, ConfigError> {
        Self::with_lookup(config, Arc::new(SystemLookup))
    }

    /// A client that finds the addresses of names in its own way. They are checked all the same.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn with_lookup(config: ClientConfig, lookup: Arc<dyn Lookup>) -> Result<Self, ConfigError> {
        let lookups = Arc::new(Semaphore::new(config.concurrency_max.max(1)));
        let checked = |plain| Checked { policy: config.targets.clone(), plain, lookup: lookup.clone(), turns: lookups.clone() };
        let plain = builder(&config)
            .dns_resolver(checked(true))
            .tls_certs_only([])
            .build()
            .map_err(|error| ConfigError::Client(chain(&error)))?;
        let tls = builder(&config).dns_resolver(checked(false)).https_only(true);
        let tls = match &config.ca_file {
            Some(path) => Ok(tls.tls_certs_merge(certificates(path)?).build().map_err(|error| ca_file(path, chain(&error)))?),
            None => tls.build().map_err(|error| chain(&error)),
        };
        let turns = Semaphore::new(config.concurrency_max.max(1));
        Ok(Self { shared: Arc::new(Shared { tls, plain, config, turns }) })
    }

    /// Calls, once.
    ///
    /// # Errors
    /// [`OutboundError`] when there is no answer. An answer that says no is an answer.
    pub async fn send(&self, request: Request) -> Result<Response, OutboundError> {
        let ClientConfig { deadline_ms, concurrency_max, .. } = self.shared.config;
        let deadline = tokio::time::Instant::now() + Duration::from_millis(deadline_ms.max(1));
        let turn = tokio::time::timeout_at(deadline, self.shared.turns.acquire()).await;
        // The semaphore is never closed.
        let Ok(Ok(_turn)) = turn else { return Err(OutboundError::Busy { concurrency_max }) };
        match tokio::time::timeout_at(deadline, self.shared.call(request)).await {
            Ok(result) => result,
            Err(_) => Err(OutboundError::Deadline { deadline_ms }),
        }
    }
}

impl Shared {
    async fn call(&self, request: Request) -> Result<Response, OutboundError> {
        let (url, plain) = self.config.targets.parse(&request.url)?;
        let client = match (&self.tls, plain) {
            (_, true) => &self.plain,
            (Ok(client), false) => client,
            (Err(why), false) => return Err(OutboundError::Connect(format!("TLS can't be used: {why}"))),
        };
        let mut call = match request.method {
            Method::Get => client.get(url),
            Method::Post => client.post(url),
        };
        for (name, value) in &request.headers {
            call = call.header(header_name(name)?, header_value(name, value)?);
        }
        if !request.body.is_empty() {
            call = call.body(request.body);
        }
        let answer = call.send().await.map_err(|error| self.why(&error))?;
        self.read(answer, request.wanted).await
    }

    async fn read(&self, mut answer: reqwest::Response, wanted: &'static [&'static str]) -> Result<Response, OutboundError> {
        let bytes_max = self.config.response_bytes_max;
        let status = answer.status().as_u16();
        let text = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
        let headers = wanted.iter().filter_map(|name| Some((*name, text(name)?.to_owned()))).collect();
        let now_ms = retry_after::now_ms();
        let retry_after_ms = text(RETRY_AFTER.as_str()).and_then(|value| retry_after::wait_ms(value, now_ms));

        let mut body = BytesMut::new();
        let mut cut = false;
        while let Some(piece) = answer.chunk().await.map_err(|error| self.why(&error))? {
            let room = bytes_max - body.len();
            body.extend_from_slice(piece.get(..room).unwrap_or(&piece));
            if piece.len() > room {
                cut = true;
                break;
            }
        }
        Ok(Response { status, retry_after_ms, headers, body: body.freeze(), bytes_max, cut })
    }

    fn why(&self, error: &reqwest::Error) -> OutboundError {
        let mut cause: Option<&(dyn Error + 'static)> = Some(error);
        while let Some(inner) = cause {
            if let Some(ours) = inner.downcast_ref::<OutboundError>() {
                return ours.clone();
            }
            cause = inner.source();
        }
        if error.is_connect() {
            OutboundError::Connect(chain(error))
        } else if error.is_timeout() {
            OutboundError::Deadline { deadline_ms: self.config.deadline_ms }
        } else if error.is_builder() {
            OutboundError::BadRequest(chain(error))
        } else {
            OutboundError::Broken(chain(error))
        }
    }
}

fn builder(config: &ClientConfig) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .user_agent(concat!("perseid/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .no_proxy()
        // What is tried again, and when, is for the caller to say.
        .retry(reqwest::retry::never())
        .connect_timeout(Duration::from_millis(config.connect_ms.clamp(1, config.deadline_ms.max(1))))
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(config.concurrency_max)
        .tcp_nodelay(true)
}

fn certificates(path: &Path) -> Result<Vec<reqwest::Certificate>, ConfigError> {
    let bytes = std::fs::metadata(path).map_err(|error| ca_file(path, error.to_string()))?.len();
    if bytes > CA_BYTES_MAX {
        return Err(ca_file(path, format!("{bytes} bytes are more than {CA_BYTES_MAX}")));
    }
    let pem = std::fs::read(path).map_err(|error| ca_file(path, error.to_string()))?;
    let found = reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| ca_file(path, chain(&error)))?;
    if found.is_empty() { Err(ca_file(path, "there is no certificate in it".to_owned())) } else { Ok(found) }
}

fn ca_file(path: &Path, why: String) -> ConfigError {
    ConfigError::CaFile { path: path.to_owned(), why }
}

fn header_name(name: &str) -> Result<HeaderName, OutboundError> {
    HeaderName::try_from(name).map_err(|_| OutboundError::BadRequest(format!("{name:?} is no name of a header")))
}

fn header_value(name: &str, value: &str) -> Result<HeaderValue, OutboundError> {
    // The value may be a secret: it is not shown.
    HeaderValue::try_from(value).map_err(|_| OutboundError::BadRequest(format!("the value of {name} can't be sent in a header")))
}

/// An error with its causes, each once. Without the URL: it may hold a secret.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut texts: Vec<String> = Vec::new();
    let mut cause = Some(error);
    while let Some(inner) = cause {
        // The outermost of reqwest says the URL, and nothing that its causes don't say.
        let text = inner.to_string();
        let says_more = !inner.is::<reqwest::Error>() && texts.iter().all(|known| !known.contains(&text));
        if says_more {
            texts.push(text);
        }
        cause = inner.source();
    }
    if texts.is_empty() { "the request can't be sent".to_owned() } else { texts.join(": ") }
}
