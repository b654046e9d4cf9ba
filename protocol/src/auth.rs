//! The bodies of AUTH and AUTH_REPLY.

use std::fmt;

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
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
    /// Reads the body of AUTH.
    ///
    /// # Errors
    /// A sentence for the client: not JSON, a wrong type, a name over its bound.
    pub fn parse(body: &[u8]) -> Result<Self, String> {
        let request: Option<Self> = serde_json::from_slice(body)
            .map_err(|error| format!("the AUTH body is not the JSON object it should be: {error}"))?;
        let request = request.unwrap_or_default();
        request.check()?;
        Ok(request)
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

impl<'de> Deserialize<'de> for AuthRequest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = AuthRequest;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with mid, key, room_id, platform, accepts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<AuthRequest, A::Error> {
                let mut request = AuthRequest::default();
                while let Some(mut name) = map.next_key::<String>()? {
                    name.make_ascii_lowercase();
                    match name.as_str() {
                        "mid" => request.mid = or_zero(&mut map)?,
                        "key" => request.key = or_zero(&mut map)?,
                        "room_id" => request.room_id = or_zero(&mut map)?,
                        "platform" => request.platform = or_zero(&mut map)?,
                        "accepts" => {
                            let list: Vec<Option<i32>> = or_zero(&mut map)?;
                            request.accepts = list.into_iter().map(Option::unwrap_or_default).collect();
                        }
                        "token" => request.token = or_zero(&mut map)?,
                        "device_id" => request.device_id = or_zero(&mut map)?,
                        "pos" => request.pos = or_zero::<A, Number>(&mut map)?.0,
                        "epoch" => request.epoch = or_zero::<A, Number>(&mut map)?.0,
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(request)
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

fn or_zero<'de, A: MapAccess<'de>, T: Deserialize<'de> + Default>(map: &mut A) -> Result<T, A::Error> {
    Ok(map.next_value::<Option<T>>()?.unwrap_or_default())
}

/// A `u64` that is read from a number or from its decimal text.
#[derive(Default)]
struct Number(u64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = Number;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an unsigned number, or its decimal text")
            }

            fn visit_u64<E>(self, value: u64) -> Result<Number, E> {
                Ok(Number(value))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Number, E> {
                text.parse().map(Number).map_err(|_| E::invalid_value(serde::de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(Either)
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
        let long = format!(r#"{{"key":"{}"}}"#, "k".repeat(SESSION_KEY_BYTES_MAX + 1));
        assert!(AuthRequest::parse(long.as_bytes()).unwrap_err().contains("key"));
    }
}
