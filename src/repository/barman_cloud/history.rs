//! The history files of a repository, read.

use std::collections::BTreeMap;

use crate::codec::Codec;
use crate::finding::{Code, Finding};
use crate::postgres::{TimelineHistory, TimelineId};
use crate::repository::HistoryObject;

/// A history file of a server with thousands of timelines is some 100 KB.
pub(super) const LIMIT: u64 = 1 << 20;

/// Reads the decoded bytes of a history file.
pub(super) fn parse(timeline: TimelineId, bytes: &[u8]) -> Result<TimelineHistory, String> {
    TimelineHistory::parse(timeline, bytes).map_err(|error| error.to_string())
}

/// Chooses one object per timeline, a readable one if there is any, and reports those
/// that disagree with it. `objects` come in any order.
pub(super) fn choose(
    mut objects: Vec<(TimelineId, HistoryObject)>,
    findings: &mut Vec<Finding>,
) -> BTreeMap<TimelineId, HistoryObject> {
    // Uncompressed first, then by extension, as listings of the tools come.
    objects.sort_by_key(|(timeline, object)| (*timeline, object.history.is_err(), object.codec));
    let mut chosen: BTreeMap<TimelineId, HistoryObject> = BTreeMap::new();
    for (timeline, object) in objects {
        let Some(first) = chosen.get(&timeline) else {
            chosen.insert(timeline, object);
            continue;
        };
        match (&first.history, &object.history) {
            (Ok(one), Ok(other)) if one != other => findings.push(Finding::new(
                Code::HistoryContradictory,
                object.key.clone(),
                format!("it differs from {} for the same timeline", first.key),
            )),
            (Ok(_), Err(reason)) => findings.push(Finding::new(
                Code::HistoryUnreadable,
                object.key.clone(),
                format!("{reason}; {} can be read", first.key),
            )),
            _ => {}
        }
    }
    chosen
}

/// The key's codec and timeline as an object that could not be read.
pub(super) fn unreadable(key: String, codec: Codec, reason: String) -> HistoryObject {
    HistoryObject {
        key,
        codec,
        history: Err(reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(codec: Codec, text: &str) -> (TimelineId, HistoryObject) {
        let timeline = TimelineId(2);
        let object = HistoryObject {
            key: format!("wals/00000002.history{}", codec.extension()),
            codec,
            history: parse(timeline, text.as_bytes()),
        };
        (timeline, object)
    }

    #[test]
    fn a_readable_copy_wins_and_the_other_is_reported() {
        let mut findings = Vec::new();
        let chosen = choose(
            vec![
                object(Codec::None, "<html>"),
                object(Codec::Gzip, "1 0/5000000 x"),
            ],
            &mut findings,
        );
        assert_eq!(chosen[&TimelineId(2)].codec, Codec::Gzip);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].code, Code::HistoryUnreadable);
        assert_eq!(findings[0].object, "wals/00000002.history");
    }

    #[test]
    fn copies_that_differ_are_a_contradiction_and_equal_ones_are_not() {
        let mut findings = Vec::new();
        choose(
            vec![
                object(Codec::None, "1 0/5000000 x"),
                object(Codec::Gzip, "1 0/5000000 x"),
            ],
            &mut findings,
        );
        assert!(findings.is_empty());
        choose(
            vec![
                object(Codec::None, "1 0/5000000 x"),
                object(Codec::Gzip, "1 0/6000000 x"),
            ],
            &mut findings,
        );
        assert_eq!(findings[0].code, Code::HistoryContradictory);
        assert_eq!(findings[0].object, "wals/00000002.history.gz");
    }
}
