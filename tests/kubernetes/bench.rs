//! A drill by walproof beside the same by hand: `scripts/bench-kubernetes` runs this.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::common::kubernetes::source::Source;
use crate::common::kubernetes::{Lab, cluster};
use crate::common::process;
use crate::kit::{Drilled, Place};

/// How many pairs; `WALPROOF_BENCH_ROUNDS` says otherwise.
const ROUNDS: usize = 3;

/// Seconds of the steps of a drill, by hand or by walproof.
#[derive(Clone, Copy, Debug, Default)]
struct Steps {
    /// What is decided before anything is made: by walproof with a look through the
    /// repository, by hand with a few reads of the API.
    decide: f64,
    /// Namespace, credentials, Cluster, until the operator has made the Job.
    prepare: f64,
    /// From there until the Cluster is ready.
    recover: f64,
    /// The questions.
    check: f64,
    /// Until the namespace is gone.
    tear_down: f64,
    /// All of it, the start of the program and its last words too.
    total: f64,
}

impl Steps {
    const NAMES: [&str; 6] = [
        "decide",
        "prepare",
        "recover",
        "check",
        "tear-down",
        "total",
    ];

    fn all(self) -> [f64; 6] {
        [
            self.decide,
            self.prepare,
            self.recover,
            self.check,
            self.tear_down,
            self.total,
        ]
    }
}

fn by_hand(lab: &Lab, source: &Source, target: &str, query: &str, place: &Path) -> Steps {
    let times = place.join("by-hand.json");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/drill-by-hand");
    process::run(
        Command::new(script)
            .args([source.name(), Source::CLUSTER, "--secret", Source::READER])
            .args(["--target-time", target, "--query", query, "--times"])
            .arg(&times)
            .env("KUBECONFIG", &lab.kubeconfig)
            .env("KUBECTL", &lab.kubectl)
            .env("BY_HAND_PREFIX", format!("{}-hand", lab.prefix)),
    );
    let report: Value = serde_json::from_slice(&std::fs::read(times).unwrap()).unwrap();
    let of = |step: &str| report["seconds"][step].as_f64().unwrap();
    Steps {
        decide: of("derive"),
        prepare: of("prepare") + of("job"),
        recover: of("recovery"),
        check: of("check"),
        tear_down: of("tear-down"),
        total: of("total"),
    }
}

fn by_walproof(drilled: &Drilled) -> Steps {
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of minutes")]
    let of = |phases: &[&str]| -> f64 {
        phases.iter().map(|phase| drilled.phase(phase)).sum::<u64>() as f64 / 1000.0
    };
    Steps {
        decide: of(&["admit"]),
        prepare: of(&["provision"]),
        recover: of(&["fetch-base", "reach-consistency", "replay", "promote"]),
        check: of(&["first-query", "checks"]),
        tear_down: of(&["tear-down"]),
        total: drilled.took.as_secs_f64(),
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Pair by pair, on the same source, to the same moment, in turn which goes first.
#[test]
#[ignore = "measures for minutes; scripts/bench-kubernetes runs it"]
fn a_drill_beside_the_same_by_hand() {
    let lab = cluster!();
    let _quiet = lab.alone();
    let rounds = std::env::var("WALPROOF_BENCH_ROUNDS").ok();
    let rounds = rounds.map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    let source = Source::plugin(lab);
    let moment = source.moment(0.5);
    // What is measured is the recovery, not the load beside it.
    source.stop_load();
    source.archive();
    let target = moment.at.format("%Y-%m-%d %H:%M:%S%.6f+00:00").to_string();
    let query = "select count(*) from history";
    let place = Place::new(lab);
    place.configure(source, "");
    let lines = format!(
        "target: 'time:{}'\nchecks:\n- {{name: rows, database: {}, sql: '{query}', expect: '= {}'}}\n",
        moment.at.format("%Y-%m-%dT%H:%M:%S%.6fZ"),
        Source::DATABASE,
        moment.rows
    );
    let definition = place.definition("bench", &json!({}), &lines);
    let mut hand = Vec::new();
    let mut ours = Vec::new();
    for round in 0..rounds {
        let drill = || {
            let drilled = place.drill(&definition, &[]).expect(0);
            drilled.print_phases();
            by_walproof(&drilled)
        };
        let script = || by_hand(lab, source, &target, query, place.path());
        let (one, other) = if round % 2 == 0 {
            let one = script();
            (one, drill())
        } else {
            let other = drill();
            (script(), other)
        };
        println!(
            "round {}: by hand {:.1} s, walproof {:.1} s",
            round + 1,
            one.total,
            other.total
        );
        hand.push(one);
        ours.push(other);
    }
    println!(
        "\n{:<12}{:>10}{:>10}{:>12}   medians of {rounds}, seconds",
        "", "by hand", "walproof", "difference"
    );
    for (index, name) in Steps::NAMES.iter().enumerate() {
        let one = median(hand.iter().map(|steps| steps.all()[index]).collect());
        let other = median(ours.iter().map(|steps| steps.all()[index]).collect());
        println!("{name:<12}{one:>10.2}{other:>10.2}{:>+12.2}", other - one);
    }
    let pairs = hand
        .iter()
        .zip(&ours)
        .map(|(hand, ours)| ours.total - hand.total);
    println!(
        "overhead, median of the pairs: {:+.2} s",
        median(pairs.collect())
    );
}
