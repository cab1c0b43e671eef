//! `walproof wal fetch`: asks the running drill or restore for one file. Blocking, and
//! small, because PostgreSQL starts it anew for every file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use super::protocol::{MAX_LINE, Reply, WalAnswer, question};

/// Asks over `socket` for the file `name` and puts it at `destination`, whole or not at
/// all. The caller exits with [`WalAnswer::exit_code`] and prints the answer to standard
/// error, where it lands in the server's log.
pub fn fetch(socket: &Path, name: &str, destination: &Path) -> WalAnswer {
    match try_fetch(socket, name, destination) {
        Ok(answer) => answer,
        Err(error) => WalAnswer::Unreachable(format!(
            "ask walproof over {} for {name}: {error}",
            socket.display()
        )),
    }
}

fn try_fetch(socket: &Path, name: &str, destination: &Path) -> io::Result<WalAnswer> {
    let mut stream = UnixStream::connect(socket)?;
    stream.write_all(question(name).as_bytes())?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    (&mut reader).take(MAX_LINE as u64).read_line(&mut line)?;
    match Reply::parse(&line) {
        None => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "it hung up or answered in words of another version",
        )),
        Some(Reply::Not(answer)) => Ok(answer),
        Some(Reply::Found(bytes)) => {
            write_whole(destination, |file| {
                let copied = io::copy(&mut (&mut reader).take(bytes), file)?;
                if copied == bytes {
                    Ok(())
                } else {
                    Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        format!("it hung up after {copied} of {bytes} bytes"),
                    ))
                }
            })?;
            Ok(WalAnswer::Delivered)
        }
    }
}

/// Writes a file under a temporary name beside it, then renames it: a reader sees all of
/// it or nothing.
pub(super) fn write_whole(
    path: &Path,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".walproof_tmp");
    let temporary = PathBuf::from(name);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)?;
    write(&mut file)
        .and_then(|()| fs::rename(&temporary, path))
        .inspect_err(|_| {
            let _ = fs::remove_file(&temporary);
        })
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    /// Answers one connection with the given bytes, whatever was asked.
    fn answering(bytes: Vec<u8>) -> (tempfile::TempDir, PathBuf) {
        let temp = tempfile::tempdir().unwrap();
        let socket = temp.path().join("s");
        let listener = UnixListener::bind(&socket).unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut line = String::new();
            BufReader::new(stream.try_clone().unwrap())
                .read_line(&mut line)
                .unwrap();
            stream.write_all(&bytes).unwrap();
        });
        (temp, socket)
    }

    #[test]
    fn a_file_arrives_whole_or_not_at_all() {
        let (temp, socket) = answering(b"walproof-wal/1 found 5\nhello".to_vec());
        let destination = temp.path().join("RECOVERYXLOG");
        assert_eq!(fetch(&socket, "x", &destination), WalAnswer::Delivered);
        assert_eq!(fs::read(&destination).unwrap(), b"hello");

        let (temp, socket) = answering(b"walproof-wal/1 found 9\nhello".to_vec());
        let destination = temp.path().join("RECOVERYXLOG");
        let answer = fetch(&socket, "x", &destination);
        assert_eq!(answer.exit_code(), 201, "{answer}");
        let left: Vec<_> = fs::read_dir(temp.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(left, ["s"]);
    }

    #[test]
    fn silence_and_strange_words_make_recovery_stop() {
        for bytes in [
            &b""[..],
            b"HTTP/1.1 200 OK\r\n",
            b"walproof-wal/9 found 1\nx",
        ] {
            let (temp, socket) = answering(bytes.to_vec());
            let answer = fetch(&socket, "x", &temp.path().join("d"));
            assert_eq!(answer.exit_code(), 201, "{answer}");
        }
        let temp = tempfile::tempdir().unwrap();
        let answer = fetch(&temp.path().join("nobody"), "x", &temp.path().join("d"));
        assert_eq!(answer.exit_code(), 201, "{answer}");
    }
}
