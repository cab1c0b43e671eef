//! Certificates for servers on loopback, made by `openssl`.

use std::path::Path;
use std::process::Command;

use super::process;

/// Makes an authority (`ca.pem`) and by it a certificate for 127.0.0.1 (`cert.pem`,
/// `key.pem`) in `directory`; only the authority's is to be trusted.
pub fn certificates(directory: &Path) {
    std::fs::write(directory.join("names"), "subjectAltName=IP:127.0.0.1").unwrap();
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    for arguments in [
        format!("req -x509 -days 2 -subj /CN=authority {key} -keyout ca-key.pem -out ca.pem"),
        format!("req -subj /CN=server {key} -keyout key.pem -out request.pem"),
        "x509 -req -in request.pem -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 2 \
         -extfile names -out cert.pem"
            .to_owned(),
    ] {
        let mut command = Command::new("openssl");
        process::run(
            command
                .args(arguments.split_whitespace())
                .current_dir(directory),
        );
    }
}
