//! Findings of which there may be very many.

use std::collections::BTreeMap;

use crate::finding::{Code, Finding};

/// The most findings of one code that are kept; the rest is counted.
const MAX_OF_A_CODE: u64 = 100;

/// Collects findings, at most [`MAX_OF_A_CODE`] of each code.
#[derive(Debug, Default)]
pub(super) struct Limited {
    /// What the last finding, on the rest, is about.
    object: String,
    findings: Vec<Finding>,
    of_code: BTreeMap<Code, u64>,
}

impl Limited {
    pub(super) fn new(object: &str) -> Self {
        Self {
            object: object.to_owned(),
            ..Self::default()
        }
    }

    pub(super) fn push(&mut self, finding: Finding) {
        let count = self.of_code.entry(finding.code).or_default();
        *count += 1;
        if *count <= MAX_OF_A_CODE {
            self.findings.push(finding);
        }
    }

    /// Takes in what another archive has.
    pub(super) fn merge(&mut self, other: Self) {
        let mut unkept = other.of_code;
        for finding in other.findings {
            if let Some(count) = unkept.get_mut(&finding.code) {
                *count -= 1;
            }
            self.push(finding);
        }
        for (code, count) in unkept {
            *self.of_code.entry(code).or_default() += count;
        }
    }

    pub(super) fn finish(mut self) -> Vec<Finding> {
        for (code, count) in self.of_code {
            if count > MAX_OF_A_CODE {
                self.findings.push(Finding::new(
                    code,
                    &self.object,
                    format!("and {} more of this kind", count - MAX_OF_A_CODE),
                ));
            }
        }
        self.findings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_is_counted_also_over_archives() {
        let of = |code, count: usize| {
            let mut limited = Limited::new("backup");
            for at in 0..count {
                limited.push(Finding::new(code, "archive", at.to_string()));
            }
            limited
        };
        assert_eq!(of(Code::PageCorrupt, 100).finish().len(), 100);
        let mut both = of(Code::PageCorrupt, 130);
        both.merge(of(Code::PageCorrupt, 105));
        both.merge(of(Code::PageStale, 1));
        let findings = both.finish();
        assert_eq!(findings.len(), 102);
        let last = findings.last().unwrap();
        assert_eq!(last.message, "and 135 more of this kind");
        assert_eq!(last.object, "backup");
    }
}
