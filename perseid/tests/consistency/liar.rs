//! Stands between a device and the server and tells one kind of lie: the server as it would look with that fault in it.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use super::device::{ACK, Address, READ, RECALL, STORED};
use crate::support::frame::{self, Extended, Frame};

/// A fault that a server could have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    /// A message is shown with another body.
    OtherBody,
    /// A message is shown with another id.
    OtherId,
    /// A message is shown as gone that nobody took back.
    Gone,
    /// In the place of a message the one before it is shown again.
    Twice,
    /// A message is acknowledged, and was never written.
    Unwritten,
    /// A message is acknowledged with an id that it does not have.
    WrongReceipt,
    /// A message is written once more, as another one.
    Doubled,
    /// A message is refused, and was written.
    RefusedButWritten,
    /// A smaller head is told than before.
    HeadBack,
    /// The cursor of the device went back.
    CursorBack,
    /// An ACK is answered with less than an earlier one.
    AckBack,
    /// Another epoch is told, although nothing was lost.
    OtherEpoch,
    /// A message is said to be taken back, and is not.
    RecallIgnored,
    /// A read position went back.
    ReadBack,
}

impl Lie {
    /// Every lie, and the rule that it breaks.
    pub(crate) const ALL: [(Self, &'static str); 14] = [
        (Self::OtherBody, "I6"),
        (Self::OtherId, "I6"),
        (Self::Gone, "I6"),
        (Self::Twice, "I6"),
        (Self::Unwritten, "I1"),
        (Self::WrongReceipt, "I1"),
        (Self::Doubled, "I3"),
        (Self::RefusedButWritten, "I2"),
        (Self::HeadBack, "I7"),
        (Self::CursorBack, "I12"),
        (Self::AckBack, "I12"),
        (Self::OtherEpoch, "I20"),
        (Self::RecallIgnored, "I18"),
        (Self::ReadBack, "I13"),
    ];
}

/// Of so many occasions the last is used.
const OCCASIONS: usize = 4;

struct Shared {
    lie: Lie,
    occasions: Mutex<usize>,
    last: Mutex<Option<Frame>>,
}

impl Shared {
    /// Whether this occasion is the one to lie at.
    fn now(&self) -> bool {
        let mut occasions = self.occasions.lock().unwrap();
        *occasions += 1;
        *occasions == OCCASIONS
    }

    /// Once the truth is told, from then on it lies.
    fn again(&self, frame: &Frame) -> bool {
        self.last.lock().unwrap().replace(frame.clone()).is_some() && self.always()
    }

    /// Whether to lie from this occasion on: what is shown once may be shown in vain.
    fn is_time(&self) -> bool {
        let mut occasions = self.occasions.lock().unwrap();
        *occasions += 1;
        *occasions >= OCCASIONS
    }

    /// Every occasion is one to lie at, and the first one is enough.
    fn always(&self) -> bool {
        *self.occasions.lock().unwrap() += OCCASIONS;
        true
    }
}

pub(crate) struct Liar {
    pub(crate) addr: SocketAddr,
    shared: Arc<Shared>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Liar {
    /// Lies about the server that is at `server`.
    pub(crate) fn start(lie: Lie, server: Address) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let shared = Arc::new(Shared { lie, occasions: Mutex::new(0), last: Mutex::new(None) });
        let stop = Arc::new(AtomicBool::new(false));
        let (lying, stopping) = (shared.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if stopping.load(Ordering::SeqCst) {
                    return;
                }
                let to = *server.lock().unwrap();
                if let Some(upstream) = to.and_then(|to| TcpStream::connect(to).ok()) {
                    relay(&lying, &client, &upstream);
                }
            }
        });
        Self { addr, shared, stop, thread: Some(thread) }
    }

    /// Whether it found the occasion.
    pub(crate) fn lied(&self) -> bool {
        *self.shared.occasions.lock().unwrap() >= OCCASIONS
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.addr);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn relay(shared: &Arc<Shared>, client: &TcpStream, server: &TcpStream) {
    let pair = || (client.try_clone().unwrap(), server.try_clone().unwrap());
    let ((from_client, to_server), (to_client, from_server)) = (pair(), pair());
    let back = to_client.try_clone().unwrap();
    let (up, down) = (shared.clone(), shared.clone());
    std::thread::spawn(move || pump(from_client, &to_server, |frame| upwards(&up, frame, &back)));
    std::thread::spawn(move || pump(from_server, &to_client, |frame| downwards(&down, frame)));
}

/// Carries frames until either end is closed.
fn pump(mut from: TcpStream, mut to: &TcpStream, mut change: impl FnMut(Frame) -> Vec<Frame>) {
    let mut input = Vec::new();
    let mut bytes = [0; 16384];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        input.extend_from_slice(&bytes[..count]);
        let mut output = Vec::new();
        while let Some(frame) = frame::take(&mut input) {
            change(frame).iter().for_each(|frame| output.extend(encode(frame)));
        }
        if to.write_all(&output).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

fn encode(frame: &Frame) -> Vec<u8> {
    frame::extended(frame.op, frame.seq, &frame.extended.unwrap_or_default(), &frame.body)
}

/// A request on its way to the server.
fn upwards(shared: &Shared, frame: Frame, mut back: &TcpStream) -> Vec<Frame> {
    let ext = frame.extended.unwrap_or_default();
    let mut answer = |op, ext: Extended, body: &[u8]| {
        let _ = back.write_all(&frame::extended(op, frame.seq, &ext, body));
    };
    match (shared.lie, frame.op) {
        (Lie::Unwritten, frame::SEND_MSG) if shared.now() => {
            answer(frame::SEND_MSG + 1, Extended { id: 77, ..ext }, b"");
            Vec::new()
        }
        (Lie::Doubled, frame::SEND_MSG) if shared.now() => {
            let again = Frame { seq: -5, extended: Some(Extended { cid: ext.cid ^ 1 << 60, ..ext }), ..frame.clone() };
            vec![frame, again]
        }
        (Lie::RefusedButWritten, frame::SEND_MSG) if shared.now() => {
            answer(frame::ERROR, ext, br#"{"code":403,"reason":"PERMISSION_DENIED","message":"no"}"#);
            vec![Frame { seq: -5, ..frame }]
        }
        (Lie::RecallIgnored, RECALL) if shared.always() => {
            answer(RECALL + 1, ext, b"");
            Vec::new()
        }
        (Lie::OtherEpoch, frame::AUTH) => {
            // The device repeats the lie; the server must not hear of it.
            let mut body = frame.json();
            if let Some(fields) = body.as_object_mut() {
                fields.remove("epoch");
                fields.remove("pos");
            }
            vec![Frame { body: body.to_string().into_bytes(), ..frame }]
        }
        _ => vec![frame],
    }
}

/// An answer or a push on its way to the device.
fn downwards(shared: &Shared, mut frame: Frame) -> Vec<Frame> {
    let mut ext = frame.extended.unwrap_or_default();
    let is_message = frame.op == frame::SEND_MSG && ext.flags & STORED != 0 && ext.kind != 5;
    match (shared.lie, frame.op) {
        (Lie::OtherBody, _) if is_message && shared.is_time() => frame.body = b"something else".to_vec(),
        (Lie::OtherId, _) if is_message && shared.is_time() => ext.id ^= 1,
        (Lie::Gone, _) if is_message && shared.is_time() => {
            ext.flags |= 4;
            frame.body.clear();
        }
        (Lie::Twice, _) if is_message => {
            let pushed = frame.clone();
            if let Some(before) = shared.last.lock().unwrap().replace(pushed)
                && shared.is_time()
            {
                frame.body = before.body;
                ext = Extended { pos: ext.pos, ..before.extended.unwrap_or_default() };
            }
        }
        (Lie::WrongReceipt, op) if op == frame::SEND_MSG + 1 && shared.now() => ext.id ^= 1,
        (Lie::HeadBack, op) if op == frame::HEARTBEAT + 1 && ext.pos > 0 && shared.again(&frame) => ext.pos = 0,
        (Lie::AckBack, op) if op == ACK + 1 && ext.pos > 0 && shared.again(&frame) => ext.pos = 0,
        (Lie::ReadBack, op) if op == READ + 1 => {
            // Once the truth about a conversation, from then on less.
            let mut last = shared.last.lock().unwrap();
            let about = |frame: &Frame| frame.extended.map(|ext| (ext.kind, ext.conv));
            if last.as_ref().is_some_and(|last| about(last) == about(&frame)) && shared.always() {
                ext.conv_pos = 0;
            } else if last.is_none() {
                *last = Some(frame.clone());
            }
        }
        (Lie::CursorBack, frame::AUTH_REPLY) if frame.json()["cursor"].as_u64() > Some(0) && shared.again(&frame) => {
            set(&mut frame, "cursor", |_| 0);
        }
        (Lie::OtherEpoch, frame::AUTH_REPLY) if shared.always() => {
            let occasion = *shared.occasions.lock().unwrap() as u64;
            set(&mut frame, "epoch", |epoch| epoch + occasion);
        }
        _ => {}
    }
    frame.extended = Some(ext);
    vec![frame]
}

fn set(frame: &mut Frame, name: &str, change: impl FnOnce(u64) -> u64) {
    let mut body = frame.json();
    body[name] = change(body[name].as_u64().unwrap_or_default()).into();
    frame.body = body.to_string().into_bytes();
}
