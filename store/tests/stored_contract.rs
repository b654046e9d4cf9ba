//! What every store of stored messages must do, whatever it stands on.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "stored_contract/basics.rs"]
mod basics;
#[path = "stored_contract/bench.rs"]
mod bench;

use perseid_store::stored::StoredConfig;

/// Runs a test on every store.
macro_rules! on_every_store {
    ($($test:ident),* $(,)?) => {$(
        #[test]
        fn $test() {
            basics::$test(&bench::memory(1, 1, StoredConfig::default()));
            basics::$test(&bench::memory(3, 5, StoredConfig::default()));
            let folder = tempfile::tempdir().unwrap();
            basics::$test(&bench::embedded(folder.path(), StoredConfig::default()));
        }
    )*};
}

on_every_store!(
    a_direct_message_stands_in_both_inboxes_and_once_in_the_timeline,
    groups_come_change_and_go,
    what_is_taken_back_is_gone_and_stays_where_it_stood,
    who_may_write,
    cursors_go_forward_only,
);
