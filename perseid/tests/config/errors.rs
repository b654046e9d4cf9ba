//! Every kind of mistake: its place, and what to do about it.

use perseid::config::{ConfigFile, Origin, Problem, Sources, load};

use super::{at, bad, good, sources};

/// The only problem of a configuration.
fn only(sources: &Sources) -> Problem {
    let mut problems = bad(sources);
    assert_eq!(problems.len(), 1, "{problems:#?}");
    problems.remove(0)
}

fn hint(problem: &Problem) -> &str {
    problem.hint.as_deref().unwrap_or("")
}

#[test]
fn unknown_keys_have_the_nearest_right_name() {
    let problem = only(&sources("[comet]\n\n  heartbeet_ms = 1\n", &[], &[]));
    assert_eq!((problem.place.clone(), problem.subject.as_str()), (at(3, 3), "comet.heartbeet_ms"));
    assert_eq!(hint(&problem), "did you mean comet.heartbeat_ms?");

    for (text, meant) in [
        ("comet.tpc=", "comet.tcp"),
        ("heartbeat_ms=1", "comet.heartbeat_ms"),
        ("comet.http=", "logic.http"),
        ("commet.tcp=", "comet.tcp"),
        ("logics.htp=", "logic.http"),
        ("Comet.TCP=", "comet.tcp"),
    ] {
        let problem = only(&sources("", &[], &[text]));
        assert_eq!(hint(&problem), format!("did you mean {meant}?"), "{text}");
        assert_eq!(problem.place, Origin::Set(text.into()));
    }
    assert!(hint(&only(&sources("", &[], &["room.zzzzzz=1"]))).starts_with("room has: ring_bytes_max"));
    assert!(hint(&only(&sources("", &[], &["zzzzzz=1"]))).starts_with("the sections are: node"));
}

#[test]
fn unknown_sections_and_keys_outside_them() {
    let problem = only(&sources("[comets]\ntcp = 1\nanything = 2\n", &[], &[]));
    assert_eq!((problem.place.clone(), problem.what.as_str()), (at(1, 2), "unknown section"));
    assert_eq!(hint(&problem), "did you mean comet?");

    let problem = only(&sources("workers = 1\n", &[], &[]));
    assert_eq!((problem.place.clone(), hint(&problem)), (at(1, 1), "it stands below [comet]"));

    let problem = only(&sources("comet = 1\n", &[], &[]));
    assert_eq!(problem.what, "is a section, not a key");

    let problem = only(&sources("[comet.workers]\nx = 1\n", &[], &[]));
    assert!(problem.what.ends_with("found a table"), "{}", problem.what);
}

#[test]
fn wrong_types_say_what_is_expected() {
    for (line, what, help) in [
        ("heartbeat_ms = \"30s\"", "found a string", "30000"),
        ("heartbeat_ms = \"30\"", "found a string", "write it without quotes: 30"),
        ("heartbeat_ms = 1.5", "found a float", ""),
        ("heartbeat_ms = true", "found a boolean", ""),
        ("heartbeat_ms = [1]", "found a list", ""),
        ("tcp = \"127.0.0.1:1\"", "found a string", "[\"127.0.0.1:1\"]"),
        ("body_bytes_max = \"64KB\"", "not a size", "KiB"),
        ("body_bytes_max = 1979-05-27", "found a date", ""),
    ] {
        let problem = only(&sources(&format!("[comet]\n{line}\n"), &[], &[]));
        assert_eq!(problem.place, at(2, 1 + line.find('=').unwrap() + 2), "{line}");
        assert!(problem.what.contains(what), "{line}: {}", problem.what);
        assert!(hint(&problem).contains(help), "{line}: {}", hint(&problem));
    }
    let problem = only(&sources("[telemetry]\nlevel = 3\n", &[], &[]));
    assert_eq!(hint(&problem), "write it in quotes");
}

#[test]
fn out_of_bounds() {
    for line in [
        "workers = 257",
        "workers = -1",
        "heartbeat_max = 0",
        "body_bytes_max = 1",
        "body_bytes_max = \"1GiB\"",
        "body_bytes_max = -5",
        "heartbeat_ms = 9223372036854775807",
    ] {
        let problem = only(&sources(&format!("[comet]\n{line}\n"), &[], &[]));
        assert!(problem.what.contains("out of bounds"), "{line}: {}", problem.what);
    }
    for value in ["0.04", "1.01", "nan", "inf", "-0.5"] {
        only(&sources(&format!("[room]\nshare = {value}\n"), &[], &[]));
    }
}

#[test]
fn invalid_addresses_each_at_its_own_place() {
    let problems = bad(&sources("[comet]\ntcp = [\"127.0.0.1:1\",\n  \"localhost:2\",\n  \"127.0.0.1\", 5]\n", &[], &[]));
    let mut places: Vec<_> = problems.iter().map(|problem| problem.place.clone()).collect();
    places.sort();
    assert_eq!(places, [at(3, 3), at(4, 3), at(4, 16)]);
    assert!(problems.iter().any(|problem| hint(problem).contains("127.0.0.1:2")));
    only(&sources("", &[("PERSEID_LOGIC__HTTP", "127.0.0.1:x")], &[]));
}

#[test]
fn unknown_variables_are_errors_unless_they_are_not_ours() {
    let problem = only(&sources("", &[("PERSEID_COMET__TPC", "1")], &[]));
    assert_eq!(problem.place, Origin::Env("PERSEID_COMET__TPC".into()));
    assert_eq!(hint(&problem), "did you mean PERSEID_COMET__TCP?");
    assert_eq!(hint(&only(&sources("", &[("PERSEID_COMET_TCP", "1")], &[]))), "did you mean PERSEID_COMET__TCP?");
    assert_eq!(hint(&only(&sources("", &[("PERSEID_comet__tcp", "1")], &[]))), "did you mean PERSEID_COMET__TCP?");
    assert!(hint(&only(&sources("", &[("PERSEID_X__Y", "1")], &[]))).contains("config print"));
    // What Kubernetes sets for services of these names.
    good(&sources(
        "",
        &[("PERSEID_PORT", "tcp://10.0.0.1:3101"), ("PERSEID_COMET_SERVICE_HOST", "10.0.0.1"), ("PATH", "x")],
        &[],
    ));
}

#[test]
fn sets_without_a_value() {
    assert_eq!(only(&sources("", &[], &["comet.tcp"])).what, "no `=` in it");
    assert_eq!(only(&sources("", &[], &["=1"])).what, "unknown key");
    only(&sources("", &[], &["comet.workers="]));
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_not_utf8() {
    use std::os::unix::ffi::OsStringExt;
    let value = std::ffi::OsString::from_vec(vec![0xff]);
    let problem = only(&Sources { env: vec![("PERSEID_NODE__ID".into(), value)], ..Sources::default() });
    assert_eq!(problem.what, "the value is not UTF-8");
}

#[test]
fn contradictions_name_both_keys_and_where_they_stand() {
    let toml = "[comet]\nsession_bytes_max = \"512KiB\"\n";
    let problem = only(&sources(toml, &[("PERSEID_LOGIC__PUSH_BYTES_MAX", "600KiB")], &[]));
    assert_eq!(problem.place, Origin::Env("PERSEID_LOGIC__PUSH_BYTES_MAX".into()));
    assert_eq!(problem.subject, "comet.session_bytes_max");
    for part in ["512KiB", "p.toml:2:1", "logic.push_bytes_max", "600KiB"] {
        assert!(problem.what.contains(part), "{}", problem.what);
    }
    assert_eq!(hint(&problem), "comet.session_bytes_max must be at least 614488");
    for (bytes, right) in [(614_487, false), (614_488, true)] {
        let toml = format!("[comet]\nsession_bytes_max = {bytes}\n");
        let result = load(&sources(&toml, &[("PERSEID_LOGIC__PUSH_BYTES_MAX", "600KiB")], &[]));
        assert_eq!(result.is_ok(), right, "{bytes}");
    }

    for set in [
        "comet.heartbeat_ms=3999",
        "comet.node_bytes_max=1MiB",
        "comet.message_bytes_max=1KiB",
        "room.ring_bytes_max=64KiB",
        "logic.request_bytes_max=1KiB",
        "log.retention_bytes=1MiB",
        "job.lane_bytes_max=1MiB",
        "goim.backoff_base_delay=301",
    ] {
        for problem in bad(&sources("", &[], &[set])) {
            assert_eq!(problem.place, Origin::Set(set.into()), "{problem}");
            assert!(problem.hint.is_some());
        }
    }
    good(&sources("", &[], &["comet.heartbeat_ms=4000"]));
}

#[test]
fn a_key_that_is_wrong_already_contradicts_nothing() {
    let problem = only(&sources("", &[], &["comet.session_bytes_max=100KiB", "logic.push_bytes_max=1KB"]));
    assert_eq!(problem.subject, "logic.push_bytes_max");
}

#[test]
fn listeners_do_not_share_an_address() {
    for (tcp, ws, clash) in [
        ("127.0.0.1:1", "127.0.0.1:1", true),
        ("127.0.0.1:1,127.0.0.1:1", "", true),
        ("0.0.0.0:1", "127.0.0.1:1", true),
        ("127.0.0.1:3111", "", true),
        ("127.0.0.1:0,127.0.0.1:0", "127.0.0.1:0", false),
        ("127.0.0.1:1", "127.0.0.2:1", false),
        ("127.0.0.1:1", "[::1]:1", false),
    ] {
        let set = [format!("comet.tcp={tcp}"), format!("comet.ws={ws}"), "node.insecure=true".to_owned()];
        let set: Vec<&str> = set.iter().map(String::as_str).collect();
        if clash {
            let problem = only(&sources("", &[], &set));
            assert!(problem.what.contains("is taken by"), "{}", problem.what);
        } else {
            good(&sources("", &[], &set));
        }
    }
}

#[test]
fn listening_beyond_loopback_must_be_said_aloud() {
    let set = ["comet.tcp=0.0.0.0:3101,[::]:1", "logic.http=192.0.2.1:3111"];
    let problems = bad(&sources("", &[], &set));
    assert_eq!(problems.len(), 3);
    for problem in &problems {
        assert!(hint(problem).contains("--insecure"));
    }
    good(&sources("[node]\ninsecure = true\n", &[], &set));
}

#[test]
fn tokens_need_keys() {
    let problem = only(&sources("", &[], &["logic.auth=jwt"]));
    assert_eq!((problem.subject.as_str(), hint(&problem).contains("jwt.key_file")), ("logic.auth", true));
    for key in ["key_file", "secret_file", "jwks_file"] {
        good(&sources("", &[], &["logic.auth=jwt", &format!("jwt.{key}=x")]));
    }
    // Reported with the others, and not when a key is doubtful.
    let problems = bad(&sources("", &[], &["logic.auth=jwt", "comet.heartbeat_ms=1"]));
    assert_eq!(problems.len(), 2);
    assert_eq!(bad(&sources("[jwt]\nkey_file = 7\n", &[], &["logic.auth=jwt"])).len(), 1);

    let open = ["logic.auth=jwt", "jwt.key_file=x", "comet.tcp=0.0.0.0:1", "logic.http=0.0.0.0:2"];
    good(&sources("", &[], &open));
}

#[test]
fn listening_beyond_loopback_wants_to_be_said_where_no_token_is_needed() {
    let open = ["comet.tcp=0.0.0.0:1", "logic.http=0.0.0.0:2"];
    let subjects = |set: &[&str]| bad(&sources("", &[], set)).into_iter().map(|problem| problem.subject).collect::<Vec<_>>();
    assert_eq!(subjects(&open), ["comet.tcp", "logic.http"]);
    assert_eq!(subjects(&[&open[..], &["logic.api_tokens=tokens.toml"]].concat()), ["comet.tcp"]);
    good(&sources("", &[], &["logic.api_tokens=tokens.toml", "logic.http=0.0.0.0:2"]));
}

#[test]
fn any_page_may_come_only_where_callers_prove_who_they_are() {
    for path in ["logic.origins", "comet.origins"] {
        for any in ["*", "null"] {
            let problem = only(&sources("", &[], &[&format!("{path}=https://a.example,{any}")]));
            assert_eq!(problem.subject, path);
            assert!(problem.what.contains(&format!("`{any}`")), "{problem}");
            good(&sources("", &[], &[&format!("{path}={any}"), "logic.auth=jwt", "jwt.key_file=x"]));
        }
        good(&sources("", &[], &[&format!("{path}=https://a.example,https://*.b.example:8443")]));
        for wrong in ["a.example", "https://", "https://a.example/", "https://user@a.example"] {
            let problem = only(&sources("", &[], &[&format!("{path}={wrong}")]));
            assert_eq!((&*problem.subject, &*problem.what), (path, &*format!("`{wrong}` is no origin")));
        }
    }
}

#[test]
fn syntax_errors_stand_beside_all_others() {
    let toml = "[comet]\ntcp = 127.0.0.1:3101\nheartbeet_ms = 5\n[nodes]\n";
    let problems = bad(&sources(toml, &[("PERSEID_X__Y", "")], &["zzz=1"]));
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert!(lines[0].starts_with("p.toml:2:"), "{lines:#?}");
    assert_eq!(lines.iter().filter(|line| line.starts_with("p.toml:2:")).count(), 1, "{lines:#?}");
    assert!(lines.iter().any(|line| line.starts_with("p.toml:3:1: comet.heartbeet_ms")), "{lines:#?}");
    assert!(lines.iter().any(|line| line.starts_with("p.toml:4:2: nodes: unknown section")), "{lines:#?}");
    assert!(lines.iter().any(|line| line.starts_with("env PERSEID_X__Y")), "{lines:#?}");
    assert!(lines.iter().any(|line| line.starts_with("--set zzz=1")), "{lines:#?}");

    let twice = bad(&sources("[comet]\nworkers = 1\nworkers = 2\n", &[], &[]));
    assert!(twice.iter().any(|problem| problem.place == at(3, 1)), "{twice:#?}");
}

#[test]
fn a_file_that_cannot_be_read_is_reported_with_the_rest() {
    let file = ConfigFile::read("/nonexistent/perseid.toml".as_ref());
    let problems = bad(&Sources { file: Some(file), ..sources("", &[], &["zzz=1"]) });
    assert_eq!(problems.len(), 2);
    assert!(problems[0].to_string().starts_with("/nonexistent/perseid.toml: can't be read: "));
}

/// Whatever stands in the file: an answer, never a panic.
#[test]
fn a_valid_file_cut_and_bent_at_every_byte() {
    let toml = "# ü\n[comet]\ntcp = [\"127.0.0.1:1\", \"[::1]:2\"]\nheartbeat_ms = 10_000\n[room]\nshare = 0.5\n[telemetry]\nlevel = '''info'''\n";
    good(&sources(toml, &[], &[]));
    for cut in 0..toml.len() {
        for insert in ["", "\"", "[", "=", "\u{0}", "é", "\n"] {
            let (Some(head), Some(tail)) = (toml.get(..cut), toml.get(cut..)) else {
                continue;
            };
            let _ = load(&sources(&format!("{head}{insert}"), &[], &[]));
            let _ = load(&sources(&format!("{head}{insert}{tail}"), &[], &[]));
        }
    }
}

#[test]
fn traces_need_a_build_that_can_send_them_and_an_address() {
    good(&sources("", &[], &["trace.sample_ratio=1.0"]));
    let problem = only(&sources("", &[], &["trace.endpoint=127.0.0.1:4317"]));
    let word = if perseid::traces::HAS_EXPORTER { "no http:// address" } else { "without the feature otel" };
    assert!(problem.subject == "trace.endpoint" && problem.what.contains(word), "{problem}");
}
