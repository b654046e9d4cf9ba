//! The HTTP request that opens a WebSocket, and its answer (RFC 6455 section 4.2).

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use httparse::Status;

/// Bytes that the head of a request may have.
pub const HEAD_BYTES_MAX: usize = 8 * 1024;

/// Header lines that a request may have.
pub const HEADERS_MAX: usize = 64;

/// Appended to the client's key before it is hashed (RFC 6455 section 1.3).
const ACCEPT_GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What is to be done with the bytes that a client has sent so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Handshake<'a> {
    /// The head of the request is not all there; call again with more. Happens only below
    /// [`HEAD_BYTES_MAX`].
    NeedMore,
    /// Write [`Accept::put_response`]; the WebSocket begins.
    Accept(Accept<'a>),
    /// Write the response and close.
    Reject {
        /// The HTTP status, for counters.
        status: u16,
        /// The whole response.
        response: Vec<u8>,
    },
}

/// A request that is granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accept<'a> {
    /// Bytes of the request; what follows them are frames.
    pub consumed: usize,
    /// Value of the `Sec-WebSocket-Accept` header: base64, 28 characters.
    pub accept_key: [u8; 28],
    /// What follows the `?` of the request's target.
    pub query: Option<&'a str>,
    /// What else the request says about the client.
    pub headers: ClientHeaders<'a>,
}

/// Headers that the gateway may want. None of them is verified.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClientHeaders<'a> {
    /// `Host`, always there in an accepted request.
    pub host: Option<&'a str>,
    /// `Origin`: the page that opened the WebSocket; browsers always send it.
    pub origin: Option<&'a str>,
    /// `User-Agent`.
    pub user_agent: Option<&'a str>,
    /// `Cookie`.
    pub cookie: Option<&'a str>,
    /// `X-Forwarded-For`: its last lines, in order. The last of all the nearest proxy wrote.
    pub x_forwarded_for: ForwardedFor<'a>,
}

/// Lines of `X-Forwarded-For` that are kept: the right-most count.
const FORWARDED_LINES_MAX: usize = 4;

/// The last lines of `X-Forwarded-For`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ForwardedFor<'a> {
    lines: [&'a str; FORWARDED_LINES_MAX],
    len: usize,
}

impl<'a> ForwardedFor<'a> {
    /// The lines, in order.
    pub fn lines(&self) -> &[&'a str] {
        &self.lines[..self.len]
    }

    fn push(&mut self, line: &'a str) {
        if self.len == FORWARDED_LINES_MAX {
            self.lines.rotate_left(1);
            self.len -= 1;
        }
        self.lines[self.len] = line;
        self.len += 1;
    }
}

/// Why a request is not granted that is right as such.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denial {
    /// `Host` is not a name of this node.
    ForeignHost,
    /// `Origin` is that of a page that may not.
    ForeignOrigin,
    /// The node is full.
    Full,
    /// Too many come from there, or too fast.
    TooMany,
}

impl Denial {
    /// The whole response.
    pub fn response(self, path: &str) -> Vec<u8> {
        match self {
            Self::ForeignHost => FOREIGN_HOST,
            Self::ForeignOrigin => FOREIGN_ORIGIN,
            Self::Full => FULL,
            Self::TooMany => TOO_MANY,
        }
        .response(path)
    }
}

impl Accept<'_> {
    /// Appends the response: four lines, the same as goim's.
    pub fn put_response(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ",
        );
        out.extend_from_slice(&self.accept_key);
        out.extend_from_slice(b"\r\n\r\n");
    }
}

/// Judges the bytes that a client has sent since it connected. `path` is where the WebSocket is.
pub fn parse_upgrade<'a>(buf: &'a [u8], path: &str) -> Handshake<'a> {
    let head = &buf[..buf.len().min(HEAD_BYTES_MAX)];
    let mut slots = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut slots);
    let judged = match request.parse(head) {
        Ok(Status::Partial) if buf.len() < HEAD_BYTES_MAX => return Handshake::NeedMore,
        Ok(Status::Complete(consumed)) => judge(&request, consumed, path),
        Ok(Status::Partial) | Err(httparse::Error::TooManyHeaders) => Err(HEAD_TOO_BIG),
        Err(httparse::Error::Version) => Err(NOT_HTTP_1_1),
        Err(_) => Err(MALFORMED),
    };
    match judged {
        Ok(accept) => Handshake::Accept(accept),
        Err(refusal) => Handshake::Reject { status: refusal.status, response: refusal.response(path) },
    }
}

fn judge<'a>(request: &httparse::Request<'_, 'a>, consumed: usize, path: &str) -> Result<Accept<'a>, Refusal> {
    let (Some(method), Some(target), Some(version)) = (request.method, request.path, request.version) else {
        return Err(MALFORMED);
    };
    if version != 1 {
        return Err(NOT_HTTP_1_1);
    }
    if method != "GET" {
        return Err(NOT_GET);
    }
    let (target_path, query) = split_target(target);
    if target_path != path {
        return Err(NOT_HERE);
    }
    let fields = Fields::read(request.headers)?;
    if fields.client.host.is_none() {
        return Err(NO_HOST);
    }
    if !fields.upgrade_to_websocket || !fields.connection_upgrade {
        return Err(NOT_AN_UPGRADE);
    }
    if fields.version != Some("13") {
        return Err(WRONG_VERSION);
    }
    let accept_key = fields.key.and_then(accept_key_for).ok_or(BAD_KEY)?;
    Ok(Accept { consumed, accept_key, query, headers: fields.client })
}

/// The path and the query of a request's target, which may be a whole URI (RFC 9112 section 3.2.2).
fn split_target(target: &str) -> (&str, Option<&str>) {
    let scheme = ["http://", "https://"]
        .into_iter()
        .find(|scheme| target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)));
    let relative = match scheme {
        None => target,
        Some(scheme) => {
            let authority = &target[scheme.len()..];
            authority.find('/').map_or("/", |slash| &authority[slash..])
        }
    };
    match relative.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (relative, None),
    }
}

/// The headers that matter.
#[derive(Default)]
struct Fields<'a> {
    upgrade_to_websocket: bool,
    connection_upgrade: bool,
    version: Option<&'a str>,
    key: Option<&'a str>,
    client: ClientHeaders<'a>,
}

impl<'a> Fields<'a> {
    fn read(headers: &[httparse::Header<'a>]) -> Result<Self, Refusal> {
        let mut fields = Self::default();
        for header in headers {
            fields.read_one(header.name, header.value)?;
        }
        Ok(fields)
    }

    fn read_one(&mut self, name: &str, value: &'a [u8]) -> Result<(), Refusal> {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        let text = || std::str::from_utf8(value).map(str::trim).map_err(|_| MALFORMED);
        let client = &mut self.client;
        if is("upgrade") {
            self.upgrade_to_websocket |= has_token(text()?, "websocket");
        } else if is("connection") {
            self.connection_upgrade |= has_token(text()?, "upgrade");
        } else if is("sec-websocket-version") {
            set_once(&mut self.version, text()?)?;
        } else if is("sec-websocket-key") {
            set_once(&mut self.key, text()?)?;
        } else if is("host") {
            set_once(&mut client.host, text()?)?;
        } else if is("origin") {
            set_once(&mut client.origin, text()?)?;
        } else if is("user-agent") {
            // Never decides anything: not worth a refusal.
            client.user_agent = client.user_agent.or(text().ok());
        } else if is("cookie") {
            client.cookie = client.cookie.or(text().ok());
        } else if is("x-forwarded-for") {
            client.x_forwarded_for.push(text()?);
        } else if is("transfer-encoding") || (is("content-length") && text()? != "0") {
            // What a proxy takes for a body, we would take for frames.
            return Err(HAS_BODY);
        }
        Ok(())
    }
}

/// A header that must not be there twice: which of the two counts is where attacks live.
fn set_once<'a>(slot: &mut Option<&'a str>, value: &'a str) -> Result<(), Refusal> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(MALFORMED),
    }
}

fn has_token(list: &str, token: &str) -> bool {
    list.split(',').any(|item| item.trim().eq_ignore_ascii_case(token))
}

/// The answer to the client's key, or `None` if that is not base64 of 16 bytes.
fn accept_key_for(key: &str) -> Option<[u8; 28]> {
    // Trailing bits are of no account: the hash is over the characters, and some clients make up
    // those rather than the bytes.
    const ENGINE: GeneralPurpose =
        GeneralPurpose::new(&STANDARD, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));
    let mut nonce = [0; 18];
    if key.len() != 24 || ENGINE.decode_slice(key, &mut nonce) != Ok(16) {
        return None;
    }
    let mut sha1 = sha1_smol::Sha1::new();
    sha1.update(key.as_bytes());
    sha1.update(ACCEPT_GUID);
    let mut accept_key = [0; 28];
    match ENGINE.encode_slice(sha1.digest().bytes(), &mut accept_key) {
        Ok(28) => Some(accept_key),
        _ => None,
    }
}

/// Why a request is not granted.
#[derive(Debug, Clone, Copy)]
struct Refusal {
    status: u16,
    phrase: &'static str,
    /// Whole header lines that belong to the status.
    header_lines: &'static str,
    /// A sentence for the person who reads the response.
    why: &'static str,
}

impl Refusal {
    const fn new(status: u16, phrase: &'static str, why: &'static str) -> Self {
        Self { status, phrase, header_lines: "", why }
    }

    const fn with(self, header_lines: &'static str) -> Self {
        Self { header_lines, ..self }
    }

    fn response(self, path: &str) -> Vec<u8> {
        let Self { status, phrase, header_lines, why } = self;
        let body = format!(
            "{why}\n\nThis port is the WebSocket entrance of a Perseid gateway. Open a WebSocket \
             (RFC 6455, version 13)\nto the path {path} with a client library or a browser: new \
             WebSocket(\"ws://HOST:PORT{path}\").\n"
        );
        let body_bytes = body.len();
        format!(
            "HTTP/1.1 {status} {phrase}\r\n{header_lines}Content-Type: text/plain; \
             charset=utf-8\r\nContent-Length: {body_bytes}\r\nConnection: close\r\n\r\n{body}"
        )
        .into_bytes()
    }
}

const MALFORMED: Refusal =
    Refusal::new(400, "Bad Request", "The request is not well-formed HTTP/1.1. If it was meant to be TLS, use the TLS port.");
const NO_HOST: Refusal = Refusal::new(400, "Bad Request", "The request has no Host header.");
const HAS_BODY: Refusal = Refusal::new(400, "Bad Request", "A request that opens a WebSocket has no body.");
const BAD_KEY: Refusal =
    Refusal::new(400, "Bad Request", "The Sec-WebSocket-Key header must be there once and be 16 bytes in base64.");
const FOREIGN_HOST: Refusal = Refusal::new(
    403,
    "Forbidden",
    "The Host header is not a name of this node. Where clients need not prove who they are, only its \
     addresses, localhost\nand the names of comet.hosts are: an operator can add to them.",
);
const FOREIGN_ORIGIN: Refusal = Refusal::new(
    403,
    "Forbidden",
    "Pages of this Origin may not open a WebSocket here. An operator can add it to comet.origins.",
);
const FULL: Refusal = Refusal::new(503, "Service Unavailable", "This node is full. Come back later.").with("Retry-After: 10\r\n");
const TOO_MANY: Refusal =
    Refusal::new(429, "Too Many Requests", "Too many connections come from there. Come back later.").with("Retry-After: 10\r\n");
const NOT_HERE: Refusal = Refusal::new(404, "Not Found", "There is nothing at this path.");
const NOT_GET: Refusal = Refusal::new(405, "Method Not Allowed", "A WebSocket is opened with GET.").with("Allow: GET\r\n");
const NOT_AN_UPGRADE: Refusal = Refusal::new(
    426,
    "Upgrade Required",
    "The request does not ask for a WebSocket: it lacks \"Upgrade: websocket\" or \"Connection: \
     Upgrade\". A proxy in between may have dropped them.",
)
.with(UPGRADE_LINES);
const WRONG_VERSION: Refusal =
    Refusal::new(426, "Upgrade Required", "The Sec-WebSocket-Version header must be there and be 13.").with(UPGRADE_LINES);
const HEAD_TOO_BIG: Refusal = Refusal::new(
    431,
    "Request Header Fields Too Large",
    "The head of a request may have 8192 bytes and 64 headers. Large cookies are the usual cause.",
);
const NOT_HTTP_1_1: Refusal = Refusal::new(505, "HTTP Version Not Supported", "A WebSocket is opened with HTTP/1.1.");

/// A 426 must say what to upgrade to (RFC 9110 section 15.5.22).
const UPGRADE_LINES: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n";

#[cfg(test)]
mod tests;
