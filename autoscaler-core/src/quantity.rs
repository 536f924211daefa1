//! Exact amounts: the Kubernetes quantity, and the integer units that decisions are made in.
//!
//! Only parsing, rounding and printing of amounts belongs here. Arithmetic over several resources at once is in
//! [`resources`](crate::resources).

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, de};

/// Nano-units in one unit: quantities are exact down to this fraction, as in `k8s.io/apimachinery`.
const NANO: i128 = 1_000_000_000;

/// The largest magnitude of a quantity in whole units, as in `k8s.io/apimachinery`: larger amounts are capped to it.
const MAX_UNITS: i128 = i64::MAX as i128;

/// A Kubernetes quantity such as `100m`, `1.5Gi` or `2e3`, held exactly.
///
/// Grammar and limits are those of `k8s.io/apimachinery/pkg/api/resource`: an optional sign, a decimal number, and one
/// suffix out of `n u m k M G T P E`, `Ki Mi Gi Ti Pi Ei` or a decimal exponent. Amounts beyond 2^63 - 1 are capped,
/// amounts finer than a nano-unit are rounded away from zero.
///
/// ```
/// use autoscaler_core::quantity::Quantity;
///
/// let cpu: Quantity = "1500m".parse()?;
/// assert_eq!(cpu.milli(), 1500);
/// let memory: Quantity = "1.5Gi".parse()?;
/// assert_eq!(memory.units(), 1_610_612_736);
/// # Ok::<(), autoscaler_core::quantity::ParseQuantityError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Quantity {
    nano: i128,
}

/// Why a text is not a Kubernetes quantity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a quantity: {problem}")]
pub struct ParseQuantityError {
    text: String,
    problem: &'static str,
}

/// CPU in thousandths of a core.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MilliCpu(pub i64);

/// An amount of memory or storage in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub i64);

/// Money per hour, in nano-units of the account's currency.
///
/// An integer, so that sums and comparisons of prices are exact and do not depend on the order of addition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HourlyPrice(i64);

// === impl Quantity ===

impl Quantity {
    /// A whole number of units: cores, bytes or pieces.
    #[must_use]
    pub const fn from_units(units: i64) -> Self {
        Self {
            nano: units as i128 * NANO,
        }
    }

    /// The amount in thousandths of a unit, rounded away from zero (`MilliValue` in Go), saturating at `i64`.
    #[must_use]
    pub fn milli(self) -> i64 {
        saturate(divide_away_from_zero(self.nano, NANO / 1000))
    }

    /// The amount in whole units, rounded away from zero (`Value` in Go), saturating at `i64`.
    #[must_use]
    pub fn units(self) -> i64 {
        saturate(divide_away_from_zero(self.nano, NANO))
    }

    /// The exact amount, in billionths of a unit.
    #[must_use]
    pub const fn nanos(self) -> i128 {
        self.nano
    }

    /// Whether the amount is below zero, which no request or capacity may be.
    #[must_use]
    pub const fn is_negative(self) -> bool {
        self.nano < 0
    }
}

impl FromStr for Quantity {
    type Err = ParseQuantityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fail = |problem| ParseQuantityError {
            text: text.chars().take(64).collect(),
            problem,
        };
        let (negative, unsigned) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            Some(_) => (false, text),
            None => return Err(fail("it is empty")),
        };
        let digits_end = unsigned
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(digits_end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() {
            return Err(fail("it has no digits"));
        }
        if fraction.contains('.') {
            return Err(fail("it has two decimal points"));
        }
        let scale = Scale::parse(suffix)
            .ok_or_else(|| fail("its suffix is none of n u m k M G T P E Ki Mi Gi Ti Pi Ei or an exponent"))?;
        let magnitude = scale.apply(whole, fraction);
        Ok(Self {
            nano: if negative { -magnitude } else { magnitude },
        })
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, suffix) = [(NANO, ""), (NANO / 1000, "m"), (1000, "u")]
            .into_iter()
            .find(|(unit, _)| self.nano % unit == 0)
            .unwrap_or((1, "n"));
        write!(f, "{}{suffix}", self.nano / unit)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Quantity;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a Kubernetes quantity such as 100m or 2Gi")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Quantity, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_i64<E: de::Error>(self, units: i64) -> Result<Quantity, E> {
                Ok(Quantity::from_units(units))
            }

            fn visit_u64<E: de::Error>(self, units: u64) -> Result<Quantity, E> {
                Ok(Quantity::from_units(i64::try_from(units).unwrap_or(i64::MAX)))
            }

            // As Kubernetes reads it.
            fn visit_unit<E: de::Error>(self) -> Result<Quantity, E> {
                Ok(Quantity::from_units(0))
            }

            // YAML writes `cpu: 0.5` as a float; its shortest decimal form is what the author wrote.
            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Quantity, E> {
                number.to_string().parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

/// What a suffix multiplies by: `10^exponent` or `2^shift`.
enum Scale {
    Decimal(i32),
    Binary(u32),
}

impl Scale {
    fn parse(suffix: &str) -> Option<Self> {
        let scale = match suffix {
            "n" => Self::Decimal(-9),
            "u" => Self::Decimal(-6),
            "m" => Self::Decimal(-3),
            "" => Self::Decimal(0),
            "k" => Self::Decimal(3),
            "M" => Self::Decimal(6),
            "G" => Self::Decimal(9),
            "T" => Self::Decimal(12),
            "P" => Self::Decimal(15),
            "E" => Self::Decimal(18),
            "Ki" => Self::Binary(10),
            "Mi" => Self::Binary(20),
            "Gi" => Self::Binary(30),
            "Ti" => Self::Binary(40),
            "Pi" => Self::Binary(50),
            "Ei" => Self::Binary(60),
            _ => {
                let exponent = suffix.strip_prefix(['e', 'E'])?;
                let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
                if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
                    return None;
                }
                // No text is long enough for its digits to make up for exponents outside this range.
                let magnitude = digits.parse().unwrap_or(i32::MAX).min(2_000_000_000);
                Self::Decimal(if exponent.starts_with('-') {
                    -magnitude
                } else {
                    magnitude
                })
            }
        };
        Some(scale)
    }

    /// The number `whole.fraction` times the scale, in nano-units, rounded up and capped.
    fn apply(&self, whole: &str, fraction: &str) -> i128 {
        let (shift, exponent) = match *self {
            Self::Binary(shift) => (shift, 9),
            Self::Decimal(exponent) => (0, exponent.saturating_add(9)),
        };
        let fraction = fraction.trim_end_matches('0');
        let mut mantissa: i128 = 0;
        let mut truncated = false;
        // Digits past the 18th of the fraction are below a nano-unit for every suffix but the exponents, where they are
        // far below what the cap lets through; they only decide rounding.
        let mut power = exponent;
        let kept = fraction.len().min(18);
        for digit in whole.bytes().chain(fraction.bytes().take(kept)) {
            mantissa = mantissa.saturating_mul(10).saturating_add(i128::from(digit - b'0'));
            if mantissa > MAX_UNITS * NANO {
                // Saturated: remember the lost digits as powers of ten so that a later negative exponent still counts.
                mantissa /= 10;
                truncated = true;
                power = power.saturating_add(1);
            }
        }
        truncated |= fraction.len() > kept;
        power = power.saturating_sub(i32::try_from(kept).unwrap_or(i32::MAX));
        let cap = MAX_UNITS * NANO;
        let mut value = mantissa;
        if shift > 0 {
            value = match value.checked_mul(1_i128 << shift) {
                Some(value) => value,
                // The product is only needed exactly when it is below the cap after the decimal shift, and then the
                // mantissa has so many fraction digits that dropping the last ones changes less than a nano-unit.
                None => {
                    let mut digits = mantissa;
                    while digits.checked_mul(1_i128 << shift).is_none() {
                        digits /= 10;
                        power = power.saturating_add(1);
                        truncated = true;
                    }
                    digits << shift
                }
            };
        }
        while power > 0 && value != 0 {
            value = value.saturating_mul(10);
            if value >= cap {
                return cap;
            }
            power -= 1;
        }
        while power < 0 && value != 0 {
            truncated |= value % 10 != 0;
            value /= 10;
            power += 1;
        }
        if truncated {
            value = value.saturating_add(1);
        }
        value.min(cap)
    }
}

fn divide_away_from_zero(value: i128, divisor: i128) -> i128 {
    let quotient = value / divisor;
    match value % divisor {
        0 => quotient,
        _ if value < 0 => quotient - 1,
        _ => quotient + 1,
    }
}

fn saturate(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

// === impl MilliCpu ===

impl fmt::Display for MilliCpu {
    /// Prints as Kubernetes does, always in milli-cores: `1500m`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}m", self.0)
    }
}

// === impl Bytes ===

impl Bytes {
    /// Bytes in one mebibyte.
    pub const MIB: i64 = 1 << 20;
    /// Bytes in one gibibyte.
    pub const GIB: i64 = 1 << 30;
}

impl fmt::Display for Bytes {
    /// Prints with the largest binary suffix that is exact, or else in mebibytes with two digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0;
        for (shift, suffix) in [(40, "Ti"), (30, "Gi"), (20, "Mi"), (10, "Ki")] {
            if bytes != 0 && bytes % (1_i64 << shift) == 0 {
                return write!(f, "{}{suffix}", bytes >> shift);
            }
        }
        if bytes.unsigned_abs() < 1 << 20 {
            return write!(f, "{bytes}");
        }
        let hundredths = i128::from(bytes) * 100 / i128::from(Self::MIB);
        write!(f, "{}.{:02}Mi", hundredths / 100, (hundredths % 100).abs())
    }
}

// === impl HourlyPrice ===

impl HourlyPrice {
    /// Hours in a month as VPSie bills it: 365 days x 24 hours / 12 months.
    const HOURS_PER_MONTH: i64 = 730;

    /// A price of nothing.
    pub const ZERO: Self = Self(0);

    /// A price from nano-units of currency per hour.
    #[must_use]
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// A price from a decimal amount per hour, rounded to the nano-unit.
    ///
    /// `None` when the amount is not finite, negative or beyond nine billion.
    #[must_use]
    pub fn from_hourly(amount: f64) -> Option<Self> {
        if !(0.0..9.0e9).contains(&amount) {
            return None;
        }
        // The shortest decimal form is what the API wrote; parsing it keeps 0.1 exactly 0.1.
        let quantity: Quantity = format!("{amount}").parse().ok()?;
        i64::try_from(quantity.nano).ok().map(Self)
    }

    /// A price from a decimal amount per month of 730 hours.
    #[must_use]
    pub fn from_monthly(amount: f64) -> Option<Self> {
        Self::from_hourly(amount).map(|Self(nanos)| Self(nanos / Self::HOURS_PER_MONTH))
    }

    /// Nano-units of currency per hour.
    #[must_use]
    pub const fn nanos(self) -> i64 {
        self.0
    }

    /// The price as a decimal number per hour, for display.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "for display; a price below nine million is exact to the nano-unit"
    )]
    pub fn as_f64(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// This price times a number of nodes, saturating.
    #[must_use]
    pub fn times(self, count: usize) -> Self {
        Self(self.0.saturating_mul(i64::try_from(count).unwrap_or(i64::MAX)))
    }

    /// The sum of two prices, saturating.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl fmt::Display for HourlyPrice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}.{:09}", self.0 / 1_000_000_000, (self.0 % 1_000_000_000).abs());
        let trimmed = text.trim_end_matches('0');
        let digits = if trimmed.ends_with('.') {
            &text[..=trimmed.len()]
        } else {
            trimmed
        };
        f.write_str(digits)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn quantity(text: &str) -> Quantity {
        text.parse().unwrap()
    }

    #[test]
    fn suffixes_scale_as_in_kubernetes() {
        for (text, milli, units) in [
            ("0", 0, 0),
            ("100m", 100, 1),
            ("1", 1000, 1),
            ("+1.5", 1500, 2),
            (".5", 500, 1),
            ("5.", 5000, 5),
            ("1k", 1_000_000, 1000),
            ("1Ki", 1_024_000, 1024),
            ("1.5Gi", 1_610_612_736_000, 1_610_612_736),
            ("2e3", 2_000_000, 2000),
            ("2E3", 2_000_000, 2000),
            ("1E", i64::MAX, 1_000_000_000_000_000_000),
            ("1500u", 2, 1),
            ("1n", 1, 1),
            ("-1500u", -2, -1),
            ("0.1m", 1, 1),
            ("1e-3", 1, 1),
            ("128974848", 128_974_848_000, 128_974_848),
            ("129e6", 129_000_000_000, 129_000_000),
            ("123Mi", 128_974_848_000, 128_974_848),
        ] {
            assert_eq!(
                (quantity(text).milli(), quantity(text).units()),
                (milli, units),
                "{text}"
            );
        }
    }

    #[test]
    fn huge_amounts_are_capped_and_tiny_ones_round_up() {
        assert_eq!(quantity("9223372036854775808").units(), i64::MAX);
        assert_eq!(quantity("8Ei").units(), i64::MAX);
        assert_eq!(quantity("1e999999999999").units(), i64::MAX);
        assert_eq!(quantity("1e-999999999999").units(), 1);
        assert_eq!(quantity("0e99999").units(), 0);
        assert_eq!(quantity("0.00000000000000000000001").units(), 1);
        assert_eq!(quantity(&"9".repeat(500)).units(), i64::MAX);
    }

    #[test]
    fn malformed_texts_are_refused_with_the_text() {
        for text in [
            "", "-", ".", "1.2.3", "1 Gi", "1gi", "1GiB", "0x10", "e3", "1e", "1e+", "NaN", "inf", "१", "1m1",
        ] {
            let error = text.parse::<Quantity>().unwrap_err().to_string();
            assert!(error.contains(&format!("{text:?}")), "{error}");
        }
    }

    #[test]
    fn prices_keep_their_decimals() {
        assert_eq!(HourlyPrice::from_hourly(0.1).unwrap().nanos(), 100_000_000);
        assert_eq!(HourlyPrice::from_hourly(0.0075).unwrap().to_string(), "0.0075");
        assert_eq!(HourlyPrice::from_hourly(2.0).unwrap().to_string(), "2.0");
        assert_eq!(HourlyPrice::from_hourly(f64::NAN), None);
        assert_eq!(HourlyPrice::from_hourly(-1.0), None);
    }

    #[test]
    fn bytes_print_exactly_or_in_mebibytes() {
        assert_eq!(Bytes(Bytes::GIB).to_string(), "1Gi");
        assert_eq!(Bytes(1536 * Bytes::MIB).to_string(), "1536Mi");
        assert_eq!(Bytes(1_500_000).to_string(), "1.43Mi");
        assert_eq!(Bytes(0).to_string(), "0");
    }

    proptest! {
        #[test]
        fn any_text_parses_or_is_refused_without_panic(text in "\\PC{0,40}") {
            let _: Result<Quantity, _> = text.parse();
        }

        #[test]
        fn printing_and_parsing_gives_the_same_quantity(nano in -(1_i128 << 80)..(1_i128 << 80)) {
            let original = Quantity { nano: nano.clamp(-MAX_UNITS * NANO, MAX_UNITS * NANO) };
            prop_assert_eq!(quantity(&original.to_string()), original);
        }
    }
}
