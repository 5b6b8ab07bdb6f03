//! The grammar of absence statements: who does not know, find or name, or what does not appear. Over the word classes of `clause`; the same
//! rules for all languages. Decides nothing about lists and refused answers; see `absence`.
//!
//! Three words make a statement: a denial, a word of knowing, finding, naming or appearing, and the name. Between them may only stand
//! words that have no content of their own: so "no better option than Sable" and "Sable does not list its prices" are none. Work per
//! name is bounded by its sentence.

use std::ops::Range;

use super::clause::{Classes, Token, around, class, tokens};
use super::fold::fold;
use super::passages;
use super::phrases::is_self;

mod kept;

/// Words that a statement may hold beside its three.
const ALLOWED: Classes = class::NEGATION
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
    sentence: Range<usize>,
    tokens: Vec<Token>,
    /// The name.
    at: usize,
    /// The clause: between signs and words that start another thought.
    own: Range<usize>,
}

impl<'t> Clause<'t> {
    /// Of the name in its sentence.
    pub(super) fn new(text: &'t str, sentence: Range<usize>, name: &Range<usize>) -> Self {
        let (tokens, at) = around(text, &sentence, name);
        let parts = |number: usize| {
            tokens.get(number).is_some_and(|token| {
                let behind_comma = number > 0 && tokens.get(number - 1).is_some_and(|token| token.is(class::COMMA));
                token.is(class::BREAK)
                    || (token.is(class::TURN) && (behind_comma || !token.is(class::FUNCTION)))
                    || (token.is(class::SINCE) && behind_comma)
            })
        };
        let from = (0..at).rev().find(|number| parts(*number)).map_or(0, |number| number + 1);
        let to = (at + 1..tokens.len()).find(|number| parts(*number)).unwrap_or(tokens.len());
        Self { text, sentence, tokens, at, own: from..to }
    }

    /// True when the clause says that its name is unknown or not listed.
    pub(super) fn is_absent(&self) -> bool {
        !self.is_kept()
            && (self.is_object()
                || self.is_subject()
                || self.is_searched()
                || self.is_left_over()
                || self.is_asked()
                || self.is_nonexistent())
    }

    /// "… whether a company called Sable": where the word stands, when only words without content follow it.
    fn that(&self) -> Option<usize> {
        let before = (self.own.start..self.at).rev().take(8);
        let mut near = before
            .take_while(|number| self.is(*number, class::THAT | class::FUNCTION | class::TOPIC | class::PRONOUN | class::ITEM));
        near.find(|number| self.is(*number, class::THAT))
    }

    /// "There is no company called Sable", "I don't have Sable in my data", "in the results there is no Sable".
    fn is_nonexistent(&self) -> bool {
        let (mut denied, mut called) = (false, self.at > 0 && self.is(self.at - 1, class::CALLED));
        let placed_behind = self.is(self.at + 1, class::LOCATIVE) && self.is_placed_behind();
        if self.is_possessor() || !(self.own.end == self.tokens.len() || self.is(self.own.end, class::BREAK)) {
            return false;
        }
        for number in (self.own.start..self.at).rev() {
            if !self.is_allowed(number) || (!denied && self.is(number, class::TOPIC) && !self.is(number, class::FUNCTION)) {
                break;
            }
            if self.is(number, class::NEGATION) && !self.is(number, class::SUBJECT | class::OBJECT) {
                if called || placed_behind {
                    return self.speaks_itself(number) && (placed_behind || self.is_open(self.at + 1, false));
                }
                denied = true;
            }
            let bare = denied || self.is(number, class::FUNCTION | class::CALLED | class::NEGATION | class::SELF | class::ITEM);
            if !bare && !called {
                break;
            }
            called |= self.is(number, class::CALLED);
            if denied && self.is(number, class::SOURCE) {
                return self.is_open(self.at + 1, false);
            }
        }
        false
    }

    fn is_placed_behind(&self) -> bool {
        (self.at + 1..self.own.end.min(self.at + BEHIND))
            .take_while(|number| self.is_allowed(*number))
            .any(|number| self.is(number, class::SOURCE))
    }

    /// "I could not find Sable", "no trace of Sable", "none of the lists names Sable", "I can give no opinion on Sable".
    fn is_object(&self) -> bool {
        self.denied_object().is_some_and(|denial| self.speaks_itself(denial))
    }

    /// The denial of such a statement, whoever makes it.
    fn denied_object(&self) -> Option<usize> {
        if self.is_possessor() {
            return None;
        }
        let exists = self.any(self.at + 1..self.at + 5, class::EXIST);
        let start = self.that().filter(|_| exists).unwrap_or(self.at);
        let exists = exists && start < self.at;
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
            if denied && verb && sourced {
                return (exists || self.is_open(self.at + 1, names)).then_some(number);
            }
        }
        // "Ich kenne Sable nicht."
        let mut behind = self.at + 1..self.at + 3;
        let denial = behind.find(|number| self.is(*number, class::NEGATION))?;
        let plain = tolerated == 0 && verb && self.speaks_of_itself();
        (plain && (self.at + 1..denial).all(|number| self.is_allowed(number)) && self.is_open(denial + 1, false))
            .then_some(denial)
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
            active |= !list && is(class::OBJECT | class::SAY) && !is(class::SUBJECT | class::ITEM);
            own |= is(class::SELF);
            let appears = is(class::SUBJECT) && (denied || is(class::NEGATION));
            let appeared = is(class::NEGATION) && verb;
            denied |= is(class::NEGATION);
            verb |= is(class::SUBJECT);
            noun |= is(class::NOMINAL);
            placed |= is(class::LOCATIVE) && (denied || self.is(number + 1, class::NEGATION));
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
            noun |= topic && self.is(number, class::NOMINAL | class::SOURCE);
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
        // "The guides name Boxly but not Sable."
        let bare = self.at == self.own.start + 1 && self.own.end == self.tokens.len() && self.own.end == self.at + 1;
        if bare && self.is(self.own.start, class::NEGATION) && self.any(0..self.own.start, class::SOURCE) {
            return self.any(0..self.own.start, class::OBJECT | class::SUBJECT);
        }
        let short = !behind.is_empty() && behind.len() <= 4 && self.own.end == self.tokens.len();
        short
            && behind.clone().all(|number| self.is(number, class::FUNCTION | class::NEGATION))
            && self.any(behind, class::NEGATION)
            && self.any(0..self.own.start, class::SUBJECT)
            && self.any(0..self.own.start, class::SOURCE)
    }

    /// "Could you say more about Sable? I know nothing of it", "if Sable exists, I have not come across it".
    fn is_asked(&self) -> bool {
        let sentence = self.sentence.clone();
        let asks = self.text.get(sentence.clone()).is_some_and(|sentence| sentence.ends_with(['?', '？']));
        if asks {
            let rest = self.text.get(sentence.end..).unwrap_or_default();
            let gap = rest.len() - rest.trim_start().len();
            if gap == rest.len() || rest.get(..gap).is_some_and(|gap| gap.contains("\n\n")) {
                return false;
            }
            let first = rest.get(gap..).and_then(|rest| rest.chars().next()).map_or(0, char::len_utf8);
            let start = sentence.end + gap;
            let next = passages::sentence(self.text, &(start..start + first));
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
        possessed.is_some_and(|rest| !is_self(&fold(rest.split(|sign: char| !sign.is_alphanumeric()).next().unwrap_or_default())))
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

    fn is(&self, number: usize, classes: Classes) -> bool {
        self.tokens.get(number).is_some_and(|token| token.is(classes))
    }

    fn any(&self, range: Range<usize>, classes: Classes) -> bool {
        let range = range.start..range.end.min(self.tokens.len());
        self.tokens.get(range).is_some_and(|tokens| tokens.iter().any(|token| token.is(classes)))
    }

    fn word(&self, number: usize) -> Option<&'t str> {
        self.tokens.get(number).and_then(|token| self.text.get(token.span.clone()))
    }
}

/// A word without a content of its own.
pub(super) fn is_allowed(token: &Token) -> bool {
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
