use super::*;

fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let len = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family][..], &len, rest].concat()
}

fn inet(source: [u8; 4], source_port: u16) -> Vec<u8> {
    [&source[..], &[10, 0, 0, 1], &source_port.to_be_bytes(), &443u16.to_be_bytes()].concat()
}

fn inet6(source: &str, source_port: u16) -> Vec<u8> {
    let source: Ipv6Addr = source.parse().unwrap();
    let target = Ipv6Addr::LOCALHOST.octets();
    [&source.octets()[..], &target, &source_port.to_be_bytes(), &443u16.to_be_bytes()].concat()
}

/// Whole headers, and whom they name.
fn whole() -> Vec<(Vec<u8>, Option<&'static str>)> {
    let line = |text: &str| text.as_bytes().to_vec();
    let longest = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    vec![
        (line("PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n"), Some("192.0.2.1:56324")),
        (line("PROXY TCP6 2001:db8::1 ::1 1 65535\r\n"), Some("[2001:db8::1]:1")),
        (line("PROXY TCP6 ::ffff:192.0.2.1 ::1 0 1\r\n"), Some("192.0.2.1:0")),
        (line("PROXY UNKNOWN\r\n"), None),
        (line(&format!("PROXY UNKNOWN {longest} {longest} 65535 65535\r\n")), None),
        (v2(0x21, 0x11, &inet([192, 0, 2, 1], 56324)), Some("192.0.2.1:56324")),
        (v2(0x21, 0x11, &[inet([192, 0, 2, 1], 7), vec![4, 0, 1, 9]].concat()), Some("192.0.2.1:7")),
        (v2(0x21, 0x11, &[inet([192, 0, 2, 1], 7), vec![0; HEADER_BYTES_MAX - 28]].concat()), Some("192.0.2.1:7")),
        (v2(0x21, 0x21, &inet6("2001:db8::1", 9)), Some("[2001:db8::1]:9")),
        (v2(0x21, 0x21, &inet6("::ffff:192.0.2.1", 9)), Some("192.0.2.1:9")),
        (v2(0x21, 0x00, &[]), None),
        (v2(0x21, 0x31, &[0; 216]), None),
        (v2(0x20, 0x00, &[]), None),
        (v2(0x20, 0x11, &inet([192, 0, 2, 1], 1)), None),
        (v2(0x20, 0xff, &[1]), None),
    ]
}

#[test]
fn whole_headers_with_something_behind_them() {
    for (header, client) in whole() {
        for behind in [&b""[..], b"x", b"\r\n", b"PROXY TCP4 192.0.2.9 192.0.2.2 1 2\r\n"] {
            let parsed = parse(&[&header, behind].concat());
            let client = client.map(|client| client.parse().unwrap());
            assert_eq!(parsed, Header::Whole { consumed: header.len(), client }, "{}", String::from_utf8_lossy(&header));
        }
    }
}

#[test]
fn cut_anywhere_more_is_needed() {
    for (header, _) in whole() {
        for cut in 0..header.len() {
            assert_eq!(parse(&header[..cut]), Header::NeedMore, "{cut} of {header:?}");
        }
    }
}

#[test]
fn what_breaks_a_rule() {
    let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(100));
    let lines = [
        "GET /sub HTTP/1.1\r\n",
        "proxy TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP5 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP4 2001:db8::1 ::1 1 2\r\n",
        "PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
        "PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 65536 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 \r\n",
        "PROXY TCP4 192.0.2.1 somewhere 1 2\r\n",
        "PROXY TCP4 192.0.2.01 192.0.2.2 1 2\r\n",
        "PROXY \r\n",
        "PROXY TCP4 \u{e9} 192.0.2.2 1 2\r\n",
        &long,
    ];
    for line in lines {
        assert_eq!(parse(line.as_bytes()), Header::Bad, "{line}");
    }
    let address = inet([192, 0, 2, 1], 1);
    let blocks = [
        v2(0x22, 0x11, &address),
        v2(0x11, 0x11, &address),
        v2(0x31, 0x11, &address),
        v2(0x21, 0x12, &address),
        v2(0x21, 0x41, &address),
        v2(0x21, 0x11, &address[..11]),
        v2(0x21, 0x21, &inet6("::1", 1)[..35]),
        v2(0x21, 0x21, &address),
        v2(0x21, 0x11, &[0; HEADER_BYTES_MAX - 15]),
    ];
    for block in blocks {
        assert_eq!(parse(&block), Header::Bad, "{block:?}");
    }
    // Seen as early as can be: nothing is waited for that can't come any more.
    assert_eq!(parse(b"\0"), Header::Bad);
    assert_eq!(parse(b"PROXZ"), Header::Bad);
    assert_eq!(parse(&[&SIGNATURE[..], &[0x41]].concat()), Header::Bad);
    assert_eq!(parse(&[&SIGNATURE[..], &[0x21, 0x11, 0xff, 0xff]].concat()), Header::Bad);
}
