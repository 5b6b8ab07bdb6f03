//! The whole report of a table as JSON: summary, models, questions, competitors, domains, agreement. Counts nothing itself.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::agreement::Agreement;
use super::brands::Brands;
use super::classes::Classes;
use super::domains::Domains;
use super::figure::{Figure, Figures, Finished, Handle, LeftOut};
use super::metrics::{Metric, Part};
use super::scope::{Measured, parts};
use super::table::{Spent, Table};
use crate::domain::MicroUsd;

/// What the caller knows beside the rows.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct Options {
    models: Vec<ModelOption>,
    /// Charges that belong to no question run and to no model run: holistic insights.
    overhead_micro_usd: i64,
    /// The same, for what may have been charged.
    overhead_maybe_charged_micro_usd: i64,
}

/// A completed model run, or several of the same model.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct ModelOption {
    model: String,
    surface: String,
    overhead_micro_usd: i64,
    overhead_maybe_charged_micro_usd: i64,
}

/// The figures of a scope, still without their intervals.
struct Wanted<'a> {
    measured: &'a Measured,
    figures: Vec<(Metric, Handle)>,
    spent: Spent,
}

impl Wanted<'_> {
    fn json(&self, finished: &Finished) -> Map<String, Value> {
        let mut summary = Map::new();
        let share = self.figures.iter().find(|(metric, _)| *metric == Metric::ShareOfVoiceBinary);
        let share = share.and_then(|(_, handle)| finished.figure(*handle));
        let decimal = |value: f64| format!("{value:.1}");
        summary.insert("brandSOV".to_owned(), json!(share.and_then(|share| share.value).map(decimal)));
        let interval = share.and_then(|share| share.interval).map(|(low, high)| [decimal(low), decimal(high)]);
        summary.insert("brandSOVInterval".to_owned(), json!(interval));
        for (metric, handle) in &self.figures {
            summary.insert(metric.name().to_owned(), finished.json(*handle));
        }
        let spent = self.spent;
        summary.insert(
            "cost".to_owned(),
            json!({
                "totalMicroUsd": spent.cost,
                "total": MicroUsd(spent.cost).to_string(),
                "maybeChargedMicroUsd": spent.maybe_charged,
                "notKnown": spent.not_known,
            }),
        );
        summary.insert("questions".to_owned(), json!(self.measured.questions()));
        summary.insert("outcomes".to_owned(), json!(self.measured.outcomes));
        summary
    }
}

/// The scopes of a table, summed up.
#[derive(Default)]
struct Scopes {
    org: Measured,
    models: HashMap<u32, Measured>,
    locations: BTreeMap<(u32, u32), Measured>,
    cells: HashMap<(u32, u32), (f64, f64, LeftOut)>,
}

impl Scopes {
    fn of(table: &Table) -> Self {
        let mut scopes = Self::default();
        for row in &table.rows {
            let parts = parts(table, row);
            scopes.org.add(row, &parts);
            let Some(model) = row.model else { continue };
            scopes.models.entry(model).or_default().add(row, &parts);
            if let Some(location) = row.location {
                scopes.locations.entry((model, location)).or_default().add(row, &parts);
            }
            if let (Some(question), Some(visible)) = (row.question, parts.first()) {
                let (numerator, denominator, left) = scopes.cells.entry((question, model)).or_default();
                match visible {
                    Part::Counts(seen, answers) => {
                        *numerator += seen;
                        *denominator += answers;
                    }
                    Part::Left(why) => left.count(*why),
                    Part::Outside(_) => {}
                }
            }
        }
        scopes
    }
}

/// Measures everything; `options` is `{"models": [{"model", "surface", "overheadMicroUsd",
/// "overheadMaybeChargedMicroUsd"}], "overheadMicroUsd", "overheadMaybeChargedMicroUsd"}`: completed model runs, also those without a row, and charges that
/// belong to no question run.
///
/// # Errors
/// The options are not as agreed.
pub fn measure(table: &Table, options: &str) -> Result<Value, serde_json::Error> {
    let options: Options = serde_json::from_str(options)?;
    let mut figures = Figures::default();
    let scopes = Scopes::of(table);
    let nothing = Measured::default();
    let spent = spending(table, &options);
    let org = Wanted {
        measured: &scopes.org,
        figures: scopes.org.figures(&mut figures),
        spent: spent.values().fold(
            Spent { maybe_charged: options.overhead_maybe_charged_micro_usd, ..with_overhead(options.overhead_micro_usd) },
            sum,
        ),
    };
    let names: BTreeSet<&str> = options
        .models
        .iter()
        .map(|option| option.model.as_str())
        .chain(table.models.sorted().into_iter().map(|number| table.models.text(number)))
        .collect();
    let mut models = Vec::new();
    for name in names {
        let number = table.models.find(name);
        let measured = number.and_then(|number| scopes.models.get(&number)).unwrap_or(&nothing);
        let whole = Wanted {
            measured,
            figures: measured.figures(&mut figures),
            spent: spent.get(&Some(name)).copied().unwrap_or_default(),
        };
        let mut locations: Vec<(&str, Wanted<'_>)> = Vec::new();
        for ((model, location), measured) in &scopes.locations {
            if Some(*model) == number {
                let spent = table.spent.get(&(Some(*model), Some(*location))).copied().unwrap_or_default();
                let part = Wanted { measured, figures: measured.figures(&mut figures), spent };
                locations.push((table.locations.text(*location), part));
            }
        }
        locations.sort_by_key(|(name, _)| *name);
        models.push((name, whole, locations));
    }
    let (brands, domains) = (Brands::of(table, &mut figures), Domains::of(table, &mut figures));
    let classes = Classes::of(table, &mut figures);
    let agreement = Agreement::of(table, &mut figures);
    let finished = figures.finish(table.seed, table.questions.len());

    let mut summary = org.json(&finished);
    summary.insert("topCompetitor".to_owned(), json!(brands.top(table)));
    summary.insert("citationClasses".to_owned(), classes.json(&finished));
    summary.insert("agreement".to_owned(), agreement.summary(&finished));
    let models: Vec<Value> = models
        .iter()
        .map(|(name, whole, locations)| {
            let surface = options.models.iter().find(|option| option.model == *name).map(|option| option.surface.as_str());
            let locations: Vec<Value> =
                locations.iter().map(|(location, part)| json!({"location": location, "summary": part.json(&finished)})).collect();
            json!({
                "model": name,
                "surface": surface.unwrap_or_default(),
                "servedModels": served(table, name),
                "summary": whole.json(&finished),
                "locations": locations,
            })
        })
        .collect();
    Ok(json!({
        "summary": summary,
        "models": models,
        "questions": questions(table, &scopes),
        "competitors": brands.json(table, &finished),
        "domains": domains.json(table, &finished),
        "agreement": agreement.json(table, &finished),
    }))
}

/// Visibility of each question on each model, with Wilson's interval.
fn questions(table: &Table, scopes: &Scopes) -> Value {
    let models = table.models.sorted();
    let line = |question: u32| {
        let cells: Vec<Value> = models
            .iter()
            .filter_map(|model| {
                let (numerator, denominator, left) = scopes.cells.get(&(question, *model))?;
                let visibility = Figure::of_cell("visibility", *numerator, *denominator, *left);
                Some(json!({"model": table.models.text(*model), "visibility": visibility}))
            })
            .collect();
        json!({"questionId": table.questions.text(question), "question": table.texts.get(&question), "cells": cells})
    };
    table.questions.sorted().into_iter().map(line).collect()
}

fn served(table: &Table, model: &str) -> Vec<String> {
    let known = table.models.find(model).and_then(|number| table.served.get(&Some(number)));
    known.into_iter().flatten().cloned().collect::<BTreeSet<_>>().into_iter().collect()
}

/// By model; `None`: of rows whose model is not known.
fn spending<'a>(table: &'a Table, options: &'a Options) -> HashMap<Option<&'a str>, Spent> {
    let mut spent: HashMap<Option<&str>, Spent> = HashMap::new();
    for ((model, _), rows) in &table.spent {
        spent.entry(model.map(|model| table.models.text(model))).or_default().add(*rows);
    }
    for option in &options.models {
        let overhead =
            Spent { maybe_charged: option.overhead_maybe_charged_micro_usd, ..with_overhead(option.overhead_micro_usd) };
        spent.entry(Some(&option.model)).or_default().add(overhead);
    }
    spent
}

fn with_overhead(cost: i64) -> Spent {
    Spent { cost, ..Spent::default() }
}

fn sum(mut total: Spent, part: &Spent) -> Spent {
    total.add(*part);
    total
}
