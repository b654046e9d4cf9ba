//! A seeded simulation: clients over a network that delays, doubles, reorders and loses pushes and cuts connections, with a
//! model server that forgets `cid`s, refuses, trims and begins new epochs, and programs that are killed between any two
//! actions. In virtual time.
//!
//! What holds at the end: each message once and in order at each application, each acknowledged one once in its timeline,
//! and all clients at the head. `CLIENT_SEED=n CLIENT_ROUNDS=1` runs one seed.

mod app;
mod client;
mod network;
mod server;
mod world;

use super::mutation::{self, Mutation};
use world::{Weather, World};

fn rounds() -> (u64, u64) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let fresh = getrandom::u64().unwrap_or(1) >> 16;
    (number("CLIENT_SEED").unwrap_or(fresh), number("CLIENT_ROUNDS").unwrap_or(60))
}

#[test]
fn each_message_once_and_in_order() {
    let (seed, rounds) = rounds();
    println!("CLIENT_SEED={seed} CLIENT_ROUNDS={rounds}");
    let mut delivered = 0;
    for seed in seed..seed + rounds {
        match World::new(seed, Weather::of(seed)).run() {
            Ok(seen) => delivered += seen,
            Err(what) => panic!("CLIENT_SEED={seed} CLIENT_ROUNDS=1: {what}"),
        }
    }
    println!("{delivered} messages delivered");
    assert!(delivered > rounds * 10, "a simulation in which nothing happens shows nothing: {delivered}");
}

/// Each deliberate bug is found, and soon.
#[test]
fn it_finds_deliberate_bugs() {
    const SEEDS: u64 = 400;
    for mutation in mutation::ALL {
        mutation::set(Some(mutation));
        let found = (1..=SEEDS).find_map(|seed| World::new(seed, Weather::of(seed)).run().err().map(|what| (seed, what)));
        mutation::set(None);
        let (seed, what) = found.unwrap_or_else(|| panic!("{mutation:?} was not found with {SEEDS} seeds"));
        println!("{mutation:?}: seed {seed}: {what}");
        assert!(World::new(seed, Weather::of(seed)).run().is_ok(), "{mutation:?}: seed {seed} fails without it, too");
    }
    assert_eq!(mutation::ALL.len(), Mutation::AckWhenDelivered as usize + 1);
}
