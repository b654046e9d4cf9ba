//! Events: who writes them, who posts them, and a thread that sees to both.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use perseid_hooks::{HookConfig, HookMetrics, Hooks, Prepared, Secrets};
use perseid_log::{EmbeddedLog, EventLog};
use perseid_logic::{Feed, Logic, Presence, StillPace, Wanted};
use perseid_rpc::EventKind;

use crate::clock::unix_ms;
use crate::config::Settings;

/// How often the thread looks after what waits.
const TICK: Duration = Duration::from_secs(1);
/// The number of the comet in this process.
const OWN_COMET: u32 = 0;
/// How long comets in other processes have, after the start, to say which of their sessions live.
const CONFIRM: Duration = Duration::from_secs(120);
/// How long it rests after sessions could not be repeated.
const REPEAT_PAUSE_MS: u64 = 10_000;
/// How long the end waits for the log to have what sessions did last.
const SETTLE: Duration = Duration::from_millis(200);

/// Events before anything runs that makes them.
pub(super) struct Telling {
    log: EmbeddedLog,
    feed: Option<Arc<Feed>>,
    hooks: Option<Prepared>,
    pace: StillPace,
}

/// Events while everything runs.
pub(super) struct Told {
    log: EmbeddedLog,
    feed: Option<Arc<Feed>>,
    hooks: Option<Hooks>,
    keeper: Option<Keeper>,
}

/// The thread that writes again what waits, and what the log will forget.
struct Keeper {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

/// Which events somebody wants.
fn wanted(settings: &Settings) -> Wanted {
    let hooks = if settings.hooks.urls.is_empty() { &[][..] } else { &settings.hooks.events };
    Wanted::of(settings.events.keep.iter().chain(hooks).map(String::as_str))
}

/// Who holds back the log for the sake of sessions whose end is not told yet.
const HOLDER: &str = "sessions";

/// Who holds back the log from the start on: until it is known which sessions have no end everything is kept, where somebody
/// wants to know that.
pub(super) fn holder(settings: &Settings) -> Option<&'static str> {
    wanted(settings).sessions.then_some(HOLDER)
}

impl Telling {
    /// Holds the places of webhooks, and writes the ends of sessions that a crash left open. Before anybody is let in.
    pub(super) fn prepare(settings: &Settings, log: EmbeddedLog) -> Result<Self> {
        let wanted = wanted(settings);
        let pace = StillPace::within(settings.log.retention_bytes, settings.log.retention_ms, unix_ms());
        if !wanted.any() {
            return Ok(Self { log, feed: None, hooks: None, pace });
        }
        let shared: Arc<dyn EventLog> = Arc::new(log.clone());
        // First, so that webhooks get what is written below.
        let hooks = if settings.hooks.urls.is_empty() {
            None
        } else {
            let secrets = secrets(&settings.hooks.secret_file)?;
            Some(Prepared::new(hook_config(settings), secrets, &shared, Arc::new(unix_ms))?)
        };
        let feed = Feed::new(shared, wanted, settings.node.snowflake_worker, Arc::new(unix_ms));
        let crashed = feed
            .recover(|node| node == OWN_COMET)
            .map_err(|why| anyhow!("what became of sessions before the start can't be told: {why}"))?;
        if crashed > 0 {
            tracing::warn!(sessions = crashed, "sessions that were online when the process ended are told of as offline");
        }
        if wanted.sessions && !feed.has_unconfirmed() {
            // Else when it is known which of them live.
            log.keep_from(HOLDER, log.status().end + 1);
        }
        Ok(Self { log, feed: Some(feed), hooks, pace })
    }

    pub(super) fn feed(&self) -> Option<Arc<Feed>> {
        self.feed.clone()
    }

    pub(super) fn metrics(&self) -> Vec<Arc<HookMetrics>> {
        self.hooks.as_ref().map(Prepared::metrics).unwrap_or_default()
    }

    pub(super) fn told_by(&self, logic: Logic) -> Logic {
        match &self.feed {
            Some(feed) => logic.telling(feed),
            None => logic,
        }
    }

    /// Begins to post, and to look after what waits.
    pub(super) fn start(self, presence: Option<&Arc<Presence>>) -> Result<Told> {
        let Self { log, feed, hooks, pace } = self;
        let hooks = match (hooks, &feed) {
            (Some(hooks), Some(feed)) => Some(hooks.start(&feed.newest())?),
            _ => None,
        };
        let keeper = presence.map(|presence| keep(presence.clone(), log.clone(), pace)).transpose()?;
        Ok(Told { log, feed, hooks, keeper })
    }
}

impl Told {
    /// Reads the secrets again, and who may be called. A file that can't be used changes nothing and is reported.
    pub(super) fn reload(&self, settings: &Settings) {
        let Some(hooks) = &self.hooks else { return };
        if let Err(error) = hooks.call(settings.targets(), ca_file(settings)) {
            tracing::error!("webhooks are called as before: {error}");
        }
        match secrets(&settings.hooks.secret_file) {
            Ok(secrets) => {
                tracing::info!(?secrets, "the secrets of webhooks were read again");
                hooks.reload(secrets);
            }
            Err(error) => tracing::error!("the secrets of webhooks were not read again, the old ones stay: {error:#}"),
        }
    }

    /// Posts what sessions did last, as far as receivers take it in time. Blocks.
    pub(super) fn finish(self, within: Duration) {
        let started = Instant::now();
        if let Some(Keeper { stop, thread }) = self.keeper {
            drop(stop);
            // A panic of it was reported by the runtime of the language.
            let _ = thread.join();
        }
        if let Some(feed) = &self.feed {
            let settled = || feed.flush() && self.log.status().queue_bytes == 0;
            while !settled() && started.elapsed() < SETTLE.min(within) {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        if let Some(hooks) = self.hooks {
            hooks.finish(within.saturating_sub(started.elapsed()));
        }
    }
}

fn keep(presence: Arc<Presence>, log: EmbeddedLog, mut pace: StillPace) -> Result<Keeper> {
    let (stop, stopped) = channel::<()>();
    let run = move || {
        let mut not_before_ms = 0;
        let mut confirm_until = Some(Instant::now() + CONFIRM);
        while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
            presence.feed().flush();
            if confirm_until.is_some_and(|until| until < Instant::now()) {
                confirm_until = None;
                let sessions = presence.give_up_unconfirmed();
                if sessions > 0 {
                    tracing::warn!(sessions, "sessions of other comets that did not come back are told of as offline");
                }
            }
            let (bytes, now_ms) = (log.status().counters.bytes, unix_ms());
            if !pace.is_due(bytes, now_ms) || now_ms < not_before_ms {
                continue;
            }
            match presence.repeat_all() {
                Ok(from) => {
                    log.keep_from(HOLDER, from);
                    pace.done(log.status().counters.bytes, now_ms);
                }
                Err(error) => {
                    not_before_ms = now_ms + REPEAT_PAUSE_MS;
                    tracing::warn!(error, "sessions that are online can't be written again: the log keeps what it has");
                }
            }
        }
    };
    let thread = std::thread::Builder::new().name("events".to_owned()).spawn(run).context("can't start a thread for events")?;
    Ok(Keeper { stop, thread })
}

fn secrets(path: &Path) -> Result<Secrets> {
    use std::os::unix::fs::PermissionsExt;
    if std::fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o004 != 0) {
        tracing::warn!(file = %path.display(), "everybody on this machine can read the secret that webhooks are signed with: chmod o-r");
    }
    Secrets::read(path).context("no secret for webhooks")
}

fn ca_file(settings: &Settings) -> Option<PathBuf> {
    Some(settings.outbound.ca_file.clone()).filter(|path| !path.as_os_str().is_empty())
}

fn hook_config(settings: &Settings) -> HookConfig {
    let hooks = &settings.hooks;
    HookConfig {
        urls: hooks.urls.clone(),
        events: hooks.events.iter().filter_map(|word| EventKind::from_word(word)).collect(),
        batch_events: hooks.batch_events_max,
        batch_bytes: hooks.batch_bytes_max,
        linger_ms: hooks.linger_ms,
        deadline_ms: hooks.deadline_ms,
        retry_ms_max: hooks.retry_ms_max,
        refusals_max: hooks.refusals_max,
        keep_ms: settings.events.hold_ms_max,
        targets: settings.targets(),
        ca_file: ca_file(settings),
    }
}
