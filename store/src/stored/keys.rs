//! The table of keys: one byte for the sort of row, then big-endian numbers. They are on disks: nothing here ever changes its
//! meaning. A position 0 holds what is known of the whole inbox or timeline.

use super::conv::Conv;
use super::kv::Key;

/// Sorts of rows; those of conversations in capitals, those of users in small letters.
pub(crate) mod sort {
    /// The bucket of conversations: its epoch.
    pub(crate) const CONV_EPOCH: u8 = b'E';
    /// The bucket of conversations: its guards, by partition.
    pub(crate) const CONV_GUARD: u8 = b'G';
    /// Attributes, by conversation.
    pub(crate) const ATTRS: u8 = b'A';
    /// Timelines, by conversation and position.
    pub(crate) const TIMELINE: u8 = b'T';
    /// Members, by group and mid.
    pub(crate) const MEMBER: u8 = b'M';
    /// What came of records that have no row, by conversation and offset.
    pub(crate) const OUTCOME: u8 = b'O';
    /// Dedupe one by one, by hour and hash.
    pub(crate) const DEDUPE: u8 = b'D';
    /// Dedupe, many packed into one, by hour and commit.
    pub(crate) const PACKED: u8 = b'P';
    /// What is needed to know a repetition of a row that is trimmed, by conversation and position.
    pub(crate) const TRIMMED: u8 = b'X';
    /// The key of the hash of dedupe.
    pub(crate) const SEED: u8 = b'S';
    /// The bucket of users: its epoch.
    pub(crate) const USER_EPOCH: u8 = b'e';
    /// The bucket of users: its guards, by partition.
    pub(crate) const USER_GUARD: u8 = b'g';
    /// Inboxes, by user and position.
    pub(crate) const INBOX: u8 = b'i';
    /// Cursors of a user's devices, by user.
    pub(crate) const CURSORS: u8 = b'c';
    /// A user's conversations, by user, sort and number.
    pub(crate) const CONVS: u8 = b'l';
    /// Read positions, by user, conversation and whether it is the peer's.
    pub(crate) const READ: u8 = b'r';
}

fn of_conv(sort: u8, conv: Conv) -> Key {
    Key::new(sort).and(&conv.to_bytes())
}

/// Attributes of a conversation.
pub(crate) fn attrs(conv: Conv) -> Key {
    of_conv(sort::ATTRS, conv)
}

/// All of a timeline.
pub(crate) fn timeline(conv: Conv) -> Key {
    of_conv(sort::TIMELINE, conv)
}

/// A row of a timeline.
pub(crate) fn timeline_row(conv: Conv, pos: u64) -> Key {
    timeline(conv).and_u64(pos)
}

/// All members of a group.
pub(crate) fn members(group: u64) -> Key {
    Key::new(sort::MEMBER).and_u64(group)
}

/// A member of a group.
pub(crate) fn member(group: u64, mid: u64) -> Key {
    members(group).and_u64(mid)
}

/// What came of a record that has no row.
pub(crate) fn outcome(conv: Conv, offset: u64) -> Key {
    of_conv(sort::OUTCOME, conv).and_u64(offset)
}

/// What is kept for dedupe of a row that is trimmed.
pub(crate) fn trimmed(conv: Conv, pos: u64) -> Key {
    of_conv(sort::TRIMMED, conv).and_u64(pos)
}

/// A place in the dedupe of an hour.
pub(crate) fn dedupe(hour: u32, hash: u64) -> Key {
    Key::new(sort::DEDUPE).and_u32(hour).and_u64(hash)
}

/// All of an inbox.
pub(crate) fn inbox(mid: u64) -> Key {
    Key::new(sort::INBOX).and_u64(mid)
}

/// A row of an inbox.
pub(crate) fn inbox_row(mid: u64, pos: u64) -> Key {
    inbox(mid).and_u64(pos)
}

/// The cursors of a user's devices.
pub(crate) fn cursors(mid: u64) -> Key {
    Key::new(sort::CURSORS).and_u64(mid)
}

/// The sort of a conversation in a user's list: those of one kind stand together, groups and channels too.
pub(crate) const fn list_sort(conv: Conv) -> u8 {
    match conv {
        Conv::Direct { .. } => 1,
        Conv::Group(_) => 2,
        Conv::Room(_) => 4,
    }
}

/// The conversations of one sort in a user's list.
pub(crate) fn convs(mid: u64, sort_of_conv: u8) -> Key {
    Key::new(sort::CONVS).and_u64(mid).and(&[sort_of_conv])
}

/// A conversation in a user's list.
pub(crate) fn conv_of(mid: u64, conv: Conv) -> Key {
    convs(mid, list_sort(conv)).and_u64(conv.seen_by(mid))
}

/// What has been read of a conversation, by the user or by the peer.
pub(crate) fn read(mid: u64, conv: Conv, by_peer: bool) -> Key {
    Key::new(sort::READ).and_u64(mid).and(&[list_sort(conv)]).and_u64(conv.seen_by(mid)).and(&[u8::from(by_peer)])
}

/// A guard.
pub(crate) fn guard(guard_sort: u8, partition: u32) -> Key {
    Key::new(guard_sort).and_u32(partition)
}

/// The conversation that stands behind the sort of a key which ends with a number.
pub(crate) fn conv_before_number(key: &Key) -> Option<Conv> {
    let (bytes, _) = key.tail(1).split_last_chunk::<8>()?;
    Conv::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// These bytes may never change: they are on disks.
    #[test]
    fn golden() {
        let chat = Conv::direct(0x22, 0x11);
        assert_eq!(
            format!("{:?}", timeline_row(chat, 3)),
            "540100000000000000110000000000000022".to_owned() + "0000000000000003"
        );
        assert_eq!(format!("{:?}", attrs(Conv::Group(4))), "41020000000000000004");
        assert_eq!(format!("{:?}", outcome(Conv::Room(5), 6)), "4f0400000000000000050000000000000006");
        assert_eq!(format!("{:?}", trimmed(Conv::Group(5), 6)), "580200000000000000050000000000000006");
        assert_eq!(format!("{:?}", member(1, 2)), "4d00000000000000010000000000000002");
        assert_eq!(format!("{:?}", dedupe(1, 2)), "44000000010000000000000002");
        assert_eq!(format!("{:?}", inbox_row(0x11, 1)), "6900000000000000110000000000000001");
        assert_eq!(format!("{:?}", cursors(0x11)), "630000000000000011");
        assert_eq!(format!("{:?}", conv_of(0x11, chat)), "6c0000000000000011010000000000000022");
        assert_eq!(format!("{:?}", read(0x11, chat, true)), "72000000000000001101000000000000002201");
        assert_eq!(format!("{:?}", guard(sort::USER_GUARD, 1)), "6700000001");
        assert_eq!(conv_before_number(&timeline_row(chat, 3)), Some(chat));
        assert_eq!(conv_before_number(&Key::new(1)), None);
    }
}
