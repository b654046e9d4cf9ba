//! What holds for all bytes, all frames, all lists and all AUTH bodies.
#![allow(clippy::unwrap_used)] // helpers of tests

mod support;

use std::collections::BTreeSet;

use perseid_protocol::auth::AuthRequest;
use perseid_protocol::frame::{self, Extension, Header};
use perseid_protocol::limits;
use perseid_protocol::operations::{OperationSet, parse_list};
use perseid_protocol::room::RoomId;
use perseid_protocol::{SessionKey, operation};
use proptest::prelude::*;
use serde_json::{Value, json};

fn any_extension() -> impl Strategy<Value = Extension> {
    (any::<[u64; 6]>(), any::<u16>(), any::<u16>()).prop_map(|([id, pos, conv, conv_pos, from, cid], kind, flags)| Extension {
        id,
        pos,
        conv,
        conv_pos,
        from,
        cid,
        kind,
        flags,
    })
}

fn any_header() -> impl Strategy<Value = Header> {
    (any::<u16>(), any::<i32>(), any::<i32>(), any_extension()).prop_map(|(ver, op, seq, ext)| Header { ver, op, seq, ext })
}

fn any_body() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..200)
}

/// Bytes that are often nearly a frame.
fn nearly_frame() -> impl Strategy<Value = Vec<u8>> {
    let lens = prop::sample::select(vec![0u16, 15, 16, 17, 71, 72, 80, 256, 257, 0xffff]);
    (0i32..400, lens, prop::collection::vec(any::<u8>(), 0..400)).prop_map(|(package_len, header_len, rest)| {
        let mut input = package_len.to_be_bytes().to_vec();
        input.extend_from_slice(&header_len.to_be_bytes());
        input.extend_from_slice(&rest);
        input
    })
}

proptest! {
    #[test]
    fn encoded_and_decoded_is_the_same(header in any_header(), body in any_body(), extended: bool) {
        let bytes = support::encode(&header, &body, extended);
        let frame = frame::decode(&bytes, body.len()).unwrap().unwrap();
        let wanted = if extended { header } else { Header { ext: Extension::default(), ..header } };
        prop_assert_eq!(frame.header, wanted);
        prop_assert_eq!(frame.body, body.as_slice());
        prop_assert_eq!(frame.len, bytes.len());
        prop_assert_eq!(support::encode(&frame.header, frame.body, extended), bytes);
    }

    #[test]
    fn decoding_never_panics_nor_claims_more_than_there_is(
        input in prop_oneof![nearly_frame(), any_body()],
        limit in prop_oneof![Just(0), 0usize..300, Just(usize::MAX)],
    ) {
        match frame::decode(&input, limit) {
            Ok(Some(frame)) => {
                prop_assert!(frame.len <= input.len() && frame.len >= 16);
                prop_assert!(frame.body.len() <= limit);
                prop_assert_eq!(frame.body, &input[frame.len - frame.body.len()..frame.len]);
            }
            // Waiting is allowed only for bytes that the limit allows.
            Ok(None) if input.len() >= 6 => {
                let package_len = usize::try_from(i32::from_be_bytes(input[..4].try_into().unwrap())).unwrap();
                prop_assert!(input.len() < package_len && package_len <= limit.saturating_add(256));
            }
            Ok(None) => {}
            Err(_) => prop_assert!(input.len() >= 6),
        }
    }

    #[test]
    fn a_stream_in_any_chunks_is_the_same_frames(
        frames in prop::collection::vec((any_header(), any_body(), any::<bool>()), 0..8),
        chunks in prop::collection::vec(1usize..64, 1..40),
    ) {
        let mut stream = Vec::new();
        let mut wanted = Vec::new();
        for (header, body, extended) in &frames {
            stream.extend(support::encode(header, body, *extended));
            wanted.push((if *extended { *header } else { Header { ext: Extension::default(), ..*header } }, body.clone()));
        }
        let (mut buffer, mut got, mut at) = (Vec::new(), Vec::new(), 0);
        for chunk in chunks.iter().cycle() {
            let end = (at + chunk).min(stream.len());
            buffer.extend_from_slice(&stream[at..end]);
            at = end;
            while let Some(frame) = frame::decode(&buffer, 200).unwrap() {
                got.push((frame.header, frame.body.to_vec()));
                let len = frame.len;
                buffer.drain(..len);
            }
            if at == stream.len() {
                break;
            }
        }
        prop_assert_eq!(got, wanted);
        prop_assert!(buffer.is_empty());
    }

    #[test]
    fn a_grown_header_is_skipped(header in any_header(), body in any_body(), extra in prop::collection::vec(any::<u8>(), 0..=184)) {
        let mut bytes = support::encode(&header, &[], true);
        bytes.extend_from_slice(&extra);
        let header_len = u16::try_from(bytes.len()).unwrap();
        bytes.extend_from_slice(&body);
        let package_len = i32::try_from(bytes.len()).unwrap();
        bytes[..4].copy_from_slice(&package_len.to_be_bytes());
        bytes[4..6].copy_from_slice(&header_len.to_be_bytes());
        let frame = frame::decode(&bytes, body.len()).unwrap().unwrap();
        prop_assert_eq!((frame.header, frame.body), (header, body.as_slice()));
    }

    #[test]
    fn operation_sets_are_sets(
        start in prop::collection::vec(-9i32..9, 0..20),
        steps in prop::collection::vec((any::<bool>(), prop::collection::vec(-9i32..9, 0..9)), 0..9),
        count_max in 0usize..20,
    ) {
        let mut model: BTreeSet<i32> = start.iter().copied().collect();
        let set = OperationSet::from_list(&start, count_max);
        prop_assert_eq!(set.is_some(), model.len() <= count_max);
        let Some(mut set) = set else { return Ok(()) };
        for (add, list) in steps {
            if add {
                let mut grown = model.clone();
                grown.extend(&list);
                match set.with(&list, count_max) {
                    Some(with) => {
                        prop_assert!(grown.len() <= count_max);
                        (set, model) = (with, grown);
                    }
                    None => prop_assert!(grown.len() > count_max),
                }
            } else {
                set = set.without(&list);
                model.retain(|operation| !list.contains(operation));
            }
            prop_assert_eq!(set.as_slice(), model.iter().copied().collect::<Vec<_>>());
            for operation in -10..10 {
                prop_assert_eq!(set.contains(operation), model.contains(&operation));
            }
        }
    }

    #[test]
    fn lists_as_a_grammar_reads_them(text in "([+-]?[0-9]{0,11}|[ a,.]){0,3}(,[+-]?[0-9]{1,11}){0,5}", count_max in 0usize..7) {
        prop_assert_eq!(parse_list(text.as_bytes(), count_max), list_model(&text, count_max));
    }

    #[test]
    fn lists_written_are_read(list in prop::collection::vec(any::<i32>(), 1..50)) {
        let text = list.iter().map(i32::to_string).collect::<Vec<_>>().join(",");
        prop_assert_eq!(parse_list(text.as_bytes(), list.len()), Some(list.clone()));
        prop_assert_eq!(parse_list(text.as_bytes(), list.len() - 1), None);
    }

    #[test]
    fn lists_of_any_bytes_do_not_panic(body in any_body()) {
        let _ = parse_list(&body, 10);
    }

    #[test]
    fn auth_is_what_the_json_value_says(fields in prop::collection::vec((auth_name(), auth_value()), 0..12)) {
        let members: Vec<String> = fields.iter().map(|(name, value)| format!("{}:{value}", json!(name))).collect();
        let body = format!("{{{}}}", members.join(","));
        prop_assert_eq!(AuthRequest::parse(body.as_bytes()).ok(), auth_model(&fields), "{}", body);
    }

    #[test]
    fn auth_of_any_bytes_is_refused_or_an_object(body in prop_oneof![any_body(), "[\\[\\]{}\":,a-z0-9 ]{0,40}".prop_map(String::into_bytes)]) {
        let is_object = matches!(serde_json::from_slice(&body), Ok(Value::Object(_) | Value::Null));
        prop_assert!(is_object || AuthRequest::parse(&body).is_err());
    }

    #[test]
    fn keys_are_their_text(text in prop_oneof![".{0,40}", "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"], bits: [u8; 16]) {
        prop_assert_eq!(SessionKey::parse(&text).to_string(), text);
        let made = SessionKey::made(bits);
        prop_assert_eq!(SessionKey::parse(&made.to_string()), made);
        let any = SessionKey::Made(bits);
        prop_assert_eq!(SessionKey::parse(&any.to_string()), any);
    }

    #[test]
    fn a_room_id_has_two_parts(body in prop_oneof!["[a-z:/]{0,12}".prop_map(String::into_bytes), any_body()], bytes_max in 0usize..20) {
        if let Some(room) = RoomId::parse(&body, bytes_max) {
            prop_assert!(body.len() <= bytes_max && !room.kind().is_empty() && !room.id().is_empty());
            prop_assert_eq!(format!("{}://{}", room.kind(), room.id()).into_bytes(), body);
        }
    }

    #[test]
    fn every_operation_has_a_class_and_a_name(code: i32) {
        prop_assert!(!operation::name(code).is_empty());
        prop_assert_eq!(operation::lookup(code).is_some(), (0..33).contains(&code));
        prop_assert_eq!(operation::class(code) == operation::Class::Upstream, code >= 33);
    }
}

fn list_model(text: &str, count_max: usize) -> Option<Vec<i32>> {
    let parts: Vec<&str> = text.split(',').collect();
    if parts.len() > count_max {
        return None;
    }
    let mut list = Vec::new();
    for part in parts {
        let (sign, digits) = match part.as_bytes().first() {
            Some(b'-') => (-1i128, &part[1..]),
            Some(b'+') => (1, &part[1..]),
            _ => (1, part),
        };
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let value = digits.bytes().fold(0i128, |value, digit| value * 10 + i128::from(digit - b'0'));
        list.push(i32::try_from(sign * value).ok()?);
    }
    Some(list)
}

fn auth_name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "mid",
        "MID",
        "key",
        "Key",
        "room_id",
        "platform",
        "accepts",
        "token",
        "device_id",
        "pos",
        "epoch",
        "EPOCH",
        "roomid",
        "",
        "mid ",
    ])
}

fn auth_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => Just(Value::Null),
        4 => any::<i64>().prop_map(|value| json!(value)),
        4 => any::<u64>().prop_map(|value| json!(value)),
        4 => any::<u64>().prop_map(|value| json!(value.to_string())),
        6 => ".{0,20}".prop_map(|value| json!(value)),
        1 => "[a-z]{120,140}".prop_map(|value| json!(value)),
        1 => Just(json!(1.5)),
        1 => Just(json!(true)),
        1 => Just(json!({"a": [1]})),
        5 => prop::collection::vec(prop_oneof![9 => any::<i32>().prop_map(|value| json!(value)), 1 => Just(Value::Null), 1 => any::<i64>().prop_map(|value| json!(value))], 0..5).prop_map(Value::Array),
    ]
}

/// goim's rules, said with [`Value`]: the last one counts, null is zero, a wrong type anywhere refuses.
fn auth_model(fields: &[(&str, Value)]) -> Option<AuthRequest> {
    fn string(value: &Value) -> Option<String> {
        if value.is_null() { Some(String::new()) } else { value.as_str().map(str::to_owned) }
    }
    fn number(value: &Value) -> Option<u64> {
        match value {
            Value::Null => Some(0),
            Value::String(text) => text.parse().ok(),
            other => other.as_u64(),
        }
    }
    fn operation(value: &Value) -> Option<i32> {
        if value.is_null() { Some(0) } else { i32::try_from(value.as_i64()?).ok() }
    }
    let mut request = AuthRequest::default();
    for (name, value) in fields {
        match name.to_ascii_lowercase().as_str() {
            "mid" => request.mid = if value.is_null() { 0 } else { value.as_i64()? },
            "key" => request.key = string(value)?,
            "room_id" => request.room_id = string(value)?,
            "platform" => request.platform = string(value)?,
            "accepts" if value.is_null() => request.accepts = Vec::new(),
            "accepts" => request.accepts = value.as_array()?.iter().map(operation).collect::<Option<_>>()?,
            "token" => request.token = string(value)?,
            "device_id" => request.device_id = string(value)?,
            "pos" => request.pos = number(value)?,
            "epoch" => request.epoch = number(value)?,
            _ => {}
        }
    }
    let within = request.key.len() <= limits::SESSION_KEY_BYTES_MAX
        && request.room_id.len() <= limits::ROOM_ID_BYTES_MAX
        && request.platform.len() <= limits::NAME_BYTES_MAX
        && request.device_id.len() <= limits::NAME_BYTES_MAX;
    within.then_some(request)
}
