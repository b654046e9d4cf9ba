//! The configuration itself: what is allowed and still not for production.

use super::Finding;
use crate::config::{Auth, Problems, Settings};

const CHECK: &str = "configuration";

pub(super) fn judge(settings: &Settings, problems: Option<&Problems>) -> Vec<Finding> {
    if let Some(problems) = problems {
        let advice = "correct it; the rest is judged as if every key had its default";
        return problems.0.iter().map(|problem| Finding::fail(CHECK, problem.to_string(), advice)).collect();
    }
    let mut findings = vec![Finding::ok(CHECK, "valid")];
    findings.extend(authentication(settings));
    findings.extend(heartbeat(settings));
    findings
}

fn authentication(settings: &Settings) -> Vec<Finding> {
    let mut findings = Vec::new();
    let exposed: Vec<String> = settings.exposed().iter().map(|(key, addr)| format!("{addr} ({key})")).collect();
    if !exposed.is_empty() {
        let what = format!("others reach {}, where nobody has to show who he is", exposed.join(", "));
        findings.push(Finding::fail(CHECK, what, "listen on loopback, behind something that checks"));
    }
    findings.push(if settings.logic.auth == Auth::Insecure {
        let what = "logic.auth is \"insecure\": whoever reaches a client port may be any user";
        Finding::warn(CHECK, what, "logic.auth = \"jwt\", or let nobody but a checking proxy reach these ports")
    } else {
        Finding::ok(CHECK, "clients have to show who they are")
    });
    findings
}

/// Networks of mobile operators forget a quiet connection after some minutes.
const NAT_MS: u64 = 300_000;

fn heartbeat(settings: &Settings) -> Option<Finding> {
    let ms = settings.comet.heartbeat_ms;
    (ms >= NAT_MS).then(|| {
        let what =
            format!("comet.heartbeat_ms is {ms}: many networks forget a connection that was quiet for five minutes or less");
        Finding::warn(CHECK, what, "30000 to 240000, and less than any proxy's timeout")
    })
}

#[cfg(test)]
mod tests {
    use super::super::Verdict::{Fail, Ok, Warn};
    use super::super::tests::{advice_where_needed, verdicts};
    use super::*;
    use crate::config::{self, Sources};

    #[test]
    fn what_is_allowed_and_still_hurts() {
        let load = |set: &[&str]| {
            let set = set.iter().map(|text| (*text).to_owned()).collect();
            config::load(&Sources { set, ..Sources::default() })
        };
        let open = ["comet.tcp=0.0.0.0:3101", "node.insecure=true"];
        for (set, expected) in
            [(&[][..], &[Ok, Warn][..]), (&open[..], &[Ok, Fail, Warn]), (&["comet.heartbeat_ms=600000"], &[Ok, Warn, Warn])]
        {
            let findings = judge(&load(set).unwrap().settings, None);
            assert_eq!(verdicts(&findings), expected, "{set:?}");
            advice_where_needed(&findings);
        }
        let problems = load(&["comet.workers=many", "room.share=9"]).unwrap_err();
        let findings = judge(&Settings::default(), Some(&problems));
        assert_eq!(verdicts(&findings), [Fail, Fail]);
        advice_where_needed(&findings);
    }
}
