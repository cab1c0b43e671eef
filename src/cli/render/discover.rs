//! What `walproof repository discover` found, and the configuration to paste.

use std::fmt::Write as _;

use crate::cli::Palette;
use crate::repository::Discovered;
use crate::storage::StorageOptions;
use crate::verify::words;

/// The settings of a store that belong into the configuration to paste. Secrets never do.
#[derive(Clone, Debug, Default)]
pub struct StoreSettings {
    endpoint: Option<String>,
    region: Option<String>,
    ca_file: Option<String>,
}

impl StoreSettings {
    /// Those of a store that was opened with `options`.
    pub fn of(options: &StorageOptions) -> Self {
        Self {
            endpoint: options.endpoint.clone(),
            region: options.region.clone(),
            ca_file: options
                .ca_file
                .as_ref()
                .map(|file| file.display().to_string()),
        }
    }
}

/// A table of servers, then the configuration.
pub fn discovered(found: &[Discovered], settings: &StoreSettings, palette: Palette) -> String {
    let mut text = String::new();
    let width = found
        .iter()
        .map(|server| name(server).chars().count())
        .max()
        .unwrap_or_default()
        .max("server".len());
    let heading = format!(
        "{:<width$}  {:>8}  {:<23}  {:>8}  {:<23}  {:>10}  {}",
        "server", "backups", "newest backup", "segments", "newest segment", "stored", "PostgreSQL"
    );
    let _ = writeln!(text, "{}", palette.dim(heading.trim_end()));
    for server in found {
        let majors: Vec<String> = server.majors.iter().map(ToString::to_string).collect();
        let line = format!(
            "{:<width$}  {:>8}  {:<23}  {:>8}  {:<23}  {:>10}  {}",
            name(server),
            format!("{} of {}", server.finished_backups, server.backups),
            server
                .newest_backup
                .map_or_else(|| "none".into(), words::utc),
            server.wal_segments,
            server.newest_wal.map_or_else(|| "none".into(), words::utc),
            words::bytes(server.bytes),
            majors.join(", "),
        );
        let _ = writeln!(text, "{}", line.trim_end());
        if server.system_ids.len() > 1 {
            let _ = writeln!(
                text,
                "  {} {} database systems write here",
                palette.red("mixed:"),
                server.system_ids.len()
            );
        }
    }
    let _ = writeln!(
        text,
        "\n{}\n",
        palette.dim("For walproof.yaml (credentials come from the environment or from files):")
    );
    let _ = writeln!(text, "clusters:");
    for server in found {
        let _ = writeln!(text, "  - name: {}", yaml(&name(server)));
        let _ = writeln!(text, "    primary:");
        let _ = writeln!(text, "      url: {}", yaml(&server.location.to_string()));
        for (key, value) in [
            ("endpoint", &settings.endpoint),
            ("region", &settings.region),
            ("ca_file", &settings.ca_file),
        ] {
            if let Some(value) = value {
                let _ = writeln!(text, "      {key}: {}", yaml(value));
            }
        }
    }
    if let Some(first) = found.first() {
        let _ = writeln!(
            text,
            "\n{} walproof verify {}",
            palette.dim("Next:"),
            palette.cyan(&first.location)
        );
    }
    text
}

fn name(server: &Discovered) -> String {
    if server.server.is_empty() {
        server.location.bucket().to_owned()
    } else {
        server.server.clone()
    }
}

/// A YAML scalar; quoted when a plain one could be read as something else.
fn yaml(text: &str) -> String {
    let plain = text
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c))
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && !["true", "false", "yes", "no", "on", "off", "null"]
            .contains(&text.to_ascii_lowercase().as_str());
    if plain {
        text.to_owned()
    } else {
        // A JSON string is a YAML double-quoted scalar.
        serde_json::Value::from(text).to_string()
    }
}
