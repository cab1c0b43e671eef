//! Libraries that a server loads at its start.

use schemars::JsonSchema;
use serde::Serialize;

use crate::postgres::libraries::{bare_name, is_harmless};

/// `shared_preload_libraries`, judged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PreloadReview {
    /// May be loaded, if they are installed.
    pub allowed: Vec<String>,
    /// Not loaded: they may act on the world outside (`pg_cron`, `pglogical`, …), or are
    /// unknown.
    pub set_aside: Vec<String>,
}

/// Judges a list of libraries as `shared_preload_libraries` writes it. `wanted` are names
/// that a person explicitly allows.
pub fn review_preload(value: &str, wanted: &[String]) -> PreloadReview {
    let mut review = PreloadReview::default();
    for entry in value.split(',') {
        let name = entry.trim().trim_matches('"').trim();
        if name.is_empty() {
            continue;
        }
        let bare = bare_name(name);
        let allowed = is_harmless(bare) || wanted.iter().any(|wanted| wanted == bare);
        // A path loads whatever lies there on this machine.
        if allowed && !bare.contains('/') {
            push_once(&mut review.allowed, bare);
        } else {
            push_once(&mut review.set_aside, name);
        }
    }
    review
}

fn push_once(list: &mut Vec<String>, name: &str) {
    if !list.iter().any(|known| known == name) {
        list.push(name.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_harmless_pass_and_all_others_are_named() {
        let review = review_preload(
            r#"pg_stat_statements, pg_cron,"auto_explain" ,$libdir/pgaudit, /tmp/pgaudit, , pg_cron"#,
            &[],
        );
        assert_eq!(
            review.allowed,
            ["pg_stat_statements", "auto_explain", "pgaudit"]
        );
        assert_eq!(review.set_aside, ["pg_cron", "/tmp/pgaudit"]);
        let wanted = review_preload("timescaledb,pg_cron", &["timescaledb".to_owned()]);
        assert_eq!(wanted.allowed, ["timescaledb"]);
        assert_eq!(wanted.set_aside, ["pg_cron"]);
        assert_eq!(review_preload("", &[]), PreloadReview::default());
    }
}
