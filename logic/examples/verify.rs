//! What it costs to check a token, and to let a session in with one, for each algorithm. One thread, one core:
//!
//! ```sh
//! cargo run --release --example verify -p perseid-logic
//! ```

#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaPublicKeyComponents};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use perseid_logic::{ConnectRequest, JwtAuth, JwtConfig, Logic};
use perseid_protocol::push::SessionAddr;
use perseid_store::MemoryRegistry;
use serde_json::{Value, json};

const NOW_MS: u64 = 1_700_000_000_000;
/// For each figure; the best of five.
const ROUND: Duration = Duration::from_millis(300);
const ROUNDS: usize = 5;

fn b64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// An algorithm, the key to sign with, and the public half as a JWK.
fn issuers() -> [(Algorithm, EncodingKey, Value); 4] {
    let secret = [7; 32];
    let hs256 = (Algorithm::HS256, EncodingKey::from_secret(&secret), json!({ "kty": "oct", "k": b64(&secret) }));

    let pair = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).unwrap();
    let public = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public_key());
    let private = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).unwrap();
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(private.as_ref()));
    let key = EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap();
    let rs256 = (Algorithm::RS256, key, json!({ "kty": "RSA", "n": b64(&public.n), "e": b64(&public.e) }));

    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let point = pair.public_key().as_ref();
    let jwk = json!({ "kty": "EC", "crv": "P-256", "x": b64(&point[1..33]), "y": b64(&point[33..]) });
    let es256 = (Algorithm::ES256, EncodingKey::from_ec_der(pair.to_pkcs8v1().unwrap().as_ref()), jwk);

    let pair = Ed25519KeyPair::generate().unwrap();
    let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": b64(pair.public_key().as_ref()) });
    let eddsa = (Algorithm::EdDSA, EncodingKey::from_ed_der(pair.to_pkcs8v1().unwrap().as_ref()), jwk);
    [hs256, rs256, es256, eddsa]
}

/// The best of some rounds, µs for each call.
fn micros(mut call: impl FnMut()) -> f64 {
    let round = |call: &mut dyn FnMut()| {
        let (started, mut calls) = (Instant::now(), 0);
        while started.elapsed() < ROUND {
            for _ in 0..16 {
                call();
            }
            calls += 16;
        }
        started.elapsed().as_secs_f64() * 1e6 / f64::from(calls)
    };
    (0..ROUNDS).map(|_| round(&mut call)).fold(f64::INFINITY, f64::min)
}

fn main() {
    println!("µs on one thread, the best of {ROUNDS} rounds of {ROUND:?}\n\nalgorithm  check  connect and leave");
    for (algorithm, key, jwk) in issuers() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        write!(file, "{}", json!({ "keys": [jwk] })).unwrap();
        let config = JwtConfig { jwks_file: Some(file.path().to_owned()), ..JwtConfig::default() };
        let metrics = Arc::default();
        let auth = Arc::new(JwtAuth::open(&config, &metrics).unwrap());
        let claims = json!({ "mid": 7, "iss": "https://id.example.org", "aud": "im", "exp": NOW_MS / 1000 + 600 });
        let token = jsonwebtoken::encode(&Header::new(algorithm), &claims, &key).unwrap();
        let check = micros(|| assert!(auth.check(&token, NOW_MS).is_ok()));

        let logic = Arc::new(Logic::new(Arc::new(MemoryRegistry::new()), auth, metrics));
        let body = json!({ "token": token, "room_id": "live://1", "platform": "web", "accepts": [1000] }).to_string();
        let addr = SessionAddr::default();
        let connect = micros(|| {
            let request = ConnectRequest { body: body.as_bytes(), addr, peer: None, extended: true, cookie: "", now_ms: NOW_MS };
            let connected = logic.connect(&request).now().unwrap().unwrap();
            assert!(logic.disconnect(&connected.key, connected.mid, addr, None));
        });
        println!("{:9} {check:6.1} {connect:18.1}", format!("{algorithm:?}"));
    }
}
