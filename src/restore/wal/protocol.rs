//! The few words between `walproof wal fetch` and the drill or restore that serves it.
//!
//! One question per connection: `walproof-wal/1 <name>\n`. One answer:
//! `walproof-wal/1 found <bytes>\n` with exactly so many bytes behind it, or
//! `walproof-wal/1 absent|stop|unreachable <words>\n`.

use std::fmt;

/// The protocol's name and version, the first word of both sides.
pub(crate) const VERSION: &str = "walproof-wal/1";

/// The longest question or first line of an answer, in bytes.
pub(crate) const MAX_LINE: usize = 2_048;

/// What became of a file that recovery asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WalAnswer {
    /// It lies where recovery wants it.
    Delivered,
    /// It is not there, and recovery can do without.
    Absent(String),
    /// Recovery needs it, and it is missing or bad: recovery must stop.
    Stop(String),
    /// Nobody knows, because storage or this machine failed: recovery must stop.
    Unreachable(String),
}

impl WalAnswer {
    /// The exit code for `restore_command`. PostgreSQL stops above 125 and takes
    /// everything from 1 to 125 for "not in the archive".
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Delivered => 0,
            Self::Absent(_) => 1,
            Self::Stop(_) => 200,
            Self::Unreachable(_) => 201,
        }
    }
}

impl fmt::Display for WalAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Delivered => f.write_str("delivered"),
            Self::Absent(words) => write!(f, "not in the archive: {words}"),
            Self::Stop(words) => write!(f, "recovery must stop: {words}"),
            Self::Unreachable(words) => write!(f, "cannot tell, so recovery must stop: {words}"),
        }
    }
}

/// The question for a file.
pub(crate) fn question(name: &str) -> String {
    format!("{VERSION} {name}\n")
}

/// The name in a question; `None` for anything else.
pub(crate) fn parse_question(line: &str) -> Option<&str> {
    line.trim_end_matches('\n')
        .strip_prefix(VERSION)?
        .strip_prefix(' ')
}

/// The first line of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// So many bytes follow.
    Found(u64),
    /// Nothing follows.
    Not(WalAnswer),
}

impl Reply {
    /// The line to send.
    pub(crate) fn line(&self) -> String {
        let (word, rest) = match self {
            Self::Found(bytes) => ("found", bytes.to_string()),
            Self::Not(WalAnswer::Delivered) => ("stop", "nothing to say".to_owned()),
            Self::Not(WalAnswer::Absent(words)) => ("absent", one_line(words)),
            Self::Not(WalAnswer::Stop(words)) => ("stop", one_line(words)),
            Self::Not(WalAnswer::Unreachable(words)) => ("unreachable", one_line(words)),
        };
        format!("{VERSION} {word} {rest}\n")
    }

    /// The answer in a line; `None` for anything else.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let rest = parse_question(line)?;
        let (word, rest) = rest.split_once(' ')?;
        let words = rest.to_owned();
        Some(match word {
            "found" => Self::Found(rest.parse().ok()?),
            "absent" => Self::Not(WalAnswer::Absent(words)),
            "stop" => Self::Not(WalAnswer::Stop(words)),
            "unreachable" => Self::Not(WalAnswer::Unreachable(words)),
            _ => return None,
        })
    }
}

fn one_line(words: &str) -> String {
    words
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(500)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_understand_each_other() {
        assert_eq!(
            parse_question(&question("00000002.history")),
            Some("00000002.history")
        );
        for reply in [
            Reply::Found(16_777_216),
            Reply::Not(WalAnswer::Absent("beyond the target".into())),
            Reply::Not(WalAnswer::Stop("gone".into())),
            Reply::Not(WalAnswer::Unreachable("no answer".into())),
        ] {
            assert_eq!(Reply::parse(&reply.line()), Some(reply));
        }
        let split = Reply::Not(WalAnswer::Stop("a\nwalproof-wal/1 found 0".into()));
        assert_eq!(split.line().matches('\n').count(), 1);
        for line in [
            "",
            "walproof-wal/2 found 1\n",
            "walproof-wal/1 found x\n",
            "HTTP/1.1 200",
        ] {
            assert_eq!(Reply::parse(line), None, "{line}");
        }
    }

    #[test]
    fn only_absence_lets_recovery_go_on() {
        let words = String::new;
        assert_eq!(WalAnswer::Delivered.exit_code(), 0);
        assert_eq!(WalAnswer::Absent(words()).exit_code(), 1);
        assert!(WalAnswer::Stop(words()).exit_code() > 125);
        assert!(WalAnswer::Unreachable(words()).exit_code() > 125);
    }
}
