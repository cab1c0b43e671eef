//! `kubectl walproof`: the same program, called by kubectl.
//!
//! kubectl runs a file called `kubectl-walproof` on the PATH with the words that follow.
//! There the commands about Kubernetes need no `kubernetes` before them.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::{ArgAction, Command, CommandFactory as _};

use super::Cli;

/// The name that kubectl looks for.
const NAME: &str = "kubectl-walproof";

/// Whether the program was called as kubectl's plugin.
pub fn is_plugin(program: &OsStr) -> bool {
    Path::new(program)
        .file_name()
        .is_some_and(|name| name == NAME)
}

/// The arguments as the command line without kubectl has them: `kubernetes` is put before
/// the first word when that is one of its commands. Other commands stay as they are.
pub fn arguments(given: Vec<OsString>) -> Vec<OsString> {
    let Some(program) = given.first() else {
        return given;
    };
    if !is_plugin(program) {
        return given;
    }
    let command = Cli::command();
    let Some(at) = first_word(&command, &given) else {
        return given;
    };
    let ours = command.find_subcommand("kubernetes");
    let word = given.get(at).and_then(|word| word.to_str());
    let belongs = word.is_some_and(|word| {
        ours.is_some_and(|group| group.find_subcommand(word).is_some())
            && command.find_subcommand(word).is_none()
    });
    let mut arguments = given;
    if belongs {
        arguments.insert(at, "kubernetes".into());
    }
    arguments
}

/// Where the first word stands that is neither an option nor its value.
fn first_word(command: &Command, arguments: &[OsString]) -> Option<usize> {
    let mut at = 1;
    while let Some(argument) = arguments.get(at) {
        let text = argument.to_string_lossy();
        if !text.starts_with('-') || text == "-" {
            return Some(at);
        }
        if text == "--" {
            return None;
        }
        at += if takes_the_next(command, &text) { 2 } else { 1 };
    }
    None
}

/// Whether an option of every command has its value in the next argument.
fn takes_the_next(command: &Command, argument: &str) -> bool {
    command
        .get_arguments()
        .filter(|known| matches!(known.get_action(), ArgAction::Set | ArgAction::Append))
        .any(|known| {
            let long = known.get_long().map(|long| format!("--{long}"));
            let short = known.get_short().map(|short| format!("-{short}"));
            // `-vo json` is several short options, the last of which takes the value.
            let bundled = known
                .get_short()
                .is_some_and(|short| !argument.starts_with("--") && argument.ends_with(short));
            long.as_deref() == Some(argument) || short.as_deref() == Some(argument) || bundled
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(line: &str) -> String {
        let given = line.split(' ').map(OsString::from).collect();
        let words: Vec<String> = arguments(given)
            .into_iter()
            .map(|word| word.into_string().unwrap())
            .collect();
        words.join(" ")
    }

    #[test]
    fn commands_about_kubernetes_need_no_group() {
        for (given, meant) in [
            (
                "kubectl-walproof check",
                "kubectl-walproof kubernetes check",
            ),
            (
                "/usr/local/bin/kubectl-walproof --output json check --for scan",
                "/usr/local/bin/kubectl-walproof --output json kubernetes check --for scan",
            ),
            (
                "kubectl-walproof -vo json check",
                "kubectl-walproof -vo json kubernetes check",
            ),
            (
                "kubectl-walproof --output=json -v check",
                "kubectl-walproof --output=json -v kubernetes check",
            ),
            (
                "kubectl-walproof --config check check",
                "kubectl-walproof --config check kubernetes check",
            ),
        ] {
            assert_eq!(rewritten(given), meant);
        }
    }

    #[test]
    fn everything_else_stays_as_it_is() {
        for line in [
            "kubectl-walproof verify orders",
            "kubectl-walproof config check",
            "kubectl-walproof kubernetes check",
            "kubectl-walproof --help",
            "kubectl-walproof nonsense",
            "kubectl-walproof",
            "walproof check",
            "/opt/kubectl-walproof/walproof check",
        ] {
            assert_eq!(rewritten(line), line);
        }
    }
}
