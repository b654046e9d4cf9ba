//! Whose web pages may reach a node, and by what names. One rule for the HTTP port and the WebSocket ports.
//!
//! A browser lets any page send anywhere, and says which page it was (`Origin`) and by what name it came (`Host`). Where
//! clients need not prove who they are, a foreign page must not get in: neither from its own origin, nor by a name of its own
//! that it lets point here (DNS rebinding). Not here: what a port does with pages that it serves itself.

use core::net::{IpAddr, Ipv6Addr};

/// What is done about pages that are not named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForeignPages {
    /// What they can do depends on who their user proves to be.
    #[default]
    Allow,
    /// They are refused: nobody proves who he is.
    Refuse,
}

/// The lists of a port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pages {
    /// What is done where the lists say nothing.
    pub foreign: ForeignPages,
    /// Origins that may: `https://app.example`, `https://*.example.org`, `*`.
    pub origins: Vec<String>,
    /// Names that this node goes by, beside its addresses: `im.example`, `*.example.org`.
    pub hosts: Vec<String>,
}

impl Pages {
    /// Whether a node is called by a name of its own; `None` is a `Host` that makes no sense. Without a list any name is,
    /// unless foreign pages are refused.
    pub fn is_ours(&self, host: Option<&Place>) -> bool {
        if self.foreign == ForeignPages::Allow && self.hosts.is_empty() {
            return true;
        }
        host.is_some_and(|host| host.is_unmistakable() || self.hosts.iter().any(|known| is_known(&host.name, known)))
    }

    /// Whether the operator has named this origin.
    pub fn is_listed(&self, origin: &str) -> bool {
        let proving = self.foreign == ForeignPages::Allow;
        match Origin::parse(origin) {
            // Where nobody proves who he is, `any` is never meant.
            Some(origin) => self.origins.iter().any(|known| if known == "*" { proving } else { origin.is_known(known) }),
            // `null`: any page can have it, in a sandbox.
            None => proving && self.origins.iter().any(|known| known != "*" && known == origin),
        }
    }
}

/// A host, with a port perhaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// In lower case, without brackets and without a dot at the end.
    name: String,
    port: Option<u16>,
}

impl Place {
    /// Reads `name`, `name:port`, `[::1]:port`; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (name, port) = rest.split_once(']')?;
                name.parse::<Ipv6Addr>().ok()?;
                (name, if port.is_empty() { None } else { Some(port.strip_prefix(':')?) })
            }
            None => match text.split_once(':') {
                Some((name, port)) => (name, Some(port)),
                None => (text, None),
            },
        };
        let port = match port {
            None | Some("") => None,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => Some(digits.parse().ok()?),
            Some(_) => return None,
        };
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let clean = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
        (!name.is_empty() && name.bytes().all(clean)).then_some(Self { name, port })
    }

    /// Host without port, in lower case, without brackets.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// This machine, by address or by name: browsers look up `localhost` and what is below it nowhere.
    pub fn is_loopback(&self) -> bool {
        let address = self.name.parse::<IpAddr>();
        self.is_localhost() || address.is_ok_and(|ip| ip.to_canonical().is_loopback())
    }

    /// A name without a domain, as in a network of containers. Who rules the network says what it points to.
    pub fn is_dotless(&self) -> bool {
        !self.name.contains(['.', ':'])
    }

    /// Nobody can let it point elsewhere: an address, or this machine's name.
    fn is_unmistakable(&self) -> bool {
        self.is_localhost() || self.name.parse::<IpAddr>().is_ok()
    }

    fn is_localhost(&self) -> bool {
        self.name == "localhost" || self.name.ends_with(".localhost")
    }

    fn port_in(&self, scheme: &str) -> Option<u16> {
        let default = [("https", 443), ("http", 80)].into_iter().find(|(name, _)| scheme.eq_ignore_ascii_case(name));
        self.port.or(default.map(|(_, port)| port))
    }
}

/// Where a page comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin<'a> {
    scheme: &'a str,
    place: Place,
}

impl<'a> Origin<'a> {
    /// Reads `https://app.example:8443`; `None` for `null`, and for what is no origin.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        Some(Self { scheme, place: Place::parse(authority)? })
    }

    /// Its host and port.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Whether it is a page that `host` itself serves. TLS may end in front of it, so both schemes are.
    pub fn is_served_by(&self, host: &Place) -> bool {
        let web = ["http", "https"].iter().any(|scheme| self.scheme.eq_ignore_ascii_case(scheme));
        web && self.place.name == host.name && self.place.port_in(self.scheme) == host.port_in(self.scheme)
    }

    /// Whether it is the one of a list, or one of those below `https://*.example.org`.
    fn is_known(&self, known: &str) -> bool {
        let Some((scheme, authority)) = known.split_once("://") else { return false };
        let (star, rest) = authority.strip_prefix('*').map_or(("", authority), |rest| ("*", rest));
        let Some(known) = Place::parse(rest) else { return false };
        self.scheme.eq_ignore_ascii_case(scheme)
            && self.place.port_in(scheme) == known.port_in(scheme)
            && is_known(&self.place.name, &format!("{star}{}", known.name))
    }
}

/// Whether a name is the one of a list: itself, or for `*.example.org` one below it.
fn is_known(name: &str, known: &str) -> bool {
    let known = known.strip_suffix('.').unwrap_or(known);
    match known.strip_prefix('*') {
        Some(below) if below.starts_with('.') => {
            let at = name.len().checked_sub(below.len()).filter(|at| *at > 0);
            let end = at.and_then(|at| name.as_bytes().get(at..));
            end.is_some_and(|end| end.eq_ignore_ascii_case(below.as_bytes()))
        }
        _ => name.eq_ignore_ascii_case(known),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pages(foreign: ForeignPages, origins: &[&str], hosts: &[&str]) -> Pages {
        let texts = |list: &[&str]| list.iter().map(ToString::to_string).collect();
        Pages { foreign, origins: texts(origins), hosts: texts(hosts) }
    }

    #[test]
    fn names() {
        let open = pages(ForeignPages::Refuse, &[], &["im.example", "*.In.example", "dot.example."]);
        let named = Pages { foreign: ForeignPages::Allow, ..open.clone() };
        for (host, expected) in [
            ("127.0.0.1:3102", true),
            ("127.0.0.1.", true),
            ("[::1]:3102", true),
            ("[2001:db8::1]", true),
            ("LOCALHOST.", true),
            ("a.localhost:1", true),
            ("IM.Example.", true),
            ("im.example:3102", true),
            ("a.b.in.example", true),
            ("dot.example", true),
            ("in.example", false),
            (".in.example", false),
            ("*.in.example", false),
            ("evilin.example", false),
            ("x.im.example", false),
            ("im.example.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("localhost.evil.example", false),
            ("evillocalhost", false),
            ("laptop", false),
            ("0x7f000001", false),
            ("2130706433", false),
            ("user@localhost", false),
            ("localhost:80:80", false),
            ("localhost:x", false),
            ("localhost:99999", false),
            ("localhost/x", false),
            ("::1", false),
            ("[::1", false),
            ("[evil.example]", false),
            ("", false),
            (":80", false),
            (".", false),
        ] {
            let place = Place::parse(host);
            assert_eq!((open.is_ours(place.as_ref()), named.is_ours(place.as_ref())), (expected, expected), "{host}");
            assert!(pages(ForeignPages::Allow, &[], &[]).is_ours(place.as_ref()), "{host}: any name is");
        }
    }

    #[test]
    fn origins() {
        let list = ["https://app.example", "https://*.apps.example:8443", "http://[2001:db8::1]", "capacitor://localhost"];
        let some = pages(ForeignPages::Refuse, &list, &[]);
        let star = pages(ForeignPages::Allow, &["*"], &[]);
        let null = pages(ForeignPages::Allow, &["null"], &[]);
        for (origin, in_some, in_star) in [
            ("https://app.example", true, true),
            ("HTTPS://App.Example:443", true, true),
            ("https://app.example.", true, true),
            ("http://app.example", false, true),
            ("https://app.example:444", false, true),
            ("https://app.example.evil.example", false, true),
            ("https://a.apps.example:8443", true, true),
            ("https://a.b.apps.example:8443", true, true),
            ("https://a.apps.example", false, true),
            ("https://apps.example:8443", false, true),
            ("https://evilapps.example:8443", false, true),
            ("http://[2001:db8::1]:80", true, true),
            ("capacitor://localhost", true, true),
            ("chrome-extension://abc", false, true),
            ("http://localhost@evil.example", false, false),
            ("https://app.example/", false, false),
            ("https://app.example https://app.example", false, false),
            ("null", false, false),
            ("file://", false, false),
            ("*", false, false),
            ("", false, false),
        ] {
            assert_eq!((some.is_listed(origin), star.is_listed(origin)), (in_some, in_star), "{origin}");
            assert_eq!(null.is_listed(origin), origin == "null", "{origin}");
        }
        // Where nobody proves who he is, neither counts.
        let open = pages(ForeignPages::Refuse, &["*", "null", "https://*"], &[]);
        assert!(!["https://evil.example", "null", "*"].iter().any(|origin| open.is_listed(origin)));
    }

    #[test]
    fn pages_that_a_host_serves() {
        for (origin, host, expected) in [
            ("http://127.0.0.1:3111", "127.0.0.1:3111", true),
            ("https://127.0.0.1:3111", "127.0.0.1:3111", true),
            ("https://im.example", "IM.example:443", true),
            ("https://im.example:443", "im.example", true),
            ("https://im.example:80", "im.example", false),
            ("http://im.example", "im.example:443", false),
            ("http://localhost:3111", "127.0.0.1:3111", false),
            ("capacitor://im.example", "im.example", false),
        ] {
            let (origin_read, place) = (Origin::parse(origin).unwrap(), Place::parse(host).unwrap());
            assert_eq!(origin_read.is_served_by(&place), expected, "{origin} {host}");
        }
    }

    proptest! {
        #[test]
        fn anything_may_be_sent_and_listed(text in "\\PC{0,30}", known in "\\PC{0,30}") {
            let rule = pages(ForeignPages::Refuse, &[&known, "*", "https://*.a"], &[&known, "*", "*.a"]);
            let place = Place::parse(&text);
            prop_assert!(!rule.is_listed(&text) || text.contains("://"));
            prop_assert!(!rule.is_ours(place.as_ref()) || place.is_some());
        }
    }
}
