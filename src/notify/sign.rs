//! Signatures of webhooks, by which a receiver knows that a request is ours and recent.

use hmac::{Hmac, KeyInit as _, Mac as _};

/// The header that carries the signature: `t=1764000000,v1=<64 hexadecimal digits>`.
pub const SIGNATURE_HEADER: &str = "Walproof-Signature";

/// The value of the header: HMAC-SHA256 with the shared key over the seconds since 1970, a
/// dot and the body's bytes.
pub fn signature(key: &[u8], seconds: i64, body: &[u8]) -> String {
    use std::fmt::Write as _;

    let Ok(mut mac) = Hmac::<sha2::Sha256>::new_from_slice(key) else {
        // HMAC takes keys of every length.
        return String::new();
    };
    mac.update(format!("{seconds}.").as_bytes());
    mac.update(body);
    let mut value = format!("t={seconds},v1=");
    for byte in mac.finalize().into_bytes() {
        // Writing to a string does not fail.
        let _ = write!(value, "{byte:02x}");
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf '1764000000.{"a":1}' | openssl dgst -sha256 -hmac 'a key'`
    #[test]
    fn openssl_makes_the_same_signature() {
        assert_eq!(
            signature(b"a key", 1_764_000_000, br#"{"a":1}"#),
            "t=1764000000,v1=a0f46b4f769bea90009d1b310ab650a68b2584113821f9b34f8641bdd99f271a"
        );
    }
}
