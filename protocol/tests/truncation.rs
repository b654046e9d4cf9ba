//! Every golden frame cut at every byte, and every class of wrong length.
#![allow(clippy::unwrap_used)] // helpers of tests

mod support;

use perseid_protocol::frame::{self, FrameError};

#[test]
fn a_cut_frame_needs_more_and_nothing_else() {
    for (name, input) in support::frames() {
        for cut in 0..input.len() {
            assert_eq!(frame::decode(&input[..cut], usize::MAX), Ok(None), "{name} cut at {cut}");
        }
    }
}

#[test]
fn what_follows_a_frame_does_not_change_it() {
    let frames = support::frames();
    for (index, (name, input)) in frames.iter().enumerate() {
        let alone = frame::decode(input, usize::MAX).unwrap().unwrap();
        let (_, next) = &frames[(index + 1) % frames.len()];
        let both = [input.as_slice(), next.as_slice()].concat();
        // The next frame may be there in any part.
        for cut in input.len()..=both.len() {
            assert_eq!(frame::decode(&both[..cut], usize::MAX), Ok(Some(alone)), "{name}, {cut} bytes");
        }
        assert_eq!(frame::decode(&both[alone.len..], usize::MAX), frame::decode(next, usize::MAX), "after {name}");
    }
}

#[test]
fn the_limit_is_on_the_body() {
    for (name, input) in support::frames() {
        let body_len = frame::decode(&input, usize::MAX).unwrap().unwrap().body.len();
        assert!(frame::decode(&input, body_len).unwrap().is_some(), "{name}");
        if body_len > 0 {
            let wanted = FrameError::TooLarge { body_len, limit: body_len - 1 };
            assert_eq!(frame::decode(&input, body_len - 1), Err(wanted), "{name}");
        }
    }
}

const LIMIT: usize = 4096;

/// What the six bytes say, by the text of the protocol.
fn wanted(package_len: i64, header_len: i64) -> Result<(), FrameError> {
    let header_len_raw = u16::try_from(header_len).unwrap();
    if header_len != 16 && !(72..=256).contains(&header_len) {
        return Err(FrameError::HeaderLen(header_len_raw));
    }
    if package_len < header_len {
        let package_len = i32::try_from(package_len).unwrap();
        return Err(FrameError::PackageLen { package_len, header_len: header_len_raw });
    }
    let body_len = usize::try_from(package_len - header_len).unwrap();
    if body_len > LIMIT { Err(FrameError::TooLarge { body_len, limit: LIMIT }) } else { Ok(()) }
}

#[test]
fn lying_lengths_are_refused_at_the_sixth_byte() {
    let limit = i64::try_from(LIMIT).unwrap();
    let classes = [0, 1, 6, 15, 16, 17, 71, 72, 73, 255, 256, 257, limit, limit + 1, 32_767, 32_768, 65_535];
    let mut package_lens = vec![i64::from(i32::MAX), -1, -16, i64::from(i32::MIN), 1 << 24];
    package_lens.extend(classes);
    for header_len in classes {
        // Bodies at, below and above the limit for each header.
        package_lens.extend([header_len + limit - 1, header_len + limit, header_len + limit + 1]);
    }
    let mut refused = 0;
    for package_len in package_lens {
        for header_len in classes {
            let mut input = i32::try_from(package_len).unwrap().to_be_bytes().to_vec();
            input.extend_from_slice(&u16::try_from(header_len).unwrap().to_be_bytes());
            assert_eq!(frame::decode(&input[..5], LIMIT), Ok(None));
            let got = frame::decode(&input, LIMIT).map(|frame| assert_eq!(frame, None));
            assert_eq!(got, wanted(package_len, header_len), "package_len {package_len}, header_len {header_len}");
            refused += usize::from(got.is_err());
            // More bytes do not change the verdict.
            input.resize(300, 0xff);
            assert_eq!(frame::decode(&input, LIMIT).err(), got.err());
        }
    }
    assert!(refused > 500);
}
