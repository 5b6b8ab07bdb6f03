//! Marks given in numbers: "4.8 stars", "2,4 балла из 5", "9/10". Finds and weighs them; whose they are is for `sentiment` to say.
//!
//! A number counts when its scale is said (5 or 10), or when it has a decimal and a unit of marks behind it ("4.8 stars": of 5).
//! "A 4-star hotel" is a class, "3.2 %" a rate: neither is a mark. Linear: each number looks at a bounded stretch behind it.

use std::ops::Range;

/// How far behind a number its unit and scale may stand, in characters.
const REACH: usize = 24;

/// What stands between a mark and its scale.
const OF: &[&str] = &["out of", "of", "von", "sur", "de", "su", "van", "na", "z", "из", "από", "στα", "/", "／", "／ ", "uit"];

/// Units of marks, as they begin.
const UNITS: &[&str] = &[
    "star",
    "stern",
    "étoile",
    "estrella",
    "estrela",
    "stell",
    "ster",
    "gwiazd",
    "yıldız",
    "звезд",
    "звёзд",
    "балл",
    "αστέρ",
    "つ星",
    "点",
    "分",
    "점",
    "星",
    "颗星",
    "نجوم",
    "نجمة",
    "من 5",
    "स्टार",
    "stjern",
    "punkt",
    "★",
    "⭐",
];

/// Marks in the text: where, and their weight (2 very good, 1 good, -1 poor, -2 bad); a middling mark is left out.
pub(super) fn find(text: &str) -> Vec<(Range<usize>, i32)> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(next) = bytes.get(at..).and_then(|rest| rest.iter().position(u8::is_ascii_digit)) {
        let start = at + next;
        let length = number_length(bytes.get(start..).unwrap_or_default());
        at = start + length;
        let before = text.get(..start).and_then(|before| before.chars().next_back());
        let alone = before.is_none_or(|before| !before.is_alphanumeric() || before > '\u{2E80}');
        let number = text.get(start..at).unwrap_or_default();
        if !alone || matches!(before, Some('$' | '€' | '£' | '¥' | '₹' | '.' | ',' | '-' | '/')) {
            continue;
        }
        if let Some((weight, behind)) = weight_of(number, text.get(at..).unwrap_or_default()) {
            at += behind;
            found.push((start..at, weight));
        }
    }
    found.retain(|(_, weight)| *weight != 0);
    found
}

/// Bytes of the number: digits, one sign and more digits.
fn number_length(bytes: &[u8]) -> usize {
    let digits = |bytes: &[u8]| bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let whole = digits(bytes);
    match bytes.get(whole..) {
        Some([b'.' | b',', rest @ ..]) if digits(rest) > 0 => whole + 1 + digits(rest),
        _ => whole,
    }
}

/// The weight of a number that is a mark, and how many bytes behind it belong to it.
fn weight_of(number: &str, behind: &str) -> Option<(i32, usize)> {
    let value: f64 = (number.len() <= 4).then(|| number.replace(',', ".").parse().ok())??;
    let decimal = number.contains(['.', ',']);
    let end = behind.char_indices().nth(REACH).map_or(behind.len(), |(at, _)| at);
    let near = behind.get(..end)?.to_lowercase();
    let mut rest = near.trim_start_matches([' ', '-', '\u{A0}']);
    let unit = UNITS.iter().any(|unit| rest.starts_with(unit));
    if unit {
        let word = rest.find(|sign: char| !sign.is_alphanumeric()).unwrap_or(rest.len());
        rest = rest.get(word..)?.trim_start();
    }
    let scale = OF.iter().find_map(|of| {
        let rest = rest.strip_prefix(of)?.trim_start();
        let digits = rest.find(|sign: char| !sign.is_ascii_digit()).unwrap_or(rest.len());
        let scale: f64 = rest.get(..digits)?.parse().ok()?;
        let scaled = [5.0, 10.0].into_iter().any(|known: f64| (known - scale).abs() < f64::EPSILON);
        scaled.then(|| (scale, near.len() - rest.len() + digits))
    });
    let (scale, length) = match scale {
        Some(said) => said,
        None if unit && decimal => (if value <= 5.0 { 5.0 } else { 10.0 }, 0),
        None => return None,
    };
    let share = value / scale;
    let weight = match share {
        share if !(0.0..=1.0).contains(&share) => return None,
        share if share >= 0.9 => 2,
        share if share >= 0.8 => 1,
        share if share <= 0.5 => -2,
        share if share <= 0.6 => -1,
        _ => 0,
    };
    // Lower case may have another length: never past the text, and on a boundary.
    let length = if behind.is_char_boundary(length) { length.min(behind.len()) } else { 0 };
    Some((weight, length))
}

#[cfg(test)]
mod tests {
    use super::find;

    #[test]
    fn marks_are_told_from_other_numbers() {
        for (text, wanted) in [
            ("averages 4.8 stars over 61 reviews", vec![2]),
            ("2,4 балла из 5", vec![-2]),
            ("rated 8/10 by testers", vec![1]),
            ("4,2 von 5 Sternen", vec![1]),
            ("평점은 4.61점입니다", vec![2]),
            ("3.4 out of 5", vec![]),
            ("2.9 out of 5 stars", vec![-1]),
            ("a 4-star hotel", vec![]),
            ("3.2 % interest, 2 of 5 parcels came late", vec![-2]),
            ("$4.8 stars", vec![]),
            ("version 4.8 of 12", vec![]),
            ("7.5 of 5", vec![]),
            ("", vec![]),
        ] {
            let weights: Vec<i32> = find(text).into_iter().map(|(_, weight)| weight).collect();
            assert_eq!(weights, wanted, "{text}");
        }
    }

    #[test]
    fn many_numbers_are_linear() {
        let text = "4.8 stars ".repeat(20_000);
        assert_eq!(find(&text).len(), 20_000);
        assert!(find(&"9".repeat(200_000)).is_empty());
    }
}
