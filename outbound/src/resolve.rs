//! Names to addresses that may be called: what stands between a name and every connection.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::Semaphore;

use crate::error::OutboundError;
use crate::policy::TargetPolicy;

/// Addresses of a name, or why there are none.
pub type Found = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// Finds the addresses of a name.
pub trait Lookup: Send + Sync + 'static {
    /// The addresses of `name`.
    fn lookup(&self, name: &str) -> Found;
}

/// The resolver of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemLookup;

impl Lookup for SystemLookup {
    fn lookup(&self, name: &str) -> Found {
        let name = name.to_owned();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// Finds the addresses of a name, and gives those that may be connected to.
pub(crate) struct Checked {
    pub(crate) policy: TargetPolicy,
    /// For connections without TLS.
    pub(crate) plain: bool,
    pub(crate) lookup: Arc<dyn Lookup>,
    /// A lookup can't be called off: it has a thread of the runtime until the system's resolver gives up. This many at most.
    pub(crate) turns: Arc<Semaphore>,
}

impl Resolve for Checked {
    fn resolve(&self, name: Name) -> Resolving {
        let (policy, plain, turns) = (self.policy.clone(), self.plain, self.turns.clone());
        let found = self.lookup.lookup(name.as_str());
        let name = name.as_str().to_owned();
        Box::pin(async move {
            let turn = turns.acquire_owned().await?;
            let found = tokio::spawn(async move {
                let _until_it_ended = turn;
                found.await
            });
            let addresses = found.await?.map_err(|error| OutboundError::Resolve(error.to_string()))?;
            let allowed = allowed(&policy, plain, &name, &addresses)?;
            Ok(Box::new(allowed.into_iter().map(|address| SocketAddr::new(address, 0))) as Addrs)
        })
    }
}

/// Those of `addresses` that may be connected to: at least one.
fn allowed(policy: &TargetPolicy, plain: bool, host: &str, addresses: &[IpAddr]) -> Result<Vec<IpAddr>, OutboundError> {
    let mut refused = None;
    let mut allowed = Vec::with_capacity(addresses.len());
    for &address in addresses {
        match policy.check_address(address, plain) {
            Ok(()) => allowed.push(address),
            Err(why) => refused = refused.or(Some((address, why))),
        }
    }
    match (allowed.is_empty(), refused) {
        (false, _) => Ok(allowed),
        (true, Some((address, why))) => Err(OutboundError::refused(host, address, why)),
        (true, None) => Err(OutboundError::Resolve("it has no address".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_worth_its_allowed_addresses() {
        let policy = TargetPolicy::default();
        let addresses = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<IpAddr>>();
        let mixed = addresses(&["10.0.0.1", "8.8.8.8", "::1"]);
        assert_eq!(allowed(&policy, false, "mixed", &mixed), Ok(addresses(&["8.8.8.8"])));
        let private = addresses(&["10.0.0.1", "::1"]);
        let expected = OutboundError::refused("private", private[0], "private");
        assert_eq!(allowed(&policy, false, "private", &private), Err(expected));
        assert!(matches!(allowed(&policy, false, "nothing", &[]), Err(OutboundError::Resolve(_))));
        assert!(matches!(allowed(&policy, true, "plain", &mixed), Err(OutboundError::Refused { .. })));
    }
}
