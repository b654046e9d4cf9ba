use super::*;

/// The example of RFC 6455 section 1.3, with what a browser adds.
const GOOD: &str = "GET /sub?token=a%20b HTTP/1.1\r\nHost: im.example:3102\r\nUser-Agent: test/1\r\n\
    Origin: http://im.example\r\nCookie: a=1; b=2\r\nX-Forwarded-For: 192.0.2.1, 192.0.2.2\r\n\
    Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n";

fn judge_text(request: &str) -> Handshake<'_> {
    parse_upgrade(request.as_bytes(), "/sub")
}

fn accepted(request: &str) -> Accept<'_> {
    match judge_text(request) {
        Handshake::Accept(accept) => accept,
        other => panic!("{request}\n{other:?}"),
    }
}

/// The status and the text of a refusal, after a check that it is a whole response.
fn refused(request: &[u8]) -> (u16, String) {
    let Handshake::Reject { status, response } = parse_upgrade(request, "/sub") else {
        panic!("{}", String::from_utf8_lossy(request));
    };
    let text = String::from_utf8(response).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
    assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())), "{head}");
    assert!(head.ends_with("\r\nConnection: close"), "{head}");
    assert!(head.contains("\r\nContent-Type: text/plain"), "{head}");
    assert!(body.contains("/sub") && body.contains("WebSocket"), "{body}");
    (status, text)
}

#[test]
fn the_example_of_the_rfc() {
    let accept = accepted(GOOD);
    assert_eq!(accept.consumed, GOOD.len());
    assert_eq!(accept.query, Some("token=a%20b"));
    let headers = ClientHeaders {
        host: Some("im.example:3102"),
        origin: Some("http://im.example"),
        user_agent: Some("test/1"),
        cookie: Some("a=1; b=2"),
        x_forwarded_for: accept.headers.x_forwarded_for,
    };
    assert_eq!(accept.headers, headers);
    assert_eq!(headers.x_forwarded_for.lines(), ["192.0.2.1, 192.0.2.2"]);
    let mut response = Vec::new();
    accept.put_response(&mut response);
    assert_eq!(
        String::from_utf8(response).unwrap(),
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
    );
}

#[test]
fn bytes_after_the_request_are_not_consumed() {
    let request = format!("{GOOD}\u{2}frames");
    assert_eq!(accepted(&request).consumed, GOOD.len());
}

#[test]
fn more_is_needed_at_every_cut() {
    for cut in 0..GOOD.len() {
        assert_eq!(judge_text(&GOOD[..cut]), Handshake::NeedMore, "cut at {cut}");
    }
}

#[test]
fn variants_that_are_granted() {
    let table = [
        ("Upgrade: websocket", "upgrade:  WebSocket "),
        ("Upgrade: websocket", "Upgrade: h2c, websocket"),
        ("Upgrade: websocket", "Upgrade: h2c\r\nUpgrade: websocket"),
        ("Connection: keep-alive, Upgrade", "connection: UPGRADE"),
        ("Connection: keep-alive, Upgrade", "Connection: keep-alive\r\nConnection: upgrade"),
        ("/sub?token=a%20b", "/sub"),
        ("/sub?token=a%20b", "/sub?"),
        ("/sub?token=a%20b", "HTTP://im.example:3102/sub?x"),
        ("Origin: http://im.example\r\n", ""),
        ("Cookie: a=1; b=2", "Content-Length: 0"),
        // Characters that no encoder would end with; clients that make up keys send them.
        ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZX=="),
    ];
    for (from, to) in table {
        assert!(GOOD.contains(from), "{from}");
        accepted(&GOOD.replace(from, to));
    }
    let lines = GOOD.replace("192.0.2.2", "192.0.2.2\r\nX-Forwarded-For: 192.0.2.3");
    assert_eq!(accepted(&lines).headers.x_forwarded_for.lines(), ["192.0.2.1, 192.0.2.2", "192.0.2.3"]);
    let many: String = (1..=20).map(|last| format!("X-Forwarded-For: 192.0.2.{last}\r\n")).collect();
    let lines = GOOD.replace("X-Forwarded-For: 192.0.2.1, 192.0.2.2\r\n", &many);
    let last: Vec<String> = (17..=20).map(|last| format!("192.0.2.{last}")).collect();
    assert_eq!(accepted(&lines).headers.x_forwarded_for.lines(), last);
}

#[test]
fn requests_that_are_refused() {
    let table = [
        ("GET ", "POST ", 405),
        ("GET ", "HEAD ", 405),
        ("/sub?", "/?", 404),
        ("/sub?", "/sub/?", 404),
        ("/sub?", "/Sub?", 404),
        ("/sub?", "/subs?", 404),
        ("/sub?token", "http://im.example?token", 404),
        ("HTTP/1.1", "HTTP/1.0", 505),
        ("HTTP/1.1", "HTTP/2.0", 505),
        ("HTTP/1.1", "HTTP:1.1", 505),
        ("GET ", "GE\tT ", 400),
        ("Host:", "Most:", 400),
        ("Host:", "Host: other\r\nHost:", 400),
        ("Host:", "Bad Header:", 400),
        ("Origin:", "Origin: http://evil.example\r\nOrigin:", 400),
        ("User-Agent:", "Content-Length: 10\r\nUser-Agent:", 400),
        ("User-Agent:", "Transfer-Encoding: chunked\r\nUser-Agent:", 400),
        ("Upgrade: websocket\r\n", "", 426),
        ("Upgrade: websocket", "Upgrade: websockets", 426),
        ("Connection: keep-alive, Upgrade\r\n", "", 426),
        ("keep-alive, Upgrade", "keep-alive", 426),
        ("Version: 13", "Version: 8", 426),
        ("Version: 13", "Version: 13, 8", 426),
        ("Sec-WebSocket-Version: 13\r\n", "", 426),
        ("Version: 13", "Version: 13\r\nSec-WebSocket-Version: 8", 400),
        ("Sec-WebSocket-Key", "X-Key", 400),
        ("dGhlIHNhbXBsZSBub25jZQ==", "", 400),
        ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25j", 400),
        ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZGVm", 400),
        ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZ===", 400),
        ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25*ZQ==", 400),
        ("Sec-WebSocket-Key:", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Key:", 400),
    ];
    for (from, to, expected) in table {
        assert!(GOOD.contains(from), "{from}");
        let (status, text) = refused(GOOD.replacen(from, to, 1).as_bytes());
        assert_eq!(status, expected, "{from:?} → {to:?}: {text}");
        match status {
            405 => assert!(text.contains("\r\nAllow: GET\r\n")),
            426 => {
                assert!(text.contains("\r\nSec-WebSocket-Version: 13\r\n"));
                assert!(text.contains("\r\nUpgrade: websocket\r\n"));
            }
            _ => {}
        }
    }
}

#[test]
fn a_browser_that_just_looks_is_told_what_this_is() {
    let (status, text) = refused(b"GET /sub HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(status, 426);
    assert!(text.contains("Perseid gateway"));
}

#[test]
fn bytes_that_are_not_http() {
    // A TLS hello, a frame of the TCP protocol, noise.
    for bytes in [&b"\x16\x03\x01\x02\x00\x01"[..], b"\x00\x00\x00\x20\x00\x10", b"\xff\xfe\xfd"] {
        assert_eq!(refused(bytes).0, 400);
    }
    let origin = GOOD.replace("http://im.example", "http://\u{7f}");
    assert_eq!(refused(origin.as_bytes()).0, 400);
    let at = GOOD.find("http://im.example").unwrap();
    let mut latin = GOOD.as_bytes().to_vec();
    latin[at] = 0xe9;
    assert_eq!(refused(&latin).0, 400, "an origin that is not UTF-8 is not passed over");
}

#[test]
fn heads_are_bounded() {
    let padded = |head_bytes: usize| {
        let padding = "p".repeat(head_bytes - GOOD.len() - "Padding: \r\n".len());
        GOOD.replacen("Host:", &format!("Padding: {padding}\r\nHost:"), 1)
    };
    assert_eq!(accepted(&padded(HEAD_BYTES_MAX)).consumed, HEAD_BYTES_MAX);
    assert_eq!(refused(padded(HEAD_BYTES_MAX + 1).as_bytes()).0, 431);

    let endless = format!("GET /sub HTTP/1.1\r\nPadding: {}", "p".repeat(2 * HEAD_BYTES_MAX));
    assert_eq!(judge_text(&endless[..HEAD_BYTES_MAX - 1]), Handshake::NeedMore);
    assert_eq!(refused(&endless.as_bytes()[..HEAD_BYTES_MAX]).0, 431);
    assert_eq!(refused(endless.as_bytes()).0, 431);

    let with_lines = |lines: usize| GOOD.replacen("Host:", &format!("{}Host:", "A: b\r\n".repeat(lines)), 1);
    let own_lines = GOOD.matches("\r\n").count() - 2;
    accepted(&with_lines(HEADERS_MAX - own_lines));
    assert_eq!(refused(with_lines(HEADERS_MAX - own_lines + 1).as_bytes()).0, 431);
}

#[test]
fn denials_are_whole_responses() {
    let table = [(Denial::ForeignHost, 403), (Denial::ForeignOrigin, 403), (Denial::Full, 503), (Denial::TooMany, 429)];
    for (denial, status) in table {
        let text = String::from_utf8(denial.response("/sub")).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
        assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())), "{head}");
        assert_eq!(head.contains("Retry-After: "), status != 403, "{head}");
    }
}
