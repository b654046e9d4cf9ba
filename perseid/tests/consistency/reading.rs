//! What stands in the store, read by a client that was never there before.

use std::net::SocketAddr;

use serde_json::json;

use super::device::{MORE, PULL, SYNC};
use super::history::Row;
use super::wire::{Wire, row};
use crate::support::frame::{self, Extended, Frame};

/// The whole inbox of a user.
pub(crate) fn inbox(server: SocketAddr, mid: u64) -> Vec<Row> {
    let mut wire = enter(server, mid);
    let mut rows: Vec<Row> = Vec::new();
    loop {
        let pos = rows.last().map_or(0, |row| row.pos);
        let reply = page(&mut wire, SYNC, &Extended { pos, ..Extended::default() });
        rows.extend(frame::all(&reply.body).iter().map(row));
        if reply.extended.unwrap().flags & MORE == 0 {
            return rows;
        }
    }
}

/// A whole timeline, as a user reads it.
pub(crate) fn timeline(server: SocketAddr, mid: u64, kind: u16, conv: u64) -> Vec<Row> {
    let mut wire = enter(server, mid);
    let mut rows: Vec<Row> = Vec::new();
    loop {
        let conv_pos = rows.last().map_or(0, |row| row.conv_pos);
        let reply = page(&mut wire, PULL, &Extended { kind, conv, conv_pos, ..Extended::default() });
        rows.extend(frame::all(&reply.body).iter().map(row));
        if reply.extended.unwrap().flags & MORE == 0 {
            return rows;
        }
    }
}

fn enter(server: SocketAddr, mid: u64) -> Wire {
    let mut wire = Wire::open(server).expect("a server");
    wire.auth(&json!({ "mid": mid, "platform": "reader", "device_id": "reader" })).expect("let in");
    wire
}

fn page(wire: &mut Wire, op: i32, ext: &Extended) -> Frame {
    let seq = wire.ask(op, ext, &200_u32.to_be_bytes()).expect("written");
    let reply = wire.answer(seq, |_| {}).expect("an answer");
    assert_ne!(reply.op, frame::ERROR, "{}", reply.text());
    reply
}
