//! The four things the log does to a file, behind a trait so that tests can make them fail.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// What a write or a sync is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Records at the tail of the log.
    Records,
    /// The header of a new segment.
    Header,
    /// Zeros ahead of need, or over a torn tail.
    Zeros,
    /// The stored offset of a consumer.
    Consumer,
}

/// Writes and syncs. The real one is [`SystemDisk`]; tests inject failures here.
pub trait Disk: Send + Sync + 'static {
    /// Like `pwrite`: writes some of `bytes` at `position` and says how many.
    ///
    /// # Errors
    /// Those of the operating system.
    fn write_at(&self, purpose: Purpose, file: &File, bytes: &[u8], position: u64) -> io::Result<usize>;

    /// Like `fdatasync`.
    ///
    /// # Errors
    /// Those of the operating system.
    fn sync(&self, purpose: Purpose, file: &File) -> io::Result<()>;
}

/// The operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemDisk;

impl Disk for SystemDisk {
    fn write_at(&self, _: Purpose, file: &File, bytes: &[u8], position: u64) -> io::Result<usize> {
        file.write_at(bytes, position)
    }

    fn sync(&self, _: Purpose, file: &File) -> io::Result<()> {
        file.sync_data()
    }
}

/// Writes all of `bytes`, whatever the number of short writes.
pub(super) fn write_all(disk: &dyn Disk, purpose: Purpose, file: &File, mut bytes: &[u8], mut position: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match disk.write_at(purpose, file, bytes, position) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                bytes = bytes.get(written..).unwrap_or_default();
                position += written as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Zeros `from..to` and makes that durable.
pub(super) fn zero(disk: &dyn Disk, file: &File, from: u64, to: u64) -> io::Result<()> {
    const ZEROS: &[u8] = &[0; 256 << 10];
    let mut position = from;
    while position < to {
        let step = (to - position).min(ZEROS.len() as u64);
        write_all(disk, Purpose::Zeros, file, &ZEROS[..step as usize], position)?;
        position += step;
    }
    disk.sync(Purpose::Zeros, file)
}
