//! The machine alone, against rustls' client and against what a client may do to it.

use std::io::{Read as _, Write as _};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::*;

struct Pair {
    client: ClientConnection,
    server: Tls,
    plain: Vec<u8>,
    scratch: Vec<u8>,
}

struct Configs {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

fn configs() -> Configs {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap().self_signed(&key).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(certificate.der().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
    let server = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let chain: Vec<CertificateDer<'static>> = vec![certificate.der().clone()];
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    Configs {
        client: Arc::new(client.with_root_certificates(roots).with_no_client_auth()),
        server: Arc::new(server.with_no_client_auth().with_single_cert(chain, key).unwrap()),
    }
}

impl Pair {
    fn new(configs: &Configs) -> Self {
        let name = ServerName::try_from("localhost").unwrap();
        let client = ClientConnection::new(configs.client.clone(), name).unwrap();
        Self { client, server: Tls::new(configs.server.clone()).unwrap(), plain: Vec::new(), scratch: Vec::new() }
    }

    /// What the client has to say now.
    fn flight(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while self.client.wants_write() {
            self.client.write_tls(&mut bytes).unwrap();
        }
        bytes
    }

    fn read(&mut self, mut bytes: Vec<u8>) -> Result<Read, Fault> {
        self.server.read(&mut bytes, &mut self.plain, &mut self.scratch)
    }

    fn answer(&mut self) {
        let bytes = std::mem::take(&mut self.server.unsent);
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            self.client.read_tls(&mut rest).unwrap();
            self.client.process_new_packets().unwrap();
        }
    }

    fn shake_hands(&mut self) {
        while self.server.is_handshaking() {
            let flight = self.flight();
            self.read(flight).unwrap();
            self.answer();
        }
    }
}

#[test]
fn a_handshake_and_data_both_ways() {
    let mut pair = Pair::new(&configs());
    pair.shake_hands();
    pair.client.writer().write_all(b"to the server").unwrap();
    let flight = pair.flight();
    // In two pieces: a record is taken whole or not at all.
    let (first, second) = flight.split_at(7);
    pair.read(first.to_vec()).unwrap();
    assert_eq!((pair.plain.len(), pair.server.buffered_bytes()), (0, 7));
    let mut out = Vec::new();
    pair.server.encrypt(&[9; 100_000], &mut out).unwrap();
    pair.read(second.to_vec()).unwrap();
    assert_eq!((&pair.plain[..], pair.server.buffered_bytes()), (&b"to the server"[..], 0));
    let (mut got, mut rest) = (Vec::new(), &out[..]);
    while !rest.is_empty() {
        pair.client.read_tls(&mut rest).unwrap();
        pair.client.process_new_packets().unwrap();
        let _ = pair.client.reader().read_to_end(&mut got);
    }
    assert_eq!(got, [9; 100_000]);
    assert!(pair.server.put_close_notify(&mut Vec::new()) && !pair.server.put_close_notify(&mut Vec::new()));
    assert!(pair.server.encrypt(b"after that", &mut out).is_err());
    pair.answer();
    assert_eq!(pair.client.reader().read(&mut [0]).unwrap(), 0, "a clean end");
}

#[test]
fn a_flight_bent_anywhere_is_a_fault_or_waits_and_never_a_panic() {
    let configs = configs();
    let mut pair = Pair::new(&configs);
    let hello = pair.flight();
    for at in 0..hello.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut server = Tls::new(configs.server.clone()).unwrap();
            let mut bent = hello.clone();
            bent[at] ^= flip;
            let (mut plain, mut scratch) = (Vec::new(), Vec::new());
            let outcome = server.read(&mut bent, &mut plain, &mut scratch);
            assert!(plain.is_empty());
            // Once more: the next read must not trip over what is left.
            if outcome.is_ok() {
                let _ = server.read(&mut hello.clone(), &mut plain, &mut scratch);
            }
            assert!(server.buffered_bytes() < 2 * HALF_BYTES_MAX);
        }
    }
    for at in (0..100).chain([usize::MAX]) {
        let mut pair = Pair::new(&configs);
        pair.shake_hands();
        pair.client.writer().write_all(b"secret").unwrap();
        let mut flight = pair.flight();
        let at = at.min(flight.len() - 1);
        flight[at] ^= 0x10;
        let outcome = pair.read(flight);
        // Bytes 1 and 2 are a version that nobody looks at any more.
        let ignored = (1..=2).contains(&at) && pair.plain == b"secret";
        assert!(ignored || outcome.is_err() || pair.server.buffered_bytes() > 0, "{at}");
        assert!(ignored || pair.plain.is_empty(), "{at}");
    }
}

#[test]
fn a_hello_cut_anywhere_waits() {
    let configs = configs();
    let hello = Pair::new(&configs).flight();
    for len in 0..hello.len() {
        let mut pair = Pair::new(&configs);
        let hello = pair.flight();
        pair.read(hello[..len].to_vec()).unwrap();
        assert_eq!((pair.server.half.len(), pair.server.unsent.len()), (len, 0));
        pair.read(hello[len..].to_vec()).unwrap();
        assert!(pair.server.has_unsent());
    }
}
