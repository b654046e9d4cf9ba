//! Looks at a directory and its disk by trying.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::doctor::disk::Syncs;

/// At most so many writes, and no further one after this time.
const SYNCS_MAX: usize = 64;
const SYNCS_WITHIN: Duration = Duration::from_secs(1);
const WRITE_BYTES: usize = 4096;

/// `dir`, or what it will be made in.
pub(super) fn nearest_that_exists(dir: &Path) -> PathBuf {
    let here = || PathBuf::from(".");
    let found = dir.ancestors().find(|ancestor| ancestor.exists()).map_or_else(here, Path::to_owned);
    // The parent of a relative name is the empty path.
    if found.as_os_str().is_empty() { here() } else { found }
}

/// Measures writes with fdatasync in `dir`, in a file of its own that is gone afterwards.
pub(super) fn syncs(dir: &Path) -> io::Result<Option<Syncs>> {
    let path = dir.join(format!(".perseid-doctor-{}", std::process::id()));
    let mut file = OpenOptions::new().write(true).create_new(true).open(&path)?;
    let measured = measure(&mut file);
    let removed = fs::remove_file(&path);
    let times = measured?;
    removed?;
    Ok(Syncs::of(times))
}

fn measure(file: &mut File) -> io::Result<Vec<u64>> {
    let started = Instant::now();
    let mut times = Vec::with_capacity(SYNCS_MAX);
    // As in the log, space is there before it is written to.
    file.write_all(&vec![0; WRITE_BYTES * SYNCS_MAX])?;
    file.sync_all()?;
    io::Seek::rewind(file)?;
    while times.len() < SYNCS_MAX && started.elapsed() < SYNCS_WITHIN {
        let begun = Instant::now();
        file.write_all(&[1; WRITE_BYTES])?;
        file.sync_data()?;
        times.push(u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX));
    }
    Ok(times)
}

/// Whether another process holds a lock on the file; without a file nobody does.
pub(super) fn is_locked(path: &Path) -> bool {
    File::open(path).is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
}

/// The type of the file system that `place` (absolute) is on, from the text of /proc/self/mountinfo: that of the longest
/// mount point above it, of two the later.
pub(super) fn file_system(mounts: &str, place: &Path) -> Option<String> {
    let mount = |line: &str| {
        let (head, tail) = line.split_once(" - ")?;
        let point = unescape(head.split(' ').nth(4)?);
        place.starts_with(&point).then(|| (point.as_os_str().len(), tail.split(' ').next().unwrap_or_default().to_owned()))
    };
    mounts.lines().filter_map(mount).max_by_key(|(len, _)| *len).map(|(_, kind)| kind)
}

/// `\040` is a space: the kernel writes what would end a field in octal.
fn unescape(text: &str) -> PathBuf {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let octal = text.get(at + 1..at + 4).filter(|_| byte == b'\\').and_then(|digits| u8::from_str_radix(digits, 8).ok());
        out.push(octal.unwrap_or(byte));
        at += if octal.is_some() { 4 } else { 1 };
    }
    PathBuf::from(std::ffi::OsStr::from_bytes(&out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_mount_point_counts_and_of_two_the_later() {
        let mounts = "\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:25 / /run rw,nosuid - tmpfs tmpfs rw
31 22 8:2 / /var/lib/with\\040space rw - xfs /dev/sdb rw
32 31 0:40 / /run/x rw master:3 propagate_from:2 - nfs4 host:/x rw
33 22 0:41 / /run rw - ramfs none rw
no mount
";
        for (place, kind) in [
            ("/home/x", "ext4"),
            ("/runner", "ext4"),
            ("/run", "ramfs"),
            ("/run/x/y", "nfs4"),
            ("/var/lib/with space/data", "xfs"),
        ] {
            assert_eq!(file_system(mounts, Path::new(place)).as_deref(), Some(kind), "{place}");
        }
        assert_eq!(file_system("", Path::new("/")), None);
        for (text, path) in [(r"/a\011b", "/a\tb"), (r"/a\", r"/a\"), (r"/a\9", r"/a\9"), (r"/ä\040", "/ä ")] {
            assert_eq!(unescape(text), Path::new(path));
        }
    }

    #[test]
    fn locks_and_directories() {
        let dir = tempfile::tempdir().unwrap();
        let lock = dir.path().join("LOCK");
        assert!(!is_locked(&lock));
        let file = File::create(&lock).unwrap();
        assert!(!is_locked(&lock));
        file.lock().unwrap();
        assert!(is_locked(&lock));
        drop(file);
        assert!(!is_locked(&lock));

        assert_eq!(nearest_that_exists(&dir.path().join("a/b/c")), dir.path());
        assert_eq!(nearest_that_exists(Path::new("not-there-at-all")), Path::new("."));
        assert!(syncs(&dir.path().join("gone")).is_err());
        let syncs = syncs(dir.path()).unwrap().unwrap();
        assert!(syncs.count > 0 && syncs.median_us <= syncs.max_us);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
