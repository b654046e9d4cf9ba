//! Masking of client payloads (RFC 6455 section 5.3).

/// Unmasks (or masks: it is its own inverse) `bytes` in place, eight at a time. `mask[0]` belongs to
/// the first byte; a payload that goes on later goes on with the mask rotated by what was done.
pub(super) fn unmask(bytes: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, tail) = bytes.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, key) in tail.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::unmask;

    #[test]
    fn equals_the_definition_at_every_length() {
        let mask = [0x37, 0xfa, 0x21, 0x3d];
        for len in 0..70 {
            let plain: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let expected: Vec<u8> = plain.iter().enumerate().map(|(i, b)| b ^ mask[i % 4]).collect();
            let mut bytes = plain.clone();
            unmask(&mut bytes, mask);
            assert_eq!(bytes, expected, "{len} bytes");
            unmask(&mut bytes, mask);
            assert_eq!(bytes, plain, "{len} bytes, twice");
        }
    }
}
