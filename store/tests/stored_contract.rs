//! What every store of stored messages must do, whatever it stands on.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "stored_contract/basics.rs"]
mod basics;
#[path = "stored_contract/bench.rs"]
mod bench;
#[path = "stored_contract/dice.rs"]
mod dice;
#[path = "stored_contract/folded.rs"]
mod folded;
#[path = "stored_contract/history.rs"]
mod history;
#[path = "stored_contract/kills.rs"]
mod kills;
#[path = "stored_contract/model.rs"]
mod model;
#[path = "stored_contract/retention.rs"]
mod retention;

use dice::{Dice, Seed};
use folded::{Fold, compare, prepare, tight};
use perseid_store::stored::{Store, StoredConfig};

/// Runs a test on every store.
macro_rules! on_every_store {
    ($($test:ident),* $(,)?) => {$(
        #[test]
        fn $test() {
            basics::$test(&bench::memory(1, 1, StoredConfig::default()));
            basics::$test(&bench::memory(3, 5, StoredConfig::default()));
            let folder = tempfile::tempdir().unwrap();
            basics::$test(&bench::embedded(folder.path(), StoredConfig::default()));
            let folder = tempfile::tempdir().unwrap();
            basics::$test(&bench::forgetful(folder.path(), StoredConfig::default()));
        }
    )*};
}

on_every_store!(
    a_direct_message_stands_in_both_inboxes_and_once_in_the_timeline,
    groups_come_change_and_go,
    what_is_taken_back_is_gone_and_stays_where_it_stood,
    who_may_write,
    cursors_go_forward_only,
    positions_that_were_lost_make_a_new_epoch,
    a_read_never_answers_below_what_a_step_has_answered,
);

/// A history in batches, now and then a part of it again.
fn fold_history<S: Store>(store: &S, dice: &mut Dice, records: usize) {
    prepare(store);
    let mut fold = Fold::new(tight().1);
    let history = history::history(dice, records);
    let mut done = 0;
    while done < history.len() {
        let end = (done + 1 + dice.below(40) as usize).min(history.len());
        // From anywhere before, as a job that knows an older guard does.
        let start = if dice.one_in(4) { dice.below(done as u64 + 1) as usize } else { done };
        fold.apply(store, &history[start..end]);
        done = end;
        if dice.one_in(8) {
            compare(store, &fold.model, dice);
            bench::now(store.sweep(0, 0, bench::EPOCH)).unwrap();
        }
    }
    compare(store, &fold.model, dice);
}

#[test]
fn a_store_says_what_the_fold_of_its_log_says() {
    for seed in 0..40 {
        let _seed = Seed(seed);
        let (conv_buckets, user_buckets) = if seed % 2 == 0 { (1, 1) } else { (3, 4) };
        fold_history(&bench::memory(conv_buckets, user_buckets, tight().0), &mut Dice::new(seed), 300);
    }
}

#[test]
fn a_store_in_a_folder_says_it_too() {
    for seed in 100..110 {
        let _seed = Seed(seed);
        let folder = tempfile::tempdir().unwrap();
        fold_history(&bench::embedded(folder.path(), tight().0), &mut Dice::new(seed), 400);
    }
}

#[test]
fn a_store_that_remembers_nothing_says_it_too() {
    for seed in 200..206 {
        let _seed = Seed(seed);
        let folder = tempfile::tempdir().unwrap();
        let store = bench::forgetful(folder.path(), tight().0);
        fold_history(&store, &mut Dice::new(seed), 300);
        assert!(store.counters().cold > 1_000, "{:?}", store.counters());
    }
}
