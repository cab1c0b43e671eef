//! Which of the source's parameters and libraries the recovered server gets.
//!
//! A list of what may pass, not of what may not: what is unknown stays behind, because a
//! recovered server must neither act on the world outside nor fail to start over a setting
//! that proves nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::quantity::Quantity;
use crate::postgres::libraries::{QUIETED, acts, bare_name, is_harmless, quieting};

/// Must not be lower than in the source, or replay stops (`CheckRequiredParameterValues` in
/// `xlog.c`); the operator raises them from the control file, but later changes in the WAL
/// count too.
const NOT_LOWER: &[&str] = &[
    "max_connections",
    "max_locks_per_transaction",
    "max_prepared_transactions",
    "max_wal_senders",
    "max_worker_processes",
];

/// Shape answers, speed and space, and act on nothing.
const HARMLESS: &[&str] = &[
    "autovacuum_freeze_max_age",
    "autovacuum_multixact_freeze_max_age",
    "bytea_output",
    "checkpoint_completion_target",
    "checkpoint_timeout",
    "commit_siblings",
    "constraint_exclusion",
    "cpu_index_tuple_cost",
    "cpu_operator_cost",
    "cpu_tuple_cost",
    "datestyle",
    "default_statistics_target",
    "default_text_search_config",
    "effective_cache_size",
    "effective_io_concurrency",
    "enable_partitionwise_aggregate",
    "enable_partitionwise_join",
    "extra_float_digits",
    "hash_mem_multiplier",
    "intervalstyle",
    "jit",
    "jit_above_cost",
    "join_collapse_limit",
    "from_collapse_limit",
    "lc_messages",
    "lc_monetary",
    "lc_numeric",
    "lc_time",
    "log_checkpoints",
    "log_timezone",
    "logical_decoding_work_mem",
    "maintenance_io_concurrency",
    "maintenance_work_mem",
    "max_files_per_process",
    "max_parallel_maintenance_workers",
    "max_parallel_workers",
    "max_parallel_workers_per_gather",
    "max_pred_locks_per_page",
    "max_pred_locks_per_relation",
    "max_pred_locks_per_transaction",
    "max_stack_depth",
    "max_wal_size",
    "min_wal_size",
    "random_page_cost",
    "recovery_prefetch",
    "seq_page_cost",
    "shared_buffers",
    "standard_conforming_strings",
    "temp_buffers",
    "timezone",
    "timezone_abbreviations",
    "track_commit_timestamp",
    "vacuum_freeze_min_age",
    "wal_buffers",
    "wal_decode_buffer_size",
    "work_mem",
    "xmlbinary",
    "xmloption",
];

/// Always set: what keeps a recovered server from acting outside or by itself.
pub(crate) const QUIET: &[(&str, &str)] = &[
    ("cron.launch_active_jobs", "off"),
    // Subscriptions that came with the backup would connect to their publishers.
    ("max_logical_replication_workers", "0"),
];

/// Parameters, and libraries to preload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The parameters.
    pub parameters: BTreeMap<String, String>,
    /// The libraries.
    pub preload: Vec<String>,
    /// Names of parameters and libraries of the source that stay behind.
    pub left_behind: Vec<String>,
}

/// Whether a parameter of this name may be in a recovery Cluster. Names are compared as
/// PostgreSQL does, without regard to case.
pub(crate) fn may_set(name: &str, value: &str) -> bool {
    let name = name.to_ascii_lowercase();
    if NOT_LOWER.contains(&name.as_str()) || HARMLESS.contains(&name.as_str()) {
        return value.chars().all(|c| !c.is_control());
    }
    QUIET
        .iter()
        .chain(QUIETED.iter().flat_map(|(_, settings)| settings.iter()))
        .any(|(known, wanted)| name == *known && value == *wanted)
}

/// Whether this library may be preloaded.
pub(crate) fn may_load(library: &str, asked: &[String]) -> bool {
    let plain = library
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    plain
        && !library.is_empty()
        && acts(library).is_none()
        && (is_harmless(library)
            || !quieting(library).is_empty()
            || asked.iter().any(|name| name == library))
}

/// Decides over the source's parameters and libraries, and those that a drill definition
/// gives instead of them. `memory` is what the instance may use.
pub fn settings(
    source: &BTreeMap<String, String>,
    instead: &BTreeMap<String, String>,
    libraries: &[String],
    asked: &[String],
    memory: Option<&str>,
) -> Settings {
    let mut settings = Settings::default();
    let mut left = BTreeSet::new();
    for (name, value) in source.iter().chain(instead) {
        let name = name.to_ascii_lowercase();
        if may_set(&name, value) {
            settings.parameters.insert(name, value.clone());
        } else {
            left.insert(name);
        }
    }
    // A drill's definition may not make replay impossible.
    for (name, value) in source {
        let name = name.to_ascii_lowercase();
        let Some(at_least) = value.trim().parse::<u64>().ok() else {
            continue;
        };
        if NOT_LOWER.contains(&name.as_str())
            && let Some(now) = settings.parameters.get_mut(&name)
            && now.trim().parse::<u64>().is_ok_and(|now| now < at_least)
        {
            now.clone_from(value);
        }
    }
    fit_memory(&mut settings.parameters, memory);
    let wanted = libraries.iter().chain(asked).flat_map(|one| one.split(','));
    for library in wanted {
        let library = bare_name(library);
        if !may_load(library, asked) {
            if !library.is_empty() {
                left.insert(library.to_owned());
            }
        } else if !settings.preload.iter().any(|known| known == library) {
            settings.preload.push(library.to_owned());
        }
    }
    for library in &settings.preload {
        put_all(&mut settings.parameters, quieting(library));
    }
    put_all(&mut settings.parameters, QUIET);
    settings.left_behind = left.into_iter().collect();
    settings
}

fn put_all(parameters: &mut BTreeMap<String, String>, settings: &[(&str, &str)]) {
    for (name, value) in settings {
        parameters.insert((*name).to_owned(), (*value).to_owned());
    }
}

/// The operator's webhook refuses `shared_buffers` above the memory that is requested, and
/// a server that fills its memory with them alone is killed.
fn fit_memory(parameters: &mut BTreeMap<String, String>, memory: Option<&str>) {
    let Some(memory) = memory.and_then(Quantity::parse) else {
        return;
    };
    let Some(value) = parameters.get_mut("shared_buffers") else {
        return;
    };
    let too_much = |size: Quantity| size.times(10) > memory.times(4);
    match buffers(value) {
        Some(size) if !too_much(size) => {}
        _ => *value = format!("{}MB", memory.quarter().megabytes()),
    }
}

/// A size as PostgreSQL writes it (`128MB`), with pages of 8 kB where no unit is given.
fn buffers(text: &str) -> Option<Quantity> {
    let text = text.trim();
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let unit: u64 = match unit.trim() {
        "" => 8 << 10,
        "B" => 1,
        "kB" => 1 << 10,
        "MB" => 1 << 20,
        "GB" => 1 << 30,
        "TB" => 1 << 40,
        _ => return None,
    };
    number.checked_mul(unit).map(Quantity::whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn what_must_not_be_lower_passes_and_what_acts_stays_behind() {
        let source = map(&[
            ("max_connections", "300"),
            ("Work_Mem", "16MB"),
            ("archive_command", "cp %p /archive"),
            ("restore_command", "cp"),
            ("primary_conninfo", "host=prod"),
            ("include", "/etc/x.conf"),
            ("max_logical_replication_workers", "10"),
            ("cron.launch_active_jobs", "on"),
            ("session_preload_libraries", "x"),
            ("dynamic_library_path", "/tmp"),
        ]);
        let libraries = ["pg_cron", "pg_stat_statements", "/tmp/evil.so", "own"].map(str::to_owned);
        let asked = ["own".to_owned(), "pg_cron".to_owned()];
        let made = settings(&source, &BTreeMap::new(), &libraries, &asked, None);
        let wanted = map(&[
            ("max_connections", "300"),
            ("work_mem", "16MB"),
            ("max_logical_replication_workers", "0"),
            ("cron.launch_active_jobs", "off"),
            ("pg_stat_statements.save", "off"),
        ]);
        assert_eq!(made.parameters, wanted);
        assert_eq!(made.preload, ["pg_stat_statements", "own"]);
        for name in ["archive_command", "include", "pg_cron", "/tmp/evil"] {
            assert!(made.left_behind.iter().any(|left| left == name), "{name}");
        }
    }

    #[test]
    fn a_definition_lowers_no_limit_that_replay_needs() {
        let source = map(&[("max_connections", "300"), ("work_mem", "64MB")]);
        let instead = map(&[("max_connections", "20"), ("work_mem", "4MB")]);
        let made = settings(&source, &instead, &[], &[], None);
        assert_eq!(made.parameters["max_connections"], "300");
        assert_eq!(made.parameters["work_mem"], "4MB");
        let instead = map(&[("max_connections", "400")]);
        let made = settings(&source, &instead, &[], &[], None);
        assert_eq!(made.parameters["max_connections"], "400");
    }

    #[test]
    fn shared_buffers_fit_the_memory() {
        for (buffers, memory, wanted) in [
            ("128MB", "1Gi", "128MB"),
            ("8GB", "1Gi", "256MB"),
            ("16384", "1Gi", "16384"),
            ("nonsense", "1Gi", "256MB"),
            ("512MB", "1Gi", "256MB"),
        ] {
            let source = map(&[("shared_buffers", buffers)]);
            let made = settings(&source, &BTreeMap::new(), &[], &[], Some(memory));
            assert_eq!(
                made.parameters["shared_buffers"], wanted,
                "{buffers} in {memory}"
            );
        }
    }
}
