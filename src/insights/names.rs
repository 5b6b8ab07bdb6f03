//! Names as keys: when two spellings are one name, and texts as small numbers. Knows no row and no org.

use std::collections::HashMap;
use std::sync::Arc;

use unicode_normalization::UnicodeNormalization;

/// What all spellings of a name share: NFKC, case folded, white space collapsed. Empty: there is no name in the text.
#[must_use]
pub fn name_key(name: &str) -> String {
    // Upper case first, so that letters that fold into two (ß, ﬁ) and the two small sigmas become the same.
    let folded: String =
        name.nfkc().flat_map(char::to_uppercase).collect::<String>().chars().flat_map(char::to_lowercase).nfkc().collect();
    folded.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Texts as numbers in the order of their first appearance.
#[derive(Debug, Default, Clone)]
pub(super) struct Interner {
    texts: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, u32>,
}

impl Interner {
    /// The text's number, a new one if it has none.
    pub(super) fn number(&mut self, text: &str) -> u32 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let number = u32::try_from(self.texts.len()).unwrap_or(u32::MAX);
        let text: Arc<str> = text.into();
        self.texts.push(Arc::clone(&text));
        self.numbers.insert(text, number);
        number
    }

    /// The text's number, if it has one.
    pub(super) fn find(&self, text: &str) -> Option<u32> {
        self.numbers.get(text).copied()
    }

    /// The text of a number; empty for a number that was never given.
    pub(super) fn text(&self, number: u32) -> &str {
        self.texts.get(number as usize).map_or("", |text| text)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.texts.len()
    }

    /// All numbers, ordered by their texts.
    pub(super) fn sorted(&self) -> Vec<u32> {
        let mut numbers: Vec<u32> = self.numbers.values().copied().collect();
        numbers.sort_by(|left, right| self.text(*left).cmp(self.text(*right)));
        numbers
    }
}
