//! What the hook is asked.

use bytes::Bytes;
use perseid_protocol::auth::AuthRequest;
use serde::Serialize;

use crate::auth::AuthContext;

/// The body of a question. All of it may decide the answer, and nothing that differs each time is in it: a client that comes back
/// asks the same question.
#[derive(Debug, Serialize)]
pub(super) struct Question<'a> {
    mid: i64,
    key: &'a str,
    room_id: &'a str,
    platform: &'a str,
    device_id: &'a str,
    token: &'a str,
    cookie: &'a str,
    /// The client's address, without the port; IPv4 in its own form.
    peer: Option<std::net::IpAddr>,
    extended: bool,
    renewal: bool,
}

impl<'a> Question<'a> {
    pub(super) fn new(request: &'a AuthRequest, context: &AuthContext<'a>) -> Self {
        Self {
            mid: request.mid,
            key: &request.key,
            room_id: &request.room_id,
            platform: &request.platform,
            device_id: &request.device_id,
            token: &request.token,
            cookie: context.cookie,
            peer: context.peer.map(|peer| peer.ip().to_canonical()),
            extended: context.extended,
            renewal: context.renewal,
        }
    }

    pub(super) fn to_json(&self) -> Bytes {
        // Texts, numbers and flags can always be written; were it not so, the hook would get no question and refuse.
        serde_json::to_vec(self).unwrap_or_default().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_is_this_json() {
        let request = AuthRequest {
            mid: 7,
            key: "k".to_owned(),
            room_id: "live://1".to_owned(),
            platform: "web".to_owned(),
            device_id: "d".to_owned(),
            token: "\"t\"".to_owned(),
            ..AuthRequest::default()
        };
        let peer = Some("[::ffff:10.1.2.3]:77".parse().unwrap());
        let context = AuthContext { peer, cookie: "sid=1", now_ms: 5, extended: true, renewal: false };
        let json = Question::new(&request, &context).to_json();
        let expected = r#"{"mid":7,"key":"k","room_id":"live://1","platform":"web","device_id":"d","token":"\"t\"","cookie":"sid=1","peer":"10.1.2.3","extended":true,"renewal":false}"#;
        assert_eq!(std::str::from_utf8(&json).unwrap(), expected);
        let nobody = AuthContext { peer: None, cookie: "", now_ms: 6, extended: false, renewal: true };
        let json = Question::new(&AuthRequest::default(), &nobody).to_json();
        assert!(json.ends_with(br#""peer":null,"extended":false,"renewal":true}"#));
    }
}
