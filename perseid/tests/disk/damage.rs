//! Bytes of the log that are not what was written.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::acknowledged::{ANN, Sent};
use crate::person::Person;
use crate::standing::metric;
use crate::support::server::{Stopped, run};
use crate::support::{Server, Transport};

const HEADER_BYTES: usize = 4096;

/// The files of the log, the oldest first.
fn segments(data: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(data.join("log")).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|ending| ending == "log")).collect();
    files.sort();
    files
}

/// Where the records of a file are: length (4 bytes, of what follows the checksum), checksum (4), the rest.
fn records(bytes: &[u8]) -> Vec<Range<usize>> {
    let (mut records, mut at) = (Vec::new(), HEADER_BYTES);
    while let Some(length) = bytes.get(at..at + 4).map(|four| u32::from_le_bytes(four.try_into().unwrap())).filter(|it| *it != 0)
    {
        let end = at + 8 + length as usize;
        records.push(at..end);
        at = end;
    }
    records
}

/// A server that was stopped after some messages, each written by itself.
fn stopped_after(messages: usize) -> (Sent, Stopped) {
    let server = Server::start(&["--set", "log.segment_bytes=4MiB"]);
    let mut sent = Sent::default();
    let mut ann = Person::enter(&server, Transport::Tcp, ANN);
    sent.send_all(&mut ann, messages);
    drop(ann);
    let (status, _, stopped) = server.terminate();
    assert_eq!(status, 0);
    (sent, stopped)
}

/// The start is refused, in one line that has the place and says what to do.
fn refused(data: &Path, file: &Path, position: usize) {
    let output = run(Server::command(data, &["--set".to_owned(), "log.segment_bytes=4MiB".to_owned()]));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(output.stdout.is_empty(), "it never served");
    let line = said.lines().find(|line| line.starts_with("perseid: ")).unwrap_or_else(|| panic!("{said}"));
    assert!(line.contains(&format!("{} is damaged at byte {position}, where offset ", file.display())), "{line}");
    assert!(line.contains("backup") && line.contains("acknowledged"), "{line}");
}

#[test]
fn damage_with_good_records_behind_it_stops_the_start_with_its_place() {
    let (sent, stopped) = stopped_after(6);
    let file = segments(&stopped.data()).pop().unwrap();
    let whole = fs::read(&file).unwrap();
    let all = records(&whole);
    assert!(all.len() >= 6, "{all:?}");
    for record in &all[1..4] {
        let mut bytes = whole.clone();
        bytes[(record.start + record.end) / 2] ^= 0x20;
        fs::write(&file, &bytes).unwrap();
        refused(&stopped.data(), &file, record.start);
        assert!(fs::read(&file).unwrap() == bytes, "nothing is repaired in silence");
    }
    fs::write(&file, &whole).unwrap();
    drop(sent.check(&stopped.restart()));
}

#[test]
fn damage_in_an_older_file_stops_the_start_with_its_place() {
    let (mut sent, stopped) = stopped_after(3);
    let server = stopped.restart();
    let mut http = server.http();
    let large = json!({ "to": { "mids": [8] }, "op": 1000, "body": "x".repeat(60 << 10) });
    while segments(&server.data()).len() < 3 {
        http.push(&large);
    }
    sent.send_all(&mut Person::enter(&server, Transport::Tcp, ANN), 3);
    drop(http);
    let (_, _, stopped) = server.terminate();
    let file = segments(&stopped.data()).remove(0);
    let whole = fs::read(&file).unwrap();
    let all = records(&whole);
    let record = &all[all.len() / 2];
    let mut bytes = whole.clone();
    bytes[record.end - 1] ^= 1;
    fs::write(&file, &bytes).unwrap();
    refused(&stopped.data(), &file, record.start);
    fs::write(&file, &whole).unwrap();
    drop(sent.check(&stopped.restart()));
}

#[test]
fn a_torn_tail_is_cut_and_the_start_goes_on() {
    let (mut sent, stopped) = stopped_after(4);
    let file = segments(&stopped.data()).pop().unwrap();
    let mut bytes = fs::read(&file).unwrap();
    let all = records(&bytes);
    let (first, tail) = (all[0].clone(), all.last().unwrap().end);
    // The beginning of a record that never came to its end.
    let torn = bytes[first.start..first.end - 5].to_vec();
    bytes[tail..tail + torn.len()].copy_from_slice(&torn);
    fs::write(&file, &bytes).unwrap();
    let server = stopped.restart();
    assert!(metric(&mut server.http(), "log_torn_bytes_total") > 0);
    assert!(server.stderr().contains("never acknowledged"), "{}", server.stderr());
    let [mut ann, bob] = sent.check(&server);
    sent.repeat(&mut ann);
    sent.send_all(&mut ann, 2);
    drop((ann, bob));
    drop(sent.check(&server));
}
