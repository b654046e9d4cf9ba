//! What gRPC answers about stored messages, as the JSON that HTTP answers.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use perseid_rpc::v1;
use serde_json::{Value, json};
use tonic::Response;

/// What is accepted, and took no effect in time.
fn soon(id: u64) -> Value {
    json!({ "id": id.to_string(), "accepted": true })
}

fn kind(kind: i32) -> &'static str {
    match v1::GroupKind::try_from(kind) {
        Ok(v1::GroupKind::Group) => "group",
        Ok(v1::GroupKind::Channel) => "channel",
        other => panic!("{other:?}"),
    }
}

pub(crate) fn group(group: v1::Group) -> Value {
    let v1::Group { id, owner, name, members, version, head, members_total, more, .. } = &group;
    json!({ "id": id, "kind": kind(group.kind), "owner": owner, "name": name, "members": members, "version": version, "head": head,
            "members_total": members_total, "more": more })
}

pub(crate) fn changed(answer: Response<v1::GroupChanged>) -> Value {
    match answer.into_inner().outcome.unwrap() {
        v1::group_changed::Outcome::Group(now) => group(now),
        v1::group_changed::Outcome::Soon(id) => soon(id),
    }
}

pub(crate) fn deleted(answer: Response<v1::GroupDeleted>) -> Value {
    let answer = answer.into_inner();
    match answer.outcome.unwrap() {
        v1::group_deleted::Outcome::Deleted(deleted) => json!({ "id": answer.id, "deleted": deleted }),
        v1::group_deleted::Outcome::Soon(id) => soon(id),
    }
}

pub(crate) fn members(answer: Response<v1::MembersChanged>) -> Value {
    let answer = answer.into_inner();
    match answer.outcome.unwrap() {
        v1::members_changed::Outcome::Version(version) => json!({ "id": answer.id, "version": version }),
        v1::members_changed::Outcome::Soon(id) => soon(id),
    }
}

pub(crate) fn blocked(answer: Response<v1::Blocked>) -> Value {
    let answer = answer.into_inner();
    match answer.outcome.unwrap() {
        v1::blocked::Outcome::Blocked(blocked) => json!({ "mid": answer.mid, "peer": answer.peer, "blocked": blocked }),
        v1::blocked::Outcome::Soon(id) => soon(id),
    }
}

fn message(row: &v1::StoredMessage) -> Value {
    json!({ "id": row.id.to_string(), "pos": row.pos, "op": row.op, "kind": row.kind, "conv": row.conv, "conv_pos": row.conv_pos,
            "from": row.from, "cid": row.cid.to_string(), "flags": row.flags, "body_base64": BASE64.encode(&row.body) })
}

pub(crate) fn timeline(answer: Response<v1::Timeline>) -> Value {
    let page = answer.into_inner();
    let messages: Vec<_> = page.messages.iter().map(message).collect();
    json!({ "kind": kind(page.kind), "head": page.head, "floor": page.floor, "more": page.more, "messages": messages })
}

pub(crate) fn inbox(answer: Response<v1::Inbox>) -> Value {
    let page = answer.into_inner();
    let messages: Vec<_> = page.messages.iter().map(message).collect();
    json!({ "head": page.head, "floor": page.floor, "epoch": page.epoch, "more": page.more, "messages": messages })
}

pub(crate) fn fate(answer: Response<v1::MessageFate>) -> Value {
    let fate = answer.into_inner();
    let one = |one: &v1::MessageRecipient| {
        let mut json = json!({ "mid": one.mid, "pos": one.pos, "acknowledged": one.acknowledged });
        if let Some(read) = one.read {
            json["read"] = json!(read);
        }
        json
    };
    let inboxes: Vec<_> = fate.inboxes.iter().map(one).collect();
    let mut json = json!({
        "id": fate.id.to_string(), "accepted": true, "accepted_ms": fate.accepted_ms, "to": fate.to, "state": fate.state,
        "recipients": fate.recipients, "inboxes": inboxes, "more": fate.more,
    });
    for (name, value) in [("conv", fate.conv), ("conv_pos", fate.conv_pos)] {
        if let Some(value) = value {
            json[name] = json!(value);
        }
    }
    json
}
