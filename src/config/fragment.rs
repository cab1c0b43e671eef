//! A part of a configuration that does not come from a file: what a custom resource compiles
//! to. It goes through the very checks that a file goes through.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;

use serde_json::Value;

use super::error::Mistake;
use super::load::{Document, parsed};
use super::{
    Cluster, ConfigFile, DrillDefinition, Schedule, Tier, cross, cross_schedule, schema, tree,
};

/// Asked for hundreds of times when many resources change.
static MAIN: LazyLock<Value> = LazyLock::new(schema::config);
static DRILL: LazyLock<Value> = LazyLock::new(schema::drill);

/// A part of a configuration without mistakes of its own.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fragment {
    /// What groups of clusters promise.
    pub tiers: BTreeMap<String, Tier>,
    /// Clusters.
    pub clusters: Vec<Cluster>,
    /// Schedules.
    pub schedules: Vec<Schedule>,
    /// Drill definitions.
    pub drills: Vec<DrillDefinition>,
}

/// Reads `main`, which has the shape of walproof.yaml, with definitions of drills. What it
/// does not say itself must be checked where it is merged: a tier that is not in it must not
/// be named. Every mistake is told, as [`Mistake::message`] with its help.
pub fn read_fragment(main: &Value, drills: &[Value]) -> Result<Fragment, Vec<Mistake>> {
    let mut mistakes = Vec::new();
    let definitions: Vec<Document<DrillDefinition>> = drills
        .iter()
        .filter_map(|drill| document(drill, &DRILL, &mut mistakes))
        .collect();
    let main: Option<Document<ConfigFile>> = document(main, &MAIN, &mut mistakes);
    let Some(main) = main.filter(|_| mistakes.is_empty()) else {
        for drill in &definitions {
            cross::check_drill(drill, &mut mistakes);
        }
        return Err(mistakes);
    };
    cross::check(&main, &definitions, &mut mistakes);
    cross_schedule::check(&main, &definitions, &mut mistakes);
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    let ConfigFile {
        tiers,
        clusters,
        schedules,
        ..
    } = main.content;
    Ok(Fragment {
        tiers,
        clusters,
        schedules,
        drills: definitions.into_iter().map(|one| one.content).collect(),
    })
}

fn document<T: serde::de::DeserializeOwned>(
    value: &Value,
    schema: &Value,
    mistakes: &mut Vec<Mistake>,
) -> Option<Document<T>> {
    let nowhere = Path::new("");
    match tree::parse(nowhere, &value.to_string()) {
        Ok(tree) => parsed(nowhere, tree, schema, mistakes),
        Err(mistake) => {
            mistakes.push(mistake);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn messages(main: &Value, drills: &[Value]) -> Vec<String> {
        let mistakes = read_fragment(main, drills).unwrap_err();
        mistakes.into_iter().map(|one| one.message).collect()
    }

    #[test]
    fn a_fragment_is_checked_as_a_file_is() {
        let drill = json!({"version": 1, "name": "a.b", "checks": [
            {"name": "rows", "database": "app", "sql": "select 1", "rows": [[1.5, null, true, "x\n"]]},
        ]});
        let main = json!({"version": 1,
            "clusters": [{"name": "shop.orders", "primary": {"url": "s3://b/orders"}}],
            "schedules": [{"name": "a.b", "job": "drill", "cron": "0 3 * * *", "drill": "a.b"}],
        });
        let fragment = read_fragment(&main, std::slice::from_ref(&drill)).unwrap();
        assert_eq!(fragment.clusters[0].name, "shop.orders");
        assert_eq!(fragment.schedules[0].drill.as_deref(), Some("a.b"));
        let cells = &fragment.drills[0].checks[0].rows.as_ref().unwrap()[0];
        let cells: Vec<Option<&str>> = cells.iter().map(|cell| cell.0.as_deref()).collect();
        assert_eq!(cells, [Some("1.5"), None, Some("t"), Some("x\n")]);
        // Shape, meaning, and what one part says of another.
        let mut wrong = main.clone();
        wrong["schedules"][0]["cron"] = json!("99 * * * *");
        assert!(messages(&wrong, &[])[0].contains("cron"));
        assert!(messages(&main, &[])[0].contains("there is no drill `a.b`"));
        for (block, right) in [
            ("203.0.113.0/24", true),
            ("2001:db8::/32", true),
            ("203.0.113.0", false),
            ("203.0.113.0/33", false),
            ("store.example/24", false),
            ("203.0.113.0/+8", false),
        ] {
            let mut reached = drill.clone();
            reached["environment"] = json!("cnpg");
            reached["cnpg"] = json!({"store_cidrs": [block]});
            let read = read_fragment(&main, &[reached]);
            assert_eq!(read.is_ok(), right, "{block}: {read:?}");
        }
        let mut wrong = drill;
        wrong["checks"][0]["rows"] = Value::Null;
        assert!(messages(&main, &[wrong])[0].contains("expects nothing"));
    }
}
