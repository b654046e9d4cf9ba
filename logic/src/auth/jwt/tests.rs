//! Good and bad tokens of every algorithm. Tokens are made by another library than the one under test.

use std::io::Write;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{EncodingKey, Header};
use perseid_protocol::CloseReason;
use perseid_store::Takeover;
use serde_json::{Value, json};

use super::*;

pub(super) const NOW_MS: u64 = 1_700_000_000_000;
const NOW: u64 = NOW_MS / 1000;
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

/// Somebody who issues tokens with one key, and what the server knows of it.
pub(super) struct Issuer {
    pub(super) algorithm: jsonwebtoken::Algorithm,
    key: EncodingKey,
    /// SubjectPublicKeyInfo in PEM; the secret for HS256.
    public: String,
    /// The public half as a JWK.
    pub(super) jwk: Value,
}

fn b64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn pem(label: &str, der: &[u8]) -> String {
    let base64 = STANDARD.encode(der);
    let lines: Vec<&str> = base64.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

impl Issuer {
    pub(super) fn hs256() -> Self {
        let jwk = json!({ "kty": "oct", "k": b64(SECRET) });
        let public = String::from_utf8(SECRET.to_vec()).unwrap();
        Self { algorithm: jsonwebtoken::Algorithm::HS256, key: EncodingKey::from_secret(SECRET), public, jwk }
    }

    pub(super) fn es256() -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let point = pair.public_key().as_ref().to_vec();
        let jwk = json!({ "kty": "EC", "crv": "P-256", "x": b64(&point[1..33]), "y": b64(&point[33..]) });
        let info = AsDer::<aws_lc_rs::encoding::PublicKeyX509Der<'_>>::as_der(pair.public_key()).unwrap();
        let key = EncodingKey::from_ec_der(pair.to_pkcs8v1().unwrap().as_ref());
        Self { algorithm: jsonwebtoken::Algorithm::ES256, key, public: pem("PUBLIC KEY", info.as_ref()), jwk }
    }

    pub(super) fn eddsa() -> Self {
        let pair = Ed25519KeyPair::generate().unwrap();
        let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": b64(pair.public_key().as_ref()) });
        let info = AsDer::<aws_lc_rs::encoding::PublicKeyX509Der<'_>>::as_der(pair.public_key()).unwrap();
        let key = EncodingKey::from_ed_der(pair.to_pkcs8v1().unwrap().as_ref());
        Self { algorithm: jsonwebtoken::Algorithm::EdDSA, key, public: pem("PUBLIC KEY", info.as_ref()), jwk }
    }

    fn rs256() -> Self {
        let pair = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).unwrap();
        let jwk = {
            let components = aws_lc_rs::signature::RsaPublicKeyComponents::<Vec<u8>>::from(pair.public_key());
            json!({ "kty": "RSA", "n": b64(&components.n), "e": b64(&components.e) })
        };
        let info = AsDer::<aws_lc_rs::encoding::PublicKeyX509Der<'_>>::as_der(pair.public_key()).unwrap();
        let private = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).unwrap();
        let key = EncodingKey::from_rsa_pem(pem("PRIVATE KEY", private.as_ref()).as_bytes()).unwrap();
        Self { algorithm: jsonwebtoken::Algorithm::RS256, key, public: pem("PUBLIC KEY", info.as_ref()), jwk }
    }

    fn all() -> [Self; 4] {
        [Self::hs256(), Self::rs256(), Self::es256(), Self::eddsa()]
    }

    pub(super) fn sign(&self, claims: &Value) -> String {
        jsonwebtoken::encode(&Header::new(self.algorithm), claims, &self.key).unwrap()
    }

    pub(super) fn sign_named(&self, claims: &Value, kid: &str) -> String {
        let header = Header { kid: Some(kid.to_owned()), ..Header::new(self.algorithm) };
        jsonwebtoken::encode(&header, claims, &self.key).unwrap()
    }

    /// Signs parts that no honest library would make.
    fn sign_raw(&self, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", b64(header.as_bytes()), b64(claims.as_bytes()));
        let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &self.key, self.algorithm).unwrap();
        format!("{signed}.{signature}")
    }

    /// The server's half of it, from a file as an operator has it.
    fn server(&self, policy: Policy) -> JwtAuth {
        let file = file(self.public.as_bytes());
        let path = Some(file.path().to_owned());
        let config = if self.algorithm == jsonwebtoken::Algorithm::HS256 {
            JwtConfig { secret_file: path, policy, ..JwtConfig::default() }
        } else {
            JwtConfig { key_file: path, policy, ..JwtConfig::default() }
        };
        JwtAuth::open(&config, &Arc::default()).unwrap()
    }
}

fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    file
}

pub(super) fn good() -> Value {
    json!({ "mid": 7, "exp": NOW + 60 })
}

fn check(auth: &JwtAuth, token: &str) -> Result<i64, TokenError> {
    auth.check(token, NOW_MS).map(|identity| identity.mid)
}

#[test]
fn every_algorithm_from_a_file_and_from_a_key_set() {
    for issuer in Issuer::all() {
        let auth = issuer.server(Policy::default());
        let token = issuer.sign(&good());
        let identity = auth.check(&token, NOW_MS).unwrap();
        let expected = Identity { mid: 7, takeover: Takeover::SameUser, expires_at_ms: NOW_MS + 60_000 + 30_000 };
        assert_eq!(identity, expected, "{:?}", issuer.algorithm);
        // A key in PEM has no name, so any will do.
        assert_eq!(check(&auth, &issuer.sign_named(&good(), "whatever")), Ok(7));

        let mut jwk = issuer.jwk.clone();
        jwk["kid"] = "a".into();
        let file = file(json!({ "keys": [{ "kty": "XYZ" }, jwk] }).to_string().as_bytes());
        let config = JwtConfig { jwks_file: Some(file.path().to_owned()), ..JwtConfig::default() };
        let auth = JwtAuth::open(&config, &Arc::default()).unwrap();
        assert_eq!(auth.keys(), 1);
        assert_eq!(check(&auth, &issuer.sign_named(&good(), "a")), Ok(7));
        assert_eq!(check(&auth, &token), Ok(7), "no kid: every key of the algorithm may be it");
        assert_eq!(check(&auth, &issuer.sign_named(&good(), "b")), Err(TokenError::UnknownKey));
        assert_eq!(check(&auth, &issuer.sign_named(&good(), &"b".repeat(256))), Err(TokenError::UnknownKey));
        let huge = check(&auth, &issuer.sign_named(&good(), &"b".repeat(257)));
        assert_eq!(huge, Err(TokenError::Malformed("its kid is too long")));
    }
}

#[test]
fn signatures_that_are_not() {
    let issuers = Issuer::all();
    for (at, issuer) in issuers.iter().enumerate() {
        let auth = issuer.server(Policy::default());
        let token = issuer.sign(&good());
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let claims = |claims: &Value| b64(claims.to_string().as_bytes());
        let header = signed.split('.').next().unwrap();
        for (what, bad) in [
            ("none", format!("{signed}.")),
            ("another user under it", format!("{header}.{}.{signature}", claims(&json!({ "mid": 8, "exp": NOW + 60 })))),
            ("cut", format!("{signed}.{}", b64(&bytes[1..]))),
            ("longer", format!("{signed}.{}", b64(&[&bytes[..], &[0]].concat()))),
            ("zeros", format!("{signed}.{}", b64(&[0; 64]))),
            ("all ones", format!("{signed}.{}", b64(&[0xff; 64]))),
        ] {
            assert_eq!(check(&auth, &bad), Err(TokenError::Signature), "{:?} {what}", issuer.algorithm);
        }
        // Of another key, of the same kind and of others.
        let stranger = &[Issuer::es256, Issuer::eddsa, Issuer::rs256, Issuer::es256][at]();
        for other in issuers.iter().filter(|other| other.algorithm != issuer.algorithm).chain([stranger]) {
            let expected = if other.algorithm == issuer.algorithm { TokenError::Signature } else { TokenError::Algorithm };
            assert_eq!(check(&auth, &other.sign(&good())), Err(expected));
        }
    }
}

/// RFC 8725, 2.1: a public key is known to everybody, and must not do as an HMAC secret.
#[test]
fn key_confusion() {
    for issuer in [Issuer::rs256(), Issuer::es256(), Issuer::eddsa()] {
        let auth = issuer.server(Policy::default());
        let der = STANDARD.decode(issuer.public.lines().filter(|line| !line.starts_with('-')).collect::<String>()).unwrap();
        for secret in [issuer.public.as_bytes(), issuer.public.trim().as_bytes(), &der] {
            let forged = jsonwebtoken::encode(&Header::default(), &good(), &EncodingKey::from_secret(secret)).unwrap();
            assert_eq!(check(&auth, &forged), Err(TokenError::Algorithm));
        }
        // Nor by an operator's mistake.
        let public = file(issuer.public.as_bytes());
        let config = JwtConfig { secret_file: Some(public.path().to_owned()), ..JwtConfig::default() };
        let error = JwtAuth::open(&config, &Arc::default()).err().unwrap().to_string();
        assert!(error.contains("jwt.key_file"), "{error}");
        // A token that brings its own key, and one that says where to get it.
        for header in [
            json!({ "alg": issuer.jwk["kty"], "jwk": issuer.jwk }),
            json!({ "alg": "HS256", "jku": "http://127.0.0.1:1/", "jwk": { "kty": "oct", "k": b64(SECRET) } }),
        ] {
            assert_eq!(
                check(&auth, &Issuer::hs256().sign_raw(&header.to_string(), &good().to_string())),
                Err(TokenError::Algorithm)
            );
        }
    }
}

#[test]
fn unsigned() {
    for issuer in Issuer::all() {
        let auth = issuer.server(Policy::default());
        for alg in ["none", "None", "NONE", "nOnE", "", "HS256 ", "hs256", "ES384", "HS512", "RS1", "PS256", "dir"] {
            let header = b64(json!({ "alg": alg, "typ": "JWT" }).to_string().as_bytes());
            let claims = b64(good().to_string().as_bytes());
            assert_eq!(check(&auth, &format!("{header}.{claims}.")), Err(TokenError::Algorithm), "{alg}");
            assert_eq!(check(&auth, &format!("{header}.{claims}.AAAA")), Err(TokenError::Algorithm), "{alg}");
        }
    }
}

#[test]
fn what_is_no_token() {
    let issuer = Issuer::hs256();
    let auth = issuer.server(Policy::default());
    let parts = |header: &str| issuer.sign_raw(header, &good().to_string());
    assert_eq!(check(&auth, ""), Err(TokenError::Missing));
    for (what, bad) in [
        ("one part", "abc".to_owned()),
        ("two parts", "a.b".to_owned()),
        ("four parts", "a.b.c.d".to_owned()),
        ("JWE", "a.b.c.d.e".to_owned()),
        ("dots", "..".to_owned()),
        ("very many dots", ".".repeat(TOKEN_BYTES_MAX)),
        ("oversized", "a".repeat(TOKEN_BYTES_MAX + 1)),
        ("a megabyte", "a".repeat(1024 * 1024)),
        ("spaces", format!(" {}", issuer.sign(&good()))),
        ("Bearer", format!("Bearer {}", issuer.sign(&good()))),
        ("padding", format!("{}=", issuer.sign(&good()))),
        ("no base64", "!!.??.$$".to_owned()),
        ("no UTF-8 within", format!("{}.e30.", b64(b"{\"alg\":\"\xff\"}"))),
        ("header no object", parts("[]")),
        ("header empty", parts("{}")),
        ("header null", parts("null")),
        ("alg null", parts(r#"{"alg":null}"#)),
        ("alg a number", parts(r#"{"alg":256}"#)),
        ("alg a list", parts(r#"{"alg":["HS256"]}"#)),
        ("alg twice", parts(r#"{"alg":"HS256","alg":"none"}"#)),
        ("kid a number", parts(r#"{"alg":"HS256","kid":7}"#)),
        ("kid twice", parts(r#"{"alg":"HS256","kid":"a","kid":"b"}"#)),
        ("crit", parts(r#"{"alg":"HS256","crit":["exp"]}"#)),
        ("typ JWE", parts(r#"{"alg":"HS256","typ":"JWE"}"#)),
        ("typ of an ID document", parts(r#"{"alg":"HS256","typ":"application/vc+jwt"}"#)),
        ("nested garbage", parts(&"[".repeat(8000))),
        ("a kid of nested garbage", parts(&format!(r#"{{"alg":"HS256","kid":{}}}"#, "[".repeat(8000)))),
    ] {
        let refused = check(&auth, &bad);
        assert!(matches!(refused, Err(TokenError::Malformed(_))), "{what}: {refused:?}");
    }
    for typ in ["JWT", "jwt", "at+jwt", "application/at+jwt", "application/JWT"] {
        assert_eq!(check(&auth, &parts(&json!({ "alg": "HS256", "typ": typ }).to_string())), Ok(7), "{typ}");
    }
    assert_eq!(check(&auth, &parts(r#"{"alg":"HS256"}"#)), Ok(7), "typ may be missing");
    // What is not looked at is skipped, however deep.
    let deep = format!(r#"{{"alg":"HS256","x":{}1{}}}"#, "[".repeat(4000), "]".repeat(4000));
    assert_eq!(check(&auth, &parts(&deep)), Ok(7));
}

#[test]
fn claims_of_a_wrong_type() {
    let issuer = Issuer::hs256();
    let auth = issuer.server(Policy::default());
    let head = r#"{"alg":"HS256"}"#;
    let exp = NOW + 60;
    for bad in [
        String::new(),
        "null".to_owned(),
        "[]".to_owned(),
        "7".to_owned(),
        "{".to_owned(),
        format!(r#"{{"mid":7,"exp":{exp}}} {{}}"#),
        r#"{"mid":7}"#.to_owned(),
        r#"{"mid":7,"exp":null}"#.to_owned(),
        format!(r#"{{"mid":7,"exp":"{exp}"}}"#),
        r#"{"mid":7,"exp":-1}"#.to_owned(),
        r#"{"mid":7,"exp":1e999}"#.to_owned(),
        r#"{"mid":7,"exp":[1]}"#.to_owned(),
        format!(r#"{{"mid":7,"exp":{exp},"exp":{}}}"#, exp + 1),
        format!(r#"{{"mid":7,"mid":8,"exp":{exp}}}"#),
        format!(r#"{{"mid":7,"exp":{exp},"nbf":"x"}}"#),
        format!(r#"{{"mid":7,"exp":{exp},"iss":7}}"#),
        format!(r#"{{"mid":7,"exp":{exp},"aud":7}}"#),
        format!(r#"{{"mid":7,"exp":{exp},"aud":["a",7]}}"#),
        format!(r#"{{"mid":7,"exp":{exp},"x":{}"#, "[".repeat(8000)),
        format!(r#"{{"mid":7,"exp":{exp},"aud":{}"#, "[".repeat(8000)),
    ] {
        let refused = check(&auth, &issuer.sign_raw(head, &bad));
        assert!(matches!(refused, Err(TokenError::Claims(_))), "{bad}: {refused:?}");
    }
}

#[test]
fn who_it_is() {
    let issuer = Issuer::hs256();
    let of = |policy: Policy, claims: Value| check(&issuer.server(policy), &issuer.sign(&claims));
    let exp = NOW + 60;
    for (mid, expected) in [
        (json!(7), Some(7)),
        (json!("7"), Some(7)),
        (json!("9223372036854775807"), Some(i64::MAX)),
        (json!(i64::MAX), Some(i64::MAX)),
        (json!(0), None),
        (json!(-1), None),
        (json!("0"), None),
        (json!("-7"), None),
        (json!(""), None),
        (json!("+7"), None),
        (json!(" 7"), None),
        (json!("7e0"), None),
        (json!("0x7"), None),
        (json!("9223372036854775808"), None),
        (json!(u64::MAX), None),
        (json!(7.0), None),
        (json!(true), None),
        (json!(null), None),
        (json!([7]), None),
        (json!({ "mid": 7 }), None),
    ] {
        for claim in ["mid", "sub"] {
            let identity = of(Policy::default(), json!({ claim: mid, "exp": exp }));
            assert_eq!(identity.clone().ok(), expected, "{claim} {mid}");
            assert!(expected.is_some() || matches!(identity, Err(TokenError::Subject(_))), "{claim} {mid}: {identity:?}");
        }
    }
    let sub_beside = |mid: Value| of(Policy::default(), json!({ "mid": mid, "sub": "8", "exp": exp }));
    assert_eq!(sub_beside(json!("7")), Ok(7));
    assert!(sub_beside(json!("x")).is_err(), "what stands there is meant: sub is not taken instead");
    assert!(of(Policy::default(), json!({ "exp": exp })).is_err());

    let uid = || Policy { mid_claim: "https://example.org/uid".to_owned(), ..Policy::default() };
    assert_eq!(of(uid(), json!({ "https://example.org/uid": 9, "mid": 7, "sub": 8, "exp": exp })), Ok(9));
    assert_eq!(of(uid(), json!({ "mid": 7, "sub": 8, "exp": exp })), Ok(8));
    let guests = || Policy { guests: true, ..Policy::default() };
    assert_eq!(of(guests(), json!({ "mid": 0, "exp": exp })), Ok(0));
    assert_eq!(of(guests(), json!({ "mid": "-5", "exp": exp })), Ok(-5));
}

#[test]
fn when_from_whom_and_for_whom() {
    let issuer = Issuer::hs256();
    let policy = Policy {
        audience: vec!["im".to_owned(), "chat".to_owned()],
        issuer: vec!["https://id.example.org".to_owned()],
        leeway_ms: 5_000,
        lifetime_ms_max: 3_600_000,
        ..Policy::default()
    };
    let auth = issuer.server(policy);
    let of = |change: Value| {
        let mut claims = json!({ "mid": 7, "iss": "https://id.example.org", "aud": "im", "exp": NOW + 60 });
        for (name, value) in change.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        check(&auth, &issuer.sign(&claims))
    };
    for (change, expected) in [
        (json!({}), Ok(7)),
        (json!({ "exp": NOW - 4 }), Ok(7)),
        (json!({ "exp": NOW - 5 }), Err(TokenError::Expired)),
        (json!({ "exp": 0 }), Err(TokenError::Expired)),
        (json!({ "exp": NOW as f64 - 4.5 }), Ok(7)),
        (json!({ "exp": NOW as f64 - 5.5 }), Err(TokenError::Expired)),
        (json!({ "exp": NOW + 3600 }), Ok(7)),
        (json!({ "exp": NOW + 3606 }), Err(TokenError::Lifetime)),
        (json!({ "exp": u64::MAX }), Err(TokenError::Lifetime)),
        (json!({ "exp": 1e300 }), Err(TokenError::Lifetime)),
        (json!({ "nbf": NOW + 5 }), Ok(7)),
        (json!({ "nbf": NOW + 6 }), Err(TokenError::NotYet)),
        (json!({ "nbf": u64::MAX }), Err(TokenError::NotYet)),
        (json!({ "aud": "other" }), Err(TokenError::Audience)),
        (json!({ "aud": null }), Err(TokenError::Audience)),
        (json!({ "aud": [] }), Err(TokenError::Audience)),
        (json!({ "aud": "imx" }), Err(TokenError::Audience)),
        (json!({ "aud": ["other", "chat"] }), Ok(7)),
        (json!({ "iss": "https://id.example.org/" }), Err(TokenError::Issuer)),
        (json!({ "iss": null }), Err(TokenError::Issuer)),
        // Who would come back with a fresh one must not be told so when that would not help.
        (json!({ "exp": 0, "aud": "other" }), Err(TokenError::Audience)),
        (json!({ "exp": 0, "mid": 0 }), Err(TokenError::Subject("guests (ids of 0 and below) are not let in (jwt.guests)"))),
    ] {
        assert_eq!(of(change.clone()), expected, "{change}");
    }
    let forever = issuer.server(Policy::default()).check(&issuer.sign(&json!({ "mid": 7, "exp": u64::MAX })), NOW_MS).unwrap();
    assert_eq!(forever.expires_at_ms, 253_402_300_799_000 + 30_000);
}

#[test]
fn codes_and_messages() {
    let issuer = Issuer::es256();
    let auth = issuer.server(Policy { audience: vec!["im".to_owned()], ..Policy::default() });
    let canary = "canary-5eed";
    for claims in [
        json!({ "mid": canary, "aud": "im", "exp": NOW + 60 }),
        json!({ "mid": 7, "aud": canary, "exp": NOW + 60 }),
        json!({ "mid": 7, "aud": "im", "exp": 1, "x": canary }),
        json!({ canary: 7, "aud": "im", "exp": canary }),
    ] {
        let token = issuer.sign_named(&claims, canary);
        let request = AuthRequest { token: token.clone(), ..AuthRequest::default() };
        let context = AuthContext { peer: None, cookie: "", now_ms: NOW_MS, extended: true, renewal: false };
        let error = auth.authenticate(&request, &context).now().unwrap().unwrap_err();
        let expired = claims["exp"] == 1;
        assert_eq!(error.reason == CloseReason::TokenExpired, expired, "{error}");
        assert!(expired || error.reason == CloseReason::Unauthenticated);
        let text = format!("{error} {error:?}");
        for leak in [canary, &b64(canary.as_bytes()), token.split('.').nth(1).unwrap(), token.rsplit('.').next().unwrap()] {
            assert!(!text.contains(leak), "{text}");
        }
    }
    assert!(!format!("{:?}", VerifyingKey::from_secret(SECRET).unwrap()).contains("0123"), "keys are not in logs");
}

#[test]
fn keys_that_can_not_be_used() {
    let small = "0123456789abcdef0123456789abcde";
    let private = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIBU6\n-----END PRIVATE KEY-----\n";
    let p384 = EcdsaKeyPair::generate(&aws_lc_rs::signature::ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
    let p384 = pem("PUBLIC KEY", AsDer::<aws_lc_rs::encoding::PublicKeyX509Der<'_>>::as_der(p384.public_key()).unwrap().as_ref());
    let weak = json!({ "keys": [{ "kty": "RSA", "n": b64(&[0xc5; 128]), "e": "AQAB" }] }).to_string();
    let off_curve = json!({ "keys": [{ "kty": "EC", "crv": "P-256", "x": b64(&[1; 32]), "y": b64(&[2; 32]) }] }).to_string();
    let for_encryption = json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "use": "enc", "x": b64(&[1; 32]) }] }).to_string();
    let other_alg = json!({ "keys": [{ "kty": "oct", "alg": "RS256", "k": b64(SECRET) }] }).to_string();
    let many = json!({ "keys": vec![json!({ "kty": "oct", "k": b64(SECRET) }); 101] }).to_string();
    for (kind, text, word) in [
        ("key", "", "PUBLIC KEY"),
        ("key", "hello", "PUBLIC KEY"),
        ("key", "\u{0}\u{1}", "PUBLIC KEY"),
        ("key", "-----BEGIN PUBLIC KEY-----\nAAAA\n", "no end"),
        ("key", "-----BEGIN PUBLIC KEY-----\n!!\n-----END PUBLIC KEY-----\n", "base64"),
        ("key", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "neither"),
        ("key", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "openssl x509"),
        ("key", private, "private key"),
        ("key", p384.as_str(), "P-256"),
        ("secret", small, "31 bytes"),
        ("secret", "\n  \n", "0 bytes"),
        ("secret", "{\"keys\":[]}", "jwks_file"),
        ("jwks", "", "no JSON Web Key Set"),
        ("jwks", "[]", "no JSON Web Key Set"),
        ("jwks", "{\"keys\":[]}", "no keys"),
        ("jwks", "{\"keys\":[1]}", "none of its keys"),
        ("jwks", weak.as_str(), "1024 bits"),
        ("jwks", off_curve.as_str(), "no point"),
        ("jwks", for_encryption.as_str(), "use is not sig"),
        ("jwks", other_alg.as_str(), "alg"),
        ("jwks", many.as_str(), "101 keys"),
    ] {
        let file = file(text.as_bytes());
        let path = Some(file.path().to_owned());
        let config = match kind {
            "key" => JwtConfig { key_file: path, ..JwtConfig::default() },
            "secret" => JwtConfig { secret_file: path, ..JwtConfig::default() },
            _ => JwtConfig { jwks_file: path, ..JwtConfig::default() },
        };
        let error = JwtAuth::open(&config, &Arc::default()).err().unwrap_or_else(|| panic!("{text} was taken")).to_string();
        assert!(error.contains(word) && error.contains(&*file.path().to_string_lossy()), "{text}: {error}");
    }
    let missing = JwtConfig { key_file: Some("/nowhere/key.pem".into()), ..JwtConfig::default() };
    assert!(JwtAuth::open(&missing, &Arc::default()).err().unwrap().to_string().contains("/nowhere/key.pem"));
    let large = file(&[b'a'; 256 * 1024 + 1]);
    let large = JwtConfig { secret_file: Some(large.path().to_owned()), ..JwtConfig::default() };
    assert!(JwtAuth::open(&large, &Arc::default()).err().unwrap().to_string().contains("longer"));
    // A server that tells everybody its secret.
    let secret = json!({ "keys": [{ "kty": "oct", "k": b64(SECRET) }] }).to_string();
    assert!(jwks::read(secret.as_bytes(), jwks::Source::Server).unwrap_err().to_string().contains("oct"));
}

#[test]
fn a_file_with_several_keys_and_what_is_read_again() {
    let (old, new, other) = (Issuer::es256(), Issuer::es256(), Issuer::rs256());
    let both = file(format!("# two\n{}\nand\n{}", old.public, other.public).as_bytes());
    let mut config = JwtConfig { key_file: Some(both.path().to_owned()), ..JwtConfig::default() };
    let auth = JwtAuth::open(&config, &Arc::default()).unwrap();
    assert_eq!(auth.keys(), 2);
    assert_eq!((check(&auth, &old.sign(&good())), check(&auth, &other.sign(&good()))), (Ok(7), Ok(7)));
    assert_eq!(check(&auth, &new.sign(&good())), Err(TokenError::Signature));

    let broken = file(b"-----BEGIN PUBLIC KEY-----");
    assert!(auth.reload(&JwtConfig { key_file: Some(broken.path().to_owned()), ..config.clone() }).is_err());
    assert_eq!(check(&auth, &old.sign(&good())), Ok(7), "a bad file changes nothing");

    let rotated = file(new.public.as_bytes());
    config.key_file = Some(rotated.path().to_owned());
    config.policy.audience = vec!["im".to_owned()];
    auth.reload(&config).unwrap();
    assert_eq!(check(&auth, &new.sign(&good())), Err(TokenError::Audience));
    assert_eq!(check(&auth, &old.sign(&good())), Err(TokenError::Signature));
}

/// A token without kid can't make the server try a whole set.
#[test]
fn few_keys_are_tried() {
    let issuers: Vec<Issuer> = (0..6).map(|_| Issuer::es256()).collect();
    let keys = issuers.iter().enumerate().map(|(at, issuer)| {
        let mut jwk = issuer.jwk.clone();
        jwk["kid"] = at.to_string().into();
        jwk
    });
    let file = file(json!({ "keys": keys.collect::<Vec<_>>() }).to_string().as_bytes());
    let auth =
        JwtAuth::open(&JwtConfig { jwks_file: Some(file.path().to_owned()), ..JwtConfig::default() }, &Arc::default()).unwrap();
    let found: Vec<bool> = issuers.iter().map(|issuer| check(&auth, &issuer.sign(&good())).is_ok()).collect();
    assert_eq!(found, [true, true, true, true, false, false]);
    for (at, issuer) in issuers.iter().enumerate() {
        assert_eq!(check(&auth, &issuer.sign_named(&good(), &at.to_string())), Ok(7));
    }
}

#[test]
fn a_token_can_be_bound_to_fields_of_the_body() {
    let issuer = Issuer::es256();
    let auth = issuer.server(Policy { bind: vec![Bound::DeviceId, Bound::RoomId], ..Policy::default() });
    let body = AuthRequest { device_id: "phone".to_owned(), room_id: "live://1".to_owned(), ..AuthRequest::default() };
    for (claims, expected) in [
        (json!({}), None),
        (json!({ "device_id": "phone" }), None),
        (json!({ "device_id": "phone", "room_id": "live://1", "platform": "other" }), None),
        (json!({ "device_id": "Phone" }), Some(TokenError::Bound("device_id"))),
        (json!({ "device_id": "" }), Some(TokenError::Bound("device_id"))),
        (json!({ "device_id": ["phone"] }), Some(TokenError::Bound("device_id"))),
        (json!({ "device_id": null }), Some(TokenError::Bound("device_id"))),
        (json!({ "room_id": 1 }), Some(TokenError::Bound("room_id"))),
    ] {
        let mut all = good();
        all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
        let request = AuthRequest { token: issuer.sign(&all), ..body.clone() };
        let context = AuthContext { peer: None, cookie: "", now_ms: NOW_MS, extended: true, renewal: false };
        let outcome = auth.authenticate(&request, &context).now().unwrap();
        let cause = outcome.err().map(|error| error.message);
        assert_eq!(cause, expected.map(|error| error.to_string()), "{claims}");
    }
    let number = issuer.sign(&json!({ "mid": 7, "exp": NOW + 60, "device_id": 5 }));
    let request = AuthRequest { token: number, device_id: "5".to_owned(), ..body };
    assert_eq!(auth.state().check(&request, NOW_MS).map(|identity| identity.mid).ok(), Some(7));
}
