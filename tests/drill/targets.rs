//! Targets in the past: rows before are there, rows after are not.

use chrono::SecondsFormat;

use crate::common::repository::{Fixture, RepositoryOptions};
use crate::common::require;
use crate::kit::{Place, check};

#[test]
fn each_kind_of_target_ends_where_it_says() {
    require!(Postgres, S3, Barman);
    let fixture = Fixture::get(&RepositoryOptions::default());
    let (facts, tree) = (&fixture.facts, fixture.tree());
    let (middle, tip) = (facts.moment("middle"), facts.tip());
    let time = middle.time.to_rfc3339_opts(SecondsFormat::Micros, true);
    let xid = tip.xid.to_string();
    for (more, rows) in [
        (&["--target-name", "middle"][..], middle.rows),
        (&["--target-time", &time], middle.rows),
        (&["--target-xid", &xid], tip.rows),
        (&["--target-lsn", &middle.lsn, "--exclusive"], middle.rows),
    ] {
        let place = Place::new();
        let definition = place.definition(&format!(
            "checks:\n- {{name: rows, database: postgres, sql: 'select count(*) from ledger', expect: '= {rows}'}}\n"
        ));
        let mut arguments = vec!["--definition", &definition];
        arguments.extend(more);
        let run = place.drill(&tree.url(), &arguments);
        let report = run.expect_code(0).json();
        assert_eq!(report["proof"]["state"], "held", "{more:?}");
        assert_eq!(check(&report, "rows")["outcome"], "passed", "{more:?}");
        place.assert_clean();
    }
}
