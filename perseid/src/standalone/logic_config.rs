//! What logic is told.

use perseid_logic::{Config, GoimConfig};
use perseid_protocol::origin::Pages;

use super::comet_config::foreign_pages;
use crate::config::Settings;

pub(super) fn logic_config(settings: &Settings) -> Config {
    let logic = &settings.logic;
    Config {
        request_bytes_max: logic.request_bytes_max,
        request_ms: logic.request_ms,
        push_bytes_max: logic.push_bytes_max,
        idempotency_ms: logic.idempotency_ms,
        idempotency_bytes_max: logic.idempotency_bytes_max,
        batch_max: logic.batch_max,
        targets_max: logic.targets_max,
        snowflake_worker: settings.node.snowflake_worker,
        heartbeat_ms: settings.comet.heartbeat_ms,
        heartbeat_max: settings.comet.heartbeat_max,
        pages: Pages { foreign: foreign_pages(settings), origins: logic.origins.clone(), hosts: logic.hosts.clone() },
        goim: goim_config(settings),
    }
}

fn goim_config(settings: &Settings) -> GoimConfig {
    let goim = &settings.goim;
    GoimConfig {
        domain: goim.domain.clone(),
        host_domain: goim.host_domain.clone(),
        tcp_port: goim.tcp_port,
        ws_port: goim.ws_port,
        wss_port: goim.wss_port,
        backoff_max_delay: i32::try_from(goim.backoff_max_delay).unwrap_or(i32::MAX),
        backoff_base_delay: i32::try_from(goim.backoff_base_delay).unwrap_or(i32::MAX),
        backoff_factor: goim.backoff_factor as f32,
        backoff_jitter: goim.backoff_jitter as f32,
    }
}
