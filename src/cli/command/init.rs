//! `walproof init`: a commented starter.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::{Context, ExitCode, Failure};
use crate::config::{STARTER_CONFIG, STARTER_DRILL};

/// Write a commented starter: walproof.yaml and drills/nightly.yaml
#[derive(Args, Clone, Debug)]
#[command(
    long_about = "Write a commented starter configuration: walproof.yaml and drills/nightly.yaml.\n\nExisting files are never overwritten: if one is there, nothing is written.",
    after_long_help = "Examples:\n  walproof init\n  walproof init /etc/walproof"
)]
pub struct InitArgs {
    /// Directory to write to; it is made if it does not exist
    #[arg(value_name = "DIRECTORY", default_value = ".")]
    pub directory: PathBuf,
}

/// Writes the starter.
pub fn run(args: &InitArgs, context: &Context) -> Result<ExitCode, Failure> {
    let config = args.directory.join("walproof.yaml");
    let drill = args.directory.join("drills").join("nightly.yaml");
    for file in [&config, &drill] {
        if file.symlink_metadata().is_ok() {
            return Err(Failure::usage(format_args!(
                "write {}: it exists already",
                file.display()
            ))
            .with_hint("nothing was written; give another directory or move the file away"));
        }
    }
    write(&config, STARTER_CONFIG)?;
    write(&drill, STARTER_DRILL)?;
    if context.output.is_json() {
        context.output.json(&serde_json::json!({
            "schema": "walproof.init/v1",
            "written": [config, drill],
        }))?;
    } else {
        context.output.line(format_args!(
            "wrote {} and {}\n\nNext: set the repository's URL in the first, then run\n  walproof config check\n  walproof verify orders",
            config.display(),
            drill.display()
        ))?;
    }
    Ok(ExitCode::Done)
}

fn write(file: &Path, text: &str) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        Failure::unproven(format_args!("write {}: {error}", file.display()))
    };
    if let Some(directory) = file.parent() {
        std::fs::create_dir_all(directory).map_err(failed)?;
    }
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(file)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(failed)
}
