//! Calls over real sockets: servers that are well, and every way of not being so.

#![allow(clippy::unwrap_used)]

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use perseid_outbound::{Client, ClientConfig, Fault, Found, Lookup, Method, OutboundError, Request, TargetPolicy};

/// A server that does `answer` with each connection, on a thread of its own; counts connections.
struct Server {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Server {
    fn start(answer: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let (answer, counter) = (Arc::new(answer), connections.clone());
        thread::spawn(move || {
            for stream in listener.incoming() {
                counter.fetch_add(1, Ordering::SeqCst);
                let (stream, answer) = (stream.unwrap(), answer.clone());
                thread::spawn(move || answer(stream));
            }
        });
        Self { address, connections }
    }

    /// Reads each request, and writes `response` after it.
    fn saying(response: impl Into<Vec<u8>>) -> Self {
        let response = response.into();
        Self::start(move |mut stream| while read_request(&mut stream).is_some() && stream.write_all(&response).is_ok() {})
    }

    fn url(&self) -> String {
        format!("http://{}/hook?x=1", self.address)
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// Head and body of a request; `None` when the client has gone.
fn read_request(stream: &mut impl Read) -> Option<String> {
    let mut text = Vec::new();
    let mut byte = [0];
    while !text.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        text.push(byte[0]);
    }
    let head = String::from_utf8(text).unwrap();
    let length = head.to_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).ok()?;
    Some(head + &String::from_utf8(body).unwrap())
}

fn config() -> ClientConfig {
    ClientConfig {
        deadline_ms: 20_000,
        targets: TargetPolicy::new(["127.0.0.0/8".parse().unwrap()]),
        response_bytes_max: 1_000,
        ..ClientConfig::default()
    }
}

fn client() -> Client {
    Client::new(config()).unwrap()
}

fn get(url: impl Into<String>) -> Request {
    Request { method: Method::Get, url: url.into(), headers: vec![], body: bytes::Bytes::new(), wanted: &["location", "etag"] }
}

/// Resolves every name to the next of these addresses, and to the last for ever.
struct Names {
    addresses: Vec<IpAddr>,
    asked: AtomicUsize,
}

impl Names {
    fn new(addresses: &[&str]) -> Arc<Self> {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        Arc::new(Self { addresses, asked: AtomicUsize::new(0) })
    }
}

impl Lookup for Names {
    fn lookup(&self, _: &str) -> Found {
        let index = self.asked.fetch_add(1, Ordering::SeqCst).min(self.addresses.len() - 1);
        let address = self.addresses[index];
        Box::pin(async move { Ok(vec![address]) })
    }
}

#[tokio::test]
async fn sends_what_it_was_given_and_gives_what_came() {
    let server = Server::start(|mut stream| {
        let request = read_request(&mut stream).unwrap();
        let expected = request.starts_with("POST /hook?x=1 HTTP/1.1\r\n")
            && request.contains("perseid-signature: t=1\r\n")
            && request.contains("user-agent: perseid/")
            && request.ends_with("\r\n\r\n{\"a\":1}");
        let (status, body) = if expected { ("201 Created", "as expected") } else { ("400 Bad Request", request.as_str()) };
        let head = format!("HTTP/1.1 {status}\r\nETag: \"7\"\r\nRetry-After: 3\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all((head + body).as_bytes()).unwrap();
    });
    let headers = vec![("perseid-signature", "t=1".to_owned())];
    let request = Request { method: Method::Post, headers, body: "{\"a\":1}".into(), ..get(server.url()) };
    let answer = client().send(request).await.unwrap();
    assert_eq!((answer.status, answer.body().unwrap().as_ref()), (201, b"as expected".as_ref()));
    assert_eq!((answer.header("etag"), answer.header("location"), answer.retry_after_ms), (Some("\"7\""), None, Some(3_000)));
    assert!(answer.is_success());
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let other = Server::saying("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    let metadata = "http://169.254.169.254/latest/meta-data".to_owned();
    for (status, location) in [(301, other.url()), (302, metadata), (307, "/again".to_owned()), (308, other.url())] {
        let server = Server::saying(format!("HTTP/1.1 {status} Moved\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n"));
        let answer = client().send(get(server.url())).await.unwrap();
        assert_eq!((answer.status, answer.header("location")), (status, Some(location.as_str())));
        assert_eq!(server.connections(), 1);
    }
    assert_eq!(other.connections(), 0);
}

#[tokio::test]
async fn a_refused_target_is_never_connected_to() {
    let server = Server::saying("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    let port = server.address.port();
    let strict = Client::new(ClientConfig { targets: TargetPolicy::default(), ..config() }).unwrap();
    for host in ["127.0.0.1", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]", "[::1]"] {
        for scheme in ["http", "https"] {
            let error = strict.send(get(format!("{scheme}://{host}:{port}/"))).await.unwrap_err();
            assert!(matches!(error, OutboundError::Refused { .. }), "{scheme}://{host}: {error}");
            assert_eq!((error.fault(), error.reason()), (Fault::Ours, "refused_target"));
        }
    }
    // A name is judged by its address.
    let error = strict.send(get(format!("https://localhost:{port}/"))).await.unwrap_err();
    assert!(matches!(error, OutboundError::Refused { .. }), "{error}");
    assert_eq!(server.connections(), 0);
    assert_eq!(client().send(get(server.url())).await.unwrap().status, 200, "and named it is open");
}

#[tokio::test]
async fn a_name_that_moves_after_it_was_checked_gains_nothing() {
    let server = Server::start(|mut stream| {
        read_request(&mut stream);
        // No keep-alive: the next call connects again.
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    });
    let url = format!("http://rebinding.example:{}/", server.address.port());
    let names = Names::new(&["127.0.0.1", "10.0.0.1", "127.0.0.1", "169.254.169.254"]);
    let client = Client::with_lookup(config(), names.clone()).unwrap();
    for _ in 0..2 {
        assert_eq!(client.send(get(&url)).await.unwrap().status, 200);
        let error = client.send(get(&url)).await.unwrap_err();
        assert!(matches!(error, OutboundError::Refused { .. }), "{error}");
    }
    // Each connection went to the address of one lookup: there is no second one between check and connection.
    assert_eq!((names.asked.load(Ordering::SeqCst), server.connections()), (4, 2));
}

#[tokio::test]
async fn a_public_name_is_not_called_over_http() {
    let names = Names::new(&["8.8.8.8"]);
    let client = Client::with_lookup(config(), names).unwrap();
    let error = client.send(get("http://public.example/")).await.unwrap_err();
    assert!(matches!(&error, OutboundError::Refused { why, .. } if why.contains("https")), "{error}");
}

#[tokio::test]
async fn an_answer_is_read_up_to_the_bound_and_no_further() {
    let written = Arc::new(AtomicUsize::new(0));
    let counter = written.clone();
    let server = Server::start(move |mut stream| {
        read_request(&mut stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 104857600\r\n\r\n").unwrap();
        while let Ok(bytes) = stream.write(&[b'x'; 64 << 10]) {
            counter.fetch_add(bytes, Ordering::SeqCst);
        }
    });
    let answer = client().send(get(server.url())).await.unwrap();
    assert_eq!((answer.status, answer.body_start().len()), (200, 1_000));
    assert_eq!(answer.body(), Err(OutboundError::TooLarge { bytes_max: 1_000 }));
    // The connection is dropped: what the sockets' buffers took is all that could be written of the 100 MiB.
    let mut before = usize::MAX;
    while before != written.load(Ordering::SeqCst) {
        before = written.load(Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(before < 50 << 20, "{before} bytes were taken");
}

#[tokio::test]
async fn a_body_as_long_as_the_bound_is_whole() {
    for (length, whole) in [(0, true), (1_000, true), (1_001, false)] {
        let server = Server::saying(format!("HTTP/1.1 500 No\r\ncontent-length: {length}\r\n\r\n{}", "x".repeat(length)));
        let answer = client().send(get(server.url())).await.unwrap();
        assert_eq!((answer.status, answer.is_success(), answer.body().is_ok()), (500, false, whole), "{length}");
    }
}

#[tokio::test]
async fn whoever_hangs_is_left_at_the_deadline() {
    let config = ClientConfig { deadline_ms: 200, ..config() };
    let client = Client::new(config).unwrap();
    let silent = Server::start(|mut stream| {
        let _ = io::copy(&mut stream, &mut io::sink());
    });
    let half = Server::start(|mut stream| {
        read_request(&mut stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").unwrap();
        let _ = io::copy(&mut stream, &mut io::sink());
    });
    for server in [silent, half] {
        let error = client.send(get(server.url())).await.unwrap_err();
        assert_eq!(error, OutboundError::Deadline { deadline_ms: 200 });
        assert!(error.retry() && error.fault() == Fault::Theirs);
    }
}

#[tokio::test]
async fn a_server_that_is_down_or_speaks_no_http() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = client().send(get(format!("http://{gone}/?secret=1"))).await.unwrap_err();
    assert!(matches!(error, OutboundError::Connect(_)) && error.retry(), "{error:?}");
    assert!(!error.to_string().contains("secret"), "{error}");

    for nonsense in ["", "SSH-2.0-OpenSSH_9.6\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf"] {
        let server = Server::start(move |mut stream| {
            read_request(&mut stream);
            stream.write_all(nonsense.as_bytes()).unwrap();
        });
        let error = client().send(get(server.url())).await.unwrap_err();
        assert!(matches!(error, OutboundError::Broken(_)) && error.retry(), "{nonsense:?}: {error:?}");
    }
}

#[tokio::test]
async fn no_more_calls_at_once_than_allowed() {
    let config = ClientConfig { deadline_ms: 300, concurrency_max: 2, ..config() };
    let client = Client::new(config).unwrap();
    let silent = Server::start(|mut stream| {
        let _ = io::copy(&mut stream, &mut io::sink());
    });
    let call = |_| {
        let (client, url) = (client.clone(), silent.url());
        tokio::spawn(async move { client.send(get(url)).await })
    };
    let mut reasons = Vec::new();
    for call in (0..3).map(call).collect::<Vec<_>>() {
        reasons.push(call.await.unwrap().unwrap_err().reason());
    }
    reasons.sort_unstable();
    // The third may get its turn as the first ones end, and has no time left then.
    assert!(reasons == ["busy", "deadline", "deadline"] || reasons == ["deadline"; 3], "{reasons:?}");
}

#[tokio::test]
async fn what_can_not_be_sent_is_the_callers_fault() {
    for (url, name, value) in [
        ("nonsense", "a", "b"),
        ("http://127.0.0.1:1/", "a b", "c"),
        ("http://127.0.0.1:1/", "a", "b\r\nhost: c"),
        ("ftp://127.0.0.1/", "a", "b"),
    ] {
        let error = client().send(Request { headers: vec![(name, value.to_owned())], ..get(url) }).await.unwrap_err();
        assert!(matches!(error, OutboundError::BadRequest(_)), "{error:?}");
        assert!(error.fault() == Fault::Ours && !error.retry());
    }
}

/// A TLS server with a certificate of its own making, and the file to trust it by.
fn tls_server(folder: &Path) -> (Server, std::path::PathBuf) {
    let made = rcgen::generate_simple_self_signed(["hooks.example".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let ca_file = folder.join("ca.pem");
    std::fs::write(&ca_file, made.cert.pem()).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder().with_no_client_auth();
    let config = Arc::new(config.with_single_cert(vec![made.cert.der().clone()], key).unwrap());
    let server = Server::start(move |stream| {
        let connection = rustls::ServerConnection::new(config.clone()).unwrap();
        let mut stream = rustls::StreamOwned::new(connection, stream);
        if read_request(&mut stream).is_some() {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        }
    });
    (server, ca_file)
}

#[tokio::test]
async fn tls_is_checked_and_further_roots_can_be_named() {
    let folder = tempfile::tempdir().unwrap();
    let (server, ca_file) = tls_server(folder.path());
    let port = server.address.port();
    let trusting = ClientConfig { ca_file: Some(ca_file), ..config() };
    let trusting = Client::with_lookup(trusting, Names::new(&["127.0.0.1"])).unwrap();
    for host in ["127.0.0.1", "hooks.example"] {
        assert_eq!(trusting.send(get(format!("https://{host}:{port}/"))).await.unwrap().body().unwrap().as_ref(), b"ok");
    }
    for (client, host) in [(&client(), "127.0.0.1"), (&trusting, "other.example")] {
        let error = client.send(get(format!("https://{host}:{port}/"))).await.unwrap_err();
        assert!(matches!(error, OutboundError::Connect(_)), "{host}: {error:?}");
    }
}

#[test]
fn a_ca_file_has_to_hold_certificates() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    let refused = |path: &Path| match Client::new(ClientConfig { ca_file: Some(path.to_owned()), ..config() }) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("{} was taken", path.display()),
    };
    assert!(refused(&path).contains("ca.pem"));
    for text in ["", "nonsense", "-----BEGIN CERTIFICATE-----\nbm9uc2Vuc2U=\n-----END CERTIFICATE-----\n"] {
        std::fs::write(&path, text).unwrap();
        assert!(refused(&path).contains("ca.pem"), "{text}");
    }
}
