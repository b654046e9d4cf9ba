//! `perseid bench` as a program of its own, for work on the generator itself.

use std::process::ExitCode;

fn main() -> ExitCode {
    perseid_bench::run(std::env::args().skip(1).collect())
}
