//! The bytes of rows. Each begins with the byte of its format; they are on disks, so a format never changes, a new one is added.

mod codec;
mod inbox;
mod small;
mod timeline;

pub(crate) use codec::{Reader, Writer};
pub(crate) use inbox::{InboxMeta, Ref};
pub(crate) use small::{Attrs, Cursors, Guard, Interval, Member, OutcomeRow, ReadRow, TrimmedRow, number, read_number};
pub(crate) use timeline::{TimelineMeta, TimelineRow};

use super::kv::Broken;

/// A row that can't be read: of a newer version, or damaged.
pub(crate) fn bad_row(what: &str) -> Broken {
    Broken(format!(
        "a row of the store ({what}) can't be read: it is damaged or from a newer version; delete the store, it is filled again from the log"
    ))
}
