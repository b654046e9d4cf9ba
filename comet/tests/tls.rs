//! What can go wrong with TLS itself. That sessions behind it are like all others is what `secure.rs` shows.

#![allow(clippy::unwrap_used)]

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use perseid_comet::net::tls::Fault;
use perseid_comet::{Certificates, CertificatesError, Config, MinVersion};
use perseid_protocol::{CloseReason, op};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore};
use support::certificates::{self, client_config, issue, localhost, options};
use support::client::UPGRADE;
use support::logic::{auth, auth_in};
use support::stream::Stream;
use support::*;

fn both_ports(certificates: Certificates) -> Config {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    Config { tls: vec![any], wss: vec![any], certificates: Some(certificates), ..config() }
}

fn start() -> TestComet {
    TestComet::start(both_ports(localhost()))
}

impl TestComet {
    fn secure_addr(&self, wire: Wire) -> SocketAddr {
        if wire.websocket { self.comet.wss()[0] } else { self.comet.tls()[0] }
    }

    /// A handshake, with this configuration and name.
    fn handshake(&self, wire: Wire, config: &Arc<ClientConfig>, name: &str) -> std::io::Result<Stream> {
        Stream::secure(Client::connect_tcp(self.secure_addr(wire), None), config.clone(), name)
    }

    fn secure_client(&self, wire: Wire, config: &Arc<ClientConfig>) -> Client {
        Client::on(self.handshake(wire, config, "localhost").unwrap(), wire)
    }

    fn fault(&self, fault: Fault) -> u64 {
        self.sum(|metrics| &metrics.tls_faults[fault as usize])
    }
}

fn versions(versions: &[&'static rustls::SupportedProtocolVersion]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(certificates::root()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
    Arc::new(config.with_root_certificates(roots).with_no_client_auth())
}

#[test]
fn what_is_no_tls_is_told_so_and_counted() {
    let test = start();
    let mut witness = test.secure_client(TCP, &Arc::new(client_config()));
    witness.login(&auth("witness"));
    let frame = support::client::classic(1, op::AUTH, 1, br#"{"mid":1}"#);
    for bytes in [b"GET /sub HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), UPGRADE.to_vec(), frame, vec![0; 600], vec![0xff; 70_000]] {
        let before = test.fault(Fault::NotTls) + test.fault(Fault::Broken);
        let mut stream = Client::connect_tcp(test.comet.tls()[0], None);
        let _ = stream.write_all(&bytes);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.is_empty() || answer[0] == 0x15, "an alert or nothing: {answer:?}");
        eventually("it is counted", || test.fault(Fault::NotTls) + test.fault(Fault::Broken) == before + 1);
    }
    assert!(test.fault(Fault::NotTls) >= 3);
    assert_eq!(witness.heartbeat(), 0);
    drop(witness);
    test.assert_empty();
}

#[test]
fn a_handshake_that_grows_without_end_is_ended() {
    let test = start();
    let mut stream = Client::connect_tcp(test.comet.tls()[0], None);
    // A ClientHello of 65,535 bytes, in records of 16 KiB, that never gets whole.
    let mut first = vec![0x16, 3, 1, 0x40, 0, 1, 0, 0xff, 0xff];
    first.resize(5 + 0x4000, 0);
    let mut more = vec![0x16, 3, 1, 0x40, 0];
    more.resize(5 + 0x4000, 0);
    let _ = stream.write_all(&first);
    for _ in 0..3 {
        let _ = stream.write_all(&more);
        assert!(test.comet.queued_bytes() < 64 << 10);
    }
    let _ = stream.read_to_end(&mut Vec::new());
    eventually("it is counted", || Fault::ALL.into_iter().map(|fault| test.fault(fault)).sum::<u64>() == 1);
    drop(stream);
    test.assert_empty();
}

#[test]
fn a_client_that_sends_byte_by_byte_is_served() {
    let test = start();
    for wire in WIRES {
        let mut tcp = Client::connect_tcp(test.secure_addr(wire), None);
        let mut conn = ClientConnection::new(Arc::new(client_config()), "localhost".try_into().unwrap()).unwrap();
        let flush = |conn: &mut ClientConnection, tcp: &mut std::net::TcpStream| {
            let mut out = Vec::new();
            while conn.wants_write() {
                conn.write_tls(&mut out).unwrap();
            }
            out.chunks(1).for_each(|byte| tcp.write_all(byte).unwrap());
        };
        while conn.is_handshaking() {
            flush(&mut conn, &mut tcp);
            if conn.wants_read() && conn.is_handshaking() {
                conn.read_tls(&mut tcp).unwrap();
                conn.process_new_packets().unwrap();
            }
        }
        flush(&mut conn, &mut tcp);
        let mut client = Client::on_quiet(Stream::with(tcp, conn), wire);
        let auth = client.auth_frame(&auth_in("slow", "live://1", &[1000]));
        let mut bytes = if wire.websocket { UPGRADE.to_vec() } else { Vec::new() };
        bytes.extend(client.wired(&auth));
        for chunk in bytes.chunks(1) {
            client.send_raw(chunk); // a record for each byte
        }
        if wire.websocket {
            client.take_upgrade();
        }
        assert_eq!(client.next_frame().header.op, op::AUTH_REPLY, "{wire:?}");
        test.push_room("live://1", push(1, vec![7; 100_000]));
        assert_eq!(client.next_frame().body, vec![7; 100_000]);
        drop(client);
        test.assert_empty();
    }
}

#[test]
fn the_deadline_counts_from_the_connection_whatever_layer_is_slow() {
    let mut config = both_ports(localhost());
    config.limits.handshake_ms = 1200;
    let test = TestComet::start(config);
    let client = Arc::new(client_config());
    let silent = Client::connect_tcp(test.comet.tls()[0], None);
    let mut half_hello = Client::connect_tcp(test.comet.wss()[0], None);
    half_hello.write_all(&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc]).unwrap();
    let no_auth = test.handshake(TCP, &client, "localhost").unwrap();
    let mut half_upgrade = test.handshake(WS, &client, "localhost").unwrap();
    half_upgrade.write_all(&UPGRADE[..30]).unwrap();
    let mut half_auth = test.secure_client(WS, &client);
    half_auth.send_raw(&[0x82, 0xff]);
    eventually("all have timed out", || test.ended(CloseReason::HandshakeTimeout) == 5);
    assert_eq!(half_auth.until_end().close.map(|close| close.0), Some(4007));
    let mut rest = Vec::new();
    let mut no_auth = no_auth;
    assert_eq!(no_auth.read_to_end(&mut rest).unwrap(), 0, "it ends with close_notify");
    drop((silent, half_hello, no_auth, half_upgrade, half_auth));
    test.assert_empty();
}

#[test]
fn a_client_that_has_said_all_gets_its_answers() {
    let test = start();
    for wire in WIRES {
        let mut client = test.secure_client(wire, &Arc::new(client_config()));
        client.login(&auth("k"));
        let (seq, frame) = client.frame(op::HEARTBEAT, &[]);
        client.send(&frame);
        client.shutdown_write();
        assert_eq!(client.next_frame().header.seq, seq);
        assert_eq!(client.next(), Event::End(false), "close_notify is answered");
        test.assert_empty();
        // Without close_notify it is an end like another.
        let mut client = test.secure_client(wire, &Arc::new(client_config()));
        client.login(&auth("k"));
        client.stream.tcp().shutdown(std::net::Shutdown::Write).unwrap();
        test.assert_empty();
    }
}

#[test]
fn sessions_are_resumed_over_a_reload_and_in_both_versions() {
    let test = start();
    for version in [&[&TLS13][..], &[&TLS12]] {
        let client = versions(version);
        let kind = |client: &Arc<ClientConfig>| {
            let mut client = test.secure_client(TCP, client);
            client.login(&auth("k")); // the ticket has come by now
            client.stream.with_tls(|tls| tls.handshake_kind().unwrap())
        };
        assert_eq!(kind(&client), HandshakeKind::Full);
        assert_eq!(kind(&client), HandshakeKind::Resumed);
        let again = Certificates::load(&options(&[issue("again", &["localhost"])]), Some(&localhost())).unwrap();
        test.comet.reload(both_ports(again));
        assert_eq!(kind(&client), HandshakeKind::Resumed, "tickets outlive a reload");
    }
    let handshakes = |resumed: usize| test.sum(|metrics| &metrics.tls_handshakes[resumed]);
    assert_eq!((handshakes(0), handshakes(1)), (2, 4));
    test.assert_empty();
}

#[test]
fn without_tickets_a_capped_cache_resumes() {
    let test = TestComet::start(both_ports(localhost()));
    let mut config = (*versions(&[&TLS12])).clone();
    config.resumption =
        rustls::client::Resumption::in_memory_sessions(4).tls12_resumption(rustls::client::Tls12Resumption::SessionIdOnly);
    let config = Arc::new(config);
    for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
        let mut client = test.secure_client(TCP, &config);
        client.login(&auth("k"));
        assert_eq!(client.stream.with_tls(|tls| tls.handshake_kind().unwrap()), kind);
    }
    test.assert_empty();
}

#[test]
fn old_versions_and_other_protocols_are_refused_where_that_is_asked() {
    let strict = Certificates::load(
        &perseid_comet::CertificatesOptions { min_version: MinVersion::Tls13, ..options(&[issue("strict", &["localhost"])]) },
        None,
    );
    let test = TestComet::start(both_ports(strict.unwrap()));
    assert!(test.handshake(TCP, &versions(&[&TLS12]), "localhost").is_err());
    eventually("it is counted", || test.fault(Fault::Incompatible) == 1);
    let alpn = |protocols: &[&str]| {
        let mut config = client_config();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    };
    assert!(test.handshake(WS, &alpn(&["h2"]), "localhost").is_err());
    eventually("it is counted", || test.fault(Fault::Incompatible) == 2);
    let stream = test.handshake(WS, &alpn(&["h2", "http/1.1"]), "localhost").unwrap();
    assert_eq!(stream.with_tls(|tls| tls.alpn_protocol().map(<[u8]>::to_vec)), Some(b"http/1.1".to_vec()));
    let stream = test.handshake(TCP, &alpn(&["anything"]), "localhost").unwrap();
    assert_eq!(stream.with_tls(|tls| tls.alpn_protocol().map(<[u8]>::to_vec)), None);
}

#[test]
fn a_name_picks_its_certificate_and_none_the_first() {
    let files = [issue("sni-first", &["localhost"]), issue("sni-wild", &["*.wild.test", "127.0.0.1"])];
    let test = TestComet::start(both_ports(Certificates::load(&options(&files), None).unwrap()));
    let client = Arc::new(client_config());
    for good in ["localhost", "a.wild.test"] {
        test.handshake(TCP, &client, good).unwrap();
    }
    let before = test.fault(Fault::Alert);
    // A name of neither, one level too deep, and an address (which asks for no name) get the first, and don't trust it.
    for bad in ["other.test", "a.b.wild.test", "127.0.0.1"] {
        assert!(test.handshake(TCP, &client, bad).is_err(), "{bad}");
    }
    eventually("they say so", || test.fault(Fault::Alert) == before + 3);
    test.assert_empty();
}

#[test]
fn forged_records_end_the_session_and_nobody_else_notices() {
    let test = start();
    let client = Arc::new(client_config());
    let mut witness = test.secure_client(WS, &client);
    witness.login(&auth_in("witness", "live://1", &[1000]));
    for wire in WIRES {
        let before = test.fault(Fault::Broken);
        let mut client = test.secure_client(wire, &client);
        client.login(&auth_in("k", "live://1", &[1000]));
        let addr = test.addr("k");
        let mut forged = vec![0x17, 3, 3, 0, 40];
        forged.resize(45, 0x5a);
        client.stream.tcp().write_all(&forged).unwrap();
        eventually("the session is ended", || test.fault(Fault::Broken) == before + 1);
        assert_eq!(test.logic.disconnected(addr), 1);
        test.push_room("live://1", push(1, "on"));
        assert_eq!(witness.next_frame().body, b"on");
    }
    drop(witness);
    test.assert_empty();
}

#[test]
fn keys_are_renewed_in_the_middle() {
    let test = start();
    for wire in WIRES {
        let mut client = test.secure_client(wire, &Arc::new(client_config()));
        client.login(&auth_in("k", "live://1", &[1000]));
        for round in 0..5 {
            client.stream.with_tls(|tls| tls.refresh_traffic_keys().unwrap());
            assert_eq!(client.heartbeat(), 1);
            test.push_key("k", push(1000, vec![round; 50_000]));
            assert_eq!(client.next_frame().body, vec![round; 50_000]);
        }
        drop(client);
        test.assert_empty();
    }
}

#[test]
fn a_reload_changes_what_new_connections_are_shown_and_no_session() {
    let first = issue("reload", &["localhost"]);
    let test = TestComet::start(both_ports(Certificates::load(&options(std::slice::from_ref(&first)), None).unwrap()));
    let fresh_client = || Arc::new(client_config());
    let shown = |client: &Client| client.stream.with_tls(|tls| tls.peer_certificates().unwrap()[0].to_vec());
    let mut clients: Vec<Client> = WIRES
        .iter()
        .enumerate()
        .map(|(nth, wire)| {
            let mut client = test.secure_client(*wire, &fresh_client());
            client.login(&auth_in(&format!("{nth}"), "live://1", &[1000]));
            client
        })
        .collect();
    let before = shown(&clients[0]);
    let second = issue("reload", &["localhost"]);
    test.comet.reload(both_ports(Certificates::load(&options(&[second]), None).unwrap()));
    eventually("the new one is shown", || shown(&test.secure_client(TCP, &fresh_client())) != before);
    test.push_room("live://1", push(1, "still here"));
    for client in &mut clients {
        assert_eq!(client.next_frame().body, b"still here");
        assert_eq!(client.heartbeat(), 4);
    }
    drop(clients);
    test.assert_empty();
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let good = issue("good", &["localhost"]);
    let other = issue("other", &["localhost"]);
    let at = |name: &str, text: &str| {
        let path = certificates::directory().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let text = |path: &std::path::Path| std::fs::read_to_string(path).unwrap();
    let load = |certificate: &std::path::Path, key: &std::path::Path| {
        let files = certificates::Files { certificate: certificate.into(), key: key.into() };
        Certificates::load(&options(&[good.clone(), files]), None).map(|_| ()).unwrap_err().to_string()
    };
    let nowhere = certificates::directory().join("nowhere.pem");
    let cases = [
        (load(&nowhere, &good.key), "nowhere.pem"),
        (load(&good.certificate, &nowhere), "nowhere.pem"),
        (load(&at("empty.pem", ""), &good.key), "empty.pem"),
        (load(&at("rubbish.pem", "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"), &good.key), "rubbish.pem"),
        (load(&good.certificate, &at("cut.key", &text(&good.key)[..60])), "cut.key"),
        (load(&good.certificate, &good.certificate), "good.crt"),
        (load(&good.certificate, &other.key), "the key belongs to another certificate"),
    ];
    for (message, part) in cases {
        assert!(message.contains(part) && !message.contains('\n'), "{message}");
    }
    let mut too_few = options(&[good.clone(), other]);
    too_few.keys.pop();
    assert!(matches!(Certificates::load(&too_few, None), Err(CertificatesError::Count { certificates: 2, keys: 1 })));
    let error =
        perseid_comet::Comet::start(Config { certificates: None, ..both_ports(localhost()) }, Arc::new(FakeLogic::default()));
    assert!(error.unwrap_err().to_string().contains("no certificate"));
    let mut cut = Client::connect_tcp(start().comet.tls()[0], None);
    assert!(!matches!(cut.read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock), "a comet that stops closes");
}
