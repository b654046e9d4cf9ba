//! A value of a key, whatever its layer, and how it becomes a field of the settings.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;

use super::bytes::ByteSize;

/// A parsed and bounded value. It shows itself as TOML.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `true` or `false`.
    Flag(bool),
    /// A count, or a time in the unit of its key.
    Integer(u64),
    /// A size.
    Bytes(ByteSize),
    /// A number with a fraction.
    Number(f64),
    /// Text, a path, or one word of a choice.
    Text(String),
    /// Listening addresses.
    Addresses(Vec<SocketAddr>),
    /// Networks.
    Networks(Vec<IpNet>),
    /// Texts.
    Texts(Vec<String>),
    /// Counts by name.
    Counts(BTreeMap<String, u64>),
}

impl Value {
    /// The value as a whole number, for comparing keys with each other.
    pub fn as_integer(&self) -> Option<u64> {
        match self {
            Self::Integer(value) | Self::Bytes(ByteSize(value)) => Some(*value),
            _ => None,
        }
    }

    /// The value as JSON; sizes are numbers of bytes.
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Flag(value) => (*value).into(),
            Self::Integer(value) | Self::Bytes(ByteSize(value)) => (*value).into(),
            Self::Number(value) => (*value).into(),
            Self::Text(value) => value.as_str().into(),
            Self::Addresses(list) => list.iter().map(ToString::to_string).collect(),
            Self::Networks(list) => list.iter().map(ToString::to_string).collect(),
            Self::Texts(list) => list.iter().map(String::as_str).collect(),
            Self::Counts(counts) => counts.iter().map(|(name, count)| (name.clone(), serde_json::Value::from(*count))).collect(),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(value) => write!(f, "{value}"),
            Self::Integer(value) => write!(f, "{value}"),
            Self::Bytes(ByteSize(value)) if *value == 0 || value % 1024 != 0 => write!(f, "{value}"),
            Self::Bytes(size) => write!(f, "\"{size}\""),
            Self::Number(value) => write!(f, "{value:?}"),
            Self::Text(value) => write!(f, "{}", toml::Value::String(value.clone())),
            Self::Addresses(list) => write_list(f, list),
            Self::Networks(list) => write_list(f, list),
            Self::Texts(list) => write_list(f, list),
            Self::Counts(counts) => write_counts(f, counts),
        }
    }
}

fn write_counts(f: &mut fmt::Formatter<'_>, counts: &BTreeMap<String, u64>) -> fmt::Result {
    let bare = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    write!(f, "{{")?;
    for (i, (name, count)) in counts.iter().enumerate() {
        write!(f, "{} ", if i == 0 { "" } else { "," })?;
        if bare(name) {
            write!(f, "{name}")?;
        } else {
            write!(f, "{}", toml::Value::String(name.clone()))?;
        }
        write!(f, " = {count}")?;
    }
    write!(f, "{}}}", if counts.is_empty() { "" } else { " " })
}

fn write_list(f: &mut fmt::Formatter<'_>, list: &[impl ToString]) -> fmt::Result {
    write!(f, "[")?;
    for (i, item) in list.iter().enumerate() {
        write!(f, "{}{}", if i == 0 { "" } else { ", " }, toml::Value::String(item.to_string()))?;
    }
    write!(f, "]")
}

/// A type that a field of the settings may have.
pub(super) trait Setting: Sized {
    /// The field of a value; `None` if the value is of another kind or does not fit, which the
    /// bounds of the key exclude.
    fn from_value(value: &Value) -> Option<Self>;
}

macro_rules! integer_setting {
    ($($type:ty),+) => {$(
        impl Setting for $type {
            fn from_value(value: &Value) -> Option<Self> {
                <$type>::try_from(value.as_integer()?).ok()
            }
        }
    )+};
}

integer_setting!(u16, u32, u64, usize);

impl Setting for bool {
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Flag(value) => Some(*value),
            _ => None,
        }
    }
}

impl Setting for f64 {
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Number(value) => Some(*value),
            _ => None,
        }
    }
}

impl Setting for String {
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Text(value) => Some(value.clone()),
            _ => None,
        }
    }
}

impl Setting for PathBuf {
    fn from_value(value: &Value) -> Option<Self> {
        String::from_value(value).map(Self::from)
    }
}

impl Setting for Vec<SocketAddr> {
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Addresses(list) => Some(list.clone()),
            _ => None,
        }
    }
}

impl Setting for Vec<IpNet> {
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Networks(list) => Some(list.clone()),
            _ => None,
        }
    }
}

impl Setting for Vec<String> {
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Texts(list) => Some(list.clone()),
            _ => None,
        }
    }
}

impl Setting for BTreeMap<String, u64> {
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Counts(counts) => Some(counts.clone()),
            _ => None,
        }
    }
}

/// A field with a closed set of words: the type, its words for the key's [`Kind`](super::Kind),
/// and the way from one to the other, from one list.
macro_rules! choice {
    ($(#[$attr:meta])* $name:ident { $($(#[$variant_attr:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$attr])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$variant_attr])* $variant,)+ }

        impl $name {
            /// The words of the configuration, in order.
            pub const WORDS: &[&str] = &[$($word),+];

            /// The word of the configuration for this value.
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl Setting for $name {
            fn from_value(value: &Value) -> Option<Self> {
                match value {
                    $(Value::Text(word) if word == $word => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }
    };
}

choice! {
    /// How a session proves who it is.
    Auth {
        /// It is believed: anyone may be any user.
        Insecure = "insecure",
        /// It brings a JSON Web Token that is signed with a key that this node knows.
        Jwt = "jwt",
        /// A server of the operator's is asked.
        Hook = "hook",
    }
}

choice! {
    /// What becomes of clients when the auth hook fails.
    HookFailure {
        /// They are told to come back.
        Refuse = "refuse",
        /// They are let in as guests.
        Guest = "guest",
    }
}

choice! {
    /// The oldest version of TLS that is spoken.
    TlsVersion {
        /// TLS 1.2 and 1.3.
        Tls12 = "1.2",
        /// TLS 1.3 only.
        Tls13 = "1.3",
    }
}

choice! {
    /// What a new member may read of a group's past.
    History {
        /// All of it.
        All = "all",
        /// What came since he joined.
        Joined = "joined",
    }
}

choice! {
    /// Who may write in channels.
    Post {
        /// Every member.
        Members = "members",
        /// The owner alone.
        Owner = "owner",
    }
}

choice! {
    /// The form of the log on stderr.
    LogFormat {
        /// Lines for people.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
        /// Text on a terminal, else JSON.
        Auto = "auto",
    }
}
