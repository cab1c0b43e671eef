//! Kubernetes quantities, as far as adding and comparing them needs
//! (`apimachinery/pkg/api/resource/quantity.go`).

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

    /// Reads `1500m`, `2`, `0.5`, `10Gi`, `1e3`. None for what is no quantity, is below
    /// zero, or has no sense for cores or bytes.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix('+').unwrap_or(text);
        let digits = text
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(text.len());
        let (number, suffix) = text.split_at(digits);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || whole.len() > 20 || fraction.len() > 9 {
            return None;
        }
        let units: u128 = if whole.is_empty() {
            0
        } else {
            whole.parse().ok()?
        };
        // In billionths, so that every legal fraction is whole.
        let part: u128 = format!("{fraction:0<9}").parse().ok()?;
        let billionths = units.checked_mul(1_000_000_000)?.checked_add(part)?;
        let (times, over): (u128, u128) = match suffix {
            "" => (1, 1),
            "n" => (1, 1_000_000_000),
            "u" => (1, 1_000_000),
            "m" => (1, 1000),
            "k" => (1000, 1),
            "M" => (1_000_000, 1),
            "G" => (1_000_000_000, 1),
            "T" => (1_000_000_000_000, 1),
            "P" => (1_000_000_000_000_000, 1),
            "Ki" => (1 << 10, 1),
            "Mi" => (1 << 20, 1),
            "Gi" => (1 << 30, 1),
            "Ti" => (1 << 40, 1),
            "Pi" => (1 << 50, 1),
            "Ei" => (1 << 60, 1),
            _ => {
                let power: u32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
                (10_u128.checked_pow(power.min(30))?, 1)
            }
        };
        let thousandths = billionths.checked_mul(times)? / over / 1_000_000;
        Some(Self(thousandths))
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
    fn quantities_are_read_as_the_api_server_reads_them() {
        for (text, shown) in [
            ("1500m", "1500m"),
            ("2", "2"),
            ("0.5", "500m"),
            (".5", "500m"),
            ("1e3", "1000"),
            ("1E3", "1000"),
            ("10Gi", "10Gi"),
            ("1.5Gi", "1536Mi"),
            ("1G", "1000000000"),
            ("128974848", "123Mi"),
            ("100u", "0"),
            ("0", "0"),
        ] {
            let read = Quantity::parse(text).map(|quantity| quantity.to_string());
            assert_eq!(read.as_deref(), Some(shown), "{text}");
        }
        for text in [
            "",
            "x",
            "-1",
            "1 Gi",
            "Gi",
            "1Gib",
            "1e",
            "1.2.3",
            "99999999999999999999999",
        ] {
            assert_eq!(Quantity::parse(text), None, "{text}");
        }
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
