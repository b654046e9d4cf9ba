//! The configurations for nginx and HAProxy in `deploy/`, run as they are but for ports and paths: sessions get through, and the
//! client's own address with them. They need both programs, so they run only when asked for: `cargo test --test proxies -- --ignored`.

#![allow(clippy::unwrap_used)]

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::json;
use socket2::{Domain, Socket, Type};
use support::tls::{Authority, SecureClient};
use support::{PATIENCE, Server, frame, until};

/// Where clients come from in these tests; the proxies themselves connect from 127.0.0.1.
const CLIENT: &str = "127.0.0.9";

/// A proxy, ended with the test.
struct Proxy(Child);

impl Proxy {
    fn start(program: &str, args: &[&str], ports: &[u16]) -> Self {
        let mut child = Command::new(program).args(args).stdin(Stdio::null()).spawn().unwrap_or_else(|error| {
            panic!("{program} is needed for this test (Debian: apt-get install nginx-light haproxy): {error}")
        });
        until("the proxy to listen", || {
            assert!(child.try_wait().unwrap().is_none(), "{program} ended");
            ports.iter().all(|port| TcpStream::connect(("127.0.0.1", *port)).is_ok()).then_some(())
        });
        Self(child)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // nginx's master ends its workers when it is told to; a kill would leave them behind.
        let _ = Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status();
        let _ = self.0.wait();
    }
}

/// A file of `deploy/` with these replacements, each of which must be needed.
fn adapted(file: &str, replacements: &[(&str, String)], to: &Path) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(file);
    let mut text = std::fs::read_to_string(path).unwrap();
    for (from, with) in replacements {
        assert!(text.contains(from), "{file} no longer has {from:?}");
        text = text.replace(from, with);
    }
    std::fs::write(to, text).unwrap();
}

/// Ports that are free now.
fn free_ports<const N: usize>() -> [u16; N] {
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

fn connect_from_client(port: u16) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&format!("{CLIENT}:0").parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.connect(&SocketAddr::from(([127, 0, 0, 1], port)).into()).unwrap();
    let stream: TcpStream = socket.into();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// The address of user 7's only session, as the API tells it.
fn address_of_7(server: &Server) -> String {
    let answer = server.http().get("/v1/users/7").json();
    answer["sessions"][0]["address"].as_str().unwrap_or_default().to_owned()
}

#[test]
#[ignore = "needs nginx"]
fn nginx_ends_tls_and_says_who_the_client_is() {
    let server = Server::start(&[
        "--set",
        "comet.proxies=127.0.0.1",
        "--set",
        "logic.hosts=api.example.com",
        "--set",
        "comet.hosts=im.example.com",
    ]);
    let authority = Authority::new();
    authority.issue("nginx", &["im.example.com", "api.example.com"]);
    let dir = tempfile::TempDir::new().unwrap();
    let [wss, api] = free_ports();
    let config = dir.path().join("nginx.conf");
    let path = |name: &str| authority.path(name).display().to_string();
    adapted(
        "nginx/perseid.conf",
        &[
            ("listen 443 ssl", format!("listen 127.0.0.1:{wss} ssl")),
            ("listen 8443 ssl", format!("listen 127.0.0.1:{api} ssl")),
            ("127.0.0.1:3102", server.ws.to_string()),
            ("127.0.0.1:3111", server.http.to_string()),
            ("/etc/ssl/perseid/fullchain.pem", path("nginx.crt")),
            ("/etc/ssl/perseid/key.pem", path("nginx.key")),
            ("/run/nginx.pid", dir.path().join("pid").display().to_string()),
            ("worker_rlimit_nofile 200000;", String::new()),
            ("worker_connections 90000;", "worker_connections 512;".to_owned()),
        ],
        &config,
    );
    let (prefix, file) = (dir.path().display().to_string(), config.display().to_string());
    let _proxy = Proxy::start("nginx", &["-p", &prefix, "-c", &file, "-g", "daemon off; error_log stderr;"], &[wss, api]);

    let mut client = SecureClient::over(connect_from_client(wss), true, &authority.client_config(), "im.example.com");
    client.authenticate(&json!({ "mid": 7, "accepts": [1000] }));
    assert!(address_of_7(&server).starts_with(CLIENT), "{}", address_of_7(&server));

    // A push through nginx, too.
    let mut caller = SecureClient::over(connect_from_client(api), false, &authority.client_config(), "api.example.com");
    let body = r#"{"to":{"mids":[7]},"op":1000,"body":"through nginx"}"#;
    let head = format!("POST /v1/messages HTTP/1.1\r\nHost: api.example.com\r\nContent-Length: {}\r\n\r\n", body.len());
    caller.stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
    let mut answer = [0; 4096];
    let count = caller.stream.read(&mut answer).unwrap();
    assert!(String::from_utf8_lossy(&answer[..count]).starts_with("HTTP/1.1 200 "));
    assert_eq!(client.next().body, b"through nginx");
}

#[test]
#[ignore = "needs HAProxy"]
fn haproxy_passes_on_and_says_who_the_client_is() {
    let server = Server::start(&["--set", "comet.proxies=127.0.0.1", "--set", "comet.proxy_protocol=tcp,ws"]);
    let dir = tempfile::TempDir::new().unwrap();
    let [tcp, ws] = free_ports();
    let config = dir.path().join("haproxy.cfg");
    adapted(
        "haproxy/perseid.cfg",
        &[
            ("bind :3101", format!("bind 127.0.0.1:{tcp}")),
            ("bind :3102", format!("bind 127.0.0.1:{ws}")),
            ("127.0.0.1:3201", server.tcp.to_string()),
            ("127.0.0.1:3202", server.ws.to_string()),
            ("port 3111", format!("port {}", server.http.port())),
            ("maxconn 90000", "maxconn 256".to_owned()),
        ],
        &config,
    );
    let _proxy = Proxy::start("haproxy", &["-db", "-f", &config.display().to_string()], &[tcp, ws]);

    let mut client = connect_from_client(tcp);
    client.write_all(&frame::classic(1, frame::AUTH, 1, br#"{"mid":7,"accepts":[1000]}"#)).unwrap();
    let mut reply = [0; 16];
    client.read_exact(&mut reply).unwrap();
    assert_eq!(i32::from_be_bytes(reply[8..12].try_into().unwrap()), frame::AUTH_REPLY);
    assert!(address_of_7(&server).starts_with(CLIENT), "{}", address_of_7(&server));

    // Who does not come through the proxy, but past it, says nothing of himself and is not let in.
    let mut past = TcpStream::connect(server.tcp).unwrap();
    past.set_read_timeout(Some(PATIENCE)).unwrap();
    past.write_all(&frame::classic(1, frame::AUTH, 1, br#"{"mid":8}"#)).unwrap();
    assert!(!matches!(past.read(&mut reply), Ok(1..)), "let in without a header");
}
