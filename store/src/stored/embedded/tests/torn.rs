//! What a loss of power leaves of a journal.

use bytes::Bytes;

use super::{EmbeddedStore, Store, config, copy_all, now, page, prepare, say_with, wait_until};

/// A message at this offset whose body is as large as several pages of a disk, committed by itself.
fn say_much(store: &EmbeddedStore, offset: u64) {
    let persists = || store.counters().persists.counts.iter().sum::<u64>();
    let before = persists();
    assert_eq!(say_with(store, offset, Bytes::from(vec![b'x'; 20_000])), Ok(offset));
    wait_until(|| store.durable(0) == offset && persists() > before);
}

/// What a loss of power leaves of the last commit: any of its pages may be missing.
#[test]
fn a_hole_in_the_last_commit_costs_that_commit_only() {
    let whole = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(config(whole.path())).unwrap();
    prepare(&store);
    (1..=3).for_each(|offset| say_much(&store, offset));
    let folder = tempfile::tempdir().unwrap();
    copy_all(whole.path(), folder.path());
    let journal = folder.path().join("0.jnl");
    let bytes = std::fs::read(&journal).unwrap();
    let mut holes = 0;
    // Pages inside of the last body: lengths around them are right, so that nothing but the sum tells of the hole.
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    let is_inside = |page: &usize| bytes[page * 4096..(page + 1) * 4096].iter().all(|byte| *byte == b'x');
    for hole in (end.saturating_sub(22_000) / 4096..end / 4096).filter(is_inside) {
        let copy = tempfile::tempdir().unwrap();
        copy_all(folder.path(), copy.path());
        let mut torn = bytes.clone();
        torn[hole * 4096..(hole + 1) * 4096].fill(0);
        std::fs::write(copy.path().join("0.jnl"), &torn).unwrap();
        let store = EmbeddedStore::open(config(copy.path())).unwrap();
        assert_eq!(store.moved_to(), None, "hole {hole}");
        let guards: Vec<_> = now(store.load(0)).unwrap().buckets.iter().map(|state| state.guard).collect();
        assert_eq!(guards, [2, 2], "hole {hole}");
        assert_eq!(page(&store), [1, 2]);
        assert_eq!(say_with(&store, 3, Bytes::from(vec![b'x'; 20_000])), Ok(3), "at the same position");
        holes += 1;
    }
    assert!(holes >= 3, "{holes}");
}
