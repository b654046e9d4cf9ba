//! What a token claims, and what is asked of that. Pure: time is an argument.

use std::fmt;

use perseid_protocol::auth::AuthRequest;
use perseid_store::Takeover;
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor};

use super::error::TokenError;
use crate::auth::Identity;

/// The last moment that a token may name, unix ms: the end of the year 9999. What is later is this.
const LAST_MS: u64 = 253_402_300_799_000;

/// What is asked of tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// One of these must be in `aud`; empty: not looked at.
    pub audience: Vec<String>,
    /// `iss` must be one of these; empty: not looked at.
    pub issuer: Vec<String>,
    /// By how much clocks may differ, ms. A session ends so much after its token's `exp`.
    pub leeway_ms: u64,
    /// A token that expires later than this from now is refused, ms; 0: any.
    pub lifetime_ms_max: u64,
    /// The claim with the user's id; without it `sub` is taken.
    pub mid_claim: String,
    /// Whether ids ≤ 0, which are guests, are let in.
    pub guests: bool,
    /// Fields of AUTH that have to be what the claim of their name says, if the token has it.
    pub bind: Vec<Bound>,
}

/// A field of AUTH that a token can be bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the words say it
pub enum Bound {
    Key,
    DeviceId,
    Platform,
    RoomId,
}

impl Bound {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Key, Self::DeviceId, Self::Platform, Self::RoomId];

    /// The name of the field and of the claim.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::DeviceId => "device_id",
            Self::Platform => "platform",
            Self::RoomId => "room_id",
        }
    }

    fn field(self, request: &AuthRequest) -> &str {
        match self {
            Self::Key => &request.key,
            Self::DeviceId => &request.device_id,
            Self::Platform => &request.platform,
            Self::RoomId => &request.room_id,
        }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            audience: Vec::new(),
            issuer: Vec::new(),
            leeway_ms: 30_000,
            lifetime_ms_max: 0,
            mid_claim: "mid".to_owned(),
            guests: false,
            bind: Vec::new(),
        }
    }
}

/// Who the bearer of a token with these claims is. What is wrong for good is said before what is only late or early.
pub(super) fn judge(claims: &Claims, request: &AuthRequest, policy: &Policy, now_ms: u64) -> Result<Identity, TokenError> {
    if !policy.issuer.is_empty() && !claims.iss.as_ref().is_some_and(|iss| policy.issuer.contains(iss)) {
        return Err(TokenError::Issuer);
    }
    if !policy.audience.is_empty() && !claims.aud.iter().any(|aud| policy.audience.contains(aud)) {
        return Err(TokenError::Audience);
    }
    let mid = claims.mid(&policy.mid_claim)?;
    if mid <= 0 && !policy.guests {
        return Err(TokenError::Subject("guests (ids of 0 and below) are not let in (jwt.guests)"));
    }
    if let Some(field) = policy.bind.iter().find(|bound| !claims.allow(bound.word(), bound.field(request))) {
        return Err(TokenError::Bound(field.word()));
    }
    let expires_at_ms = claims.exp.ok_or(TokenError::Claims("exp is missing: a token has to expire"))?;
    if now_ms >= expires_at_ms.saturating_add(policy.leeway_ms) {
        return Err(TokenError::Expired);
    }
    if claims.nbf.is_some_and(|nbf| now_ms.saturating_add(policy.leeway_ms) < nbf) {
        return Err(TokenError::NotYet);
    }
    let latest = now_ms.saturating_add(policy.lifetime_ms_max).saturating_add(policy.leeway_ms);
    if policy.lifetime_ms_max > 0 && expires_at_ms > latest {
        return Err(TokenError::Lifetime);
    }
    // With the leeway: who was let in by it must not be shown out at once.
    let expires_at_ms = expires_at_ms.saturating_add(policy.leeway_ms);
    Ok(Identity { mid, takeover: Takeover::SameUser, expires_at_ms })
}

/// The claims that matter here, and all others that could hold the user's id.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// Unix ms, as `nbf`.
    exp: Option<u64>,
    nbf: Option<u64>,
    iss: Option<String>,
    aud: Vec<String>,
    sub: Option<Id>,
    others: Vec<(String, Id)>,
}

impl Claims {
    pub(super) fn parse(json: &[u8]) -> Result<Self, TokenError> {
        serde_json::from_slice(json)
            .map_err(|_| TokenError::Claims("they are not a JSON object with each claim once and of its type (RFC 7519, 4.1)"))
    }

    /// Whether the claim of this name, if there is one, says this.
    fn allow(&self, name: &str, value: &str) -> bool {
        match self.others.iter().find(|(known, _)| known == name) {
            None => true,
            Some((_, Id::Text(text, _))) => text == value,
            Some((_, Id::Number(number))) => number.to_string() == value,
            Some((_, Id::Other)) => false,
        }
    }

    /// The user's id: of the claim with this name, or else of `sub`.
    fn mid(&self, claim: &str) -> Result<i64, TokenError> {
        let own = self.others.iter().find(|(name, _)| name == claim).map(|(_, id)| id);
        match own.or(self.sub.as_ref()) {
            Some(Id::Number(mid) | Id::Text(_, Some(mid))) => Ok(*mid),
            Some(Id::Text(_, None) | Id::Other) => {
                Err(TokenError::Subject("its claim is neither a whole number nor the decimal text of one"))
            }
            None => Err(TokenError::Subject("neither the claim of jwt.mid_claim nor sub is there")),
        }
    }
}

impl<'de> Deserialize<'de> for Claims {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Claims;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of claims")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Claims, A::Error> {
                let mut seen = std::collections::HashSet::new();
                let mut claims = Claims::default();
                while let Some(name) = map.next_key::<String>()? {
                    match name.as_str() {
                        "exp" => claims.exp = Some(map.next_value::<Date>()?.0),
                        "nbf" => claims.nbf = Some(map.next_value::<Date>()?.0),
                        "iss" => claims.iss = Some(map.next_value()?),
                        "aud" => claims.aud = map.next_value::<Audience>()?.0,
                        "sub" => claims.sub = Some(map.next_value()?),
                        _ => claims.others.push((name.clone(), map.next_value()?)),
                    }
                    // Two readers must not see two users in one token.
                    if !seen.insert(name) {
                        return Err(A::Error::custom("a claim stands there twice"));
                    }
                }
                Ok(claims)
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

/// A NumericDate (RFC 7519, 2) in unix ms.
struct Date(u64);

impl<'de> Deserialize<'de> for Date {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Seconds;
        impl Visitor<'_> for Seconds {
            type Value = Date;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("seconds since 1970")
            }

            fn visit_u64<E>(self, seconds: u64) -> Result<Date, E> {
                Ok(Date(seconds.saturating_mul(1000).min(LAST_MS)))
            }

            fn visit_f64<E: Error>(self, seconds: f64) -> Result<Date, E> {
                if seconds >= 0.0 {
                    // What does not fit becomes the largest number there is.
                    Ok(Date(((seconds * 1000.0) as u64).min(LAST_MS)))
                } else {
                    Err(E::invalid_value(Unexpected::Float(seconds), &self))
                }
            }
        }
        deserializer.deserialize_any(Seconds)
    }
}

/// `aud`: one or several.
struct Audience(Vec<String>);

impl<'de> Deserialize<'de> for Audience {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMore;
        impl<'de> Visitor<'de> for OneOrMore {
            type Value = Audience;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, or a list of texts")
            }

            fn visit_str<E>(self, one: &str) -> Result<Audience, E> {
                Ok(Audience(vec![one.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Audience, A::Error> {
                let mut all = Vec::new();
                while let Some(one) = list.next_element()? {
                    all.push(one);
                }
                Ok(Audience(all))
            }
        }
        deserializer.deserialize_any(OneOrMore)
    }
}

/// What may be a user's id or be bound to a field: a whole number, or a text, which may be the decimal one of a number; anything
/// else is only skipped.
#[derive(Debug, PartialEq, Eq)]
enum Id {
    Number(i64),
    Text(String, Option<i64>),
    Other,
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Id;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("anything")
            }

            fn visit_i64<E>(self, number: i64) -> Result<Id, E> {
                Ok(Id::Number(number))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Id, E> {
                Ok(i64::try_from(number).map_or(Id::Other, Id::Number))
            }

            fn visit_str<E>(self, text: &str) -> Result<Id, E> {
                // What parse() takes beyond that, a plus sign, is no decimal text.
                let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
                Ok(Id::Text(text.to_owned(), text.parse().ok().filter(|_| plain)))
            }

            fn visit_bool<E>(self, _: bool) -> Result<Id, E> {
                Ok(Id::Other)
            }

            fn visit_f64<E>(self, _: f64) -> Result<Id, E> {
                Ok(Id::Other)
            }

            fn visit_unit<E>(self) -> Result<Id, E> {
                Ok(Id::Other)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Id, A::Error> {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Id::Other)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Id, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Id::Other)
            }
        }
        deserializer.deserialize_any(Any)
    }
}
