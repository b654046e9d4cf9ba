//! What the business is told of: records of the events topic, and how they look in JSON.

use std::fmt;

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::ser::{Serialize, SerializeMap, Serializer};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum EventKind {
    /// Something that this version does not know.
    Unknown = 0,
    /// A session began.
    SessionOnline = 1,
    /// A session ended.
    SessionOffline = 2,
    /// A client sent a frame for the business.
    Upstream = 3,
    /// A session that is online still: repeats its beginning, so that the record of that may be deleted. Not for the business.
    SessionStill = 4,
}

impl EventKind {
    /// Those that the business may ask for.
    pub const PUBLIC: [Self; 3] = [Self::SessionOnline, Self::SessionOffline, Self::Upstream];

    /// Its name in JSON and in the configuration; `None` for what is not for the business.
    #[must_use]
    pub const fn word(self) -> Option<&'static str> {
        match self {
            Self::SessionOnline => Some("session.online"),
            Self::SessionOffline => Some("session.offline"),
            Self::Upstream => Some("upstream"),
            Self::Unknown | Self::SessionStill => None,
        }
    }

    /// The kind of this name.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::PUBLIC.into_iter().find(|kind| kind.word() == Some(word))
    }
}

/// The value of a record in the events topic: what happened in one moment, in this order.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Events {
    /// At least one.
    #[prost(message, repeated, tag = "1")]
    pub events: Vec<Event>,
}

/// One event.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Event {
    /// Names it (snowflake).
    #[prost(fixed64, tag = "1")]
    pub id: u64,
    /// See [`EventKind`].
    #[prost(enumeration = "EventKind", tag = "2")]
    pub kind: i32,
    /// When it happened, unix ms.
    #[prost(uint64, tag = "3")]
    pub ts_ms: u64,
    /// The user; ≤ 0 is a guest.
    #[prost(sint64, tag = "4")]
    pub mid: i64,
    /// The session's key.
    #[prost(string, tag = "5")]
    pub key: String,
    /// Where the session lives: the comet, …
    #[prost(uint32, tag = "6")]
    pub node: u32,
    /// … which life of that comet, …
    #[prost(fixed32, tag = "7")]
    pub incarnation: u32,
    /// … the worker in it, …
    #[prost(uint32, tag = "8")]
    pub worker: u32,
    /// … the slot in the worker, …
    #[prost(uint32, tag = "9")]
    pub slot: u32,
    /// … and which use of that slot.
    #[prost(uint32, tag = "10")]
    pub generation: u32,
    /// Sessions: `web`, `ios`, …; may be empty.
    #[prost(string, tag = "11")]
    pub platform: String,
    /// Sessions: the device's name; empty: as the platform.
    #[prost(string, tag = "12")]
    pub device: String,
    /// Sessions: the other end of the connection, `ip:port`; empty: not known.
    #[prost(string, tag = "13")]
    pub peer: String,
    /// Sessions: when it began, unix ms.
    #[prost(uint64, tag = "14")]
    pub since_ms: u64,
    /// Offline: why, a word.
    #[prost(string, tag = "15")]
    pub reason: String,
    /// Online and offline: how many sessions the user has after it; 0 for guests.
    #[prost(uint32, tag = "16")]
    pub sessions: u32,
    /// Upstream: operation of the frame.
    #[prost(int32, tag = "17")]
    pub op: i32,
    /// Upstream: body of the frame.
    #[prost(bytes = "bytes", tag = "18")]
    pub body: Bytes,
}

impl Event {
    /// Names the session, as no other ever: with it, an offline finds its online.
    #[must_use]
    pub fn session(&self) -> impl fmt::Display + use<> {
        SessionName(self.node, self.incarnation, self.worker, self.slot, self.generation)
    }
}

struct SessionName(u32, u32, u32, u32, u32);

impl fmt::Display for SessionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:x}-{:x}-{:x}-{:x}", self.0, self.1, self.2, self.3, self.4)
    }
}

/// An event as the business sees it, in webhooks and in the API alike.
#[derive(Clone, Copy, Debug)]
pub struct EventView<'a>(pub &'a Event);

impl Serialize for EventView<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let event = self.0;
        let kind = event.kind();
        let mut map = serializer.serialize_map(None)?;
        // 64 bits do not survive JavaScript as a number.
        map.serialize_entry("id", &Text(event.id))?;
        map.serialize_entry("type", kind.word().unwrap_or("unknown"))?;
        map.serialize_entry("ts_ms", &event.ts_ms)?;
        map.serialize_entry("mid", &event.mid)?;
        map.serialize_entry("key", &event.key)?;
        map.serialize_entry("session", &Text(event.session()))?;
        if kind == EventKind::Upstream {
            map.serialize_entry("op", &event.op)?;
            map.serialize_entry("body_base64", &Text(Base64Display::new(&event.body, &STANDARD)))?;
            return map.end();
        }
        map.serialize_entry("platform", &event.platform)?;
        map.serialize_entry("device", if event.device.is_empty() { &event.platform } else { &event.device })?;
        map.serialize_entry("address", &Some(&event.peer).filter(|peer| !peer.is_empty()))?;
        map.serialize_entry("since_ms", &event.since_ms)?;
        map.serialize_entry("sessions", &event.sessions)?;
        if kind == EventKind::SessionOffline {
            map.serialize_entry("reason", &event.reason)?;
        }
        map.end()
    }
}

/// Something as the text that it displays as.
struct Text<T>(T);

impl<T: fmt::Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;

    fn offline() -> Event {
        Event {
            id: 0x0102_0304_0506_0708,
            kind: EventKind::SessionOffline.into(),
            ts_ms: 1000,
            mid: -1,
            key: "k".into(),
            node: 1,
            incarnation: 2,
            worker: 3,
            slot: 4,
            generation: 5,
            platform: "web".into(),
            device: "d".into(),
            peer: "p".into(),
            since_ms: 6,
            reason: "CRASH".into(),
            sessions: 7,
            ..Event::default()
        }
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// What stands in logs may never change.
    #[test]
    fn bytes_of_records() {
        let record = Events { events: vec![offline()] };
        let expected = "0a37 09 0807060504030201 10 02 18 e807 20 01 2a 01 6b 30 01 3d 02000000 40 03 48 04 50 05 5a 03 776562 \
                        62 01 64 6a 01 70 70 06 7a 05 4352415348 8001 07";
        assert_eq!(hex(&record.encode_to_vec()), expected.replace(' ', ""));
        let upstream =
            Event { id: 1, kind: EventKind::Upstream.into(), op: 1000, body: Bytes::from_static(b"hi"), ..Event::default() };
        assert_eq!(hex(&upstream.encode_to_vec()), "090100000000000000100388 01e807 9201 02 6869".replace(' ', ""));
        assert_eq!(Event::decode(&upstream.encode_to_vec()[..]).unwrap(), upstream);
    }

    #[test]
    fn json_of_events() {
        let json = |event: &Event| serde_json::to_string(&EventView(event)).unwrap();
        assert_eq!(
            json(&offline()),
            r#"{"id":"72623859790382856","type":"session.offline","ts_ms":1000,"mid":-1,"key":"k","session":"1-2-3-4-5","platform":"web","device":"d","address":"p","since_ms":6,"sessions":7,"reason":"CRASH"}"#
        );
        let online = Event { kind: EventKind::SessionOnline.into(), device: String::new(), peer: String::new(), ..offline() };
        let text = json(&online);
        assert!(text.contains(r#""device":"web","address":null"#) && !text.contains("reason"), "{text}");
        let upstream =
            Event { kind: EventKind::Upstream.into(), op: 1000, body: Bytes::from_static(&[0, 255]), ..Event::default() };
        assert_eq!(
            json(&upstream),
            r#"{"id":"0","type":"upstream","ts_ms":0,"mid":0,"key":"","session":"0-0-0-0-0","op":1000,"body_base64":"AP8="}"#
        );
    }

    #[test]
    fn words() {
        for kind in EventKind::PUBLIC {
            assert_eq!(EventKind::from_word(kind.word().unwrap()), Some(kind));
        }
        assert_eq!(EventKind::from_word("session.still"), None);
    }
}
