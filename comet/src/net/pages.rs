//! Whose web pages may open a WebSocket here. A browser lets any page do so, and says which page it was (`Origin`) and by
//! what name it came (`Host`). Where clients need not prove who they are, a foreign page must not get in: neither from its
//! own origin, nor by a name of its own that it lets point here (DNS rebinding). Clients that are no browsers send no `Origin`.
//! Pure.

use std::net::IpAddr;

/// What is done about pages that are not named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForeignPages {
    /// They are let in: what they can do depends on who their user proves to be.
    #[default]
    Allow,
    /// They are refused: only this node's own names, and pages of this machine.
    Refuse,
}

/// The rule of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pages {
    /// What is done where the lists say nothing.
    pub foreign: ForeignPages,
    /// Origins that may: `https://app.example`, `https://*.example.org`, `*`.
    pub origins: Vec<String>,
    /// Names that this node goes by, beside its addresses: `im.example`, `*.example.org`.
    pub hosts: Vec<String>,
}

/// Why a page may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Foreign {
    /// It came by a name that is not ours.
    Host,
    /// It is not one of those that may.
    Origin,
}

impl Pages {
    /// Judges an upgrade by its `Host` and `Origin`.
    pub(crate) fn judge(&self, host: &str, origin: Option<&str>) -> Result<(), Foreign> {
        let name = Place::parse(host).map(|place| place.name);
        if self.foreign == ForeignPages::Refuse || !self.hosts.is_empty() {
            let ours = name.as_deref().is_some_and(|name| is_local(name) || self.is_listed_host(name));
            if !ours {
                return Err(Foreign::Host);
            }
        }
        let Some(origin) = origin else { return Ok(()) };
        let allowed = match self.foreign {
            ForeignPages::Allow => self.origins.is_empty() || self.is_listed_origin(origin),
            ForeignPages::Refuse => self.is_listed_origin(origin) || is_own_page(origin, name.as_deref()),
        };
        if allowed { Ok(()) } else { Err(Foreign::Origin) }
    }

    fn is_listed_host(&self, name: &str) -> bool {
        self.hosts.iter().any(|known| is_below(name, &known.to_ascii_lowercase()))
    }

    fn is_listed_origin(&self, origin: &str) -> bool {
        let parsed = split_origin(origin);
        self.origins.iter().any(|known| {
            if known == "*" {
                // Where nobody proves who he is, `any` is never meant.
                return self.foreign == ForeignPages::Allow;
            }
            let (Some((scheme, place)), Some((known_scheme, known))) = (&parsed, split_origin(known)) else { return false };
            let same_scheme = scheme.eq_ignore_ascii_case(known_scheme);
            same_scheme && place.port(scheme) == known.port(known_scheme) && is_below(&place.name, &known.name)
        })
    }
}

/// A page of this machine, or one that came from the name under which this node was reached; ports do not count, because
/// the page may come from the HTTP port.
fn is_own_page(origin: &str, host: Option<&str>) -> bool {
    let Some((_, place)) = split_origin(origin) else { return false };
    is_loopback(&place.name) || host == Some(&place.name)
}

/// A host, with a port perhaps.
struct Place {
    /// In lower case, without brackets and without a dot at the end.
    name: String,
    port: Option<u16>,
}

impl Place {
    fn parse(text: &str) -> Option<Self> {
        let (name, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (name, port) = rest.split_once(']')?;
                name.parse::<std::net::Ipv6Addr>().ok()?;
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
        let clean = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:*".contains(&byte);
        (!name.is_empty() && name.bytes().all(clean)).then_some(Self { name, port })
    }

    fn port(&self, scheme: &str) -> Option<u16> {
        let default = if scheme.eq_ignore_ascii_case("https") {
            Some(443)
        } else if scheme.eq_ignore_ascii_case("http") {
            Some(80)
        } else {
            None
        };
        self.port.or(default)
    }
}

/// Scheme and place; `None` for `null` and for what is no origin.
fn split_origin(origin: &str) -> Option<(&str, Place)> {
    let (scheme, authority) = origin.split_once("://")?;
    Some((scheme, Place::parse(authority)?))
}

/// A name that nobody else can let point here: an address, this machine, a name without a domain.
fn is_local(name: &str) -> bool {
    name.parse::<IpAddr>().is_ok() || is_loopback(name) || !name.contains(['.', ':'])
}

fn is_loopback(name: &str) -> bool {
    let address = name.parse::<IpAddr>();
    name == "localhost" || name.ends_with(".localhost") || address.is_ok_and(|ip| ip.to_canonical().is_loopback())
}

/// Whether a name is the known one, or for `*.example.org` one below it.
fn is_below(name: &str, known: &str) -> bool {
    match known.strip_prefix('*') {
        Some(below) if below.starts_with('.') => name.len() > below.len() && name.ends_with(below),
        _ => name == known,
    }
}

#[cfg(test)]
mod tests {
    use super::Foreign::{Host, Origin};
    use super::*;

    fn pages(foreign: ForeignPages, origins: &[&str], hosts: &[&str]) -> Pages {
        let texts = |list: &[&str]| list.iter().map(ToString::to_string).collect();
        Pages { foreign, origins: texts(origins), hosts: texts(hosts) }
    }

    #[test]
    fn where_nobody_proves_who_he_is() {
        let rule = pages(
            ForeignPages::Refuse,
            &["https://app.example", "https://*.apps.example:8443", "*"],
            &["im.example", "*.in.example"],
        );
        let table = [
            ("127.0.0.1:3102", None, Ok(())),
            ("localhost:3102", None, Ok(())),
            ("LOCALHOST.", None, Ok(())),
            ("a.localhost", None, Ok(())),
            ("[::1]:3102", None, Ok(())),
            ("[2001:db8::1]", None, Ok(())),
            ("192.0.2.7:3102", None, Ok(())),
            ("laptop:3102", None, Ok(())),
            ("im.example:3102", None, Ok(())),
            ("IM.Example.", None, Ok(())),
            ("a.b.in.example", None, Ok(())),
            ("in.example", None, Err(Host)),
            ("evilin.example", None, Err(Host)),
            ("im.example.evil.example", None, Err(Host)),
            ("evil.example", None, Err(Host)),
            ("127.0.0.1.evil.example", None, Err(Host)),
            ("localhost.evil.example", None, Err(Host)),
            ("user@localhost", None, Err(Host)),
            ("localhost:80:80", None, Err(Host)),
            ("localhost:x", None, Err(Host)),
            ("localhost:99999", None, Err(Host)),
            ("::1", None, Err(Host)),
            ("[::1", None, Err(Host)),
            ("[evil.example]", None, Err(Host)),
            ("", None, Err(Host)),
            (":80", None, Err(Host)),
            (".", None, Err(Host)),
            ("evil.example", Some("http://localhost"), Err(Host)),
            // Pages of this machine, on any port.
            ("127.0.0.1:3102", Some("http://127.0.0.1:3111"), Ok(())),
            ("127.0.0.1:3102", Some("http://localhost:8000"), Ok(())),
            ("127.0.0.1:3102", Some("https://dev.localhost"), Ok(())),
            ("127.0.0.1:3102", Some("http://[::1]:3111"), Ok(())),
            ("127.0.0.1:3102", Some("http://127.9.9.9"), Ok(())),
            ("127.0.0.1:3102", Some("capacitor://localhost"), Ok(())),
            // Pages that came from where the WebSocket is.
            ("192.0.2.7:3102", Some("http://192.0.2.7:3111"), Ok(())),
            ("laptop:3102", Some("http://Laptop:3111"), Ok(())),
            ("im.example:3102", Some("https://im.example"), Ok(())),
            ("192.0.2.7:3102", Some("http://192.0.2.8:3111"), Err(Origin)),
            ("laptop:3102", Some("http://desktop"), Err(Origin)),
            // Others.
            ("127.0.0.1:3102", Some("https://evil.example"), Err(Origin)),
            ("127.0.0.1:3102", Some("http://localhost.evil.example"), Err(Origin)),
            ("127.0.0.1:3102", Some("http://127.0.0.1.evil.example"), Err(Origin)),
            ("127.0.0.1:3102", Some("http://localhost@evil.example"), Err(Origin)),
            ("127.0.0.1:3102", Some("null"), Err(Origin)),
            ("127.0.0.1:3102", Some(""), Err(Origin)),
            ("127.0.0.1:3102", Some("file://"), Err(Origin)),
            // Those on the list.
            ("127.0.0.1:3102", Some("https://app.example"), Ok(())),
            ("127.0.0.1:3102", Some("HTTPS://App.Example:443"), Ok(())),
            ("127.0.0.1:3102", Some("http://app.example"), Err(Origin)),
            ("127.0.0.1:3102", Some("https://app.example:444"), Err(Origin)),
            ("127.0.0.1:3102", Some("https://app.example.evil.example"), Err(Origin)),
            ("127.0.0.1:3102", Some("https://a.apps.example:8443"), Ok(())),
            ("127.0.0.1:3102", Some("https://a.apps.example"), Err(Origin)),
            ("127.0.0.1:3102", Some("https://apps.example:8443"), Err(Origin)),
            ("127.0.0.1:3102", Some("https://evilapps.example:8443"), Err(Origin)),
        ];
        for (host, origin, expected) in table {
            assert_eq!(rule.judge(host, origin), expected, "{host} {origin:?}");
        }
    }

    #[test]
    fn where_clients_prove_who_they_are() {
        let any = pages(ForeignPages::Allow, &[], &[]);
        let star = pages(ForeignPages::Allow, &["*"], &[]);
        let some = pages(ForeignPages::Allow, &["https://app.example"], &[]);
        let named = pages(ForeignPages::Allow, &[], &["im.example"]);
        for (host, origin, [in_any, in_star, in_some, in_named]) in [
            ("im.example", None, [Ok(()); 4]),
            ("im.example", Some("https://app.example"), [Ok(()); 4]),
            ("im.example", Some("https://evil.example"), [Ok(()), Ok(()), Err(Origin), Ok(())]),
            ("im.example", Some("https://im.example"), [Ok(()), Ok(()), Err(Origin), Ok(())]),
            ("im.example", Some("null"), [Ok(()), Ok(()), Err(Origin), Ok(())]),
            ("other.example", None, [Ok(()), Ok(()), Ok(()), Err(Host)]),
            ("nonsense:::", None, [Ok(()), Ok(()), Ok(()), Err(Host)]),
            ("10.0.0.1", None, [Ok(()); 4]),
        ] {
            let judged = [&any, &star, &some, &named].map(|rule| rule.judge(host, origin));
            assert_eq!(judged, [in_any, in_star, in_some, in_named], "{host} {origin:?}");
        }
    }
}
