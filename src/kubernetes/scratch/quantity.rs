//! Quantities that are added, compared and written again.

use std::fmt;

/// Thousandths: of a core, or of a byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Quantity(u128);

impl Quantity {
    /// So many whole ones.
    pub(crate) const fn whole(number: u64) -> Self {
        Self(number as u128 * 1000)
    }

    /// So many thousandths.
    pub(crate) const fn milli(number: u64) -> Self {
        Self(number as u128)
    }

    /// Reads `1500m`, `2`, `0.5`, `10Gi`. None for what is no quantity.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        crate::kubernetes::quantity::millis(text).map(|thousandths| Self(thousandths.into()))
    }

    /// Both together.
    pub(crate) const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// So many times as much.
    pub(crate) const fn times(self, factor: u32) -> Self {
        Self(self.0.saturating_mul(factor as u128))
    }

    /// The part of it that a quarter is.
    pub(crate) const fn quarter(self) -> Self {
        Self(self.0 / 4)
    }

    /// Whole megabytes (2^20), as PostgreSQL's `MB`; at least one.
    pub(crate) const fn megabytes(self) -> u128 {
        let megabytes = self.0 / 1000 / (1 << 20);
        if megabytes == 0 { 1 } else { megabytes }
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SUFFIXES: [(&str, u128); 3] = [("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)];
        if !self.0.is_multiple_of(1000) {
            return write!(f, "{}m", self.0);
        }
        let whole = self.0 / 1000;
        for (suffix, size) in SUFFIXES {
            if whole > 0 && whole.is_multiple_of(size) {
                return write!(f, "{}{suffix}", whole / size);
            }
        }
        write!(f, "{whole}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_written_as_they_are_read() {
        for (text, shown) in [
            ("1500m", "1500m"),
            ("2", "2"),
            ("0.5", "500m"),
            ("1e3", "1000"),
            ("10Gi", "10Gi"),
            ("1.5Gi", "1536Mi"),
            ("1G", "1000000000"),
            ("128974848", "123Mi"),
            ("0", "0"),
        ] {
            let read = Quantity::parse(text).map(|quantity| quantity.to_string());
            assert_eq!(read.as_deref(), Some(shown), "{text}");
        }
        assert_eq!(Quantity::parse("x"), None);
    }

    #[test]
    fn quantities_are_added() {
        let sum = Quantity::parse("1Gi")
            .unwrap()
            .plus(Quantity::parse("512Mi").unwrap());
        assert_eq!(sum.to_string(), "1536Mi");
        assert_eq!(sum.times(2).to_string(), "3Gi");
        assert_eq!(sum.quarter().megabytes(), 384);
        assert!(Quantity::milli(1500) < Quantity::whole(2));
    }
}
