//! What one receiving call brings an extended session.

use super::header::{FLAG_MORE, FLAG_STORED, Head, OP_DISCONNECT, OP_ERROR, OP_HEAD, OP_SEND_MSG_REPLY, OP_SYNC_REPLY};
use super::inbox::{From, Inbox, Place};
use super::ledger::{Arrival, Ledger};
use crate::engine::books::Books;
use crate::engine::classic::{self, Sink, WireError};

/// A session while its bytes are walked.
pub(crate) struct Visit<'a> {
    pub(crate) inbox: &'a mut Inbox,
    /// None between two plans.
    pub(crate) ledger: Option<&'a mut Ledger>,
    pub(crate) from: From,
    /// The session's number in its process, and its user.
    pub(crate) session: usize,
    pub(crate) mid: u64,
    /// Why the session cannot go on.
    pub(crate) failure: Option<String>,
}

impl Visit<'_> {
    /// A frame; false when it is none of the extended level.
    #[inline]
    pub(in crate::engine) fn frame(&mut self, books: &mut Books, op: u32, header: &[u8], body: &[u8], now_ns: u64) -> bool {
        let Some(head) = Head::decode(header) else { return false };
        match op {
            OP_SEND_MSG_REPLY => {
                if self.ledger.as_mut().is_some_and(|ledger| ledger.answer(self.session, &head, now_ns)) {
                    books.progress.answered += 1;
                }
            }
            OP_SYNC_REPLY => self.page(books, &head, body, now_ns),
            OP_HEAD if head.conv == 0 => self.inbox.hint(head.pos),
            OP_HEAD => {}
            OP_ERROR => self.error(&head, body),
            OP_DISCONNECT => self.failure = Some(format!("DISCONNECT {}", reason(body))),
            classic::OP_AUTH_REPLY => {
                // Only one that comes back needs it, and JSON costs.
                let epoch = if self.from == From::Cursor { epoch(body) } else { 0 };
                self.inbox.greeted(head.pos, epoch, self.from);
                self.inbox.sync_ns = now_ns;
            }
            classic::OP_HEARTBEAT_REPLY => {
                books.progress.heartbeat_replies += 1;
                let due_ns = std::mem::take(&mut self.inbox.beat_ns);
                if due_ns > 0 {
                    books.beat_latency.record(now_ns.saturating_sub(due_ns));
                }
                self.inbox.hint(head.pos);
            }
            _ if head.has(FLAG_STORED) => self.message(books, head, body, now_ns, false),
            _ => return false,
        }
        true
    }

    #[inline]
    fn message(&mut self, books: &mut Books, head: Head, body: &[u8], now_ns: u64, paged: bool) {
        let place = self.inbox.place(head.pos, paged);
        let Some(ledger) = &mut self.ledger else { return };
        ledger.placed(place);
        // What comes again with a page is applied then; what was there is shown to
        // the ledger all the same, so that it finds the message that came twice.
        let apply = match place {
            Place::Next | Place::Repeated => true,
            Place::Beside => false,
            Place::Jump => paged,
        };
        let (session, mid) = (self.session, self.mid);
        if apply && ledger.message(&Arrival { session, mid, head, body, now_ns }) {
            books.progress.received += 1;
        }
    }

    #[cold]
    fn page(&mut self, books: &mut Books, head: &Head, body: &[u8], now_ns: u64) {
        let mut page = Page { visit: self, books, now_ns, brought: 0 };
        let walked = classic::walk(body, &mut page);
        let brought = page.brought;
        let whole = match walked {
            Ok(len) if len == body.len() => self.inbox.page(head.pos, head.has(FLAG_MORE), brought),
            Ok(_) => Err("a page that ends inside a frame"),
            Err(WireError(what)) => Err(what),
        };
        if let Err(what) = whole {
            self.failure = Some(what.to_owned());
        }
        if self.inbox.live() && self.inbox.sync_ns > 0 {
            let since_ns = std::mem::take(&mut self.inbox.sync_ns);
            books.sync_latency.record(now_ns.saturating_sub(since_ns));
        }
    }

    #[cold]
    fn error(&mut self, head: &Head, body: &[u8]) {
        let why = reason(body);
        let refused = head.cid != 0 && self.ledger.as_mut().is_some_and(|ledger| ledger.refusal(head, &why));
        // What is not about a message is about a SYNC.
        if !refused && head.cid == 0 {
            self.failure = Some(format!("ERROR {why}"));
        }
    }
}

/// The frames of a page.
struct Page<'a, 'b> {
    visit: &'a mut Visit<'b>,
    books: &'a mut Books,
    now_ns: u64,
    brought: u64,
}

impl Sink for Page<'_, '_> {
    #[inline]
    fn frame(&mut self, _op: u32, header: &[u8], body: &[u8]) {
        self.brought += 1;
        if let Some(head) = Head::decode(header) {
            self.visit.message(self.books, head, body, self.now_ns, true);
        }
    }
    fn ping(&mut self, _payload: &[u8]) {}
    fn bye(&mut self, _code: u16) {}
}

/// The epoch that AUTH_REPLY names; 0 if it does not.
fn epoch(body: &[u8]) -> u64 {
    let json: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    json.and_then(|json| json.get("epoch")?.as_u64()).unwrap_or(0)
}

/// The word that the JSON of a refusal gives as its reason.
fn reason(body: &[u8]) -> String {
    let json: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let word = json.as_ref().and_then(|json| json.get("reason")?.as_str());
    word.unwrap_or("without a reason").chars().take(64).collect()
}
