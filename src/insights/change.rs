//! What changed in visibility since an earlier batch: the same cells, paired. Source of the test: `domain.md` §3.3.
//!
//! A verdict is `not comparable` when another model answered, or other questions were asked; `insufficient` when fewer than
//! five questions have a pair; `moved` when `McNemar`'s p is below 0.05, for a model after Benjamini and Hochberg's
//! adjustment over the models; else `within noise`.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Map, Value, json};

use super::figure::{Figures, Finished, Handle, LeftOut, MIN_QUESTIONS, Unit};
use super::intervals::{benjamini_hochberg, mcnemar};
use super::metrics::{Metric, Part, part};
use super::scope::Sums;
use super::table::{Row, Table};

/// A p below this is a change.
const LEVEL: f64 = 0.05;

/// Question, location and repeat of a cell of one model.
type Cell<'a> = (&'a str, &'a str, u16);

/// The rows of one model in one table.
#[derive(Default)]
struct Side<'a> {
    /// Question to its text.
    questions: BTreeMap<&'a str, Option<&'a str>>,
    served: BTreeSet<&'a str>,
    mentioned: HashMap<Cell<'a>, bool>,
    left: LeftOut,
}

fn sides(table: &Table) -> BTreeMap<&str, Side<'_>> {
    let mut sides: BTreeMap<&str, Side<'_>> = BTreeMap::new();
    for row in &table.rows {
        let Some(model) = row.model else { continue };
        let side = sides.entry(table.models.text(model)).or_default();
        if let Some(question) = row.question {
            side.questions.insert(table.questions.text(question), table.texts.get(&question).map(String::as_str));
        }
        if let Part::Left(left) = part(Metric::Visibility, table, row) {
            side.left.count(left);
        }
        if let (Some(cell), Part::Counts(seen, _)) = (cell(table, row), part(Metric::Visibility, table, row)) {
            side.mentioned.insert(cell, seen > 0.0);
        }
    }
    for (model, served) in &table.served {
        if let Some(side) = model.and_then(|model| sides.get_mut(table.models.text(model))) {
            side.served = served.iter().map(String::as_str).collect();
        }
    }
    sides
}

fn cell<'a>(table: &'a Table, row: &Row) -> Option<Cell<'a>> {
    Some((table.questions.text(row.question?), table.locations.text(row.location?), row.repeat?))
}

/// The pairs of one model, or of all.
#[derive(Default)]
struct Pairs<'a> {
    by_question: BTreeMap<&'a str, (f64, f64, f64)>,
    /// Mentioned before, and not now.
    lost: u64,
    /// Mentioned now, and not before.
    won: u64,
    unpaired: u64,
    left: (LeftOut, LeftOut),
    differs: Option<String>,
}

impl<'a> Pairs<'a> {
    fn of(model: &str, before: &Side<'a>, now: &Side<'a>) -> Self {
        let mut pairs = Self { left: (before.left, now.left), differs: differs(model, before, now), ..Self::default() };
        for (cell, was) in &before.mentioned {
            let Some(is) = now.mentioned.get(cell) else {
                pairs.unpaired += 1;
                continue;
            };
            let sums = pairs.by_question.entry(cell.0).or_default();
            sums.0 += f64::from(u8::from(*was));
            sums.1 += f64::from(u8::from(*is));
            sums.2 += 1.0;
            pairs.lost += u64::from(*was && !*is);
            pairs.won += u64::from(!*was && *is);
        }
        pairs.unpaired += now.mentioned.keys().filter(|cell| !before.mentioned.contains_key(*cell)).count() as u64;
        pairs
    }

    fn join(&mut self, other: &Self) {
        for (question, (was, is, cells)) in &other.by_question {
            let sums = self.by_question.entry(question).or_default();
            *sums = (sums.0 + was, sums.1 + is, sums.2 + cells);
        }
        self.lost += other.lost;
        self.won += other.won;
        self.unpaired += other.unpaired;
        for (mine, theirs) in [(&mut self.left.0, other.left.0), (&mut self.left.1, other.left.1)] {
            mine.refused += theirs.refused;
            mine.no_answer += theirs.no_answer;
            mine.failed += theirs.failed;
            mine.not_extracted += theirs.not_extracted;
            mine.not_known += theirs.not_known;
        }
        self.differs = self.differs.take().or_else(|| other.differs.clone());
    }

    fn cells(&self) -> f64 {
        self.by_question.values().map(|(_, _, cells)| cells).sum()
    }

    /// The chance of this split; `None` where it may not be asked for.
    fn p(&self) -> Option<f64> {
        (self.differs.is_none() && self.by_question.len() >= MIN_QUESTIONS).then(|| mcnemar(self.lost, self.won))
    }

    /// The verdict, and a sentence that says why. `p`: adjusted.
    fn verdict(&self, p: Option<f64>) -> (&'static str, String) {
        if let Some(differs) = &self.differs {
            return ("not comparable", differs.clone());
        }
        let (cells, questions, changed) = (self.cells(), self.by_question.len(), self.lost + self.won);
        let of = format!("{changed} of {cells} paired cells changed: {} won, {} lost", self.won, self.lost);
        match p {
            None if questions == 0 => ("insufficient", "no cell was answered in both batches".to_owned()),
            None => {
                ("insufficient", format!("only {questions} questions were answered in both batches; {MIN_QUESTIONS} are needed"))
            }
            Some(p) if p < LEVEL => ("moved", format!("{of}; p = {p:.4}")),
            Some(p) => ("within noise", format!("{of}; p = {p:.4}, not below {LEVEL}")),
        }
    }

    fn figures(&self, figures: &mut Figures) -> (Handle, Handle) {
        let (mut before, mut now) = (Sums::default(), Sums::default());
        for (number, (was, is, cells)) in (0..).zip(self.by_question.values()) {
            before.add(Some(number), Part::Counts(*was, *cells));
            now.add(Some(number), Part::Counts(*is, *cells));
        }
        let name = Metric::Visibility.name();
        (
            figures.add(name, Unit::Percent, &before.clusters(), self.left.0),
            figures.add(name, Unit::Percent, &now.clusters(), self.left.1),
        )
    }
}

/// Why two sides may not be compared.
fn differs(model: &str, before: &Side<'_>, now: &Side<'_>) -> Option<String> {
    let listed = |names: &BTreeSet<&str>| names.iter().copied().collect::<Vec<_>>().join(", ");
    if !before.served.is_empty() && !now.served.is_empty() && before.served != now.served {
        return Some(format!("{model} was served by {} before and by {} now", listed(&before.served), listed(&now.served)));
    }
    let asked = |side: &Side<'_>| side.questions.keys().map(ToString::to_string).collect::<BTreeSet<_>>();
    let (old, new) = (asked(before), asked(now));
    if old != new {
        let (gone, added) = (old.difference(&new).count(), new.difference(&old).count());
        return Some(format!("other questions were asked of {model}: {added} new, {gone} no longer"));
    }
    let changed = before.questions.iter().find(|(question, text)| {
        let other = now.questions.get(*question).copied().flatten();
        matches!((text, other), (Some(text), Some(other)) if *text != other)
    });
    changed.map(|(question, _)| format!("question {question} has another text"))
}

/// What changed since an earlier table, for each model of both and for all of them together; see the "Change".
#[must_use]
pub fn compare(earlier: &Table, now: &Table) -> Value {
    let (before, after) = (sides(earlier), sides(now));
    let shared: Vec<(&str, Pairs<'_>)> =
        before.iter().filter_map(|(model, side)| Some((*model, Pairs::of(model, side, after.get(model)?)))).collect();
    let mut all = Pairs::default();
    for (_, pairs) in &shared {
        all.join(pairs);
    }
    let tested: Vec<f64> = shared.iter().filter_map(|(_, pairs)| pairs.p()).collect();
    let mut adjusted = benjamini_hochberg(&tested).into_iter();
    let mut figures = Figures::default();
    let whole = all.figures(&mut figures);
    let each: Vec<_> = shared
        .iter()
        .map(|(model, pairs)| (model, pairs, pairs.p().and_then(|_| adjusted.next()), pairs.figures(&mut figures)))
        .collect();
    let finished = figures.finish(now.seed, all.by_question.len());
    let models: Vec<Value> = each
        .iter()
        .map(|(model, pairs, adjusted, handles)| {
            let mut line = line(pairs, *adjusted, *handles, &finished);
            line.insert("model".to_owned(), json!(model));
            line.insert("pAdjusted".to_owned(), json!(adjusted));
            Value::Object(line)
        })
        .collect();
    let mut change = line(&all, all.p(), whole, &finished);
    if shared.is_empty() {
        change.insert("reason".to_owned(), json!("no model is in both batches"));
    }
    change.insert("models".to_owned(), Value::Array(models));
    Value::Object(change)
}

fn line(pairs: &Pairs<'_>, p: Option<f64>, handles: (Handle, Handle), finished: &Finished) -> Map<String, Value> {
    let (verdict, reason) = pairs.verdict(p);
    let value = json!({
        "metric": Metric::Visibility.name(),
        "verdict": verdict,
        "reason": reason,
        "before": finished.json(handles.0),
        "after": finished.json(handles.1),
        "b": pairs.lost,
        "c": pairs.won,
        "cells": pairs.cells(),
        "unpaired": pairs.unpaired,
        "p": pairs.p(),
    });
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}
