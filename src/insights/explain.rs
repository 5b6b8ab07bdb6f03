//! What a figure rests on: the question runs with what each adds, and why one adds nothing.

use serde::Serialize;

use super::metrics::{Metric, Part, part};
use super::names::name_key;
use super::scope::Scope;
use super::table::{Row, Table};
use super::{brands, classes, domains};
use crate::domain::SiteClass;

/// A question run of a figure. The sums over all are the figure's numerator and denominator.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explained {
    /// The batch.
    pub batch_id: String,
    /// The cell; `None` like the rest: the row does not say.
    pub cell_key: Option<String>,
    /// Its question.
    pub question_id: Option<String>,
    /// Its model.
    pub model: Option<String>,
    /// Its location.
    pub location: Option<String>,
    /// Its repeat.
    pub repeat: Option<u16>,
    /// What it adds above the line.
    pub numerator: f64,
    /// What it adds below the line.
    pub denominator: f64,
    /// Numerator / denominator; `None` when it adds nothing.
    pub value: Option<f64>,
    /// Why it adds nothing; `None` when it does. `refused`, `noAnswer`, `failed`, `notExtracted`, `notKnown`: left out.
    pub why: Option<&'static str>,
}

/// A figure by its path.
enum Rest {
    Metric(Metric),
    BrandVisibility(u32),
    BrandShare(u32),
    DomainShare(u32),
    ClassShare(SiteClass),
}

/// The question runs of a figure: a metric's name, or its path in the report (`summary.visibility`,
/// `models.<model>.visibility`, `competitors.<name>.visibility`, `competitors.<name>.shareOfVoice`,
/// `domains.<domain>.share`, `summary.citationClasses.<class>`). `None`: there is no such figure, model or location.
#[must_use]
pub fn explain(table: &Table, path: &str, model: Option<&str>, location: Option<&str>) -> Option<Vec<Explained>> {
    let (of_path, rest) = found(table, path)?;
    let number = |names: &super::names::Interner, wanted: Option<&str>| match wanted {
        None => Some(None),
        Some(text) => names.find(text).map(Some),
    };
    let scope = Scope { model: number(&table.models, of_path.or(model))?, location: number(&table.locations, location)? };
    let rows = table.rows.iter().enumerate().filter(|(_, row)| scope.has(row));
    Some(rows.map(|(index, row)| explained(table, index, row, &rest)).collect())
}

/// The model that the path names, and what it is a figure of.
fn found<'a>(table: &Table, path: &'a str) -> Option<(Option<&'a str>, Rest)> {
    if let Some(metric) = Metric::named(path.strip_prefix("summary.").unwrap_or(path)) {
        return Some((None, Rest::Metric(metric)));
    }
    if let Some(class) = path.strip_prefix("summary.citationClasses.") {
        return Some((None, Rest::ClassShare(classes::named(class)?)));
    }
    // A name may have dots of its own: gpt-4.1.
    let (group, rest) = path.split_once('.')?;
    let (name, figure) = rest.rsplit_once('.')?;
    match (group, figure) {
        ("models", _) => Some((Some(name), Rest::Metric(Metric::named(figure)?))),
        ("competitors", "visibility") => Some((None, Rest::BrandVisibility(table.brands.find(&name_key(name))?))),
        ("competitors", "shareOfVoice") => Some((None, Rest::BrandShare(table.brands.find(&name_key(name))?))),
        ("domains", "share") => Some((None, Rest::DomainShare(table.domains.find(&name.to_lowercase())?))),
        _ => None,
    }
}

fn explained(table: &Table, index: usize, row: &Row, rest: &Rest) -> Explained {
    let part = match rest {
        Rest::Metric(metric) => part(*metric, table, row),
        Rest::BrandVisibility(brand) => brands::visibility_part(table, row, *brand),
        Rest::BrandShare(brand) => brands::share_part(table, row, *brand),
        Rest::ClassShare(class) => classes::share_part(table, row, *class),
        Rest::DomainShare(domain) => domains::share_part(table, row, Some(*domain)),
    };
    let (numerator, denominator, why) = match part {
        Part::Counts(numerator, denominator) => (numerator, denominator, None),
        Part::Outside(why) => (0.0, 0.0, Some(why)),
        Part::Left(left) => (0.0, 0.0, Some(left.name())),
    };
    Explained {
        batch_id: table.batches.text(row.batch).to_owned(),
        cell_key: table.cell_key(index, row),
        question_id: row.question.map(|number| table.questions.text(number).to_owned()),
        model: row.model.map(|number| table.models.text(number).to_owned()),
        location: row.location.map(|number| table.locations.text(number).to_owned()),
        repeat: row.repeat,
        numerator,
        denominator,
        value: (denominator > 0.0).then(|| numerator / denominator),
        why,
    }
}
