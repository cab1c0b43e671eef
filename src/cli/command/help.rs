//! `walproof help`: commands and topics.

use std::fmt::Write as _;

use clap::{Args, CommandFactory as _};

use crate::cli::{Cli, Context, ExitCode, Failure};

/// Explain a command, or a topic: exit-codes
#[derive(Args, Clone, Debug)]
#[command(
    long_about = "Explain a command with examples, or a topic.\n\nTopics: exit-codes",
    after_long_help = "Examples:\n  walproof help drill run\n  walproof help exit-codes"
)]
pub struct HelpArgs {
    /// The command, word by word, or a topic
    #[arg(value_name = "COMMAND|TOPIC")]
    pub topic: Vec<String>,
}

/// Prints the help.
pub fn run(args: &HelpArgs, context: &Context) -> Result<ExitCode, Failure> {
    if args.topic == ["exit-codes"] {
        context.output.text(&exit_codes())?;
        return Ok(ExitCode::Done);
    }
    let mut root = Cli::command();
    root.build();
    let mut command = &mut root;
    for word in &args.topic {
        command = command.find_subcommand_mut(word).ok_or_else(|| {
            Failure::usage(format_args!(
                "there is no command or topic `{}`",
                args.topic.join(" ")
            ))
            .with_hint("`walproof help` lists the commands; the topic is exit-codes")
        })?;
    }
    let text = command.render_long_help();
    if context.output.palette.is_enabled() {
        context.output.line(text.ansi())?;
    } else {
        context.output.line(text)?;
    }
    Ok(ExitCode::Done)
}

/// The table of exit codes.
pub(crate) fn exit_codes() -> String {
    let mut text = String::from("Exit codes of every command:\n\n");
    for code in ExitCode::ALL {
        let _ = writeln!(text, "  {:>3}  {}", code.number(), code.meaning());
    }
    text.push_str(
        "\nA wrapper that treats everything but 0 as an alarm is right; one that tells 1 (the\nbackup has a problem) from 3 (walproof could not check) wakes the right person.\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_is_explained_with_an_example() {
        fn visit(command: &clap::Command, path: &str) {
            for sub in command.get_subcommands() {
                let path = format!("{path} {}", sub.get_name());
                if sub.is_hide_set() {
                    continue;
                }
                assert!(sub.get_about().is_some(), "{path} says nothing");
                let explained = sub.get_subcommands().next().is_some()
                    || sub
                        .get_after_long_help()
                        .is_some_and(|text| text.to_string().contains("walproof "));
                assert!(explained, "{path} has no example");
                visit(sub, &path);
            }
        }
        visit(&Cli::command(), "walproof");
    }

    #[test]
    fn the_document_has_every_exit_code() {
        let document = include_str!("../../../docs/exit-codes.md");
        for code in ExitCode::ALL {
            let row = format!("| {} | {} |", code.number(), code.meaning());
            assert!(document.contains(&row), "docs/exit-codes.md lacks: {row}");
        }
    }
}
