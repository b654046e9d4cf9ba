//! Disks that fail when told to, and a standalone in this process that stands on them.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock};

use perseid::cli::ServerArgs;
use perseid::config;
use perseid::standalone::{Disks, Standalone};
use perseid::telemetry::{self, LogLevel};
use perseid_log::{Disk, Purpose, SystemDisk};
use perseid_store::stored::DiskUse;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::support::{Http, Serves, Transport};

/// What the operating system says (errno).
pub(crate) const NO_SPACE: i32 = 28;
pub(crate) const IO_ERROR: i32 = 5;

/// What fails now.
#[derive(Clone, Debug, Default)]
pub(crate) struct Failing {
    /// The log's files can't grow beyond this, bytes.
    pub(crate) log_room_bytes: Option<u64>,
    /// Syncs of records, with this error.
    pub(crate) log_sync: Option<i32>,
    /// These uses of the store's disk, with this error.
    pub(crate) store: Vec<(DiskUse, i32)>,
}

#[derive(Clone, Default)]
pub(crate) struct Faults(Arc<Mutex<Failing>>);

impl Faults {
    pub(crate) fn set(&self, failing: Failing) {
        *self.0.lock().unwrap() = failing;
    }

    pub(crate) fn heal(&self) {
        self.set(Failing::default());
    }

    fn now(&self) -> Failing {
        self.0.lock().unwrap().clone()
    }
}

impl Disk for Faults {
    fn write_at(&self, purpose: Purpose, file: &File, bytes: &[u8], position: u64) -> io::Result<usize> {
        // As on a real disk: what was zeroed has its place, only what is new finds none.
        if purpose == Purpose::Zeros && self.now().log_room_bytes.is_some_and(|room| position >= room) {
            return Err(io::Error::from_raw_os_error(NO_SPACE));
        }
        SystemDisk.write_at(purpose, file, bytes, position)
    }

    fn sync(&self, purpose: Purpose, file: &File) -> io::Result<()> {
        match self.now().log_sync {
            Some(code) if purpose == Purpose::Records => Err(io::Error::from_raw_os_error(code)),
            _ => SystemDisk.sync(purpose, file),
        }
    }
}

/// A standalone in this process.
pub(crate) struct Inside {
    pub(crate) faults: Faults,
    tcp: SocketAddr,
    ws: SocketAddr,
    http: SocketAddr,
    dir: TempDir,
    set: Vec<String>,
    standalone: Standalone,
    runtime: Runtime,
}

impl Serves for Inside {
    fn addr(&self, transport: Transport) -> SocketAddr {
        match transport {
            Transport::Tcp => self.tcp,
            Transport::WebSocket => self.ws,
        }
    }
}

impl Inside {
    pub(crate) fn start(faults: &Faults) -> Self {
        Self::start_with(faults, &[])
    }

    /// One with these settings.
    pub(crate) fn start_with(faults: &Faults, set: &[&str]) -> Self {
        let set = ["node.shutdown_ms=5000"].iter().chain(set).map(|&text| text.to_owned()).collect();
        Self::start_in(TempDir::new().unwrap(), faults, set)
    }

    fn start_in(dir: TempDir, faults: &Faults, set: Vec<String>) -> Self {
        let any = || vec!["127.0.0.1:0".to_owned()];
        let args = ServerArgs {
            set: set.clone(),
            data_dir: Some(dir.path().join("data").display().to_string()),
            tcp: any(),
            ws: any(),
            http: any(),
            comet_grpc: any(),
            logic_grpc: any(),
            ..ServerArgs::default()
        };
        let settings = config::load(&config::Sources { env: Vec::new(), ..args.sources() }).unwrap().settings;
        let level = level(&settings);
        let store = {
            let faults = faults.clone();
            move |what| {
                let code = faults.now().store.iter().find(|(failing, _)| *failing == what).map(|(_, code)| *code);
                code.map_or(Ok(()), |code| Err(io::Error::from_raw_os_error(code)))
            }
        };
        let disks = Disks { log: Arc::new(faults.clone()), store: Arc::new(store) };
        let runtime = Runtime::new().unwrap();
        let standalone = runtime.block_on(async { Standalone::start_on(settings, level, &disks) }).unwrap();
        let parts = standalone.parts();
        let (tcp, ws, http) = (parts.comet.tcp()[0], parts.comet.ws()[0], parts.http[0]);
        Self { faults: faults.clone(), tcp, ws, http, dir, set, standalone, runtime }
    }

    pub(crate) fn http(&self) -> Http {
        Http::connect(self.http)
    }

    /// Ends in order, and starts again on the same data. No client may be connected any more.
    pub(crate) fn restart(self) -> Self {
        let Self { faults, dir, set, standalone, runtime, .. } = self;
        runtime.block_on(standalone.shut_down());
        drop(runtime);
        Self::start_in(dir, &faults, set)
    }
}

/// One log for all tests of this process.
fn level(settings: &config::Settings) -> LogLevel {
    static LEVEL: OnceLock<LogLevel> = OnceLock::new();
    LEVEL.get_or_init(|| telemetry::init(&settings.telemetry).unwrap()).clone()
}
