//! A server of a hundred lines or two for the generator's own tests: classic
//! protocol over TCP and WebSocket, goim's push routes, one thread for each
//! connection, and faults on demand.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

/// What the server does wrong, once, to the first session, at its fifth message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    Lose,
    Duplicate,
    /// The fifth message comes after the sixth.
    Reorder,
    /// The session is closed.
    Drop,
    /// The session gets bytes that are no frame.
    Garbage,
    /// The API answers every push with an error of goim's.
    RefusePushes,
    /// No session is ever answered: it is closed at AUTH.
    RefuseAuth,
    /// Heartbeats are not answered.
    Deaf,
}

const FAULTY_MESSAGE: u64 = 5;

pub(crate) struct Mock {
    pub(crate) tcp: SocketAddr,
    pub(crate) ws: SocketAddr,
    pub(crate) http: SocketAddr,
}

struct Shared {
    fault: Fault,
    clients: Mutex<Vec<Client>>,
    ids: AtomicU64,
    writes: AtomicU64,
}

struct Client {
    id: u64,
    mid: i64,
    key: String,
    room: String,
    websocket: bool,
    stream: TcpStream,
    messages: u64,
    held: Vec<u8>,
}

impl Mock {
    pub(crate) fn start(fault: Fault) -> Self {
        let shared = Arc::new(Shared { fault, clients: Mutex::default(), ids: AtomicU64::new(0), writes: AtomicU64::new(0) });
        let tcp = listen(&shared, |shared, stream| session(shared, stream, false));
        let ws = listen(&shared, |shared, stream| session(shared, stream, true));
        let http = listen(&shared, api);
        Self { tcp, ws, http }
    }
}

fn listen(shared: &Arc<Shared>, serve: impl Fn(&Shared, TcpStream) -> Option<()> + Send + Copy + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let shared = Arc::clone(shared);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || serve(&shared, stream));
        }
    });
    addr
}

fn frame(op: u32, seq: u32, body: &[u8]) -> Vec<u8> {
    let mut out = u32::try_from(16 + body.len()).unwrap().to_be_bytes().to_vec();
    out.extend_from_slice(&[0, 16, 0, 1]);
    out.extend_from_slice(&op.to_be_bytes());
    out.extend_from_slice(&seq.to_be_bytes());
    out.extend_from_slice(body);
    out
}

fn message(websocket: bool, payload: &[u8]) -> Vec<u8> {
    if !websocket {
        return payload.to_vec();
    }
    let mut out = vec![0x82];
    match u8::try_from(payload.len()) {
        Ok(len) if len < 126 => out.push(len),
        _ => {
            out.push(126);
            out.extend_from_slice(&u16::try_from(payload.len()).unwrap().to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
    out
}

/// One client: handshake, AUTH, then heartbeats until it leaves.
fn session(shared: &Shared, mut stream: TcpStream, websocket: bool) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    if websocket {
        upgrade(&mut reader, &mut stream)?;
    }
    let (op, seq, body) = read_frame(&mut reader, websocket)?;
    let auth: serde_json::Value = serde_json::from_slice(&body).ok()?;
    if op != 7 || shared.fault == Fault::RefuseAuth {
        return None;
    }
    let id = shared.ids.fetch_add(1, Relaxed);
    {
        // Reply and registration in one step, so that no push comes before.
        let mut clients = shared.clients.lock().unwrap();
        stream.write_all(&message(websocket, &frame(8, seq, b""))).ok()?;
        clients.push(Client {
            id,
            mid: auth["mid"].as_i64()?,
            key: auth["key"].as_str()?.to_owned(),
            room: auth["room_id"].as_str()?.to_owned(),
            websocket,
            stream: stream.try_clone().ok()?,
            messages: 0,
            held: Vec::new(),
        });
    }
    while let Some((op, seq, _)) = read_frame(&mut reader, websocket) {
        let _one_writer = shared.clients.lock().unwrap();
        if op == 2 && shared.fault != Fault::Deaf && stream.write_all(&message(websocket, &frame(3, seq, &[0; 4]))).is_err() {
            break;
        }
    }
    shared.clients.lock().unwrap().retain(|client| client.id != id);
    let _ = stream.shutdown(std::net::Shutdown::Both);
    None
}

fn upgrade(reader: &mut impl BufRead, stream: &mut TcpStream) -> Option<()> {
    let head = read_head(reader)?;
    assert!(head.starts_with("GET /sub HTTP/1.1"), "{head}");
    // The answer to the key of RFC 6455's example, which the generator sends.
    assert!(head.contains("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="), "{head}");
    let answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                  Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    stream.write_all(answer.as_bytes()).ok()
}

fn read_head(reader: &mut impl BufRead) -> Option<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    Some(head)
}

fn read_frame(reader: &mut impl Read, websocket: bool) -> Option<(u32, u32, Vec<u8>)> {
    let bytes = if websocket {
        let mut head = [0; 2];
        reader.read_exact(&mut head).ok()?;
        if head[0] != 0x82 {
            return None;
        }
        assert!(head[1] & 0x80 != 0, "an unmasked client frame");
        let len = match head[1] & 0x7f {
            126 => {
                let mut len = [0; 2];
                reader.read_exact(&mut len).ok()?;
                usize::from(u16::from_be_bytes(len))
            }
            len => usize::from(len),
        };
        let mut mask = [0; 4];
        reader.read_exact(&mut mask).ok()?;
        let mut payload = vec![0; len];
        reader.read_exact(&mut payload).ok()?;
        payload.iter_mut().enumerate().for_each(|(n, byte)| *byte ^= mask[n % 4]);
        payload
    } else {
        let mut head = [0; 16];
        reader.read_exact(&mut head).ok()?;
        let len = u32::from_be_bytes(head[..4].try_into().unwrap()) as usize;
        let mut bytes = head.to_vec();
        bytes.resize(len, 0);
        reader.read_exact(&mut bytes[16..]).ok()?;
        bytes
    };
    let word = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    Some((word(8), word(12), bytes[16..].to_vec()))
}

/// One connection to the push API.
fn api(shared: &Shared, mut stream: TcpStream) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    loop {
        let head = read_head(&mut reader)?;
        let len = head.lines().find_map(|line| line.strip_prefix("Content-Length: "))?.parse().ok()?;
        let mut body = vec![0; len];
        reader.read_exact(&mut body).ok()?;
        let path = head.split(' ').nth(1)?.to_owned();
        let answer = answer(shared, &path, body);
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", answer.len());
        stream.write_all((head + &answer).as_bytes()).ok()?;
    }
}

fn answer(shared: &Shared, path: &str, mut body: Vec<u8>) -> String {
    let (route, query) = path.split_once('?').unwrap_or((path, ""));
    let value = |name: &str| {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(key, _)| *key == name).map(|(_, value)| value.to_owned()).next().unwrap_or_default()
    };
    if route == "/metrics" {
        let writes = shared.writes.load(Relaxed);
        return format!("# TYPE perseid_comet_writes_total counter\nperseid_comet_writes_total{{worker=\"0\"}} {writes}\n");
    }
    if shared.fault == Fault::RefusePushes {
        return r#"{"code":-500,"message":"no"}"#.to_owned();
    }
    let mut wanted: Box<dyn Fn(&Client) -> bool> = match route {
        "/goim/push/room" => {
            let room = format!("{}://{}", value("type"), value("room"));
            Box::new(move |client| client.room == room)
        }
        "/goim/push/mids" => {
            let mid: i64 = value("mids").parse().unwrap();
            Box::new(move |client| client.mid == mid)
        }
        "/goim/push/keys" => {
            let key = value("keys");
            Box::new(move |client| client.key == key)
        }
        "/v1/messages" => {
            let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
            body = unbase64(json["body_base64"].as_str().unwrap());
            let mid = json["to"]["mids"][0].as_i64().unwrap();
            Box::new(move |client| client.mid == mid)
        }
        _ => return r#"{"code":-404,"message":"no such route"}"#.to_owned(),
    };
    deliver(shared, &body, &mut wanted);
    r#"{"code":0,"message":""}"#.to_owned()
}

fn deliver(shared: &Shared, body: &[u8], wanted: &mut dyn FnMut(&Client) -> bool) {
    let mut clients = shared.clients.lock().unwrap();
    for client in clients.iter_mut().filter(|client| wanted(client)) {
        let inner = frame(1000, 0, body);
        let payload = if client.websocket { frame(9, 0, &inner) } else { inner };
        let bytes = message(client.websocket, &payload);
        client.messages += 1;
        let faulty = client.id == 0 && client.messages == FAULTY_MESSAGE;
        let mut out = match shared.fault {
            Fault::Lose if faulty => Vec::new(),
            Fault::Duplicate if faulty => [bytes.clone(), bytes].concat(),
            Fault::Reorder if faulty => {
                client.held = bytes;
                Vec::new()
            }
            Fault::Garbage if faulty => vec![0; 64],
            Fault::Drop if faulty => {
                let _ = client.stream.shutdown(std::net::Shutdown::Both);
                Vec::new()
            }
            _ => bytes,
        };
        if !faulty {
            out.append(&mut client.held);
        }
        shared.writes.fetch_add(1, Relaxed);
        let _ = client.stream.write_all(&out);
    }
}

fn unbase64(text: &str) -> Vec<u8> {
    let value = |letter: u8| match letter {
        b'A'..=b'Z' => letter - b'A',
        b'a'..=b'z' => letter - b'a' + 26,
        b'0'..=b'9' => letter - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let letters: Vec<u8> = text.bytes().filter(|letter| *letter != b'=').map(value).collect();
    let bits = |n: usize| u32::from(letters.get(n / 6).copied().unwrap_or(0));
    let bytes = letters.len() * 6 / 8;
    (0..bytes)
        .map(|n| {
            let group = n / 3 * 24;
            let word = (0..4).fold(0, |word, letter| word << 6 | bits(group + letter * 6));
            word.to_be_bytes()[1 + n % 3]
        })
        .collect()
}
