//! The digest by which a plan is confirmed.

use sha2::Digest as _;

use super::error::ExpireError;
use super::plan::PlannedObject;
use super::report::SCHEMA;
use crate::codec::Sha256;

/// How many hexadecimal digits confirm a plan.
const ENOUGH: usize = 12;

/// SHA-256 over the place and every object that goes, in order: key, size and entity tag, one
/// line each. The moment is not in it, so a plan stays the same until what goes is something
/// else.
pub(super) fn of(place: &str, objects: &[PlannedObject]) -> String {
    let mut hash = sha2::Sha256::new();
    hash.update(format!("{SCHEMA}\n{place}\n"));
    for object in objects {
        let etag = object.etag.as_deref().unwrap_or_default();
        hash.update(format!("{}\t{}\t{etag}\n", object.key, object.size));
    }
    Sha256::from(<[u8; 32]>::from(hash.finalize())).to_string()
}

/// Whether what was given confirms the plan with this digest.
pub(super) fn confirm(digest: &str, given: &str) -> Result<(), ExpireError> {
    let given = given.trim().to_ascii_lowercase();
    if given.len() < ENOUGH || !given.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(ExpireError::NoDigest(given));
    }
    if digest.starts_with(&given) {
        Ok(())
    } else {
        Err(ExpireError::OtherPlan {
            digest: digest.to_owned(),
            given,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(key: &str, size: u64, etag: Option<&str>) -> PlannedObject {
        PlannedObject {
            key: key.to_owned(),
            size,
            etag: etag.map(str::to_owned),
            modified: chrono::DateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn every_part_of_a_plan_changes_its_digest() {
        let plan = |objects: &[PlannedObject]| of("s3://b/orders", objects);
        let one = plan(&[object("a", 1, None), object("b", 2, Some("t"))]);
        assert_eq!(one.len(), 64);
        assert_eq!(
            one,
            plan(&[object("a", 1, None), object("b", 2, Some("t"))])
        );
        for other in [
            plan(&[object("b", 2, Some("t")), object("a", 1, None)]),
            plan(&[object("a", 1, None)]),
            plan(&[object("a", 1, None), object("b", 3, Some("t"))]),
            plan(&[object("a", 1, None), object("b", 2, Some("u"))]),
            of(
                "s3://b/other",
                &[object("a", 1, None), object("b", 2, Some("t"))],
            ),
        ] {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn a_plan_is_confirmed_by_enough_of_its_digest() {
        let digest = of("x", &[]);
        assert!(confirm(&digest, &digest).is_ok());
        assert!(confirm(&digest, &digest[..12].to_uppercase()).is_ok());
        assert!(matches!(
            confirm(&digest, &digest[..11]),
            Err(ExpireError::NoDigest(_))
        ));
        assert!(matches!(
            confirm(&digest, "yes, do it all"),
            Err(ExpireError::NoDigest(_))
        ));
        assert!(matches!(
            confirm(&digest, "000000000000"),
            Err(ExpireError::OtherPlan { .. })
        ));
    }
}
