//! Peers that say nothing, stop half-way, or are gone without a word: each is dropped, and hinders nobody.

use std::io::{Read, Write};
use std::net::TcpStream;

use perseid_rpc::goim::logic::NodesReq;
use perseid_rpc::goim::logic::logic_client::LogicClient;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::runtime::Runtime;
use tonic::Code;

use super::*;
use crate::Dial;

const QUICK: Waits =
    Waits { handshake: Duration::from_millis(100), ping: Duration::from_secs(60), silence: Duration::from_millis(400) };
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// An empty SETTINGS frame.
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
/// The head of a TLS record that is to have 512 bytes, and its first ones.
const CLIENT_HELLO_BEGUN: &[u8] = &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];

fn start(runtime: &Runtime, tls: Option<&WireTls>, waits: Waits) -> GrpcServer {
    let _inside = runtime.enter();
    let listener = StdListener::bind("127.0.0.1:0").unwrap();
    GrpcServer::start_with(vec![listener], Routes::default(), tls, waits).unwrap()
}

/// Whether a caller gets an answer: that nobody here has such a service.
fn is_served(runtime: &Runtime, server: &GrpcServer, tls: Option<WireTls>) -> bool {
    let addr = server.addrs()[0].to_string();
    runtime.block_on(async {
        let channel = Dial { tls }.connect(&addr).await.unwrap();
        let answer = LogicClient::new(channel).nodes(NodesReq::default()).await;
        answer.is_err_and(|status| status.code() == Code::Unimplemented)
    })
}

/// Connects, says `words`, and nothing more.
fn says(server: &GrpcServer, words: &[u8]) -> TcpStream {
    let mut peer = TcpStream::connect(server.addrs()[0]).unwrap();
    peer.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    peer.write_all(words).unwrap();
    peer
}

/// Reads until the server has closed; a test that waits in vain fails.
fn assert_dropped(mut peer: TcpStream) {
    let mut rest = Vec::new();
    if let Err(error) = peer.read_to_end(&mut rest) {
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}");
    }
}

fn mutual_tls() -> WireTls {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
    WireTls::from_pem(certificate.pem(), key.serialize_pem(), authority.pem())
}

#[test]
fn who_says_nothing_or_stops_half_way_is_dropped() {
    let runtime = Runtime::new().unwrap();
    let server = start(&runtime, None, QUICK);
    let half_open = [PREFACE, SETTINGS].concat();
    let words: [&[u8]; 4] = [b"", b"PRI * HTT", PREFACE, &half_open];
    let peers: Vec<TcpStream> = words.iter().cycle().take(40).map(|words| says(&server, words)).collect();
    assert!(is_served(&runtime, &server, None), "beside them");
    peers.into_iter().for_each(assert_dropped);
    assert!(is_served(&runtime, &server, None), "after them");
    runtime.block_on(async {
        while server.counters().snapshot().timed_out < 40 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        server.stop().await;
    });
}

#[test]
fn who_stops_in_the_middle_of_a_tls_handshake_is_dropped() {
    let runtime = Runtime::new().unwrap();
    let tls = mutual_tls();
    let server = start(&runtime, Some(&tls), QUICK);
    let words: [&[u8]; 3] = [b"", CLIENT_HELLO_BEGUN, &[CLIENT_HELLO_BEGUN, &[0; 200]].concat()];
    let peers: Vec<TcpStream> = words.iter().cycle().take(30).map(|words| says(&server, words)).collect();
    // On a busy machine a caller needs longer than they are given.
    let patient = start(&runtime, Some(&tls), WAITS);
    let beside = says(&patient, CLIENT_HELLO_BEGUN);
    assert!(is_served(&runtime, &patient, Some(tls)), "beside them");
    peers.into_iter().for_each(assert_dropped);
    drop(beside);
    runtime.block_on(async {
        while server.counters().snapshot().open > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
}

/// Whoever answers pings stays, however little he calls.
#[test]
fn who_lives_stays() {
    let runtime = Runtime::new().unwrap();
    let waits = Waits { handshake: HANDSHAKE_WAIT, ping: Duration::from_millis(50), silence: Duration::from_secs(2) };
    let server = start(&runtime, None, waits);
    let addr = server.addrs()[0].to_string();
    runtime.block_on(async {
        let channel = Dial::default().connect(&addr).await.unwrap();
        tokio::time::sleep(waits.silence * 2).await;
        let answer = LogicClient::new(channel).nodes(NodesReq::default()).await;
        assert!(answer.is_err_and(|status| status.code() == Code::Unimplemented));
    });
    let counts = server.counters().snapshot();
    assert_eq!((counts.accepted, counts.timed_out), (1, 0), "on the same connection");
}
