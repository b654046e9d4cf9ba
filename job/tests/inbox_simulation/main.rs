//! The projection of stored messages, with everything going wrong that can: two jobs that both own everything, dying between any
//! two calls; calls that fail and answers that are lost; a store that goes back, loses buckets and forgets its reservations;
//! messages twice in the log; members coming and going. At the end everything is compared with a plain fold of the log.
//!
//! A seed that fails is printed, and belongs into `seeds.txt`, whose seeds run first. `SEEDS=n` runs more of them, `SEED=n` one.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // helpers of tests

mod check;
mod dice;
mod jobs;
mod model;
mod people;
mod world;

use std::collections::BTreeSet;
use std::thread;

use world::{Mode, Mutation, World};

/// Seeds of one run.
const SEEDS: u64 = 10_000;
/// Happenings of one seed.
const HAPPENINGS: usize = 140;
/// Seeds in which a mistake has to show.
const SEEDS_OF_A_MISTAKE: u64 = 600;

fn mode_of(seed: u64) -> Mode {
    match seed % 4 {
        0 => Mode::Told,
        1 => Mode::Calm,
        _ => Mode::Wild,
    }
}

fn run(seed: u64, mutation: Option<Mutation>) -> Result<(), String> {
    check::run(&mut World::new(seed, mode_of(seed), mutation), HAPPENINGS)
}

/// The first seed of these that fails, and why.
fn first_failure(seeds: impl Iterator<Item = u64>, mutation: Option<Mutation>) -> Option<(u64, String)> {
    seeds.into_iter().find_map(|seed| run(seed, mutation).err().map(|wrong| (seed, wrong)))
}

fn asked(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn hold(seeds: impl Iterator<Item = u64>) {
    if let Some((seed, wrong)) = first_failure(seeds, None) {
        panic!("SEED={seed} ({:?}): {wrong}", mode_of(seed));
    }
}

#[test]
fn seeds_that_once_failed() {
    let seeds = include_str!("seeds.txt").lines().filter(|line| !line.starts_with('#'));
    hold(seeds.map(|line| line.trim().parse().unwrap()));
}

#[test]
fn whatever_goes_wrong_everybody_has_everything_once_and_in_order() {
    if let Some(seed) = asked("SEED") {
        return hold(std::iter::once(seed));
    }
    let seeds = asked("SEEDS").unwrap_or(SEEDS);
    thread::scope(|scope| {
        for part in 0..2 {
            scope.spawn(move || hold((0..seeds).skip(part).step_by(2)));
        }
    });
}

/// The simulation can fail: each of these mistakes shows.
#[test]
fn mistakes_show() {
    let all = [
        Mutation::NoPrev,
        Mutation::MembersNow,
        Mutation::NoEpochBump,
        Mutation::GuardFirst,
        Mutation::DedupeDropped,
        Mutation::HeadDropped,
        Mutation::EndDropped,
        Mutation::MemberSkipped,
        Mutation::PassedOver,
        Mutation::RaisedUnchecked,
    ];
    for mutation in all {
        let found = first_failure(0..SEEDS_OF_A_MISTAKE, Some(mutation));
        let Some((seed, wrong)) = found else { panic!("{mutation:?} shows in none of {SEEDS_OF_A_MISTAKE} seeds") };
        println!("{mutation:?} shows with the seed {seed}: {}", wrong.lines().next().unwrap_or_default());
    }
}

/// What the seeds are for does come to pass in them.
#[test]
fn everything_is_met() {
    let mut met = BTreeSet::new();
    for seed in 0..400 {
        let mut world = World::new(seed, mode_of(seed), None);
        let _ = check::run(&mut world, HAPPENINGS);
        met.append(&mut world.met);
        let clients = [(world.people.began_anew, "epoch changed"), (world.people.unavailable, "unavailable")];
        met.extend(clients.into_iter().filter(|(count, _)| *count > 0).map(|(_, what)| what));
    }
    let wanted = [
        "NO_GROUP",
        "OTHER_KIND",
        "NO_MESSAGE",
        "row",
        "row again",
        "event",
        "done",
        "duplicate",
        "nothing",
        "frame",
        "head",
        "end",
        "gap",
        "lost",
        "rebooted",
        "later",
        "unsure",
        "epoch changed",
        "unavailable",
    ];
    let missing: Vec<_> = wanted.into_iter().filter(|what| !met.contains(what)).collect();
    assert!(missing.is_empty(), "{missing:?} in none of the seeds");
}
