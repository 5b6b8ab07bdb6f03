//! The sentiment by rules: words of praise and blame (`lexicon`) in what the answer says of the org (`scopes`). A count of words,
//! not a judgement; asks no model.
//!
//! * Only clauses about the org count: a clause belongs to the brand it names first, one that names none to the one before it,
//!   and a brand that stands behind "than", "unlike" or "alternative to" is compared with, not judged.
//! * A negation turns the word behind it round ("not reliable"; in some languages the one before it). "Not only" is none.
//! * Words that recommend or warn weigh 2, others 1; a heading of pros or cons weighs 1, and below it only its own kind counts.
//! * Positive: praise is more than 1.5 times blame; negative: the reverse; else neutral, so also a mention without any word of
//!   either. `None` (cannot tell): what is said is mostly in a script without a lexicon (Thai, Hebrew, …). A Latin, Greek
//!   or Cyrillic language without a list of its own comes out as neutral: that is a limit of this file, not a finding.

use std::ops::Range;

use super::bytes::Stops;
use super::fold::{Folded, Mode};
use super::lexicon::{self, Role};
use super::mentions::Document;
use super::{advice, passages, ratings, scopes};
use crate::domain::Sentiment;

/// Most passages that are shown.
const MAX_SHOWN: usize = 5;
/// Letters that may stand between two brands, or beside one, for "and".
const CONJUNCTION: usize = 5;
/// Weight of a first place in a ranked list, and of a pick for a need.
const PICKED: u32 = 2;
/// Letters that may stand between "than" and the brand that something is compared with.
const COMPARED: usize = 12;

/// Fewest letters of an objection.
const OBJECTION: usize = 8;
/// "And", as it joins two thoughts.
const ANDS: &[&str] = &["and", "und", "et", "y", "e", "en", "i", "и", "ve", "και", "و", "और", "while", "och", "og"];

/// What the words say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Judged {
    /// `None`: cannot tell.
    pub(super) sentiment: Option<Sentiment>,
    /// The sentences that hold the words it rests on, at most five; empty when it rests on their absence.
    pub(super) passages: Vec<Range<usize>>,
    /// Weight of praise and of blame.
    pub(super) weights: (u32, u32),
}

impl Judged {
    /// What a person is told.
    pub(super) fn note(&self) -> String {
        let (praise, blame) = self.weights;
        if (praise, blame) == (0, 0) {
            return "no word of praise or blame where the answer speaks of the org".to_owned();
        }
        format!("counted by words: praise {praise}, blame {blame}")
    }
}

/// Judges what is said of the org. `mentions` of the org and `rivals` (places of other brands) are in order.
pub(super) fn judge(document: &Document<'_>, mentions: &[Range<usize>], rivals: &[Range<usize>]) -> Judged {
    let text = document.text;
    let (mut praise, mut blame) = (Vec::new(), Vec::new());
    let about = scopes::about(text, mentions, rivals);
    let mut said = String::new();
    for scope in &about {
        said.push_str(text.get(scope.clone()).unwrap_or_default());
        for (at, weight) in Reader::new(document, scope, mentions, rivals).read() {
            let list = if weight > 0 { &mut praise } else { &mut blame };
            list.push((at, weight.unsigned_abs()));
        }
    }
    if about.is_empty() || !lexicon::can_read(&said) {
        return Judged::default();
    }
    praise.extend(advice::picks(text, mentions, rivals).into_iter().map(|at| (at, PICKED)));
    let sum = |words: &[(Range<usize>, u32)]| words.iter().fold(0_u32, |sum, (_, weight)| sum.saturating_add(*weight));
    // A first place recommends, unless blame is all that is said there.
    if sum(&blame) <= sum(&praise)
        && let Some(head) = advice::first_place(text, mentions, rivals)
    {
        praise.push((head, PICKED));
    }
    let (good, bad) = (sum(&praise), sum(&blame));
    let more = |left: u32, right: u32| left.saturating_mul(2) > right.saturating_mul(3);
    let (sentiment, mut rests_on) = if more(good, bad) {
        (Sentiment::Positive, praise)
    } else if more(bad, good) {
        (Sentiment::Negative, blame)
    } else {
        praise.append(&mut blame);
        (Sentiment::Neutral, praise)
    };
    rests_on.sort_by_key(|(at, weight)| (std::cmp::Reverse(*weight), at.start));
    let mut passages: Vec<Range<usize>> = Vec::new();
    for (at, _) in rests_on {
        let sentence = passages::sentence(text, &at);
        if passages.len() < MAX_SHOWN && !passages.iter().any(|shown| shown.start < sentence.end && sentence.start < shown.end) {
            passages.push(sentence);
        }
    }
    Judged { sentiment: Some(sentiment), passages, weights: (good, bad) }
}

/// What stands in a scope, from left to right.
#[derive(Debug, Clone)]
enum Event {
    Word(Role, Range<usize>),
    Brand {
        own: bool,
        at: Range<usize>,
    },
    /// Ends a clause.
    Clause,
    /// Ends a sentence; true: and the line.
    Sentence(bool),
}

/// A clause with what it names and says.
#[derive(Debug, Default)]
struct Clause {
    /// Brands judged: the first one, and those joined to it by "and"; true: the org.
    brands: Vec<bool>,
    /// Letters and words up to the last of them.
    named: (usize, usize),
    /// Names a brand that something is compared with.
    compared: Option<bool>,
    words: Vec<(Role, Range<usize>)>,
    /// Letters and digits outside of names.
    letters: usize,
    /// Begins with "and" and its brand: what stands before it is another thought.
    adds: bool,
}

struct Reader<'a> {
    document: &'a Document<'a>,
    scope: Range<usize>,
    events: Vec<(usize, Event)>,
}

impl<'a> Reader<'a> {
    fn new(document: &'a Document<'a>, scope: &Range<usize>, mentions: &[Range<usize>], rivals: &[Range<usize>]) -> Self {
        let mut reader = Self { document, scope: scope.clone(), events: Vec::new() };
        reader.brands(mentions, true);
        reader.brands(rivals, false);
        let names: Vec<Range<usize>> = {
            let mut names: Vec<Range<usize>> = reader
                .events
                .iter()
                .filter_map(|(_, event)| if let Event::Brand { at, .. } = event { Some(at.clone()) } else { None })
                .collect();
            names.sort_by_key(|name| name.start);
            names
        };
        reader.words(&names);
        reader.marks_given(&names);
        reader.breaks();
        reader.events.sort_by_key(|(at, _)| *at);
        reader
    }

    fn brands(&mut self, spans: &[Range<usize>], own: bool) {
        let first = spans.partition_point(|span| span.start < self.scope.start);
        let inside = spans.get(first..).unwrap_or_default().iter().take_while(|span| span.end <= self.scope.end);
        self.events.extend(inside.map(|span| (span.start, Event::Brand { own, at: span.clone() })));
    }

    fn words(&mut self, names: &[Range<usize>]) {
        let slice = self.document.slice(&self.scope);
        let folded = Folded::new(slice, Mode::Match);
        for word in lexicon::find(&folded.text) {
            let Some(span) = folded.span(slice, word.at) else { continue };
            let at = self.scope.start + span.start..self.scope.start + span.end;
            let first = names.partition_point(|name| name.end <= at.start);
            let in_name = names.get(first).is_some_and(|name| name.start < at.end);
            let marks = self.document.marks();
            let mark = marks.partition_point(|mark| mark.span.end <= at.start);
            let in_code = marks.get(mark).is_some_and(|mark| mark.span.start < at.end);
            if !in_name && !in_code {
                self.events.push((at.start, Event::Word(word.role, at)));
            }
        }
    }

    /// Ratings count as words.
    fn marks_given(&mut self, names: &[Range<usize>]) {
        for (at, weight) in ratings::find(self.document.slice(&self.scope)) {
            let at = self.scope.start + at.start..self.scope.start + at.end;
            let first = names.partition_point(|name| name.end <= at.start);
            if names.get(first).is_none_or(|name| name.start >= at.end) && self.document.is_prose(&at) {
                self.events.push((at.start, Event::Word(Role { weight, ..Role::default() }, at)));
            }
        }
    }

    fn breaks(&mut self) {
        let slice = self.document.slice(&self.scope);
        let mut stops = Stops::of_clauses(slice.as_bytes());
        let mut from = 0;
        while let Some(at) = stops.next(from) {
            let (head, tail) = slice.split_at_checked(at).unwrap_or_default();
            let mut characters = tail.chars();
            let Some(character) = characters.next() else { break };
            from = at + character.len_utf8();
            let next = characters.next().unwrap_or(' ');
            let apart = next.is_whitespace() || matches!(next, '*' | '_' | ')' | '"' | '”');
            let event = match character {
                '\n' => Some(Event::Sentence(true)),
                '。' | '！' | '？' | '؟' | '।' => Some(Event::Sentence(false)),
                '.' | '!' | '?' if apart => Some(Event::Sentence(false)),
                '、' | '，' | '；' | '：' | '،' | '؛' | '|' | '(' | ')' | '（' | '）' | '—' | '–' | ';' => {
                    Some(Event::Clause)
                }
                ',' | ':' if apart => Some(Event::Clause),
                '-' if next == ' ' && (head.is_empty() || head.ends_with(' ')) => Some(Event::Clause),
                _ => None,
            };
            if let Some(event) = event {
                self.events.push((self.scope.start + at, event));
            }
        }
    }

    /// The judgements of the org, with their places; above 0 praise.
    fn read(self) -> Vec<(Range<usize>, i32)> {
        let mut judged = Vec::new();
        let mut sentence: Vec<Clause> = Vec::new();
        let mut clause = Clause::default();
        let mut list = List::None;
        let mut from = self.scope.start;
        for (at, event) in &self.events {
            if *at >= from {
                clause.letters += letters(self.document.slice(&(from..*at)));
                from = *at;
            }
            match event {
                Event::Clause => sentence.push(std::mem::take(&mut clause)),
                Event::Sentence(line) => {
                    sentence.push(std::mem::take(&mut clause));
                    weigh(self.document, std::mem::take(&mut sentence), list, &mut judged);
                    if *line {
                        list = list.behind_line(self.document.text.get(at + 1..self.scope.end).unwrap_or_default());
                    }
                }
                Event::Brand { own, at } => {
                    from = at.end;
                    let than = clause.words.iter().rposition(|(role, _)| role.than).filter(|than| {
                        let word = clause.words.get(*than).map_or(at.start, |(_, word)| word.end);
                        letters(self.document.slice(&(word..at.start))) <= COMPARED
                    });
                    // What stands between "than" and the brand is said of that brand.
                    clause.words.truncate(than.map_or(usize::MAX, |than| than + 1));
                    let compared = than.is_some();
                    if clause.brands.is_empty() && clause.words.is_empty() && (1..=CONJUNCTION).contains(&clause.letters) {
                        let before = self.document.text.get(self.scope.start..at.start).unwrap_or_default();
                        let word = before.trim_end_matches([' ', '*', '_', '[']).rsplit([' ', '\n', ',']).next();
                        clause.adds = word.is_some_and(|word| ANDS.contains(&word.to_lowercase().as_str()));
                    }
                    if compared {
                        clause.compared.get_or_insert(*own);
                    } else if clause.brands.is_empty()
                        || (clause.letters <= clause.named.0 + CONJUNCTION && clause.words.len() == clause.named.1)
                    {
                        clause.brands.push(*own);
                        clause.named = (clause.letters, clause.words.len());
                    }
                }
                Event::Word(role, at) => {
                    if (role.pros || role.cons) && self.heads_list(at) {
                        let next = List::of(role.pros, self.inline(at));
                        let own = !matches!(list, List::None)
                            || sentence.iter().chain([&clause]).all(|clause| clause.brands.iter().all(|own| *own));
                        sentence.push(std::mem::take(&mut clause));
                        weigh(self.document, std::mem::take(&mut sentence), list, &mut judged);
                        if own {
                            list = next;
                            judged.push((at.clone(), if role.pros { 1 } else { -1 }));
                        }
                        continue;
                    }
                    if role.turn && role.weight == 0 {
                        sentence.push(std::mem::take(&mut clause));
                    }
                    clause.words.push((*role, at.clone()));
                }
            }
        }
        sentence.push(clause);
        weigh(self.document, sentence, list, &mut judged);
        judged
    }

    /// True when the word stands alone at the start of its line or clause and a colon or the end of the line follows.
    fn heads_list(&self, at: &Range<usize>) -> bool {
        let mut before = self.document.text.get(self.scope.start..at.start).unwrap_or_default().chars().rev();
        let opens = before.find(|character| {
            !matches!(character, '*' | '_' | ' ' | '#' | '-' | '•' | '✅' | '❌' | '+' | '\u{FE0F}' | '👍' | '👎')
        });
        let after = self.document.text.get(at.end..self.scope.end).unwrap_or_default();
        let after = after.trim_start_matches(['*', '_', ' ']);
        opens.is_none_or(|before| matches!(before, '\n' | '.' | ';' | '|' | '。'))
            && (after.is_empty() || after.starts_with([':', '：', '\n']))
    }

    /// True when the list stands on the line of its heading.
    fn inline(&self, at: &Range<usize>) -> bool {
        let after = self.document.text.get(at.end..self.scope.end).unwrap_or_default();
        let line = after.split('\n').next().unwrap_or_default();
        line.contains(char::is_alphanumeric)
    }
}

/// Under which heading a word stands.
#[derive(Debug, Clone, Copy)]
enum List {
    None,
    Pros { inline: bool },
    Cons { inline: bool },
}

impl List {
    fn of(pros: bool, inline: bool) -> Self {
        if pros { Self::Pros { inline } } else { Self::Cons { inline } }
    }

    /// At the end of a line, with what follows it: a list on its heading's line ends there, another where no item follows.
    fn behind_line(self, rest: &str) -> Self {
        let next = rest.split('\n').find(|line| !line.trim().is_empty()).unwrap_or_default();
        let item = next
            .starts_with(|first: char| first.is_whitespace() || !(first.is_alphanumeric() || first == '*' || first == '#'))
            || next.starts_with("* ");
        match self {
            Self::Pros { inline: false } | Self::Cons { inline: false } if item || next.is_empty() => self,
            _ => Self::None,
        }
    }
}

fn letters(text: &str) -> usize {
    text.chars().filter(|character| character.is_alphanumeric()).count()
}

/// Adds the judgements of a sentence's clauses that are about the org.
fn weigh(document: &Document<'_>, sentence: Vec<Clause>, list: List, judged: &mut Vec<(Range<usize>, i32)>) {
    // Before the first brand a clause is about that one ("Reliable and cheap, X …"); a sentence without a brand is about the org.
    let first = sentence.iter().find(|clause| !clause.brands.is_empty());
    let mut own = first.is_none_or(|clause| clause.brands.contains(&true) && !clause.adds);
    let mut joined = false;
    // What was said of the org up to here.
    let mut said = 0_i32;
    for (index, clause) in sentence.iter().enumerate() {
        match (clause.brands.is_empty(), clause.compared) {
            (false, _) => {
                own = clause.brands.contains(&true) || joined;
                // `X, Y and Z are reliable`: what is only named shares what follows.
                joined = own && clause.letters <= CONJUNCTION && clause.words.is_empty();
            }
            (true, Some(compared)) if index == 0 => own = compared,
            _ => joined = false,
        }
        if own {
            let heard = weights(document, &clause.words);
            // "Tempting, but 7 kg are few": what a thought without a word of judgement is held against weighs against it.
            let turn = clause.words.first().filter(|(role, _)| role.turn && role.weight == 0);
            if let Some((_, at)) = turn.filter(|_| heard.is_empty() && clause.letters >= OBJECTION && said != 0) {
                judged.push((at.clone(), -said.clamp(-2, 2)));
                said = 0;
            }
            said += heard.iter().map(|(_, weight)| *weight).sum::<i32>();
            for (place, weight) in heard {
                match list {
                    List::Pros { .. } if weight < 0 => {}
                    List::Cons { .. } if weight > 0 => {}
                    _ => judged.push((place, weight)),
                }
            }
        }
    }
}

/// The judging words of a clause with their weights, turned round where a negation stands near.
fn weights(document: &Document<'_>, words: &[(Role, Range<usize>)]) -> Vec<(Range<usize>, i32)> {
    let near = |left: &Range<usize>, right: &Range<usize>| {
        let gap = document.slice(&(left.end..right.start));
        let spaces = gap.split_whitespace().count();
        let length = gap.chars().count();
        length <= 8 || (spaces <= 3 && length <= 30 && gap.contains(' '))
    };
    let judging = |role: &Role| role.weight != 0;
    let mut found = Vec::new();
    // "rät … ab": the verb warns.
    if let Some(verb) = words.iter().position(|(role, _)| role.apart)
        && words.iter().skip(verb + 1).any(|(role, _)| role.off)
    {
        found.extend(words.get(verb).map(|(_, at)| (at.clone(), -2)));
    }
    for (index, (role, at)) in words.iter().enumerate().filter(|(_, (role, _))| judging(role)) {
        let before = words.get(..index).unwrap_or_default().iter().rev().take(3);
        let mut negated = before.clone().any(|(other, place)| other.negates && near(place, at));
        let after = words.get(index + 1..).unwrap_or_default();
        if let Some((_, negation)) = after.iter().take(1).find(|(other, place)| other.negates_before && near(at, place)) {
            // `good and not expensive`: it belongs to the word behind it.
            let taken = after.get(1).is_some_and(|(next, place)| judging(next) && near(negation, place));
            negated |= !taken;
        }
        let weight = if negated { -role.weight.signum() } else { role.weight };
        found.push((at.clone(), weight));
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Where [`Reader::breaks`] parts a text, one character at a time; 1: a clause, 2: a sentence, 3: a line.
    fn letter_by_letter(text: &str) -> Vec<(usize, u8)> {
        let mut found = Vec::new();
        let mut before = ' ';
        for (at, character) in text.char_indices() {
            let next = text[at + character.len_utf8()..].chars().next().unwrap_or(' ');
            let apart = next.is_whitespace() || matches!(next, '*' | '_' | ')' | '"' | '”');
            match character {
                '\n' => found.push((at, 3)),
                '。' | '！' | '？' | '؟' | '।' => found.push((at, 2)),
                '.' | '!' | '?' if apart => found.push((at, 2)),
                '、' | '，' | '；' | '：' | '،' | '؛' | '|' | '(' | ')' | '（' | '）' | '—' | '–' | ';' => {
                    found.push((at, 1))
                }
                ',' | ':' if apart => found.push((at, 1)),
                '-' if before == ' ' && next == ' ' => found.push((at, 1)),
                _ => {}
            }
            before = character;
        }
        found
    }

    proptest! {
        #[test]
        fn breaks_are_those_of_each_letter(text in "[ab .!?\n,:;|()*é。，—-]{0,120}") {
            let document = Document::new(&text);
            let mut reader = Reader { document: &document, scope: 0..text.len(), events: Vec::new() };
            reader.breaks();
            let kind = |event: &Event| match event {
                Event::Clause => 1,
                Event::Sentence(line) => 2 + u8::from(*line),
                Event::Word(..) | Event::Brand { .. } => 0,
            };
            let found: Vec<_> = reader.events.iter().map(|(at, event)| (*at, kind(event))).collect();
            prop_assert_eq!(found, letter_by_letter(&text));
        }
    }
}
