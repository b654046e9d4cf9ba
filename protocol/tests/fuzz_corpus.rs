//! The fuzz targets over their corpora and over mutations of them, so that what was found once stays found.
#![allow(clippy::unwrap_used)] // helpers of tests

#[path = "../fuzz/src/targets.rs"]
#[allow(unreachable_pub)]
mod targets;

use std::panic::catch_unwind;
use std::path::Path;

/// The corpus of a target: file name and bytes.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), std::fs::read(entry.path()).unwrap()))
        .collect();
    files.sort();
    assert!(files.len() >= 5, "{target} has no corpus");
    files
}

/// Runs one input; a panic names it so that it can be put into the corpus.
fn run((name, target): targets::Target, file: &str, how: &str, input: &[u8]) {
    let outcome = catch_unwind(|| target(input));
    assert!(outcome.is_ok(), "{name} over {file} {how}: {input:02x?}");
}

#[test]
fn corpora() {
    for target in targets::ALL {
        for (file, input) in corpus(target.0) {
            run(target, &file, "as it is", &input);
        }
    }
}

#[test]
fn corpora_cut_at_every_byte() {
    for target in targets::ALL {
        for (file, input) in corpus(target.0) {
            for cut in 0..input.len() {
                run(target, &file, &format!("cut at {cut}"), &input[..cut]);
                run(target, &file, &format!("from {cut}"), &input[cut..]);
            }
        }
    }
}

#[test]
fn corpora_with_every_bit_flipped() {
    for target in targets::ALL {
        for (file, input) in corpus(target.0) {
            for bit in 0..input.len() * 8 {
                let mut mutant = input.clone();
                mutant[bit / 8] ^= 1 << (bit % 8);
                run(target, &file, &format!("with bit {bit} flipped"), &mutant);
            }
        }
    }
}

#[test]
fn corpora_with_bytes_replaced_and_spliced() {
    for target in targets::ALL {
        let files = corpus(target.0);
        let mut random = 0x9e37_79b9_7f4a_7c15u64;
        let mut next = |below: usize| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            usize::try_from(random >> 33).unwrap() % below.max(1)
        };
        for (index, (file, input)) in files.iter().enumerate() {
            for round in 0..200 {
                let other = &files[(index + next(files.len())) % files.len()].1;
                let mut mutant = input[..next(input.len() + 1)].to_vec();
                mutant.extend_from_slice(&other[next(other.len() + 1)..]);
                for _ in 0..next(4) {
                    let (at, len) = (next(mutant.len()), mutant.len());
                    if len > 0 {
                        mutant[at] = [0, 1, 15, 16, 71, 72, 127, 128, 254, 255][next(10)];
                    }
                }
                run(target, file, &format!("round {round}"), &mutant);
            }
        }
    }
}
