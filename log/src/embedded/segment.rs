//! A segment: one file with a header and records. Names and header bytes are decided here only.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::{LogError, Offset, lock};

/// Records start here: the header has a page of its own, which is never written again.
pub(super) const HEADER_BYTES: u64 = 4096;

/// The file that is being zeroed ahead; it gets its name when its first offset is known.
pub(super) const NEXT_NAME: &str = "next.zeros";

const MAGIC: &[u8; 8] = b"perseidl";
const VERSION: u32 = 1;
const FIELDS_BYTES: usize = 44;

/// What the header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Start value of every record's crc; the same in all segments of a log.
    pub(super) salt: u32,
    /// Offset of the first record.
    pub(super) first: Offset,
    /// First offset of the segment before; 0 in the first one of a log. Shows a missing file.
    pub(super) previous: Offset,
    /// When the segment was begun, so also: when the one before was finished.
    pub(super) created_ms: u64,
}

/// An open segment.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) header: Header,
    pub(super) path: PathBuf,
    pub(super) file: File,
    marks: Marks,
}

/// Where some records of a segment begin, as readers came across them: whoever reads from an offset needn't read the
/// segment from its start. A mark for each [`MARK_BYTES`], so that they are few.
#[derive(Debug, Default)]
struct Marks(Mutex<Vec<(Offset, u64)>>);

/// Between two marks of a segment.
pub(super) const MARK_BYTES: u64 = 256 << 10;

impl Marks {
    fn add(&self, offset: Offset, position: u64) {
        let mut marks = lock(&self.0);
        let at = marks.partition_point(|mark| mark.1 <= position);
        let far = |mark: Option<&(Offset, u64)>| mark.is_none_or(|mark| mark.1.abs_diff(position) >= MARK_BYTES / 2);
        if far(at.checked_sub(1).and_then(|before| marks.get(before))) && far(marks.get(at)) {
            marks.insert(at, (offset, position));
        }
    }

    /// Where the last marked record at or before `offset` begins.
    fn before(&self, offset: Offset) -> Option<u64> {
        let marks = lock(&self.0);
        let at = marks.partition_point(|mark| mark.0 <= offset);
        at.checked_sub(1).and_then(|before| marks.get(before)).map(|mark| mark.1)
    }
}

impl Header {
    pub(super) fn encode(&self) -> [u8; FIELDS_BYTES] {
        let mut out = [0; FIELDS_BYTES];
        out[..8].copy_from_slice(MAGIC);
        out[8..12].copy_from_slice(&VERSION.to_le_bytes());
        out[12..16].copy_from_slice(&self.salt.to_le_bytes());
        out[16..24].copy_from_slice(&self.first.to_le_bytes());
        out[24..32].copy_from_slice(&self.previous.to_le_bytes());
        out[32..40].copy_from_slice(&self.created_ms.to_le_bytes());
        let crc = crc32c::crc32c(&out[..40]);
        out[40..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// The header, or what is wrong with it and at which byte.
    pub(super) fn decode(bytes: &[u8; FIELDS_BYTES]) -> Result<Self, (u64, &'static str)> {
        let u32_at = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        if &bytes[..8] != MAGIC {
            return Err((0, "not the header of a segment"));
        }
        if crc32c::crc32c(&bytes[..40]) != u32_at(40) {
            return Err((40, "a header with a wrong checksum"));
        }
        if u32_at(8) != VERSION {
            return Err((8, "a segment of another version of this program"));
        }
        Ok(Self { salt: u32_at(12), first: u64_at(16), previous: u64_at(24), created_ms: u64_at(32) })
    }
}

impl Segment {
    pub(super) fn new(header: Header, path: PathBuf, file: File) -> Self {
        Self { header, path, file, marks: Marks::default() }
    }

    /// Remembers that the record `offset` begins at `position`.
    pub(super) fn mark(&self, offset: Offset, position: u64) {
        self.marks.add(offset, position);
    }

    /// Where to begin to read for the record `offset`.
    pub(super) fn position_before(&self, offset: Offset) -> u64 {
        self.marks.before(offset).unwrap_or(HEADER_BYTES)
    }

    /// Opens a segment and checks header and name.
    pub(super) fn open(path: PathBuf, first: Offset) -> Result<Self, LogError> {
        let file = open_rw(&path).map_err(LogError::io("open", &path))?;
        let mut bytes = [0; FIELDS_BYTES];
        let header = match file.read_exact_at(&mut bytes, 0) {
            Ok(()) => Header::decode(&bytes),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err((0, "a file without a whole header")),
            Err(error) => return Err(LogError::io("read", &path)(error)),
        };
        let header = header.and_then(|header| {
            if header.first == first { Ok(header) } else { Err((16, "a first offset that is not the one in the name")) }
        });
        match header {
            Ok(header) => Ok(Self::new(header, path, file)),
            Err((position, found)) => {
                let advice = "Restore this file from a backup; without it, move it and all later segments away to \
                              give up everything from this offset on"
                    .to_owned();
                Err(LogError::Damaged { segment: path, position, expected: first, found: found.to_owned(), advice })
            }
        }
    }

    pub(super) fn first(&self) -> Offset {
        self.header.first
    }

    /// Bytes of the file, 0 if it can't be told.
    pub(super) fn file_bytes(&self) -> u64 {
        self.file.metadata().map_or(0, |metadata| metadata.len())
    }

    /// The whole file.
    pub(super) fn read_all(&self) -> Result<Vec<u8>, LogError> {
        let mut bytes = Vec::with_capacity(self.file_bytes() as usize);
        let mut file = File::open(&self.path).map_err(LogError::io("open", &self.path))?;
        file.read_to_end(&mut bytes).map_err(LogError::io("read", &self.path))?;
        Ok(bytes)
    }
}

pub(super) fn open_rw(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}

/// Name of the segment that starts with `first`; names sort like offsets.
pub(super) fn segment_path(dir: &Path, first: Offset) -> PathBuf {
    dir.join(format!("{first:020}.log"))
}

/// First offsets of the segments in `dir`, ascending.
pub(super) fn list(dir: &Path) -> Result<Vec<Offset>, LogError> {
    let mut firsts = Vec::new();
    for entry in fs::read_dir(dir).map_err(LogError::io("list", dir))? {
        let name = entry.map_err(LogError::io("list", dir))?.file_name();
        let first = name.to_str().and_then(|name| name.strip_suffix(".log")).filter(|stem| stem.len() == 20);
        firsts.extend(first.and_then(|stem| stem.parse::<Offset>().ok()));
    }
    firsts.sort_unstable();
    Ok(firsts)
}

/// Makes creations, renames and deletions in `dir` durable.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_round_trip_and_every_flipped_bit_is_seen() {
        let header = Header { salt: 0xdead_beef, first: 77, previous: 12, created_ms: 1 << 41 };
        let bytes = header.encode();
        assert_eq!(Header::decode(&bytes), Ok(header));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Header::decode(&flipped).is_err(), "bit {bit}");
        }
    }
}
