//! The sums of a part of the table by question: all of it, a model, or a model at a location. Makes no interval.

use std::collections::HashMap;

use super::figure::{Figures, Handle, LeftOut};
use super::metrics::{Left, METRICS, Metric, Part, part, usable};
use super::table::{Row, Table};
use crate::domain::RunStatus;

/// How the question runs of a scope ended.
#[derive(Debug, Default, Clone, Copy, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Outcomes {
    answered: u64,
    refused: u64,
    no_answer: u64,
    failed: u64,
    /// Of the answered ones.
    not_extracted: u64,
    /// Its status cannot be read.
    not_known: u64,
}

impl Outcomes {
    fn count(&mut self, row: &Row) {
        match row.status {
            Some(RunStatus::Answered) => self.answered += 1,
            Some(RunStatus::Refused) => self.refused += 1,
            Some(RunStatus::NoAnswer) => self.no_answer += 1,
            Some(RunStatus::Failed) => self.failed += 1,
            None => self.not_known += 1,
        }
        self.not_extracted += u64::from(usable(row) == Err(Left::NotExtracted));
    }
}

/// Sums of one metric.
#[derive(Debug, Default, Clone)]
pub(super) struct Sums {
    by_question: HashMap<u32, (f64, f64)>,
    pub(super) left: LeftOut,
}

impl Sums {
    pub(super) fn add(&mut self, question: Option<u32>, part: Part) {
        match (part, question) {
            (Part::Counts(numerator, denominator), Some(question)) => {
                let sums = self.by_question.entry(question).or_insert((0.0, 0.0));
                sums.0 += numerator;
                sums.1 += denominator;
            }
            (Part::Left(left), _) => self.left.count(left),
            _ => {}
        }
    }

    /// One entry a question, in the order of their numbers.
    pub(super) fn clusters(&self) -> Vec<(u32, f64, f64)> {
        let mut clusters: Vec<(u32, f64, f64)> =
            self.by_question.iter().map(|(question, (numerator, denominator))| (*question, *numerator, *denominator)).collect();
        clusters.sort_by_key(|(question, _, _)| *question);
        clusters
    }
}

/// Which question runs a figure is about; `None`: whatever it is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Scope {
    pub(super) model: Option<u32>,
    pub(super) location: Option<u32>,
}

impl Scope {
    pub(super) fn has(self, row: &Row) -> bool {
        (self.model.is_none() || self.model == row.model) && (self.location.is_none() || self.location == row.location)
    }
}

/// All metrics of a scope.
#[derive(Debug, Default, Clone)]
pub(super) struct Measured {
    metrics: [Sums; METRICS],
    pub(super) outcomes: Outcomes,
    questions: std::collections::HashSet<u32>,
}

impl Measured {
    /// One pass over the question runs that are in the scope.
    pub(super) fn add(&mut self, row: &Row, parts: &[Part; METRICS]) {
        self.outcomes.count(row);
        self.questions.extend(row.question);
        for (sums, part) in self.metrics.iter_mut().zip(parts) {
            sums.add(row.question, *part);
        }
    }

    /// Questions that were asked, whatever came of it.
    pub(super) fn questions(&self) -> usize {
        self.questions.len()
    }

    /// Its figures, in the order of [`Metric::ALL`].
    pub(super) fn figures(&self, figures: &mut Figures) -> Vec<(Metric, Handle)> {
        let each = Metric::ALL.into_iter().zip(&self.metrics);
        each.map(|(metric, sums)| (metric, figures.add(metric.name(), metric.unit(), &sums.clusters(), sums.left))).collect()
    }
}

/// What a question run adds to each metric.
pub(super) fn parts(table: &Table, row: &Row) -> [Part; METRICS] {
    Metric::ALL.map(|metric| part(metric, table, row))
}
