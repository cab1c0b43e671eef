//! Proof from one copy alone, in two lines.

use super::style::Tone;
use crate::repository::{Alone, AloneAsked, OtherCopy};
use crate::storage::ASKED_WITHOUT;
use crate::verify::words::{bytes, count};

/// A name, a tone and what there is to say of the other copies and of what was read;
/// nothing when nobody asked.
pub fn rows(alone: &Alone) -> Vec<(&'static str, Tone, String)> {
    if alone.asked == AloneAsked::No {
        return Vec::new();
    }
    let others: Vec<String> = alone.others.iter().map(other).collect();
    let tone = match (alone.holds, alone.asked) {
        (Some(true), _) => Tone::Good,
        (_, AloneAsked::Required) => Tone::Warning,
        _ => Tone::Plain,
    };
    let read: Vec<String> = alone
        .read
        .iter()
        .map(|read| {
            let at = read
                .endpoint
                .as_ref()
                .map_or_else(String::new, |endpoint| format!(" at {endpoint}"));
            format!(
                "{} in {} from {}{at}",
                bytes(read.bytes),
                count(read.requests, "request"),
                read.location
            )
        })
        .collect();
    vec![
        ("others", tone, others.join("; ")),
        (
            "read",
            Tone::Plain,
            format!("{}, and from nowhere else", read.join("; ")),
        ),
    ]
}

/// What another copy said, each answer once.
fn other(copy: &OtherCopy) -> String {
    let words: Vec<String> = copy
        .probes
        .iter()
        .map(|probe| {
            let said = match probe.reachable {
                Some(true) => "answered",
                Some(false) => "did not answer",
                None => "could not be asked",
            };
            let Some(error) = &probe.error else {
                return said.to_owned();
            };
            // Silence needs no credentials to be heard.
            let text = match error.text.split_once(ASKED_WITHOUT) {
                Some((text, _)) if probe.reachable == Some(false) => text,
                _ => &error.text,
            };
            format!("{said} ({text})")
        })
        .collect();
    let words = match words.as_slice() {
        [before, after] if before == after => format!("{before}, before and after"),
        [before, after] => format!("before: {before}; after: {after}"),
        other => other.join("; "),
    };
    format!("{} {words}", copy.copy)
}

#[cfg(test)]
mod tests {
    use chrono::Utc;

    use super::*;
    use crate::repository::ReadFrom;
    use crate::storage::{Reach, ReachError};

    fn probe(reachable: Option<bool>, words: Option<&str>) -> Reach {
        Reach {
            at: Utc::now(),
            reachable,
            error: words.map(|words| ReachError {
                kind: "network".to_owned(),
                text: words.to_owned(),
            }),
        }
    }

    #[test]
    fn two_lines_when_somebody_asked() {
        let mut alone = Alone {
            asked: AloneAsked::Required,
            holds: Some(true),
            others: vec![OtherCopy {
                copy: "primary".to_owned(),
                location: "s3://b/orders".parse().unwrap(),
                endpoint: None,
                probes: vec![probe(Some(false), Some("refused")); 2],
            }],
            read: vec![ReadFrom {
                location: "s3://second/orders".parse().unwrap(),
                endpoint: Some("http://127.0.0.1:1".to_owned()),
                requests: 2,
                bytes: 17,
            }],
        };
        let told = |alone: &Alone| -> Vec<String> {
            rows(alone).into_iter().map(|(_, _, text)| text).collect()
        };
        assert_eq!(
            told(&alone),
            [
                "primary did not answer (refused), before and after",
                "17 B in 2 requests from s3://second/orders at http://127.0.0.1:1, and from nowhere else",
            ]
        );
        alone.others[0].probes[1] = probe(Some(true), None);
        assert_eq!(
            told(&alone)[0],
            "primary before: did not answer (refused); after: answered"
        );
        let text = format!("refused{ASKED_WITHOUT}: X is not set");
        alone.others[0].probes = vec![probe(Some(false), Some(&text)); 2];
        assert_eq!(
            told(&alone)[0],
            "primary did not answer (refused), before and after"
        );
        alone.asked = AloneAsked::No;
        assert!(rows(&alone).is_empty());
    }
}
