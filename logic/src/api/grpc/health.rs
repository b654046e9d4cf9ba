//! `grpc.health.v1.Health`: what `/readyz` says, for balancers that speak gRPC.

use std::sync::Arc;
use std::time::Duration;

use perseid_rpc::v1::push_server::SERVICE_NAME;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::Health;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::api::Api;

/// How often those who watch are looked after.
const WATCH_EVERY: Duration = Duration::from_secs(1);

pub(super) struct HealthService {
    api: Arc<Api>,
}

impl HealthService {
    pub(super) const fn new(api: Arc<Api>) -> Self {
        Self { api }
    }
}

/// How the whole (an empty name) or the push API is; `None` for a name that is not known.
fn status(api: &Api, service: &str) -> Option<ServingStatus> {
    if !service.is_empty() && service != SERVICE_NAME {
        return None;
    }
    Some(if api.unready().is_empty() { ServingStatus::Serving } else { ServingStatus::NotServing })
}

const fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status as i32 }
}

#[tonic::async_trait]
impl Health for HealthService {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        match status(&self.api, &request.get_ref().service) {
            Some(status) => Ok(Response::new(answer(status))),
            None => Err(Status::not_found("there is no such service")),
        }
    }

    type WatchStream = ReceiverStream<Result<HealthCheckResponse, Status>>;

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let (told, stream) = mpsc::channel(1);
        tokio::spawn(watch(self.api.clone(), request.into_inner().service, told));
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

/// Tells of each change, until nobody listens.
async fn watch(api: Arc<Api>, service: String, told: mpsc::Sender<Result<HealthCheckResponse, Status>>) {
    let mut last = None;
    loop {
        let now = status(&api, &service).unwrap_or(ServingStatus::ServiceUnknown);
        if last != Some(now) && told.send(Ok(answer(now))).await.is_err() {
            return;
        }
        last = Some(now);
        tokio::select! {
            () = told.closed() => return,
            () = tokio::time::sleep(WATCH_EVERY) => {}
        }
    }
}
