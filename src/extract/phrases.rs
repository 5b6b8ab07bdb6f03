//! The phrases of `data/phrases.txt`, folded and sorted by what they say. Data only; `absence` and `labels` decide with them.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::LazyLock;

use super::fold::fold;
use super::mentions::{Document, Matcher, is_word};

/// What a phrase says; the sections of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Says {
    /// A name follows that is unknown or not listed.
    Before,
    /// The name before it is unknown or not listed.
    After,
    /// The same, directly behind the name.
    Near,
    /// The same, when what it is missing from follows: "isn't in the table".
    Listed,
    /// "Neither … nor".
    Neither,
    /// Completes it.
    Present,
    /// There is no answer.
    Refusal,
    /// Where else to look.
    Advice,
    /// Any denial: the clause is worth a look.
    Denial,
}

/// The phrases that are searched, with what they say and whether their last word may go on.
static SEARCHED: LazyLock<Vec<(Says, String, bool)>> = LazyLock::new(|| {
    let sections = [
        (Says::Before, "before"),
        (Says::After, "after"),
        (Says::Near, "near"),
        (Says::Listed, "listed"),
        (Says::Neither, "neither"),
        (Says::Present, "present"),
        (Says::Refusal, "refusal"),
        (Says::Advice, "advice"),
    ];
    let mut phrases = Vec::new();
    for (says, section) in sections {
        for phrase in lines(section).flat_map(|line| line.split('|')) {
            let phrase = phrase.trim();
            let bare = phrase.trim_end_matches('*');
            phrases.push((says, fold(bare), bare.len() < phrase.len()));
        }
    }
    for denial in super::clause::negations() {
        let bare = denial.trim_end_matches('*');
        phrases.push((Says::Denial, fold(bare), bare.len() < denial.len()));
    }
    phrases.retain(|(_, phrase, _)| !phrase.is_empty());
    phrases
});

/// Those in Latin letters without accents; the numbers are those of [`SEARCHED`].
static LATIN: LazyLock<(Matcher, Vec<usize>)> = LazyLock::new(|| compiled(true));
/// The others: looked for only in a text that has many letters of other scripts.
static OTHER: LazyLock<(Matcher, Vec<usize>)> = LazyLock::new(|| compiled(false));

fn compiled(latin: bool) -> (Matcher, Vec<usize>) {
    let chosen = || SEARCHED.iter().enumerate().filter(move |(_, (_, phrase, _))| phrase.is_ascii() == latin);
    let matcher = Matcher::phrases(chosen().map(|(_, (_, phrase, open))| (phrase.as_str(), *open)));
    (matcher, chosen().map(|(number, _)| number).collect())
}

/// A phrase in an answer.
#[derive(Debug, Clone)]
pub(super) struct Said {
    /// Bytes of the answer.
    pub(super) span: Range<usize>,
    /// What it says.
    pub(super) says: Says,
}

/// Every phrase of the answer, in order of the starts.
pub(super) fn said(document: &Document<'_>) -> Vec<Said> {
    let mut said: Vec<Said> = Vec::new();
    let mut add = |compiled: &(Matcher, Vec<usize>)| {
        said.extend(compiled.0.places(document).into_iter().filter_map(|place| {
            let (says, _, _) = SEARCHED.get(*compiled.1.get(place.name)?)?;
            Some(Said { span: place.span, says: *says })
        }));
    };
    add(&LATIN);
    if document.is_in_other_script() {
        add(&OTHER);
    }
    said.sort_by_key(|said| said.span.start);
    said
}

fn lines(section: &str) -> impl Iterator<Item = &'static str> {
    let heading = format!("[{section}]");
    let file = include_str!("data/phrases.txt").lines().filter(|line| !line.starts_with('#'));
    file.skip_while(move |line| *line != heading)
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split_once(": ").map(|(_, phrases)| phrases))
}

fn words(section: &'static str) -> HashSet<String> {
    lines(section).flat_map(str::split_whitespace).map(fold).collect()
}

fn whole(section: &'static str) -> HashSet<String> {
    lines(section).flat_map(|line| line.split('|')).map(fold).collect()
}

/// True for a word that may stand between a phrase of absence and the name.
pub(super) fn is_filler(folded: &str) -> bool {
    static WORDS: LazyLock<HashSet<String>> = LazyLock::new(|| words("filler"));
    WORDS.contains(folded)
}

/// True for a list, table, test or the like, that a name may be missing from.
pub(super) fn is_place(folded: &str) -> bool {
    static WORDS: LazyLock<HashSet<String>> = LazyLock::new(|| words("places"));
    WORDS.contains(folded)
}

/// True for what stands for the org itself behind its possessive.
pub(super) fn is_self(folded: &str) -> bool {
    static WORDS: LazyLock<HashSet<String>> = LazyLock::new(|| words("self"));
    WORDS.contains(folded)
}

/// True for the heading of a list of sources.
pub(super) fn is_sources(folded: &str) -> bool {
    static HEADINGS: LazyLock<HashSet<String>> = LazyLock::new(|| whole("sources"));
    HEADINGS.contains(folded)
}

/// True when the text is, or with `ends` ends with, a lead-in of a reference.
pub(super) fn is_lead(folded: &str, ends: bool) -> bool {
    /// By their last letter, so that few are compared.
    static LEADS: LazyLock<HashMap<char, Vec<String>>> = LazyLock::new(|| {
        let mut leads: HashMap<char, Vec<String>> = HashMap::new();
        for lead in whole("lead") {
            if let Some(last) = lead.chars().next_back() {
                leads.entry(last).or_default().push(lead);
            }
        }
        leads
    });
    let candidates = folded.chars().next_back().and_then(|last| LEADS.get(&last));
    candidates.is_some_and(|leads| {
        leads.iter().any(|lead| {
            folded == lead || (ends && folded.strip_suffix(lead.as_str()).is_some_and(|head| !head.ends_with(is_word)))
        })
    })
}

/// The words that begin another thought, each between spaces as far as its script has them, and the semicolon.
pub(super) fn turns() -> Vec<String> {
    let spaced = |word: &str| word.chars().all(|letter| letter < '\u{1100}');
    let words = lines("turn").flat_map(|line| line.split('|')).map(fold);
    let mut turns: Vec<String> = words.map(|word| if spaced(&word) { format!(" {word} ") } else { word }).collect();
    turns.push("; ".to_owned());
    turns
}
