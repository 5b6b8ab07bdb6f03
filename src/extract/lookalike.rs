//! Letters that look like Latin ones: a name spelled with them is another text, and a reader cannot tell.
//!
//! Data and a lookup only; `sense` decides what a hit is. The pairs are those of Unicode's `confusables.txt` (UTS 39) whose
//! skeleton is one basic Latin letter, for Cyrillic, Greek, Armenian and the Latin extensions. Both sides of a comparison go
//! through the table, so the name of the org may be in any of the scripts. ASCII pairs (`0` and `O`, `rn` and `m`) are no letters
//! of another script: they are tried as whole spellings, see [`ascii_spellings`].

/// The Latin letter that `character` looks like; `None` for every other one, ASCII included.
pub(super) fn latin(character: char) -> Option<char> {
    if !('\u{251}'..='\u{585}').contains(&character) {
        return None;
    }
    Some(match character {
        // Latin extensions.
        'ɑ' => 'a',
        'ɡ' => 'g',
        'ɩ' => 'i',
        // Greek.
        'Α' | 'α' => 'a',
        'Β' => 'b',
        'Ε' => 'e',
        'Η' => 'h',
        'Ι' | 'ι' => 'i',
        'Κ' | 'κ' => 'k',
        'Μ' => 'm',
        'Ν' => 'n',
        'Ο' | 'ο' | 'σ' => 'o',
        'Ρ' | 'ρ' => 'p',
        'Τ' => 't',
        'υ' => 'u',
        'ν' => 'v',
        'Χ' => 'x',
        'Υ' | 'γ' => 'y',
        'Ζ' => 'z',
        'ϲ' => 'c',
        'ϳ' => 'j',
        // Cyrillic.
        'А' | 'а' => 'a',
        'В' | 'Ь' => 'b',
        'С' | 'с' => 'c',
        'ԁ' => 'd',
        'Е' | 'е' => 'e',
        'ԍ' => 'g',
        'Н' | 'һ' => 'h',
        'І' | 'і' => 'i',
        'Ј' | 'ј' => 'j',
        'К' | 'к' => 'k',
        'Ӏ' | 'ӏ' => 'l',
        'М' | 'м' => 'm',
        'О' | 'о' => 'o',
        'Р' | 'р' => 'p',
        'ԛ' => 'q',
        'Ѕ' | 'ѕ' => 's',
        'Т' => 't',
        'Ѵ' | 'ѵ' => 'v',
        'ԝ' | 'ѡ' => 'w',
        'Х' | 'х' => 'x',
        'У' | 'у' | 'ү' => 'y',
        // Armenian.
        'օ' | 'Օ' => 'o',
        'ո' => 'n',
        'ս' | 'Ս' => 'u',
        'հ' => 'h',
        'ց' => 'g',
        'Տ' => 's',
        _ => return None,
    })
}

/// A name of four letters and more with the digits and letter pairs that look like its letters, each kind in all places; folded in,
/// folded out. Empty for a name without such letters.
pub(super) fn ascii_spellings(folded: &str) -> Vec<String> {
    if folded.chars().filter(|letter| letter.is_alphabetic()).count() < 4 {
        return Vec::new();
    }
    let swaps = [('o', "0"), ('l', "1"), ('i', "1"), ('m', "rn"), ('e', "3")];
    let mut spellings: Vec<String> =
        swaps.iter().filter(|(letter, _)| folded.contains(*letter)).map(|(letter, seen)| folded.replace(*letter, seen)).collect();
    if folded.contains("rn") {
        spellings.push(folded.replace("rn", "m"));
    }
    spellings
}
