//! What is known of the libraries that servers preload: which may be loaded in a restored
//! copy of a database, and what keeps them quiet there.

/// Libraries that neither act on the world outside nor change data by themselves.
const HARMLESS: &[&str] = &[
    "auto_explain",
    "auth_delay",
    "hypopg",
    "passwordcheck",
    "pg_hint_plan",
    "pg_prewarm",
    "pg_qualstats",
    "pg_stat_kcache",
    "pg_stat_monitor",
    "pg_stat_statements",
    "pg_store_plans",
    "pg_wait_sampling",
    "pgaudit",
    "plpgsql_check",
    "set_user",
];

/// Libraries that reach outside or act by themselves, with what they do.
const ACTING: &[(&str, &str)] = &[
    ("basebackup_to_shell", "runs commands"),
    ("basic_archive", "archives WAL"),
    ("bdr", "replicates from and to other servers"),
    ("citus", "connects to other nodes"),
    ("pg_auto_failover", "acts on the cluster"),
    ("pg_cron", "runs jobs"),
    ("pg_failover_slots", "connects to the primary"),
    ("pg_net", "sends requests to the network"),
    ("pg_partman_bgw", "makes and drops tables"),
    ("pg_squeeze", "rewrites tables"),
    ("pg_timetable", "runs jobs"),
    ("pgagent", "runs jobs"),
    ("pgautofailover", "acts on the cluster"),
    ("pglogical", "replicates from and to other servers"),
    ("repmgr", "acts on the cluster"),
    ("spock", "replicates from and to other servers"),
    ("supautils", "changes what roles may do"),
    ("wal2json", "decodes WAL for others"),
    ("worker_spi", "runs statements"),
];

/// Libraries with workers or files of their own, and the settings that keep them quiet.
pub const QUIETED: &[(&str, &[(&str, &str)])] = &[
    ("pg_prewarm", &[("pg_prewarm.autoprewarm", "off")]),
    ("pg_stat_statements", &[("pg_stat_statements.save", "off")]),
    (
        "timescaledb",
        &[
            ("timescaledb.max_background_workers", "0"),
            ("timescaledb.telemetry_level", "off"),
        ],
    ),
];

/// A library's bare name: `$libdir/pg_cron.so` is `pg_cron`.
pub fn bare_name(library: &str) -> &str {
    let name = library.trim().trim_matches('"').trim();
    let name = name.strip_prefix("$libdir/").unwrap_or(name);
    name.strip_suffix(".so").unwrap_or(name)
}

/// Whether this library neither acts on the world outside nor changes data by itself, as it
/// comes.
pub fn is_harmless(name: &str) -> bool {
    HARMLESS.contains(&name)
}

/// What a library does that nobody wants of a restored copy. Such a library is never
/// loaded, whoever asks for it. `None` for one of which nothing of the kind is known.
pub fn acts(name: &str) -> Option<&'static str> {
    ACTING
        .iter()
        .find_map(|(known, does)| (*known == name).then_some(*does))
}

/// The settings that keep a library quiet; none for one that needs none.
pub fn quieting(name: &str) -> &'static [(&'static str, &'static str)] {
    QUIETED
        .iter()
        .find_map(|(known, settings)| (*known == name).then_some(*settings))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bare() {
        for written in ["pg_cron", "$libdir/pg_cron", " \"$libdir/pg_cron.so\" "] {
            assert_eq!(bare_name(written), "pg_cron");
        }
        // A path elsewhere is no name that anybody knows.
        assert_eq!(bare_name("/tmp/pgaudit.so"), "/tmp/pgaudit");
    }

    #[test]
    fn no_library_is_both_harmless_and_acting() {
        for (name, _) in ACTING {
            assert!(!is_harmless(name) && quieting(name).is_empty(), "{name}");
        }
        assert_eq!(acts("pg_cron"), Some("runs jobs"));
        assert_eq!(acts("pgaudit"), None);
        assert!(is_harmless("pgaudit") && !is_harmless("timescaledb"));
        assert_eq!(quieting("timescaledb").len(), 2);
    }
}
