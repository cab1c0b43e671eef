//! Plain data with bytes beside it, as one text.
//!
//! Packed: the length of the JSON as four bytes, the JSON, the bytes; compressed by
//! Zstandard; in base 64 (RFC 4648), for the state holds texts.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// More than this was not packed here.
const LIMIT: usize = 3 << 30;
const LEVEL: i32 = 1;
const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Packs data with bytes. `None` for data that cannot be written.
pub(super) fn pack(data: &impl Serialize, bytes: &[u8]) -> Option<String> {
    let json = serde_json::to_vec(data).ok()?;
    let mut whole = u32::try_from(json.len()).ok()?.to_le_bytes().to_vec();
    whole.extend(json);
    whole.extend_from_slice(bytes);
    // Its length stands before it, so that nothing is reserved in vain.
    let mut packed = u32::try_from(whole.len()).ok()?.to_le_bytes().to_vec();
    packed.extend(zstd::bulk::compress(&whole, LEVEL).ok()?);
    Some(encode(&packed))
}

/// What was packed. `None` for a text that does not come from [`pack`].
pub(super) fn unpack<T: DeserializeOwned>(text: &str) -> Option<(T, Vec<u8>)> {
    let packed = decode(text)?;
    let (length, packed) = packed.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    if length > LIMIT {
        return None;
    }
    let whole = zstd::bulk::decompress(packed, length).ok()?;
    let (length, rest) = whole.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let (json, bytes) = rest.split_at_checked(length)?;
    Some((serde_json::from_slice(json).ok()?, bytes.to_vec()))
}

fn encode(bytes: &[u8]) -> String {
    let digit = |number: u32, place: u32| {
        let index = usize::try_from(number >> (6 * place) & 63).unwrap_or(0);
        char::from(DIGITS.get(index).copied().unwrap_or(b'A'))
    };
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let at = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let number = at(0) << 16 | at(1) << 8 | at(2);
        for place in (0..4).rev() {
            text.push(if place < 3 - u32::try_from(chunk.len()).unwrap_or(0) {
                '='
            } else {
                digit(number, place)
            });
        }
    }
    text
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=');
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 3);
    for chunk in text.as_bytes().chunks(4) {
        let mut number = 0_u32;
        for index in 0..4 {
            let value = match chunk.get(index) {
                None => 0,
                Some(letter @ b'A'..=b'Z') => letter - b'A',
                Some(letter @ b'a'..=b'z') => letter - b'a' + 26,
                Some(letter @ b'0'..=b'9') => letter - b'0' + 52,
                Some(b'+') => 62,
                Some(b'/') => 63,
                Some(_) => return None,
            };
            number = number << 6 | u32::from(value);
        }
        let [_, first, second, third] = number.to_be_bytes();
        let own = [first, second, third];
        bytes.extend_from_slice(own.get(..chunk.len().checked_sub(1)?)?);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_packed_comes_back(
            word in ".*", bytes in proptest::collection::vec(any::<u8>(), 0..2000)
        ) {
            let text = pack(&word, &bytes).unwrap();
            prop_assert!(text.is_ascii());
            let back: (String, Vec<u8>) = unpack(&text).unwrap();
            prop_assert_eq!(back, (word, bytes));
        }

        #[test]
        fn other_texts_are_refused(text in "[A-Za-z0-9+/=\\-]{0,80}") {
            prop_assert!(unpack::<String>(&text).is_none());
        }
    }

    #[test]
    fn base_64_is_that_of_the_standard() {
        // RFC 4648, section 10.
        for (plain, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(encode(plain.as_bytes()), text);
            assert_eq!(decode(text).unwrap(), plain.as_bytes());
        }
    }
}
