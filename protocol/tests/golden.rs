//! Bytes that may never change: the files of `vectors/`, in both directions.
#![allow(clippy::unwrap_used)] // helpers of tests

mod support;

use std::collections::BTreeSet;

use perseid_protocol::auth::AuthRequest;
use perseid_protocol::frame::{self, FrameError};
use perseid_protocol::push::{self, Push};
use perseid_protocol::refusal::InboxSpan;
use perseid_protocol::session::client::{Event, Session};
use perseid_protocol::session::server::put_refusal_at;
use perseid_protocol::{CloseReason, Extension, Header, Refusal, SessionKey, op, operation, operations, room};
use serde_json::{Value, json};
use support::{body, bytes, encode, frame_rows, header, int, long, rows, text, unhex};

#[test]
fn frames_decode_to_their_fields_and_encode_to_their_bytes() {
    for row in frame_rows() {
        let name = text(&row, "name");
        let input = bytes(&row, "hex");
        let frame = frame::decode(&input, usize::MAX).unwrap().unwrap();
        assert_eq!(frame.len, input.len(), "{name}");
        assert_eq!(frame.header, header(&row), "{name}");
        assert_eq!(frame.body, body(&row), "{name}");
        let header_len = usize::try_from(int(&row, "header_len")).unwrap();
        assert_eq!(frame.len - frame.body.len(), header_len, "{name}");
        let again = encode(&header(&row), &body(&row), header_len > frame::CLASSIC_HEADER_LEN);
        let decode_only = row.get("decode_only").is_some();
        assert_eq!(again != input, decode_only, "{name}");
    }
}

#[test]
fn every_reply_has_a_vector() {
    let seen: BTreeSet<i64> = frame_rows().iter().map(|row| int(row, "op")).collect();
    for row in operation::TABLE {
        if row.sender == operation::Sender::Server {
            assert!(seen.contains(&i64::from(row.code)), "{}", row.name);
        }
    }
}

#[test]
fn wrappers_hold_their_frames_and_clients_unpack_them() {
    for row in rows("raw.json") {
        let name = text(&row, "name");
        let inner = bytes(&row, "inner_hex");
        let mut out = Vec::new();
        push::put_raw_header(&mut out, inner.len());
        out.extend_from_slice(&inner);
        assert_eq!(out, bytes(&row, "hex"), "{name}");

        let wrapper = frame::decode(&out, usize::MAX).unwrap().unwrap();
        assert_eq!(wrapper.header, Header { ver: 1, op: op::RAW, ..Header::default() }, "{name}");
        let mut seen = Vec::new();
        Session::new(false)
            .handle_frame(&wrapper, 0, &mut |event| match event {
                Event::Push { header, body } => seen.push((header, body.to_vec())),
                other => panic!("{name}: {other:?}"),
            })
            .unwrap();
        let wanted: Vec<_> = row["frames"].as_array().unwrap().iter().map(|frame| (header(frame), body(frame))).collect();
        assert_eq!(seen, wanted, "{name}");
    }
}

#[test]
fn pushes_as_each_session_gets_them() {
    for row in rows("push.json") {
        let name = text(&row, "name");
        let mut push = Push {
            id: long(&row, "id"),
            op: i32::try_from(int(&row, "op")).unwrap(),
            from: long(&row, "from"),
            body: body(&row).into(),
            ..Push::default()
        };
        if let Some(room) = row["room"].as_str() {
            push = push::room_push(room, push);
        }
        assert_eq!((i64::from(push.kind), push.conv), (int(&row, "kind"), long(&row, "conv")), "{name}");
        let (mut classic, mut extended, mut message) = (Vec::new(), Vec::new(), Vec::new());
        push.put_frame(&mut classic, false);
        push.put_frame(&mut extended, true);
        push::put_raw_header(&mut message, push.frame_len(false));
        push.put_frame(&mut message, false);
        assert_eq!(classic, bytes(&row, "classic_tcp_hex"), "{name}");
        assert_eq!(message, bytes(&row, "classic_ws_hex"), "{name}");
        assert_eq!(extended, bytes(&row, "extended_hex"), "{name}");
        assert_eq!((classic.len(), extended.len()), (push.frame_len(false), push.frame_len(true)), "{name}");
    }
}

#[test]
fn what_is_no_frame_is_refused_with_its_code() {
    for row in rows("invalid.json") {
        let name = text(&row, "name");
        let limit = usize::try_from(int(&row, "limit")).unwrap();
        let input = bytes(&row, "hex");
        for cut in 6..=input.len() {
            let error = frame::decode(&input[..cut], limit).unwrap_err();
            let word = match error {
                FrameError::HeaderLen(_) => "header_len",
                FrameError::PackageLen { .. } => "package_len",
                FrameError::TooLarge { .. } => "too_large",
                FrameError::Cut { .. } => "cut",
            };
            assert_eq!(word, text(&row, "error"), "{name}");
            let reason = CloseReason::from(error);
            assert_eq!((i64::from(reason.code()), reason.word()), (int(&row, "code"), text(&row, "reason")), "{name}");
        }
        assert_eq!(frame::decode(&input[..5], limit), Ok(None), "{name}: five bytes say nothing");
    }
}

#[test]
fn auth_bodies() {
    for row in rows("auth.json") {
        let name = text(&row, "name");
        let parsed = AuthRequest::parse(text(&row, "body_text").as_bytes());
        if row.get("error").is_some() {
            assert!(parsed.is_err(), "{name}: {parsed:?}");
            continue;
        }
        let wanted = AuthRequest {
            mid: text(&row, "mid").parse().unwrap(),
            key: text(&row, "key").into(),
            room_id: text(&row, "room_id").into(),
            platform: text(&row, "platform").into(),
            accepts: serde_json::from_value(row["accepts"].clone()).unwrap(),
            token: text(&row, "token").into(),
            device_id: text(&row, "device_id").into(),
            pos: long(&row, "pos"),
            epoch: long(&row, "epoch"),
        };
        assert_eq!(parsed.as_ref(), Ok(&wanted), "{name}");
        let written = serde_json::to_vec(&wanted).unwrap();
        assert_eq!(AuthRequest::parse(&written), Ok(wanted), "{name}: what we write we read");
    }
}

#[test]
fn lists_of_operations() {
    for row in rows("operations.json") {
        let wanted: Option<Vec<i32>> = serde_json::from_value(row["list"].clone()).unwrap();
        assert_eq!(operations::parse_list(text(&row, "body_text").as_bytes(), 1000), wanted, "{}", text(&row, "name"));
    }
}

#[test]
fn farewells_are_complete_and_say_so() {
    let rows = rows("disconnect.json");
    assert_eq!(rows.len(), CloseReason::ALL.len());
    for row in rows {
        let reason = CloseReason::from_code(u16::try_from(int(&row, "code")).unwrap()).unwrap();
        assert_eq!(reason.word(), text(&row, "reason"));
        assert_eq!(json!(reason.comes_back()), row["comes_back"], "{reason:?}");
        let body: Value = serde_json::from_str(&reason.json(Some("m"), Some(5000))).unwrap();
        assert_eq!(body, row["json"], "{reason:?}");
        assert!(!reason.advice().is_empty());
    }
}

#[test]
fn refusals() {
    use Refusal::*;
    let all = [
        BadRequest,
        PermissionDenied,
        NotMember,
        Conflict,
        TooOld,
        EpochChanged,
        Blocked,
        RateLimited,
        Unsupported,
        Unavailable,
        Unknown,
    ];
    let rows = rows("error.json");
    assert_eq!(rows.len(), all.len());
    for (row, refusal) in rows.iter().zip(all) {
        let body: Value = serde_json::from_str(&refusal.json("m", None, None)).unwrap();
        assert_eq!(body, row["json"], "{refusal:?}");
        let later: Value = serde_json::from_str(&refusal.json("m", Some(7), None)).unwrap();
        assert_eq!(later["retry_after_ms"], 7);
    }
}

/// Keys in the order of the alphabet: what a client may compare as text.
#[test]
fn an_error_that_says_where_to_start_anew() {
    let request = Header {
        ver: 2,
        op: op::SYNC,
        seq: -2,
        ext: Extension { id: 1, pos: 2, conv: 3, conv_pos: 4, from: 5, cid: 6, kind: 2, flags: 255 },
    };
    let span = InboxSpan { epoch: 1_700_000_000_000, floor: 4, head: (1 << 53) - 1 };
    let mut out = Vec::new();
    put_refusal_at(&mut out, &request, Refusal::TooOld, "m", Some(7), Some(span));
    let body = concat!(
        r#"{"code":410,"detail":{"epoch":1700000000000,"floor":4,"head":9007199254740991},"#,
        r#""message":"m","reason":"TOO_OLD","retry_after_ms":7}"#
    );
    let header = concat!(
        "000000cb",
        "0048",
        "0002",
        "00000020",
        "fffffffe",
        "0000000000000000",
        "0000000000000000",
        "0000000000000003",
        "0000000000000004",
        "0000000000000000",
        "0000000000000006",
        "0002",
        "0000",
        "00000000"
    );
    assert_eq!(out, [unhex(header).as_slice(), body.as_bytes()].concat());
}

#[test]
fn session_keys() {
    for row in rows("keys.json") {
        let name = text(&row, "name");
        let key = SessionKey::parse(text(&row, "text"));
        assert_eq!(key.to_string(), text(&row, "text"), "{name}");
        if let Some(random) = row["random_hex"].as_str() {
            assert_eq!(SessionKey::made(unhex(random).try_into().unwrap()), key, "{name}");
        } else if let Some(bits) = row["bits_hex"].as_str() {
            assert_eq!(key, SessionKey::Made(unhex(bits).try_into().unwrap()), "{name}");
        } else {
            assert!(matches!(key, SessionKey::Named(_)), "{name}");
        }
    }
}

#[test]
fn room_hashes() {
    for row in rows("rooms.json") {
        assert_eq!(room::room_hash(text(&row, "room")), long(&row, "conv"));
        assert_eq!(format!("{:016x}", long(&row, "conv")), text(&row, "conv_hex"));
    }
}
