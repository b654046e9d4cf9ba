//! A server of stored messages for the generator's own tests: extended
//! sessions over TCP, groups over HTTP, inboxes in memory, one thread for each
//! connection, and faults on demand.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What the server does wrong: once, with the twentieth message that it
/// accepts, unless it says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// It never comes into the recipient's inbox.
    Lose,
    /// It never comes into the sender's inbox.
    LoseEcho,
    /// It is in the recipient's inbox and is not pushed.
    Withhold,
    /// It is in the recipient's inbox twice.
    Duplicate,
    /// It is pushed to the recipient twice, at one position.
    Repeat,
    /// It comes into the recipient's inbox after the next of the same pair.
    Reorder,
    /// Its body is changed on the way.
    Garble,
    /// It goes to a third user instead.
    Stray,
    /// It is not answered.
    Silent,
    /// It is answered after the next one of the session.
    LateReply,
    /// Every message is refused.
    Refuse,
    /// Every SYNC leaves out the second message of a page.
    HoleInPages,
    /// Every SYNC ends one message too early.
    ShortPages,
    /// Every SYNC is refused.
    RefuseSync,
    /// The sender's session is told to go.
    Disconnect,
    /// Heartbeats are not answered.
    Deaf,
}

const FAULTY_MESSAGE: u64 = 20;
const STORED: u16 = 1;
const MORE: u16 = 2;

pub(crate) struct Mock {
    pub(crate) tcp: SocketAddr,
    pub(crate) http: SocketAddr,
}

/// The long fields of a header.
#[derive(Clone, Copy, Default)]
struct Head {
    id: u64,
    pos: u64,
    conv: u64,
    conv_pos: u64,
    from: u64,
    cid: u64,
    kind: u16,
    flags: u16,
}

struct Frame {
    op: u32,
    seq: u32,
    ver: u16,
    head: Head,
    body: Vec<u8>,
}

#[derive(Default)]
struct State {
    users: HashMap<u64, User>,
    groups: HashMap<u64, Vec<u64>>,
    /// By the smaller and the larger mid, or 0 and the group.
    convs: HashMap<(u64, u64), u64>,
    accepted: u64,
    sessions: u64,
    /// Held back: a pair, a message.
    held: Option<((u64, u64), Head, Vec<u8>)>,
    late_reply: Option<(u64, Vec<u8>)>,
}

#[derive(Default)]
struct User {
    inbox: Vec<(Head, Vec<u8>)>,
    sessions: Vec<Session>,
}

struct Session {
    id: u64,
    live: bool,
    stream: TcpStream,
}

impl Mock {
    pub(crate) fn start(fault: Fault) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let tcp = listen(&state, move |state, stream| session(state, fault, stream));
        let http = listen(&state, api);
        Self { tcp, http }
    }
}

fn listen(
    state: &Arc<Mutex<State>>,
    serve: impl Fn(&Mutex<State>, TcpStream) -> Option<()> + Send + Copy + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let state = Arc::clone(state);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let state = Arc::clone(&state);
            std::thread::spawn(move || serve(&state, stream));
        }
    });
    addr
}

/// PUT /v1/groups/{id}.
fn api(state: &Mutex<State>, mut stream: TcpStream) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).ok()? == 0 {
                return None;
            }
        }
        let len = head.lines().find_map(|line| line.strip_prefix("Content-Length: "))?.parse().ok()?;
        let mut body = vec![0; len];
        reader.read_exact(&mut body).ok()?;
        let id = head.strip_prefix("PUT /v1/groups/")?.split(' ').next()?.parse().ok()?;
        let json: serde_json::Value = serde_json::from_slice(&body).ok()?;
        assert_eq!(json["kind"], "group");
        let members = json["members"].as_array()?.iter().filter_map(serde_json::Value::as_u64).collect();
        state.lock().unwrap().groups.insert(id, members);
        stream.write_all(b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}").ok()?;
    }
}

fn bytes(op: u32, seq: u32, head: &Head, body: &[u8]) -> Vec<u8> {
    let mut out = u32::try_from(72 + body.len()).unwrap().to_be_bytes().to_vec();
    out.extend_from_slice(&[0, 72, 0, 2]);
    out.extend_from_slice(&op.to_be_bytes());
    out.extend_from_slice(&seq.to_be_bytes());
    for long in [head.id, head.pos, head.conv, head.conv_pos, head.from, head.cid] {
        out.extend_from_slice(&long.to_be_bytes());
    }
    out.extend_from_slice(&head.kind.to_be_bytes());
    out.extend_from_slice(&head.flags.to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(body);
    out
}

fn read_frame(stream: &mut impl Read) -> Option<Frame> {
    let mut bytes = vec![0; 16];
    stream.read_exact(&mut bytes).ok()?;
    let len = u32::from_be_bytes(bytes[..4].try_into().unwrap()) as usize;
    bytes.resize(len, 0);
    stream.read_exact(&mut bytes[16..]).ok()?;
    let word = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    let short = |at: usize| u16::from_be_bytes(bytes[at..at + 2].try_into().unwrap());
    let long = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap());
    let header = usize::from(short(4));
    let mut head = Head::default();
    if header >= 72 {
        head = Head {
            id: long(16),
            pos: long(24),
            conv: long(32),
            conv_pos: long(40),
            from: long(48),
            cid: long(56),
            kind: short(64),
            flags: short(66),
        };
    }
    Some(Frame { op: word(8), seq: word(12), ver: short(6), head, body: bytes[header..].to_vec() })
}

fn session(state: &Mutex<State>, fault: Fault, mut stream: TcpStream) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let auth = read_frame(&mut reader)?;
    assert_eq!((auth.op, auth.ver), (7, 2), "an extended session begins with AUTH of version 2");
    let json: serde_json::Value = serde_json::from_slice(&auth.body).ok()?;
    let mid = json["mid"].as_u64()?;
    // Who comes back says where he was.
    assert!(json["epoch"].is_null() || (json["epoch"] == 7 && json["pos"].is_u64()));
    let id = {
        let mut state = state.lock().unwrap();
        state.sessions += 1;
        let id = state.sessions;
        let user = state.users.entry(mid).or_default();
        let pos = user.inbox.len() as u64;
        stream.write_all(&bytes(8, auth.seq, &Head { pos, ..Head::default() }, br#"{"epoch":7}"#)).ok()?;
        user.sessions.push(Session { id, live: false, stream: stream.try_clone().ok()? });
        id
    };
    while let Some(frame) = read_frame(&mut reader) {
        let mut state = state.lock().unwrap();
        let answer = match frame.op {
            2 if fault == Fault::Deaf => Vec::new(),
            2 => bytes(3, frame.seq, &Head { pos: state.users[&mid].inbox.len() as u64, ..Head::default() }, &[0; 4]),
            4 => state.send(mid, &frame, fault),
            18 => state.sync(mid, id, &frame, fault),
            op => panic!("op {op}"),
        };
        if stream.write_all(&answer).is_err() {
            break;
        }
    }
    state.lock().unwrap().users.entry(mid).or_default().sessions.retain(|session| session.id != id);
    None
}

impl State {
    /// Accepts a message, delivers it, and makes the reply.
    fn send(&mut self, from: u64, frame: &Frame, fault: Fault) -> Vec<u8> {
        let (to, cid, mut body) = (frame.head.conv, frame.head.cid, frame.body.clone());
        assert_ne!(cid, 0);
        if frame.head.kind == 2 {
            return self.send_group(from, frame, fault);
        }
        assert!(frame.head.kind == 1 && to != from);
        let echo = Head { conv: to, cid, kind: 1, from, ..Head::default() };
        if fault == Fault::Refuse {
            return bytes(32, frame.seq, &echo, br#"{"code":503,"reason":"UNAVAILABLE","message":"later"}"#);
        }
        self.accepted += 1;
        let faulty = self.accepted == FAULTY_MESSAGE;
        let conv_pos = self.convs.entry((from.min(to), from.max(to))).or_default();
        *conv_pos += 1;
        let stored = Head { id: self.accepted, conv_pos: *conv_pos, flags: STORED, ..echo };
        if !(faulty && fault == Fault::LoseEcho) {
            self.deliver(from, stored, &body, 1);
        }
        let theirs = Head { conv: from, ..stored };
        let pair = (from, to);
        match fault {
            Fault::Lose if faulty => {}
            Fault::Withhold if faulty => self.deliver(to, theirs, &body, 0),
            Fault::Repeat if faulty => self.deliver(to, theirs, &body, 2),
            Fault::Reorder if faulty => self.held = Some((pair, theirs, body)),
            Fault::Stray if faulty => {
                let third = self.users.keys().copied().find(|mid| *mid != from && *mid != to).unwrap();
                self.deliver(third, theirs, &body, 1);
            }
            Fault::Duplicate if faulty => (0..2).for_each(|_| self.deliver(to, theirs, &body, 1)),
            _ => {
                if faulty && fault == Fault::Garble {
                    body[9] ^= 0x40;
                }
                self.deliver(to, theirs, &body, 1);
                if let Some((_, held, body)) = self.held.take_if(|(of, _, _)| *of == pair) {
                    self.deliver(to, held, &body, 1);
                }
            }
        }
        if faulty && fault == Fault::Disconnect {
            return bytes(6, 0, &Head::default(), br#"{"code":4004,"reason":"RESYNC","message":"again"}"#);
        }
        let reply = bytes(5, frame.seq, &Head { id: stored.id, ..echo }, b"");
        match fault {
            Fault::Silent if faulty => Vec::new(),
            Fault::LateReply if faulty => {
                self.late_reply = Some((from, reply));
                Vec::new()
            }
            _ => match self.late_reply.take_if(|(of, _)| *of == from) {
                Some((_, late)) => [reply, late].concat(),
                None => reply,
            },
        }
    }

    fn send_group(&mut self, from: u64, frame: &Frame, fault: Fault) -> Vec<u8> {
        let (group, cid) = (frame.head.conv, frame.head.cid);
        self.accepted += 1;
        let conv_pos = self.convs.entry((0, group)).or_default();
        *conv_pos += 1;
        let head = Head { id: self.accepted, conv: group, conv_pos: *conv_pos, from, cid, kind: 2, ..Head::default() };
        let members = self.groups[&group].clone();
        let lost = members.iter().copied().find(|mid| *mid != from);
        for mid in members {
            let loses = fault == Fault::Lose && self.accepted == FAULTY_MESSAGE && Some(mid) == lost;
            if !loses {
                self.deliver(mid, Head { flags: STORED, ..head }, &frame.body, 1);
            }
        }
        bytes(5, frame.seq, &Head { conv_pos: 0, ..head }, b"")
    }

    /// Appends to an inbox and pushes so many times to each live session.
    fn deliver(&mut self, mid: u64, head: Head, body: &[u8], times: usize) {
        let user = self.users.entry(mid).or_default();
        let head = Head { pos: user.inbox.len() as u64 + 1, ..head };
        user.inbox.push((head, body.to_vec()));
        let frame = bytes(4, 0, &head, body).repeat(times);
        for session in user.sessions.iter_mut().filter(|session| session.live) {
            let _ = session.stream.write_all(&frame);
        }
    }

    fn sync(&mut self, mid: u64, id: u64, frame: &Frame, fault: Fault) -> Vec<u8> {
        if fault == Fault::RefuseSync {
            return bytes(32, frame.seq, &Head::default(), br#"{"code":503,"reason":"UNAVAILABLE","message":"later"}"#);
        }
        let limit = u32::from_be_bytes(frame.body[..].try_into().unwrap()) as usize;
        let user = self.users.get_mut(&mid).unwrap();
        let (after, pos) = (usize::try_from(frame.head.pos).unwrap(), user.inbox.len() as u64);
        let rest = &user.inbox[after..];
        let more = rest.len() > limit;
        let end = limit.min(rest.len()) - usize::from(fault == Fault::ShortPages && !more && !rest.is_empty());
        let page = rest[..end].iter().enumerate().filter(|(n, _)| fault != Fault::HoleInPages || *n != 1);
        let page: Vec<u8> = page.flat_map(|(_, (head, body))| bytes(4, 0, head, body)).collect();
        if !more {
            user.sessions.iter_mut().filter(|session| session.id == id).for_each(|session| session.live = true);
        }
        bytes(19, frame.seq, &Head { pos, flags: if more { MORE } else { 0 }, ..Head::default() }, &page)
    }
}
