//! `X-Forwarded-For`: each proxy appends whom it got the request from. What stands left of the first address that is no
//! proxy of ours may be anybody's invention. Pure.

use std::net::{IpAddr, SocketAddr};

/// The client: the right-most address that is not a proxy; if all are, the left-most. `lines` are the header's, in order.
/// `None` if the right-most one makes no sense, or there is none.
pub(crate) fn client<'a>(
    lines: impl DoubleEndedIterator<Item = &'a str>,
    is_proxy: impl Fn(IpAddr) -> bool,
) -> Option<SocketAddr> {
    let mut found = None;
    for text in lines.rev().flat_map(|line| line.rsplit(',')) {
        // What makes no sense was put there by somebody behind the last proxy of ours: it is the one to name.
        let Some(addr) = address(text.trim()) else { break };
        found = Some(addr);
        if !is_proxy(addr.ip()) {
            break;
        }
    }
    found
}

/// An address, with its port or without (0).
fn address(text: &str) -> Option<SocketAddr> {
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<IpAddr>().ok();
    let alone = text.parse::<IpAddr>().ok().or_else(bracketed).map(|ip| SocketAddr::new(ip, 0));
    let addr = alone.or_else(|| text.parse().ok())?;
    Some(SocketAddr::new(addr.ip().to_canonical(), addr.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_right_most_that_is_no_proxy() {
        let is_proxy = |ip: IpAddr| ip.to_string().starts_with("10.");
        let table: [(&[&str], Option<&str>); 15] = [
            (&[], None),
            (&[""], None),
            (&["192.0.2.1"], Some("192.0.2.1:0")),
            (&["192.0.2.1:80"], Some("192.0.2.1:80")),
            (&["2001:db8::1"], Some("[2001:db8::1]:0")),
            (&["[2001:db8::1]"], Some("[2001:db8::1]:0")),
            (&["[2001:db8::1]:80"], Some("[2001:db8::1]:80")),
            (&["::ffff:10.0.0.1, 10.0.0.2"], Some("10.0.0.1:0")),
            // What the client made up stands left.
            (&["127.0.0.1, 192.0.2.1"], Some("192.0.2.1:0")),
            (&["127.0.0.1", "192.0.2.1 , 10.0.0.1"], Some("192.0.2.1:0")),
            (&["192.0.2.1", "10.0.0.2", "10.0.0.1"], Some("192.0.2.1:0")),
            (&["10.0.0.3,10.0.0.2,10.0.0.1"], Some("10.0.0.3:0")),
            (&["192.0.2.1, unknown"], None),
            (&["192.0.2.1, unknown, 10.0.0.1"], Some("10.0.0.1:0")),
            (&["192.0.2.1, ,10.0.0.1"], Some("10.0.0.1:0")),
        ];
        for (lines, expected) in table {
            let found = client(lines.iter().copied(), is_proxy);
            assert_eq!(found, expected.map(|addr| addr.parse().unwrap()), "{lines:?}");
        }
    }
}
