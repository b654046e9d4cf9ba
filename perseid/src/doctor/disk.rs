//! The disk under the data directory: every accepted push waits for it.

use std::path::PathBuf;

use super::{Finding, size};

/// What was seen of the data directory and its disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Disk {
    /// The data directory.
    pub dir: PathBuf,
    /// Its permission bits; `None` while it is not there yet.
    pub mode: Option<u32>,
    /// Why nothing can be written there, if so (in the nearest directory that exists, while it is not there).
    pub refused: Option<String>,
    /// Another process has the log open.
    pub in_use: bool,
    /// Free for us, bytes.
    pub free: Option<u64>,
    /// Free inodes; `None` where the file system does not count them.
    pub inodes_free: Option<u64>,
    /// What is in the log's folder already, bytes.
    pub log_bytes: u64,
    /// What the log may take at most: retention and the segments in use, bytes.
    pub log_bytes_max: u64,
    /// The type of the file system.
    pub file_system: Option<String>,
    /// How long a write of 4 KiB and its fdatasync took.
    pub sync: Option<Syncs>,
}

/// Times of fdatasync, µs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Syncs {
    /// How many were measured.
    pub count: usize,
    /// The middle one.
    pub median_us: u64,
    /// The slowest.
    pub max_us: u64,
}

impl Syncs {
    /// Of single times; `None` of none.
    pub fn of(mut times_us: Vec<u64>) -> Option<Self> {
        times_us.sort_unstable();
        let (median_us, max_us) = (*times_us.get(times_us.len() / 2)?, *times_us.last()?);
        Some(Self { count: times_us.len(), median_us, max_us })
    }
}

/// Every push is answered later than this.
const SYNC_SLOW_US: u64 = 20_000;
/// A push's answer may take that long now and then.
const SYNC_STALL_US: u64 = 250_000;
/// Faster than any disk that has really written.
const SYNC_LYING_US: u64 = 5;
/// What is left for others when the log is at its longest, bytes.
const SPARE: u64 = 256 << 20;
const INODES_FEW: u64 = 1024;
/// File systems that forget at a restart.
const FORGETFUL: [&str; 2] = ["tmpfs", "ramfs"];
/// Where a lock or an fsync may mean less than it says.
const DISTANT: [&str; 6] = ["nfs", "nfs4", "cifs", "smb3", "9p", "fuse"];

pub(super) fn judge(disk: &Disk) -> Vec<Finding> {
    let findings = [Some(directory(disk)), space(disk), inodes(disk), file_system(disk), sync(disk)];
    findings.into_iter().flatten().collect()
}

fn directory(disk: &Disk) -> Finding {
    const CHECK: &str = "data directory";
    let dir = disk.dir.display();
    if let Some(error) = &disk.refused {
        let advice = "give it to the user of the server (chown), or name another one (--data-dir)";
        return Finding::fail(CHECK, format!("can't write to {dir}: {error}"), advice);
    }
    match disk.mode {
        Some(_) if disk.in_use => Finding::warn(
            CHECK,
            format!("another process has the log in {dir} open"),
            "right if this server runs now; a second one is refused",
        ),
        Some(mode) if mode & 0o022 != 0 => {
            Finding::warn(CHECK, format!("others may write to {dir}: mode {:o}", mode & 0o777), format!("chmod go-w {dir}"))
        }
        Some(mode) if mode & 0o005 == 0o005 => Finding::warn(
            CHECK,
            format!("everybody on this machine may look into {dir}: mode {:o}; pushes are in it", mode & 0o777),
            format!("chmod o-rx {dir}"),
        ),
        Some(mode) => Finding::ok(CHECK, format!("{dir}, mode {:o}, not in use", mode & 0o777)),
        None => Finding::ok(CHECK, format!("{dir} is not there yet and can be made")),
    }
}

fn space(disk: &Disk) -> Option<Finding> {
    let free = disk.free?;
    let grows = disk.log_bytes_max.saturating_sub(disk.log_bytes);
    let what = format!("{} free; the log may still grow by {} (log.retention_bytes and two segments)", size(free), size(grows));
    let advice = "make room, or lower log.retention_bytes";
    Some(if free < grows.min(SPARE) {
        Finding::fail("disk space", what, advice)
    } else if free < grows.saturating_add(SPARE) {
        Finding::warn("disk space", format!("{what}: pushes are refused when the disk is full"), advice)
    } else {
        Finding::ok("disk space", what)
    })
}

fn inodes(disk: &Disk) -> Option<Finding> {
    let free = disk.inodes_free.filter(|free| *free < INODES_FEW)?;
    Some(Finding::warn(
        "disk space",
        format!("only {free} files can still be made on it"),
        "delete small files, or use another file system",
    ))
}

fn file_system(disk: &Disk) -> Option<Finding> {
    const CHECK: &str = "file system";
    let kind = disk.file_system.as_deref()?;
    Some(if FORGETFUL.contains(&kind) {
        Finding::warn(CHECK, format!("{kind} forgets everything at a restart"), "put the data directory on a disk")
    } else if DISTANT
        .iter()
        .any(|distant| kind == *distant || kind.strip_prefix(distant).is_some_and(|rest| rest.starts_with('.')))
    {
        let what = format!("{kind}: locks and fsync over a network may promise less than they say");
        Finding::warn(CHECK, what, "put the data directory on a local disk")
    } else {
        Finding::ok(CHECK, kind)
    })
}

fn sync(disk: &Disk) -> Option<Finding> {
    const CHECK: &str = "fsync";
    let Syncs { count, median_us, max_us } = disk.sync?;
    let what = format!("{median_us} µs in the middle, {max_us} µs at most, of {count}");
    let forgetful = disk.file_system.as_deref().is_some_and(|kind| FORGETFUL.contains(&kind));
    Some(if median_us > SYNC_SLOW_US {
        Finding::warn(
            CHECK,
            format!("{what}: no push is answered faster"),
            "a disk with a power-loss-protected cache, and nobody else on it",
        )
    } else if max_us > SYNC_STALL_US {
        Finding::warn(CHECK, format!("{what}: answers stall now and then"), "look who else writes to this disk")
    } else if median_us < SYNC_LYING_US && !forgetful {
        Finding::warn(
            CHECK,
            format!("{what}: no disk is that fast"),
            "make sure that it syncs (no eatmydata, no `nobarrier`, no volatile cache)",
        )
    } else {
        Finding::ok(CHECK, what)
    })
}

#[cfg(test)]
mod tests {
    use super::super::Verdict::{self, Fail, Ok, Warn};
    use super::super::tests::{advice_where_needed, verdicts};
    use super::*;

    fn of(disk: &Disk) -> Vec<Verdict> {
        let findings = judge(disk);
        advice_where_needed(&findings);
        verdicts(&findings)
    }

    #[test]
    fn directories() {
        let none = Disk::default();
        for (disk, verdict) in [
            (Disk { mode: None, ..none.clone() }, Ok),
            (Disk { mode: Some(0o40_700), ..none.clone() }, Ok),
            (Disk { mode: Some(0o40_750), ..none.clone() }, Ok),
            (Disk { mode: Some(0o40_755), ..none.clone() }, Warn),
            (Disk { mode: Some(0o40_770), ..none.clone() }, Warn),
            (Disk { mode: Some(0o40_700), in_use: true, ..none.clone() }, Warn),
            (Disk { refused: Some("permission denied".to_owned()), ..none.clone() }, Fail),
        ] {
            assert_eq!(of(&disk), [verdict], "{disk:?}");
        }
    }

    #[test]
    fn space_for_the_whole_log() {
        const GIB: u64 = 1 << 30;
        for (free, log_bytes, verdict) in [
            (10 * GIB, 0, Ok),
            (GIB + SPARE, 0, Ok),
            (GIB + SPARE - 1, 0, Warn),
            (SPARE, 0, Warn),
            (SPARE - 1, 0, Fail),
            (SPARE, GIB, Ok),
            (0, 2 * GIB, Warn),
            (0, 0, Fail),
        ] {
            let disk = Disk { free: Some(free), log_bytes, log_bytes_max: GIB, ..Disk::default() };
            assert_eq!(of(&disk), [Ok, verdict], "{free} free, {log_bytes} there");
        }
        assert_eq!(of(&Disk { inodes_free: Some(3), ..Disk::default() }), [Ok, Warn]);
        assert_eq!(of(&Disk { inodes_free: Some(1 << 20), ..Disk::default() }), [Ok]);
    }

    #[test]
    fn file_systems_and_syncs() {
        for (kind, verdict) in [("ext4", Ok), ("xfs", Ok), ("tmpfs", Warn), ("nfs4", Warn), ("fuse.sshfs", Warn), ("fuseblk", Ok)]
        {
            assert_eq!(of(&Disk { file_system: Some(kind.to_owned()), ..Disk::default() }), [Ok, verdict], "{kind}");
        }
        let syncs = |median_us, max_us| Some(Syncs { count: 9, median_us, max_us });
        for (sync, verdict) in
            [(syncs(300, 4_000), Ok), (syncs(30_000, 40_000), Warn), (syncs(300, 900_000), Warn), (syncs(1, 2), Warn)]
        {
            assert_eq!(of(&Disk { sync, ..Disk::default() }), [Ok, verdict], "{sync:?}");
        }
        let tmpfs = Disk { file_system: Some("tmpfs".to_owned()), sync: syncs(1, 2), ..Disk::default() };
        assert_eq!(of(&tmpfs), [Ok, Warn, Ok]);
        assert_eq!(Syncs::of(Vec::new()), None);
        assert_eq!(Syncs::of(vec![9, 1, 5]), Some(Syncs { count: 3, median_us: 5, max_us: 9 }));
    }
}
