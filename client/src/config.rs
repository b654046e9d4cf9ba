//! What a client has to know.

use perseid_protocol::auth::AuthRequest;

use crate::connect::Endpoint;
use crate::core::{CoreConfig, Start};
use crate::error::Error;
use crate::storage::{MemoryStorage, Storage};

/// Who connects, where to, and what is kept.
///
/// ```
/// use perseid_client::{Config, FileStorage, Start};
///
/// let folder = std::env::temp_dir();
/// let config = Config::new("tcp://127.0.0.1:3101", 1001)?
///     .device("phone-7")
///     .start(Start::Newest)
///     .storage(FileStorage::new(folder.join("perseid-1001")));
/// # drop(config);
/// # Ok::<(), perseid_client::Error>(())
/// ```
pub struct Config {
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) core: CoreConfig,
    pub(crate) storage: Box<dyn Storage>,
    pub(crate) acks_itself: bool,
    pub(crate) connect_ms: u64,
    pub(crate) events_bytes_max: usize,
    pub(crate) trusted: Trusted,
}

/// The certificates that a client trusts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Trusted {
    /// Those that the system trusts.
    #[default]
    System,
    /// Those in this text, in PEM, and no others.
    Pem(Vec<u8>),
}

impl Config {
    /// A client for the user `mid` at `url`: `tcp://host:port`, `tls://host:port`, `ws://host:port` or `wss://host:port`
    /// (path `/sub` if none is named).
    ///
    /// # Errors
    /// [`Error::Invalid`]: not such a URL, or one for which this build has no transport.
    pub fn new(url: &str, mid: i64) -> Result<Self, Error> {
        let core = CoreConfig {
            auth: AuthRequest { mid, ..AuthRequest::default() },
            start: Start::Oldest,
            heartbeat_ms: 30_000,
            handshake_ms: 10_000,
            request_ms: 30_000,
            outbox_bytes_max: 4 * 1024 * 1024,
            held_bytes_max: 1024 * 1024,
            requests_bytes_max: 1024 * 1024,
        };
        Ok(Self {
            endpoints: vec![Endpoint::parse(url)?],
            core,
            storage: Box::new(MemoryStorage::new()),
            acks_itself: true,
            connect_ms: 10_000,
            events_bytes_max: 4 * 1024 * 1024,
            trusted: Trusted::System,
        })
    }

    /// Another place to try when the one before it does not answer.
    ///
    /// # Errors
    /// As for [`Config::new`].
    pub fn also(mut self, url: &str) -> Result<Self, Error> {
        self.endpoints.push(Endpoint::parse(url)?);
        Ok(self)
    }

    /// Names this device: its cursor at the server is its own. Default: the platform's name.
    #[must_use]
    pub fn device(mut self, device_id: &str) -> Self {
        device_id.clone_into(&mut self.core.auth.device_id);
        self
    }

    /// What the program runs on: `web`, `ios`, `android`, …
    #[must_use]
    pub fn platform(mut self, platform: &str) -> Self {
        platform.clone_into(&mut self.core.auth.platform);
        self
    }

    /// The token that says who the user is, where the server asks for one.
    #[must_use]
    pub fn token(mut self, token: &str) -> Self {
        token.clone_into(&mut self.core.auth.token);
        self
    }

    /// The session's key, by which pushes can reach it. Default: the server makes one.
    #[must_use]
    pub fn key(mut self, key: &str) -> Self {
        key.clone_into(&mut self.core.auth.key);
        self
    }

    /// The business operations that pushes to users, keys and all must have to get here; stored messages always do.
    #[must_use]
    pub fn accepts(mut self, operations: &[i32]) -> Self {
        self.core.auth.accepts = operations.to_vec();
        self
    }

    /// Where a device begins that has no cursor yet. Default: [`Start::Oldest`].
    #[must_use]
    pub const fn start(mut self, start: Start) -> Self {
        self.core.start = start;
        self
    }

    /// Where cursor and outbox are kept. Default: [`MemoryStorage`], which forgets with the process.
    #[must_use]
    pub fn storage(mut self, storage: impl Storage) -> Self {
        self.storage = Box::new(storage);
        self
    }

    /// Events count as processed only when [`Client::ack`](crate::Client::ack) says so. Without this an event counts as
    /// processed when the next one is asked for.
    #[must_use]
    pub const fn acks_by_hand(mut self) -> Self {
        self.acks_itself = false;
        self
    }

    /// The certificates that count for `tls://` and `wss://`. Default: the system's.
    #[must_use]
    pub fn trusted(mut self, trusted: Trusted) -> Self {
        self.trusted = trusted;
        self
    }

    /// How often HEARTBEAT is sent at least, ms; the server may ask for more. After two without an answer the connection
    /// counts as lost. Default: 30,000.
    #[must_use]
    pub const fn heartbeat_ms(mut self, heartbeat_ms: u64) -> Self {
        self.core.heartbeat_ms = heartbeat_ms;
        self
    }

    /// How long a request waits for its answer, ms; messages in the outbox wait without end. Default: 30,000.
    #[must_use]
    pub const fn request_ms(mut self, request_ms: u64) -> Self {
        self.core.request_ms = request_ms;
        self
    }

    /// How much may wait to be sent, bytes. Default: 4 MiB.
    #[must_use]
    pub const fn outbox_bytes_max(mut self, outbox_bytes_max: usize) -> Self {
        self.core.outbox_bytes_max = outbox_bytes_max;
        self
    }

    /// How much may wait for the application, bytes. Above it no more messages are asked for until half of it is taken, and
    /// what is not stored is dropped ([`Event::Dropped`](crate::Event::Dropped)). Default: 4 MiB.
    #[must_use]
    pub const fn events_bytes_max(mut self, events_bytes_max: usize) -> Self {
        self.events_bytes_max = events_bytes_max;
        self
    }
}
