//! HTTP calls to servers of other people: webhooks, key sets, an auth hook.
//!
//! One [`Client`] for each purpose. What all calls share, whatever the caller forgets:
//! - a deadline over everything (the wait for a turn, the name, the connection, the answer), and a bound on calls at once;
//! - an answer is read up to a bound, and the connection dropped there;
//! - a redirect is never followed: it is an answer like any other;
//! - no proxy from the environment;
//! - the address that is connected to was checked ([`TargetPolicy`]): private, loopback, link-local and other special
//!   networks only where they were named. Names are resolved and checked for each connection anew, so that a name that
//!   changes its address between the check and the connection gains nothing;
//! - `http://` only to networks that were named; to all others `https://`.
//!
//! Not here: what is sent, and how often it is tried again.

mod address;
mod client;
mod error;
mod policy;
mod resolve;
mod retry_after;
mod sign;

pub use address::{Special, special};
pub use client::{Client, ClientConfig, Method, Request, Response};
pub use error::{ConfigError, Fault, OutboundError};
pub use policy::TargetPolicy;
pub use resolve::{Found, Lookup, SystemLookup};
pub use sign::{SIGNATURE, SecretError, Secrets, sign, verify};
