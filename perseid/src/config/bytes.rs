//! Sizes in bytes, written as an integer or as `"64KiB"`.

use std::fmt;
use std::str::FromStr;

/// One kibibyte.
pub(super) const KIB: u64 = 1024;
/// One mebibyte.
pub(super) const MIB: u64 = 1024 * KIB;
/// One gibibyte.
pub(super) const GIB: u64 = 1024 * MIB;
/// One tebibyte.
pub(super) const TIB: u64 = 1024 * GIB;

const UNITS: [(&str, u64); 5] = [("TiB", TIB), ("GiB", GIB), ("MiB", MIB), ("KiB", KIB), ("B", 1)];

/// A number of bytes. It reads `65536`, `"65536"` and `"64KiB"`, and shows itself in the largest
/// binary unit that divides it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl FromStr for ByteSize {
    type Err = &'static str;

    /// Powers of 1000 and one-letter units are refused: `64K` means two things to two readers.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let number: u64 = match number.replace('_', "").parse() {
            Ok(number) => number,
            Err(_) if number.is_empty() => return Err("a size starts with a whole number"),
            Err(_) => return Err("the number is too large"),
        };
        let unit = unit.trim();
        let scale = match UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)) {
            Some((_, scale)) => *scale,
            None if unit.is_empty() => 1,
            None => return Err("the units are B, KiB, MiB, GiB and TiB (powers of 1024)"),
        };
        number.checked_mul(scale).map(Self).ok_or("the number is too large")
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, scale) in UNITS {
            if self.0 >= scale && self.0.is_multiple_of(scale) {
                return write!(f, "{}{name}", self.0 / scale);
            }
        }
        write!(f, "{}B", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_integers_and_binary_units() {
        for (text, bytes) in [
            ("0", 0),
            ("65536", 65_536),
            ("1_000", 1_000),
            ("7B", 7),
            ("64KiB", 65_536),
            ("64 kib", 65_536),
            (" 4MiB ", 4 * MIB),
            ("1GiB", GIB),
            ("2TiB", 2 * TIB),
        ] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
    }

    #[test]
    fn refuses_what_has_two_meanings_or_none() {
        for text in ["", "KiB", "-1", "64K", "64KB", "64MB", "1.5MiB", "0x10", "18446744073709551616", "99999999TiB"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }

    #[test]
    fn shows_the_largest_unit_that_divides() {
        for (bytes, text) in [(0, "0B"), (1, "1B"), (1024, "1KiB"), (1025, "1025B"), (3 * MIB, "3MiB"), (GIB + KIB, "1048577KiB")]
        {
            assert_eq!(ByteSize(bytes).to_string(), text);
            assert_eq!(text.parse(), Ok(ByteSize(bytes)));
        }
    }
}
