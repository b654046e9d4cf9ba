//! What Perseid's parts exchange, as protobuf: records of the log, and the gRPC services between the parts and for callers.
//!
//! `goim.logic.PushMsg` is goim's own Kafka record; Perseid's fields start at 100, so that goim's job reads ours and ours
//! reads goim's. The services are generated from the files in `proto/`: [`goim`] with goim's names and numbers, [`v1`] for
//! business services.

/// goim's services, number by number.
#[allow(missing_docs, clippy::all, unreachable_pub, rustdoc::all)]
pub mod goim {
    /// `goim.protocol`: the frame that the services carry.
    pub mod protocol {
        tonic::include_proto!("goim.protocol");
    }
    /// `goim.comet`: what goim's job asks of a comet.
    pub mod comet {
        tonic::include_proto!("goim.comet");
    }
    /// `goim.logic`: what goim's comet asks of a logic.
    pub mod logic {
        tonic::include_proto!("goim.logic");
    }
}

/// What Perseid's own parts say to one another; described in `proto/perseid/cluster/v1.proto`.
#[allow(missing_docs, clippy::all, unreachable_pub, rustdoc::all)]
pub mod cluster {
    tonic::include_proto!("perseid.cluster.v1");
}

/// The push API over gRPC: `perseid.v1`.
#[allow(missing_docs, clippy::all, unreachable_pub, rustdoc::all)]
pub mod v1 {
    tonic::include_proto!("perseid.v1");
}

/// The description of all services, for reflection: an encoded `google.protobuf.FileDescriptorSet`.
pub const DESCRIPTORS: &[u8] = tonic::include_file_descriptor_set!("descriptors");

mod event;
mod record;

use bytes::Bytes;

pub use event::{Event, EventKind, EventView, Events};
pub use record::{
    BadRecord, BlockMark, DirectMessage, GroupChange, GroupChangeKind, GroupMessage, LOG_RECORD_FORMAT, LogRecord, Notice,
    ReadMark, RecallMessage, RoomMessage, log_record,
};

/// What kind of push a [`PushMsg`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum PushType {
    /// To session keys or (ours) to users.
    Push = 0,
    /// To a room.
    Room = 1,
    /// To every session.
    Broadcast = 2,
}

/// How much a push matters, where not all can wait: who is dropped first. Never the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum PushPriority {
    /// As most.
    Normal = 0,
    /// Dropped after others.
    High = 1,
    /// Dropped before others.
    Low = 2,
}

/// goim's `goim.logic.PushMsg`, the value of a record in the push topic.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PushMsg {
    /// See [`PushType`].
    #[prost(enumeration = "PushType", tag = "1")]
    pub r#type: i32,
    /// Operation of the frame.
    #[prost(int32, tag = "2")]
    pub operation: i32,
    /// Broadcast: sessions per second over all comets; 0 = as fast as it goes.
    #[prost(int32, tag = "3")]
    pub speed: i32,
    /// The comet that holds the keys; empty when the job is to find it.
    #[prost(string, tag = "4")]
    pub server: String,
    /// Room id, `type://id`.
    #[prost(string, tag = "5")]
    pub room: String,
    /// Session keys.
    #[prost(string, repeated, tag = "6")]
    pub keys: Vec<String>,
    /// Body of the frame.
    #[prost(bytes = "bytes", tag = "7")]
    pub msg: Bytes,
    /// Message id (snowflake). Ours.
    #[prost(uint64, tag = "100")]
    pub id: u64,
    /// Users. Ours.
    #[prost(int64, repeated, tag = "101")]
    pub mids: Vec<i64>,
    /// Not delivered at or after this unix time, ms; 0 = never too late. Ours.
    #[prost(uint64, tag = "102")]
    pub expire_at_ms: u64,
    /// How much it matters; see [`PushPriority`]. Ours.
    #[prost(enumeration = "PushPriority", tag = "103")]
    pub priority: i32,
    /// A later push to the same target with the same key replaces this one where it was not delivered yet; empty: none does.
    /// Ours.
    #[prost(string, tag = "104")]
    pub collapse: String,
    /// Sender's mid as extended sessions see it. Ours.
    #[prost(uint64, tag = "105")]
    pub from: u64,
    /// The trace of the request that brought it: 25 bytes (`perseid_protocol::trace::Trace`), empty for none. Older records
    /// have the id alone, 32 hexadecimal digits. Ours.
    #[prost(bytes = "bytes", tag = "106")]
    pub trace: Bytes,
    /// Idempotency key of the request; empty: none. Ours.
    #[prost(string, tag = "107")]
    pub idem: String,
    /// The account that the idempotency key belongs to. Ours.
    #[prost(string, tag = "108")]
    pub account: String,
    /// Fingerprint of the request, by which a retry is told from another request with the same key; set with `idem`. Ours.
    #[prost(fixed64, tag = "109")]
    pub hash: u64,
    /// How many recipients the answer named; set with `idem`, so that a retry gets the same answer. Ours.
    #[prost(uint64, tag = "110")]
    pub recipients: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Bytes observed on a running goim.
    #[test]
    fn goims_bytes() {
        let keys =
            PushMsg { operation: 1000, server: "vm".into(), keys: vec!["kk1".into()], msg: "hi".into(), ..PushMsg::default() };
        assert_eq!(hex(&keys.encode_to_vec()), "10e8072202766d32036b6b313a026869");
        let room = PushMsg { r#type: 1, operation: 1000, room: "test://7".into(), msg: "hi".into(), ..PushMsg::default() };
        assert_eq!(hex(&room.encode_to_vec()), "080110e8072a08746573743a2f2f373a026869");
        let all = PushMsg { r#type: 2, operation: 1000, speed: 64, msg: "hi".into(), ..PushMsg::default() };
        assert_eq!(hex(&all.encode_to_vec()), "080210e80718403a026869");
    }

    /// Fields of ours have two-byte tags from 100 on, which goim's job skips; what stands in logs may never change.
    #[test]
    fn our_bytes() {
        let traced = PushMsg { trace: Bytes::from_static(b"0af7"), ..PushMsg::default() };
        assert_eq!(hex(&traced.encode_to_vec()), "d2060430616637", "as when it was a text");
        let push = PushMsg {
            operation: 1,
            id: 2,
            idem: "i".into(),
            account: "a".into(),
            hash: 0x0102_0304_0506_0708,
            recipients: 3,
            ..PushMsg::default()
        };
        assert_eq!(hex(&push.encode_to_vec()), "1001a00602da060169e2060161e9060807060504030201f00603");
    }
}
