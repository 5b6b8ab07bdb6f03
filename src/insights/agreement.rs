//! Where two models say the same: over the cells both answered (same batch, question, location and repeat).
//!
//! Raw: cells in which both or neither mention the org / cells. Cohen's kappa: (raw − chance) / (1 − chance). Jaccard of
//! cited domains, overlap of competitors: Σ common / Σ named by either, over the cells in which both are known.

use std::collections::{BTreeSet, HashMap};

use serde_json::{Value, json};

use super::figure::{Figures, Finished, Handle, LeftOut, Unit};
use super::metrics::{Part, usable};
use super::scope::Sums;
use super::table::{Row, Table};

/// What of a question run is the same in all models of a cell.
pub(super) type Place = (u32, u32, u32, u16);

/// The place of a question run; `None` when it is not usable or its place not known.
pub(super) fn place(row: &Row) -> Option<Place> {
    usable(row).ok()?;
    Some((row.batch, row.question?, row.location?, row.repeat?))
}

/// Two models.
struct Pair {
    models: (u32, u32),
    cells: u64,
    left: LeftOut,
    /// Cells by whether the first and the second mention the org.
    counts: [[u64; 2]; 2],
    same: Sums,
    domains: (u64, u64),
    competitors: Sums,
}

impl Pair {
    fn new(models: (u32, u32)) -> Self {
        Self {
            models,
            cells: 0,
            left: LeftOut::default(),
            counts: [[0; 2]; 2],
            same: Sums::default(),
            domains: (0, 0),
            competitors: Sums::default(),
        }
    }

    fn add(&mut self, table: &Table, one: &Row, other: &Row) {
        self.cells += 1;
        match (one.mentioned, other.mentioned) {
            (Some(one_says), Some(other_says)) => {
                let slot = self.counts.get_mut(usize::from(one_says)).and_then(|row| row.get_mut(usize::from(other_says)));
                if let Some(count) = slot {
                    *count += 1;
                }
                self.same.add(one.question, Part::Counts(f64::from(u8::from(one_says == other_says)), 1.0));
            }
            _ => self.left.not_known += 1,
        }
        if let (Some(left), Some(right)) = (table.citations(one), table.citations(other)) {
            let (common, either) = overlap(left.iter().filter_map(|s| s.domain), right.iter().filter_map(|s| s.domain));
            self.domains.0 += common;
            self.domains.1 += either;
        }
        if let (Some(left), Some(right)) = (table.competitors(one), table.competitors(other)) {
            let (common, either) = overlap(left.iter().copied(), right.iter().copied());
            self.competitors.add(one.question, Part::Counts(common as f64, either as f64));
        } else {
            self.competitors.left.not_known += 1;
        }
    }

    fn kappa(&self) -> Option<f64> {
        let [[neither, second], [first, both]] = self.counts.map(|row| row.map(|count| count as f64));
        let all = neither + second + first + both;
        let (of_first, of_second) = ((first + both) / all, (second + both) / all);
        let chance = of_first * of_second + (1.0 - of_first) * (1.0 - of_second);
        (all > 0.0 && chance < 1.0).then(|| ((neither + both) / all - chance) / (1.0 - chance))
    }
}

fn overlap(left: impl Iterator<Item = u32>, right: impl Iterator<Item = u32>) -> (u64, u64) {
    let (left, right): (BTreeSet<u32>, BTreeSet<u32>) = (left.collect(), right.collect());
    (left.intersection(&right).count() as u64, left.union(&right).count() as u64)
}

/// All pairs of models.
pub(super) struct Agreement {
    pairs: Vec<(Pair, Handle, Handle)>,
    all: Handle,
}

impl Agreement {
    /// Counts, and wants the figures.
    pub(super) fn of(table: &Table, figures: &mut Figures) -> Self {
        let models = table.models.sorted();
        let order: HashMap<u32, usize> = models.iter().enumerate().map(|(place, model)| (*model, place)).collect();
        let mut cells: Vec<(Place, usize, &Row)> =
            table.rows.iter().filter_map(|row| Some((place(row)?, order.get(&row.model?).copied()?, row))).collect();
        cells.sort_by_key(|(place, model, _)| (*place, *model));
        cells.dedup_by_key(|(place, model, _)| (*place, *model));
        let mut pairs: Vec<Pair> = Vec::new();
        for (first, one) in models.iter().enumerate() {
            pairs.extend(models.iter().skip(first + 1).map(|other| Pair::new((*one, *other))));
        }
        let number = |one: usize, other: usize| one * (2 * models.len() - one - 1) / 2 + other - one - 1;
        for cell in cells.chunk_by(|left, right| left.0 == right.0) {
            for (at, (_, one, row)) in cell.iter().enumerate() {
                for (_, other, other_row) in cell.iter().skip(at + 1) {
                    if let Some(pair) = pairs.get_mut(number(*one, *other)) {
                        pair.add(table, row, other_row);
                    }
                }
            }
        }
        let (mut all, mut left) = (HashMap::<u32, (f64, f64)>::new(), LeftOut::default());
        for pair in &pairs {
            left.not_known += pair.left.not_known;
            for (question, numerator, denominator) in pair.same.clusters() {
                let sums = all.entry(question).or_default();
                sums.0 += numerator;
                sums.1 += denominator;
            }
        }
        let mut clusters: Vec<(u32, f64, f64)> =
            all.into_iter().map(|(question, (numerator, denominator))| (question, numerator, denominator)).collect();
        clusters.sort_by_key(|(question, _, _)| *question);
        let all = figures.add("raw", Unit::Percent, &clusters, left);
        let pairs = pairs.into_iter().map(|pair| {
            let raw = figures.add("raw", Unit::Percent, &pair.same.clusters(), pair.left);
            let named = figures.add("competitorsOverlap", Unit::Ratio, &pair.competitors.clusters(), pair.competitors.left);
            (pair, raw, named)
        });
        Self { pairs: pairs.collect(), all }
    }

    /// One entry a pair.
    pub(super) fn json(&self, table: &Table, finished: &Finished) -> Value {
        let line = |(pair, raw, named): &(Pair, Handle, Handle)| {
            let (common, either) = pair.domains;
            json!({
                "models": [table.models.text(pair.models.0), table.models.text(pair.models.1)],
                "cells": pair.cells,
                "raw": finished.json(*raw),
                "kappa": pair.kappa(),
                "domainsJaccard": (either > 0).then(|| common as f64 / either as f64),
                "competitorsOverlap": finished.json(*named),
            })
        };
        self.pairs.iter().map(line).collect()
    }

    /// Over all pairs: the cells of all together, and the mean of the kappas that there are.
    pub(super) fn summary(&self, finished: &Finished) -> Value {
        let kappas: Vec<f64> = self.pairs.iter().filter_map(|(pair, _, _)| pair.kappa()).collect();
        let mean = (!kappas.is_empty()).then(|| kappas.iter().sum::<f64>() / kappas.len() as f64);
        json!({"raw": finished.json(self.all), "kappa": mean})
    }
}
