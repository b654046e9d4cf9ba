use std::ops::ControlFlow;

use super::*;

const LIMITS: Limits = Limits { message_bytes_max: 1000, fragments_max: 4, text_allowed: true };
const NO_TEXT: Limits = Limits { text_allowed: false, ..LIMITS };
const MASK: [u8; 4] = [0xa1, 0x02, 0xf3, 0x44];

const FIN: u8 = 0x80;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// A masked frame of a client; `first` is its first byte.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        len @ 0..=125 => bytes.push(0x80 | len as u8),
        len @ 126..=0xffff => {
            bytes.push(0x80 | 126);
            bytes.extend((len as u16).to_be_bytes());
        }
        len => {
            bytes.push(0x80 | 127);
            bytes.extend((len as u64).to_be_bytes());
        }
    }
    bytes.extend(MASK);
    bytes.extend(payload.iter().enumerate().map(|(i, byte)| byte ^ MASK[i % 4]));
    bytes
}

/// A header alone that claims `len` bytes, in the 64-bit form.
fn claim(first: u8, len: u64) -> Vec<u8> {
    [&[first, 0x80 | 127][..], &len.to_be_bytes(), &MASK].concat()
}

fn show(message: Message<'_>) -> String {
    format!("{message:?}")
}

/// Feeds `pieces`, one after the other; what was handed out, and how it ended.
fn run(pieces: &[&[u8]], limits: &Limits) -> (Vec<String>, Result<(), Violation>) {
    let mut decoder = Decoder::new();
    let mut out = Vec::new();
    for piece in pieces {
        let mut input = piece.to_vec();
        let fed = decoder.feed(&mut input, limits, &mut |message| {
            out.push(show(message));
            ControlFlow::Continue(())
        });
        match fed {
            Ok(used) => assert_eq!(used, piece.len()),
            Err(violation) => {
                // What follows a violation is ignored.
                let more = decoder.feed(&mut frame(FIN | PING, b""), limits, &mut |_| panic!());
                assert_eq!(more, Ok(6));
                return (out, Err(violation));
            }
        }
    }
    (out, Ok(()))
}

fn code(result: Result<(), Violation>) -> Option<u16> {
    result.err().map(|violation| violation.close_code)
}

#[test]
fn an_idle_decoder_is_a_word() {
    assert!(size_of::<Decoder>() <= 8);
    // The constant that `buffered_bytes` promises, beside what control frames add.
    assert!(size_of::<Partial>() + 125 < 256);
}

#[test]
fn what_comes_out_is_what_went_in() {
    let long = vec![7; 300];
    let table: [(&[u8], Message<'_>); 9] = [
        (&frame(FIN | BINARY, b""), Message::Binary(b"")),
        (&frame(FIN | BINARY, b"abc"), Message::Binary(b"abc")),
        (&frame(FIN | BINARY, &long), Message::Binary(&long)),
        (&frame(FIN | TEXT, b""), Message::Text("")),
        (&frame(FIN | TEXT, "κόσμε".as_bytes()), Message::Text("κόσμε")),
        (&frame(FIN | PING, &[1; 125]), Message::Ping(&[1; 125])),
        (&frame(FIN | PONG, b""), Message::Pong(b"")),
        (&frame(FIN | CLOSE, b""), Message::Close { code: None, reason: "" }),
        (&frame(FIN | CLOSE, b"\x03\xe9bye"), Message::Close { code: Some(1001), reason: "bye" }),
    ];
    for (bytes, message) in table {
        let expected = vec![show(message)];
        assert_eq!(run(&[bytes], &LIMITS), (expected.clone(), Ok(())));
        for cut in 1..bytes.len() {
            let halves = [&bytes[..cut], &bytes[cut..]];
            assert_eq!(run(&halves, &LIMITS), (expected.clone(), Ok(())), "cut at {cut}");
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(run(&single, &LIMITS), (expected, Ok(())));
    }
}

#[test]
fn a_whole_message_is_neither_copied_nor_kept() {
    let mut input = [frame(FIN | BINARY, b"first"), frame(FIN | TEXT, b"second")].concat();
    let range = input.as_ptr_range();
    let mut decoder = Decoder::new();
    let mut seen = 0;
    let fed = decoder.feed(&mut input, &LIMITS, &mut |message| {
        let start = match message {
            Message::Binary(bytes) => bytes.as_ptr(),
            Message::Text(text) => text.as_ptr(),
            _ => panic!("{message:?}"),
        };
        assert!(range.contains(&start));
        seen += 1;
        ControlFlow::Continue(())
    });
    assert!(fed.is_ok());
    assert_eq!((seen, decoder.buffered_bytes()), (2, 0));
}

#[test]
fn fragments_make_one_message() {
    let bytes = [
        frame(BINARY, b"one "),
        frame(FIN | PING, b"in between"),
        frame(0, b""),
        frame(FIN | PONG, b""),
        frame(0, b"two "),
        frame(FIN, b"three"),
        frame(FIN | BINARY, b"next"),
    ]
    .concat();
    let expected: Vec<String> =
        [Message::Ping(b"in between"), Message::Pong(b""), Message::Binary(b"one two three"), Message::Binary(b"next")]
            .map(show)
            .into();
    for cut in 0..=bytes.len() {
        let halves = [&bytes[..cut], &bytes[cut..]];
        assert_eq!(run(&halves, &LIMITS), (expected.clone(), Ok(())), "cut at {cut}");
    }
}

#[test]
fn a_control_frame_does_not_wait_for_the_message_around_it() {
    let (out, ended) = run(&[&frame(BINARY, b"begun"), &frame(FIN | PING, b"now")], &LIMITS);
    assert_eq!((out, ended), (vec![show(Message::Ping(b"now"))], Ok(())));
    let close = frame(FIN | CLOSE, b"\x03\xe8");
    let (out, ended) = run(&[&frame(BINARY, b"begun"), &close, &frame(FIN, b"late")], &LIMITS);
    let expected = show(Message::Close { code: Some(1000), reason: "" });
    assert_eq!((out, ended), (vec![expected], Ok(())));
}

#[test]
fn violations() {
    let table: [(&str, u16, &[&[u8]]); 18] = [
        ("reserved bit", 1002, &[&frame(0xc2, b"")]),
        ("reserved data opcode", 1002, &[&frame(FIN | 3, b"")]),
        ("reserved control opcode", 1002, &[&frame(FIN | 11, b"")]),
        ("unmasked", 1002, &[b"\x82\x03abc"]),
        ("fragmented ping", 1002, &[&frame(PING, b"")]),
        ("long ping", 1002, &[&frame(FIN | PING, &[0; 126])]),
        ("continuation of nothing", 1002, &[&frame(0, b"a")]),
        ("last continuation of nothing", 1002, &[&frame(FIN, b"a")]),
        ("continuation after a whole message", 1002, &[&frame(FIN | BINARY, b"a"), &frame(FIN, b"b")]),
        ("continuation after a fragmented message", 1002, &[&frame(BINARY, b"a"), &frame(FIN, b"b"), &frame(FIN, b"c")]),
        ("binary in binary", 1002, &[&frame(BINARY, b"a"), &frame(FIN | BINARY, b"b")]),
        ("text in binary", 1002, &[&frame(BINARY, b"a"), &frame(TEXT, b"b")]),
        ("length of 64 bits", 1002, &[&claim(FIN | BINARY, 1 << 63)]),
        ("length not minimal", 1002, &[&claim(FIN | BINARY, 5), b"abcde"]),
        ("close of one byte", 1002, &[&frame(FIN | CLOSE, b"\x03")]),
        ("close with 1005", 1002, &[&frame(FIN | CLOSE, &1005_u16.to_be_bytes())]),
        ("reason not UTF-8", 1007, &[&frame(FIN | CLOSE, b"\x03\xe8\xff")]),
        ("text not UTF-8", 1007, &[&frame(FIN | TEXT, b"\xc0\x80")]),
    ];
    for (name, expected, pieces) in table {
        assert_eq!(code(run(pieces, &LIMITS).1), Some(expected), "{name}");
        // Bytes that come one at a time meet the same end.
        let bytes = pieces.concat();
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(code(run(&single, &LIMITS).1), Some(expected), "{name}, byte by byte");
        // What came before in the same read is handed out first.
        let behind = [&frame(FIN | PING, b"before")[..], &bytes].concat();
        let (out, ended) = run(&[&behind], &LIMITS);
        assert_eq!(out.first(), Some(&show(Message::Ping(b"before"))), "{name}");
        assert_eq!(code(ended), Some(expected), "{name}, behind a ping");
    }
}

#[test]
fn text_is_refused_by_its_header() {
    let header = &frame(FIN | TEXT, b"hello")[..6];
    assert_eq!(code(run(&[header], &NO_TEXT).1), Some(1003));
    assert_eq!(code(run(&[&frame(TEXT, b"")], &NO_TEXT).1), Some(1003));
    assert_eq!(code(run(&[header], &LIMITS).1), None);
    let binary = [frame(BINARY, b"\xff"), frame(FIN, b"\xfe")].concat();
    assert_eq!(run(&[&binary], &NO_TEXT), (vec![show(Message::Binary(b"\xff\xfe"))], Ok(())));
}

#[test]
fn size_is_judged_by_the_claim() {
    let limit = [9; 1000];
    assert_eq!(code(run(&[&frame(FIN | BINARY, &limit)], &LIMITS).1), None);
    let over = frame(FIN | BINARY, &[9; 1001]);
    assert_eq!(code(run(&[&over[..7]], &LIMITS).1), None);
    assert_eq!(code(run(&[&over[..8]], &LIMITS).1), Some(1009), "the header is enough");
    assert_eq!(code(run(&[&claim(FIN | BINARY, u64::MAX >> 1)], &LIMITS).1), Some(1009));

    // All fragments count together.
    let begun = frame(BINARY, &[9; 600]);
    let (out, ended) = run(&[&begun, &frame(FIN, &[9; 400])], &LIMITS);
    assert_eq!((out.len(), ended), (1, Ok(())));
    assert_eq!(code(run(&[&begun, &frame(FIN, &[9; 401])[..8]], &LIMITS).1), Some(1009));

    // A limit lowered in the middle refuses what comes next, without an underflow.
    let low = Limits { message_bytes_max: 10, ..LIMITS };
    let mut decoder = Decoder::new();
    let mut none = |_: Message<'_>| ControlFlow::Continue(());
    assert!(decoder.feed(&mut begun.clone(), &LIMITS, &mut none).is_ok());
    let fed = decoder.feed(&mut frame(FIN, b"x"), &low, &mut none);
    assert_eq!(fed.map_err(|violation| violation.close_code), Err(1009));
}

#[test]
fn fragments_are_counted_empty_ones_too() {
    let mut pieces = vec![frame(BINARY, b"")];
    pieces.extend(vec![frame(0, b""); 2]);
    pieces.push(frame(FIN, b""));
    let (out, ended) = run(&[&pieces.concat()], &LIMITS);
    assert_eq!((out, ended), (vec![show(Message::Binary(b""))], Ok(())));
    pieces.insert(1, frame(0, b""));
    let (out, ended) = run(&[&pieces.concat()], &LIMITS);
    assert_eq!((out.len(), code(ended)), (0, Some(1009)));
}

#[test]
fn broken_text_fails_at_the_byte_that_breaks_it() {
    // In pieces of one byte: no byte after the number given may be needed.
    let table: [(&[u8], usize); 6] = [
        (b"ab\x80cd", 3),
        (b"\xf4\x90\x80\x80", 2),
        (b"\xed\xa0\x80", 2),
        (b"\xc0\xaf", 1),
        (b"\xce\xba\xe1\xbd\xb9\xf4\x90\x80", 7),
        (b"\xe2\x28\xa1", 2),
    ];
    for (payload, needed) in table {
        let bytes = frame(TEXT, payload);
        for arrived in 1..=payload.len() {
            let pieces: Vec<&[u8]> = bytes[..6 + arrived].chunks(1).collect();
            let expected = (arrived >= needed).then_some(1007);
            assert_eq!(code(run(&pieces, &LIMITS).1), expected, "{payload:x?} up to {arrived}");
            let whole = &bytes[..6 + arrived];
            assert_eq!(code(run(&[whole], &LIMITS).1), expected, "{payload:x?} up to {arrived}");
        }
    }
}

#[test]
fn a_character_may_straddle_fragments_but_not_the_end() {
    let halves = [frame(TEXT, b"\xf0\x9f"), frame(FIN | PING, b""), frame(FIN, b"\x98\x80!")];
    let (out, ended) = run(&[&halves.concat()], &LIMITS);
    assert_eq!(out, [show(Message::Ping(b"")), show(Message::Text("😀!"))]);
    assert_eq!(ended, Ok(()));
    let cut = [frame(TEXT, b"a"), frame(FIN, b"\xf0\x9f\x98")];
    assert_eq!(code(run(&[&cut.concat()], &LIMITS).1), Some(1007));
    assert_eq!(code(run(&[&frame(FIN | TEXT, b"\xf0\x9f")], &LIMITS).1), Some(1007));
}

#[test]
fn nothing_follows_a_close() {
    let close = frame(FIN | CLOSE, b"");
    let bytes = [&close[..], &frame(FIN | PING, b"late"), b"\xff\xff garbage"].concat();
    let expected = vec![show(Message::Close { code: None, reason: "" })];
    for cut in 0..=bytes.len() {
        let halves = [&bytes[..cut], &bytes[cut..]];
        assert_eq!(run(&halves, &LIMITS), (expected.clone(), Ok(())), "cut at {cut}");
    }
}

#[test]
fn breaking_off_leaves_the_rest_untouched() {
    let tail = [frame(FIN | PING, b"c"), frame(FIN | BINARY, b"d")].concat();
    for head in [frame(FIN | BINARY, b"whole"), [frame(BINARY, b"who"), frame(FIN, b"le")].concat()] {
        let mut input = [head.clone(), tail.clone()].concat();
        let mut decoder = Decoder::new();
        let fed = decoder.feed(&mut input, &LIMITS, &mut |message| {
            assert_eq!(message, Message::Binary(b"whole"));
            ControlFlow::Break(())
        });
        assert_eq!(fed, Ok(head.len()));
        assert_eq!(input[head.len()..], tail);
        let mut out = Vec::new();
        let fed = decoder.feed(&mut input[head.len()..], &LIMITS, &mut |message| {
            out.push(show(message));
            ControlFlow::Continue(())
        });
        assert_eq!(fed, Ok(tail.len()));
        assert_eq!(out, [show(Message::Ping(b"c")), show(Message::Binary(b"d"))]);
    }
}

#[test]
fn buffers_grow_with_what_arrived_and_are_given_back() {
    let limits = Limits { message_bytes_max: 1 << 20, ..LIMITS };
    let mut decoder = Decoder::new();
    let mut none = |_: Message<'_>| ControlFlow::Continue(());

    assert!(decoder.feed(&mut claim(FIN | BINARY, 1 << 20), &limits, &mut none).is_ok());
    assert!(decoder.buffered_bytes() < 256, "a claim alone costs nothing");
    for round in 1..=1023_usize {
        assert!(decoder.feed(&mut [0; 1024], &limits, &mut none).is_ok());
        let arrived = round * 1024;
        assert!(decoder.buffered_bytes() < 2 * arrived + 256, "{arrived}");
        assert!(decoder.buffered_bytes() < (1 << 20) + 256, "{arrived}");
    }
    assert!(decoder.feed(&mut [0; 1024], &limits, &mut none).is_ok());
    assert_eq!(decoder.buffered_bytes(), 0, "the message is complete");

    let ping = frame(FIN | PING, b"abc");
    assert!(decoder.feed(&mut ping[..4].to_vec(), &limits, &mut none).is_ok());
    assert!(decoder.buffered_bytes() > 0);
    assert!(decoder.feed(&mut ping[4..].to_vec(), &limits, &mut none).is_ok());
    assert_eq!(decoder.buffered_bytes(), 0, "the header is complete");

    assert!(decoder.feed(&mut frame(BINARY, &[0; 5000]), &limits, &mut none).is_ok());
    assert!(decoder.buffered_bytes() >= 5000);
    assert!(decoder.feed(&mut frame(FIN | CLOSE, b""), &limits, &mut none).is_ok());
    assert!(decoder.buffered_bytes() < 256, "a close frees what was begun");
}
