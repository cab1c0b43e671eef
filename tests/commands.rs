//! What the documents say can be typed: every command line parses, every exit code and every
//! finding code that is named exists.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser as _};
use walproof::cli::{Cli, ExitCode};
use walproof::finding::Code;

/// A command line and where it stands.
#[derive(Debug)]
struct Line {
    place: String,
    text: String,
    /// In running text `walproof drill` may be a name; in a block it is typed.
    mention: bool,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every document of the project, with its path in it.
fn documents() -> Vec<(String, String)> {
    fn visit(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                visit(&path, found);
            } else if path.extension().is_none_or(|extension| extension != "json") {
                found.push(path);
            }
        }
    }
    let mut files = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md"]
        .map(|name| root().join(name))
        .to_vec();
    for directory in ["docs", "runbooks", "deploy", "drills", "evidence"] {
        visit(&root().join(directory), &mut files);
    }
    files.sort();
    files
        .into_iter()
        .map(|file| {
            let name = file.strip_prefix(root()).unwrap().display().to_string();
            (name, std::fs::read_to_string(&file).unwrap())
        })
        .collect()
}

/// The help texts, long, by command.
fn helps() -> Vec<(String, String)> {
    fn visit(command: &mut clap::Command, path: &str, found: &mut Vec<(String, String)>) {
        let path = format!("{path} {}", command.get_name());
        found.push((
            format!("{path} --help"),
            command.render_long_help().to_string(),
        ));
        for sub in command.get_subcommands_mut() {
            visit(sub, &path, found);
        }
    }
    let mut command = Cli::command();
    command.build();
    let mut found = Vec::new();
    visit(&mut command, "", &mut found);
    found
}

/// The code spans of a line of running text.
fn spans(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// The command that a typed line holds, without the prompt or the setting it stands in.
fn typed(line: &str) -> Option<String> {
    let line = line.trim_start().trim_start_matches("# ").trim_start();
    let line = line.strip_prefix("$ ").unwrap_or(line);
    let line = line.strip_prefix("ExecStart=").unwrap_or(line);
    if let Some((_, value)) = line.split_once("_command = '") {
        let value = value.split('\'').next()?;
        return value.starts_with("walproof ").then(|| value.to_owned());
    }
    let program = line.split_whitespace().next()?;
    let known = program == "walproof" || program.ends_with("/bin/walproof");
    known.then(|| line.to_owned())
}

/// Command lines in blocks (typed) and in code spans (typed, or only mentioned).
fn lines_of(place: &str, text: &str) -> Vec<Line> {
    let plain = Path::new(place)
        .extension()
        .is_none_or(|extension| extension != "md");
    let help = place.ends_with("--help");
    let mut found = Vec::new();
    let mut block = false;
    let mut open: Option<String> = None;
    for (number, line) in text.lines().enumerate() {
        let place = format!("{place}:{}", number + 1);
        if line.trim_start().starts_with("```") {
            block = !block;
            continue;
        }
        if let Some(begun) = open.take() {
            let joined = format!("{begun} {}", line.trim());
            match joined.strip_suffix('\\') {
                Some(begun) => open = Some(begun.to_owned()),
                None => found.push(Line {
                    place,
                    text: joined,
                    mention: false,
                }),
            }
            continue;
        }
        // Four columns are a block too; a list's continuation has three at most here.
        let indented = !help && line.starts_with("   ") && !line.trim_start().starts_with('`');
        // In a help text an example is indented; a sentence may begin with the name.
        if (block
            || (plain && !help)
            || indented
            || (help && line.starts_with("  ") && !line.starts_with("   ")))
            && let Some(text) = typed(line)
        {
            match text.strip_suffix('\\') {
                Some(begun) => open = Some(begun.to_owned()),
                None => found.push(Line {
                    place,
                    text,
                    mention: false,
                }),
            }
            continue;
        }
        if block {
            continue;
        }
        for span in spans(line).filter(|span| span.starts_with("walproof ")) {
            found.push(Line {
                place: place.clone(),
                text: span.to_owned(),
                mention: true,
            });
        }
    }
    found
}

/// Splits as a shell would, up to a pipe, a redirection, another command or a comment.
/// What stands in `<…>` becomes a value that its option takes.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match (character, quote) {
            (c, Some(open)) if c == open => quote = None,
            ('\'' | '"', None) => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            ('<', None) if characters.peek().is_some_and(char::is_ascii_lowercase) => {
                let name: String = characters.by_ref().take_while(|c| *c != '>').collect();
                word.get_or_insert_default().push_str(sample(&name));
            }
            ('#', None) if word.is_none() => break,
            ('|' | ';' | '>' | '<' | '&', None) => break,
            (c, None) if c.is_whitespace() => words.extend(word.take()),
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

fn sample(placeholder: &str) -> &str {
    match placeholder {
        "time" | "moment" => "2026-11-21T02:40:00Z",
        "lsn" => "0/3000028",
        "xid" | "timeline" | "number" => "1",
        "period" => "1h",
        _ => "placeholder",
    }
}

#[test]
fn every_command_line_parses() {
    let mut number = 0;
    let mut wrong = Vec::new();
    for (place, text) in documents().into_iter().chain(helps()) {
        for line in lines_of(&place, &text) {
            number += 1;
            let Err(error) = Cli::try_parse_from(words(&line.text)) else {
                continue;
            };
            let fine = match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => true,
                ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
                | ErrorKind::MissingRequiredArgument
                | ErrorKind::MissingSubcommand => line.mention,
                _ => false,
            };
            if !fine {
                wrong.push(format!("{}: {}\n{error}", line.place, line.text));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(number > 150, "only {number} command lines were found");
}

/// The other way: what is wrong is found wherever it stands.
#[test]
fn a_wrong_command_line_is_seen() {
    let text = "Run `walproof verfy orders`, or\n```\n$ walproof drill run orders \\\n  --taget tip\n\
                restore_command = 'walproof wal get orders %f'\n```\n   walproof drill\n`walproof drill` drills.\n";
    let lines = lines_of("page.md", text);
    assert_eq!(lines.len(), 5, "{lines:#?}");
    let kinds: Vec<ErrorKind> = lines
        .iter()
        .map(|line| Cli::try_parse_from(words(&line.text)).unwrap_err().kind())
        .collect();
    assert_eq!(
        kinds,
        [
            ErrorKind::InvalidSubcommand,
            ErrorKind::UnknownArgument,
            ErrorKind::MissingRequiredArgument,
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand,
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand,
        ]
    );
    assert!(!lines[3].mention && lines[4].mention);
    assert_eq!(
        words("walproof verify 'a b' <backup id> | jq '.x' # why"),
        ["walproof", "verify", "a b", "placeholder"]
    );
}

/// Words that look like a finding's code, for they begin as one does, and are something else.
const OTHER_NAMES: [&str; 20] = [
    "archive-end",
    "archive-tip",
    "backup-list",
    "backup-not-found",
    "check-failed-rows",
    "drill-app",
    "drill-ca",
    "drill-rw",
    "drill-superuser",
    "history-show",
    "object-store",
    "recovery-target",
    "restore-plan",
    "system-id",
    "target-not-reached",
    "wal-g",
    "wal-get",
    "wal-missing",
    "wal-push",
    "wal-segsize",
];

fn looks_like_a_code(text: &str) -> bool {
    text.contains('-')
        && text
            .split('-')
            .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase()))
}

#[test]
fn every_finding_code_that_is_named_exists() {
    let codes: BTreeSet<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    let begins: BTreeSet<&str> = codes
        .iter()
        .filter_map(|code| code.split('-').next())
        .collect();
    let mut seen = BTreeSet::new();
    let mut wrong = Vec::new();
    for (place, text) in documents() {
        let quoted = text
            .lines()
            .filter_map(|line| line.split_once("\"code\": \"")?.1.split('"').next());
        let linked = text
            .split("runbooks/")
            .skip(1)
            .filter_map(|rest| rest.split_once(".md").map(|(name, _)| name))
            .filter(|name| looks_like_a_code(name));
        for code in quoted.chain(linked) {
            seen.insert(code.to_owned());
            if !codes.contains(code) {
                wrong.push(format!("{place}: {code}"));
            }
        }
        for span in text.lines().flat_map(spans) {
            let begin = span.split('-').next().unwrap_or_default();
            if looks_like_a_code(span) && begins.contains(begin) && !OTHER_NAMES.contains(&span) {
                seen.insert(span.to_owned());
                if !codes.contains(span) {
                    wrong.push(format!("{place}: `{span}`"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(seen.len() > 10, "only {seen:?} were found");
}

#[test]
fn every_exit_code_that_is_named_exists() {
    let known: Vec<u64> = ExitCode::ALL
        .iter()
        .map(|code| code.number().into())
        .collect();
    let mut number = 0;
    let mut wrong = Vec::new();
    let leads = [
        "exit ",
        "exit code ",
        "exit status ",
        "\"exit_code\": ",
        "(exit ",
    ];
    for (place, text) in documents() {
        for lead in leads {
            for rest in text.split(lead).skip(1) {
                let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
                let Ok(code) = digits.parse::<u64>() else {
                    continue;
                };
                number += 1;
                if !known.contains(&code) {
                    wrong.push(format!("{place}: {lead}{code}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(number > 10, "only {number} were found");
}
