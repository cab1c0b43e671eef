//! From a target in the configuration to one of a restore.

use chrono::Utc;

use super::Failure;
use crate::config::TargetText;
use crate::restore::Target;

impl TryFrom<&TargetText> for Target {
    type Error = Failure;

    fn try_from(text: &TargetText) -> Result<Self, Failure> {
        Ok(match text {
            TargetText::Tip => Self::Tip,
            TargetText::Immediate => Self::Immediate,
            TargetText::Time(time) => Self::Time(*time),
            TargetText::Ago(period) => Self::Time(Utc::now() - period.as_chrono()),
            TargetText::Lsn(lsn, inclusive) => Self::Lsn {
                lsn: *lsn,
                inclusive: *inclusive,
            },
            TargetText::Xid(xid, inclusive) => {
                Self::parse_xid(&xid.to_string(), *inclusive).map_err(Failure::configuration)?
            }
            TargetText::Name(name) => Self::parse_name(name).map_err(Failure::configuration)?,
        })
    }
}
