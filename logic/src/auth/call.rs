//! Whom an authenticator asks: a server of somebody else, as one call. A trait, so that tests are that server.

use std::future::Future;
use std::pin::Pin;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use perseid_outbound::{Client, Method, OutboundError, Request, SIGNATURE, Secrets, sign};

/// What came back: of any status.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// `Retry-After`, ms.
    pub retry_after_ms: Option<u64>,
    /// The body, unless it was longer than is read.
    pub body: Result<Bytes, OutboundError>,
}

/// A reply that comes, within a deadline.
pub type Coming = Pin<Box<dyn Future<Output = Result<Reply, OutboundError>> + Send>>;

/// Calls one server; answers within a deadline of its own.
pub trait Call: Send + Sync + 'static {
    /// Calls it with this body.
    fn call(&self, body: Bytes) -> Coming;
}

/// Calls a URL.
#[derive(Clone)]
pub struct HttpCall {
    /// The client, with its deadline and bounds.
    pub client: Client,
    /// GET or POST.
    pub method: Method,
    /// Whom.
    pub url: String,
    /// Sign bodies, where the receiver shall know that they are ours.
    pub secrets: Option<Secrets>,
}

impl Call for HttpCall {
    fn call(&self, body: Bytes) -> Coming {
        let mut headers = vec![("accept", "application/json".to_owned())];
        if self.method == Method::Post {
            headers.push(("content-type", "application/json".to_owned()));
        }
        if let Some(secrets) = &self.secrets {
            headers.push((SIGNATURE, sign(secrets, unix_ms() / 1000, &body)));
        }
        let request = Request { method: self.method, url: self.url.clone(), headers, body, wanted: &[] };
        let client = self.client.clone();
        Box::pin(async move {
            let response = client.send(request).await?;
            let body = response.body().cloned();
            Ok(Reply { status: response.status, retry_after_ms: response.retry_after_ms, body })
        })
    }
}

/// Now, unix ms: where something happens that nobody asked for at a given time.
pub(super) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
