//! What a person sees.

use walproof::cli::render::style::Style;
use walproof::cli::render::verify::render;

use super::*;
use crate::common::require;

#[test]
fn a_hole_is_drawn_named_and_explained_within_the_width() {
    require!(Postgres, S3, Barman);
    let fixture = fixture(TimelineSwitch::None);
    let tree = fixture.tree();
    let gone = later(&fixture.facts.backups[0].end_wal, 1);
    tree.delete_wal(&gone);
    // The fixture may be an hour old: look at it when it was new.
    let report = verify_at(
        &tree,
        fixture.facts.tip().time + chrono::Duration::seconds(2),
    );
    for (style, hole) in [
        (Style::PLAIN, "X"),
        (
            Style {
                unicode: true,
                width: 100,
                color: false,
            },
            "╳",
        ),
    ] {
        let text = render(&report, style, 20);
        println!("{text}");
        let line = text
            .lines()
            .find(|line| line.starts_with(['|', '│']))
            .unwrap();
        assert_eq!(line.chars().count(), style.width);
        assert!(line.contains(hole) && line.contains('B'), "{line}");
        assert!(text.contains(&gone) && text.contains("wal-gap"));
        let words: Vec<&str> = text.split_whitespace().collect();
        assert!(words.join(" ").contains("with 1 hole."));
        let too_long = |line: &&str| line.chars().count() > style.width;
        let wide: Vec<&str> = text.lines().filter(too_long).collect();
        assert!(wide.is_empty(), "{wide:#?}");
        assert!(!text.contains('\u{1b}'));
    }
    let colored = Style {
        color: true,
        ..Style::PLAIN
    };
    assert!(render(&report, colored, 20).contains('\u{1b}'));
}

#[test]
fn a_healthy_copy_is_calm() {
    require!(Postgres, S3, Barman);
    let report = verify(&fixture(TimelineSwitch::Promotion).tree());
    let text = render(&report, Style::PLAIN, 20);
    println!("{text}");
    assert!(text.contains("No findings."));
    assert!(text.contains("only a restore proves"));
    assert!(!text.contains("hole"));
}

#[test]
fn what_was_read_is_told_in_figures() {
    require!(Postgres, S3, Barman);
    let report = verify_read(&fixture(TimelineSwitch::None).tree());
    let text = render(&report, Style::PLAIN, 20);
    println!("{text}");
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let wal = report.wal.as_ref().unwrap();
    for told in [
        "depth read: every byte was read; only a restore proves".to_owned(),
        format!("{} records", wal.records),
        format!("{} commits from ", wal.commits),
        "2 base backups".to_owned(),
        "a second decoded".to_owned(),
    ] {
        assert!(words.contains(&told), "{told:?} in {words}");
    }
    let pages: u64 = report.bases.iter().map(|base| base.pages.read).sum();
    assert!(words.contains(&format!("{pages} pages")), "{words}");
    let wide: Vec<&str> = text
        .lines()
        .filter(|line| line.chars().count() > Style::PLAIN.width)
        .collect();
    assert!(wide.is_empty(), "{wide:#?}");
}
