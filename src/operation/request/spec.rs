//! What is asked for, as it is kept with the request.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::{Check, CnpgDrill, Period, RequestsConfig, TargetText};
use crate::drill::environments::cnpg::LoginRole;
use crate::operation::{Failure, FailureClass};
use crate::state::Request;

/// The longest reason, in characters.
const REASON: usize = 500;
/// At most so many namespaces are let in.
const NAMESPACES: usize = 32;

/// Who must agree before it is restored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Approval {
    /// Nobody.
    #[default]
    None,
}

/// Where a Secret is put.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretPlace {
    /// The namespace.
    pub namespace: String,
    /// Its name there.
    pub name: String,
}

/// Who reaches the restored database, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RequestAccess {
    /// The namespaces whose pods are let in, to port 5432. Without any it is reached through
    /// the API server alone (`kubectl port-forward`).
    #[serde(default)]
    pub namespaces: BTreeSet<String>,
    /// As whom people log in.
    #[serde(default)]
    pub role: LoginRole,
    /// Whether their transactions only read, unless a session says otherwise.
    #[serde(default)]
    pub read_only: bool,
    /// A Secret with all that is needed to connect, beside the one in the scratch namespace.
    #[serde(default)]
    pub secret: Option<SecretPlace>,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RequestSpec {
    /// How far. Never a time before now: that is a moment when it is asked.
    pub target: TargetText,
    /// The timeline to follow; the current one if not given.
    #[serde(default)]
    pub timeline: Option<u32>,
    /// The base backup: `auto` takes the newest that reaches the target.
    #[serde(default = "auto")]
    pub backup: String,
    /// What for.
    #[serde(default)]
    pub reason: String,
    /// Who reaches it.
    #[serde(default)]
    pub access: RequestAccess,
    /// Questions that it must answer rightly before it is handed over.
    #[serde(default)]
    pub checks: Vec<Check>,
    /// The drill whose `cnpg` block says how it is restored. Default: the only one of the
    /// cluster in the environment cnpg.
    #[serde(default)]
    pub drill: Option<String>,
    /// How it is restored, instead of a drill's block.
    #[serde(default)]
    pub cnpg: Option<CnpgDrill>,
    /// The restore is given up after this time.
    #[serde(default)]
    pub timeout: Option<Period>,
    /// Who must agree.
    #[serde(default)]
    pub approval: Approval,
}

fn auto() -> String {
    "auto".to_owned()
}

impl RequestSpec {
    /// A restore to `target`, reachable through the API server alone.
    pub fn to(target: TargetText) -> Self {
        Self {
            target,
            timeline: None,
            backup: auto(),
            reason: String::new(),
            access: RequestAccess::default(),
            checks: Vec::new(),
            drill: None,
            cnpg: None,
            timeout: None,
            approval: Approval::None,
        }
    }

    /// What a request that is kept asks for.
    ///
    /// # Errors
    ///
    /// Another version of walproof wrote it.
    pub fn of(request: &Request) -> Result<Self, Failure> {
        serde_json::from_value(request.spec.clone()).map_err(|error| {
            Failure::configuration(format_args!(
                "request {} is not understood by this version of walproof: {error}",
                request.id
            ))
        })
    }

    /// Makes sure of what is asked for, and fixes the moment that is meant by a time before
    /// now.
    pub(super) fn checked(mut self) -> Result<Self, Failure> {
        if let TargetText::Ago(period) = self.target {
            self.target = TargetText::Time(chrono::Utc::now() - period.as_chrono());
        }
        if self.reason.chars().count() > REASON {
            return Err(Failure::configuration(format_args!(
                "the reason has more than {REASON} characters"
            )));
        }
        let access = &self.access;
        if access.namespaces.len() > NAMESPACES {
            return Err(Failure::configuration(format_args!(
                "more than {NAMESPACES} namespaces are to be let in"
            )));
        }
        let places = access.secret.iter().map(|place| &place.namespace);
        for name in access.namespaces.iter().chain(places) {
            if !is_label(name, 63) {
                return Err(Failure::configuration(format_args!(
                    "{name:?} is not the name of a namespace"
                )));
            }
        }
        if let Some(place) = &access.secret
            && !place.name.split('.').all(|part| is_label(part, 253))
        {
            return Err(Failure::configuration(format_args!(
                "{:?} is not the name of a Secret",
                place.name
            )));
        }
        Ok(self)
    }

    /// As it is kept.
    pub(super) fn to_value(&self) -> Result<serde_json::Value, Failure> {
        serde_json::to_value(self).map_err(|error| Failure::new(FailureClass::Defect, error))
    }
}

/// Whether a text is a DNS label (RFC 1123) of at most so many characters.
fn is_label(text: &str, most: usize) -> bool {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=most).contains(&text.len())
        && text.chars().all(legal)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// What somebody wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The cluster's name.
    pub cluster: String,
    /// Which copy; the primary one if not given.
    pub copy: Option<String>,
    /// What is asked for.
    pub spec: RequestSpec,
    /// For how long, from when it is ready; the configuration's if not given.
    pub lease: Option<Period>,
    /// To how long that may be extended; the configuration's if not given.
    pub max_lease: Option<Period>,
    /// Who asks.
    pub by: String,
    /// What makes it one of its kind; its own id if not given.
    pub key: Option<String>,
}

impl Wanted {
    /// Lease and longest lease, in seconds.
    ///
    /// # Errors
    ///
    /// One is longer than it may be.
    pub(super) fn leases(&self, config: &RequestsConfig) -> Result<(u64, u64), Failure> {
        let most = match self.max_lease {
            Some(most) if most.as_secs() > config.most_seconds() => {
                return Err(too_long(
                    "longest lease",
                    most.as_secs(),
                    config.most_seconds(),
                ));
            }
            Some(most) => most.as_secs(),
            None => config.most_seconds(),
        };
        match self.lease {
            Some(lease) if lease.as_secs() > most => Err(too_long("lease", lease.as_secs(), most)),
            Some(lease) => Ok((lease.as_secs(), most)),
            None => Ok((config.lease_seconds().min(most), most)),
        }
    }
}

/// Refuses a lease that is too long.
pub(super) fn too_long(what: &str, seconds: u64, most: u64) -> Failure {
    let words = |seconds| {
        Period::from_secs(seconds).map_or_else(|| format!("{seconds}s"), |it| it.to_string())
    };
    Failure::configuration(format_args!(
        "a {what} of {} is longer than it may be: {}",
        words(seconds),
        words(most)
    ))
    .with_hint("`requests.max_lease` in walproof.yaml is the most for all, never more than 14d; what is needed longer is no restore beside production but a Cluster of your own")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_before_now_is_a_moment_from_then_on() {
        let spec = RequestSpec::to("time:-1h".parse().unwrap())
            .checked()
            .unwrap();
        let TargetText::Time(time) = spec.target else {
            panic!("{:?}", spec.target);
        };
        let ago = chrono::Utc::now() - time;
        assert!((ago - chrono::TimeDelta::hours(1)).abs() < chrono::TimeDelta::minutes(1));
    }

    #[test]
    fn names_are_looked_at_before_they_go_into_manifests() {
        let with = |namespaces: &[&str], secret: Option<(&str, &str)>| {
            let mut spec = RequestSpec::to(TargetText::Tip);
            spec.access.namespaces = namespaces.iter().map(|name| (*name).to_owned()).collect();
            spec.access.secret = secret.map(|(namespace, name)| SecretPlace {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            });
            spec.checked()
        };
        assert!(with(&["shop", "billing-2"], Some(("shop", "orders.connection"))).is_ok());
        for (namespaces, secret) in [
            (&["Shop"][..], None),
            (&[""][..], None),
            (&["shop "][..], None),
            (&["-shop"][..], None),
            (&[][..], Some(("a/b", "x"))),
            (&[][..], Some(("shop", "../x"))),
            (&[][..], Some(("shop", "x..y"))),
        ] {
            assert!(
                with(namespaces, secret).is_err(),
                "{namespaces:?} {secret:?}"
            );
        }
    }

    #[test]
    fn a_lease_has_its_bounds() {
        let config = RequestsConfig::default();
        let wanted = |lease: Option<&str>, most: Option<&str>| Wanted {
            cluster: "orders".to_owned(),
            copy: None,
            spec: RequestSpec::to(TargetText::Tip),
            lease: lease.map(|text| text.parse().unwrap()),
            max_lease: most.map(|text| text.parse().unwrap()),
            by: "somebody".to_owned(),
            key: None,
        };
        let leases = |lease, most| wanted(lease, most).leases(&config).ok();
        assert_eq!(leases(None, None), Some((4 * 3600, 24 * 3600)));
        assert_eq!(leases(Some("20h"), None), Some((20 * 3600, 24 * 3600)));
        assert_eq!(leases(None, Some("1h")), Some((3600, 3600)));
        assert_eq!(leases(Some("25h"), None), None);
        assert_eq!(leases(Some("2h"), Some("1h")), None);
        assert_eq!(leases(None, Some("25h")), None);
    }

    #[test]
    fn what_is_kept_is_read_back() {
        let mut spec = RequestSpec::to("lsn:0/3000060 exclusive".parse().unwrap());
        spec.access.role = LoginRole::Superuser;
        let value = spec.to_value().unwrap();
        assert_eq!(serde_json::from_value::<RequestSpec>(value).unwrap(), spec);
    }
}
