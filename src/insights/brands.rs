//! The competitors: how often answers name each, and where it stands among them. Never the org itself.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::figure::{Figures, Finished, Handle, Unit};
use super::metrics::{Left, Metric, Part, part, usable};
use super::scope::Sums;
use super::table::{Row, Table};

/// What a question run adds to the visibility of a competitor.
pub(super) fn visibility_part(table: &Table, row: &Row, brand: u32) -> Part {
    match (usable(row), table.competitors(row)) {
        (Err(left), _) => Part::Left(left),
        (Ok(()), None) => Part::Left(Left::NotKnown),
        (Ok(()), Some(named)) => Part::Counts(f64::from(u8::from(named.contains(&brand))), 1.0),
    }
}

/// What a question run adds to the share of voice of a competitor: the denominator is that of the org's.
pub(super) fn share_part(table: &Table, row: &Row, brand: u32) -> Part {
    match (part(Metric::ShareOfVoiceBinary, table, row), table.competitors(row)) {
        (Part::Counts(_, all), Some(named)) => Part::Counts(f64::from(u8::from(named.contains(&brand))), all),
        (other, _) => other,
    }
}

/// Counts of one competitor.
#[derive(Default)]
struct Named {
    answers: u64,
    positions: u64,
    by_question: HashMap<u32, f64>,
    shared_by_question: HashMap<u32, f64>,
    models: HashMap<u32, u64>,
}

/// A line of the list.
pub(super) struct Line {
    brand: u32,
    named: Named,
    visibility: Handle,
    share: Handle,
}

/// All competitors, and the models whose answers tell of any.
pub(super) struct Brands {
    lines: Vec<Line>,
    models: Vec<u32>,
}

impl Brands {
    /// Counts, and wants the figures.
    pub(super) fn of(table: &Table, figures: &mut Figures) -> Self {
        let mut counted: Vec<Named> = (0..table.brands.len()).map(|_| Named::default()).collect();
        let (mut answers, mut voices) = (Sums::default(), Sums::default());
        let mut models = Vec::new();
        for row in &table.rows {
            let voice = part(Metric::ShareOfVoiceBinary, table, row);
            voices.add(row.question, voice);
            answers.add(row.question, visibility_part(table, row, u32::MAX));
            let (Ok(()), Some(named), Some(question), Some(model)) =
                (usable(row), table.competitors(row), row.question, row.model)
            else {
                continue;
            };
            if !models.contains(&model) {
                models.push(model);
            }
            for (position, brand) in (1..).zip(named) {
                let Some(count) = counted.get_mut(*brand as usize) else { continue };
                count.answers += 1;
                count.positions += position;
                *count.by_question.entry(question).or_default() += 1.0;
                if matches!(voice, Part::Counts(..)) {
                    *count.shared_by_question.entry(question).or_default() += 1.0;
                }
                *count.models.entry(model).or_default() += 1;
            }
        }
        let (every_answer, every_voice) = (answers.clusters(), voices.clusters());
        let lines = (0..).zip(counted).map(|(brand, named)| {
            let seen = with_numerators(&every_answer, &named.by_question);
            let shared = with_numerators(&every_voice, &named.shared_by_question);
            Line {
                brand,
                visibility: figures.add("visibility", Unit::Percent, &seen, answers.left),
                share: figures.add("shareOfVoice", Unit::Percent, &shared, voices.left),
                named,
            }
        });
        let mut lines: Vec<Line> = lines.collect();
        lines.sort_by(|left, right| {
            let by_answers = right.named.answers.cmp(&left.named.answers);
            by_answers.then_with(|| table.brand_name(left.brand).cmp(table.brand_name(right.brand)))
        });
        Self { lines, models }
    }

    /// The competitor that most answers name; `None` when no answer names any.
    pub(super) fn top<'a>(&self, table: &'a Table) -> Option<&'a str> {
        self.lines.first().filter(|line| line.named.answers > 0).map(|line| table.brand_name(line.brand))
    }

    pub(super) fn json(&self, table: &Table, finished: &Finished) -> Value {
        let line = |line: &Line| {
            let named = &line.named;
            let of_model = |model: &u32| {
                let answers = named.models.get(model).copied().unwrap_or(0);
                (table.models.text(*model).to_owned(), Value::from(answers))
            };
            json!({
                "name": table.brand_name(line.brand),
                "answers": named.answers,
                "visibility": finished.json(line.visibility),
                "shareOfVoice": finished.json(line.share),
                "averagePosition": (named.answers > 0).then(|| named.positions as f64 / named.answers as f64),
                "models": self.models.iter().map(of_model).collect::<serde_json::Map<_, _>>(),
            })
        };
        self.lines.iter().map(line).collect()
    }
}

/// The clusters with other numerators.
pub(super) fn with_numerators(clusters: &[(u32, f64, f64)], numerators: &HashMap<u32, f64>) -> Vec<(u32, f64, f64)> {
    let changed = |(question, _, denominator): &(u32, f64, f64)| {
        (*question, numerators.get(question).copied().unwrap_or(0.0), *denominator)
    };
    clusters.iter().map(changed).collect()
}
