//! The HTTP of a load generator: one keep-alive connection, one request at a
//! time, nothing retried (a push that is sent twice would count as a
//! duplicate).

use anyhow::{Context, Result, bail};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// What an answer may hold: `/metrics` is the largest.
const RESPONSE_BYTES_MAX: usize = 16 << 20;

/// Where the push API is and who calls it.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    pub(crate) addr: SocketAddr,
    host: String,
    token: Option<String>,
}

impl Api {
    /// Reads `http://host:port`.
    pub(crate) fn parse(url: &str, token: Option<String>) -> Result<Self> {
        let rest = url.strip_prefix("http://").unwrap_or(url);
        if rest.contains("://") {
            bail!("{url}: only http:// is spoken here");
        }
        let host = rest.split('/').next().unwrap_or_default();
        let with_port = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
        let addr = with_port
            .to_socket_addrs()
            .ok()
            .and_then(|mut addrs| addrs.next())
            .with_context(|| format!("{url}: no such address"))?;
        Ok(Self { addr, host: host.to_owned(), token })
    }

    /// The head of a request; its body follows.
    pub(crate) fn request(&self, method: &str, path: &str, kind: &str, len: usize) -> Vec<u8> {
        let token = match &self.token {
            Some(token) => format!("Authorization: Bearer {token}\r\n"),
            None => String::new(),
        };
        format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\n{token}Content-Type: {kind}\r\n\
             Content-Length: {len}\r\n\r\n",
            self.host
        )
        .into_bytes()
    }
}

/// A connection that is made when it is needed.
pub(crate) struct Connection {
    addr: SocketAddr,
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
}

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Connection {
    pub(crate) fn new(addr: SocketAddr) -> Self {
        Self { addr, stream: None, buffer: Vec::new() }
    }

    /// Makes the connection now, so that the first request does not pay for it.
    pub(crate) fn connect(&mut self) -> Result<&mut TcpStream> {
        if self.stream.is_none() {
            let stream =
                TcpStream::connect_timeout(&self.addr, PATIENCE).with_context(|| format!("HTTP API at {}", self.addr))?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            self.stream = Some(stream);
        }
        self.stream.as_mut().context("no connection")
    }

    /// Sends a whole request and reads the whole answer.
    pub(crate) fn call(&mut self, request: &[u8]) -> Result<Response> {
        let result = self.exchange(request);
        if !matches!(result, Ok((_, true))) {
            self.stream = None;
        }
        result.map(|(response, _)| response)
    }

    fn exchange(&mut self, request: &[u8]) -> Result<(Response, bool)> {
        self.connect()?.write_all(request).context("HTTP request")?;
        self.buffer.clear();
        loop {
            if let Some(parsed) = parse(&self.buffer)? {
                return Ok(parsed);
            }
            let mut chunk = [0; 4096];
            let got = self.connect()?.read(&mut chunk).context("HTTP answer")?;
            if got == 0 {
                return match parse_until_close(&self.buffer)? {
                    Some(response) => Ok((response, false)),
                    None => bail!("HTTP answer: connection closed"),
                };
            }
            self.buffer.extend_from_slice(&chunk[..got]);
            if self.buffer.len() > RESPONSE_BYTES_MAX {
                bail!("HTTP answer of more than 16 MiB");
            }
        }
    }
}

/// One GET on a connection of its own.
pub(crate) fn get(api: &Api, path: &str) -> Result<Response> {
    Connection::new(api.addr).call(&api.request("GET", path, "text/plain", 0))
}

struct Head {
    status: u16,
    len: Option<usize>,
    chunked: bool,
    keep_alive: bool,
    end: usize,
}

/// The answer and whether the connection stays; none while it is cut.
fn parse(data: &[u8]) -> Result<Option<(Response, bool)>> {
    let Some(head) = head(data)? else { return Ok(None) };
    let rest = &data[head.end..];
    let body = if head.chunked {
        match unchunk(rest)? {
            Some(body) => body,
            None => return Ok(None),
        }
    } else {
        let no_body = head.status == 204 || head.status == 304;
        match head.len.or(if no_body { Some(0) } else { None }) {
            Some(len) => match rest.get(..len) {
                Some(body) => body.to_vec(),
                None => return Ok(None),
            },
            None => return Ok(None),
        }
    };
    Ok(Some((Response { status: head.status, body }, head.keep_alive)))
}

/// An answer without a length ends with the connection.
fn parse_until_close(data: &[u8]) -> Result<Option<Response>> {
    let Some(head) = head(data)? else { return Ok(None) };
    if head.chunked || head.len.is_some() {
        return Ok(None);
    }
    Ok(Some(Response { status: head.status, body: data[head.end..].to_vec() }))
}

fn head(data: &[u8]) -> Result<Option<Head>> {
    let Some(end) = data.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let text = String::from_utf8_lossy(&data[..end]);
    let mut lines = text.split("\r\n");
    let status = lines
        .next()
        .filter(|line| line.starts_with("HTTP/1."))
        .and_then(|line| line.split(' ').nth(1))
        .and_then(|code| code.parse().ok())
        .context("HTTP answer without a status")?;
    let mut head = Head { status, len: None, chunked: false, keep_alive: true, end: end + 4 };
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            head.len = Some(value.parse().context("HTTP answer with a wrong length")?);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            head.chunked = value.eq_ignore_ascii_case("chunked");
        } else if name.eq_ignore_ascii_case("connection") {
            head.keep_alive = !value.eq_ignore_ascii_case("close");
        }
    }
    Ok(Some(head))
}

fn unchunk(mut data: &[u8]) -> Result<Option<Vec<u8>>> {
    let mut body = Vec::new();
    loop {
        let Some(line) = data.windows(2).position(|two| two == b"\r\n") else { return Ok(None) };
        let text = String::from_utf8_lossy(&data[..line]);
        let size = text.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).context("HTTP answer with a wrong chunk")?;
        if size > RESPONSE_BYTES_MAX {
            bail!("HTTP answer of more than 16 MiB");
        }
        let start = line + 2;
        let Some(chunk) = data.get(start..start + size) else { return Ok(None) };
        let Some(rest) = data.get(start + size + 2..) else { return Ok(None) };
        if size == 0 {
            return Ok(Some(body));
        }
        body.extend_from_slice(chunk);
        data = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(data: &[u8]) -> (u16, Vec<u8>, bool) {
        for cut in 0..data.len() {
            assert!(parse(&data[..cut]).unwrap().is_none(), "cut at {cut}");
        }
        let (response, keep) = parse(data).unwrap().unwrap();
        (response.status, response.body, keep)
    }

    #[test]
    fn lengths_chunks_and_closes() {
        let plain = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc";
        assert_eq!(whole(plain), (200, b"abc".to_vec(), true));
        let close = b"HTTP/1.1 400 x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(whole(close), (400, Vec::new(), false));
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n";
        assert_eq!(whole(chunked), (200, b"abc".to_vec(), true));
        let until = b"HTTP/1.0 200 OK\r\n\r\nabc";
        assert!(parse(until).unwrap().is_none());
        assert_eq!(parse_until_close(until).unwrap().unwrap().body, b"abc");
        assert!(parse(b"nonsense\r\n\r\n").is_err());
    }

    #[test]
    fn urls() {
        let api = Api::parse("http://127.0.0.1:3111/", None).unwrap();
        assert_eq!(api.addr.to_string(), "127.0.0.1:3111");
        assert!(Api::parse("https://127.0.0.1:3111", None).is_err());
    }
}
