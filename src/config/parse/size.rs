//! Sizes in bytes: `1GiB`, `500MB`, `4096`.

use super::Reason;

/// Units, the largest first in each system, so that what is shown is short.
const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

/// Reads a whole number with a unit, or of bytes. A bare `G` is refused: some mean 1000, some 1024 by it.
pub fn size(text: &str) -> Result<u64, Reason> {
    let expected = || "expected a size such as 1GiB, 500MB or 4096".to_owned();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.strip_prefix(' ').unwrap_or(unit);
    let factor = match unit {
        "" => 1,
        unit => UNITS.iter().find(|(name, _)| *name == unit).map(|(_, bytes)| *bytes).ok_or_else(expected)?,
    };
    let number: u64 = number.parse().map_err(|_| expected())?;
    number.checked_mul(factor).ok_or_else(expected)
}

/// A size in the largest unit that keeps it whole; [`size`] reads it again.
pub fn shown_size(bytes: u64) -> String {
    let whole = UNITS.iter().find(|(_, unit)| bytes > 0 && bytes.is_multiple_of(*unit));
    whole.map_or_else(|| bytes.to_string(), |(name, unit)| format!("{}{name}", bytes / unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_and_can_be_read_again() {
        let rows = [
            ("0", 0, "0"),
            ("1", 1, "1B"),
            ("4096", 4096, "4KiB"),
            ("1GiB", 1 << 30, "1GiB"),
            ("1 GiB", 1 << 30, "1GiB"),
            ("1536MiB", 1536 << 20, "1536MiB"),
            ("500MB", 500_000_000, "500MB"),
            ("3kB", 3000, "3kB"),
            ("18446744073709551615B", u64::MAX, "18446744073709551615B"),
        ];
        for (text, bytes, shown) in rows {
            assert_eq!(size(text), Ok(bytes), "{text:?}");
            assert_eq!(shown_size(bytes), shown, "{text:?}");
            assert_eq!(size(shown), Ok(bytes), "{shown:?}");
        }
    }

    #[test]
    fn the_rest_is_refused() {
        let rows = [
            "",
            "GiB",
            "1G",
            "1g",
            "1gib",
            "-1",
            "+1",
            "1.5GiB",
            "1  GiB",
            " 1",
            "1GiB ",
            "16777216TiB",
            "\u{661}B",
        ];
        for text in rows {
            assert!(size(text).is_err(), "{text:?}");
        }
    }
}
