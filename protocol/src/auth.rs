//! The bodies of AUTH and AUTH_REPLY.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, Unexpected, Visitor};
use serde::{Deserialize, Serialize};

use crate::limits::{NAME_BYTES_MAX, ROOM_ID_BYTES_MAX, SESSION_KEY_BYTES_MAX};

/// What a client says of itself. goim's fields, then the extended ones.
///
/// Read as Go's `encoding/json` reads it, because goim's clients rely on it: names match without regard to case, unknown
/// fields are skipped, `null` is the zero value, and a body of `null` is an empty object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AuthRequest {
    /// User id; ≤ 0 is a guest.
    pub mid: i64,
    /// Session key; the server makes one when empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub key: String,
    /// Room to join, `type://id`; empty: none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub room_id: String,
    /// `web`, `ios`, `android`, …
    #[serde(skip_serializing_if = "String::is_empty")]
    pub platform: String,
    /// Operations accepted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub accepts: Vec<i32>,
    /// JWT, where the node asks for one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub token: String,
    /// Names the cursor that ACK moves; default: `platform`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub device_id: String,
    /// The cursor that this device has stored.
    #[serde(skip_serializing_if = "is_zero")]
    pub pos: u64,
    /// The epoch that `pos` belongs to.
    #[serde(skip_serializing_if = "is_zero")]
    pub epoch: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
fn is_zero(value: &u64) -> bool {
    *value == 0
}

impl AuthRequest {
    /// Reads the body of a classic AUTH.
    ///
    /// # Errors
    /// A sentence for the client: not JSON, a wrong type, a name over its bound.
    pub fn parse(body: &[u8]) -> Result<Self, String> {
        let read = Read::of(body)?;
        if read.mid_is_text {
            return Err("mid in the AUTH body is a text: it should be a number".to_owned());
        }
        Ok(read.request)
    }

    /// Reads the body of an extended AUTH, where `mid` may be a decimal text as well: not every language's numbers have 64 bits.
    ///
    /// # Errors
    /// As [`AuthRequest::parse`].
    pub fn parse_extended(body: &[u8]) -> Result<Self, String> {
        Ok(Read::of(body)?.request)
    }

    fn check(&self) -> Result<(), String> {
        let bounds = [
            ("key", self.key.len(), SESSION_KEY_BYTES_MAX),
            ("room_id", self.room_id.len(), ROOM_ID_BYTES_MAX),
            ("platform", self.platform.len(), NAME_BYTES_MAX),
            ("device_id", self.device_id.len(), NAME_BYTES_MAX),
        ];
        match bounds.into_iter().find(|(_, len, max)| len > max) {
            Some((name, _, max)) => Err(format!("{name} in the AUTH body is longer than {max} bytes")),
            None => Ok(()),
        }
    }
}

/// What a body says, and how it says it.
#[derive(Default)]
struct Read {
    request: AuthRequest,
    mid_is_text: bool,
}

impl Read {
    fn of(body: &[u8]) -> Result<Self, String> {
        let read: Option<Self> = serde_json::from_slice(body)
            .map_err(|error| format!("the AUTH body is not the JSON object it should be: {error}"))?;
        let read = read.unwrap_or_default();
        read.request.check()?;
        Ok(read)
    }
}

impl<'de> Deserialize<'de> for Read {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Read;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with mid, key, room_id, platform, accepts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Read, A::Error> {
                let mut read = Read::default();
                let request = &mut read.request;
                while let Some(mut name) = map.next_key::<String>()? {
                    name.make_ascii_lowercase();
                    match name.as_str() {
                        "mid" => {
                            let mid: Number<i64> = or_zero(&mut map)?;
                            (request.mid, read.mid_is_text) = (mid.value, mid.is_text);
                        }
                        "key" => request.key = or_zero(&mut map)?,
                        "room_id" => request.room_id = or_zero(&mut map)?,
                        "platform" => request.platform = or_zero(&mut map)?,
                        "accepts" => {
                            let list: Vec<Option<i32>> = or_zero(&mut map)?;
                            request.accepts = list.into_iter().map(Option::unwrap_or_default).collect();
                        }
                        "token" => request.token = or_zero(&mut map)?,
                        "device_id" => request.device_id = or_zero(&mut map)?,
                        "pos" => request.pos = or_zero::<A, Number<u64>>(&mut map)?.value,
                        "epoch" => request.epoch = or_zero::<A, Number<u64>>(&mut map)?.value,
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(read)
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

fn or_zero<'de, A: MapAccess<'de>, T: Deserialize<'de> + Default>(map: &mut A) -> Result<T, A::Error> {
    Ok(map.next_value::<Option<T>>()?.unwrap_or_default())
}

/// A whole number that is read as such or from its decimal text.
#[derive(Default)]
struct Number<T> {
    value: T,
    is_text: bool,
}

impl<'de, T: FromStr + TryFrom<u64> + TryFrom<i64>> Deserialize<'de> for Number<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either<T>(PhantomData<T>);
        impl<T: FromStr + TryFrom<u64> + TryFrom<i64>> Visitor<'_> for Either<T> {
            type Value = Number<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number, or its decimal text")
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<Number<T>, E> {
                let read = T::try_from(value).map_err(|_| E::invalid_value(Unexpected::Unsigned(value), &self))?;
                Ok(Number { value: read, is_text: false })
            }

            fn visit_i64<E: Error>(self, value: i64) -> Result<Number<T>, E> {
                let read = T::try_from(value).map_err(|_| E::invalid_value(Unexpected::Signed(value), &self))?;
                Ok(Number { value: read, is_text: false })
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Number<T>, E> {
                let read = text.parse().map_err(|_| E::invalid_value(Unexpected::Str(text), &self))?;
                Ok(Number { value: read, is_text: true })
            }
        }
        deserializer.deserialize_any(Either(PhantomData))
    }
}

/// The body of AUTH_REPLY to an extended session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthReply {
    /// User id.
    pub mid: i64,
    /// Session key.
    pub key: String,
    /// The node that holds the session.
    pub server: String,
    /// How often to send HEARTBEAT, ms.
    pub heartbeat_ms: u64,
    /// Upper end of the random wait after a lost connection, ms.
    pub reconnect_ms: u64,
    /// Changes only when positions were lost.
    pub epoch: u64,
    /// Oldest inbox position still kept; head + 1 when none is.
    pub floor: u64,
    /// Newest inbox position.
    pub head: u64,
    /// What this device has acknowledged.
    pub cursor: u64,
    /// What the client must stay within.
    pub limits: AuthLimits,
}

/// `limits` in [`AuthReply`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AuthLimits {
    /// Largest body that the client may send, bytes.
    pub body_bytes: u64,
    /// Largest frame that the server sends, bytes.
    pub frame_bytes: u64,
    /// Largest page, bytes.
    pub page_bytes: u64,
    /// How long a `cid` is remembered, ms.
    pub cid_ms: u64,
    /// How long a message can be taken back, ms.
    pub recall_ms: u64,
    /// Largest group that is written to every inbox, members.
    pub fanout: u64,
    /// Time zero of message ids, unix ms.
    pub id_epoch_ms: u64,
    /// Messages kept in an inbox.
    pub inbox_max: u64,
    /// Days that they are kept.
    pub inbox_days: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_goim_reads_it() {
        let body = br#"{"MID":123, "room_id":"live://1000", "platform":"web", "accepts":[1000,1001,1002], "key":null, "x":{}}"#;
        let request = AuthRequest::parse(body).unwrap();
        assert_eq!(request.mid, 123);
        assert_eq!(request.room_id, "live://1000");
        assert_eq!(request.accepts, [1000, 1001, 1002]);
        assert_eq!(AuthRequest::parse(b"{}").unwrap(), AuthRequest::default());
        assert_eq!(AuthRequest::parse(b"null").unwrap(), AuthRequest::default());
    }

    #[test]
    fn what_is_refused() {
        for bad in ["", "x", "[1]", r#"{"mid":"12"}"#, r#"{"mid":1.5}"#, r#"{"accepts":["a"]}"#, "{", "{}x"] {
            assert!(AuthRequest::parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert_eq!(AuthRequest::parse_extended(br#"{"mid":"-12"}"#).unwrap().mid, -12);
        for bad in [r#"{"mid":"x"}"#, r#"{"mid":""}"#, r#"{"mid":1.5}"#, r#"{"mid":"9223372036854775808"}"#] {
            assert!(AuthRequest::parse_extended(bad.as_bytes()).is_err(), "{bad:?}");
        }
        let long = format!(r#"{{"key":"{}"}}"#, "k".repeat(SESSION_KEY_BYTES_MAX + 1));
        assert!(AuthRequest::parse(long.as_bytes()).unwrap_err().contains("key"));
    }
}
