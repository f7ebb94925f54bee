//! Durations as Go writes them, because Portainer's documentation does: `72h`, `1h30m`, `.5s`, `0`.

use std::time::Duration;

use super::Reason;

/// Reads a sequence of decimal numbers, each with a unit: ns, us, µs, ms, s, m, h. A bare `0` needs none.
pub fn duration(text: &str) -> Result<Duration, Reason> {
    sum(text).ok_or_else(|| "expected a duration such as 72h, 1h30m or 90s".into())
}

fn sum(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    let mut total: u64 = 0;
    loop {
        let (nanos, after) = term(rest)?;
        total = total.checked_add(nanos)?;
        if after.is_empty() {
            break;
        }
        rest = after;
    }
    // Go counts in a signed 64-bit number of nanoseconds: 292 years.
    i64::try_from(total).ok()?;
    Some(Duration::from_nanos(total))
}

/// One number with its unit, in nanoseconds, and what follows it.
fn term(text: &str) -> Option<(u64, &str)> {
    let (whole, rest) = split_digits(text);
    let (fraction, rest) = rest.strip_prefix('.').map_or(("", rest), split_digits);
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let end = rest.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(rest.len());
    let (unit, rest) = rest.split_at_checked(end)?;
    let unit = nanoseconds(unit)?;
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let nanos = whole.checked_mul(unit)?.checked_add(part(fraction, unit))?;
    Some((nanos, rest))
}

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// `0.<fraction>` of a unit, rounded down. More than 18 digits are below a nanosecond of any unit.
fn part(fraction: &str, unit: u64) -> u64 {
    let mut scale: u128 = 1;
    let mut value: u128 = 0;
    for digit in fraction.bytes().take(18) {
        scale *= 10;
        value = value * 10 + u128::from(digit - b'0');
    }
    u64::try_from(value * u128::from(unit) / scale).unwrap_or(u64::MAX)
}

fn nanoseconds(unit: &str) -> Option<u64> {
    match unit {
        "ns" => Some(1),
        // Two characters look like mu: the micro sign and the Greek letter.
        "us" | "\u{b5}s" | "\u{3bc}s" => Some(1_000),
        "ms" => Some(1_000_000),
        "s" => Some(1_000_000_000),
        "m" => Some(60_000_000_000),
        "h" => Some(3_600_000_000_000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_what_go_reads() {
        let rows = [
            ("0", 0),
            ("+0", 0),
            ("0s", 0),
            ("5s", 5_000_000_000),
            ("+5s", 5_000_000_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("1.5h", 5_400_000_000_000),
            ("72h", 259_200_000_000_000),
            ("1h30m", 5_400_000_000_000),
            ("1h15m30.918273645s", 4_530_918_273_645),
            ("1µs", 1_000),
            ("1μs", 1_000),
            ("1us", 1_000),
            ("10ms", 10_000_000),
            ("1ns", 1),
            ("0.100000000000000000000h", 360_000_000_000),
            ("9223372036854775807ns", i64::MAX as u64),
        ];
        for (text, nanos) in rows {
            assert_eq!(duration(text), Ok(Duration::from_nanos(nanos)), "{text:?}");
        }
    }

    #[test]
    fn it_refuses_the_rest() {
        let rows = [
            "",
            "+",
            "-",
            "-5s",
            "3",
            "1d",
            "1 h",
            "1h 2m",
            "s",
            ".",
            ".s",
            "1..5s",
            "+.s",
            "1h-2m",
            "h1",
            "1S",
            "9223372036854775808ns",
            "3000000h",
            "99999999999999999999s",
            "１s",
            "1h\n",
        ];
        for text in rows {
            assert!(duration(text).is_err(), "{text:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn it_never_panics(text in "[-+.0-9hmsuµn]{0,30}") {
            let _ = duration(&text);
        }
    }
}
