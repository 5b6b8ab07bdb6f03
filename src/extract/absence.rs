//! Does the answer say that it does not know or does not list what it names? Absence statements, and refusals.
//!
//! Looks at the phrases around one place, then at the grammar of its clause (`statement`), then at the item, cell or list it stands in (`entries`);
//! phrases and word classes are data, the rules are the same for all languages. What is denied of a feature is no absence. Work per
//! place is bounded: only what stands within [`REACH`] bytes, its sentence and the head of its list are looked at.

use std::ops::Range;

use super::entries::is_entry;
use super::fold::{fold, without_emphasis};
use super::passages::{sentence, sentence_breaks};
use super::phrases::{Said, Says, is_filler, is_place, is_self};
use super::statement::Clause;

/// How far from a name a phrase may stand, in bytes.
const REACH: usize = 240;
/// Longest way from a name to what is said of it, in characters.
const LONGEST_GAP: usize = 60;
/// How far into the answer a refusal begins, in bytes.
const OPENING: usize = 400;
/// An answer shorter than this that begins as a refusal and takes nothing back is a refusal, in bytes.
const SHORT: usize = 400;

/// Words that join the names of a list.
const JOINING: &[&str] = &[
    "and", "or", "nor", "neither", "either", "of", "by", "from", "the", "und", "oder", "noch", "et", "ou", "ni", "y", "o", "e",
    "en", "of", "i", "lub", "ani", "и", "или", "ни", "ve", "veya", "inc", "ltd", "gmbh", "itself", "also", "und",
];

/// What behind a name goes on with a list of names, or places it.
const AFTER_LIST: &[&str] = &[
    "and",
    "or",
    "nor",
    "in",
    "on",
    "among",
    "anywhere",
    "at",
    "either",
    "listed",
    "mentioned",
    "here",
    "there",
    "as",
    "within",
    "from",
    "und",
    "oder",
    "im",
    "auf",
    "hier",
    "et",
    "ou",
    "dans",
    "y",
    "o",
    "e",
    "en",
    "w",
    "na",
    "lub",
    "ani",
    "и",
    "или",
    "в",
    "nei",
    "tra",
];

/// What behind a phrase shows that a feature is denied, or a grade.
const TAKEN_BACK: &[&str] = &[
    "to",
    "as",
    "publicly",
    "on the stock",
    "on any stock",
    "on nasdaq",
    "on the nasdaq",
    "on the new york",
    "for free",
    "in the free",
    "in the price",
    "in the basic",
    "in all plans",
    "in every plan",
    "among the cheapest",
    "among the best",
    "among the most",
    "among the fastest",
    "among the largest",
    "among the top",
    "the cheapest",
    "the best",
    "the fastest",
    "the most",
    "the right",
    "the easiest",
    "the largest",
    "le plus",
    "la plus",
    "zu sein",
    "a ser",
    "ser",
];

/// True when the place, of the answer's text, is in an absence statement or in a refusal. `said` is in order.
pub(super) fn is_absence(text: &str, span: &Range<usize>, said: &[Said]) -> bool {
    if said.is_empty() {
        return false;
    }
    let from = said.partition_point(|said| said.span.start + REACH < span.start);
    let near = || said.iter().skip(from).take_while(|said| said.span.start <= span.end + REACH);
    let between = |range: Range<usize>| text.get(range).unwrap_or_default();
    let phrased = near().any(|phrase| match phrase.says {
        Says::Before => phrase.span.end <= span.start && only_fillers(text, between(phrase.span.end..span.start), span),
        Says::After => {
            phrase.span.start >= span.end
                && is_said_of(between(span.end..phrase.span.start))
                && !is_taken_back(text.get(phrase.span.end..).unwrap_or_default())
        }
        Says::Listed => {
            phrase.span.start >= span.end
                && is_said_of(between(span.end..phrase.span.start))
                && names_a_place(text.get(phrase.span.end..).unwrap_or_default())
        }
        Says::Near => {
            phrase.span.start >= span.end
                && !between(span.end..phrase.span.start).contains(|sign: char| sign.is_alphanumeric())
                && !between(span.end..phrase.span.start).contains("\n\n")
                && !between(span.end..phrase.span.start).contains('\n')
                && !is_taken_back(text.get(phrase.span.end..).unwrap_or_default())
        }
        Says::Neither => {
            phrase.span.end <= span.start
                && sentence_breaks(between(phrase.span.end..span.start), "x").next().is_none()
                && near().any(|present| {
                    present.says == Says::Present
                        && present.span.start >= span.end
                        && present.span.start - span.end <= 2 * LONGEST_GAP
                        && sentence_breaks(between(span.end..present.span.start), "x").next().is_none()
                        && !has_turn(between(span.end..present.span.start))
                })
        }
        _ => false,
    });
    if phrased {
        return !Clause::new(text, sentence(text, span), span).is_kept();
    }
    is_denied(text, span, near) || is_refused(text, span, said)
}

/// True when the grammar says so. It is asked where a word that denies stands in the sentence, behind a question also in the next one,
/// and near what may be an entry.
fn is_denied<'s, Near: Iterator<Item = &'s Said>>(text: &str, span: &Range<usize>, near: impl Fn() -> Near) -> bool {
    let denies = |said: &Said| said.says == Says::Denial;
    if !near().any(denies) {
        return false;
    }
    let own = sentence(text, span);
    let asks = text.get(own.clone()).is_some_and(|own| own.ends_with(['?', '？']));
    let end = if asks { own.end + REACH } else { own.end };
    let inside = near().any(|said| denies(said) && said.span.end > own.start && said.span.start < end);
    (inside && Clause::new(text, own, span).is_absent()) || is_entry(text, span)
}

/// `I couldn't find any information about the company …`: after the phrase only fillers, or other names in a list with this one.
fn only_fillers(text: &str, gap: &str, span: &Range<usize>) -> bool {
    if gap.len() > REACH || sentence_breaks(gap, "x").next().is_some() || gap.contains([';', '：', '，']) {
        return false;
    }
    let after = text.get(span.end..).unwrap_or_default();
    let mut names = false;
    for word in gap.split(|sign: char| sign.is_whitespace() || matches!(sign, '-' | '/' | '(' | ',' | '、')) {
        let bare = word.trim_matches(|sign: char| !sign.is_alphanumeric());
        let folded = fold(bare);
        if bare.is_empty() || is_filler(&folded) || JOINING.contains(&folded.as_str()) {
            continue;
        }
        if !bare.starts_with(char::is_uppercase) {
            return false;
        }
        names = true;
    }
    if names && !goes_on_as_a_list(after) {
        return false;
    }
    // "No information on Sable's prices": Sable is known.
    let possessed = ["'s ", "’s ", "' ", "’ "].iter().find_map(|mark| after.strip_prefix(mark));
    possessed.is_none_or(|rest| is_self(&fold(rest.split(|sign: char| !sign.is_alphanumeric()).next().unwrap_or_default())))
}

/// `the table because …`: what something is missing from, within four words and before the thought ends.
fn names_a_place(behind: &str) -> bool {
    let end = behind.char_indices().nth(60).map_or(behind.len(), |(at, _)| at);
    let behind = behind.get(..end).unwrap_or_default();
    let ends = |sign: char| matches!(sign, '.' | ',' | ';' | ':' | '\n' | '(' | '!' | '?');
    let thought = behind.split(ends).next().unwrap_or_default();
    thought.split_whitespace().take(4).any(|word| is_place(&fold(word.trim_matches(|sign: char| !sign.is_alphanumeric()))))
}

fn goes_on_as_a_list(after: &str) -> bool {
    let after = after.trim_start_matches(['*', '_', '"', '”', '’', ')', ']']);
    let word: String = after.trim_start().chars().take(20).take_while(|next| next.is_alphanumeric()).collect();
    word.is_empty() || AFTER_LIST.contains(&fold(&word).as_str())
}

/// True when what follows the gap is said of the name before it: one thought, and no other name in between.
fn is_said_of(gap: &str) -> bool {
    if gap.len() > REACH || gap.chars().count() > LONGEST_GAP || gap.contains([';', '|']) || is_parted(gap) {
        return false;
    }
    if has_turn(gap) {
        return false;
    }
    // "QuillMark leads and Boxly is not listed": another name, and more than a list before it.
    let mut words = gap.split_whitespace().map(|word| word.trim_matches(|sign: char| !sign.is_alphanumeric())).rev();
    let last = words.find(|word| !word.is_empty()).unwrap_or_default();
    let names_another = last.starts_with(char::is_uppercase) && last.len() > 1 && !last.starts_with("I'");
    let joins = |word: &str| {
        matches!(fold(word).as_str(), "and" | "und" | "et" | "y" | "e" | "en" | "i" | "и" | "ve" | "og" | "och" | "και")
    };
    !(names_another && (gap.contains(',') || gap.split_whitespace().any(joins)))
        || gap
            .split_whitespace()
            .map(|word| word.trim_matches(|sign: char| !sign.is_alphanumeric()))
            .all(|word| word.is_empty() || word.starts_with(char::is_uppercase) || JOINING.contains(&fold(word).as_str()))
}

fn is_parted(gap: &str) -> bool {
    sentence_breaks(gap, "x").any(|end| {
        let ended = gap.get(..end).unwrap_or_default();
        let next = gap.get(end..).unwrap_or_default().trim_start_matches([' ', '>']);
        // A line that only wraps goes on with the sentence.
        !ended.ends_with('\n')
            || ended.ends_with("\n\n")
            || next.starts_with(['-', '*', '+', '#', '|', '•', '\n'])
            || next.starts_with(|digit: char| digit.is_ascii_digit())
    })
}

fn is_taken_back(behind: &str) -> bool {
    let mut end = behind.len().min(60);
    while !behind.is_char_boundary(end) {
        end -= 1;
    }
    let behind = fold(behind.get(..end).unwrap_or_default());
    if behind.starts_with("to be listed") || behind.starts_with("to be included") || behind.starts_with("to be mentioned") {
        return false;
    }
    TAKEN_BACK.iter().any(|words| {
        behind.strip_prefix(words).is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
            // "as one of the listed tools", "among the top results": lists, not grades.
            && !["results", "listed", "list", "mentioned", "sources"].iter().any(|list| behind.contains(list))
    })
}

/// The words of [`Says::Turn`] between spaces, and the signs that end a thought.
fn turns() -> &'static [String] {
    static TURNS: std::sync::LazyLock<Vec<String>> = std::sync::LazyLock::new(super::phrases::turns);
    &TURNS
}

fn has_turn(between: &str) -> bool {
    let folded = format!(" {} ", fold(&without_emphasis(between)).replace(',', " "));
    turns().iter().any(|turn| folded.contains(turn.as_str()))
}

/// True when the answer is a refusal and nothing but the refused is said of the place: its sentence refuses, advises where else to look
/// or asks back, or the whole answer is short and takes nothing back.
fn is_refused(text: &str, span: &Range<usize>, said: &[Said]) -> bool {
    let opening = said.iter().take_while(|said| said.span.start < OPENING).find(|said| said.says == Says::Refusal);
    let Some(opening) = opening else { return false };
    let sentence = sentence(text, span);
    if Clause::new(text, sentence.clone(), span).has_reason() {
        return false;
    }
    let turned = |range: Range<usize>| has_turn(text.get(range).unwrap_or_default());
    if text.len() < SHORT
        && opening.span.start < 80
        && !turned(opening.span.end..text.len())
        && !text.contains("\n-")
        && !text.contains("\n1")
    {
        return true;
    }
    let from = said.partition_point(|said| said.span.start < sentence.start);
    let inside = || said.iter().skip(from).take_while(|said| said.span.end <= sentence.end).take(50);
    let is_advice =
        inside().any(|said| said.says == Says::Advice && (said.span.end <= span.start || said.span.start >= span.end));
    let is_refusal = inside().any(|said| {
        said.says == Says::Refusal
            && if said.span.end <= span.start { !turned(said.span.end..span.start) } else { !turned(span.end..said.span.start) }
    });
    let asks = text.get(sentence).is_some_and(|sentence| sentence.ends_with(['?', '？', '؟']));
    is_refusal || ((is_advice || asks) && text.len() < 4 * SHORT)
}
