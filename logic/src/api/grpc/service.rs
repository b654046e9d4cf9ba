//! The methods: a message is read, the operation is asked, the answer is written.

use std::sync::Arc;

use perseid_rpc::v1;
use perseid_rpc::v1::push_server::Push;
use perseid_rpc::v1::target::To;
use perseid_store::SessionRow;
use tonic::{Request, Response, Status};

use super::{status, stored};
use crate::accept::PushAnswer;
use crate::api::Api;
use crate::api::draft::{Draft, DraftTarget, Priority, not_one_target};
use crate::api::look::{RoomOnline, UserOnline};
use crate::api::manage::{Kick, NodeDrain};
use crate::api::problem::Problem;
use crate::api::push::Call;
use crate::nodes::NodeInfo;

pub(super) struct PushService(pub(super) Arc<Api>);

type Answer<T> = Result<Response<T>, Status>;

impl PushService {
    fn answer<T>(&self, outcome: Result<T, Problem>) -> Answer<T> {
        outcome.map(Response::new).map_err(|problem| {
            self.0.count(&problem);
            status::of(&problem)
        })
    }

    async fn push_one(&self, request: Request<v1::PushRequest>) -> Result<v1::PushResponse, Problem> {
        let (call, message) = parts(request)?;
        Ok(accepted(&self.0.push(&call, draft(message)?).await?))
    }

    async fn push_many(&self, request: Request<v1::PushBatchRequest>) -> Result<v1::PushBatchResponse, Problem> {
        let (call, batch) = parts(request)?;
        let outcomes = self.0.push_batch(&call, batch.messages.into_iter().map(draft)).await?;
        Ok(v1::PushBatchResponse { results: outcomes.iter().map(result).collect() })
    }

    fn rooms(&self, asked: &v1::ListRoomsRequest) -> Result<v1::ListRoomsResponse, Problem> {
        let kind = Some(asked.r#type.as_str()).filter(|kind| !kind.is_empty());
        let rooms = self.0.rooms(kind, asked.limit.map(u64::from))?;
        Ok(v1::ListRoomsResponse { rooms: rooms.into_iter().map(room).collect() })
    }

    async fn user(&self, mid: i64) -> Result<v1::User, Problem> {
        let sessions = self.0.sessions_of(mid)?.into_iter().map(session).collect();
        let (inbox, devices) = stored::state(self.0.inbox_of(mid).await?);
        Ok(v1::User { mid, sessions, inbox, devices })
    }

    fn online(&self, mids: &[i64]) -> Result<v1::UsersOnlineResponse, Problem> {
        Ok(v1::UsersOnlineResponse { users: self.0.users_online(mids)?.into_iter().map(user_online).collect() })
    }
}

#[tonic::async_trait]
impl Push for PushService {
    async fn push(&self, request: Request<v1::PushRequest>) -> Answer<v1::PushResponse> {
        self.answer(self.push_one(request).await)
    }

    async fn push_batch(&self, request: Request<v1::PushBatchRequest>) -> Answer<v1::PushBatchResponse> {
        self.answer(self.push_many(request).await)
    }

    async fn get_message(&self, request: Request<v1::GetMessageRequest>) -> Answer<v1::MessageFate> {
        self.answer(self.0.fate(request.get_ref().id).await.map(stored::fate))
    }

    async fn put_group(&self, request: Request<v1::PutGroupRequest>) -> Answer<v1::GroupChanged> {
        self.answer(self.put(request).await)
    }

    async fn get_group(&self, request: Request<v1::GetGroupRequest>) -> Answer<v1::Group> {
        self.answer(self.one_group(request.get_ref()).await)
    }

    async fn delete_group(&self, request: Request<v1::DeleteGroupRequest>) -> Answer<v1::GroupDeleted> {
        self.answer(self.delete(request).await)
    }

    async fn convert_group(&self, request: Request<v1::ConvertGroupRequest>) -> Answer<v1::GroupChanged> {
        self.answer(self.convert(request).await)
    }

    async fn change_members(&self, request: Request<v1::ChangeMembersRequest>) -> Answer<v1::MembersChanged> {
        self.answer(self.change(request).await)
    }

    async fn list_group_messages(&self, request: Request<v1::ListGroupMessagesRequest>) -> Answer<v1::Timeline> {
        self.answer(self.timeline(request.get_ref()).await)
    }

    async fn get_inbox(&self, request: Request<v1::GetInboxRequest>) -> Answer<v1::Inbox> {
        self.answer(self.inbox(*request.get_ref()).await)
    }

    async fn block(&self, request: Request<v1::BlockRequest>) -> Answer<v1::Blocked> {
        self.answer(self.set_block(request, true).await)
    }

    async fn unblock(&self, request: Request<v1::BlockRequest>) -> Answer<v1::Blocked> {
        self.answer(self.set_block(request, false).await)
    }

    async fn get_user(&self, request: Request<v1::GetUserRequest>) -> Answer<v1::User> {
        self.answer(self.user(request.get_ref().mid).await)
    }

    async fn users_online(&self, request: Request<v1::UsersOnlineRequest>) -> Answer<v1::UsersOnlineResponse> {
        self.answer(self.online(&request.get_ref().mids))
    }

    async fn kick(&self, request: Request<v1::KickRequest>) -> Answer<v1::KickResponse> {
        let v1::KickRequest { mid, key, platform, reason } = request.into_inner();
        let kick = Kick { key: key.as_deref(), platform: platform.as_deref(), reason: reason.as_deref() };
        self.answer(self.0.kick(mid, &kick).map(|ended| v1::KickResponse { mid, ended }))
    }

    async fn list_rooms(&self, request: Request<v1::ListRoomsRequest>) -> Answer<v1::ListRoomsResponse> {
        self.answer(self.rooms(request.get_ref()))
    }

    async fn get_room(&self, request: Request<v1::GetRoomRequest>) -> Answer<v1::Room> {
        let asked = request.get_ref();
        self.answer(self.0.room(&asked.r#type, &asked.id).map(room))
    }

    async fn list_nodes(&self, _: Request<v1::ListNodesRequest>) -> Answer<v1::ListNodesResponse> {
        self.answer(Ok(v1::ListNodesResponse { nodes: self.0.all_nodes().into_iter().map(node).collect() }))
    }

    async fn get_node(&self, request: Request<v1::GetNodeRequest>) -> Answer<v1::Node> {
        self.answer(self.0.node(&request.get_ref().id).map(node))
    }

    async fn drain_node(&self, request: Request<v1::DrainNodeRequest>) -> Answer<v1::Drain> {
        let asked = request.get_ref();
        self.answer(self.0.drain_node(&asked.id, asked.per_second).map(drain))
    }

    async fn get_drain(&self, request: Request<v1::GetDrainRequest>) -> Answer<v1::Drain> {
        self.answer(self.0.drain_progress(&request.get_ref().id).map(drain))
    }
}

/// Who calls, and what for.
pub(super) fn parts<T>(mut request: Request<T>) -> Result<(Call, T), Problem> {
    let call = request.extensions_mut().remove::<Call>();
    // Always there: whatever reaches the generated server passed what puts it there.
    let call = call.ok_or_else(|| Problem::bad("the call came past the check of who calls"))?;
    Ok((call, request.into_inner()))
}

fn draft(message: v1::PushRequest) -> Result<Draft, Problem> {
    let priority = match message.priority() {
        v1::Priority::High => Priority::High,
        v1::Priority::Low => Priority::Low,
        v1::Priority::Normal => Priority::Normal,
        v1::Priority::Unspecified if message.priority == 0 => Priority::Normal,
        v1::Priority::Unspecified => return Err(Problem::bad("priority is none that there is")),
    };
    let to = match message.to.and_then(|target| target.to) {
        Some(To::Mids(mids)) => DraftTarget::Mids(mids.mids),
        Some(To::Keys(keys)) => DraftTarget::Keys(keys.keys),
        Some(To::Group(group)) => DraftTarget::Group(group),
        Some(To::Room(room)) => DraftTarget::Room(room),
        Some(To::All(all)) => DraftTarget::All(all),
        None => return Err(not_one_target()),
    };
    Ok(Draft {
        to,
        op: message.op,
        body: message.body,
        id: message.id,
        ttl_ms: message.ttl_ms,
        from: message.from,
        speed: message.speed,
        store: message.store.unwrap_or(false),
        priority,
        collapse: message.collapse,
    })
}

const fn accepted(answer: &PushAnswer) -> v1::PushResponse {
    v1::PushResponse { id: answer.id, recipients: answer.recipients, duplicate: answer.duplicate }
}

fn result(outcome: &Result<PushAnswer, Problem>) -> v1::PushResult {
    use v1::push_result::Outcome;
    let outcome = match outcome {
        Ok(answer) => Outcome::Accepted(accepted(answer)),
        Err(problem) => Outcome::Refused(v1::Refusal {
            code: status::code(problem.reason) as i32,
            reason: problem.reason.word().to_owned(),
            detail: problem.detail.clone(),
            retry_after_ms: problem.retry_after_ms,
        }),
    };
    v1::PushResult { outcome: Some(outcome) }
}

fn session(row: SessionRow) -> v1::Session {
    v1::Session {
        key: row.key.to_string(),
        node: row.addr.node,
        platform: row.platform.into(),
        device_id: row.device_id.into(),
        address: row.peer.map(|peer| peer.to_string()),
        since_ms: row.since_ms,
        extended: row.extended,
    }
}

fn user_online(user: UserOnline) -> v1::UserOnline {
    let platforms = user.platforms.into_iter().map(String::from).collect();
    v1::UserOnline { mid: user.mid, online: user.online, platforms }
}

fn room(room: RoomOnline) -> v1::Room {
    let RoomOnline { room, kind, id, online } = room;
    v1::Room { room, r#type: kind, id, online }
}

fn node(node: NodeInfo) -> v1::Node {
    let NodeInfo { id, role, tcp, ws, http, grpc, sessions, ips, draining, version, started_ms } = node;
    v1::Node { id, role: role.word().to_owned(), tcp, ws, sessions, ips, draining, version, started_ms, http, grpc }
}

fn drain(drain: NodeDrain) -> v1::Drain {
    let progress = drain.progress;
    v1::Drain {
        node: drain.node.id,
        draining: progress.is_some(),
        sessions: progress.map_or(drain.node.sessions, |progress| progress.sessions),
        sessions_at_start: progress.map(|progress| progress.sessions_at_start),
        per_second: progress.map(|progress| progress.per_second),
        since_ms: progress.map(|progress| progress.since_ms),
    }
}
