//! Which layer wins, and how each writes its values.

use perseid::config::{Apply, LogFormat, Origin, Sources, json, load, text};

use super::{at, bad, good, sources};

const FILE: &str = "[comet]\nheartbeat_ms = 1_000_000\nhandshake_ms = 2\nworkers = 3\n";

fn origin(loaded: &perseid::config::Loaded, path: &str) -> Origin {
    let mut entries = loaded.entries.iter();
    entries.find(|entry| entry.key.path() == path).unwrap().origin.clone()
}

#[test]
fn each_layer_wins_over_the_one_below() {
    let env = [("PERSEID_COMET__HEARTBEAT_MS", "20000"), ("PERSEID_COMET__HANDSHAKE_MS", "20")];
    let loaded = good(&sources(FILE, &env, &["comet.heartbeat_ms=30000"]));
    let comet = &loaded.settings.comet;
    assert_eq!((comet.heartbeat_ms, comet.handshake_ms, comet.workers, comet.heartbeat_max), (30_000, 20, 3, 2));
    assert_eq!(origin(&loaded, "comet.heartbeat_ms"), Origin::Set("comet.heartbeat_ms=30000".into()));
    assert_eq!(origin(&loaded, "comet.handshake_ms"), Origin::Env("PERSEID_COMET__HANDSHAKE_MS".into()));
    assert_eq!(origin(&loaded, "comet.workers"), at(4, 1));
    assert_eq!(origin(&loaded, "comet.heartbeat_max"), Origin::Default);
}

#[test]
fn the_last_set_of_a_key_wins() {
    let loaded = good(&sources("", &[], &["comet.workers=1", " comet.workers = 2 "]));
    assert_eq!(loaded.settings.comet.workers, 2);
}

#[test]
fn an_option_is_a_set_on_its_key() {
    let options = vec![("--tcp", vec!["127.0.0.1:0".to_owned(), "[::1]:0".to_owned()]), ("--log", vec!["json".to_owned()])];
    let loaded = good(&Sources { options: options.clone(), ..sources("[comet]\ntcp = []\n", &[], &[]) });
    assert_eq!(loaded.settings.comet.tcp.len(), 2);
    assert_eq!(loaded.settings.telemetry.format, LogFormat::Json);
    assert_eq!(origin(&loaded, "comet.tcp"), Origin::Option("--tcp"));
    // Said twice is no contradiction, said otherwise is.
    let same = Sources { options: options.clone(), ..sources("", &[], &["telemetry.format=json"]) };
    good(&same);
    let other = bad(&Sources { options, ..sources("", &[], &["telemetry.format=text"]) });
    assert_eq!(other.len(), 1);
    assert_eq!(other[0].place, Origin::Option("--log"));
}

#[test]
fn every_layer_writes_lists_sizes_and_numbers() {
    let file = "[comet]\nws = [\"127.0.0.1:7\", \"[::1]:7\"]\nbody_bytes_max = 4096\nauth_bytes_max = \"4KiB\"\n[room]\nshare = 1\n[node]\ninsecure = true\n[log]\nrest_us = 0x10\n";
    let settings = good(&sources(file, &[], &[])).settings;
    assert_eq!(settings.comet.ws.len(), 2);
    assert_eq!((settings.comet.body_bytes_max, settings.comet.auth_bytes_max), (4096, 4096));
    assert!(settings.node.insecure);
    assert_eq!((settings.room.share, settings.log.rest_us), (1.0, 16));

    let env = [
        ("PERSEID_COMET__WS", "127.0.0.1:7, [::1]:7"),
        ("PERSEID_COMET__BODY_BYTES_MAX", "4KiB"),
        ("PERSEID_COMET__AUTH_BYTES_MAX", "4096"),
        ("PERSEID_ROOM__SHARE", "1"),
        ("PERSEID_NODE__INSECURE", "true"),
        ("PERSEID_LOG__REST_US", "16"),
    ];
    assert_eq!(good(&sources("", &env, &[])).settings, settings);

    let nowhere = good(&sources("", &[("PERSEID_COMET__WS", "")], &[]));
    assert!(nowhere.settings.comet.ws.is_empty());
}

/// What `config print` shows is a file that gives the same settings.
#[test]
fn the_printed_configuration_reads_back() {
    let loaded = good(&sources(FILE, &[], &["node.id=a \"b\" \\c", "comet.tcp=127.0.0.1:1,[::1]:1", "goim.backoff_factor=2"]));
    let printed = text(&loaded);
    assert_eq!(good(&sources(&printed, &[], &[])).settings, loaded.settings);
    assert!(printed.lines().any(|line| line.starts_with("workers ") && line.ends_with("# p.toml:4:1")));
    assert!(printed.lines().any(|line| line.starts_with("heartbeat_max ") && line.ends_with("# default")));

    let json = json(&loaded);
    assert_eq!(json["comet"]["workers"]["value"], 3);
    assert_eq!(json["comet"]["workers"]["origin"]["kind"], "file");
    assert_eq!(json["comet"]["workers"]["origin"]["line"], 4);
    assert_eq!(json["comet"]["tcp"]["value"][1], "[::1]:1");
    assert_eq!(json["node"]["id"]["origin"]["kind"], "set");
}

#[test]
fn changes_say_what_a_reload_can_do() {
    let before = good(&Sources::default());
    let after = good(&sources("", &[], &["telemetry.level=debug", "comet.workers=1"]));
    let changes: Vec<_> = before.changes(&after).iter().map(|c| (c.key.path(), c.key.apply)).collect();
    assert_eq!(changes, [("comet.workers".to_owned(), Apply::Restart), ("telemetry.level".to_owned(), Apply::Reload)]);
    assert!(before.changes(&load(&Sources::default()).unwrap()).is_empty());
}

#[test]
fn the_wss_port_is_there_once_there_are_certificates() {
    let wss = |set: &[&str]| good(&sources("", &[], set)).settings.comet.wss;
    let certificates = ["tls.certificates=a.pem, b.pem", "tls.keys=a.key,b.key"];
    assert!(wss(&[]).is_empty());
    assert_eq!(wss(&certificates), ["127.0.0.1:3103".parse().unwrap()]);
    assert!(wss(&[&certificates[..], &["comet.wss="]].concat()).is_empty(), "nowhere, said aloud");
    let loaded = good(&sources("", &[], &certificates));
    assert_eq!(good(&sources(&text(&loaded), &[], &[])).settings, loaded.settings);
}

#[test]
fn exposed_listeners_are_known() {
    let set = ["node.insecure=true", "comet.tcp=0.0.0.0:1,127.0.0.2:2,[::1]:3,[::ffff:127.0.0.1]:4", "logic.http=192.0.2.1:5"];
    let exposed = good(&sources("", &[], &set)).settings.exposed();
    let exposed: Vec<String> = exposed.iter().map(|(path, address)| format!("{path} {address}")).collect();
    assert_eq!(exposed, ["comet.tcp 0.0.0.0:1", "logic.http 192.0.2.1:5"]);
}
