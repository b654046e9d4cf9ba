//! The listener, over real sockets on loopback.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use perseid_log::AppendError;
use perseid_logic::{Metrics, ServeLimits, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::fakes::{Mode, World};

struct Running {
    addr: SocketAddr,
    metrics: Arc<Metrics>,
    shutdown: CancellationToken,
    served: JoinHandle<std::io::Result<usize>>,
}

fn start(world: &World, limits: ServeLimits) -> Running {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (addr, shutdown, metrics) = (listener.local_addr().unwrap(), CancellationToken::new(), world.metrics.clone());
    let served = tokio::spawn(serve(vec![listener], world.router(), limits, metrics.clone(), shutdown.clone()));
    Running { addr, metrics, shutdown, served }
}

async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = Vec::new();
    while !text.ends_with(end.as_bytes()) {
        let mut buffer = [0; 1024];
        let read = stream.read(&mut buffer).await.unwrap();
        assert!(read > 0, "ended early: {}", String::from_utf8_lossy(&text));
        text.extend_from_slice(&buffer[..read]);
    }
    String::from_utf8(text).unwrap()
}

const PUSH: &str = "POST /goim/push/mids?operation=1000&mids=1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi";

#[tokio::test]
async fn requests_on_one_connection_and_chunks() {
    let world = World::new();
    let running = start(&world, ServeLimits::default());
    let mut client = TcpStream::connect(running.addr).await.unwrap();
    for _ in 0..3 {
        client.write_all(PUSH.as_bytes()).await.unwrap();
        let answer = read_until(&mut client, "\"message\":\"\"}").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }
    let chunked = "POST /goim/push/all?operation=1 HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    client.write_all(chunked.as_bytes()).await.unwrap();
    read_until(&mut client, "\"message\":\"\"}").await;
    assert_eq!((world.log.pushes().len(), &world.log.last().msg[..]), (4, &b"abcde"[..]));
    drop(client);
    running.shutdown.cancel();
    assert_eq!(running.served.await.unwrap().unwrap(), 0);
    assert_eq!((running.metrics.snapshot().http_connections, running.metrics.snapshot().http_open), (1, 0));
}

#[tokio::test]
async fn who_never_ends_the_headers_is_cut_off() {
    let world = World::new();
    let running = start(&world, ServeLimits { header_ms: 50, ..ServeLimits::default() });
    let mut client = TcpStream::connect(running.addr).await.unwrap();
    client.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: ").await.unwrap();
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).await.unwrap();
    assert!(!rest.starts_with(b"HTTP/1.1 200"));
    running.shutdown.cancel();
    running.served.await.unwrap().unwrap();
    assert_eq!((running.metrics.snapshot().http_timed_out, running.metrics.snapshot().http_broken), (1, 0));
}

#[tokio::test]
async fn headers_have_a_bound() {
    let world = World::new();
    let running = start(&world, ServeLimits { buffer_bytes_max: 8192, ..ServeLimits::default() });
    let mut client = TcpStream::connect(running.addr).await.unwrap();
    let _ = client.write_all(format!("GET /healthz HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(20_000)).as_bytes()).await;
    let mut buffer = [0; 64];
    let read = client.read(&mut buffer).await.unwrap_or(0);
    assert!(!buffer[..read].starts_with(b"HTTP/1.1 200"));
    running.shutdown.cancel();
    running.served.await.unwrap().unwrap();
}

#[tokio::test]
async fn more_connections_than_allowed_wait() {
    let world = World::new();
    let running = start(&world, ServeLimits { connections_max: 1, ..ServeLimits::default() });
    let mut first = TcpStream::connect(running.addr).await.unwrap();
    first.write_all(PUSH.as_bytes()).await.unwrap();
    read_until(&mut first, "\"message\":\"\"}").await;
    let mut second = TcpStream::connect(running.addr).await.unwrap();
    second.write_all(PUSH.as_bytes()).await.unwrap();
    first.write_all(PUSH.as_bytes()).await.unwrap();
    read_until(&mut first, "\"message\":\"\"}").await;
    assert_eq!(world.log.pushes().len(), 2);
    drop(first);
    read_until(&mut second, "\"message\":\"\"}").await;
    running.shutdown.cancel();
    assert_eq!(running.served.await.unwrap().unwrap(), 0);
}

#[tokio::test]
async fn the_end_waits_for_what_is_under_way() {
    let world = World::new();
    world.log.set(Mode::Hold);
    let running = start(&world, ServeLimits::default());
    let mut client = TcpStream::connect(running.addr).await.unwrap();
    client.write_all(PUSH.as_bytes()).await.unwrap();
    let mut idle = TcpStream::connect(running.addr).await.unwrap();
    while world.log.pushes().is_empty() {
        tokio::task::yield_now().await;
    }
    running.shutdown.cancel();
    assert_eq!(idle.read(&mut [0; 8]).await.unwrap(), 0, "an idle connection ends at once");
    world.log.release(&Err(AppendError::Overloaded));
    let answer = read_until(&mut client, "\"}").await;
    assert!(answer.contains("-500"), "{answer}");
    assert_eq!(running.served.await.unwrap().unwrap(), 0);
    assert!(TcpStream::connect(running.addr).await.is_err());
}

#[tokio::test]
async fn the_end_does_not_wait_for_ever() {
    let world = World::new();
    world.log.set(Mode::Hold);
    let running = start(&world, ServeLimits { shutdown_ms: 20, ..ServeLimits::default() });
    let mut client = TcpStream::connect(running.addr).await.unwrap();
    client.write_all(PUSH.as_bytes()).await.unwrap();
    while world.log.pushes().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    running.shutdown.cancel();
    assert_eq!(running.served.await.unwrap().unwrap(), 1);
}
