//! A token taken apart: `header.claims.signature`, each in base64url without padding (RFC 7515, 7.1).

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, Visitor};

use super::claims::Claims;
use super::error::TokenError;
use super::key::Algorithm;

/// The longest token that is looked at, bytes. An AUTH body is bounded, too, as a rule more tightly (`comet.auth_bytes_max`).
pub const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// The longest `kid` that is looked for, bytes.
pub(super) const KID_BYTES_MAX: usize = 256;

/// A token of which nothing is believed yet.
#[derive(Debug)]
pub(super) struct Unverified<'a> {
    /// What it says it is signed with; `None`: nothing that is known here.
    pub(super) algorithm: Option<Algorithm>,
    /// The name of the key that it says it is signed with.
    pub(super) kid: Option<String>,
    /// What the signature is over.
    pub(super) signed: &'a [u8],
    pub(super) signature: Vec<u8>,
    claims: &'a str,
}

/// Takes a token apart.
pub(super) fn take_apart(token: &str) -> Result<Unverified<'_>, TokenError> {
    if token.is_empty() {
        return Err(TokenError::Missing);
    }
    if token.len() > TOKEN_BYTES_MAX {
        return Err(TokenError::Malformed("it is too long"));
    }
    let mut parts = token.split('.');
    let (Some(header), Some(claims), Some(signature)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(TokenError::Malformed("it has not three parts with dots in between"));
    };
    match parts.count() {
        0 => {}
        2 => return Err(TokenError::Malformed("it has five parts: encrypted tokens (JWE) are not read here")),
        _ => return Err(TokenError::Malformed("it has not three parts with dots in between")),
    }
    let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| TokenError::Malformed(HEADER))?;
    header.check()?;
    Ok(Unverified {
        algorithm: Algorithm::of(&header.alg),
        kid: header.kid,
        signed: &token.as_bytes()[..token.len() - signature.len() - 1],
        signature: decode(signature)?,
        claims,
    })
}

impl Unverified<'_> {
    /// The claims. Whoever asks has checked the signature.
    pub(super) fn claims(&self) -> Result<Claims, TokenError> {
        Claims::parse(&decode(self.claims)?)
    }
}

const HEADER: &str = "its header is not the JSON object it should be";

fn decode(part: &str) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed("a part of it is not base64url without padding"))
}

/// The header, as far as it matters: what else is in it (keys and where to get them above all) is not looked at.
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    critical: bool,
}

impl Header {
    fn check(&self) -> Result<(), TokenError> {
        if self.critical {
            // RFC 7515, 4.1.11: who does not understand an extension must refuse it, and none is understood here.
            return Err(TokenError::Malformed("its header asks for extensions (crit), and none are understood here"));
        }
        if self.kid.as_ref().is_some_and(|kid| kid.len() > KID_BYTES_MAX) {
            return Err(TokenError::Malformed("its kid is too long"));
        }
        match self.typ.as_deref().map(|typ| typ.to_ascii_lowercase()) {
            // RFC 9068 names access tokens at+jwt; RFC 7515 lets the prefix be left out.
            Some(typ) if !["jwt", "at+jwt"].contains(&typ.strip_prefix("application/").unwrap_or(&typ)) => {
                Err(TokenError::Malformed("its typ is neither JWT nor at+jwt"))
            }
            _ => Ok(()),
        }
    }
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Header;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JOSE header")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
                let (mut alg, mut kid, mut typ, mut critical) = (None, None, None, false);
                while let Some(name) = map.next_key::<String>()? {
                    match name.as_str() {
                        "alg" => once(&mut alg, map.next_value()?)?,
                        "kid" => once(&mut kid, map.next_value()?)?,
                        "typ" => once(&mut typ, map.next_value()?)?,
                        other => {
                            critical |= other == "crit";
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(Header { alg: alg.ok_or_else(|| A::Error::missing_field("alg"))?, kid, typ, critical })
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

/// Takes a value for a name that may stand in an object once: two readers must not see two things in one token.
pub(super) fn once<T, E: Error>(slot: &mut Option<T>, value: T) -> Result<(), E> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(E::custom("a name stands there twice")),
    }
}
