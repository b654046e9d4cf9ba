//! Where one extended session stands in its inbox: the rule that a client
//! follows, as a value. It finds positions that repeat or leave something out.

/// SYNCs in a row that bring nothing although more was promised.
const FRUITLESS_MAX: u8 = 10;

/// From where a session reads its inbox when it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) enum From {
    /// From the head: nothing but what comes now.
    Head,
    /// All that is kept.
    Floor,
    /// From where it was when it left; the first time from the head.
    Cursor,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Waiting,
    /// Asked for a page; `again`: pushes may come beside it.
    Syncing {
        again: bool,
    },
    Live,
}

/// What a position means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The next one: to be applied.
    Next,
    /// Pushed beside a page that had it or will have it: no fault.
    Beside,
    /// It was there already.
    Repeated,
    /// Something is missing before it. Of a page it is applied; pushed it is
    /// dropped and comes again with a page.
    Jump,
}

/// The place of one session.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Inbox {
    /// All up to here has come.
    cursor: u64,
    /// The highest position heard of.
    known: u64,
    /// What its positions belong to; 0 as long as nobody has asked for it.
    epoch: u64,
    /// When it began to read, and when its last heartbeat was due.
    pub(crate) sync_ns: u64,
    pub(crate) beat_ns: u64,
    state: State,
    /// The first position may be any: the floor.
    anywhere: bool,
    /// It wants a page from the cursor.
    wants: bool,
    fruitless: u8,
}

impl Inbox {
    /// AUTH was answered: the inbox ends at `head`, its positions are of `epoch`.
    pub(crate) fn greeted(&mut self, head: u64, epoch: u64, from: From) {
        let back = (from == From::Cursor && self.epoch == epoch && epoch > 0).then_some(self.cursor);
        // Whoever says in AUTH where he is may be live before he asks.
        let state = State::Syncing { again: back.is_some() };
        *self = Self { state, epoch, wants: true, ..Self::default() };
        match from {
            From::Floor => self.anywhere = true,
            From::Head | From::Cursor => self.cursor = back.unwrap_or(head),
        }
    }

    /// Position and epoch for AUTH, of a session that comes back.
    pub(crate) fn stands(&self) -> Option<(u64, u64)> {
        (self.epoch > 0).then_some((self.cursor, self.epoch))
    }

    pub(crate) fn live(&self) -> bool {
        self.state == State::Live
    }

    /// The cursor to read on from, once, if a page is wanted.
    pub(crate) fn wish(&mut self) -> Option<u64> {
        std::mem::take(&mut self.wants).then_some(self.cursor)
    }

    /// A stored frame, of a page or pushed.
    #[inline]
    pub(crate) fn place(&mut self, pos: u64, paged: bool) -> Place {
        let again = self.state == State::Syncing { again: true };
        if pos == self.cursor.saturating_add(1) || (self.anywhere && paged && pos > 0) {
            self.cursor = pos;
            self.anywhere = false;
            return Place::Next;
        }
        if pos <= self.cursor {
            return if again { Place::Beside } else { Place::Repeated };
        }
        self.known = self.known.max(pos);
        match (paged, again) {
            (true, _) => {
                self.cursor = pos;
                Place::Jump
            }
            (false, true) => Place::Beside,
            (false, false) => {
                self.read_on();
                Place::Jump
            }
        }
    }

    /// A page has ended that held `brought` frames.
    ///
    /// # Errors
    ///
    /// The page contradicts itself or what was said before.
    pub(crate) fn page(&mut self, head: u64, more: bool, brought: u64) -> Result<(), &'static str> {
        if self.state == State::Waiting || self.state == State::Live {
            return Err("a page that nobody asked for");
        }
        self.known = self.known.max(head);
        if more {
            if brought == 0 {
                return Err("an empty page that says there is more");
            }
            self.wants = true;
            return Ok(());
        }
        if self.cursor < head {
            return Err("a last page that ends below its own head");
        }
        self.fruitless = if brought == 0 { self.fruitless + 1 } else { 0 };
        if self.fruitless > FRUITLESS_MAX {
            return Err("SYNC answers again and again below a position that was announced");
        }
        self.state = State::Live;
        if self.known > self.cursor {
            self.read_on();
        } else {
            self.fruitless = 0;
        }
        Ok(())
    }

    /// The inbox goes up to `head`, as the server says.
    pub(crate) fn hint(&mut self, head: u64) {
        self.known = self.known.max(head);
        if self.live() && self.known > self.cursor {
            self.read_on();
        }
    }

    fn read_on(&mut self) {
        if self.state == State::Live {
            self.state = State::Syncing { again: true };
            self.wants = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live(head: u64) -> Inbox {
        let mut inbox = Inbox::default();
        inbox.greeted(head, 1, From::Head);
        assert_eq!((inbox.wish(), inbox.wish(), inbox.live()), (Some(head), None, false));
        inbox.page(head, false, 0).unwrap();
        assert!(inbox.live() && inbox.wish().is_none());
        inbox
    }

    #[test]
    fn pushes_in_order_are_next() {
        let mut inbox = live(7);
        assert_eq!([8, 9, 10].map(|pos| inbox.place(pos, false)), [Place::Next; 3]);
        assert_eq!(inbox.wish(), None);
    }

    #[test]
    fn repeats_and_holes_are_found_and_read_again() {
        let mut inbox = live(7);
        assert_eq!([8, 8, 3].map(|pos| inbox.place(pos, false)), [Place::Next, Place::Repeated, Place::Repeated]);
        assert_eq!((inbox.place(11, false), inbox.wish()), (Place::Jump, Some(8)));
        assert_eq!(inbox.place(12, false), Place::Beside);
        assert_eq!([9, 10, 11].map(|pos| inbox.place(pos, true)), [Place::Next; 3]);
        inbox.page(11, false, 3).unwrap();
        assert_eq!(inbox.wish(), Some(11), "12 was seen, so there is more");
        assert_eq!(inbox.place(12, true), Place::Next);
        inbox.page(12, false, 1).unwrap();
        assert!(inbox.live() && inbox.wish().is_none());
    }

    #[test]
    fn reading_from_the_floor() {
        let mut inbox = Inbox::default();
        inbox.greeted(30, 1, From::Floor);
        assert_eq!(inbox.wish(), Some(0));
        assert_eq!([21, 22, 24, 24].map(|pos| inbox.place(pos, true)), [Place::Next, Place::Next, Place::Jump, Place::Repeated]);
        inbox.page(30, true, 4).unwrap();
        assert_eq!(inbox.wish(), Some(24));
        assert!(inbox.page(30, false, 0).is_err(), "it ends below its head");
    }

    #[test]
    fn coming_back_to_the_cursor() {
        let mut inbox = Inbox::default();
        assert_eq!(inbox.stands(), None);
        inbox.greeted(4, 9, From::Cursor);
        assert_eq!(inbox.wish(), Some(4), "the first time from the head");
        inbox.page(4, false, 0).unwrap();
        assert_eq!((inbox.place(5, false), inbox.stands()), (Place::Next, Some((5, 9))));
        inbox.greeted(7, 9, From::Cursor);
        assert_eq!((inbox.wish(), inbox.live()), (Some(5), false));
        inbox.greeted(7, 10, From::Cursor);
        assert_eq!(inbox.wish(), Some(7), "another epoch: the cursor says nothing");
    }

    #[test]
    fn hints_lead_to_one_sync() {
        let mut inbox = live(5);
        inbox.hint(5);
        assert_eq!(inbox.wish(), None);
        inbox.hint(6);
        inbox.hint(7);
        assert_eq!((inbox.wish(), inbox.wish()), (Some(5), None));
    }

    #[test]
    fn a_server_that_contradicts_itself_is_found() {
        let mut inbox = live(5);
        assert!(inbox.page(5, false, 0).is_err());
        inbox.hint(6);
        let answers = (0..20).map_while(|_| inbox.wish().map(|_| inbox.page(5, false, 0)));
        assert!(answers.last().unwrap().is_err());
        let mut inbox = Inbox::default();
        inbox.greeted(5, 1, From::Floor);
        assert!(inbox.page(5, true, 0).is_err());
    }
}
