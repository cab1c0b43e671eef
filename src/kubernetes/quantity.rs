//! Quantities as Kubernetes writes them: `500m`, `1Gi`, `2e3`
//! (`k8s.io/apimachinery/pkg/api/resource/quantity.go`).

/// The factor of a suffix, as numerator and denominator.
fn factor(suffix: &str) -> Option<(u128, u128)> {
    Some(match suffix {
        "n" => (1, 1_000_000_000),
        "u" => (1, 1_000_000),
        "m" => (1, 1_000),
        "" => (1, 1),
        "k" => (1_000, 1),
        "M" => (1_000_000, 1),
        "G" => (1_000_000_000, 1),
        "T" => (1_000_000_000_000, 1),
        "P" => (1_000_000_000_000_000, 1),
        "E" => (1_000_000_000_000_000_000, 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        "Pi" => (1 << 50, 1),
        "Ei" => (1 << 60, 1),
        _ => {
            let exponent: u32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            (10_u128.checked_pow(exponent).filter(|_| exponent <= 18)?, 1)
        }
    })
}

/// The quantity times `scale`, rounded up. `None` for what is no quantity, is negative, or
/// does not fit.
fn scaled(text: &str, scale: u128) -> Option<u64> {
    let text = text.trim();
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at_checked(digits)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let places = u32::try_from(fraction.len()).ok().filter(|n| *n <= 9)?;
    let joined: u128 = format!("{whole}{fraction}").parse().ok()?;
    let (numerator, denominator) = factor(suffix)?;
    let above = joined.checked_mul(numerator)?.checked_mul(scale)?;
    let below = denominator.checked_mul(10_u128.checked_pow(places)?)?;
    u64::try_from(above.div_ceil(below)).ok()
}

/// Bytes (or another whole unit) of a quantity.
pub fn bytes(text: &str) -> Option<u64> {
    scaled(text, 1)
}

/// Thousandths of a quantity: of processors, as they are usually told.
pub fn millis(text: &str) -> Option<u64> {
    scaled(text, 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_as_kubernetes_reads_them() {
        for (text, value) in [
            ("1Gi", Some(1 << 30)),
            ("1.5Gi", Some(3 << 29)),
            ("100M", Some(100_000_000)),
            ("2e3", Some(2000)),
            ("1E", Some(1_000_000_000_000_000_000)),
            ("0", Some(0)),
            ("1500m", Some(2)),
            ("", None),
            ("Gi", None),
            ("-1", None),
            ("1GB", None),
            ("1e99", None),
            ("99999999999Ei", None),
        ] {
            assert_eq!(bytes(text), value, "{text}");
        }
        assert_eq!(millis("250m"), Some(250));
        assert_eq!(millis("2"), Some(2000));
        assert_eq!(millis("0.1"), Some(100));
    }
}
