//! What shows that a name is named with approval, or that something of it is denied: no absence, whatever else the clause says.

use super::{BEHIND, Clause};
use crate::extract::clause::class;
use crate::extract::fold::fold;
use crate::extract::lexicon;

impl Clause<'_> {
    /// True when the name is set apart, compared or recommended in the same breath: whatever is denied, it is not the name.
    pub(in crate::extract) fn is_kept(&self) -> bool {
        let before = (self.own.start..self.at).rev().find(|number| !self.joins_a_list(*number)).map(|number| (number, self.at));
        let set_apart = before.is_some_and(|(number, _)| self.is(number, class::EXCEPT))
            || self.is(self.at + 1, class::EXCEPT_BEHIND)
            || (self.is(self.at + 1, class::FUNCTION) && self.is(self.at + 2, class::EXCEPT_BEHIND))
            || self.is_as_as();
        // "Sableに欠点は…", "Sableの価格は…": something of it.
        let part = matches!(self.word(self.at + 1), Some("に" | "には" | "の")) && !self.is_allowed(self.at + 2);
        set_apart
            || part
            || self.denied_object().is_some_and(|denial| !self.speaks_itself(denial))
            || self.is_elsewhere()
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
    pub(in crate::extract) fn has_reason(&self) -> bool {
        let reason = self.tokens.get(self.at + 2..).unwrap_or_default();
        (self.word(self.at + 1) == Some(":") || self.is(self.at + 1, class::SINCE))
            && reason.len() > 1
            && !reason.iter().any(|token| token.is(class::SELF | class::NEGATION))
    }

    /// "Does not figure in scandals": a thing without an article is no list.
    fn is_elsewhere(&self) -> bool {
        let behind = self.at + 1..self.own.end.min(self.at + BEHIND);
        let Some(denial) = behind.clone().find(|number| self.is(*number, class::NEGATION)) else { return false };
        let verb = (denial..behind.end).find(|number| self.is(*number, class::SUBJECT));
        verb.is_some_and(|verb| {
            matches!(self.word(verb + 1), Some("in" | "on" | "at" | "en" | "em"))
                && self.tokens.get(verb + 2).is_some_and(|token| token.classes == 0)
                && !self.any(verb + 2..self.own.end, class::SOURCE | class::SELF)
        })
    }

    fn is_as_as(&self) -> bool {
        let is_as = |number: Option<usize>| number.and_then(|number| self.word(number)).is_some_and(|word| word == "as");
        is_as(self.at.checked_sub(1)) && is_as(self.at.checked_sub(3))
    }

    /// "… that Sable": what follows is denied, not the name.
    fn is_that(&self) -> bool {
        self.at > self.own.start && self.is(self.at - 1, class::THAT) && self.any(self.own.start..self.at - 1, class::NEGATION)
    }
}
