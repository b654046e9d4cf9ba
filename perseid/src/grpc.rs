//! What every role needs for gRPC between the parts.

use std::net::{SocketAddr, TcpListener};

use anyhow::{Context, Result};
use perseid_comet::net::{is_in_use, patiently};
use perseid_wire::{TlsFiles, WireTls};

use crate::config::Settings;

/// Listens on `addrs`; `what` says for what, to people.
///
/// # Errors
/// An address that can't be listened on.
pub fn bind(addrs: &[SocketAddr], what: &str) -> Result<Vec<TcpListener>> {
    let bind = |addr: &SocketAddr| patiently(is_in_use, || TcpListener::bind(addr));
    addrs.iter().map(|addr| bind(addr).with_context(|| format!("can't listen on {addr} ({what})"))).collect()
}

/// The certificates of `[cluster]`, if there are any.
///
/// # Errors
/// One that can't be read.
pub fn tls(settings: &Settings) -> Result<Option<WireTls>> {
    let cluster = &settings.cluster;
    if cluster.certificate.as_os_str().is_empty() {
        return Ok(None);
    }
    let files = TlsFiles { certificate: cluster.certificate.clone(), key: cluster.key.clone(), ca: cluster.ca.clone() };
    Ok(Some(WireTls::read(&files)?))
}
