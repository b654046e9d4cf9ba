//! Which request something belongs to: <https://www.w3.org/TR/trace-context/>, and the form in the log.

use std::fmt;

/// 16 bytes, not all zero: names a trace.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId([u8; 16]);

/// 8 bytes, not all zero: names a span within its trace.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId([u8; 8]);

impl TraceId {
    /// `None` if all bytes are zero, which names nothing.
    pub fn new(bytes: [u8; 16]) -> Option<Self> {
        (bytes != [0; 16]).then_some(Self(bytes))
    }

    /// Its bytes.
    pub const fn bytes(self) -> [u8; 16] {
        self.0
    }
}

impl SpanId {
    /// `None` if all bytes are zero, which names nothing.
    pub fn new(bytes: [u8; 8]) -> Option<Self> {
        (bytes != [0; 8]).then_some(Self(bytes))
    }

    /// Its bytes.
    pub const fn bytes(self) -> [u8; 8] {
        self.0
    }
}

/// To what a piece of work belongs: the trace, the span that caused it, and whether spans are to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Trace {
    /// The trace.
    pub id: TraceId,
    /// The span whose child the next one is. `None`: an older record that knew only the trace.
    pub parent: Option<SpanId>,
    /// Whether spans are made. Decided once, where the trace begins.
    pub sampled: bool,
}

/// Bytes of the form in the log: trace, parent, flags.
const RECORD_BYTES: usize = 16 + 8 + 1;
/// The older form in the log: the trace in hexadecimal.
const OLD_RECORD_BYTES: usize = 32;
/// Length of a `traceparent` of version 00.
const TRACEPARENT_LEN: usize = 2 + 1 + 32 + 1 + 16 + 1 + 2;
const SAMPLED: u8 = 1;

impl Trace {
    /// Reads the value of a `traceparent` header; `None` if it is not exactly as the standard says, and then there is no
    /// trace. Of a later version only what is known is taken.
    pub fn parse_traceparent(text: &[u8]) -> Option<Self> {
        let (known, rest) = text.split_at_checked(TRACEPARENT_LEN)?;
        let [version] = hex(&known[..2])?;
        let whole = match version {
            0 => rest.is_empty(),
            0xff => false,
            _ => rest.is_empty() || rest[0] == b'-',
        };
        let dashes = [known[2], known[35], known[52]] == [b'-'; 3];
        if !whole || !dashes {
            return None;
        }
        let [flags] = hex(&known[53..])?;
        let (id, parent) = (TraceId::new(hex(&known[3..35])?)?, SpanId::new(hex(&known[36..52])?)?);
        Some(Self { id, parent: Some(parent), sampled: flags & SAMPLED != 0 })
    }

    /// The form in the log: 25 bytes.
    pub fn to_record(self) -> [u8; RECORD_BYTES] {
        let mut bytes = [0; RECORD_BYTES];
        bytes[..16].copy_from_slice(&self.id.0);
        bytes[16..24].copy_from_slice(&self.parent.map_or([0; 8], SpanId::bytes));
        bytes[24] = if self.sampled { SAMPLED } else { 0 };
        bytes
    }

    /// Reads the form in the log, or the older one of 32 hexadecimal digits; of anything else there is no trace.
    pub fn from_record(bytes: &[u8]) -> Option<Self> {
        if bytes.len() == OLD_RECORD_BYTES {
            return Some(Self { id: TraceId::new(hex(bytes)?)?, parent: None, sampled: false });
        }
        let bytes: &[u8; RECORD_BYTES] = bytes.try_into().ok()?;
        let (id, rest) = bytes.split_first_chunk::<16>()?;
        let (parent, flags) = rest.split_first_chunk::<8>()?;
        Some(Self { id: TraceId::new(*id)?, parent: SpanId::new(*parent), sampled: flags[0] & SAMPLED != 0 })
    }
}

/// Lower-case hexadecimal digits, as the standard wants them.
fn hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    if text.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

fn put_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        put_hex(f, &self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        put_hex(f, &self.0)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        put_hex(f, &self.0)
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        put_hex(f, &self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn parse(text: &str) -> Option<Trace> {
        Trace::parse_traceparent(text.as_bytes())
    }

    #[test]
    fn what_the_standard_allows() {
        let trace = parse(GOOD).unwrap();
        assert_eq!(trace.id.to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(trace.parent.unwrap().to_string(), "b7ad6b7169203331");
        assert!(trace.sampled);
        for (flags, sampled) in [("00", false), ("02", false), ("03", true), ("ff", true), ("fe", false)] {
            assert_eq!(parse(&format!("{}{flags}", &GOOD[..53])).unwrap().sampled, sampled, "{flags}");
        }
        let later = format!("cc{}", &GOOD[2..]);
        assert_eq!(parse(&later), Some(trace));
        assert_eq!(parse(&format!("{later}-what-comes")), Some(trace));
    }

    #[test]
    fn nothing_else_is_a_trace() {
        for bad in [
            "",
            "x",
            "00-0af7651916cd43dd8448eb211c80319c",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0x",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1",
            "0x-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331_01",
            " 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-later",
            "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01later",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
        for cut in 0..GOOD.len() {
            assert_eq!(parse(&GOOD[..cut]), None, "{cut}");
        }
    }

    #[test]
    fn the_form_in_the_log_and_the_older_one() {
        let trace = parse(GOOD).unwrap();
        let record = trace.to_record();
        assert_eq!(record[..2], [0x0a, 0xf7]);
        assert_eq!((record[16], record[24]), (0xb7, 1));
        for trace in [trace, Trace { sampled: false, ..trace }, Trace { parent: None, ..trace }] {
            assert_eq!(Trace::from_record(&trace.to_record()), Some(trace));
        }
        assert_eq!(Trace::from_record(&GOOD.as_bytes()[3..35]), Some(Trace { parent: None, sampled: false, ..trace }));
        for length in (0..64).filter(|length| *length != RECORD_BYTES) {
            assert_eq!(Trace::from_record(&vec![7; length]), None, "{length}");
        }
        assert_eq!(Trace::from_record(&[0; RECORD_BYTES]), None, "no trace has this id");
    }
}
