//! Whose web pages may open a WebSocket here, by the lists and names of [`perseid_protocol::origin`]. A page comes from the
//! HTTP port or another server, never from this port: so ports do not count, and pages of this machine are let in where nobody
//! proves who he is. Clients that are no browsers send no `Origin`. Pure.

use perseid_protocol::origin::{Origin, Place};

pub use perseid_protocol::origin::{ForeignPages, Pages};

/// Why a page may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Foreign {
    /// It came by a name that is not ours.
    Host,
    /// It is not one of those that may.
    Origin,
}

/// Judges an upgrade by its `Host` and `Origin`.
pub(crate) fn judge(pages: &Pages, host: &str, origin: Option<&str>) -> Result<(), Foreign> {
    let host = Place::parse(host);
    // No page, so nobody has been led here by a name: containers call one another so.
    let called_by_a_container = origin.is_none() && host.as_ref().is_some_and(Place::is_dotless);
    if !called_by_a_container && !pages.is_ours(host.as_ref()) {
        return Err(Foreign::Host);
    }
    let Some(origin) = origin else { return Ok(()) };
    let allowed = pages.is_listed(origin)
        || match pages.foreign {
            ForeignPages::Allow => pages.origins.is_empty(),
            ForeignPages::Refuse => is_own_page(origin, host.as_ref()),
        };
    if allowed { Ok(()) } else { Err(Foreign::Origin) }
}

/// A page of this machine, or one that came from the name under which this node was reached.
fn is_own_page(origin: &str, host: Option<&Place>) -> bool {
    let Some(origin) = Origin::parse(origin) else { return false };
    origin.place().is_loopback() || host.is_some_and(|host| host.name() == origin.place().name())
}

#[cfg(test)]
mod tests {
    use super::Foreign::{Host, Origin};
    use super::{ForeignPages, Pages, judge};

    fn pages(foreign: ForeignPages, origins: &[&str], hosts: &[&str]) -> Pages {
        let texts = |list: &[&str]| list.iter().map(ToString::to_string).collect();
        Pages { foreign, origins: texts(origins), hosts: texts(hosts) }
    }

    #[test]
    fn where_nobody_proves_who_he_is() {
        let rule = pages(
            ForeignPages::Refuse,
            &["https://app.example", "https://*.apps.example:8443", "*"],
            &["im.example", "*.in.example", "in-list"],
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
            // Who rules the network could let that name point here.
            ("laptop:3102", Some("http://Laptop:3111"), Err(Host)),
            ("laptop:3102", Some("http://localhost"), Err(Host)),
            ("in-list:3102", Some("http://in-list:3111"), Ok(())),
            ("im.example:3102", Some("https://im.example"), Ok(())),
            ("192.0.2.7:3102", Some("http://192.0.2.8:3111"), Err(Origin)),
            ("in-list:3102", Some("http://desktop"), Err(Origin)),
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
            assert_eq!(judge(&rule, host, origin), expected, "{host} {origin:?}");
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
            ("im.example", Some("null"), [Ok(()), Err(Origin), Err(Origin), Ok(())]),
            ("laptop", None, [Ok(()); 4]),
            ("laptop", Some("https://app.example"), [Ok(()), Ok(()), Ok(()), Err(Host)]),
            ("other.example", None, [Ok(()), Ok(()), Ok(()), Err(Host)]),
            ("nonsense:::", None, [Ok(()), Ok(()), Ok(()), Err(Host)]),
            ("10.0.0.1", None, [Ok(()); 4]),
        ] {
            let judged = [&any, &star, &some, &named].map(|rule| judge(rule, host, origin));
            assert_eq!(judged, [in_any, in_star, in_some, in_named], "{host} {origin:?}");
        }
    }
}
