//! Looks at this machine. Nothing is judged here; what can't be read is `None`.

mod probe;

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use perseid_logic::JwtAuth;
use rustix::process::{Resource, getrlimit};

use super::certificates;
use super::clock::{Clock, Keeper};
use super::cpu::Cpu;
use super::disk::Disk;
use super::files::Files;
use super::listeners::{Bind, Listener};
use super::memory::Memory;
use super::network::Network;
use super::{Facts, Secret, Wanted};
use crate::clock::unix_ms;
use crate::config::{Auth, Settings};
use crate::gate::jwt_config;

/// Bodies of HTTP requests that are half read, all together.
const ARRIVING_BYTES_MAX: u64 = 256 << 20;
/// For how long the two clocks are compared.
const CLOCKS_WATCHED: Duration = Duration::from_millis(100);
/// Programs that keep a clock right, by the name of their process (15 bytes of it).
const CLOCK_KEEPERS: [&str; 6] = ["chronyd", "ntpd", "ntpd-rs", "openntpd", "systemd-timesyn", "phc2sys"];

/// Gathers everything; takes a second or two, most of it for the disk. `certificates`: further pairs of certificate and key
/// to look at.
pub fn gather(settings: &Settings, wanted: Wanted, certificates: &[(PathBuf, PathBuf)]) -> Facts {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = if settings.comet.workers == 0 { cores } else { settings.comet.workers };
    Facts {
        wanted,
        now_ms: unix_ms(),
        files: files(),
        network: network(),
        memory: memory(settings, workers),
        cpu: Cpu { cores, workers },
        clock: clock(&settings.node.data_dir),
        disk: disk(settings),
        listeners: settings.listeners().into_iter().map(|(key, addr)| listener(key, addr)).collect(),
        certificates: certificates.iter().map(|(path, key)| certificates::read(path, key)).collect(),
        token_keys: token_keys(settings),
        secrets: secrets(settings),
    }
}

fn token_keys(settings: &Settings) -> Option<Result<usize, String>> {
    (settings.logic.auth == Auth::Jwt).then(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
        runtime.block_on(async {
            let auth = JwtAuth::open(&jwt_config(settings), &Arc::default()).map_err(|error| error.to_string())?;
            if auth.fetched().await { Ok(auth.keys()) } else { Err("jwt.jwks_url has no key set now".to_owned()) }
        })
    })
}

/// Files that nobody else may read. Public keys are none.
fn secrets(settings: &Settings) -> Vec<Secret> {
    let files = [("jwt.secret_file", &settings.jwt.secret_file), ("auth_hook.secret_file", &settings.auth_hook.secret_file)];
    files.into_iter().filter(|(_, path)| !path.as_os_str().is_empty()).map(|(key, path)| secret(key, path)).collect()
}

fn secret(key: &str, path: &Path) -> Secret {
    let mode =
        fs::File::open(path).and_then(|file| file.metadata()).map(|metadata| metadata.mode()).map_err(|error| error.to_string());
    Secret { key: key.to_owned(), path: path.to_owned(), mode }
}

fn files() -> Files {
    let limit = getrlimit(Resource::Nofile);
    let numbers: Option<Vec<u64>> = numbers("/proc/sys/fs/file-nr");
    Files {
        soft: limit.current.unwrap_or(u64::MAX),
        hard: limit.maximum.unwrap_or(u64::MAX),
        nr_open: number("/proc/sys/fs/nr_open"),
        file_max: number("/proc/sys/fs/file-max"),
        in_use: numbers.and_then(|numbers| numbers.first().copied()),
    }
}

fn network() -> Network {
    let page = rustix::param::page_size() as u64;
    let tcp_mem: Option<Vec<u64>> = numbers("/proc/sys/net/ipv4/tcp_mem");
    let tcp_wmem: Option<Vec<u64>> = numbers("/proc/sys/net/ipv4/tcp_wmem");
    let ports: Option<Vec<u16>> = numbers("/proc/sys/net/ipv4/ip_local_port_range");
    Network {
        somaxconn: number("/proc/sys/net/core/somaxconn"),
        syn_backlog: number("/proc/sys/net/ipv4/tcp_max_syn_backlog"),
        tcp_pressure_bytes: tcp_mem.and_then(|pages| pages.get(1).map(|pages| pages.saturating_mul(page))),
        tcp_wmem_max: tcp_wmem.and_then(|bytes| bytes.get(2).copied()),
        port_range: ports.and_then(|ports| Some((*ports.first()?, *ports.get(1)?))),
        conntrack_max: number("/proc/sys/net/netfilter/nf_conntrack_max"),
        conntrack_count: number("/proc/sys/net/netfilter/nf_conntrack_count"),
    }
}

fn memory(settings: &Settings, workers: usize) -> Memory {
    let info = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let lanes = (settings.job.lane_bytes_max as u64).saturating_mul(workers as u64);
    let queues = [settings.comet.node_bytes_max, settings.log.queue_bytes_max, settings.logic.idempotency_bytes_max];
    let bounds = queues.into_iter().map(|bytes| bytes as u64).fold(lanes, u64::saturating_add);
    let huge_pages = fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").ok();
    Memory {
        total: meminfo(&info, "MemTotal"),
        group_max: group_memory_max(),
        swap: meminfo(&info, "SwapTotal"),
        swappiness: number("/proc/sys/vm/swappiness"),
        overcommit: number("/proc/sys/vm/overcommit_memory"),
        commit: meminfo(&info, "CommitLimit").zip(meminfo(&info, "Committed_AS")),
        huge_pages: huge_pages.as_deref().and_then(chosen).map(str::to_owned),
        bounds: bounds.saturating_add(ARRIVING_BYTES_MAX),
    }
}

/// The least limit of this process' control group and those around it, both versions.
fn group_memory_max() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let limits = groups.lines().filter_map(memory_group).flat_map(|(root, group, file)| {
        let ancestors = Path::new(group).ancestors();
        ancestors.filter_map(move |group| number(Path::new(root).join(group.strip_prefix("/").unwrap_or(group)).join(file)))
    });
    limits.min()
}

/// Of a line of /proc/self/cgroup that is about memory: where its kind is mounted, the group, and the file with its limit.
fn memory_group(line: &str) -> Option<(&'static str, &str, &'static str)> {
    let (_, rest) = line.split_once(':')?;
    let (controllers, group) = rest.split_once(':')?;
    if controllers.is_empty() {
        Some(("/sys/fs/cgroup", group, "memory.max"))
    } else if controllers.split(',').any(|controller| controller == "memory") {
        Some(("/sys/fs/cgroup/memory", group, "memory.limit_in_bytes"))
    } else {
        None
    }
}

fn clock(data_dir: &Path) -> Clock {
    let (wall, monotonic) = (SystemTime::now(), Instant::now());
    std::thread::sleep(CLOCKS_WATCHED);
    let by_wall = match SystemTime::now().duration_since(wall) {
        Ok(forward) => i128::try_from(forward.as_micros()).unwrap_or(i128::MAX),
        Err(back) => -i128::try_from(back.duration().as_micros()).unwrap_or(i128::MAX),
    };
    let watched = monotonic.elapsed();
    let drift = by_wall.saturating_sub(i128::try_from(watched.as_micros()).unwrap_or(i128::MAX)).unsigned_abs();
    let source = fs::read_to_string("/sys/devices/system/clocksource/clocksource0/current_clocksource").ok();
    Clock {
        source: source.map(|source| source.trim().to_owned()),
        keeper: keeper(),
        drift_us: u64::try_from(drift).unwrap_or(u64::MAX),
        watched_us: u64::try_from(watched.as_micros()).unwrap_or(u64::MAX),
        newest_record_ms: newest_ms(&data_dir.join("log")),
    }
}

fn keeper() -> Option<Keeper> {
    if Path::new("/run/systemd/timesync/synchronized").exists() {
        return Some(Keeper::Synchronised("systemd-timesyncd".to_owned()));
    }
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let mut names = processes.filter_map(|entry| fs::read_to_string(entry.path().join("comm")).ok());
    names.find(|name| CLOCK_KEEPERS.contains(&name.trim())).map(|name| Keeper::Runs(name.trim().to_owned()))
}

fn newest_ms(dir: &Path) -> Option<u64> {
    let written = |entry: fs::DirEntry| entry.metadata().ok()?.modified().ok()?.duration_since(UNIX_EPOCH).ok();
    let newest = fs::read_dir(dir).ok()?.flatten().filter_map(written).max()?;
    u64::try_from(newest.as_millis()).ok()
}

fn disk(settings: &Settings) -> Disk {
    let dir = &settings.node.data_dir;
    let log = dir.join("log");
    let place = probe::nearest_that_exists(dir);
    let (refused, sync) = match probe::syncs(&place) {
        Ok(sync) => (None, sync),
        Err(error) => (Some(error.to_string()), None),
    };
    let space = rustix::fs::statvfs(&place).ok();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let file_system = fs::canonicalize(&place).ok().and_then(|place| probe::file_system(&mounts, &place));
    Disk {
        dir: dir.clone(),
        mode: fs::metadata(dir).ok().map(|metadata| metadata.mode()),
        refused,
        in_use: probe::is_locked(&log.join("LOCK")),
        free: space.as_ref().map(|space| space.f_bavail.saturating_mul(space.f_frsize)),
        inodes_free: space.as_ref().filter(|space| space.f_files > 0).map(|space| space.f_favail),
        log_bytes: bytes_in(&log),
        log_bytes_max: settings.log.retention_bytes.saturating_add(settings.log.segment_bytes.saturating_mul(2)),
        file_system,
        sync,
    }
}

fn bytes_in(dir: &Path) -> u64 {
    let files = fs::read_dir(dir).into_iter().flatten().flatten();
    files.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.blocks().saturating_mul(512)).sum()
}

fn listener(key: &str, addr: SocketAddr) -> Listener {
    let state = match TcpListener::bind(addr) {
        Ok(_) => Bind::Free,
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => Bind::InUse,
        Err(error) => Bind::Refused(error.to_string()),
    };
    Listener { key: key.to_owned(), addr, state }
}

fn number(path: impl AsRef<Path>) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn numbers<T: FromStr>(path: &str) -> Option<Vec<T>> {
    let text = fs::read_to_string(path).ok()?;
    text.split_whitespace().map(|word| word.parse().ok()).collect()
}

/// A line of /proc/meminfo, bytes.
fn meminfo(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// The word in brackets, as in `always [madvise] never`.
fn chosen(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once('[')?;
    Some(rest.split_once(']')?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_the_kernel() {
        assert_eq!(chosen("always [madvise] never\n"), Some("madvise"));
        assert_eq!(chosen("always"), None);
        let info = "MemTotal:       16316412 kB\nMemFree:  1 kB\nSwapTotal:             0 kB\nHugePages_Total:       3\n";
        assert_eq!((meminfo(info, "MemTotal"), meminfo(info, "SwapTotal")), (Some(16_316_412 * 1024), Some(0)));
        assert_eq!((meminfo(info, "Mem"), meminfo(info, "CommitLimit"), meminfo("MemTotal: x", "MemTotal")), (None, None, None));
        assert_eq!(memory_group("0::/a/b"), Some(("/sys/fs/cgroup", "/a/b", "memory.max")));
        assert_eq!(memory_group("4:cpu,memory:/x:y"), Some(("/sys/fs/cgroup/memory", "/x:y", "memory.limit_in_bytes")));
        assert_eq!((memory_group("3:cpuset:/"), memory_group("")), (None, None));
    }

    #[test]
    fn this_machine_is_looked_at_without_harm() {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = Settings::default();
        settings.node.data_dir = dir.path().join("not/there");
        settings.comet.tcp = vec!["127.0.0.1:0".parse().unwrap()];
        let facts = gather(&settings, Wanted { sessions: 1, named: true }, &[]);
        assert!(facts.files.hard > 0 && facts.cpu.cores > 0 && facts.memory.total.is_some());
        assert!(facts.disk.sync.is_some() && facts.disk.mode.is_none() && !facts.disk.in_use, "{:?}", facts.disk);
        assert!(facts.listeners.iter().any(|listener| listener.key == "comet.tcp" && listener.state == Bind::Free));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left behind");
    }
}
