//! The step between walproof and a restored server: give up privileges, leave the
//! network, then become the server.
//!
//! It runs as a process of its own, `walproof internal confine … -- postgres …`, so that
//! every step is an ordinary system call in a single-threaded program. It must be
//! dispatched before any thread exists: the kernel refuses a user namespace to a process
//! with threads.

use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Pid, Uid, getppid, setgroups, setresgid, setresuid};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The words that ask for this step on the command line.
pub const COMMAND: [&str; 2] = ["internal", "confine"];

/// Whether the server is cut off from the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// In a network namespace of its own, which holds nothing. Where the system does not
    /// allow that, the server starts anyway and the report says so.
    #[default]
    Isolate,
    /// In the machine's network. The server itself listens nowhere.
    Host,
}

/// What to give up before the server starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confinement {
    /// Become this user and group; `None` stays as is.
    pub user: Option<(u32, u32)>,
    /// The network.
    pub network: Network,
    /// The process that must be our parent: if it is gone already, the server is not
    /// started.
    pub parent: i32,
}

/// Why the server was not started.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// The command line is not one that walproof writes.
    #[error("walproof internal confine: {0}; this command is for walproof's own use")]
    Usage(String),
    /// The parent died before we could be tied to it.
    #[error("walproof internal confine: the drill that asked for this server is gone")]
    Orphaned,
    /// A system call failed.
    #[error("walproof internal confine: cannot {action}: {source}")]
    System {
        /// What was being done.
        action: &'static str,
        /// The system's own words.
        source: nix::Error,
    },
    /// The program cannot be started.
    #[error("walproof internal confine: cannot start {program}: {source}")]
    Exec {
        /// The program.
        program: String,
        /// The system's own words.
        source: std::io::Error,
    },
}

impl Confinement {
    /// The arguments that ask walproof's own program for this confinement of `program`.
    pub fn arguments(&self, program: &OsStr, arguments: &[OsString]) -> Vec<OsString> {
        let mut all: Vec<OsString> = COMMAND.iter().map(OsString::from).collect();
        if let Some((uid, gid)) = self.user {
            all.extend(["--uid".into(), uid.to_string().into()]);
            all.extend(["--gid".into(), gid.to_string().into()]);
        }
        let network = match self.network {
            Network::Isolate => "isolate",
            Network::Host => "host",
        };
        all.extend(["--network".into(), network.into()]);
        all.extend(["--parent".into(), self.parent.to_string().into()]);
        all.push("--".into());
        all.push(program.to_owned());
        all.extend_from_slice(arguments);
        all
    }

    /// Reads what [`Self::arguments`] wrote, without the two words of [`COMMAND`].
    fn parse(arguments: &[OsString]) -> Result<(Self, &[OsString]), ConfineError> {
        let usage = |words: &str| ConfineError::Usage(words.to_owned());
        let (mut uid, mut gid, mut network, mut parent) = (None, None, None, None);
        let mut rest = arguments;
        loop {
            match rest {
                [separator, program @ ..] if separator == "--" => {
                    if program.is_empty() {
                        return Err(usage("no program after `--`"));
                    }
                    let user = match (uid, gid) {
                        (None, None) => None,
                        (Some(uid), Some(gid)) => Some((uid, gid)),
                        _ => return Err(usage("--uid and --gid go together")),
                    };
                    let confinement = Self {
                        user,
                        network: network.ok_or_else(|| usage("--network is missing"))?,
                        parent: parent.ok_or_else(|| usage("--parent is missing"))?,
                    };
                    return Ok((confinement, program));
                }
                [flag, value, after @ ..] => {
                    let text = value.to_str().unwrap_or_default();
                    let bad = || usage("a value cannot be read");
                    match flag.to_str().unwrap_or_default() {
                        "--uid" => uid = Some(text.parse().map_err(|_| bad())?),
                        "--gid" => gid = Some(text.parse().map_err(|_| bad())?),
                        "--parent" => parent = Some(text.parse().map_err(|_| bad())?),
                        "--network" if text == "isolate" => network = Some(Network::Isolate),
                        "--network" if text == "host" => network = Some(Network::Host),
                        _ => return Err(bad()),
                    }
                    rest = after;
                }
                _ => return Err(usage("`--` and a program are missing")),
            }
        }
    }

    /// Gives everything up, in the one order in which each step is still allowed.
    fn enter(&self) -> Result<(), ConfineError> {
        let failed = |action| move |source| ConfineError::System { action, source };
        if self.network == Network::Isolate {
            leave_network();
        }
        if let Some((uid, gid)) = self.user {
            let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
            setgroups(&[]).map_err(failed("give up groups"))?;
            setresgid(gid, gid, gid).map_err(failed("change the group"))?;
            setresuid(uid, uid, uid).map_err(failed("change the user"))?;
        }
        if Uid::effective().is_root() || Uid::current().is_root() {
            return Err(ConfineError::Usage(
                "refused to start a server as root".into(),
            ));
        }
        prctl::set_no_new_privs().map_err(failed("forbid new privileges"))?;
        // After the change of user, which clears it. The server then ends with the drill,
        // also when that is killed.
        prctl::set_pdeathsig(Signal::SIGQUIT).map_err(failed("tie the server to the drill"))?;
        if getppid() != Pid::from_raw(self.parent) {
            return Err(ConfineError::Orphaned);
        }
        Ok(())
    }
}

/// Leaves the network, and the System V memory of the machine, so that a killed server
/// leaves no segment behind. As root directly; for others through a user namespace, if
/// the system grants one. What came of it is asked from the kernel by the parent.
fn leave_network() {
    let own = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWIPC;
    if Uid::effective().is_root() {
        if let Err(error) = unshare(own) {
            report(&format!("the network stays reachable: {error}"));
        }
        return;
    }
    let (uid, gid) = (Uid::effective(), Gid::effective());
    let entered = unshare(CloneFlags::CLONE_NEWUSER | own)
        .map_err(std::io::Error::from)
        .and_then(|()| std::fs::write("/proc/self/setgroups", "deny"))
        .and_then(|()| std::fs::write("/proc/self/uid_map", format!("{uid} {uid} 1")))
        .and_then(|()| std::fs::write("/proc/self/gid_map", format!("{gid} {gid} 1")));
    if let Err(error) = entered {
        report(&format!("the network stays reachable: {error}"));
    }
}

/// Standard error is the server's log here.
fn report(words: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "walproof confine: {words}");
}

/// Confines this process as the arguments behind [`COMMAND`] say, and becomes the program
/// that they name. Returns only when that failed. To be called before any thread is
/// started.
pub fn run(arguments: &[OsString]) -> Result<Infallible, ConfineError> {
    let (confinement, command) = Confinement::parse(arguments)?;
    let Some((program, arguments)) = command.split_first() else {
        return Err(ConfineError::Usage("no program after `--`".into()));
    };
    confinement.enter()?;
    let source = Command::new(program).args(arguments).exec();
    Err(ConfineError::Exec {
        program: program.to_string_lossy().into_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for user in [None, Some((65_534, 65_533))] {
            for network in [Network::Isolate, Network::Host] {
                let confinement = Confinement {
                    user,
                    network,
                    parent: 4711,
                };
                let written =
                    confinement.arguments(OsStr::new("/bin/postgres"), &["-D".into(), "--".into()]);
                let (read, program) = Confinement::parse(&written[2..]).unwrap();
                assert_eq!(read, confinement);
                assert_eq!(program, ["/bin/postgres", "-D", "--"]);
            }
        }
    }

    #[test]
    fn other_command_lines_are_refused() {
        let line = |words: &[&str]| {
            let words: Vec<OsString> = words.iter().map(OsString::from).collect();
            Confinement::parse(&words).map(|_| ())
        };
        assert!(line(&["--network", "host", "--parent", "1", "--", "x"]).is_ok());
        for wrong in [
            &[][..],
            &["--uid", "1", "--network", "host", "--parent", "1", "--", "x"],
            &["--network", "host", "--", "x"],
            &["--network", "maybe", "--parent", "1", "--", "x"],
            &["--network", "host", "--parent", "1", "--"],
        ] {
            assert!(matches!(line(wrong), Err(ConfineError::Usage(_))), "{wrong:?}");
        }
    }
}
