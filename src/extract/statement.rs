//! The grammar of absence statements: who does not know, find or name, or what does not appear. Over the word classes of `clause`; the same
//! rules for all languages. Decides nothing about lists and refused answers; see `absence`.
//!
//! Three words make a statement: a denial, a word of knowing, finding, naming or appearing, and the name. Between them may only stand
//! words that have no content of their own: so "no better option than Sable" and "Sable does not list its prices" are none. Work per
//! name is bounded by its sentence.

use std::ops::Range;

use super::clause::{Token, around, class, tokens};
use super::fold::fold;
use super::lexicon;
use super::passages::sentence;
use super::phrases::is_self;

/// Words that a statement may hold beside its three.
const ALLOWED: u32 = class::NEGATION
    | class::SELF
    | class::FUNCTION
    | class::LOCATIVE
    | class::TOPIC
    | class::SOURCE
    | class::ITEM
    | class::NOMINAL
    | class::OBJECT
    | class::SAY
    | class::MATTER
    | class::SUBJECT
    | class::REACHABLE
    | class::SEARCH
    | class::PRONOUN
    | class::EXIST
    | class::JOIN
    | class::COMMA
    | class::NAME;
/// How many words of content may stand between "none of …" and its source or verb.
const TOLERATED: usize = 4;
/// How far behind a statement the place is looked for, in tokens.
const BEHIND: usize = 8;

/// The clause of one name.
pub(super) struct Clause<'t> {
    text: &'t str,
    tokens: Vec<Token>,
    /// The name.
    at: usize,
    /// The clause: between signs and words that start another thought.
    own: Range<usize>,
}

impl<'t> Clause<'t> {
    /// Of the sentence of the name.
    pub(super) fn new(text: &'t str, name: &Range<usize>) -> Self {
        let (tokens, at) = around(text, &sentence(text, name), name);
        let parts = |number: usize| {
            tokens.get(number).is_some_and(|token| {
                let behind_comma = number > 0 && tokens.get(number - 1).is_some_and(|token| token.is(class::COMMA));
                token.is(class::BREAK) || (token.is(class::TURN) && (behind_comma || !token.is(class::FUNCTION)))
            })
        };
        let from = (0..at).rev().find(|number| parts(*number)).map_or(0, |number| number + 1);
        let to = (at + 1..tokens.len()).find(|number| parts(*number)).unwrap_or(tokens.len());
        Self { text, tokens, at, own: from..to }
    }

    /// True when the clause says that its name is unknown or not listed.
    pub(super) fn is_absent(&self) -> bool {
        !self.is_kept() && (self.is_object() || self.is_subject() || self.is_searched() || self.is_left_over() || self.is_asked())
    }

    /// True when the name is set apart, compared or recommended in the same breath: whatever is denied, it is not the name.
    pub(super) fn is_kept(&self) -> bool {
        let before = (self.own.start..self.at).rev().find(|number| !self.joins_a_list(*number)).map(|number| (number, self.at));
        let set_apart = before.is_some_and(|(number, _)| self.is(number, class::EXCEPT))
            || self.is(self.at + 1, class::EXCEPT_BEHIND)
            || (self.is(self.at + 1, class::FUNCTION) && self.is(self.at + 2, class::EXCEPT_BEHIND))
            || self.is_as_as();
        set_apart
            || (self.is_that() && !self.any(self.at + 1..self.at + 6, class::EXIST | class::SUBJECT | class::OBJECT))
            || self.any(self.at + 1..self.own.end, class::MARKET)
            || self.is_graded()
            || self.goes_on()
    }

    /// "It is, however, an excellent choice" behind the name, in the same sentence.
    fn goes_on(&self) -> bool {
        let turn = (self.at + 1..self.tokens.len()).find(|number| self.is(*number, class::TURN));
        let Some(turn) = turn.filter(|turn| self.is(turn + 1, class::GOES_ON)) else { return false };
        let rest = self.tokens.get(turn + 1..).unwrap_or_default();
        let (Some(first), Some(last)) = (rest.first(), rest.last()) else { return false };
        let words = fold(self.text.get(first.span.start..last.span.end).unwrap_or_default());
        // A verb alone needs no word of praise: "but won the next test".
        !rest.iter().any(|token| token.is(class::CAPITAL | class::NEGATION | class::SELF | class::OTHER | class::CONDITION))
            && (lexicon::find(&words).iter().any(|found| found.role.weight > 0)
                || !self.is(turn + 1, class::PRONOUN | class::FUNCTION))
    }

    /// "Not among the cheapest", "nowhere near as …": a grade is denied.
    fn is_graded(&self) -> bool {
        let behind = self.at + 1..self.own.end.min(self.at + 1 + BEHIND);
        let Some(grade) = behind.clone().find(|number| self.is(*number, class::GRADE)) else { return false };
        self.any(self.at + 1..grade, class::NEGATION)
            && !self.any(self.at + 1..grade, class::COMMA | class::SOURCE)
            && !self.any(grade..self.own.end, class::SOURCE | class::SELF)
    }

    /// "I can't recommend Sable: the app crashes": a judgement with its reason, no refusal.
    pub(super) fn has_reason(&self) -> bool {
        let reason = self.tokens.get(self.at + 2..).unwrap_or_default();
        (self.word(self.at + 1) == Some(":") || self.is(self.at + 1, class::SINCE))
            && reason.len() > 1
            && !reason.iter().any(|token| token.is(class::SELF | class::NEGATION))
    }

    fn is_as_as(&self) -> bool {
        let is_as = |number: Option<usize>| number.and_then(|number| self.word(number)).is_some_and(|word| word == "as");
        is_as(self.at.checked_sub(1)) && is_as(self.at.checked_sub(3))
    }

    /// "… that Sable": what follows is denied, not the name.
    fn is_that(&self) -> bool {
        self.at > self.own.start && self.is(self.at - 1, class::THAT)
    }

    /// "I could not find Sable", "no trace of Sable", "none of the lists names Sable", "I can give no opinion on Sable".
    fn is_object(&self) -> bool {
        if self.is_possessor() {
            return false;
        }
        let exists = self.any(self.at + 1..self.at + 5, class::EXIST);
        let start = if self.is_that() && exists { self.at - 1 } else { self.at };
        let (mut topic, mut verb, mut naming, mut denied, mut names) = (false, false, false, false, false);
        let mut tolerated = 0;
        for number in (self.own.start..start).rev() {
            if !self.is_allowed(number) {
                // "None of the three independent sources names Sable."
                tolerated += 1;
                if naming && tolerated <= TOLERATED && !self.is(number, class::OTHER | class::ONLY | class::THAT) {
                    continue;
                }
                break;
            }
            names |= self.is(number, class::CAPITAL);
            let is_verb = self.is(number, class::OBJECT) || (self.is(number, class::SAY) && self.speaks_of_itself());
            let is_noun = topic && self.is(number, class::NOMINAL | class::MATTER);
            verb |= is_verb || (is_noun && !denied);
            naming |= self.is(number, class::OBJECT);
            topic |= self.is(number, class::TOPIC);
            denied |= self.is(number, class::NEGATION);
            let sourced = tolerated == 0 || self.any(number..start, class::SOURCE);
            if denied && verb && sourced && self.speaks_itself(number) {
                return exists || self.is_open(self.at + 1, names);
            }
        }
        // "Ich kenne Sable nicht."
        let behind = self.at + 1..self.at + 3;
        tolerated == 0
            && verb
            && self.speaks_of_itself()
            && behind.clone().find(|number| self.is(*number, class::NEGATION)).is_some_and(|number| self.is_open(number + 1, false))
            && behind.clone().take_while(|number| !self.is(*number, class::NEGATION)).all(|number| self.is_allowed(number))
    }

    /// "Sable does not appear", "Sable kenne ich nicht", "in none of the lists is Sable named", "on Sable there is no information".
    fn is_subject(&self) -> bool {
        if self.is_possessor() {
            return false;
        }
        let about = self.at.checked_sub(1).is_some_and(|number| self.is(number, class::TOPIC))
            || self.at.checked_sub(2).is_some_and(|number| {
                self.is(number, class::TOPIC) && self.is(number + 1, class::FUNCTION) && number >= self.own.start
            })
            || self.is(self.at + 1, class::TOPIC);
        let (before_denied, before_verb, before_noun) = self.before();
        if before_verb && self.is_open(self.at + 1, false) {
            return true;
        }
        let (mut list, mut denied, mut verb, mut own, mut active) = (true, before_denied, false, false, false);
        let (mut noun, mut placed) = (false, false);
        for number in self.at + 1..self.own.end {
            let is = |classes| self.is(number, classes);
            list &= is(class::CAPITAL | class::COMMA | class::JOIN);
            if !self.is_allowed(number) || (is(class::CAPITAL) && !list) {
                break;
            }
            // "Sable does not list prices": what it does, not what is done with it.
            active |= !list && is(class::OBJECT | class::SAY) && !is(class::SUBJECT);
            own |= is(class::SELF);
            let appears = is(class::SUBJECT) && (denied || is(class::NEGATION));
            let appeared = is(class::NEGATION) && verb;
            denied |= is(class::NEGATION);
            verb |= is(class::SUBJECT);
            noun |= is(class::NOMINAL);
            placed |= denied && is(class::LOCATIVE);
            let open = || self.is_open(number + 1, false);
            if ((appears || appeared) && !active && open())
                || (denied && placed && !active && !noun && is(class::SOURCE))
                || (denied && own && active && open())
                || (about && denied && noun && self.is_open_noun(number + 1))
                || (before_noun && denied && is(class::REACHABLE) && open())
            {
                return true;
            }
        }
        false
    }

    /// What stands before the name: a denied place ("in none of the lists"), one with its verb before the name, information on it.
    fn before(&self) -> (bool, bool, bool) {
        let (mut source, mut verb, mut topic, mut noun) = (false, false, false, false);
        for number in (self.own.start..self.at).rev() {
            if !self.is_allowed(number) {
                break;
            }
            let joined = (number + 1..self.at).all(|between| self.joins_a_list(between));
            noun |= topic && self.is(number, class::NOMINAL);
            topic |= self.is(number, class::TOPIC);
            if self.is(number, class::NEGATION) && (source || joined) {
                return (true, source && verb, noun);
            }
            verb |= !source && self.is(number, class::SUBJECT) && self.at - number <= 2;
            source |= self.is(number, class::SOURCE);
        }
        (false, false, noun)
    }

    /// "A search for Sable returned nothing", "I looked for Sable but came up empty".
    fn is_searched(&self) -> bool {
        let looked = (self.own.start..self.at).rev().take_while(|number| self.is_allowed(*number));
        let looked = looked.take(5).any(|number| self.is(number, class::SEARCH));
        let (mut denied, mut noun) = (false, false);
        looked
            && (self.at + 1..self.tokens.len().min(self.at + 14))
                .take_while(|number| self.is_allowed(*number) || self.is(*number, class::TURN))
                .any(|number| {
                    denied |= self.is(number, class::NEGATION);
                    noun |= self.is(number, class::NOMINAL | class::OBJECT | class::SUBJECT | class::SOURCE);
                    denied && noun
                })
    }

    /// "Only Boxly appears in the guide; Sable does not."
    fn is_left_over(&self) -> bool {
        let behind = self.at + 1..self.own.end;
        let short = !behind.is_empty() && behind.len() <= 4 && self.own.end == self.tokens.len();
        short
            && behind.clone().all(|number| self.is(number, class::FUNCTION | class::NEGATION))
            && self.any(behind, class::NEGATION)
            && self.any(0..self.own.start, class::SUBJECT)
            && self.any(0..self.own.start, class::SOURCE)
    }

    /// "Could you say more about Sable? I know nothing of it", "if Sable exists, I have not come across it".
    fn is_asked(&self) -> bool {
        let sentence = sentence(self.text, &self.tokens.get(self.at).map_or(0..0, |name| name.span.clone()));
        let asks = self.text.get(sentence.clone()).is_some_and(|sentence| sentence.ends_with(['?', '？']));
        if asks {
            let rest = self.text.get(sentence.end..).unwrap_or_default();
            let gap = rest.len() - rest.trim_start().len();
            if gap == rest.len() || rest.get(..gap).is_some_and(|gap| gap.contains("\n\n")) {
                return false;
            }
            let first = rest.get(gap..).and_then(|rest| rest.chars().next()).map_or(0, char::len_utf8);
            let start = sentence.end + gap;
            let next = self::sentence(self.text, &(start..start + first));
            return denies_it(&tokens(self.text, start.min(next.end)..next.end));
        }
        let opens = self.tokens.iter().position(|token| token.is(class::CONDITION));
        let comma = (self.at + 1..self.tokens.len()).find(|number| self.is(*number, class::COMMA | class::BREAK));
        opens.is_some_and(|opens| opens == 0 && opens < self.at)
            && comma.is_some_and(|comma| denies_it(self.tokens.get(comma + 1..).unwrap_or_default()))
    }

    /// True when what follows a statement ends it, or is a place that a name may be missing from.
    fn is_open(&self, from: usize, names: bool) -> bool {
        let first = self.word(from);
        // "Not found to be slow", "not listed as a bank"; "unknown to me".
        if first == Some("to") && !self.is(from + 1, class::SELF) || first == Some("as") {
            return false;
        }
        if names && from < self.own.end && !self.is(from, class::COMMA | class::JOIN | class::FUNCTION | class::SINCE) {
            return false;
        }
        let mut closed = false;
        for number in from..self.own.end.min(from + BEHIND) {
            if self.is(number, class::COMMA | class::SINCE) && !self.is(number + 1, class::CAPITAL) {
                break;
            }
            if self.is(number, class::MARKET) {
                return false;
            }
            if self.is(number, class::SOURCE | class::SELF) {
                return true;
            }
            let listed = names && self.is(number, class::CAPITAL | class::COMMA);
            closed |= self.is(number, class::GRADE) || (!self.is_allowed(number) && !listed);
        }
        !closed
    }

    /// "No information to hand": a noun that goes on about something else is none of the name.
    fn is_open_noun(&self, from: usize) -> bool {
        let goes_on = self.is(from, class::TOPIC) && !self.is(from + 1, class::PRONOUN | class::SELF | class::SOURCE);
        let ends = (from..self.own.end).all(|number| self.is(number, class::TOPIC | class::FUNCTION | class::SUBJECT));
        (!goes_on || ends) && self.is_open(from, false)
    }

    /// "Sable's prices": Sable is known.
    fn is_possessor(&self) -> bool {
        let end = self.tokens.get(self.at).map_or(0, |name| name.span.end);
        let after = self.text.get(end..).unwrap_or_default();
        let possessed = ["'s ", "’s ", "' ", "’ "].iter().find_map(|mark| after.strip_prefix(mark));
        possessed.is_some_and(|rest| {
            !is_self(&fold(rest.split(|sign: char| !sign.is_alphanumeric()).next().unwrap_or_default()))
        })
    }

    /// Nobody else is the one who does not know, up to the name; what is in the lists is seen by all.
    fn speaks_itself(&self, denial: usize) -> bool {
        !self.any(self.own.start..denial + 1, class::OTHER) || self.any(self.at + 1..self.at + BEHIND, class::SOURCE)
    }

    fn speaks_of_itself(&self) -> bool {
        self.any(self.own.clone(), class::SELF)
    }

    fn is_allowed(&self, number: usize) -> bool {
        self.tokens.get(number).is_some_and(is_allowed) || self.is_listed(number)
    }

    /// A name that stands in a list: a comma or "and" on either side of it.
    fn is_listed(&self, number: usize) -> bool {
        let joins = |number: usize| self.is(number, class::COMMA | class::JOIN | class::NAME);
        self.is(number, class::CAPITAL)
            && ((number..self.tokens.len().min(number + 5)).find(|at| !self.is(*at, class::CAPITAL)).is_some_and(joins)
                || (number.saturating_sub(5)..number).rev().find(|at| !self.is(*at, class::CAPITAL)).is_some_and(joins))
    }

    fn joins_a_list(&self, number: usize) -> bool {
        self.is(number, class::COMMA | class::JOIN) || self.is_listed(number)
    }

    fn is(&self, number: usize, classes: u32) -> bool {
        self.tokens.get(number).is_some_and(|token| token.is(classes))
    }

    fn any(&self, range: Range<usize>, classes: u32) -> bool {
        let range = range.start..range.end.min(self.tokens.len());
        self.tokens.get(range).is_some_and(|tokens| tokens.iter().any(|token| token.is(classes)))
    }

    fn word(&self, number: usize) -> Option<&'t str> {
        self.tokens.get(number).and_then(|token| self.text.get(token.span.clone()))
    }
}

fn is_allowed(token: &Token) -> bool {
    token.is(ALLOWED) && !token.is(class::OTHER) && (!token.is(class::ONLY) || token.is(class::FUNCTION))
}

/// "I have nothing on it", "nothing turned up": a denial about what was named before.
fn denies_it(tokens: &[Token]) -> bool {
    let (mut denied, mut said) = (false, false);
    for (number, token) in tokens.iter().enumerate().take(20) {
        if !is_allowed(token) {
            return false;
        }
        denied |= token.is(class::NEGATION);
        said |= token.is(class::OBJECT | class::SUBJECT | class::NOMINAL);
        if denied && said && (token.is(class::PRONOUN) || number + 1 == tokens.len()) {
            return true;
        }
    }
    false
}

/// True when a cell or a label's text says nothing but that there is nothing: "not found", "no data".
pub(super) fn is_nothing(text: &str, range: Range<usize>) -> bool {
    let tokens = tokens(text, range);
    let is = |classes| tokens.iter().any(|token| token.is(classes));
    tokens.len() <= 10
        && tokens.iter().all(is_allowed)
        && is(class::NEGATION)
        && is(class::NOMINAL | class::SUBJECT | class::OBJECT | class::SOURCE)
}

/// True when the text before a list says that what is listed is not there: "I found nothing on these brands:".
pub(super) fn heads_missing(text: &str, range: Range<usize>) -> bool {
    let tokens = tokens(text, range);
    let Some(denial) = tokens.iter().position(|token| token.is(class::NEGATION)) else { return false };
    let said = class::NOMINAL | class::SUBJECT | class::OBJECT;
    let behind = || tokens.iter().skip(denial);
    behind().all(is_allowed)
        && behind().take(5).any(|token| token.is(said))
        && !tokens.iter().any(|token| token.is(class::OTHER | class::ONLY | class::TURN | class::CAPITAL) && !token.is(class::NEGATION))
}
