//! Findings, for people and for programs.

use std::fmt::Write;

use serde_json::{Value, json};

use super::{Finding, Verdict, worst};

/// A table, the worst last so that it stands above the prompt; then one line that sums up.
pub fn text(findings: &[Finding]) -> String {
    let width = findings.iter().map(|finding| finding.check.chars().count()).max().unwrap_or(0);
    let mut out = String::new();
    for verdict in [Verdict::Ok, Verdict::Warn, Verdict::Fail] {
        for finding in findings.iter().filter(|finding| finding.verdict == verdict) {
            // Writing to a String can't fail.
            let _ = writeln!(out, "{:<4}  {:<width$}  {}", verdict.word(), finding.check, finding.what);
            if !finding.advice.is_empty() {
                let _ = writeln!(out, "{:<4}  {:<width$}  → {}", "", "", finding.advice);
            }
        }
    }
    let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    let _ = writeln!(out, "\n{} ok, {} to look at, {} that fail", count(Verdict::Ok), count(Verdict::Warn), count(Verdict::Fail));
    out
}

/// One object: the worst verdict, and all findings in the order in which they were looked at.
pub fn json(findings: &[Finding]) -> Value {
    let findings_json: Vec<Value> = findings
        .iter()
        .map(|finding| {
            let Finding { check, verdict, what, advice } = finding;
            let mut object = json!({ "check": check, "verdict": verdict.word(), "what": what });
            if !advice.is_empty() {
                object["advice"] = json!(advice);
            }
            object
        })
        .collect();
    json!({ "verdict": worst(findings).word(), "findings": findings_json })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_stands_last() {
        let findings = [Finding::fail("b", "broken", "mend it"), Finding::ok("aaa", "fine"), Finding::warn("c", "so so", "look")];
        let expected = "\
ok    aaa  fine
warn  c    so so
           → look
fail  b    broken
           → mend it

1 ok, 1 to look at, 1 that fail
";
        assert_eq!(text(&findings), expected);
        let json = json(&findings);
        assert_eq!((&json["verdict"], &json["findings"][0]["advice"]), (&json!("fail"), &json!("mend it")));
        assert_eq!(json["findings"][1], json!({ "check": "aaa", "verdict": "ok", "what": "fine" }));
        assert_eq!(super::json(&[])["verdict"], "ok");
    }
}
