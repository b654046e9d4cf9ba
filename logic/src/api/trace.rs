//! The trace id that a caller gives (W3C Trace Context), carried with the push through log and job into their logs.

use axum::http::HeaderMap;

/// The trace id of `traceparent`: 32 hex digits, not all zero; empty when there is none or it makes no sense.
pub(super) fn of(headers: &HeaderMap) -> String {
    let text = headers.get("traceparent").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut parts = text.split('-');
    let (version, id) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let is_hex = |text: &str, len| text.len() == len && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let whole = is_hex(version, 2) && version != "ff" && is_hex(id, 32) && id.bytes().any(|byte| byte != b'0');
    let parent = parts.next().is_some_and(|parent| is_hex(parent, 16)) && parts.next().is_some_and(|flags| is_hex(flags, 2));
    if whole && parent { id.to_owned() } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(text: &str) -> String {
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", text.parse().unwrap());
        of(&headers)
    }

    #[test]
    fn only_what_makes_sense() {
        assert_eq!(of(&HeaderMap::new()), "");
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(trace(good), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(trace(&format!("{good}-later")), "0af7651916cd43dd8448eb211c80319c");
        for bad in [
            "",
            "x",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1",
        ] {
            assert_eq!(trace(bad), "", "{bad}");
        }
    }
}
