//! Exit codes. `docs/exit-codes.md` is the table for people.

use crate::evidence::Verdict;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitCode {
    /// Done; where a verdict was asked for, it is `proven`.
    Done,
    /// Done; a problem was found.
    Problem,
    /// The command line or the configuration is wrong.
    Usage,
    /// Could not check: storage, credentials, network, capacity, missing binaries. Or checked,
    /// and something of a drill is left that should be gone.
    Unproven,
    /// Refused for safety.
    Refused,
    /// Interrupted; everything owned was cleaned up or will be by the next sweep.
    Interrupted,
    /// What `restore_command` tells PostgreSQL, which has codes of its own: 0 delivered, 1
    /// not there, above 125 stop.
    RestoreCommand(u8),
}

impl ExitCode {
    /// Every code of walproof's own, ascending.
    pub const ALL: [Self; 6] = [
        Self::Done,
        Self::Problem,
        Self::Usage,
        Self::Unproven,
        Self::Refused,
        Self::Interrupted,
    ];

    /// The number that the shell sees.
    pub const fn number(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Problem => 1,
            Self::Usage => 2,
            Self::Unproven => 3,
            Self::Refused => 4,
            Self::Interrupted => 130,
            Self::RestoreCommand(code) => code,
        }
    }

    /// The code of walproof's own with this number; any other is [`Self::Unproven`].
    pub fn of(number: u8) -> Self {
        Self::ALL
            .into_iter()
            .find(|code| code.number() == number)
            .unwrap_or(Self::Unproven)
    }

    /// What it means, in one line.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Done => "done; where a verdict was asked for, it is `proven`",
            Self::Problem => {
                "done; a problem was found (findings at or above the threshold, objective missed, drill `failed`)"
            }
            Self::Usage => "the command line or the configuration is wrong",
            Self::Unproven => {
                "could not check (`unproven`): storage, credentials, network, capacity, missing binaries; or a drill could not clean up"
            }
            Self::Refused => "refused for safety",
            Self::Interrupted => {
                "interrupted; everything owned was cleaned up or will be by the next sweep"
            }
            Self::RestoreCommand(_) => "what `restore_command` tells PostgreSQL",
        }
    }
}

impl From<Verdict> for ExitCode {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Proven => Self::Done,
            Verdict::Failed => Self::Problem,
            Verdict::Unproven => Self::Unproven,
        }
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code.number())
    }
}
