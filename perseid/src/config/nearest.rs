//! The nearest right name for a wrong one.

/// Names longer than this are not compared: the cost is quadratic, and no real name is as long.
const NAME_CHARS_MAX: usize = 80;

/// The candidate with the fewest edits from `name`, if it is near enough to be what was meant: at
/// most a third of the name, and at least one edit is always forgiven. The first of equals wins.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let chars = name.chars().take(NAME_CHARS_MAX + 1).count();
    if chars > NAME_CHARS_MAX {
        return None;
    }
    let forgiven = (chars / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (distance(name, candidate), candidate))
        .filter(|(edits, _)| *edits <= forgiven)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// How many letters must be inserted, removed, replaced or swapped with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().flat_map(char::to_lowercase).collect();
    let b: Vec<char> = b.chars().flat_map(char::to_lowercase).collect();
    // Three rows of the table: two above (for swaps), one above, and the one being filled.
    let mut older: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = Vec::with_capacity(b.len() + 1);
        row.push(i + 1);
        for (j, y) in b.iter().enumerate() {
            let replaced = above[j] + usize::from(x != y);
            let mut best = replaced.min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                best = best.min(older[j - 1] + 1);
            }
            row.push(best);
        }
        older = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_edits() {
        for (a, b, edits) in [
            ("", "", 0),
            ("", "abc", 3),
            ("tcp", "tcp", 0),
            ("tpc", "tcp", 1),
            ("heartbeet_ms", "heartbeat_ms", 1),
            ("kitten", "sitting", 3),
            ("HTTP", "http", 0),
        ] {
            assert_eq!(distance(a, b), edits, "{a} {b}");
            assert_eq!(distance(b, a), edits, "{b} {a}");
        }
    }

    #[test]
    fn finds_what_was_meant_and_nothing_far_away() {
        let names = ["tcp", "ws", "handshake_ms", "heartbeat_ms", "heartbeat_max"];
        assert_eq!(nearest("heartbeet_ms", names), Some("heartbeat_ms"));
        assert_eq!(nearest("handshake", names), Some("handshake_ms"));
        assert_eq!(nearest("tpc", names), Some("tcp"));
        assert_eq!(nearest("colour", names), None);
        assert_eq!(nearest(&"tcp".repeat(1_000_000), names), None);
    }
}
