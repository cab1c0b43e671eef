//! The text of `restore_command`.

use std::path::Path;

/// A word as a POSIX shell takes it literally, with `%` doubled for PostgreSQL's own
/// placeholders.
pub fn shell_quote(word: &str) -> String {
    let plain = !word.is_empty()
        && word
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"/._-:=@,+".contains(&b));
    if plain {
        return word.to_owned();
    }
    let quoted = word.replace('\'', r"'\''").replace('%', "%%");
    format!("'{quoted}'")
}

/// `restore_command` of a server that a running walproof serves.
pub fn wal_fetch_command(program: &Path, socket: &Path) -> String {
    format!(
        "{} wal fetch --socket {} %f \"%p\"",
        shell_quote(&program.display().to_string()),
        shell_quote(&socket.display().to_string()),
    )
}

/// `restore_command` of a server that fetches by itself. `arguments` are the words of
/// `walproof wal get` that name the repository.
pub fn wal_get_command(program: &Path, arguments: &[String], plan: &Path) -> String {
    let words: Vec<String> = arguments.iter().map(|word| shell_quote(word)).collect();
    format!(
        "{} wal get {} --plan {} %f \"%p\"",
        shell_quote(&program.display().to_string()),
        words.join(" "),
        shell_quote(&plan.display().to_string()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_the_shell_and_the_server() {
        assert_eq!(shell_quote("/usr/bin/walproof"), "/usr/bin/walproof");
        assert_eq!(shell_quote("it's 100%"), r"'it'\''s 100%%'");
        assert_eq!(shell_quote(""), "''");
        assert_eq!(
            wal_fetch_command(Path::new("/a b/walproof"), Path::new("/s/wal.sock")),
            "'/a b/walproof' wal fetch --socket /s/wal.sock %f \"%p\""
        );
        assert_eq!(
            wal_get_command(
                Path::new("walproof"),
                &["s3://b/orders".to_owned()],
                Path::new("/d/plan.json")
            ),
            "walproof wal get s3://b/orders --plan /d/plan.json %f \"%p\""
        );
    }

    #[test]
    fn a_real_shell_gives_the_word_back() {
        for word in [
            "plain",
            "two words",
            "it's",
            "$HOME `id` \\ \"x\"",
            "new\nline",
        ] {
            let output = std::process::Command::new("sh")
                .args(["-c", &format!("printf %s {}", shell_quote(word))])
                .output()
                .unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), word);
        }
    }
}
