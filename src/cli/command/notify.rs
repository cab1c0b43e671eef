//! `walproof notify`: try the receivers, and show who is told of what.

use std::fmt::Write as _;

use chrono::Utc;
use clap::{Args, Subcommand};
use serde_json::json;

use crate::cli::{Context, ExitCode, Failure};
use crate::config::{Config, NoticeKind};
use crate::finding::Severity;
use crate::notify::{Notice, Question, Refusal, Routing, Senders, Sent, Setting, Told};

/// Try whether notices arrive, and see who is told of what
#[derive(Subcommand, Clone, Debug)]
pub enum NotifyCommand {
    /// Send a test notice, clearly marked as one, and say what each receiver answered
    #[command(
        long_about = "Send a test notice, clearly marked as one, to every receiver of the configuration or to the one named, and say what each answered. A receiver is asked once. Exit code 1 when one of them did not take it.",
        after_long_help = "Examples:\n  walproof notify test\n  walproof notify test pager\n  walproof notify test --output json | jq '.receivers[] | select(.ok | not)'"
    )]
    Test(TestArgs),
    /// Show who would be told of what about a cluster; nothing is sent
    #[command(
        long_about = "Show who would be told of what about a cluster: for each severity and, where it makes a difference, each kind of work, the receivers and the reason. Nothing is sent and no secret is read. Exit code 1 when something critical would reach nobody.",
        after_long_help = "Examples:\n  walproof notify routes orders\n  walproof notify routes orders --output json"
    )]
    Routes(RoutesArgs),
}

/// Arguments of `notify test`.
#[derive(Args, Clone, Debug)]
pub struct TestArgs {
    /// Only this receiver, one of the keys under `notifications.receivers`
    #[arg(value_name = "RECEIVER")]
    pub receiver: Option<String>,
}

/// Arguments of `notify routes`.
#[derive(Args, Clone, Debug)]
pub struct RoutesArgs {
    /// The cluster, as the configuration calls it
    #[arg(value_name = "CLUSTER")]
    pub cluster: String,
}

/// Runs `notify test` or `notify routes`.
pub async fn run(command: NotifyCommand, context: &Context) -> Result<ExitCode, Failure> {
    let config = context.known_config().await?;
    if config.notifications.is_none() {
        return Err(
            Failure::usage("read the configuration: it says nothing of `notifications`").with_hint(
                "`walproof init` writes a commented example; docs/notifications.md explains it",
            ),
        );
    }
    match command {
        NotifyCommand::Test(args) => test(&args, &config, context).await,
        NotifyCommand::Routes(args) => routes(&args, &config, context),
    }
}

async fn test(args: &TestArgs, config: &Config, context: &Context) -> Result<ExitCode, Failure> {
    let setting = Setting::of(config);
    let senders = Senders::of(config, setting.redactor());
    let names: Vec<&str> = senders
        .names()
        .filter(|name| {
            args.receiver
                .as_deref()
                .is_none_or(|wanted| wanted == *name)
        })
        .collect();
    if names.is_empty() {
        let known: Vec<&str> = senders.names().collect();
        return Err(match &args.receiver {
            Some(name) => {
                Failure::usage(format_args!("send a test: there is no receiver `{name}`"))
                    .with_hint(format_args!("receivers: {}", known.join(", ")))
            }
            None => Failure::usage("send a test: the configuration has no receiver")
                .with_hint("add one under `notifications.receivers`"),
        });
    }
    let tests = names.into_iter().map(async |name| {
        let now = Utc::now();
        let notice = Notice::test(name, now, &setting);
        let result = senders
            .send(name, &notice, &notice.id.to_string(), now)
            .await;
        (name, result)
    });
    let results: Vec<(&str, Result<Sent, Refusal>)> = futures::future::join_all(tests).await;
    let failed = results.iter().any(|(_, result)| result.is_err());
    if context.output.is_json() {
        let receivers: Vec<_> = results
            .iter()
            .map(|(name, result)| {
                json!({
                    "receiver": name,
                    "means": senders.means(name),
                    "ok": result.is_ok(),
                    "answer": words(result),
                })
            })
            .collect();
        context
            .output
            .json(&json!({"schema": "walproof.notify-test/v1", "receivers": receivers}))?;
    } else {
        let palette = context.output.palette;
        let width = results
            .iter()
            .map(|(name, _)| name.len())
            .max()
            .unwrap_or(0);
        for (name, result) in &results {
            let mark = if result.is_ok() {
                palette.green("taken  ")
            } else {
                palette.red("failed ")
            };
            let means = senders.means(name).unwrap_or_default();
            context.output.line(format_args!(
                "{mark} {name:<width$}  {means}: {}",
                words(result)
            ))?;
        }
    }
    Ok(if failed {
        ExitCode::Problem
    } else {
        ExitCode::Done
    })
}

fn words(result: &Result<Sent, Refusal>) -> &str {
    match result {
        Ok(sent) => &sent.answer,
        Err(refusal) => &refusal.words,
    }
}

/// One severity and the kinds of work for which the same are told.
struct Row {
    severity: Severity,
    kinds: Vec<NoticeKind>,
    told: Vec<Told>,
}

fn rows(routing: &Routing, cluster: &str) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for severity in [Severity::Critical, Severity::Warning, Severity::Info] {
        let begin = rows.len();
        for kind in NoticeKind::ALL {
            let told = routing.told(&Question {
                cluster,
                kind,
                severity,
            });
            let same = rows.iter_mut().skip(begin).find(|row| row.told == told);
            match same {
                Some(row) => row.kinds.push(kind),
                None => rows.push(Row {
                    severity,
                    kinds: vec![kind],
                    told,
                }),
            }
        }
    }
    rows
}

fn routes(args: &RoutesArgs, config: &Config, context: &Context) -> Result<ExitCode, Failure> {
    if config.cluster(&args.cluster).is_none() {
        let failure = Failure::usage(format_args!(
            "show routes: there is no cluster `{}`",
            args.cluster
        ));
        return Err(match config.cluster_like(&args.cluster) {
            Some(near) => failure.with_hint(format_args!("did you mean `{near}`?")),
            None => failure,
        });
    }
    let rows = rows(&Routing::of(config), &args.cluster);
    let unheard = rows
        .iter()
        .any(|row| row.severity == Severity::Critical && row.told.is_empty());
    if context.output.is_json() {
        let routes: Vec<_> = rows
            .iter()
            .map(|row| json!({"severity": row.severity, "kinds": row.kinds, "told": row.told}))
            .collect();
        context.output.json(&json!({
            "schema": "walproof.notify-routes/v1",
            "cluster": args.cluster,
            "routes": routes,
        }))?;
    } else {
        let mut text = String::new();
        for row in &rows {
            let kinds = if row.kinds.len() == NoticeKind::ALL.len() {
                "anything".to_owned()
            } else {
                let words: Vec<&str> = row.kinds.iter().map(|kind| kind.as_str()).collect();
                words.join(", ")
            };
            let severity = context.output.palette.bold(row.severity.as_str());
            // Writing to a string does not fail.
            let _ = writeln!(text, "{severity} from {kinds}:");
            for told in &row.told {
                let _ = writeln!(text, "  {}  ({})", told.receiver, told.because.join(", "));
            }
            if row.told.is_empty() {
                let _ = writeln!(text, "  nobody");
            }
        }
        if unheard {
            let _ = writeln!(
                text,
                "Something critical would reach nobody: name receivers under `notifications.otherwise`."
            );
        }
        context.output.text(&text)?;
    }
    Ok(if unheard {
        ExitCode::Problem
    } else {
        ExitCode::Done
    })
}
