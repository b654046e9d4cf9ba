//! What is fuzzed: each function takes any bytes, and panics only where the protocol is broken.

use perseid_protocol::auth::AuthRequest;
use perseid_protocol::frame::{self, CLASSIC_HEADER_LEN, EXTENDED_HEADER_LEN, HEADER_LEN_MAX};
use perseid_protocol::limits::{self, Limits};
use perseid_protocol::session::client::{self, Event};
use perseid_protocol::session::server::{self, Phase, Request};
use perseid_protocol::{CloseReason, Extension, op};

/// A target by its name.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const ALL: [Target; 4] = [
    ("frame_decode", frame_decode),
    ("server_session", server_session),
    ("client_session", client_session),
    ("auth_json", auth_json),
];

/// A decoded frame lies within the input and the limit, and encodes to what it was, but for what readers skip.
pub fn frame_decode(input: &[u8]) {
    let Some((limit, input)) = input.split_first_chunk::<2>() else { return };
    let limit = usize::from(u16::from_be_bytes(*limit));
    let Ok(Some(frame)) = frame::decode(input, limit) else { return };
    assert!(frame.len <= input.len() && frame.body.len() <= limit);
    let header_len = frame.len - frame.body.len();
    assert!(header_len == CLASSIC_HEADER_LEN || (EXTENDED_HEADER_LEN..=HEADER_LEN_MAX).contains(&header_len));
    assert_eq!(frame::decode(&input[..frame.len], limit), Ok(Some(frame)), "what follows does not matter");
    assert_eq!(frame::decode(&input[..frame.len - 1], limit), Ok(None), "no frame without its last byte");

    let mut again = Vec::new();
    if header_len == CLASSIC_HEADER_LEN {
        frame::put_classic(&mut again, &frame.header, frame.body);
        assert_eq!(again, &input[..frame.len]);
    } else {
        frame::put_extended(&mut again, &frame.header, frame.body);
        let second = frame::decode(&again, limit);
        assert!(matches!(second, Ok(Some(second)) if second.header == frame.header && second.body == frame.body));
    }
}

/// Whatever a client sends: phases only go forward, replies echo, what is asked for is within its limits.
pub fn server_session(input: &[u8]) {
    let Some((&choice, mut rest)) = input.split_first() else { return };
    let limits = Limits { auth_bytes_max: 200, body_bytes_max: 300, subscriptions_max: 5, ..Limits::default() };
    let mut now_ms = 0;
    let mut session = server::Session::new(now_ms, &limits);
    let mut out = Vec::new();
    let reason = loop {
        let frame = match frame::decode(rest, session.body_bytes_max(&limits)) {
            Ok(None) => return,
            Ok(Some(frame)) => frame,
            Err(error) => break error.into(),
        };
        rest = &rest[frame.len..];
        now_ms += if choice & 2 == 0 { 0 } else { 100_000 };
        if let Some(reason) = session.handle_timeout(now_ms) {
            break reason;
        }
        let before = session.phase();
        match session.handle_frame(&frame, now_ms, &limits) {
            Err(reason) => break reason,
            Ok((to, request)) => {
                assert_eq!((to.ver, to.seq), (frame.header.ver, frame.header.seq));
                assert_eq!(to.extended, session.is_extended());
                assert_eq!(matches!(request, Request::Auth { .. }), before == Phase::AwaitingAuth);
                check_request(&session, &request, &limits);
                if let Request::Refuse(refusal, message) = request {
                    server::put_refusal(&mut out, &frame.header, refusal, message, None);
                } else {
                    to.put(&mut out, Extension::default(), &[]);
                }
                assert!(matches!(frame::decode(&out, usize::MAX), Ok(Some(reply)) if reply.len == out.len()));
                out.clear();
                if matches!(request, Request::Auth { .. }) {
                    assert_eq!(session.phase(), Phase::Authenticating);
                    session.handle_auth(choice & 1 != 0, now_ms, &limits);
                }
            }
        }
        if session.phase() == Phase::Ended {
            return;
        }
        assert_eq!(session.phase(), Phase::Live);
    };
    assert!(CloseReason::from_code(reason.code()).is_some() && reason != CloseReason::Internal);
    session.end();
    session.handle_auth(true, now_ms, &limits);
    assert_eq!(session.phase(), Phase::Ended);
}

fn check_request(session: &server::Session, request: &Request<'_>, limits: &Limits) {
    let extended = session.is_extended();
    match request {
        Request::Auth { body } | Request::Renew { body } => assert!(body.len() <= limits.auth_bytes_max),
        Request::ChangeRoom { room, pos } => {
            assert!(room.is_none_or(|room| room.as_str().len() <= limits.room_id_bytes_max));
            assert!(*pos == 0 || extended);
        }
        Request::Subscribe(list) | Request::Unsubscribe(list) => {
            assert!((1..=limits.subscriptions_max).contains(&list.len()));
        }
        Request::EchoOnly => assert!(!extended),
        Request::Stored | Request::Refuse(..) => assert!(extended),
        Request::Heartbeat | Request::Upstream => {}
    }
}

/// Whatever a server sends: events point into the input, deadlines lie ahead, a wrapper yields what it holds.
pub fn client_session(input: &[u8]) {
    let Some((&choice, mut rest)) = input.split_first() else { return };
    let mut session = client::Session::new(choice & 1 != 0);
    let mut now_ms = 1;
    let mut out = Vec::new();
    while let Ok(Some(frame)) = client::Session::decode(rest) {
        rest = &rest[frame.len..];
        now_ms += 1;
        let mut body_bytes = 0;
        let was_ready = session.is_ready();
        let result = session.handle_frame(&frame, now_ms, &mut |event| match event {
            Event::Push { body, .. } | Event::Reply { body, .. } | Event::Disconnect(body) => body_bytes += body.len(),
            Event::Ready(_) | Event::Online(_) => {}
        });
        assert!(body_bytes <= frame.body.len(), "nothing comes from nowhere");
        assert!(result.is_ok() || frame.header.op == op::RAW, "only a wrapper can be broken inside");
        assert_eq!(session.is_ready(), was_ready || frame.header.op == op::AUTH_REPLY);
        assert!(session.poll_timeout() > now_ms, "never due at once");
    }
    let due_ms = session.poll_timeout();
    if session.handle_timeout(due_ms.saturating_sub(1), &mut out) {
        assert!(out.is_empty(), "nothing before its time");
    }
    assert!(!session.is_ready() || due_ms < u64::MAX);
}

/// What is accepted is within the bounds, and survives being written and read again.
pub fn auth_json(input: &[u8]) {
    let Ok(request) = AuthRequest::parse(input) else { return };
    assert!(request.key.len() <= limits::SESSION_KEY_BYTES_MAX && request.room_id.len() <= limits::ROOM_ID_BYTES_MAX);
    assert!(request.platform.len() <= limits::NAME_BYTES_MAX && request.device_id.len() <= limits::NAME_BYTES_MAX);
    let mut out = Vec::new();
    client::Session::new(true).put_auth(&mut out, &request);
    let Ok(Some(frame)) = frame::decode(&out, usize::MAX) else { panic!("AUTH is a frame") };
    assert_eq!(AuthRequest::parse(frame.body), Ok(request));
}
