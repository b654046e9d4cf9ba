//! Hooks: events of the log, posted to business services.
//!
//! ```text
//! log ──reader──▶ deliver (one task for each URL, in order) ──▶ batch ──▶ sign ──▶ POST
//!                   │ judge: what an answer means                        pace: when to try again
//!                   ▼
//!                 cursor in the log's directory: how far this URL has got it
//! ```
//!
//! **Invariant**: a cursor passes an event only when its receiver said 2xx, or the event was given up, counted and logged.
//! Nothing is queued: a receiver that is down costs one batch in memory, and reading the log again where it stopped.
//!
//! Everything runs on one thread of its own: a slow disk, a signature or a large batch delays hooks, never pushes.

mod batch;
mod config;
mod deliver;
mod judge;
mod metrics;
mod pace;

use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use perseid_log::{EventLog, LogError, Offset, Start};
use perseid_outbound::{Client, TargetPolicy};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use config::{HookConfig, cursor_name};
pub use metrics::{HookMetrics, HookSnapshot};
pub use perseid_outbound::{SecretError, Secrets, sign};

use deliver::{Endpoint, Shared};

/// Now, unix ms.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Why hooks can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A cursor can't be opened.
    #[error("the place of a webhook in the log can't be kept: {0}")]
    Log(#[from] LogError),
    /// The calls can't be made.
    #[error("webhooks can't be called: {0}")]
    Client(#[from] perseid_outbound::ConfigError),
    /// The system refused a thread, or a runtime.
    #[error("no thread for webhooks: {0}")]
    Thread(#[from] io::Error),
}

/// Hooks whose places in the log are held, and which do not post yet: events that are written from now on will be posted.
pub struct Prepared {
    endpoints: Vec<Endpoint>,
    shared: Arc<Shared>,
}

/// Running hooks. Dropping it stops them.
pub struct Hooks {
    shared: Arc<Shared>,
    /// Finish what is there, and end.
    finish: CancellationToken,
    /// End now.
    stop: CancellationToken,
    ended: Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

impl Prepared {
    /// Opens a cursor for each URL: one that is new begins with the next event.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn new(config: HookConfig, secrets: Secrets, log: &Arc<dyn EventLog>, clock: Clock) -> Result<Self, StartError> {
        let client = Client::new(config.client())?;
        let mut endpoints = Vec::new();
        for url in &config.urls {
            let cursor = log.cursor(&cursor_name(url), Start::Latest)?;
            endpoints.push(Endpoint::new(url, log.reader(cursor.offset() + 1), cursor));
        }
        let shared = Arc::new(Shared { config, client: RwLock::new(client), secrets: RwLock::new(secrets), clock });
        Ok(Self { endpoints, shared })
    }

    /// Begins to post. `newest`: the offset of the newest event of the log, which wakes those that wait for one.
    ///
    /// # Errors
    /// [`StartError::Thread`].
    pub fn start(self, newest: &watch::Receiver<Offset>) -> Result<Hooks, StartError> {
        let Self { endpoints, shared } = self;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (finish, stop) = (CancellationToken::new(), CancellationToken::new());
        let tasks: Vec<_> = endpoints
            .into_iter()
            .map(|endpoint| endpoint.run(shared.clone(), newest.clone(), finish.clone(), stop.clone()))
            .collect();
        let (end, ended) = channel::<()>();
        let thread = std::thread::Builder::new().name("hooks".to_owned()).spawn(move || {
            runtime.block_on(async move {
                let tasks: Vec<_> = tasks.into_iter().map(tokio::spawn).collect();
                for task in tasks {
                    if let Err(error) = task.await {
                        tracing::error!(%error, "a webhook stopped: restart this process");
                    }
                }
            });
            drop(end);
        })?;
        Ok(Hooks { shared, finish, stop, ended, thread: Some(thread) })
    }

    /// What they count, for each URL.
    pub fn metrics(&self) -> Vec<Arc<HookMetrics>> {
        self.endpoints.iter().map(Endpoint::metrics).collect()
    }
}

impl Hooks {
    /// Signs with these secrets from now on.
    pub fn reload(&self, secrets: Secrets) {
        // Replaced whole.
        *self.shared.secrets.write().unwrap_or_else(PoisonError::into_inner) = secrets;
    }

    /// Calls these servers, and trusts these certificates, from now on.
    ///
    /// # Errors
    /// A file of certificates that can't be used; nothing is changed then.
    pub fn call(&self, targets: TargetPolicy, ca_file: Option<PathBuf>) -> Result<(), perseid_outbound::ConfigError> {
        let config = HookConfig { targets, ca_file, ..self.shared.config.clone() };
        let client = Client::new(config.client())?;
        *self.shared.client.write().unwrap_or_else(PoisonError::into_inner) = client;
        Ok(())
    }

    /// Posts what is in the log, as long as the receivers take it and no longer than `within`, and ends. Blocks.
    pub fn finish(mut self, within: Duration) {
        self.finish.cancel();
        if let Err(RecvTimeoutError::Timeout) = self.ended.recv_timeout(within) {
            tracing::info!("some events are left for the next start");
        }
        self.end();
    }

    fn end(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            // A panic of a task was reported.
            let _ = thread.join();
        }
    }
}

impl Drop for Hooks {
    fn drop(&mut self) {
        self.end();
    }
}
