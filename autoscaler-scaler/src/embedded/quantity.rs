//! Exact resource quantities. May hold: parsing of `100m`, `1Gi`, `2e3` into one integer unit, nothing else.

/// A quantity in billionths of its unit (nano-cores, nano-bytes), rounded up; none when malformed.
pub(super) fn nanos(text: &str) -> Option<i128> {
    const NANOS: i128 = 1_000_000_000;
    let split = text
        .find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '+' | '-')))
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at_checked(split)?;
    let (numerator, denominator) = match suffix {
        "n" => (1, NANOS),
        "u" => (1, 1_000_000),
        "m" => (1, 1_000),
        "" => (1, 1),
        "k" => (1_000, 1),
        "M" => (1_000_000, 1),
        "G" => (NANOS, 1),
        "T" => (1_000 * NANOS, 1),
        "P" => (1_000_000 * NANOS, 1),
        "E" => (NANOS * NANOS, 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        "Pi" => (1 << 50, 1),
        "Ei" => (1 << 60, 1),
        exponent => {
            let power: i32 = exponent.strip_prefix(['e', 'E'])?.parse().ok()?;
            let scale = 10_i128.checked_pow(power.unsigned_abs())?;
            if power < 0 { (1, scale) } else { (scale, 1) }
        }
    };
    let (negative, digits) = match number.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, number.strip_prefix('+').unwrap_or(number)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let places = u32::try_from(fraction.len()).ok()?;
    let mantissa: i128 = format!("{whole}{fraction}").parse().ok()?;
    let divisor = 10_i128.checked_pow(places)?.checked_mul(denominator)?;
    let scaled = mantissa.checked_mul(numerator)?.checked_mul(NANOS)?;
    let up = scaled / divisor + i128::from(scaled % divisor != 0);
    Some(if negative { -up } else { up })
}

#[cfg(test)]
mod tests {
    use super::nanos;

    #[test]
    fn every_notation_is_exact() {
        for (text, expected) in [
            ("1", Some(1_000_000_000)),
            ("100m", Some(100_000_000)),
            ("0.1", Some(100_000_000)),
            (".5", Some(500_000_000)),
            ("1Ki", Some(1_024_000_000_000)),
            ("1.5Gi", Some(1_610_612_736_000_000_000)),
            ("2e3", Some(2_000_000_000_000)),
            ("1E", Some(1_000_000_000_000_000_000_000_000_000)),
            ("-1", Some(-1_000_000_000)),
            ("0.0000000001", Some(1)),
            ("1x", None),
            ("", None),
            ("m", None),
        ] {
            assert_eq!(nanos(text), expected, "{text}");
        }
    }
}
