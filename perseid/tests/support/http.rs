//! A small HTTP/1.1 client on one kept connection.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use super::PATIENCE;

#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {:?}", self.text()))
    }
}

pub(crate) struct Http {
    stream: BufReader<TcpStream>,
    /// Shown with each request.
    pub(crate) token: Option<&'static str>,
}

impl Http {
    pub(crate) fn connect(addr: SocketAddr) -> Self {
        Self::try_connect(addr).unwrap_or_else(|error| panic!("connecting to {addr}: {error}"))
    }

    pub(crate) fn try_connect(addr: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream: BufReader::new(stream), token: None })
    }

    pub(crate) fn get(&mut self, path: &str) -> Response {
        self.request("GET", path, &[], b"").expect("an answer")
    }

    pub(crate) fn post(&mut self, path: &str, body: &[u8]) -> Response {
        self.request("POST", path, &[], body).expect("an answer")
    }

    pub(crate) fn post_json(&mut self, path: &str, body: &Value) -> Response {
        let body = body.to_string();
        self.request("POST", path, &[("Content-Type", "application/json")], body.as_bytes()).expect("an answer")
    }

    /// `POST /v1/messages` that must be accepted; gives the answer.
    pub(crate) fn push(&mut self, message: &Value) -> Value {
        let answer = self.post_json("/v1/messages", message);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    /// One of goim's pushes that must be accepted.
    pub(crate) fn goim_push(&mut self, route: &str, body: &[u8]) {
        let answer = self.post(&format!("/goim/push/{route}"), body);
        assert_eq!((answer.status, answer.text()), (200, r#"{"code":0,"message":""}"#), "{route}");
    }

    pub(crate) fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> std::io::Result<Response> {
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n", body.len());
        if let Some(token) = self.token {
            request.push_str(&format!("Authorization: Bearer {token}\r\n"));
        }
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        let mut bytes = request.into_bytes();
        bytes.extend_from_slice(body);
        self.write(&bytes)?;
        self.response()
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Reads one response.
    pub(crate) fn response(&mut self) -> std::io::Result<Response> {
        let status_line = self.line()?;
        let status = status_line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| std::io::Error::other(format!("no status in {status_line:?}")))?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').ok_or_else(|| std::io::Error::other(line.clone()))?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut response = Response { status, headers, body: Vec::new() };
        if response.header("transfer-encoding") == Some("chunked") {
            loop {
                let size = usize::from_str_radix(&self.line()?, 16).map_err(std::io::Error::other)?;
                let mut chunk = vec![0; size];
                self.stream.read_exact(&mut chunk)?;
                self.line()?;
                if size == 0 {
                    break;
                }
                response.body.extend(chunk);
            }
        } else {
            let len = response.header("content-length").and_then(|len| len.parse().ok()).unwrap_or(0);
            response.body = vec![0; len];
            self.stream.read_exact(&mut response.body)?;
        }
        Ok(response)
    }

    /// Whether the server has closed the connection (waits for it).
    pub(crate) fn is_closed(&mut self) -> bool {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Ok(_) => true,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }

    fn line(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end_matches(['\r', '\n']).to_owned())
    }
}
