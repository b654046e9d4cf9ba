//! A message in the JSON of v1: read strictly, so that a mistake is told and not swallowed.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use axum::body::Bytes;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error, Visitor};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, OneOfBuilder, Schema, SchemaFormat, Type};
use utoipa::{PartialSchema, ToSchema};

use super::draft::{self, Draft, DraftTarget, Priority};
use super::problem::Problem;

/// Reads JSON; what is wrong with it is told with the path to it.
pub(super) fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(text).map_err(|_| {
        // Read once more, slower, to learn where.
        let mut deserializer = serde_json::Deserializer::from_slice(text);
        match serde_path_to_error::deserialize::<_, T>(&mut deserializer) {
            Ok(_) => Problem::bad("something follows after the end of the JSON"),
            Err(error) if error.path().iter().next().is_none() => Problem::bad(error.into_inner().to_string()),
            Err(error) => Problem::bad(format!("{}: {}", error.path(), error.inner())),
        }
    })
}

/// A message. Of `body` and `body_base64` exactly one is needed; it may be empty.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Message {
    to: To,
    /// Operation of the frame, default 1000. 0 to 32 belong to the protocol itself and are refused; 33 to 999 are reserved.
    op: Option<i32>,
    /// The frame's body as text.
    body: Option<String>,
    /// The frame's body as bytes, in base64.
    body_base64: Option<String>,
    /// Through the inboxes of `mids`, so that nobody misses it; default false: only to who is online. A message to a group
    /// always is.
    store: Option<bool>,
    /// Idempotency key, 1 to 64 bytes, no control characters.
    id: Option<Text>,
    /// The sender's mid as extended sessions see it; default 0, the system.
    #[schema(value_type = Option<Integer64>)]
    from: Option<Number<u64>>,
    /// Not delivered at or after this time, ms from acceptance; without it the push is never too late.
    #[schema(minimum = 1)]
    ttl_ms: Option<u64>,
    /// Where not all can wait for a slow session, `low` is dropped first and `high` last; it never changes the order. Default
    /// `normal`.
    priority: Option<Priority>,
    /// 1 to 64 bytes, no control characters: a later push to the same target (`mids` or `keys`, the room, or `all`) with the same
    /// key replaces this one, where it was not delivered yet. Only for what is not stored.
    collapse: Option<String>,
    /// Only with `all`: sessions per second; 0 or none is as fast as it goes.
    #[schema(maximum = 2147483647)]
    speed: Option<u32>,
}

/// For whom: exactly one of these.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct To {
    /// Users, with all their sessions: 1 to 10,000 (`logic.targets_max`), each > 0.
    #[schema(value_type = Option<Vec<Integer64>>)]
    mids: Option<Vec<Number<i64>>>,
    /// Sessions by key, 1 to 128 bytes each: 1 to 10,000 (`logic.targets_max`).
    keys: Option<Vec<String>>,
    /// The members of a group or channel, through its timeline.
    group: Option<Text>,
    /// A room, `type://id`, at most 256 bytes.
    room: Option<String>,
    /// Every session; must be true.
    all: Option<bool>,
}

impl Message {
    /// What it says; whether that makes sense is for [`Draft::into_request`].
    pub(super) fn into_draft(self) -> Result<Draft, Problem> {
        let body = match (self.body, self.body_base64) {
            (Some(text), None) => Some(Bytes::from(text)),
            (None, Some(text)) => {
                Some(Bytes::from(BASE64.decode(text).map_err(|error| Problem::bad(format!("body_base64: {error}")))?))
            }
            (Some(_), Some(_)) => return Err(Problem::bad("body and body_base64 exclude each other")),
            (None, None) => None,
        };
        Ok(Draft {
            to: self.to.into_target()?,
            op: self.op,
            body,
            id: self.id.map(|id| id.0),
            ttl_ms: self.ttl_ms,
            from: self.from.map(|from| from.0),
            speed: self.speed,
            store: self.store.unwrap_or(false),
            priority: self.priority.unwrap_or(Priority::Normal),
            collapse: self.collapse,
        })
    }
}

impl To {
    fn into_target(self) -> Result<DraftTarget, Problem> {
        let Self { mids, keys, group, room, all } = self;
        match (mids, keys, group, room, all) {
            (Some(mids), None, None, None, None) => Ok(DraftTarget::Mids(mids.into_iter().map(|mid| mid.0).collect())),
            (None, Some(keys), None, None, None) => Ok(DraftTarget::Keys(keys)),
            (None, None, Some(group), None, None) => Ok(DraftTarget::Group(group.0)),
            (None, None, None, Some(room), None) => Ok(DraftTarget::Room(room)),
            (None, None, None, None, Some(all)) => Ok(DraftTarget::All(all)),
            _ => Err(draft::not_one_target()),
        }
    }
}

/// A 64-bit integer, as a number or as text: JavaScript can't write all of them as numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Number<T>(pub(super) T);

impl<'de, T: TryFrom<i64> + TryFrom<u64> + FromStr> Deserialize<'de> for Number<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberOrText<T>(PhantomData<T>);
        impl<T: TryFrom<i64> + TryFrom<u64> + FromStr> Visitor<'_> for NumberOrText<T> {
            type Value = Number<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a 64-bit integer, as a number or as text")
            }

            fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
                T::try_from(value).map(Number).map_err(|_| E::invalid_value(serde::de::Unexpected::Signed(value), &self))
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
                T::try_from(value).map(Number).map_err(|_| E::invalid_value(serde::de::Unexpected::Unsigned(value), &self))
            }

            fn visit_str<E: Error>(self, value: &str) -> Result<Self::Value, E> {
                value.parse().map(Number).map_err(|_| E::invalid_value(serde::de::Unexpected::Str(value), &self))
            }
        }
        deserializer.deserialize_any(NumberOrText(PhantomData))
    }
}

/// How a [`Number`] is described.
pub(super) struct Integer64;

impl PartialSchema for Integer64 {
    fn schema() -> RefOr<Schema> {
        let number = ObjectBuilder::new().schema_type(Type::Integer).format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)));
        let text = ObjectBuilder::new().schema_type(Type::String).pattern(Some("^-?[0-9]{1,20}$"));
        let either = OneOfBuilder::new().item(number).item(text);
        either.description(Some("An integer of 64 bits, as a number or as decimal text.")).into()
    }
}

impl ToSchema for Integer64 {}

impl PartialSchema for Text {
    fn schema() -> RefOr<Schema> {
        let text = ObjectBuilder::new().schema_type(Type::String);
        let number = ObjectBuilder::new().schema_type(Type::Integer).format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)));
        OneOfBuilder::new()
            .item(text)
            .item(number)
            .description(Some("An id: text, or a number that stands for its digits."))
            .into()
    }
}

impl ToSchema for Text {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("Id")
    }
}

/// An id: text, or a number that stands for its digits.
#[derive(Debug)]
struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrNumber;
        impl Visitor<'_> for TextOrNumber {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an id, as text or as an integer")
            }

            fn visit_i64<E: Error>(self, value: i64) -> Result<Text, E> {
                Ok(Text(value.to_string()))
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<Text, E> {
                Ok(Text(value.to_string()))
            }

            fn visit_str<E: Error>(self, value: &str) -> Result<Text, E> {
                Ok(Text(value.to_owned()))
            }

            fn visit_string<E: Error>(self, value: String) -> Result<Text, E> {
                Ok(Text(value))
            }
        }
        deserializer.deserialize_any(TextOrNumber)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accept::{PushRequest, Target};
    use perseid_rpc::PushPriority;
    use proptest::prelude::*;

    fn request(json: &str) -> Result<PushRequest, String> {
        parse::<Message>(json.as_bytes())
            .and_then(Message::into_draft)
            .and_then(|draft| draft.into_request("acc", None))
            .map_err(|problem| format!("{} {}", problem.reason.status(), problem.detail))
    }

    #[test]
    fn all_fields() {
        let json = r#"{"to":{"mids":[1,"2",9007199254740993]},"op":-7,"body_base64":"AAH/","id":12,"from":"18446744073709551615",
                       "ttl_ms":5,"store":false,"priority":"low","collapse":"c","speed":null}"#;
        let expected = PushRequest {
            target: Target::Mids(vec![1, 2, 9_007_199_254_740_993]),
            op: -7,
            body: Bytes::from_static(&[0, 1, 255]),
            id: Some("12".to_owned()),
            ttl_ms: 5,
            from: u64::MAX,
            account: "acc".to_owned(),
            priority: PushPriority::Low,
            collapse: Some("c".to_owned()),
            ..PushRequest::to(Target::Mids(Vec::new()))
        };
        assert_eq!(request(json), Ok(expected));
        let all = request(r#"{"to":{"all":true},"speed":9,"body":""}"#).unwrap();
        assert_eq!((all.target, all.op, all.id), (Target::All { speed: 9 }, 1000, None));
        let notice = request(r#"{"to":{"mids":[1]},"store":true,"body":"x","priority":"high","ttl_ms":5}"#).unwrap();
        assert_eq!((notice.target, notice.priority, notice.ttl_ms), (Target::Notice(vec![1]), PushPriority::High, 5));
        for (json, group) in [(r#"{"to":{"group":7},"body":"x"}"#, 7), (r#"{"to":{"group":"8"},"store":true,"body":"x"}"#, 8)] {
            assert_eq!(request(json).unwrap().target, Target::Group(group));
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (json, words) in [
            ("", "400 EOF"),
            ("[]", "400 "),
            ("{}", "400 missing field `to`"),
            (r#"{"to":{"mids":[1]},"body":"x"} x"#, "400 "),
            (r#"{"to":{"mids":[1]},"bod":"x"}"#, "400 bod: unknown field `bod`, expected one of"),
            (r#"{"to":{"mid":[1]},"body":"x"}"#, "400 to.mid: unknown field `mid`"),
            (r#"{"to":{"mids":["a"]},"body":"x"}"#, "400 to.mids[0]: invalid value: string \"a\", expected a 64-bit integer"),
            (r#"{"to":{"mids":[1,2.5]},"body":"x"}"#, "400 to.mids[1]: invalid type: floating point"),
            (r#"{"to":{"mids":[9223372036854775808]},"body":"x"}"#, "400 to.mids[0]: invalid value"),
            (r#"{"to":{"mids":[99999999999999999999999]},"body":"x"}"#, "400 to.mids[0]: invalid type"),
            (r#"{"to":{"mids":[0]},"body":"x"}"#, "400 to.mids: 0 is no user"),
            (r#"{"to":{"mids":[1],"all":true},"body":"x"}"#, "400 to must name exactly one"),
            (r#"{"to":{},"body":"x"}"#, "400 to must name exactly one"),
            (r#"{"to":{"all":false},"body":"x"}"#, "400 to.all must be true"),
            (r#"{"to":{"group":"a"},"body":"x"}"#, "400 the id of a group"),
            (r#"{"to":{"group":0},"body":"x"}"#, "400 the id of a group"),
            (r#"{"to":{"group":9007199254740992},"body":"x"}"#, "400 the id of a group"),
            (r#"{"to":{"group":7},"body":"x","collapse":"c"}"#, "400 collapse is for what is not stored"),
            (r#"{"to":{"mids":[1]},"body":"x","store":true,"collapse":"c"}"#, "400 collapse is for what is not stored"),
            (r#"{"to":{"room":"a://b"},"body":"x","store":true}"#, "400 store"),
            (r#"{"to":{"keys":["a"]},"body":"x","store":true}"#, "400 store"),
            (r#"{"to":{"all":true},"body":"x","store":true}"#, "400 store"),
            (r#"{"to":{"mids":[1]},"body":"x","priority":"urgent"}"#, "400 priority: unknown variant `urgent`"),
            (r#"{"to":{"mids":[1]},"body":"x","body_base64":"eA=="}"#, "400 body and body_base64 exclude"),
            (r#"{"to":{"mids":[1]}}"#, "400 body or body_base64 is missing"),
            (r#"{"to":{"mids":[1]},"body_base64":"*"}"#, "400 body_base64: "),
            (r#"{"to":{"mids":[1]},"body":7}"#, "400 body: invalid type: integer `7`, expected a string"),
            (r#"{"to":{"mids":[1]},"body":"x","op":2147483648}"#, "400 op: invalid value"),
            (r#"{"to":{"mids":[1]},"body":"x","op":9}"#, "400 op: 0 to 32"),
            (r#"{"to":{"mids":[1]},"body":"x","op":0}"#, "400 op: 0 to 32"),
            (r#"{"to":{"mids":[1]},"body":"x","op":"1000"}"#, "400 op: invalid type"),
            (r#"{"to":{"mids":[1]},"body":"x","from":-1}"#, "400 from: invalid value"),
            (r#"{"to":{"mids":[1]},"body":"x","ttl_ms":0}"#, "400 ttl_ms must be positive"),
            (r#"{"to":{"mids":[1]},"body":"x","ttl_ms":-1}"#, "400 ttl_ms: invalid value"),
            (r#"{"to":{"mids":[1]},"body":"x","speed":1}"#, "400 speed is for messages to all"),
            (r#"{"to":{"all":true},"body":"x","speed":4294967295}"#, "400 speed is out of range"),
            (r#"{"to":{"mids":[1]},"body":"x","body":"y"}"#, "400 duplicate field `body`"),
            ("{\"to\":{\"mids\":[1]},\"body\":\"a\nb\"}", "400 body: control character"),
        ] {
            let error = request(json).unwrap_err();
            assert!(error.starts_with(words), "{json}\n   {error}");
        }
        assert!(request(&"[".repeat(100_000)).unwrap_err().starts_with("400 "));
        assert!(request(&format!(r#"{{"to":{}"#, r#"{"to":"#.repeat(50_000))).unwrap_err().starts_with("400 "));
    }

    proptest! {
        #[test]
        fn anything_may_come(text in "[\\[{}\\]\",:a-z0-9.\\\\ -]{0,80}") {
            let _ = request(&text);
            let _ = request(&format!(r#"{{"to":{{"mids":[{text}]}},"body":"{text}"}}"#));
        }
    }
}
