//! Letters that grammar adds to a name: Russian and Greek cases, Korean particles, Arabic and Hebrew prefixes, and the endings of
//! the languages in Latin letters where the text is in one of them.
//!
//! Rules as data, for folded text. Only endings of the singular: a plural (`Соколы`, `Соколов`) is mostly another word. Decides
//! nothing about places without added letters; see `mentions`.

use std::sync::LazyLock;

use super::fold::fold;
use super::mentions::is_word;

/// Fewest letters of a name that is inflected.
const SHORTEST: usize = 4;
/// How much of a text is looked at to tell its language, in bytes.
const SAMPLE: usize = 4_000;

/// A language in Latin letters: its commonest small words, and what it adds to a name. Folded.
struct Tongue {
    words: &'static [&'static str],
    endings: &'static [&'static str],
    /// Endings that take the place of a final `a`.
    for_a: &'static [&'static str],
}

#[rustfmt::skip]
const TONGUES: &[Tongue] = &[
    Tongue { words: &["der", "die", "das", "und", "ist", "fur", "mit", "von", "ein", "eine", "auch", "nicht", "im", "den", "dem"], endings: &["s"], for_a: &[] },
    Tongue { words: &["och", "ar", "som", "det", "den", "av", "pa", "med", "og", "er", "til", "ikke", "inte", "ett", "et"], endings: &["s"], for_a: &[] },
    Tongue { words: &["het", "een", "van", "voor", "zijn", "niet", "ook", "met", "wordt", "deze", "dat"], endings: &["s"], for_a: &[] },
    Tongue {
        words: &["jest", "sie", "nie", "oraz", "dla", "ktory", "ktora", "przez", "ze", "w", "z", "do", "od", "czy", "takze"],
        endings: &["a", "u", "owi", "em", "iem", "om", "ie", "e"],
        for_a: &["y", "i", "e", "ie", "o"],
    },
    Tongue { words: &["je", "se", "pro", "ktery", "ktera", "nebo", "jako", "jsou", "take", "pri", "ve"], endings: &["a", "u", "em", "ovi", "e"], for_a: &["y", "u", "e", "ou", "o"] },
    Tongue {
        words: &["ja", "on", "ei", "se", "joka", "myos", "ovat", "tai", "kuin", "mutta", "sen", "voi", "ovat"],
        endings: &["n", "in", "ssa", "issa", "sta", "ista", "lla", "illa", "lta", "ilta", "lle", "ille", "ksi", "iksi", "na", "ina", "a", "ia", "ta", "iin", "an", "en", "on"],
        for_a: &[],
    },
];

/// Which of [`TONGUES`] a text may be in, one bit each. Several of their small words must stand in its beginning.
pub(super) fn tongues(folded: &str) -> u8 {
    let mut end = SAMPLE.min(folded.len());
    while !folded.is_char_boundary(end) {
        end -= 1;
    }
    let sample = folded.get(..end).unwrap_or_default();
    let mut counts = [0_u32; 8];
    for word in sample.split(|character: char| !is_word(character)).filter(|word| (1..=6).contains(&word.len())) {
        for (tongue, count) in TONGUES.iter().zip(&mut counts) {
            *count += u32::from(tongue.words.contains(&word));
        }
    }
    let most = counts.iter().copied().max().unwrap_or(0).max(2);
    let mut bits = 0;
    for (bit, count) in (0_u8..).zip(counts) {
        if count * 2 > most && count >= 2 {
            bits |= 1 << bit;
        }
    }
    bits
}

/// How the letters behind a name in its text may belong to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Tail {
    /// The name as it is, with an ending behind it or none.
    #[default]
    Whole,
    /// The name without its own ending: one of these must follow.
    Cut(&'static [&'static str]),
    /// The same, in a text whose language has such endings: a final `a` was cut.
    CutA,
    /// An Arabic name without its article: only behind `لل`.
    WithoutArticle,
}

/// The shortened form of a name that changes its own ending: the stem, and what may follow it.
pub(super) fn stem(folded: &str) -> Option<(String, Tail)> {
    if letters(folded) < SHORTEST {
        return None;
    }
    if let Some(rest) = folded.strip_prefix("ال").filter(|rest| letters(rest) >= 3) {
        return Some((rest.to_owned(), Tail::WithoutArticle));
    }
    let last = folded.chars().next_back()?;
    let cut = |length: usize, endings: &'static [&'static str]| {
        let stem: String = folded.chars().take(folded.chars().count() - length).collect();
        Some((stem, Tail::Cut(endings)))
    };
    match last {
        'а' => cut(1, &["ы", "и", "е", "у", "ои\u{306}", "ою", "і"]),
        'я' => cut(1, &["и", "е", "ю", "еи\u{306}", "ею", "і"]),
        'ь' => cut(1, &["я", "ю", "ем", "е", "и", "ью"]),
        // й is two characters when folded.
        '\u{306}' if folded.ends_with("и\u{306}") => cut(2, &["я", "ю", "ем", "е", "и"]),
        'о' => cut(1, &["а", "у", "ом", "е"]),
        'σ' if folded.ends_with("οσ") => cut(2, &["ου", "ο", "ον", "ε"]),
        'σ' => cut(1, &[""]),
        'ο' => cut(1, &["ου"]),
        'a' if folded.is_ascii() => {
            let stem = folded.get(..folded.len() - 1)?.to_owned();
            Some((stem, Tail::CutA))
        }
        _ => None,
    }
}

/// True when the word that goes on behind a place (`after`) is an ending of it. `tongues` is asked only for Latin letters.
pub(super) fn is_ending(after: &str, name: &str, tail: Tail, tongues: impl FnOnce() -> u8) -> bool {
    let Some(last) = name.chars().next_back() else { return false };
    let end = after.char_indices().take(16).find(|(_, next)| !is_word(*next)).map_or(after.len(), |(at, _)| at);
    let rest = after.get(..end).unwrap_or_default();
    match tail {
        Tail::Cut(endings) => endings.contains(&rest),
        Tail::CutA => spoken(tongues, |tongue| tongue.for_a.contains(&rest)),
        Tail::WithoutArticle => rest.is_empty(),
        Tail::Whole if rest.is_empty() => true,
        Tail::Whole if is_hangul(last) => letters(name) >= 3 || is_particles(rest),
        Tail::Whole if letters(name) < SHORTEST => false,
        Tail::Whole => match last {
            'а'..='я' | 'ё' | 'і' | 'ї' | 'є' | 'ґ' if !"аеиоуыэюяьй".contains(last) => {
                ["а", "у", "ом", "е", "ем", "ю", "я", "ові", "і"].contains(&rest)
            }
            // A Greek name in -α or -η: the genitive adds a sigma.
            'α' | 'η' => rest == "σ",
            letter if letter.is_ascii_alphabetic() && rest.is_ascii() => {
                let long = ends_like_a_name(last, rest);
                long && spoken(tongues, |tongue| tongue.endings.contains(&rest))
            }
            _ => false,
        },
    }
}

/// A name in a hiss takes no second one: `Atlass` is no genitive.
fn ends_like_a_name(last: char, rest: &str) -> bool {
    !(rest == "s" && matches!(last, 's' | 'x' | 'z'))
}

/// True when a language the text may be in passes the test; the text is looked at only when any language does.
fn spoken(tongues: impl FnOnce() -> u8, test: impl Fn(&Tongue) -> bool) -> bool {
    if !TONGUES.iter().any(&test) {
        return false;
    }
    let tongues = tongues();
    TONGUES.iter().enumerate().any(|(bit, tongue)| tongues & (1 << bit) != 0 && test(tongue))
}

/// True when the letters before a name in Arabic or Hebrew are only what grammar puts there (`والصقر`, `بالصقر`).
pub(super) fn is_prefix(before: &str, tail: Tail) -> bool {
    let start =
        before.char_indices().rev().take(6).take_while(|(_, letter)| is_word(*letter)).last().map_or(before.len(), |(at, _)| at);
    let letters = before.get(start..).unwrap_or_default();
    if tail == Tail::WithoutArticle {
        return matches!(letters, "لل" | "ولل" | "فلل");
    }
    matches!(
        letters,
        "و" | "ف"
            | "ب"
            | "ل"
            | "ك"
            | "ال"
            | "وال"
            | "بال"
            | "فال"
            | "كال"
            | "لل"
            | "وب"
            | "ول"
            | "وك"
            | "وبال"
            | "ولل"
            | "فب"
            | "فل"
    ) || matches!(
        letters,
        "ה" | "ו" | "ב" | "ל" | "מ" | "ש" | "כ" | "וה" | "וב" | "ול" | "ומ" | "וש" | "שב" | "של" | "שה" | "מה" | "כש"
    )
}

/// Arabic and Hebrew letters, which take prefixes.
pub(super) fn takes_prefixes(letter: char) -> bool {
    matches!(letter, '\u{5D0}'..='\u{5EA}' | '\u{620}'..='\u{64A}' | '\u{671}'..='\u{6D3}')
}

/// Hangul, whole or taken apart: words are parted by spaces, particles stand behind them.
pub(super) fn is_hangul(letter: char) -> bool {
    matches!(letter, '\u{1100}'..='\u{11FF}' | '\u{3130}'..='\u{318F}' | '\u{A960}'..='\u{A97F}' | '\u{AC00}'..='\u{D7FF}')
}

/// Letters, or syllables where the script writes those.
fn letters(name: &str) -> usize {
    name.chars().filter(|letter| is_word(*letter) && !matches!(letter, '\u{1160}'..='\u{11FF}' | '\u{300}'..='\u{36F}')).count()
}

/// Korean particles and forms of the copula.
#[rustfmt::skip]
const PARTICLES: &[&str] = &[
    "은", "는", "이", "가", "을", "를", "의", "에", "에서", "에게", "로", "으로", "와", "과", "도", "만", "까지", "부터", "보다", "처럼", "라는", "이라는",
    "라고", "이라고", "이나", "나", "이란", "란", "랑", "이랑", "하고", "께서", "한테", "조차", "마저", "밖에", "마다", "측", "사", "입니다", "이다", "인",
    "이며", "며", "이고", "고", "같은", "용", "형", "대비", "든", "이든", "야", "요",
];

fn is_particles(rest: &str) -> bool {
    static FOLDED: LazyLock<Vec<String>> = LazyLock::new(|| PARTICLES.iter().map(|particle| fold(particle)).collect());
    FOLDED.iter().any(|first| {
        rest.strip_prefix(first.as_str()).is_some_and(|rest| rest.is_empty() || FOLDED.iter().any(|second| second == rest))
    })
}
