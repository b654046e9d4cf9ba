use bytes::Bytes;

use super::*;
use crate::event::Position;
use crate::storage::OutboxEntry;

fn entry(cid: u64, body: &str) -> OutboxEntry {
    OutboxEntry { cid, kind: 1, conv: 7, quiet: false, sent_ms: 0, body: Bytes::copy_from_slice(body.as_bytes()) }
}

fn records() -> Vec<Record> {
    vec![
        Record::Queued(entry(1, "one")),
        Record::Queued(entry(2, "two")),
        Record::Sent { cid: 1, at_ms: 99 },
        Record::Cursor(Position { epoch: 5, pos: 6 }),
        Record::Done { cid: 1 },
    ]
}

fn path() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("client");
    (folder, path)
}

fn load(path: &Path) -> io::Result<Stored> {
    FileStorage::new(path).load()
}

#[test]
fn what_was_saved_is_there_again() {
    let (_folder, path) = path();
    let mut storage = FileStorage::new(&path);
    assert_eq!(storage.load().unwrap(), Stored::default());
    storage.save(&records()).unwrap();
    drop(storage);
    let expected = Stored { cursor: Position { epoch: 5, pos: 6 }, outbox: vec![entry(2, "two")] };
    assert_eq!(load(&path).unwrap(), expected);
    assert_eq!(load(&path).unwrap(), expected);
}

#[test]
fn the_form_never_changes() {
    let mut bytes = Vec::new();
    record::put(&mut bytes, &Record::Done { cid: 0x0102_0304_0506_0708 });
    record::put(&mut bytes, &Record::Queued(OutboxEntry { quiet: true, ..entry(3, "x") }));
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, GOLDEN);
}

const GOLDEN: &str = "0000000930d5900baf8b079b0401020304050607080000001de711c07b69271b44\
                      0200000000000000030000000000000007000000000000000000010178";

/// Cut at each byte: some first records are there, whole, and no cut is an error.
#[test]
fn a_torn_tail_is_cut_off_wherever_it_is() {
    let (_folder, path) = path();
    let mut storage = FileStorage::new(&path);
    storage.load().unwrap();
    let made_bytes = fs::metadata(&path).unwrap().len();
    storage.save(&records()).unwrap();
    drop(storage);
    let whole = fs::read(&path).unwrap();
    let mut prefixes = vec![Stored::default()];
    for record in records() {
        let mut next = prefixes.last().unwrap().clone();
        next.apply(&record);
        prefixes.push(next);
    }
    let mut seen = 0;
    for cut in usize::try_from(made_bytes).unwrap()..=whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        let stored = load(&path).unwrap();
        let at = prefixes.iter().position(|prefix| *prefix == stored).unwrap_or_else(|| panic!("cut at {cut}: {stored:?}"));
        assert!(at >= seen, "cut at {cut}");
        seen = at;
        let mut storage = FileStorage::new(&path);
        storage.load().unwrap();
        storage.save(&[Record::Done { cid: 1 }, Record::Done { cid: 2 }]).unwrap();
        drop(storage);
        assert!(load(&path).unwrap().outbox.is_empty(), "after a cut at {cut} it goes on");
    }
    assert_eq!(seen, prefixes.len() - 1);
}

#[test]
fn damage_is_told() {
    let (_folder, path) = path();
    let mut storage = FileStorage::new(&path);
    storage.load().unwrap();
    storage.save(&records()).unwrap();
    drop(storage);
    let whole = fs::read(&path).unwrap();
    let last = 12 + 9; // the last record may be torn
    for at in 0..whole.len() - last {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        fs::write(&path, &bytes).unwrap();
        assert_eq!(load(&path).unwrap_err().kind(), io::ErrorKind::InvalidData, "flipped at {at}");
    }
}

#[test]
fn a_file_belongs_to_one() {
    let (_folder, path) = path();
    let mut first = FileStorage::new(&path);
    first.load().unwrap();
    assert_eq!(load(&path).unwrap_err().kind(), io::ErrorKind::ResourceBusy);
    drop(first);
    load(&path).unwrap();
}

#[test]
fn it_is_rewritten_before_it_grows_without_end() {
    let (_folder, path) = path();
    let mut storage = FileStorage::new(&path);
    storage.load().unwrap();
    let body = "x".repeat(64 * 1024);
    storage.save(&[Record::Queued(entry(1, "stays"))]).unwrap();
    for cid in 2..40 {
        storage.save(&[Record::Queued(entry(cid, &body)), Record::Done { cid }]).unwrap();
    }
    assert!(fs::metadata(&path).unwrap().len() < 2 * REWRITE_BYTES_MIN);
    drop(storage);
    assert_eq!(load(&path).unwrap().outbox, [entry(1, "stays")]);
}

#[test]
fn no_folder_is_an_error_and_no_panic() {
    let (folder, _) = path();
    assert!(load(&folder.path().join("nowhere/client")).is_err());
    assert!(FileStorage::new(folder.path().join("client")).save(&[]).is_err(), "before load");
}
