//! Listening sockets: one for each worker on the same address, so that the kernel spreads the connections.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;

/// How long somebody waits for what a process holds that was just killed: it ends a moment after its parent was told so.
const PATIENCE: (u32, Duration) = (50, Duration::from_millis(20));

/// Opens what another process may hold for a moment more: a start right after a `kill -9`. Blocks for up to a second.
/// `is_held` tells the error that is worth another try.
///
/// # Errors
/// The last one of `open`.
pub fn patiently<T, E>(is_held: impl Fn(&E) -> bool, mut open: impl FnMut() -> Result<T, E>) -> Result<T, E> {
    for _ in 1..PATIENCE.0 {
        match open() {
            Err(error) if is_held(&error) => thread::sleep(PATIENCE.1),
            opened => return opened,
        }
    }
    open()
}

/// Whether another process has the address.
#[must_use]
pub fn is_in_use(error: &io::Error) -> bool {
    error.kind() == ErrorKind::AddrInUse
}

/// Binds `count` sockets to one address; port 0 picks a free one for all of them. The address as bound comes with them.
///
/// # Errors
/// As `bind(2)`; an address that another process listens on is refused although sharing it is possible.
pub(crate) fn bind(addr: SocketAddr, count: usize) -> io::Result<(SocketAddr, Vec<mio::net::TcpListener>)> {
    // SO_REUSEPORT would let a second server of the same user take half of our connections: look first, without it.
    // The probe listens nowhere and is closed at once.
    let addr = patiently(is_in_use, || {
        let probe = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
        probe.set_reuse_address(true)?;
        probe.bind(&addr.into())?;
        probe.listen(1)?;
        Ok(probe.local_addr()?.as_socket().unwrap_or(addr))
    })?;
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
    fn what_is_held_for_a_moment_is_waited_for() {
        let (addr, listeners) = bind("127.0.0.1:0".parse().unwrap(), 1).unwrap();
        let mut listeners = Some(listeners);
        let mut tries = 0;
        let bound = patiently(is_in_use, || {
            tries += 1;
            if tries == 3 {
                listeners.take();
            }
            std::net::TcpListener::bind(addr)
        });
        assert_eq!((bound.unwrap().local_addr().unwrap(), tries), (addr, 3));
        let mut tries = 0;
        let refused: Result<(), _> = patiently(is_in_use, || {
            tries += 1;
            Err(io::Error::from(ErrorKind::PermissionDenied))
        });
        assert_eq!((refused.unwrap_err().kind(), tries), (ErrorKind::PermissionDenied, 1));
    }

    #[test]
    fn an_address_in_use_is_refused() {
        let (addr, listeners) = bind("127.0.0.1:0".parse().unwrap(), 2).unwrap();
        assert_eq!(listeners.len(), 2);
        assert_ne!(addr.port(), 0);
        assert_eq!(bind(addr, 2).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}
