//! When a schedule comes: the five fields of `crontab(5)`, six with seconds, or a nickname.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A cron expression, read as `crontab(5)` reads it.
///
/// - Five fields (minute, hour, day of month, month, day of week) or six (seconds first).
/// - Sunday is 0, 7 or `SUN`; Monday is 1.
/// - Where both days are restricted, either one is enough; a field that begins with `*`
///   does not restrict (so with `*/2` in one of them, both must hold).
/// - `@hourly`, `@daily`, `@midnight`, `@weekly`, `@monthly`, `@yearly`, `@annually`.
///
/// The `cron` crate computes; it numbers Sunday 1, wants seconds and joins both days by
/// "and", so what is written here is translated for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CronExpression {
    text: String,
    /// In the words of the crate; two where either day is enough.
    translated: Vec<String>,
    every_hour: bool,
}

/// A text that is no cron expression, with what is wrong about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a cron expression: {reason}")]
pub struct ParseCronError {
    text: String,
    reason: String,
}

impl CronExpression {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether no hour of the day is left out: such a schedule goes by real time where
    /// clocks are changed, all others by the clock on the wall.
    pub const fn every_hour(&self) -> bool {
        self.every_hour
    }

    /// The crate's schedules, over wall-clock times; a moment is due when one of them says
    /// so.
    pub fn schedules(&self) -> Vec<::cron::Schedule> {
        self.translated
            .iter()
            .filter_map(|text| ::cron::Schedule::from_str(text).ok())
            .collect()
    }
}

impl fmt::Display for CronExpression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What a field may hold.
struct Field {
    name: &'static str,
    least: u32,
    most: u32,
    names: &'static [&'static str],
}

const SECOND: Field = Field::numbers("second", 0, 59);
const MINUTE: Field = Field::numbers("minute", 0, 59);
const HOUR: Field = Field::numbers("hour", 0, 23);
const DAY: Field = Field::numbers("day of month", 1, 31);
const MONTH: Field = Field {
    name: "month",
    least: 1,
    most: 12,
    names: &[
        "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
    ],
};
const WEEKDAY: Field = Field {
    name: "day of week",
    least: 0,
    most: 7,
    names: &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"],
};

impl Field {
    const fn numbers(name: &'static str, least: u32, most: u32) -> Self {
        Self {
            name,
            least,
            most,
            names: &[],
        }
    }

    fn number(&self, text: &str) -> Result<u32, String> {
        let name = self.name;
        if let Some(index) = self
            .names
            .iter()
            .position(|known| known.eq_ignore_ascii_case(text))
        {
            return Ok(self.least + u32::try_from(index).unwrap_or(0));
        }
        if text.contains(['L', 'W', '#', '?']) && text.len() <= 4 {
            return Err(format!(
                "`{text}` in the {name}: L, W, # and ? are not known here; a drill on the last day of a month is written as `28` or as `1` of the next"
            ));
        }
        let number: u32 = text.parse().map_err(|_| format!("`{text}` is no {name}"))?;
        if (self.least..=self.most).contains(&number) {
            Ok(number)
        } else {
            Err(format!(
                "{number} is no {name} ({} to {})",
                self.least, self.most
            ))
        }
    }

    /// The values that a field's text selects, ascending; Sunday as 0.
    fn values(&self, text: &str) -> Result<Vec<u32>, String> {
        let mut selected = Vec::new();
        for part in text.split(',') {
            let (range, step) = match part.split_once('/') {
                None => (part, 1),
                Some((range, step)) => {
                    let step: u32 = step
                        .parse()
                        .ok()
                        .filter(|step| (1..=self.most).contains(step))
                        .ok_or_else(|| {
                            format!("`{part}`: a step is a number from 1 to {}", self.most)
                        })?;
                    (range, step)
                }
            };
            let (first, last) = if range == "*" {
                // 7 is only another name of Sunday.
                let most = if self.most == WEEKDAY.most {
                    6
                } else {
                    self.most
                };
                (self.least, most)
            } else if let Some((first, last)) = range.split_once('-') {
                (self.number(first)?, self.number(last)?)
            } else if step != 1 || part.contains('/') {
                return Err(format!(
                    "`{part}`: a step needs `*` or a range before it, as in `{range}-{}/{step}`",
                    self.most
                ));
            } else {
                let value = self.number(range)?;
                (value, value)
            };
            if first > last {
                return Err(format!(
                    "`{part}` begins after it ends; write it as two parts with `,` between"
                ));
            }
            let steps = usize::try_from(step).unwrap_or(1);
            selected.extend((first..=last).step_by(steps));
        }
        if self.most == WEEKDAY.most {
            for value in &mut selected {
                *value %= 7;
            }
        }
        selected.sort_unstable();
        selected.dedup();
        Ok(selected)
    }
}

fn listed(values: &[u32], all: usize) -> String {
    if values.len() == all {
        return "*".to_owned();
    }
    let words: Vec<String> = values.iter().map(u32::to_string).collect();
    words.join(",")
}

fn nickname(text: &str) -> Result<&'static str, String> {
    Ok(match text.to_ascii_lowercase().as_str() {
        "@hourly" => "0 * * * *",
        "@daily" | "@midnight" => "0 0 * * *",
        "@weekly" => "0 0 * * 0",
        "@monthly" => "0 0 1 * *",
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@reboot" => {
            return Err(
                "nothing is run because the daemon starts; `catch_up` says what happens to what was due while it was down"
                    .to_owned(),
            );
        }
        _ => {
            return Err(
                "the nicknames are @hourly, @daily, @midnight, @weekly, @monthly and @yearly"
                    .to_owned(),
            );
        }
    })
}

/// The crate's expressions, and whether every hour is selected.
fn translate(text: &str) -> Result<(Vec<String>, bool), String> {
    let text = text.trim();
    let plain = if text.starts_with('@') {
        nickname(text)?
    } else {
        text
    };
    let fields: Vec<&str> = plain.split_ascii_whitespace().collect();
    let (second, minute, hour, day, month, weekday) = match *fields.as_slice() {
        [minute, hour, day, month, weekday] => ("0", minute, hour, day, month, weekday),
        [second, minute, hour, day, month, weekday] => (second, minute, hour, day, month, weekday),
        _ => {
            return Err(format!(
                "it has {} fields; write five (minute, hour, day of month, month, day of week), six with seconds before them, or @daily",
                fields.len()
            ));
        }
    };
    let seconds = listed(&SECOND.values(second)?, 60);
    let minutes = listed(&MINUTE.values(minute)?, 60);
    let hours = HOUR.values(hour)?;
    let every_hour = hours.len() == 24;
    let hours = listed(&hours, 24);
    let days = listed(&DAY.values(day)?, 31);
    let months = listed(&MONTH.values(month)?, 12);
    // The crate numbers Sunday 1.
    let weekdays: Vec<u32> = WEEKDAY
        .values(weekday)?
        .into_iter()
        .map(|number| number + 1)
        .collect();
    let weekdays = listed(&weekdays, 7);
    let clock = format!("{seconds} {minutes} {hours}");
    let either = !day.starts_with('*') && !weekday.starts_with('*');
    let translated = if either {
        vec![
            format!("{clock} {days} {months} *"),
            format!("{clock} * {months} {weekdays}"),
        ]
    } else {
        vec![format!("{clock} {days} {months} {weekdays}")]
    };
    let mut comes = false;
    for text in &translated {
        let schedule = ::cron::Schedule::from_str(text).map_err(|error| format!("{error}"))?;
        // 29 February on a given weekday comes every 28 years, or after 40 around 2100.
        comes |= schedule
            .after(&chrono::DateTime::UNIX_EPOCH)
            .next()
            .is_some();
    }
    if !comes {
        return Err("there is no such day in any year".to_owned());
    }
    Ok((translated, every_hour))
}

impl FromStr for CronExpression {
    type Err = ParseCronError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match translate(text) {
            Ok((translated, every_hour)) => Ok(Self {
                text: text.trim().to_owned(),
                translated,
                every_hour,
            }),
            Err(reason) => Err(ParseCronError {
                text: text.to_owned(),
                reason,
            }),
        }
    }
}

impl TryFrom<String> for CronExpression {
    type Error = ParseCronError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<CronExpression> for String {
    fn from(expression: CronExpression) -> Self {
        expression.text
    }
}

impl schemars::JsonSchema for CronExpression {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "CronExpression".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": r"^(@[a-z]+|\S+( +\S+){4,5})$",
            "description": "Five fields as in crontab(5), six with seconds first, or @hourly, @daily, @weekly, @monthly, @yearly.",
            "examples": ["*/15 * * * *", "0 3 * * MON-FRI", "@daily"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(text: &str) -> Vec<String> {
        text.parse::<CronExpression>().unwrap().translated
    }

    #[test]
    fn the_dialect_is_that_of_crontab() {
        assert_eq!(translated("*/15 * * * *"), ["0 0,15,30,45 * * * *"]);
        // Sunday is 0, 7 or SUN; the crate calls it 1.
        for sunday in ["0", "7", "SUN", "sun", "7,0"] {
            assert_eq!(translated(&format!("0 3 * * {sunday}")), ["0 0 3 * * 1"]);
        }
        assert_eq!(translated("0 3 * * 1"), ["0 0 3 * * 2"]);
        assert_eq!(translated("0 3 * * MON-FRI"), ["0 0 3 * * 2,3,4,5,6"]);
        assert_eq!(translated("0 3 * * 5-7"), ["0 0 3 * * 1,6,7"]);
        assert_eq!(translated("0 3 * * 0-7"), ["0 0 3 * * *"]);
        assert_eq!(translated("30 5 3 * * *"), ["30 5 3 * * *"]);
        assert_eq!(translated("0 0 1 JAN-MAR,dec *"), ["0 0 0 1 1,2,3,12 *"]);
        assert_eq!(translated("@weekly"), ["0 0 0 * * 1"]);
        assert_eq!(translated(" @Daily "), ["0 0 0 * * *"]);
        // Either day is enough, unless one of them begins with a star.
        assert_eq!(
            translated("0 3 1,15 * MON"),
            ["0 0 3 1,15 * *", "0 0 3 * * 2"]
        );
        assert_eq!(translated("0 3 1-7 * */6"), ["0 0 3 1,2,3,4,5,6,7 * 1,7"]);
    }

    #[test]
    fn whether_an_hour_is_left_out_goes_by_what_is_selected() {
        for (text, every) in [
            ("0 * * * *", true),
            ("@hourly", true),
            ("0 0-23 * * *", true),
            ("0 */2 * * *", false),
            ("* 2 * * *", false),
        ] {
            let expression: CronExpression = text.parse().unwrap();
            assert_eq!(expression.every_hour(), every, "{text}");
        }
    }

    #[test]
    fn refusals_say_why() {
        for (text, reason) in [
            ("", "it has 0 fields"),
            ("0 3 * *", "it has 4 fields"),
            ("0 0 3 * * * 2027", "it has 7 fields"),
            ("60 3 * * *", "60 is no minute (0 to 59)"),
            ("0 24 * * *", "24 is no hour (0 to 23)"),
            ("0 3 0 * *", "0 is no day of month (1 to 31)"),
            ("0 3 * 13 *", "13 is no month (1 to 12)"),
            ("0 3 * * 8", "8 is no day of week (0 to 7)"),
            ("0 3 L * *", "L, W, # and ? are not known here"),
            ("0 3 * * FRI#2", "`FRI#2` is no day of week"),
            ("0 3 * * 5L", "L, W, # and ? are not known here"),
            ("0 3 * * FRI-MON", "begins after it ends"),
            ("5/15 * * * *", "as in `5-59/15`"),
            ("*/0 * * * *", "a step is a number from 1 to 59"),
            ("0 3 30 2 *", "there is no such day in any year"),
            ("0 3 * * Foo", "`Foo` is no day of week"),
            ("@reboot", "nothing is run because the daemon starts"),
            ("@often", "the nicknames are"),
            ("1, * * * *", "`` is no minute"),
        ] {
            let error = text.parse::<CronExpression>().unwrap_err();
            assert!(error.reason.contains(reason), "{text}: {}", error.reason);
        }
        // Rare, and right.
        assert!("0 3 29 2 *".parse::<CronExpression>().is_ok());
        assert!("0 3 29 2 */7".parse::<CronExpression>().is_ok());
    }

    proptest::proptest! {
        #[test]
        fn parsing_never_panics(text: String) {
            let _ = text.parse::<CronExpression>();
        }
    }
}
