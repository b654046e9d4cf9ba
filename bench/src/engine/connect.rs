//! Making a connection, from an address of one's own where the ports of one
//! are not enough.

use mio::net::TcpStream;
use socket2::{Domain, Socket, Type};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};

/// Ports that sessions with a source address of their own come from.
const PORTS: std::ops::Range<u16> = 10_240..61_000;
/// Ports tried for one session: some may be taken.
const PORT_TRIES: usize = 64;

/// The ports of a process, one after another.
pub(super) fn ports() -> impl Iterator<Item = u16> {
    let mut ports = PORTS.cycle();
    // Each run begins elsewhere: the ports of the last may still be waiting.
    let begin = std::process::id() as usize * 7_919 % PORTS.len();
    ports.by_ref().take(begin).for_each(|_| {});
    ports
}

/// Starts a connection; true when it is made already, as over loopback it is.
pub(super) fn connect(
    target: SocketAddr,
    source: Option<IpAddr>,
    ports: &mut impl Iterator<Item = u16>,
) -> io::Result<(TcpStream, bool)> {
    let Some(source) = source else { return connect_from(target, None) };
    // The port is named, because a kernel that is to choose one at bind looks
    // at every socket of the address, and takes seconds when they are many.
    let mut result = Err(ErrorKind::AddrInUse.into());
    for port in ports.take(PORT_TRIES) {
        result = connect_from(target, Some(SocketAddr::new(source, port)));
        match &result {
            Err(error) if matches!(error.kind(), ErrorKind::AddrInUse | ErrorKind::AddrNotAvailable) => {}
            _ => break,
        }
    }
    result
}

fn connect_from(target: SocketAddr, source: Option<SocketAddr>) -> io::Result<(TcpStream, bool)> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    if let Some(source) = source {
        socket.set_reuse_address(true)?;
        socket.bind(&source.into())?;
    }
    let in_progress = rustix::io::Errno::INPROGRESS.raw_os_error();
    let connected = match socket.connect(&target.into()) {
        Ok(()) => true,
        Err(error) if error.raw_os_error() == Some(in_progress) => false,
        Err(error) => return Err(error),
    };
    Ok((TcpStream::from_std(socket.into()), connected))
}
