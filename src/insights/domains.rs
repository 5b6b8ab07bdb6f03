//! The domains that answers cite, and their share of all citations. A source that was retrieved and not cited counts, as
//! it does for the org's own citations, and is told beside it. A domain's class is the one that most of its citations have: of
//! `google.com`, maps and news are other sites than the search.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::brands::with_numerators;
use super::classes::CLASSES;
use super::figure::{Figures, Finished, Handle, Unit};
use super::metrics::{Left, Part, usable};
use super::scope::Sums;
use super::table::{Row, Table};

/// What a question run adds to the share of a domain; `None`: of no domain, for the denominators alone.
pub(super) fn share_part(table: &Table, row: &Row, domain: Option<u32>) -> Part {
    match (usable(row), table.citations(row)) {
        (Err(left), _) => Part::Left(left),
        (Ok(()), None) => Part::Left(Left::NotKnown),
        (Ok(()), Some([])) => Part::Outside("no citation"),
        (Ok(()), Some(sources)) => {
            let of_domain = sources.iter().filter(|source| source.domain.is_some() && source.domain == domain).count();
            Part::Counts(of_domain as f64, sources.len() as f64)
        }
    }
}

#[derive(Default)]
struct Cited {
    own: bool,
    answers: u64,
    citations: u64,
    retrieved_only: u64,
    /// Citations of each of [`CLASSES`].
    classes: [u64; CLASSES.len()],
    by_question: HashMap<u32, f64>,
    models: HashMap<u32, u64>,
}

impl Cited {
    /// The class of most citations, among equals the first of [`CLASSES`]; `None`: of none is it known.
    fn class(&self) -> Option<&'static str> {
        let most = self.classes.iter().max().filter(|most| **most > 0)?;
        CLASSES.iter().zip(&self.classes).find(|(_, citations)| *citations == most).map(|((_, name), _)| *name)
    }
}

/// All domains.
pub(super) struct Domains {
    lines: Vec<(u32, Cited, Handle)>,
    models: Vec<u32>,
}

impl Domains {
    /// Counts, and wants the figures.
    pub(super) fn of(table: &Table, figures: &mut Figures) -> Self {
        let mut counted: Vec<Cited> = (0..table.domains.len()).map(|_| Cited::default()).collect();
        let mut all = Sums::default();
        let mut models = Vec::new();
        for row in &table.rows {
            all.add(row.question, share_part(table, row, None));
            let (Ok(()), Some(sources), Some(question), Some(model)) =
                (usable(row), table.citations(row), row.question, row.model)
            else {
                continue;
            };
            if !models.contains(&model) {
                models.push(model);
            }
            for (place, source) in sources.iter().enumerate() {
                let Some((domain, count)) = source.domain.and_then(|domain| Some((domain, counted.get_mut(domain as usize)?)))
                else {
                    continue;
                };
                let before = sources.get(..place).unwrap_or_default();
                count.own |= source.own;
                count.answers += u64::from(before.iter().all(|earlier| earlier.domain != Some(domain)));
                count.citations += 1;
                count.retrieved_only += u64::from(source.retrieved_only);
                for ((class, _), citations) in CLASSES.iter().zip(&mut count.classes) {
                    *citations += u64::from(source.class == Some(*class));
                }
                *count.by_question.entry(question).or_default() += 1.0;
                *count.models.entry(model).or_default() += 1;
            }
        }
        let clusters = all.clusters();
        let mut lines: Vec<(u32, Cited, Handle)> = (0..)
            .zip(counted)
            .filter(|(_, cited)| cited.citations > 0)
            .map(|(domain, cited)| {
                let share = with_numerators(&clusters, &cited.by_question);
                (domain, cited, figures.add("share", Unit::Percent, &share, all.left))
            })
            .collect();
        lines.sort_by(|(left, fewer, _), (right, more, _)| {
            let by_citations = more.citations.cmp(&fewer.citations);
            by_citations.then_with(|| table.domains.text(*left).cmp(table.domains.text(*right)))
        });
        Self { lines, models }
    }

    pub(super) fn json(&self, table: &Table, finished: &Finished) -> Value {
        let line = |(domain, cited, share): &(u32, Cited, Handle)| {
            let of_model = |model: &u32| {
                let citations = cited.models.get(model).copied().unwrap_or(0);
                (table.models.text(*model).to_owned(), Value::from(citations))
            };
            json!({
                "domain": table.domains.text(*domain),
                "type": if cited.own { "primary" } else { "secondary" },
                "class": cited.class(),
                "answers": cited.answers,
                "citations": cited.citations,
                "retrievedOnly": cited.retrieved_only,
                "share": finished.json(*share),
                "models": self.models.iter().map(of_model).collect::<serde_json::Map<_, _>>(),
            })
        };
        self.lines.iter().map(line).collect()
    }
}
