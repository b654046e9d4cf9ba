//! A connection as a client has it: plain, or behind TLS.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::ops::Deref;
use std::sync::{Arc, Mutex};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

/// One of several ends of the same connection: one may write while another reads.
#[derive(Debug)]
pub(crate) struct Stream {
    tcp: TcpStream,
    tls: Option<Arc<Secure>>,
}

#[derive(Debug)]
struct Secure {
    conn: Mutex<ClientConnection>,
    /// Held while ciphertext is written, so that records keep their order; whoever reads does not need it.
    writing: Mutex<()>,
    received: Mutex<Received>,
}

#[derive(Debug, Default)]
struct Received {
    plain: VecDeque<u8>,
    end: Option<Result<(), io::ErrorKind>>,
}

impl Deref for Stream {
    type Target = TcpStream;

    fn deref(&self) -> &TcpStream {
        &self.tcp
    }
}

impl Stream {
    pub(crate) fn plain(tcp: TcpStream) -> Self {
        Self { tcp, tls: None }
    }

    /// Does the handshake.
    ///
    /// # Errors
    /// As the handshake, or the socket.
    pub(crate) fn secure(mut tcp: TcpStream, config: Arc<ClientConfig>, name: &str) -> io::Result<Self> {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut conn = ClientConnection::new(config, name).unwrap();
        while conn.is_handshaking() {
            conn.complete_io(&mut tcp)?;
        }
        Ok(Self::with(tcp, conn))
    }

    /// A connection whose handshake is done.
    pub(crate) fn with(tcp: TcpStream, conn: ClientConnection) -> Self {
        let secure = Secure { conn: Mutex::new(conn), writing: Mutex::default(), received: Mutex::default() };
        Self { tcp, tls: Some(Arc::new(secure)) }
    }

    pub(crate) fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// Looks at what TLS knows of the connection.
    pub(crate) fn with_tls<T>(&self, look: impl FnOnce(&mut ClientConnection) -> T) -> T {
        look(&mut self.tls.as_ref().expect("a connection behind TLS").conn.lock().unwrap())
    }

    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { tcp: self.tcp.try_clone()?, tls: self.tls.clone() })
    }

    /// Ends our half: behind TLS it is said there, too.
    pub(crate) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        if let Some(tls) = &self.tls
            && how != Shutdown::Read
        {
            let writing = tls.writing.lock().unwrap();
            let ciphertext = {
                let mut conn = tls.conn.lock().unwrap();
                conn.send_close_notify();
                take(&mut conn)
            };
            (&self.tcp).write_all(&ciphertext)?;
            drop(writing);
        }
        self.tcp.shutdown(how)
    }
}

fn take(conn: &mut ClientConnection) -> Vec<u8> {
    let mut ciphertext = Vec::new();
    while conn.wants_write() {
        conn.write_tls(&mut ciphertext).unwrap();
    }
    ciphertext
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &self.tls else { return self.tcp.read(buffer) };
        let mut chunk = vec![0; buffer.len()];
        loop {
            let mut received = tls.received.lock().unwrap();
            if !received.plain.is_empty() {
                return received.plain.read(buffer);
            }
            if let Some(outcome) = received.end {
                return outcome.map(|()| 0).map_err(io::Error::from);
            }
            drop(received);
            let count = self.tcp.read(&mut chunk)?;
            tls.take(&chunk[..count])?;
        }
    }
}

impl Secure {
    /// Takes ciphertext; none says that the connection has ended, which only close_notify makes a clean end.
    fn take(&self, mut bytes: &[u8]) -> io::Result<()> {
        let mut conn = self.conn.lock().unwrap();
        let mut received = self.received.lock().unwrap();
        loop {
            conn.read_tls(&mut bytes)?;
            conn.process_new_packets().map_err(io::Error::other)?;
            let mut some = [0; 4096];
            loop {
                match conn.reader().read(&mut some) {
                    Ok(0) => received.end = Some(Ok(())),
                    Ok(count) => {
                        received.plain.extend(&some[..count]);
                        continue;
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => received.end = Some(Err(error.kind())),
                }
                break;
            }
            if bytes.is_empty() {
                return Ok(());
            }
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(tls) = &self.tls else { return self.tcp.write(bytes) };
        let writing = tls.writing.lock().unwrap();
        let taken = bytes.len().min(16 * 1024);
        let ciphertext = {
            let mut conn = tls.conn.lock().unwrap();
            conn.writer().write_all(&bytes[..taken])?;
            take(&mut conn)
        };
        self.tcp.write_all(&ciphertext)?;
        drop(writing);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
