//! RFC 6455 over real sockets, against the echo mode: the cases of the public conformance suite that matter most, each sent
//! whole and a byte at a time.

#![allow(clippy::unwrap_used)]

mod support;

use std::io::Read;
use std::time::Duration;

use perseid_comet::Config;
use perseid_comet::net::websocket::Opcode;
use perseid_comet::net::websocket::encode::put_frame;
use support::client::{UPGRADE, ws_frame};
use support::*;

const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;
/// First fragments, a middle one, the last.
const TEXT_FIRST: u8 = 0x01;
const BINARY_FIRST: u8 = 0x02;
const MIDDLE: u8 = 0x00;
const LAST: u8 = 0x80;

/// A case: what the client sends, what comes back, and the close code at the end (`None`: ours, 1000, comes back).
struct Case {
    name: String,
    sends: Vec<u8>,
    back: Vec<u8>,
    close: Option<u16>,
}

fn case(name: &str, sends: &[(u8, &[u8])], back: &[(Opcode, &[u8])], close: Option<u16>) -> Case {
    let mut bytes = Vec::new();
    back.iter().for_each(|(opcode, payload)| put_frame(&mut bytes, *opcode, payload));
    Case {
        name: name.into(),
        sends: sends.iter().flat_map(|(first, payload)| ws_frame(*first, payload)).collect(),
        back: bytes,
        close,
    }
}

fn framing() -> Vec<Case> {
    let mut cases = Vec::new();
    for len in [0, 1, 124, 125, 126, 127, 128, 65_535, 65_536, 70_000] {
        let payload = vec![b'*'; len];
        cases.push(case(&format!("text of {len}"), &[(TEXT, &payload)], &[(Opcode::Text, &payload)], None));
        let payload: Vec<u8> = (0..len).map(|at| at as u8).collect();
        cases.push(case(&format!("binary of {len}"), &[(BINARY, &payload)], &[(Opcode::Binary, &payload)], None));
    }
    for first in [0xc1, 0xa1, 0x91, 0xf2, 0xc9, 0xd8] {
        cases.push(case(
            &format!("reserved bits {first:#x}"),
            &[(TEXT, b"ok"), (first, b"")],
            &[(Opcode::Text, b"ok")],
            Some(1002),
        ));
    }
    for opcode in (3..=7).chain(11..=15) {
        let sends: [(u8, &[u8]); 3] = [(TEXT, b"before"), (0x80 | opcode, b"x"), (PING, b"after")];
        cases.push(case(&format!("opcode {opcode}"), &sends, &[(Opcode::Text, b"before")], Some(1002)));
    }
    let mut unmasked = case("unmasked", &[(TEXT, b"")], &[], Some(1002));
    unmasked.sends[1] &= 0x7f;
    cases.push(unmasked);
    let mut long = case("a length not in its shortest form", &[], &[], Some(1002));
    long.sends = [&[TEXT, 0x80 | 126, 0, 5][..], &[0; 9]].concat();
    cases.push(long);
    cases
}

fn control() -> Vec<Case> {
    let full = [0xfe; 125];
    let mut cases = vec![
        case("ping", &[(PING, b"")], &[(Opcode::Pong, b"")], None),
        case("full ping", &[(PING, &full)], &[(Opcode::Pong, &full)], None),
        case("long ping", &[(PING, &[0; 126])], &[], Some(1002)),
        case("pong", &[(PONG, b"nobody asked"), (PING, b"x")], &[(Opcode::Pong, b"x")], None),
        case("fragmented ping", &[(0x09, b"a"), (LAST, b"b")], &[], Some(1002)),
        case("nothing after a close", &[(CLOSE, &1000_u16.to_be_bytes()), (TEXT, b"late"), (PING, b"late")], &[], Some(1000)),
    ];
    let ten: Vec<[u8; 1]> = (0..10).map(|nth| [nth]).collect();
    let pings: Vec<(u8, &[u8])> = ten.iter().map(|payload| (PING, &payload[..])).collect();
    let pongs: Vec<(Opcode, &[u8])> = ten.iter().map(|payload| (Opcode::Pong, &payload[..])).collect();
    cases.push(case("ten pings", &pings, &pongs, None));
    for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999_u16] {
        let body = [&code.to_be_bytes()[..], b"reason"].concat();
        cases.push(case(&format!("close {code}"), &[(CLOSE, &body)], &[], Some(code)));
    }
    for code in [0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 5000, 65_535_u16] {
        cases.push(case(&format!("close {code}"), &[(CLOSE, &code.to_be_bytes())], &[], Some(1002)));
    }
    cases.push(case("close of one byte", &[(CLOSE, b"a")], &[], Some(1002)));
    cases.push(case("long close", &[(CLOSE, &[3; 126])], &[], Some(1002)));
    cases.push(case("close reason not UTF-8", &[(CLOSE, b"\x03\xe8\xce\xba\xed\xa0\x80")], &[], Some(1007)));
    cases
}

fn fragmentation() -> Vec<Case> {
    let two: [(u8, &[u8]); 2] = [(TEXT_FIRST, b"frag"), (LAST, b"ment")];
    let between: [(u8, &[u8]); 4] = [(TEXT_FIRST, b"frag"), (PING, b"p"), (MIDDLE, b""), (LAST, b"ment")];
    let binary: [(u8, &[u8]); 3] = [(BINARY_FIRST, b"\xff"), (MIDDLE, b"\xfe"), (LAST, b"\xfd")];
    vec![
        case("two fragments", &two, &[(Opcode::Text, b"fragment")], None),
        case("a ping between", &between, &[(Opcode::Pong, b"p"), (Opcode::Text, b"fragment")], None),
        case("binary fragments", &binary, &[(Opcode::Binary, b"\xff\xfe\xfd")], None),
        case("empty fragments", &[(TEXT_FIRST, b""), (MIDDLE, b""), (LAST, b"")], &[(Opcode::Text, b"")], None),
        case("continuation of nothing", &[(LAST, b"x")], &[], Some(1002)),
        case("continuation after the end", &[two[0], two[1], (LAST, b"x")], &[(Opcode::Text, b"fragment")], Some(1002)),
        case("text inside a message", &[(TEXT_FIRST, b"a"), (TEXT, b"b")], &[], Some(1002)),
        case("close inside a message", &[(TEXT_FIRST, b"a"), (CLOSE, b"\x03\xe8")], &[], Some(1000)),
    ]
}

fn utf8() -> Vec<Case> {
    let mut cases = Vec::new();
    for good in ["κόσμε", "Hello-µ@ßöäüàá-UTF-8!!", "\u{10ffff}", "\0", "\u{d7ff}\u{e000}\u{fffd}"] {
        let bytes = good.as_bytes();
        cases.push(case(&format!("text {good:?}"), &[(TEXT, bytes)], &[(Opcode::Text, bytes)], None));
        // Cut inside characters.
        let fragments: Vec<(u8, &[u8])> = std::iter::once((TEXT_FIRST, &b""[..]))
            .chain(bytes.chunks(1).map(|byte| (MIDDLE, byte)))
            .chain(std::iter::once((LAST, &b""[..])))
            .collect();
        cases.push(case(&format!("fragments of {good:?}"), &fragments, &[(Opcode::Text, bytes)], None));
    }
    let bad: [&[u8]; 9] = [
        b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",
        b"\xf4\x90\x80\x80",
        b"\xc0\xaf",
        b"\xe0\x80\xaf",
        b"\xf8\x88\x80\x80\x80",
        b"\xff",
        b"\x80",
        b"ends too early \xce",
        b"\xed\xbf\xbf",
    ];
    for bytes in bad {
        cases.push(case(&format!("text {bytes:x?}"), &[(TEXT, bytes)], &[], Some(1007)));
        cases.push(case(&format!("fragment {bytes:x?}"), &[(TEXT_FIRST, bytes), (LAST, b"")], &[], Some(1007)));
    }
    cases
}

fn echo(handshake_ms: u64) -> TestComet {
    let mut config = Config { echo: true, message_bytes_max: 64 << 20, fragments_max: u32::MAX, ..config() };
    config.limits.handshake_ms = handshake_ms;
    config.session_bytes_max = 256 << 20;
    TestComet::start(config)
}

/// What comes back until the server closes.
fn converse(test: &TestComet, sends: &[u8], piece: usize) -> Vec<u8> {
    let mut client = Client::connect(test.ws(), WS, None);
    for bytes in sends.chunks(piece) {
        if client.try_send_raw(bytes).is_err() {
            break; // it was closed in the middle: rightly or not, the answer says
        }
    }
    let mut back = Vec::new();
    client.stream.read_to_end(&mut back).unwrap();
    back
}

fn check(test: &TestComet, case: &Case) {
    let mut sends = case.sends.clone();
    if case.close.is_none() {
        sends.extend(ws_frame(CLOSE, &1000_u16.to_be_bytes()));
    }
    for piece in [usize::MAX, 1] {
        if piece == 1 && sends.len() > 70_000 {
            continue;
        }
        let back = converse(test, &sends, piece);
        let close = back.strip_prefix(&case.back[..]).unwrap_or_else(|| panic!("{}: {back:.60x?}", case.name));
        let [0x88, len, high, low, ..] = close else { panic!("{}: no close but {close:x?}", case.name) };
        assert_eq!(u16::from_be_bytes([*high, *low]), case.close.unwrap_or(1000), "{}", case.name);
        assert_eq!(close.len(), 2 + usize::from(*len), "{}: something after the close", case.name);
    }
}

#[test]
fn the_rules_of_framing() {
    let test = echo(8000);
    framing().iter().for_each(|case| check(&test, case));
    test.assert_empty();
}

#[test]
fn control_frames_and_closing() {
    let test = echo(8000);
    control().iter().for_each(|case| check(&test, case));
    // A close without a code is answered without one.
    assert_eq!(converse(&test, &ws_frame(CLOSE, b""), 1), [0x88, 0]);
    test.assert_empty();
}

#[test]
fn fragments_and_text() {
    let test = echo(8000);
    fragmentation().iter().chain(&utf8()).for_each(|case| check(&test, case));
    test.assert_empty();
}

#[test]
fn wrong_text_is_refused_as_soon_as_it_cannot_become_right() {
    let test = echo(8000);
    let mut client = Client::connect(test.ws(), WS, None);
    // The frame is not all there, the message even less.
    let frame = ws_frame(TEXT_FIRST, b"\xce\xba\xed\xa0 and what never comes");
    client.send_raw(&frame[..11]);
    assert_eq!(client.next(), Event::Close(1007, "text is not UTF-8".into()));
    drop(client);
    test.assert_empty();
}

#[test]
fn sixteen_megabytes_in_one_message_and_in_many_fragments() {
    let test = echo(8000);
    let payload: Vec<u8> = (0..16 << 20).map(|at: u32| (at % 251) as u8).collect();
    let whole = ws_frame(BINARY, &payload);
    let mut fragments = ws_frame(BINARY_FIRST, b"");
    payload.chunks(4096).for_each(|chunk| fragments.extend(ws_frame(MIDDLE, chunk)));
    fragments.extend(ws_frame(LAST, b""));
    for sends in [whole, fragments] {
        let mut client = Client::connect(test.ws(), WS, None);
        let mut sender = client.sender();
        let writer = std::thread::spawn(move || sender.send_raw(&sends));
        let mut back = vec![0; 10 + payload.len()];
        client.stream.read_exact(&mut back).unwrap();
        assert!(back[10..] == payload && back[0] == 0x82);
        writer.join().unwrap();
    }
    test.assert_empty();
}

#[test]
fn an_echo_outlives_the_handshake_deadline() {
    let test = echo(300);
    let mut client = Client::connect(test.ws(), WS, None);
    let mut never_upgraded = Client::connect(test.ws(), TCP, None);
    never_upgraded.send_raw(&UPGRADE[..20]);
    never_upgraded.until_end();
    std::thread::sleep(Duration::from_millis(500));
    client.send_raw(&ws_frame(TEXT, b"still there"));
    assert_eq!(client.next(), Event::Text("still there".into()));
    drop((client, never_upgraded));
    test.assert_empty();
}
