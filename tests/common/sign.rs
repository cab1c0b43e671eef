//! Signatures of requests, from the stores' published rules and apart from the code under
//! test: AWS Signature Version 4 and Azure's Shared Key.

use sha2::{Digest as _, Sha256};

/// SHA-256.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    let digits: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.concat()
}

/// HMAC-SHA256 (RFC 2104).
pub fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut block = [0; 64];
    if key.len() > 64 {
        block[..32].copy_from_slice(&sha256(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let inner = sha256(&[&block.map(|byte| byte ^ 0x36), message].concat());
    sha256(&[&block.map(|byte| byte ^ 0x5c)[..], &inner].concat())
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Base64 with padding.
pub fn base64(bytes: &[u8]) -> String {
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let mut word = [0; 4];
        word[1..=group.len()].copy_from_slice(group);
        let word = u32::from_be_bytes(word);
        for at in 0..4 {
            let six = (word >> (18 - 6 * at)) & 63;
            let known = at <= group.len();
            text.push(if known {
                char::from(ALPHABET[six as usize])
            } else {
                '='
            });
        }
    }
    text
}

/// The bytes of a base64 text with padding.
pub fn from_base64(text: &str) -> Vec<u8> {
    let (mut bytes, mut word, mut bits) = (Vec::new(), 0_u32, 0);
    for byte in text.trim_end_matches('=').bytes() {
        let six = ALPHABET.iter().position(|it| *it == byte);
        word = (word << 6) | u32::try_from(six.expect("not base64")).unwrap();
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from((word >> bits) & 0xff).unwrap());
        }
    }
    bytes
}

fn lines(headers: &[(String, String)]) -> String {
    let lines: Vec<String> = headers
        .iter()
        .map(|(name, value)| format!("{name}:{value}\n"))
        .collect();
    lines.concat()
}

/// The headers that sign an S3 request (Signature Version 4, region `us-east-1`). `query` is
/// sorted and encoded; `headers` are lower case and all signed.
pub fn aws(
    (key, secret): (&str, &str),
    host: &str,
    method: &str,
    (path, query): (&str, &str),
    headers: &[(String, String)],
    body: &[u8],
) -> Vec<(String, String)> {
    let now = chrono::Utc::now();
    let (day, time) = (now.format("%Y%m%d"), now.format("%Y%m%dT%H%M%SZ"));
    let digest = hex(&sha256(body));
    let mut all = headers.to_vec();
    all.push(("x-amz-content-sha256".to_owned(), digest.clone()));
    all.push(("x-amz-date".to_owned(), time.to_string()));
    let mut signed = all.clone();
    signed.push(("host".to_owned(), host.to_owned()));
    signed.sort();
    let names: Vec<&str> = signed.iter().map(|(name, _)| &**name).collect();
    let names = names.join(";");
    let lines = lines(&signed);
    let request = format!("{method}\n{path}\n{query}\n{lines}\n{names}\n{digest}");
    let scope = format!("{day}/us-east-1/s3/aws4_request");
    let digest = hex(&sha256(request.as_bytes()));
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{digest}");
    let mut derived = hmac(
        format!("AWS4{secret}").as_bytes(),
        day.to_string().as_bytes(),
    );
    for word in ["us-east-1", "s3", "aws4_request"] {
        derived = hmac(&derived, word.as_bytes());
    }
    let signature = hex(&hmac(&derived, text.as_bytes()));
    all.push((
        "authorization".to_owned(),
        format!(
            "AWS4-HMAC-SHA256 Credential={key}/{scope}, SignedHeaders={names}, Signature={signature}"
        ),
    ));
    all
}

/// The headers that sign an Azure Blob request ("Authorize with Shared Key", version
/// 2015-02-21 and later). `path` is the whole path; `query` its sorted pairs, not encoded.
pub fn azure(
    (account, key): (&str, &str),
    method: &str,
    (path, query): (&str, &[(&str, &str)]),
    headers: &[(String, String)],
    body: &[u8],
) -> Vec<(String, String)> {
    let mut all = headers.to_vec();
    let now = chrono::Utc::now().format("%a, %d %b %Y %H:%M:%S GMT");
    all.push(("x-ms-date".to_owned(), now.to_string()));
    all.push(("x-ms-version".to_owned(), "2023-11-03".to_owned()));
    let standard = |name: &str| {
        let found = all.iter().find(|(key, _)| key == name);
        found.map_or("", |(_, value)| value.as_str())
    };
    let length = match body.len() {
        0 => String::new(),
        length => length.to_string(),
    };
    let mut own = all.clone();
    own.retain(|(name, _)| name.starts_with("x-ms-"));
    own.sort();
    let own = lines(&own);
    let query: Vec<String> = query
        .iter()
        .map(|(name, value)| format!("\n{name}:{value}"))
        .collect();
    let query = query.concat();
    let text = [
        method,
        standard("content-encoding"),
        standard("content-language"),
        &length,
        standard("content-md5"),
        standard("content-type"),
        "",
        standard("if-modified-since"),
        standard("if-match"),
        standard("if-none-match"),
        standard("if-unmodified-since"),
        standard("range"),
        &format!("{own}/{account}{path}{query}"),
    ]
    .join("\n");
    let signature = base64(&hmac(&from_base64(key), text.as_bytes()));
    all.push((
        "authorization".to_owned(),
        format!("SharedKey {account}:{signature}"),
    ));
    all
}
