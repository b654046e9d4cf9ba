//! Listening sockets: one for each worker on the same address, so that the kernel spreads the connections.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;

/// Binds `count` sockets to one address; port 0 picks a free one for all of them. The address as bound comes with them.
///
/// # Errors
/// As `bind(2)`; an address that another process listens on is refused although sharing it is possible.
pub(crate) fn bind(addr: SocketAddr, count: usize) -> io::Result<(SocketAddr, Vec<mio::net::TcpListener>)> {
    // SO_REUSEPORT would let a second server of the same user take half of our connections: look first, without it.
    // The probe listens nowhere and is closed at once.
    let addr = {
        let probe = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
        probe.set_reuse_address(true)?;
        probe.bind(&addr.into())?;
        probe.listen(1)?;
        probe.local_addr()?.as_socket().unwrap_or(addr)
    };
    let mut listeners = Vec::with_capacity(count);
    for _ in 0..count {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        // Accepted sockets inherit it: one call saved for each session.
        socket.set_tcp_nodelay(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&addr.into())?;
        socket.listen(BACKLOG)?;
        listeners.push(mio::net::TcpListener::from_std(socket.into()));
    }
    Ok((addr, listeners))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_in_use_is_refused() {
        let (addr, listeners) = bind("127.0.0.1:0".parse().unwrap(), 2).unwrap();
        assert_eq!(listeners.len(), 2);
        assert_ne!(addr.port(), 0);
        assert_eq!(bind(addr, 2).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}
