//! Due moments against a walk over every minute, and the nights on which clocks are changed.

use chrono::{Datelike as _, LocalResult, NaiveTime};
use proptest::prelude::*;

use super::*;

const ZONES: [&str; 6] = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    // Half an hour.
    "Australia/Lord_Howe",
    // Left out 30 December 2011; gave up daylight saving in 2021.
    "Pacific/Apia",
    // Changes at midnight: days begin at 01:00.
    "America/Santiago",
];

fn moments(cron: &str, zone: &str) -> Moments {
    Moments::new(&cron.parse().unwrap(), zone.parse().unwrap())
}

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn between(cron: &str, zone: &str, from: &str, to: &str) -> Vec<String> {
    let moments = moments(cron, zone);
    let zone: Tz = zone.parse().unwrap();
    let mut found = Vec::new();
    let mut last = at(from);
    while let Some(next) = moments.after(last).filter(|next| *next < at(to)) {
        found.push(next.with_timezone(&zone).format("%d %H:%M%z").to_string());
        last = next;
    }
    found
}

/// A field of the dialect as the walk reads it, without the code under test.
#[derive(Clone, Debug)]
struct Field {
    text: String,
    values: Vec<u32>,
}

impl Field {
    fn star(range: std::ops::RangeInclusive<u32>) -> Self {
        Self {
            text: "*".to_owned(),
            values: range.collect(),
        }
    }

    fn restricted(&self) -> bool {
        !self.text.starts_with('*')
    }
}

fn field(range: std::ops::RangeInclusive<u32>) -> impl Strategy<Value = Field> {
    let (least, most) = (*range.start(), *range.end());
    let all = Field::star(range.clone());
    prop_oneof![
        3 => Just(all),
        2 => (2..=most / 2).prop_map(move |step| Field {
            text: format!("*/{step}"),
            values: (least..=most).step_by(step as usize).collect(),
        }),
        4 => prop::collection::btree_set(least..=most, 1..4).prop_map(|values| Field {
            text: values.iter().map(u32::to_string).collect::<Vec<_>>().join(","),
            values: values.into_iter().collect(),
        }),
        2 => (least..=most, least..=most).prop_map(|(a, b)| Field {
            text: format!("{}-{}", a.min(b), a.max(b)),
            values: (a.min(b)..=a.max(b)).collect(),
        }),
    ]
}

#[derive(Clone, Debug)]
struct Fields {
    minute: Field,
    hour: Field,
    day: Field,
    month: Field,
    weekday: Field,
}

impl Fields {
    fn text(&self) -> String {
        let fields = [
            &self.minute,
            &self.hour,
            &self.day,
            &self.month,
            &self.weekday,
        ];
        fields.map(|field| field.text.clone()).join(" ")
    }

    fn selects(&self, wall: NaiveDateTime) -> bool {
        let holds = |field: &Field, value: u32| field.values.contains(&value);
        let day = holds(&self.day, wall.day());
        let weekday = holds(&self.weekday, wall.weekday().num_days_from_sunday());
        let days = if self.day.restricted() && self.weekday.restricted() {
            day || weekday
        } else {
            day && weekday
        };
        holds(&self.minute, wall.minute())
            && holds(&self.hour, wall.hour())
            && holds(&self.month, wall.month())
            && days
    }

    /// Every moment of a stretch, minute by minute of the wall clock and of real time.
    fn walk(&self, zone: Tz, from: DateTime<Utc>, to: DateTime<Utc>) -> Vec<DateTime<Utc>> {
        let mut due = std::collections::BTreeSet::new();
        let every_hour = self.hour.values.len() == 24;
        if every_hour {
            let mut moment = from;
            while moment < to {
                if self.selects(moment.with_timezone(&zone).naive_local()) {
                    due.insert(moment);
                }
                moment += TimeDelta::minutes(1);
            }
            return due.into_iter().collect();
        }
        // A day of margin on both sides: the wall clock is ahead or behind, and days vanish.
        let mut wall = (from - TimeDelta::days(2)).naive_utc();
        let end = (to + TimeDelta::days(2)).naive_utc();
        while wall < end {
            if self.selects(wall) {
                match zone.from_local_datetime(&wall) {
                    LocalResult::Single(one) | LocalResult::Ambiguous(one, _) => {
                        due.insert(one.with_timezone(&Utc));
                    }
                    LocalResult::None => {
                        // The end of the gap: the next minute that exists.
                        let mut later = wall;
                        let moment = loop {
                            later += TimeDelta::minutes(1);
                            if let Some(moment) = zone.from_local_datetime(&later).earliest() {
                                break moment;
                            }
                        };
                        due.insert(moment.with_timezone(&Utc));
                    }
                }
            }
            wall += TimeDelta::minutes(1);
        }
        due.into_iter()
            .filter(|moment| (from..to).contains(moment))
            .collect()
    }
}

fn fields() -> impl Strategy<Value = Fields> {
    (
        field(0..=59),
        field(0..=23),
        field(1..=31),
        prop_oneof![3 => Just(Field::star(1..=12)), 1 => field(1..=12)],
        field(0..=6),
    )
        .prop_map(|(minute, hour, day, month, weekday)| Fields {
            minute,
            hour,
            day,
            month,
            weekday,
        })
}

/// Days around changes of clocks, and some others.
fn days() -> impl Strategy<Value = DateTime<Utc>> {
    let known = [
        "2026-03-29",
        "2026-10-25",
        "2026-03-08",
        "2026-11-01",
        "2026-04-05",
        "2026-10-04",
        "2011-12-30",
        "2020-09-27",
        "2021-04-04",
        "2026-09-06",
        "2024-02-28",
        "2026-12-31",
    ];
    (prop::sample::select(known.to_vec()), -2_i64..2).prop_map(|(day, offset)| {
        let date: chrono::NaiveDate = day.parse().unwrap();
        date.and_time(NaiveTime::MIN).and_utc() + TimeDelta::days(offset)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(160))]

    #[test]
    fn due_moments_are_those_of_a_walk_over_every_minute(
        fields in fields(),
        zone in prop::sample::select(ZONES.as_slice()),
        from in days(),
    ) {
        let Ok(expression) = fields.text().parse::<CronExpression>() else {
            // No such day in any year.
            return Ok(());
        };
        let to = from + TimeDelta::days(3);
        let moments = Moments::new(&expression, zone.parse().unwrap());
        let mut due = Vec::new();
        let mut last = from - TimeDelta::seconds(1);
        while let Some(next) = moments.after(last).filter(|next| *next < to) {
            prop_assert!(next > last);
            due.push(next);
            last = next;
        }
        prop_assert_eq!(&due, &fields.walk(zone.parse().unwrap(), from, to), "{}", fields.text());
        let passed = moments.passed(from - TimeDelta::seconds(1), to - TimeDelta::seconds(1));
        let counted = passed.map(|passed| (passed.first, passed.last, passed.moments));
        let expected = due.first().zip(due.last()).map(|(first, last)| (*first, *last, due.len() as u64));
        prop_assert_eq!(counted, expected);
    }
}

#[test]
fn berlin_in_spring_and_autumn() {
    let spring = ("2026-03-28T12:00:00Z", "2026-03-30T10:00:00Z");
    assert_eq!(
        between("30 2 * * *", "Europe/Berlin", spring.0, spring.1),
        ["29 03:00+0200", "30 02:30+0200"]
    );
    // Real time goes on: an hour lies between them.
    assert_eq!(
        between(
            "30 * * * *",
            "Europe/Berlin",
            "2026-03-29T00:00:00Z",
            "2026-03-29T03:00:00Z"
        ),
        ["29 01:30+0100", "29 03:30+0200", "29 04:30+0200"]
    );
    // What falls together is due once.
    assert_eq!(
        between(
            "0,30 2,3 * * *",
            "Europe/Berlin",
            "2026-03-29T00:00:00Z",
            "2026-03-29T03:00:00Z"
        ),
        ["29 03:00+0200", "29 03:30+0200"]
    );
    let autumn = ("2026-10-24T23:30:00Z", "2026-10-25T03:30:00Z");
    assert_eq!(
        between("30 2 * * *", "Europe/Berlin", autumn.0, autumn.1),
        ["25 02:30+0200"]
    );
    assert_eq!(
        between("0 * * * *", "Europe/Berlin", autumn.0, autumn.1),
        [
            "25 02:00+0200",
            "25 02:00+0100",
            "25 03:00+0100",
            "25 04:00+0100"
        ]
    );
    assert_eq!(
        between("*/30 2 * * *", "Europe/Berlin", autumn.0, autumn.1),
        ["25 02:00+0200", "25 02:30+0200"]
    );
}

#[test]
fn other_zones_have_other_changes() {
    assert_eq!(
        between(
            "30 2 * * *",
            "America/New_York",
            "2026-03-07T12:00:00Z",
            "2026-03-09T12:00:00Z"
        ),
        ["08 03:00-0400", "09 02:30-0400"]
    );
    assert_eq!(
        between(
            "30 1 * * *",
            "America/New_York",
            "2026-11-01T00:00:00Z",
            "2026-11-02T12:00:00Z"
        ),
        ["01 01:30-0400", "02 01:30-0500"]
    );
    // 02:00 becomes 02:30.
    assert_eq!(
        between(
            "15 2 * * *",
            "Australia/Lord_Howe",
            "2026-10-03T00:00:00Z",
            "2026-10-05T00:00:00Z"
        ),
        ["04 02:30+1100", "05 02:15+1100"]
    );
    // A whole day is left out.
    assert_eq!(
        between(
            "0 3 * * *",
            "Pacific/Apia",
            "2011-12-29T00:00:00Z",
            "2012-01-01T00:00:00Z"
        ),
        [
            "29 03:00-1000",
            "31 00:00+1400",
            "31 03:00+1400",
            "01 03:00+1400"
        ]
    );
}

#[test]
fn rare_moments_are_found_and_many_are_counted() {
    let leap = moments("0 3 29 2 *", "Europe/Berlin");
    assert_eq!(
        leap.after(at("2026-01-01T00:00:00Z")),
        Some(at("2028-02-29T02:00:00Z"))
    );
    assert_eq!(
        leap.after(at("2096-03-01T00:00:00Z")),
        None,
        "the year 2100 has none"
    );
    let often = moments("* * * * *", "UTC");
    let passed = often
        .passed(at("2024-01-01T00:00:00Z"), at("2024-02-01T00:00:00Z"))
        .unwrap();
    assert_eq!(passed.moments, 31 * 24 * 60);
    assert_eq!(passed.last, at("2024-02-01T00:00:00Z"));
    let seconds = moments("*/15 * * * * *", "UTC");
    assert_eq!(
        seconds.after(at("2026-01-01T00:00:00.5Z")),
        Some(at("2026-01-01T00:00:15Z"))
    );
    assert_eq!(
        often.passed(at("2024-01-01T00:00:00Z"), at("2024-01-01T00:00:59Z")),
        None
    );
}

#[test]
fn the_newest_is_found_where_counting_ends() {
    let nightly = moments("0 3 * * *", "UTC");
    let (known, until) = (at("2020-01-01T03:00:00Z"), at("2026-01-05T02:00:00Z"));
    assert_eq!(nightly.newest(known, until), at("2026-01-04T03:00:00Z"));
    assert_eq!(nightly.newest(known, known), known);
}
