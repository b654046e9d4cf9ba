//! What stands in the topic `log`: everything that gets a position in a conversation or an inbox.

use bytes::Bytes;
use prost::Message;

/// First byte of every value in the topic `log`: how the rest is to be read.
pub const LOG_RECORD_FORMAT: u8 = 1;

/// A record of the topic `log`, without its format byte. Fields may be added; what stands in logs never changes its meaning.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LogRecord {
    /// Message id (snowflake).
    #[prost(fixed64, tag = "1")]
    pub id: u64,
    /// When it was accepted, unix ms, by logic's clock: what dedupe, recall and retention count from.
    #[prost(uint64, tag = "2")]
    pub ts_ms: u64,
    /// Who did it, a mid; 0 = the system.
    #[prost(uint64, tag = "3")]
    pub from: u64,
    /// What a repetition is known by, together with `from`: the client's `cid`, or a hash of (account, id) of the push API; 0:
    /// it is never a repetition.
    #[prost(fixed64, tag = "4")]
    pub idem: u64,
    /// Hash of what was sent, by which a retry is told from another message with the same `idem`.
    #[prost(fixed64, tag = "5")]
    pub hash: u64,
    /// The trace that it belongs to, as in `PushMsg`: 25 bytes, or none.
    #[prost(bytes = "bytes", tag = "6")]
    pub trace: Bytes,
    /// How many recipients the answer of the push API named; of a notice in several records, those of all. Set with an
    /// idempotency key, so that a retry gets the same answer.
    #[prost(uint64, tag = "7")]
    pub recipients: u64,
    /// Of a notice or a message to a group: nobody is given its body at or after this unix time, ms; it keeps its positions, as
    /// GONE. 0: never too late.
    #[prost(uint64, tag = "8")]
    pub expire_at_ms: u64,
    /// What it is.
    #[prost(oneof = "log_record::Body", tags = "10, 11, 12, 13, 14, 15, 16, 17")]
    pub body: Option<log_record::Body>,
}

/// The kinds of [`LogRecord`].
pub mod log_record {
    /// What a record is.
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Body {
        /// From one user to another, or to himself.
        #[prost(message, tag = "10")]
        Direct(super::DirectMessage),
        /// To a group or a channel: which of the two, the conversation itself knows at its position.
        #[prost(message, tag = "11")]
        Group(super::GroupMessage),
        /// A group changes.
        #[prost(message, tag = "12")]
        Change(super::GroupChange),
        /// A message is taken back.
        #[prost(message, tag = "13")]
        Recall(super::RecallMessage),
        /// A user has read a conversation up to a position.
        #[prost(message, tag = "14")]
        Read(super::ReadMark),
        /// A user blocks another, or no longer.
        #[prost(message, tag = "15")]
        Block(super::BlockMark),
        /// From a business service into inboxes, without a timeline.
        #[prost(message, tag = "16")]
        Notice(super::Notice),
        /// To a room that keeps its last frames.
        #[prost(message, tag = "17")]
        Room(super::RoomMessage),
    }
}

/// From `LogRecord.from` to `peer`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DirectMessage {
    /// Whom it is for; may be the sender.
    #[prost(uint64, tag = "1")]
    pub peer: u64,
    /// Body of the frame.
    #[prost(bytes = "bytes", tag = "2")]
    pub body: Bytes,
    /// It does not count as unread.
    #[prost(bool, tag = "3")]
    pub quiet: bool,
}

/// To everybody who is a member at its position.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GroupMessage {
    /// The group or channel.
    #[prost(uint64, tag = "1")]
    pub group: u64,
    /// Body of the frame.
    #[prost(bytes = "bytes", tag = "2")]
    pub body: Bytes,
    /// It does not count as unread.
    #[prost(bool, tag = "3")]
    pub quiet: bool,
    /// Operation of the frame; 0: a user's message (SEND_MSG).
    #[prost(int32, tag = "4")]
    pub op: i32,
}

/// What happens to a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum GroupChangeKind {
    /// It is made, or described anew: kind, owner, name; `add` becomes the whole list of its members.
    Put = 0,
    /// Members come (`add`) and go (`remove`).
    Members = 1,
    /// A group becomes a channel.
    Convert = 2,
    /// It is no more.
    Delete = 3,
}

/// A group changes, by `LogRecord.from`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GroupChange {
    /// The group or channel.
    #[prost(uint64, tag = "1")]
    pub group: u64,
    /// See [`GroupChangeKind`].
    #[prost(enumeration = "GroupChangeKind", tag = "2")]
    pub kind: i32,
    /// Put: it is a channel.
    #[prost(bool, tag = "3")]
    pub channel: bool,
    /// Put: the owner's mid; 0: none.
    #[prost(uint64, tag = "4")]
    pub owner: u64,
    /// Put: its name.
    #[prost(string, tag = "5")]
    pub name: String,
    /// Put: all members. Members: who comes.
    #[prost(uint64, repeated, tag = "6")]
    pub add: Vec<u64>,
    /// Members: who goes.
    #[prost(uint64, repeated, tag = "7")]
    pub remove: Vec<u64>,
}

/// A message is taken back by `LogRecord.from` (0: by the business).
#[derive(Clone, PartialEq, prost::Message)]
pub struct RecallMessage {
    /// Frame kind of the conversation: 1 direct, 2 group, 3 channel.
    #[prost(uint32, tag = "1")]
    pub kind: u32,
    /// The peer of `LogRecord.from`, or the group.
    #[prost(uint64, tag = "2")]
    pub conv: u64,
    /// Where the message stands.
    #[prost(uint64, tag = "3")]
    pub conv_pos: u64,
    /// Its id: nothing happens if another stands there.
    #[prost(fixed64, tag = "4")]
    pub id: u64,
}

/// `LogRecord.from` has read a conversation.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ReadMark {
    /// Frame kind of the conversation: 1 direct, 2 group, 3 channel.
    #[prost(uint32, tag = "1")]
    pub kind: u32,
    /// The peer of `LogRecord.from`, or the group.
    #[prost(uint64, tag = "2")]
    pub conv: u64,
    /// Up to here.
    #[prost(uint64, tag = "3")]
    pub conv_pos: u64,
    /// Nobody is told now, because somebody was a moment ago: another mark that tells it follows.
    #[prost(bool, tag = "4")]
    pub silent: bool,
}

/// `LogRecord.from` blocks `peer`, or no longer.
#[derive(Clone, PartialEq, prost::Message)]
pub struct BlockMark {
    /// Whose messages are refused.
    #[prost(uint64, tag = "1")]
    pub peer: u64,
    /// Whether they are from now on.
    #[prost(bool, tag = "2")]
    pub blocked: bool,
}

/// From a business service into the inboxes of users.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Notice {
    /// For whom: different mids.
    #[prost(uint64, repeated, tag = "1")]
    pub mids: Vec<u64>,
    /// Operation of the frame.
    #[prost(int32, tag = "2")]
    pub op: i32,
    /// Body of the frame.
    #[prost(bytes = "bytes", tag = "3")]
    pub body: Bytes,
}

/// To a room that keeps its last frames.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RoomMessage {
    /// Its id, `type://id`.
    #[prost(string, tag = "1")]
    pub room: String,
    /// Operation of the frame.
    #[prost(int32, tag = "2")]
    pub op: i32,
    /// Body of the frame.
    #[prost(bytes = "bytes", tag = "3")]
    pub body: Bytes,
    /// Not delivered live at or after this unix time, ms; 0: never too late. It keeps its position.
    #[prost(uint64, tag = "4")]
    pub expire_at_ms: u64,
}

impl LogRecord {
    /// The value of the record in the log: the format byte, then the message.
    #[must_use]
    pub fn to_value(&self) -> Bytes {
        let mut value = Vec::with_capacity(1 + self.encoded_len());
        value.push(LOG_RECORD_FORMAT);
        // A vector grows: encoding can't fail.
        self.encode_raw(&mut value);
        value.into()
    }

    /// Reads a value of the log. Bodies stay slices of it.
    ///
    /// # Errors
    /// [`BadRecord`]: another format, or bytes that are none of ours.
    pub fn from_value(value: &Bytes) -> Result<Self, BadRecord> {
        match value.first() {
            Some(&LOG_RECORD_FORMAT) => Ok(Self::decode(value.slice(1..))?),
            Some(&format) => Err(BadRecord::Format(format)),
            None => Err(BadRecord::Empty),
        }
    }
}

/// Why a value of the topic `log` can't be read: it is counted, kept for people, and passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadRecord {
    /// It has no byte.
    Empty,
    /// It was written by a version that this one does not know.
    Format(u8),
    /// It is no protobuf of ours.
    Message(prost::DecodeError),
}

impl From<prost::DecodeError> for BadRecord {
    fn from(error: prost::DecodeError) -> Self {
        Self::Message(error)
    }
}

impl std::fmt::Display for BadRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Empty => f.write_str("the record is empty"),
            Self::Format(format) => write!(f, "the record has format {format}, this version knows {LOG_RECORD_FORMAT}"),
            Self::Message(error) => write!(f, "the record is no LogRecord: {error}"),
        }
    }
}

impl std::error::Error for BadRecord {}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// These bytes may never change: they are on disks.
    #[test]
    fn golden() {
        let direct = DirectMessage { peer: 9, body: "hi".into(), quiet: false };
        let record = LogRecord {
            id: 0x0102_0304_0506_0708,
            ts_ms: 5,
            from: 7,
            idem: 3,
            hash: 4,
            trace: Bytes::new(),
            recipients: 0,
            expire_at_ms: 0,
            body: Some(log_record::Body::Direct(direct)),
        };
        let value = record.to_value();
        let wanted = "01".to_owned() + "090807060504030201" + "1005" + "1807" + "210300000000000000" + "290400000000000000";
        assert_eq!(hex(&value), wanted + "5206" + "0809" + "12026869");
        assert_eq!(LogRecord::from_value(&value), Ok(record));
    }

    #[test]
    fn what_is_no_record() {
        assert_eq!(LogRecord::from_value(&Bytes::new()), Err(BadRecord::Empty));
        assert_eq!(LogRecord::from_value(&Bytes::from_static(&[9, 1])), Err(BadRecord::Format(9)));
        assert!(matches!(LogRecord::from_value(&Bytes::from_static(&[1, 0x52, 200])), Err(BadRecord::Message(_))));
    }
}
