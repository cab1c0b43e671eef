//! How far to recover, on the command line.

use chrono::{DateTime, Utc};
use clap::Args;

use super::Failure;
use crate::config::TargetText;
use crate::postgres::Lsn;
use crate::restore::Target;

/// How far to recover. Without any of these: to the archive tip.
#[derive(Args, Clone, Debug, Default)]
pub struct TargetArgs {
    /// The last commit at or before this moment: 2026-11-21T02:40:00Z, or -1h for that long ago
    #[arg(
        help_heading = "Recovery target",
        long,
        value_name = "TIME",
        group = "target",
        allow_hyphen_values = true
    )]
    pub target_time: Option<String>,
    /// Up to this record: 16/B374D848
    #[arg(
        help_heading = "Recovery target",
        long,
        value_name = "LSN",
        group = "target"
    )]
    pub target_lsn: Option<Lsn>,
    /// Up to this transaction's commit
    #[arg(
        help_heading = "Recovery target",
        long,
        value_name = "XID",
        group = "target"
    )]
    pub target_xid: Option<u32>,
    /// The restore point of this name (pg_create_restore_point)
    #[arg(
        help_heading = "Recovery target",
        long,
        value_name = "NAME",
        group = "target"
    )]
    pub target_name: Option<String>,
    /// Only until the base backup is consistent
    #[arg(help_heading = "Recovery target", long, group = "target")]
    pub target_immediate: bool,
    /// Stop before the record of --target-lsn or --target-xid, not behind it
    #[arg(help_heading = "Recovery target", long)]
    pub exclusive: bool,
    /// Follow this timeline instead of the newest: a number, or eight hexadecimal digits as
    /// in file names
    #[arg(help_heading = "Recovery target", long, value_name = "TIMELINE")]
    pub target_timeline: Option<String>,
}

impl TargetArgs {
    /// The target that was asked for, if any was.
    pub fn target(&self) -> Result<Option<TargetText>, Failure> {
        let inclusive = !self.exclusive;
        let target = if let Some(time) = &self.target_time {
            Some(
                format!("time:{time}")
                    .parse::<TargetText>()
                    .map_err(|error| Failure::usage(format_args!("--target-time: {error}")))?,
            )
        } else if let Some(lsn) = self.target_lsn {
            Some(TargetText::Lsn(lsn, inclusive))
        } else if let Some(xid) = self.target_xid {
            Some(TargetText::Xid(xid, inclusive))
        } else if let Some(name) = &self.target_name {
            Some(TargetText::Name(name.clone()))
        } else if self.target_immediate {
            Some(TargetText::Immediate)
        } else {
            None
        };
        if self.exclusive && self.target_lsn.is_none() && self.target_xid.is_none() {
            return Err(Failure::usage(
                "--exclusive needs --target-lsn or --target-xid",
            ));
        }
        Ok(target)
    }

    /// The timeline that was asked for, if any was.
    pub fn timeline(&self) -> Result<Option<u32>, Failure> {
        self.target_timeline
            .as_deref()
            .map(|text| timeline("--target-timeline", text))
            .transpose()
    }
}

/// A timeline's number: decimal, or eight hexadecimal digits as in file names.
pub(super) fn timeline(flag: &str, text: &str) -> Result<u32, Failure> {
    let number = if text.len() == 8 {
        u32::from_str_radix(text, 16).ok()
    } else {
        text.parse().ok()
    };
    number.filter(|number| *number > 0).ok_or_else(|| {
        Failure::usage(format_args!(
            "{flag}: {text:?} is not a timeline (write 2 or 00000002)"
        ))
    })
}

/// A moment: RFC 3339 or PostgreSQL's form with a zone, or `-1h` for that long ago.
pub(super) fn moment(flag: &str, text: &str) -> Result<DateTime<Utc>, Failure> {
    let target: TargetText = format!("time:{text}")
        .parse()
        .map_err(|error| Failure::usage(format_args!("{flag}: {error}")))?;
    match Target::try_from(&target)? {
        Target::Time(time) => Ok(time),
        _ => Err(Failure::usage(format_args!("{flag}: {text} is no moment"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_become_one_target() {
        let none = TargetArgs::default();
        assert_eq!(none.target().unwrap(), None);
        let lsn = TargetArgs {
            target_lsn: Some("0/3000060".parse().unwrap()),
            exclusive: true,
            ..TargetArgs::default()
        };
        assert_eq!(
            lsn.target().unwrap().unwrap().to_string(),
            "lsn:0/3000060 exclusive"
        );
        let time = TargetArgs {
            target_time: Some("-1h".to_owned()),
            ..TargetArgs::default()
        };
        assert_eq!(time.target().unwrap().unwrap().to_string(), "time:-1h");
        let alone = TargetArgs {
            exclusive: true,
            ..TargetArgs::default()
        };
        assert!(alone.target().is_err());
    }

    #[test]
    fn timelines_are_numbers_or_as_in_file_names() {
        for (text, number) in [
            ("2", Some(2)),
            ("0000000A", Some(10)),
            ("0", None),
            ("x", None),
        ] {
            let arguments = TargetArgs {
                target_timeline: Some(text.to_owned()),
                ..TargetArgs::default()
            };
            assert_eq!(arguments.timeline().ok().flatten(), number, "{text}");
        }
    }
}
