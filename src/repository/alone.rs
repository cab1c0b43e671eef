//! Proof from one copy alone: that the other copies could not be reached meanwhile, and
//! what was read from where.

use chrono::SecondsFormat;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::storage::{Location, Reach, StorageOptions, Store};

/// Whether a proof must come from one copy alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AloneAsked {
    /// Nobody asked for it; the other copies are left in peace.
    #[default]
    No,
    /// The other copies are asked, and what they say is only recorded.
    Report,
    /// A copy that answers leaves it unproven.
    Required,
}

/// Another copy of the same cluster, and how to ask it.
#[derive(Clone, Debug)]
pub struct Elsewhere {
    /// What the configuration calls it.
    pub copy: String,
    /// Where it lies.
    pub location: Location,
    /// How to reach it.
    pub options: StorageOptions,
    /// Why there are no credentials for it, if there are none. Not having them is no sign of
    /// its absence, so it is asked without.
    pub without_credentials: Option<String>,
}

/// What to ask of the other copies.
#[derive(Clone, Debug, Default)]
pub struct AloneOptions {
    /// Whether.
    pub asked: AloneAsked,
    /// The other copies; none when nobody asked.
    pub others: Vec<Elsewhere>,
}

/// Another copy, and what it said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OtherCopy {
    /// What the configuration calls it.
    pub copy: String,
    /// Where it lies.
    pub location: Location,
    /// The endpoint that was asked, if it is not the vendor's own.
    pub endpoint: Option<String>,
    /// What it said: before the work began and after it ended.
    pub probes: Vec<Reach>,
}

/// A place that was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReadFrom {
    /// Where it lies.
    pub location: Location,
    /// The endpoint that was asked, if it is not the vendor's own; `null` for a directory.
    pub endpoint: Option<String>,
    /// Requests sent, repeated ones each time; for a directory accesses to files.
    pub requests: u64,
    /// Bytes of objects that were received, of WAL and base backups alike.
    pub bytes: u64,
}

/// Whether the proof came from one copy alone. What was read is always told; the other
/// copies are asked only if somebody wants to know.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Alone {
    /// Whether it had to.
    pub asked: AloneAsked,
    /// Whether it did: no other copy answered, neither before nor after. `null` when nobody
    /// asked, or when one could not be asked.
    pub holds: Option<bool>,
    /// Every other copy of the cluster, in the order of the configuration; empty when nobody
    /// asked.
    pub others: Vec<OtherCopy>,
    /// Every place from which anything was read. The probes of the other copies are not
    /// among them.
    pub read: Vec<ReadFrom>,
}

impl OtherCopy {
    /// Whether it was out of reach, before and after.
    fn was_away(&self) -> Option<bool> {
        let answers = || self.probes.iter().map(|probe| probe.reachable);
        if answers().any(|answer| answer == Some(true)) {
            Some(false)
        } else if answers().count() >= 2 && answers().all(|answer| answer == Some(false)) {
            Some(true)
        } else {
            None
        }
    }
}

impl Alone {
    /// Asks the other copies for the first time.
    pub async fn begin(options: &AloneOptions) -> Self {
        let mut alone = Self {
            asked: options.asked,
            ..Self::default()
        };
        if options.asked != AloneAsked::No {
            alone.others = options
                .others
                .iter()
                .map(|other| OtherCopy {
                    copy: other.copy.clone(),
                    location: other.location.clone(),
                    endpoint: other.options.endpoint.clone(),
                    probes: Vec::new(),
                })
                .collect();
            alone.probe(options).await;
        }
        alone
    }

    /// Asks them again, and notes what was read from `store` since it was opened.
    pub async fn end(&mut self, options: &AloneOptions, store: &Store) {
        if self.asked != AloneAsked::No {
            self.probe(options).await;
        }
        self.read_from(store);
    }

    /// Notes what was read from `store` since it was opened.
    pub fn read_from(&mut self, store: &Store) {
        let usage = store.usage();
        self.read.push(ReadFrom {
            location: store.location().clone(),
            endpoint: usage.endpoint,
            requests: usage.requests,
            bytes: usage.bytes_read,
        });
    }

    async fn probe(&mut self, options: &AloneOptions) {
        let asking = options.others.iter().map(|other| {
            let without = other.without_credentials.as_deref();
            Reach::ask(&other.location, &other.options, without)
        });
        // All at once: those that are away take their time to say nothing.
        let answers = futures::future::join_all(asking).await;
        for (other, answer) in self.others.iter_mut().zip(answers) {
            other.probes.push(answer);
        }
        self.holds = self.judge();
    }

    fn judge(&self) -> Option<bool> {
        let away = || self.others.iter().map(OtherCopy::was_away);
        if away().any(|away| away == Some(false)) {
            Some(false)
        } else if !self.others.is_empty() && away().all(|away| away == Some(true)) {
            Some(true)
        } else {
            None
        }
    }

    /// Why this is no proof from the copy alone, though it had to be one; empty when it is,
    /// or when nobody demanded it.
    pub fn reasons(&self) -> Vec<String> {
        if self.asked != AloneAsked::Required || self.holds == Some(true) {
            return Vec::new();
        }
        if self.others.is_empty() {
            return vec!["the cluster has no other copy, so none could be away".to_owned()];
        }
        self.others.iter().filter_map(OtherCopy::reason).collect()
    }
}

impl OtherCopy {
    fn reason(&self) -> Option<String> {
        let Self { copy, location, .. } = self;
        let of = |wanted| self.probes.iter().find(|probe| probe.reachable == wanted);
        match (self.was_away(), of(Some(true)), of(None)) {
            (Some(true), ..) => None,
            (_, Some(probe), _) => {
                let at = probe.at.to_rfc3339_opts(SecondsFormat::Secs, true);
                let words = probe.error.as_ref().map_or_else(String::new, |error| {
                    format!(", though only with a refusal ({})", error.text)
                });
                Some(format!(
                    "copy `{copy}` ({location}) answered at {at}{words}: this is no proof from \
                     one copy alone"
                ))
            }
            (_, None, Some(probe)) => {
                let words = probe.error.as_ref().map_or("", |error| error.text.as_str());
                Some(format!(
                    "whether copy `{copy}` ({location}) could be reached is not known: {words}"
                ))
            }
            (_, None, None) => Some(format!(
                "copy `{copy}` ({location}) was not asked both before and after"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::Utc;

    use super::*;
    use crate::storage::ReachError;

    fn probe(reachable: Option<bool>) -> Reach {
        Reach {
            at: Utc::now(),
            reachable,
            error: (reachable != Some(true)).then(|| ReachError {
                kind: "network".to_owned(),
                text: "connection refused".to_owned(),
            }),
        }
    }

    fn alone(asked: AloneAsked, others: &[&[Option<bool>]]) -> Alone {
        let mut alone = Alone {
            asked,
            others: others
                .iter()
                .enumerate()
                .map(|(index, answers)| OtherCopy {
                    copy: format!("copy-{index}"),
                    location: "s3://b/orders".parse().unwrap(),
                    endpoint: None,
                    probes: answers.iter().map(|answer| probe(*answer)).collect(),
                })
                .collect(),
            ..Alone::default()
        };
        alone.holds = alone.judge();
        alone
    }

    #[test]
    fn only_silence_before_and_after_of_all_is_alone() {
        let (yes, no) = (Some(true), Some(false));
        for (others, holds, reasons) in [
            (&[&[no, no][..]][..], Some(true), 0),
            (&[&[no, no], &[no, no]], Some(true), 0),
            (&[&[no, no], &[no, yes]], Some(false), 1),
            (&[&[yes, no], &[yes, yes]], Some(false), 2),
            (&[&[None, yes]], Some(false), 1),
            (&[&[None, no]], None, 1),
            (&[&[no]], None, 1),
            (&[], None, 1),
        ] {
            let required = alone(AloneAsked::Required, others);
            assert_eq!(required.holds, holds, "{others:?}");
            assert_eq!(required.reasons().len(), reasons, "{others:?}");
            let report = alone(AloneAsked::Report, others);
            assert_eq!((report.holds, report.reasons().len()), (holds, 0));
        }
        let reasons = alone(AloneAsked::Required, &[&[no, no], &[no, yes]]).reasons();
        assert!(reasons[0].contains("`copy-1`"), "{reasons:?}");
    }

    #[tokio::test]
    async fn nobody_is_asked_unless_somebody_wants_to_know() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("object"), "12345").unwrap();
        let location: Location = format!("file://{}", directory.path().display())
            .parse()
            .unwrap();
        let store = Store::open(&location, &StorageOptions::default()).unwrap();
        store.clone().read_small("object", 9).await.unwrap();
        let mut options = AloneOptions {
            asked: AloneAsked::No,
            others: vec![Elsewhere {
                copy: "gone".to_owned(),
                location: location.join("gone"),
                options: StorageOptions::default(),
                without_credentials: None,
            }],
        };
        let mut quiet = Alone::begin(&options).await;
        quiet.end(&options, &store).await;
        assert_eq!((quiet.holds, quiet.others.len()), (None, 0));
        assert_eq!(quiet.read.len(), 1);
        assert_eq!(quiet.read[0].bytes, 5);
        assert_eq!(quiet.read[0].location, location);

        options.asked = AloneAsked::Required;
        let mut asked = Alone::begin(&options).await;
        assert_eq!(asked.holds, None, "once is not enough");
        asked.end(&options, &store).await;
        assert_eq!(asked.holds, Some(true));
        assert_eq!(asked.others[0].probes.len(), 2);
    }
}
