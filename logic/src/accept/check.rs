//! What a push must be like.

use std::collections::HashSet;
use std::hash::Hash;

use perseid_log::VALUE_BYTES_MAX;
use perseid_protocol::limits::{ROOM_ID_BYTES_MAX, SESSION_KEY_BYTES_MAX};
use perseid_protocol::room::RoomId;

use super::{PushError, PushRequest, Target};
use crate::config::Config;

/// Longest idempotency key, and longest key by which pushes replace one another, bytes.
const ID_BYTES_MAX: usize = 64;
/// What a record has beside body and targets, bytes: more than it ever has.
const REST_BYTES_MAX: usize = 4096;

/// What the operator allows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) body_bytes_max: usize,
    pub(super) targets_max: usize,
}

impl Bounds {
    pub(super) const fn of(config: &Config) -> Self {
        Self { body_bytes_max: config.push_bytes_max, targets_max: config.targets_max }
    }
}

/// Checks a push, and drops targets that are named twice.
pub(super) fn check(request: &mut PushRequest, bounds: &Bounds) -> Result<(), PushError> {
    let len = request.body.len();
    if len > bounds.body_bytes_max {
        let message = format!("the body has {len} bytes, more than the {} allowed", bounds.body_bytes_max);
        return Err(PushError::TooLarge(message));
    }
    if let Some(id) = &request.id
        && (id.is_empty() || id.len() > ID_BYTES_MAX || id.contains(char::is_control))
    {
        return Err(bad(format!("id must have 1 to {ID_BYTES_MAX} bytes, and no control characters")));
    }
    if let Some(collapse) = &request.collapse
        && (collapse.is_empty() || collapse.len() > ID_BYTES_MAX || collapse.contains(char::is_control))
    {
        return Err(bad(format!("collapse must have 1 to {ID_BYTES_MAX} bytes, and no control characters")));
    }
    match &mut request.target {
        Target::Keys(keys) => {
            count("keys", keys.len(), bounds)?;
            if keys.iter().any(|key| key.is_empty() || key.len() > SESSION_KEY_BYTES_MAX) {
                return Err(bad(format!("each key must have 1 to {SESSION_KEY_BYTES_MAX} bytes")));
            }
            once(keys);
        }
        Target::Mids(mids) | Target::Notice(mids) => {
            count("mids", mids.len(), bounds)?;
            once(mids);
        }
        Target::Room(room) if RoomId::parse(room.as_bytes(), ROOM_ID_BYTES_MAX).is_none() => {
            let rule = format!("must be of the form type://id, at most {ROOM_ID_BYTES_MAX} bytes, no control characters");
            return Err(bad(format!("the room id {rule}")));
        }
        Target::Group(0) => return Err(bad("the group must be a number above 0".to_owned())),
        Target::Group(_) | Target::Room(_) | Target::All { .. } => {}
    }
    Ok(())
}

/// Checks what is to be stored.
pub(super) fn stored(request: &PushRequest, body_bytes_max: usize) -> Result<(), PushError> {
    let len = request.body.len();
    if len > body_bytes_max {
        let message = format!("the body has {len} bytes, more than the {body_bytes_max} allowed for what is stored");
        return Err(PushError::TooLarge(message));
    }
    if request.collapse.is_some() {
        return Err(bad("collapse is for what is not stored".to_owned()));
    }
    if i64::try_from(request.from).is_err() {
        return Err(bad("from must be the mid of a user, or 0 for the system".to_owned()));
    }
    Ok(())
}

/// Checks that the log will take it: a body that is allowed and targets that are allowed may be too much together.
pub(super) fn encoded(push: &PushRequest) -> Result<(), PushError> {
    let targets = match &push.target {
        // With what stands before each.
        Target::Keys(keys) => keys.iter().map(|key| key.len() + 3).sum(),
        Target::Mids(mids) => mids.len() * 10,
        Target::Notice(_) | Target::Group(_) | Target::Room(_) | Target::All { .. } => 0,
    };
    if push.body.len() + targets + REST_BYTES_MAX <= VALUE_BYTES_MAX {
        return Ok(());
    }
    Err(PushError::TooLarge("body and targets together are too large: send to fewer at a time".to_owned()))
}

fn count(what: &str, count: usize, bounds: &Bounds) -> Result<(), PushError> {
    if count == 0 {
        return Err(bad(format!("{what} must not be empty")));
    }
    if count > bounds.targets_max {
        let message = format!("{count} {what} are more than the {} allowed: send to fewer at a time", bounds.targets_max);
        return Err(PushError::TooLarge(message));
    }
    Ok(())
}

fn once<T: Clone + Eq + Hash>(targets: &mut Vec<T>) {
    if targets.len() > 1 {
        let mut seen = HashSet::with_capacity(targets.len());
        targets.retain(|target| seen.insert(target.clone()));
    }
}

fn bad(message: String) -> PushError {
    PushError::BadRequest(message)
}
