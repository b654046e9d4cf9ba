//! Stacks sampled by CPU time (SIGPROF), folded: `thread;outermost;…;innermost count` in each line.

use std::collections::HashMap;

use axum::response::{IntoResponse, Response};
use perseid_logic::reason::Reason;
use pprof::{Frames, ProfilerGuard, ProfilerGuardBuilder, Symbol};

use super::{LEAVING, Profiles, Turn, asked, problem};

/// The longest answer, bytes; what is rarer than what fits is counted in one line.
const FOLDED_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The line for it.
const RARER: &str = "(rarer)";
/// Where a sample is not unwound: unwinding there may wait for what the interrupted thread holds. Not the C library: it's
/// where calls of the kernel are, and so most of what is to be seen.
const NOT_UNWOUND: [&str; 2] = ["libgcc", "vdso"];

/// Takes a profile as the query asks.
pub(super) async fn answer(profiles: Profiles, query: Option<String>) -> Response {
    let (seconds, hz) = match asked::seconds_and_hz(query.as_deref()) {
        Ok(asked) => asked,
        Err(detail) => return problem(Reason::BadRequest, &detail),
    };
    let turn = match profiles.take(seconds) {
        Ok(turn) => turn,
        Err(busy) => return busy.into_response(),
    };
    tracing::info!(seconds, hz, "a CPU profile was asked for over HTTP");
    match profile(hz, profiles.wait(seconds), turn).await {
        Ok(Some(folded)) => folded.into_response(),
        Ok(None) => problem(Reason::Unavailable, LEAVING),
        Err(detail) => problem(Reason::Unavailable, &format!("no profile was taken: {detail}")),
    }
}

/// Samples until `over` is; gives the folded stacks, or nothing if `over` says that nobody wants them. Ends when it is dropped.
///
/// # Errors
/// What prevents it, in words: no place for temporary files, for one.
async fn profile(hz: u64, over: impl Future<Output = bool>, turn: Turn) -> Result<Option<String>, String> {
    let hz = i32::try_from(hz).map_err(|error| error.to_string())?;
    let builder = ProfilerGuardBuilder::default().frequency(hz).blocklist(&NOT_UNWOUND);
    let guard = builder.build().map_err(|error| error.to_string())?;
    if !over.await {
        return Ok(None);
    }
    // Names are looked up in the debug information: CPU time, and the next profile waits for it.
    let folding = tokio::task::spawn_blocking(move || {
        let folded = report(&guard);
        // Else it stays in memory, and there is more of it than of all the rest.
        backtrace::clear_symbol_cache();
        drop((guard, turn));
        folded
    });
    folding.await.map_err(|error| error.to_string())?.map(Some)
}

fn report(guard: &ProfilerGuard<'_>) -> Result<String, String> {
    let report = guard.report().build().map_err(|error| error.to_string())?;
    let stacks = report.data.iter().map(|(frames, count)| (line(frames), u64::try_from(*count).unwrap_or(0)));
    Ok(fold(stacks, FOLDED_BYTES_MAX))
}

/// Thread and frames, outermost first. A frame has several names where functions were inlined.
fn line(frames: &Frames) -> String {
    let mut line = frame(&frames.thread_name_or_id());
    let names = frames.frames.iter().map(|inlined| inlined.iter().map(Symbol::name).collect::<Vec<_>>());
    let names: Vec<Vec<String>> = names.skip_while(|inlined| inlined.iter().any(|name| is_profiler(name))).collect();
    for name in names.iter().rev().flat_map(|inlined| inlined.iter().rev()) {
        line.push(';');
        line.push_str(&frame(name));
    }
    line
}

/// Whether it's what takes the samples: it's innermost in each.
fn is_profiler(name: &str) -> bool {
    name.contains("pprof::") || name.contains("backtrace::")
}

/// A name without what the format means something by.
fn frame(name: &str) -> String {
    name.replace(';', ",").replace(|letter: char| letter.is_control(), " ")
}

/// One line for each stack, the most frequent first, at most so many bytes and a line for the rest.
fn fold(stacks: impl Iterator<Item = (String, u64)>, bytes_max: usize) -> String {
    let mut counts: HashMap<String, u64> = HashMap::new();
    for (stack, count) in stacks {
        *counts.entry(stack).or_default() += count;
    }
    let mut counts: Vec<(String, u64)> = counts.into_iter().collect();
    counts.sort_by(|(stack, count), (other, others)| others.cmp(count).then_with(|| stack.cmp(other)));
    let (mut folded, mut rarer) = (String::new(), 0);
    for (stack, count) in counts {
        let line = format!("{stack} {count}\n");
        if rarer > 0 || folded.len() + line.len() > bytes_max {
            rarer += count;
        } else {
            folded.push_str(&line);
        }
    }
    if rarer > 0 {
        folded.push_str(&format!("{RARER} {rarer}\n"));
    }
    folded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folded_stacks() {
        let stacks =
            || [("a;b", 1), ("a;c", 5), ("a;b", 3), ("a", 4)].map(|(stack, count)| (stack.to_owned(), count)).into_iter();
        assert_eq!(fold(stacks(), 1000), "a;c 5\na 4\na;b 4\n");
        assert_eq!(fold(stacks(), 10), "a;c 5\na 4\n(rarer) 4\n");
        assert_eq!(fold(stacks(), 6), "a;c 5\n(rarer) 8\n");
        assert_eq!(fold(stacks(), 0), "(rarer) 13\n");
        assert_eq!(fold(std::iter::empty(), 0), "");
        assert_eq!(frame("<[u8; 4] as a::B>::c\n"), "<[u8, 4] as a::B>::c ");
    }
}
