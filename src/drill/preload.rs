//! Which of the source's `shared_preload_libraries` a restored server loads.

use crate::finding::{Code, Finding};
use crate::postgres::libraries::{acts, bare_name, is_harmless, quieting};

/// What is loaded, and what is said about the rest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preload {
    /// The libraries to load, in the source's order.
    pub load: Vec<String>,
    /// Settings that keep them quiet.
    pub settings: Vec<(String, String)>,
    /// Libraries that were left out, each with a finding.
    pub findings: Vec<Finding>,
}

/// Decides for each of the source's libraries. `asked` are those that the drill definition
/// names for its checks; `available` says whether this machine has the library (`None`
/// when it cannot tell: then it is left out, because a library that cannot be loaded keeps
/// the server from starting).
pub fn decide(
    source: &[String],
    asked: &[String],
    available: impl Fn(&str) -> Option<bool>,
) -> Preload {
    let mut preload = Preload::default();
    let mut seen: Vec<&str> = Vec::new();
    for library in source.iter().chain(asked) {
        let name = bare_name(library);
        if name.is_empty() || seen.contains(&name) {
            continue;
        }
        seen.push(name);
        let legal = name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
        let quiet = quieting(name);
        let was_asked = asked.iter().any(|library| bare_name(library) == name);
        let harmless = !quiet.is_empty() || is_harmless(name);
        let set_aside = |why: &str| {
            Finding::new(
                Code::PreloadLibrarySetAside,
                name,
                format!("shared_preload_libraries names {name:?}, which {why}"),
            )
        };
        if let Some(does) = acts(name) {
            preload.findings.push(set_aside(does));
        } else if !legal || (!harmless && !was_asked) {
            preload
                .findings
                .push(set_aside("is not known to be harmless in a copy"));
        } else if available(name) != Some(true) {
            preload.findings.push(Finding::new(
                Code::PreloadLibraryMissing,
                name,
                format!("shared_preload_libraries names {name:?}, which is not installed on this machine"),
            ));
        } else {
            preload.load.push(name.to_owned());
            preload.settings.extend(
                quiet
                    .iter()
                    .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
            );
        }
    }
    preload
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn each_library_gets_its_answer() {
        let source = names(&[
            "pg_stat_statements",
            "$libdir/pg_cron.so",
            "timescaledb",
            "house_library",
            "pg_stat_statements",
        ]);
        let preload = decide(&source, &[], |name| Some(name != "timescaledb"));
        assert_eq!(preload.load, ["pg_stat_statements"]);
        let said: Vec<(Code, &str)> = preload
            .findings
            .iter()
            .map(|finding| (finding.code, finding.object.as_str()))
            .collect();
        assert_eq!(
            said,
            [
                (Code::PreloadLibrarySetAside, "pg_cron"),
                (Code::PreloadLibraryMissing, "timescaledb"),
                (Code::PreloadLibrarySetAside, "house_library"),
            ]
        );
    }

    #[test]
    fn a_definition_may_add_a_library_but_none_that_reaches_outside() {
        let asked = names(&["house_library", "pg_cron"]);
        let preload = decide(&[], &asked, |_| Some(true));
        assert_eq!(preload.load, ["house_library"]);
        assert_eq!(preload.findings[0].code, Code::PreloadLibrarySetAside);
    }

    #[test]
    fn timescaledb_comes_without_its_workers() {
        let preload = decide(&names(&["timescaledb"]), &[], |_| Some(true));
        assert!(
            preload.settings.iter().any(|(name, value)| {
                name == "timescaledb.max_background_workers" && value == "0"
            })
        );
    }

    #[test]
    fn a_library_that_may_be_missing_is_not_loaded() {
        let preload = decide(&names(&["pg_stat_statements"]), &[], |_| None);
        assert_eq!(preload.load, Vec::<String>::new());
    }
}
