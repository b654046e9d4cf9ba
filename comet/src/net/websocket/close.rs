//! The body of a close frame (RFC 6455 sections 5.5.1 and 7.4).

use super::{Message, Violation};

/// Reads the body of a close frame.
pub(super) fn parse(body: &[u8]) -> Result<Message<'_>, Violation> {
    match body {
        [] => Ok(Message::Close { code: None, reason: "" }),
        [_] => Err(Violation::protocol("close body of one byte")),
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            if !may_be_on_the_wire(code) {
                return Err(Violation::protocol("invalid close code"));
            }
            let reason = std::str::from_utf8(reason).map_err(|_| Violation::payload("close reason is not UTF-8"))?;
            Ok(Message::Close { code: Some(code), reason })
        }
    }
}

/// Codes that the RFC or IANA's registry assign to endpoints, and those left to libraries and
/// applications. 1004, 1005, 1006 and 1015 are reserved for use inside an endpoint.
fn may_be_on_the_wire(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_judged() {
        for code in 0..=u16::MAX {
            let refused = code < 1000 || [1004, 1005, 1006, 1015].contains(&code) || (1016..3000).contains(&code) || code >= 5000;
            let body = code.to_be_bytes();
            match parse(&body) {
                Ok(message) => {
                    assert!(!refused, "{code} was taken");
                    assert_eq!(message, Message::Close { code: Some(code), reason: "" });
                }
                Err(violation) => {
                    assert!(refused, "{code} was refused");
                    assert_eq!(violation.close_code, 1002);
                }
            }
        }
    }

    #[test]
    fn bodies() {
        assert_eq!(parse(b""), Ok(Message::Close { code: None, reason: "" }));
        assert_eq!(parse(b"\x03\xe8bye \xc3\xa9"), Ok(Message::Close { code: Some(1000), reason: "bye é" }));
        assert_eq!(parse(b"\x03").map_err(|v| v.close_code), Err(1002));
        assert_eq!(parse(b"\x03\xe8\xc3").map_err(|v| v.close_code), Err(1007));
        assert_eq!(parse(b"\x03\xe8\xed\xa0\x80").map_err(|v| v.close_code), Err(1007));
    }
}
