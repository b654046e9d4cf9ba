//! Reads the golden vectors.
#![allow(dead_code, clippy::unwrap_used)] // each test uses its part

use std::path::Path;

use perseid_protocol::frame::{self, Extension, Header};
use serde_json::Value;

/// The rows of `vectors/<file>`.
pub(crate) fn rows(file: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors").join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let rows: Vec<Value> = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}"));
    assert!(!rows.is_empty(), "{file} is empty");
    rows
}

pub(crate) fn text<'a>(row: &'a Value, field: &str) -> &'a str {
    row[field].as_str().unwrap_or_else(|| panic!("{field} is no text in {row}"))
}

/// A decimal string.
pub(crate) fn long(row: &Value, field: &str) -> u64 {
    text(row, field).parse().unwrap_or_else(|error| panic!("{field}: {error} in {row}"))
}

pub(crate) fn int(row: &Value, field: &str) -> i64 {
    row[field].as_i64().unwrap_or_else(|| panic!("{field} is no integer in {row}"))
}

pub(crate) fn unhex(hex: &str) -> Vec<u8> {
    assert!(hex.len().is_multiple_of(2), "odd hex");
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

pub(crate) fn bytes(row: &Value, field: &str) -> Vec<u8> {
    unhex(text(row, field))
}

pub(crate) fn body(row: &Value) -> Vec<u8> {
    match row.get("body_text") {
        Some(text) => text.as_str().unwrap().as_bytes().to_vec(),
        None => bytes(row, "body_hex"),
    }
}

/// The header that a row describes; the extended fields are 0 where it has none.
pub(crate) fn header(row: &Value) -> Header {
    let ext = if row.get("id").is_some() {
        Extension {
            id: long(row, "id"),
            pos: long(row, "pos"),
            conv: long(row, "conv"),
            conv_pos: long(row, "conv_pos"),
            from: long(row, "from"),
            cid: long(row, "cid"),
            kind: u16::try_from(int(row, "kind")).unwrap(),
            flags: u16::try_from(int(row, "flags")).unwrap(),
        }
    } else {
        Extension::default()
    };
    Header {
        ver: u16::try_from(int(row, "ver")).unwrap(),
        op: i32::try_from(int(row, "op")).unwrap(),
        seq: i32::try_from(int(row, "seq")).unwrap(),
        ext,
    }
}

/// Every row that is one frame.
pub(crate) fn frame_rows() -> Vec<Value> {
    ["classic.json", "goim.json", "extended.json"].into_iter().flat_map(rows).collect()
}

/// Every golden frame: its name and its bytes.
pub(crate) fn frames() -> Vec<(String, Vec<u8>)> {
    let mut all: Vec<_> = frame_rows().iter().map(|row| (text(row, "name").to_owned(), bytes(row, "hex"))).collect();
    all.extend(rows("raw.json").iter().map(|row| (format!("raw {}", text(row, "name")), bytes(row, "hex"))));
    all
}

/// A whole frame with either header.
pub(crate) fn encode(header: &Header, body: &[u8], extended: bool) -> Vec<u8> {
    let mut out = Vec::new();
    let put = if extended { frame::put_extended } else { frame::put_classic };
    put(&mut out, header, body);
    out
}
