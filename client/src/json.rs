//! Reading the protocol's JSON: numbers may come as their decimal text.

use serde_json::Value;

pub(crate) fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str().and_then(|text| text.parse().ok()))
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The numbers of a list; what is none is left out.
pub(crate) fn numbers(value: &Value) -> Vec<u64> {
    value.as_array().map(|list| list.iter().filter_map(number).collect()).unwrap_or_default()
}
