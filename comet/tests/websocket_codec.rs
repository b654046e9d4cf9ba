//! The WebSocket codec against a model of itself, against noise, and against tungstenite, an
//! implementation by others. No sockets.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::rc::Rc;

use perseid_comet::net::websocket::encode::{put_close, put_frame};
use perseid_comet::net::websocket::handshake::{Handshake, parse_upgrade};
use perseid_comet::net::websocket::{Decoder, Limits, Message, Opcode, Violation};
use proptest::collection::vec;
use proptest::prelude::*;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, Role, WebSocket, WebSocketConfig};

const LIMITS: Limits = Limits { message_bytes_max: 1 << 17, fragments_max: 64, text_allowed: true };

/// What the buffer may hold beyond `message_bytes_max`: bookkeeping and one control frame.
const BUFFER_BYTES_BESIDE: usize = 256;

/// A message that owns what it holds, to compare with.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Owned {
    Binary(Vec<u8>),
    Text(String),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
}

impl From<Message<'_>> for Owned {
    fn from(message: Message<'_>) -> Self {
        match message {
            Message::Binary(bytes) => Self::Binary(bytes.to_vec()),
            Message::Text(text) => Self::Text(text.to_owned()),
            Message::Ping(bytes) => Self::Ping(bytes.to_vec()),
            Message::Pong(bytes) => Self::Pong(bytes.to_vec()),
            Message::Close { code, reason } => Self::Close(code.map(|code| (code, reason.to_owned()))),
        }
    }
}

impl From<tungstenite::Message> for Owned {
    fn from(message: tungstenite::Message) -> Self {
        match message {
            tungstenite::Message::Binary(bytes) => Self::Binary(bytes.to_vec()),
            tungstenite::Message::Text(text) => Self::Text(text.as_str().to_owned()),
            tungstenite::Message::Ping(bytes) => Self::Ping(bytes.to_vec()),
            tungstenite::Message::Pong(bytes) => Self::Pong(bytes.to_vec()),
            tungstenite::Message::Close(close) => {
                Self::Close(close.map(|close| (u16::from(close.code), close.reason.as_str().to_owned())))
            }
            tungstenite::Message::Frame(_) => panic!("a raw frame"),
        }
    }
}

/// Feeds `bytes` in reads of the given sizes, which repeat; checks the bound of the buffer after each.
fn decode(bytes: &[u8], read_sizes: &[usize], limits: &Limits) -> (Vec<Owned>, Result<(), Violation>) {
    let mut decoder = Decoder::new();
    let mut out = Vec::new();
    let mut rest = bytes;
    for size in read_sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (read, after) = rest.split_at((*size).min(rest.len()));
        rest = after;
        let mut input = read.to_vec();
        let fed = decoder.feed(&mut input, limits, &mut |message| {
            out.push(message.into());
            ControlFlow::Continue(())
        });
        assert!(decoder.buffered_bytes() <= limits.message_bytes_max + BUFFER_BYTES_BESIDE);
        match fed {
            Ok(used) => assert_eq!(used, read.len()),
            Err(violation) => return (out, Err(violation)),
        }
    }
    (out, Ok(()))
}

/// The frame of a client, its parts chosen freely.
fn client_frame(fin: bool, opcode: u8, mask: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![u8::from(fin) << 7 | opcode];
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
    bytes.extend(mask);
    bytes.extend(payload.iter().enumerate().map(|(i, byte)| byte ^ mask[i % 4]));
    bytes
}

/// A data message cut into fragments, with control frames (ping or pong) in between.
#[derive(Debug, Clone)]
struct Sent {
    message: Owned,
    /// Where to cut, modulo the length of the payload and one.
    cuts: Vec<usize>,
    controls: Vec<(bool, Vec<u8>)>,
    mask: [u8; 4],
}

impl Sent {
    /// Appends the frames to `bytes`, and to `expected` what they mean.
    fn put(&self, bytes: &mut Vec<u8>, expected: &mut Vec<Owned>) {
        let (first_opcode, payload) = match &self.message {
            Owned::Binary(payload) => (2, payload.as_slice()),
            Owned::Text(text) => (1, text.as_bytes()),
            other => panic!("{other:?}"),
        };
        let mut ends: Vec<usize> = self.cuts.iter().map(|cut| cut % (payload.len() + 1)).collect();
        ends.sort_unstable();
        ends.push(payload.len());
        let last = ends.len() - 1;
        let mut controls = self.controls.iter();
        let mut start = 0;
        for (i, end) in ends.into_iter().enumerate() {
            let opcode = if i == 0 { first_opcode } else { 0 };
            bytes.extend(client_frame(i == last, opcode, self.mask, &payload[start..end]));
            start = end;
            if i < last
                && let Some((ping, body)) = controls.next()
            {
                let opcode = if *ping { 9 } else { 10 };
                bytes.extend(client_frame(true, opcode, self.mask, body));
                let owned = if *ping { Owned::Ping } else { Owned::Pong };
                expected.push(owned(body.clone()));
            }
        }
        expected.push(self.message.clone());
    }
}

fn any_sent() -> impl Strategy<Value = Sent> {
    let message = prop_oneof![
        4 => vec(any::<u8>(), 0..300).prop_map(Owned::Binary),
        1 => vec(any::<u8>(), 65_000..70_000).prop_map(Owned::Binary),
        4 => "\\PC{0,100}".prop_map(Owned::Text),
    ];
    let control = (any::<bool>(), vec(any::<u8>(), 0..=125));
    (message, vec(any::<usize>(), 0..5), vec(control, 0..5), any::<[u8; 4]>()).prop_map(|(message, cuts, controls, mask)| Sent {
        message,
        cuts,
        controls,
        mask,
    })
}

/// Sizes of reads: mostly small, so that everything gets cut.
fn any_read_sizes() -> impl Strategy<Value = Vec<usize>> {
    vec(prop_oneof![3 => 1..20_usize, 2 => 1..2000_usize, 1 => Just(65_536)], 1..8)
}

fn stream_of(sent: &[Sent]) -> (Vec<u8>, Vec<Owned>) {
    let (mut bytes, mut expected) = (Vec::new(), Vec::new());
    for one in sent {
        one.put(&mut bytes, &mut expected);
    }
    (bytes, expected)
}

proptest! {
    #[test]
    fn any_stream_cut_anywhere_is_what_was_sent(
        sent in vec(any_sent(), 0..6),
        read_sizes in any_read_sizes(),
    ) {
        let (bytes, expected) = stream_of(&sent);
        prop_assert_eq!(decode(&bytes, &read_sizes, &LIMITS), (expected, Ok(())));
    }

    #[test]
    fn noise_neither_panics_nor_fills_memory(
        noise in vec(any::<u8>(), 0..2000),
        read_sizes in any_read_sizes(),
        message_bytes_max in 0..300_usize,
    ) {
        let limits = Limits { message_bytes_max, fragments_max: 3, text_allowed: true };
        let _ = decode(&noise, &read_sizes, &limits);
    }

    /// Frames that are nearly right get deeper than noise does.
    #[test]
    fn frames_of_any_kind_end_alike_however_they_are_read(
        frames in vec((any::<bool>(), 0..11_u8, any::<[u8; 4]>(), vec(any::<u8>(), 0..200)), 0..12),
        read_sizes in any_read_sizes(),
        message_bytes_max in 0..500_usize,
    ) {
        let limits = Limits { message_bytes_max, fragments_max: 3, text_allowed: true };
        let bytes: Vec<u8> = frames
            .iter()
            .flat_map(|(fin, opcode, mask, payload)| client_frame(*fin, *opcode, *mask, payload))
            .collect();
        let whole = decode(&bytes, &[bytes.len().max(1)], &limits);
        prop_assert_eq!(decode(&bytes, &read_sizes, &limits), whole);
    }

    /// Streams with a byte changed: what we take, tungstenite takes for the same; where we object,
    /// it hands out nothing more either, except that we insist on the shortest form of a length.
    #[test]
    fn tungstenite_judges_a_damaged_stream_alike(
        sent in vec(any_sent(), 1..4),
        damage in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
        read_sizes in any_read_sizes(),
    ) {
        let (mut bytes, _) = stream_of(&sent);
        if let Some((at, value)) = damage {
            // Headers are near the start of frames: most damage is aimed at the first bytes.
            let reach = bytes.len().min(40);
            bytes[at.index(reach)] = value;
        }
        let (ours, ended) = decode(&bytes, &read_sizes, &LIMITS);
        let (theirs, their_error) = tungstenite_reads(&bytes, Role::Server);
        match ended {
            Ok(()) => {
                prop_assert_eq!(ours, theirs);
                prop_assert!(their_error.is_none(), "{:?}", their_error);
            }
            Err(violation) => {
                let shared = ours.len().min(theirs.len());
                prop_assert_eq!(&ours[..shared], &theirs[..shared]);
                // Where we object, it hands out nothing more either. Its error may be outstanding:
                // it looks at some headers only when the payload is there.
                let stricter = violation.reason.contains("shortest form");
                prop_assert!(stricter || theirs.len() <= ours.len(), "only we object: {}", violation);
            }
        }
    }
}

#[test]
fn a_stream_cut_at_every_byte() {
    let text = "grüße, κόσμε, 😀".to_owned();
    let sent = [
        Sent {
            message: Owned::Text(text),
            cuts: vec![3, 11, 11],
            controls: vec![(true, b"a".to_vec()), (false, Vec::new()), (true, vec![7; 125])],
            mask: [1, 2, 3, 4],
        },
        Sent {
            message: Owned::Binary(vec![9; 200]),
            cuts: vec![130],
            controls: vec![(true, b"b".to_vec())],
            mask: [0xff, 0, 0x80, 0x7f],
        },
        Sent { message: Owned::Binary(Vec::new()), cuts: vec![], controls: vec![], mask: [0; 4] },
    ];
    let (mut bytes, mut expected) = stream_of(&sent);
    bytes.extend(client_frame(true, 8, [5; 4], b"\x0f\xa1bye"));
    expected.push(Owned::Close(Some((4001, "bye".to_owned()))));
    for cut in 1..bytes.len() {
        let sizes = [cut, bytes.len() - cut];
        assert_eq!(decode(&bytes, &sizes, &LIMITS), (expected.clone(), Ok(())), "cut at {cut}");
    }
    for size in 1..20 {
        assert_eq!(decode(&bytes, &[size], &LIMITS), (expected.clone(), Ok(())), "reads of {size}");
    }
}

#[test]
fn frames_of_tungstenites_client_are_read() {
    let pipe = Pipe::default();
    let config = WebSocketConfig::default();
    let mut client = WebSocket::from_raw_socket(pipe.clone(), Role::Client, Some(config));
    let messages = [
        tungstenite::Message::binary(vec![1; 70_000]),
        tungstenite::Message::text("κόσμε"),
        tungstenite::Message::Ping(vec![2; 125].into()),
        tungstenite::Message::Pong(Vec::new().into()),
        tungstenite::Message::binary(vec![3; 126]),
        tungstenite::Message::binary(Vec::new()),
        tungstenite::Message::Close(Some(CloseFrame { code: CloseCode::Library(4002), reason: "done".into() })),
    ];
    for message in &messages {
        client.send(message.clone()).unwrap();
    }
    let bytes: Vec<u8> = pipe.written.borrow_mut().drain(..).collect();
    let expected: Vec<Owned> = messages.into_iter().map(Owned::from).collect();
    for sizes in [&[65_536][..], &[1], &[7, 4096], &[80_000]] {
        assert_eq!(decode(&bytes, sizes, &LIMITS), (expected.clone(), Ok(())), "{sizes:?}");
    }
}

#[test]
fn tungstenites_client_reads_our_frames() {
    let mut bytes = Vec::new();
    let mut expected = Vec::new();
    for len in [0, 1, 125, 126, 127, 65_535, 65_536, 100_000] {
        put_frame(&mut bytes, Opcode::Binary, &vec![5; len]);
        expected.push(Owned::Binary(vec![5; len]));
    }
    put_frame(&mut bytes, Opcode::Text, "κόσμε".as_bytes());
    expected.push(Owned::Text("κόσμε".to_owned()));
    put_frame(&mut bytes, Opcode::Ping, b"there?");
    expected.push(Owned::Ping(b"there?".to_vec()));
    put_frame(&mut bytes, Opcode::Pong, b"here");
    expected.push(Owned::Pong(b"here".to_vec()));
    put_close(&mut bytes, 4001, &"é".repeat(100));
    expected.push(Owned::Close(Some((4001, "é".repeat(61)))));
    let (read, error) = tungstenite_reads(&bytes, Role::Client);
    assert_eq!(read, expected);
    assert!(error.is_none(), "{error:?}");
}

#[test]
fn tungstenites_client_shakes_hands_with_us() {
    let pipe = Pipe::default();
    let begun = tungstenite::client("ws://im.example:3102/sub?a=b", pipe.clone());
    let Err(tungstenite::HandshakeError::Interrupted(waiting)) = begun else {
        panic!("the client waits for an answer");
    };
    let request: Vec<u8> = pipe.written.borrow_mut().drain(..).collect();
    let Handshake::Accept(accept) = parse_upgrade(&request, "/sub") else {
        panic!("{}", String::from_utf8_lossy(&request));
    };
    assert_eq!(accept.consumed, request.len());
    assert_eq!(accept.headers.host, Some("im.example:3102"));
    let mut response = Vec::new();
    accept.put_response(&mut response);
    put_frame(&mut response, Opcode::Binary, b"first");
    pipe.readable.borrow_mut().extend(response);

    let (mut client, _) = waiting.handshake().expect("our answer is taken");
    assert_eq!(client.read().unwrap(), tungstenite::Message::binary(b"first".as_slice()));
    client.send(tungstenite::Message::binary(b"second".as_slice())).unwrap();
    let bytes: Vec<u8> = pipe.written.borrow_mut().drain(..).collect();
    let expected = vec![Owned::Binary(b"second".to_vec())];
    assert_eq!(decode(&bytes, &[1000], &LIMITS), (expected, Ok(())));
}

proptest! {
    #[test]
    fn noise_in_the_handshake_does_not_panic(
        noise in vec(any::<u8>(), 0..300),
        at in any::<prop::sample::Index>(),
    ) {
        let _ = parse_upgrade(&noise, "/sub");
        let mut request = b"GET /sub HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            .to_vec();
        let at = at.index(request.len());
        request.splice(at..at, noise.iter().take(4).copied());
        let _ = parse_upgrade(&request, "/sub");
    }
}

/// A stream in memory: reads what the test put in, keeps what is written.
#[derive(Debug, Clone, Default)]
struct Pipe {
    readable: Rc<RefCell<VecDeque<u8>>>,
    written: Rc<RefCell<VecDeque<u8>>>,
}

impl Read for Pipe {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.readable.borrow_mut().read(buf)? {
            0 if !buf.is_empty() => Err(io::ErrorKind::WouldBlock.into()),
            read => Ok(read),
        }
    }
}

impl Write for Pipe {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.written.borrow_mut().extend(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What tungstenite, in the given role, makes of `bytes`, and the error that stopped it, if any.
fn tungstenite_reads(bytes: &[u8], role: Role) -> (Vec<Owned>, Option<tungstenite::Error>) {
    let pipe = Pipe::default();
    pipe.readable.borrow_mut().extend(bytes);
    let config = WebSocketConfig::default().max_message_size(Some(LIMITS.message_bytes_max));
    let mut peer = WebSocket::from_raw_socket(pipe, role, Some(config));
    let mut out = Vec::new();
    loop {
        match peer.read() {
            Ok(message) => out.push(message.into()),
            Err(tungstenite::Error::ConnectionClosed) => return (out, None),
            Err(tungstenite::Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                return (out, None);
            }
            Err(error) => return (out, Some(error)),
        }
    }
}
