//! Addresses as they are written, `host:port`, and where they are now.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// The port of nodes when none is said.
pub const DEFAULT_PORT: u16 = 6482;

/// The most bytes of an address: of a name as DNS has it, and a port.
pub(crate) const MAX_LENGTH: usize = 255 + 6;

/// How long a name may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Asks for the addresses behind a name, each time anew: in a cluster they change.
pub(crate) async fn resolve(address: &str) -> Result<Vec<SocketAddr>, String> {
    let found = tokio::time::timeout(PATIENCE, tokio::net::lookup_host(address)).await;
    let found = found.map_err(|_| format!("no name server tells in time where {address:?} is"))?;
    let found: Vec<_> = found
        .map_err(|error| format!("nobody knows where {address:?} is: {error}"))?
        .collect();
    match found.is_empty() {
        true => Err(format!("{address:?} has no address")),
        false => Ok(found),
    }
}

/// Any address of this machine of the same family.
pub(crate) fn any_like(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

/// Whether a socket that is bound to `from` can send there.
pub(crate) fn is_reachable(from: SocketAddr, to: SocketAddr) -> bool {
    from.is_ipv6() || to.is_ipv4()
}
