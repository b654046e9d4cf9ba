//! The table of operations: code, name, who sends it, and what a session of each level may do with it.

/// Operation codes by name.
#[allow(missing_docs)] // the table below is their documentation
pub mod op {
    pub const HANDSHAKE: i32 = 0;
    pub const HANDSHAKE_REPLY: i32 = 1;
    pub const HEARTBEAT: i32 = 2;
    pub const HEARTBEAT_REPLY: i32 = 3;
    pub const SEND_MSG: i32 = 4;
    pub const SEND_MSG_REPLY: i32 = 5;
    pub const DISCONNECT: i32 = 6;
    pub const AUTH: i32 = 7;
    pub const AUTH_REPLY: i32 = 8;
    pub const RAW: i32 = 9;
    pub const PROTO_READY: i32 = 10;
    pub const PROTO_FINISH: i32 = 11;
    pub const CHANGE_ROOM: i32 = 12;
    pub const CHANGE_ROOM_REPLY: i32 = 13;
    pub const SUB: i32 = 14;
    pub const SUB_REPLY: i32 = 15;
    pub const UNSUB: i32 = 16;
    pub const UNSUB_REPLY: i32 = 17;
    pub const SYNC: i32 = 18;
    pub const SYNC_REPLY: i32 = 19;
    pub const ACK: i32 = 20;
    pub const ACK_REPLY: i32 = 21;
    pub const PULL: i32 = 22;
    pub const PULL_REPLY: i32 = 23;
    pub const READ: i32 = 24;
    pub const READ_REPLY: i32 = 25;
    pub const HEADS: i32 = 26;
    pub const HEADS_REPLY: i32 = 27;
    pub const RECALL: i32 = 28;
    pub const RECALL_REPLY: i32 = 29;
    pub const EPHEMERAL: i32 = 30;
    pub const HEAD: i32 = 31;
    pub const ERROR: i32 = 32;
    /// The first code that an extended session may send upstream.
    pub const UPSTREAM_MIN: i32 = 33;
    /// The first code that the push API gives to businesses.
    pub const BUSINESS_MIN: i32 = 1000;
}

/// Who sends an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// Nobody: reserved.
    Nobody,
    /// The client, as a request.
    Client,
    /// The server, as a reply or by itself.
    Server,
    /// Either.
    Both,
}

/// What the rules do with an operation that an *extended* session sends. (A classic session has goim's few requests;
/// all else it sends is upstream.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Answered by the comet itself.
    Control,
    /// Answered from the stored messages.
    Stored,
    /// Handed to the business.
    Upstream,
    /// Ends the session: BAD_FRAME.
    Forbidden,
    /// Refused: BAD_REQUEST; the session goes on.
    Refused,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    /// Its code on the wire.
    pub code: i32,
    /// Its name in documents, logs and metrics.
    pub name: &'static str,
    /// Who sends it.
    pub sender: Sender,
    /// What an extended session gets when it sends it.
    pub class: Class,
}

const fn row(code: i32, name: &'static str, sender: Sender, class: Class) -> Operation {
    Operation { code, name, sender, class }
}

/// Every operation below 33, by code.
pub const TABLE: [Operation; 33] = {
    use Class::{Control, Forbidden, Refused, Stored};
    use Sender::{Both, Client, Nobody, Server};
    [
        row(0, "HANDSHAKE", Nobody, Refused),
        row(1, "HANDSHAKE_REPLY", Nobody, Refused),
        row(2, "HEARTBEAT", Client, Control),
        row(3, "HEARTBEAT_REPLY", Server, Refused),
        row(4, "SEND_MSG", Both, Stored),
        row(5, "SEND_MSG_REPLY", Server, Refused),
        row(6, "DISCONNECT", Server, Refused),
        row(7, "AUTH", Client, Control),
        row(8, "AUTH_REPLY", Server, Refused),
        row(9, "RAW", Server, Refused),
        row(10, "PROTO_READY", Nobody, Forbidden),
        row(11, "PROTO_FINISH", Nobody, Forbidden),
        row(12, "CHANGE_ROOM", Client, Control),
        row(13, "CHANGE_ROOM_REPLY", Server, Refused),
        row(14, "SUB", Client, Control),
        row(15, "SUB_REPLY", Server, Refused),
        row(16, "UNSUB", Client, Control),
        row(17, "UNSUB_REPLY", Server, Refused),
        row(18, "SYNC", Client, Stored),
        row(19, "SYNC_REPLY", Server, Refused),
        row(20, "ACK", Client, Stored),
        row(21, "ACK_REPLY", Server, Refused),
        row(22, "PULL", Client, Stored),
        row(23, "PULL_REPLY", Server, Refused),
        row(24, "READ", Client, Stored),
        row(25, "READ_REPLY", Server, Refused),
        row(26, "HEADS", Client, Stored),
        row(27, "HEADS_REPLY", Server, Refused),
        row(28, "RECALL", Client, Stored),
        row(29, "RECALL_REPLY", Server, Refused),
        row(30, "EPHEMERAL", Both, Stored),
        row(31, "HEAD", Server, Refused),
        row(32, "ERROR", Server, Refused),
    ]
};

/// The row of `code`, if it is below 33.
pub fn lookup(code: i32) -> Option<&'static Operation> {
    usize::try_from(code).ok().and_then(|index| TABLE.get(index))
}

/// What an extended session gets when it sends `code`.
pub fn class(code: i32) -> Class {
    match lookup(code) {
        Some(operation) => operation.class,
        None if code >= op::UPSTREAM_MIN => Class::Upstream,
        None => Class::Refused, // negative
    }
}

/// The name of `code`, for people: `PUSH` for what businesses use, `OP` for the rest.
pub fn name(code: i32) -> &'static str {
    match lookup(code) {
        Some(operation) => operation.name,
        None if code >= op::BUSINESS_MIN => "PUSH",
        None => "OP",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_stands_at_its_code() {
        for (index, operation) in TABLE.iter().enumerate() {
            assert_eq!(usize::try_from(operation.code).unwrap(), index, "{}", operation.name);
        }
    }

    #[test]
    fn requests_and_their_replies_stand_side_by_side() {
        for pair in TABLE[..30].chunks(2) {
            if pair[0].sender == Sender::Client && pair[0].code != op::AUTH {
                assert_eq!(pair[1].sender, Sender::Server, "{}", pair[0].name);
            }
        }
    }

    #[test]
    fn what_is_not_in_the_table() {
        assert_eq!(class(33), Class::Upstream);
        assert_eq!(class(i32::MAX), Class::Upstream);
        assert_eq!(class(-1), Class::Refused);
        assert_eq!(class(i32::MIN), Class::Refused);
        assert_eq!(name(1000), "PUSH");
    }
}
