//! Reads that hang on the disk hold up nobody else.

use std::sync::Condvar;

use super::*;
use crate::stored::read::OpenInbox;

/// What every read of the disk passes.
#[derive(Default)]
struct Gate {
    state: Mutex<(bool, usize)>,
    changed: Condvar,
}

impl Gate {
    fn config(self: &Arc<Self>, folder: &Path) -> EmbeddedConfig {
        let gate = self.clone();
        let fault = move |what| {
            if what == DiskUse::Read {
                gate.pass();
            }
            Ok(())
        };
        EmbeddedConfig { disk_fault: Arc::new(fault), ..config(folder) }
    }

    fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        state.1 += 1;
        self.changed.notify_all();
        drop(self.changed.wait_while(state, |(is_closed, _)| *is_closed).unwrap());
    }

    fn close(&self) {
        *self.state.lock().unwrap() = (true, 0);
    }

    fn open(&self) {
        self.state.lock().unwrap().0 = false;
        self.changed.notify_all();
    }

    /// Waits until so many reads hang.
    fn hang(&self, reads: usize) {
        drop(self.changed.wait_while(self.state.lock().unwrap(), |(_, hang)| *hang < reads).unwrap());
    }
}

/// The answer, which must be there.
fn at_once<T>(verdict: Verdict<T>) -> T {
    verdict.now().expect("an answer at once")
}

fn ask(conv: Conv, idem: u64) -> Reserve {
    Reserve { conv, from: 1, idem, hash: 1, id: 9, hold: true, now_ms: 1_000 }
}

fn later<T>(verdict: Verdict<T>) -> impl FnOnce() -> T {
    assert!(matches!(verdict, Verdict::Later(_)), "it was answered at once");
    move || now(verdict)
}

fn sync(store: &EmbeddedStore, mid: u64) -> Verdict<Vec<u64>> {
    let bound = PageBound { messages_max: 100, bytes_max: usize::MAX };
    store.sync(mid, 0, bound).then(|page| page.unwrap().unwrap().messages.iter().map(|message| message.pos).collect())
}

/// A store with two messages from 1 to 2 on its disk, and nothing in memory but where their chat and their inbox stand.
fn opened_again(gate: &Arc<Gate>, config: impl Fn(EmbeddedConfig) -> EmbeddedConfig) -> (tempfile::TempDir, EmbeddedStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(gate.config(folder.path())).unwrap();
    prepare(&store);
    assert_eq!((say(&store, 1), say(&store, 2)), (Ok(1), Ok(2)));
    drop(store);
    let store = EmbeddedStore::open(config(gate.config(folder.path()))).unwrap();
    prepare(&store);
    assert_eq!(now(store.reserve(ask(CHAT, 77))), Ok(Reserved::New { kind: crate::stored::conv::ConvKind::Direct }));
    assert_eq!(now(store.inbox(2)).unwrap().head, 2);
    (folder, store)
}

#[test]
fn who_finds_all_in_memory_does_not_wait_for_who_does_not() {
    let gate = Arc::new(Gate::default());
    let (_folder, store) = opened_again(&gate, |config| config);
    // The list of conversations of this user is asked for once.
    assert_eq!(say(&store, 3), Ok(3));
    gate.close();
    let page = later(sync(&store, 2));
    let reserved = later(store.reserve(ask(Conv::direct(1, 3), 5)));
    gate.hang(2);
    // The job applies, logic asks, sessions come: all of that at once.
    assert_eq!((say(&store, 4), say(&store, 5)), (Ok(4), Ok(5)));
    assert!(matches!(at_once(store.reserve(ask(CHAT, 78))), Ok(Reserved::New { .. })));
    assert_eq!(at_once(store.inbox(2)).unwrap().head, 5);
    let at_head = at_once(store.sync(2, 5, PageBound { messages_max: 100, bytes_max: 1 })).unwrap().unwrap();
    assert!(at_head.messages.is_empty() && !at_head.more);
    let open = OpenInbox { mid: 3, device: "web".into(), has: None, now_ms: 5 };
    let opened = later(store.open_inbox(open));
    gate.open();
    assert!(page().starts_with(&[1, 2, 3]));
    assert!(matches!(reserved(), Ok(Reserved::New { .. })));
    assert_eq!(opened().unwrap().inbox.head, 0);
    assert!(store.counters().cold >= 3 && store.counters().cold_refused == 0);
}

#[test]
fn a_step_that_needs_the_disk_leaves_the_rest_alone() {
    let gate = Arc::new(Gate::default());
    let (_folder, store) = opened_again(&gate, |config| config);
    assert_eq!(say(&store, 3), Ok(3));
    gate.close();
    let boot = at_once(store.load(0)).unwrap().boot;
    let change = Change::Message { op: 4, quiet: false, body: Bytes::from_static(b"x") };
    let op =
        ConvOp { offset: 4, conv: Conv::direct(1, 9), id: 4, ts_ms: 1_000, from: 1, idem: 4, hash: 1, expires_at_ms: 0, change };
    let step = move || Step { partition: 0, bucket: 0, boot, prev: 3, last: 4, items: vec![op.clone()] };
    assert!(store.conv(step()).now().is_none(), "the log's thread asks, and does not wait");
    std::thread::scope(|scope| {
        let own = scope.spawn(|| now(store.conv(step())));
        gate.hang(1);
        assert!(matches!(at_once(store.reserve(ask(CHAT, 78))), Ok(Reserved::New { .. })));
        assert_eq!(at_once(store.inbox(2)).unwrap().head, 3);
        gate.open();
        let done = own.join().unwrap().unwrap();
        assert!(matches!(done[0].outcome, ConvOutcome::Row { pos: 1, .. }), "{done:?}");
    });
}

#[test]
fn so_many_reads_wait_and_no_more() {
    let gate = Arc::new(Gate::default());
    let (_folder, store) = opened_again(&gate, |config| EmbeddedConfig { readers: 1, reads_waiting_max: 2, ..config });
    gate.close();
    let first = later(sync(&store, 2));
    gate.hang(1);
    let (second, third) = (later(sync(&store, 2)), later(store.inbox(7)));
    assert!(at_once(store.inbox(8)).is_err(), "there is no room");
    assert_eq!(at_once(store.inbox(2)).unwrap().head, 2, "what is in memory needs none");
    assert_eq!((store.counters().cold_refused, store.counters().reads_waiting), (1, 3));
    gate.open();
    assert_eq!((first(), second(), third().unwrap().head), (vec![1, 2], vec![1, 2], 0));
    assert!(now(store.inbox(8)).is_ok());
}

#[test]
fn closing_answers_those_who_wait() {
    let gate = Arc::new(Gate::default());
    let (_folder, store) = opened_again(&gate, |config| EmbeddedConfig { readers: 1, ..config });
    gate.close();
    let hangs = later(sync(&store, 2));
    gate.hang(1);
    let waits = later(store.inbox(7));
    let closing = std::thread::spawn(move || drop(store));
    assert!(waits().is_err(), "nobody will read it any more");
    gate.open();
    assert_eq!(hangs(), [1, 2]);
    closing.join().unwrap();
}
