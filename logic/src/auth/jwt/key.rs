//! A key and the one algorithm that it is for.

use std::fmt;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
};
use aws_lc_rs::{hmac, rsa};

/// The least secret for HS256, bytes (RFC 7518, 3.2).
pub(super) const SECRET_BYTES_MIN: usize = 32;
/// The least and the largest modulus for RS256, bytes: 2048 to 8192 bits (RFC 7518, 3.3; above it checking takes too long).
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

/// How a token may be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC with SHA-256.
    Hs256,
    /// RSA with PKCS #1 v1.5 and SHA-256.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// The algorithm of an `alg` in a token's header.
    pub fn of(word: &str) -> Option<Self> {
        match word {
            "HS256" => Some(Self::Hs256),
            "RS256" => Some(Self::Rs256),
            "ES256" => Some(Self::Es256),
            // RFC 9864 gives the second name to the same thing.
            "EdDSA" | "Ed25519" => Some(Self::EdDsa),
            _ => None,
        }
    }

    /// The word for people and headers.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }
}

/// Why a key can't be used: whose fault, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct KeyError(pub String);

impl KeyError {
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

/// A key that signatures are checked with.
pub struct VerifyingKey {
    kid: Option<Box<str>>,
    algorithm: Algorithm,
    material: Material,
}

enum Material {
    Secret(Box<hmac::Key>),
    Public(ParsedPublicKey),
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyingKey").field("kid", &self.kid).field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

impl VerifyingKey {
    /// A secret for HS256.
    ///
    /// # Errors
    /// Shorter than 32 bytes (RFC 7518, 3.2).
    pub fn from_secret(secret: &[u8]) -> Result<Self, KeyError> {
        if secret.len() < SECRET_BYTES_MIN {
            return Err(too_short(secret.len()));
        }
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        Ok(Self { kid: None, algorithm: Algorithm::Hs256, material: Material::Secret(Box::new(key)) })
    }

    /// A public key in DER, as SubjectPublicKeyInfo (RFC 5280); its kind says the algorithm.
    ///
    /// # Errors
    /// Of another kind, or no key.
    pub fn from_public_key_info(der: &[u8]) -> Result<Self, KeyError> {
        if let Ok(key) = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, der) {
            return Ok(Self::public(Algorithm::Es256, key));
        }
        if let Ok(key) = ParsedPublicKey::new(&ED25519, der) {
            return Ok(Self::public(Algorithm::EdDsa, key));
        }
        Self::from_rsa(der).map_err(|error| match error {
            RsaError::Size(error) => error,
            RsaError::NoKey => KeyError::new("a public key is neither RSA nor EC on P-256 nor Ed25519"),
        })
    }

    /// An RSA key in DER, as PKCS #1 has it.
    ///
    /// # Errors
    /// No such key, or of a size that is not accepted.
    pub fn from_rsa_public_key(der: &[u8]) -> Result<Self, KeyError> {
        Self::from_rsa(der).map_err(|error| match error {
            RsaError::Size(error) => error,
            RsaError::NoKey => KeyError::new("an RSA public key can't be read"),
        })
    }

    fn from_rsa(der: &[u8]) -> Result<Self, RsaError> {
        let sized = rsa::PublicKey::from_der(der).map_err(|_| RsaError::NoKey)?;
        check_rsa_bytes(sized.modulus_len()).map_err(RsaError::Size)?;
        let key = ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, der).map_err(|_| RsaError::NoKey)?;
        Ok(Self::public(Algorithm::Rs256, key))
    }

    /// An RSA key from modulus and exponent, big-endian.
    pub(super) fn from_rsa_parts(modulus: &[u8], exponent: &[u8]) -> Result<Self, KeyError> {
        let strip = |bytes: &[u8]| bytes.iter().skip_while(|byte| **byte == 0).copied().collect::<Vec<u8>>();
        let components = RsaPublicKeyComponents { n: strip(modulus), e: strip(exponent) };
        check_rsa_bytes(components.n.len())?;
        let key = components
            .to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256)
            .map_err(|_| KeyError::new("n and e are no RSA public key"))?;
        Ok(Self::public(Algorithm::Rs256, key))
    }

    /// A point of P-256.
    pub(super) fn from_p256_point(x: &[u8], y: &[u8]) -> Result<Self, KeyError> {
        let point = [&[4], x, y].concat();
        if x.len() != 32 || y.len() != 32 {
            return Err(KeyError::new("x and y of P-256 have 32 bytes each"));
        }
        let key =
            ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).map_err(|_| KeyError::new("x and y are no point of P-256"))?;
        Ok(Self::public(Algorithm::Es256, key))
    }

    /// A public key of Ed25519.
    pub(super) fn from_ed25519(x: &[u8]) -> Result<Self, KeyError> {
        if x.len() != 32 {
            return Err(KeyError::new("x of Ed25519 has 32 bytes"));
        }
        let key = ParsedPublicKey::new(&ED25519, x).map_err(|_| KeyError::new("x is no key of Ed25519"))?;
        Ok(Self::public(Algorithm::EdDsa, key))
    }

    fn public(algorithm: Algorithm, key: ParsedPublicKey) -> Self {
        Self { kid: None, algorithm, material: Material::Public(key) }
    }

    /// The same key with a name.
    #[must_use]
    pub fn named(self, kid: Option<String>) -> Self {
        Self { kid: kid.map(String::into_boxed_str), ..self }
    }

    /// What it is for.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Its name, if it has one.
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// Whether `signature` over `message` was made with it, or with the private half of it.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.material {
            // In constant time.
            Material::Secret(key) => hmac::verify(key, message, signature).is_ok(),
            Material::Public(key) => key.verify_sig(message, signature).is_ok(),
        }
    }
}

/// Why a secret of so many bytes is none.
pub(super) fn too_short(bytes: usize) -> KeyError {
    KeyError::new(format!(
        "the secret has {bytes} bytes, and {SECRET_BYTES_MIN} are needed at least: make one with openssl rand -hex 32"
    ))
}

enum RsaError {
    NoKey,
    Size(KeyError),
}

fn check_rsa_bytes(bytes: usize) -> Result<(), KeyError> {
    if RSA_BYTES.contains(&bytes) {
        return Ok(());
    }
    Err(KeyError::new(format!("an RSA key has {} bits, and RS256 takes 2048 to 8192 here", bytes * 8)))
}
