//! The share of each class of sites among all citations. Rows that do not say the class of every citation are left out: an older
//! version wrote them, and `rescore` fills them.

use serde_json::{Map, Value};

use super::figure::{Figures, Finished, Handle, Unit};
use super::metrics::{Left, Part, usable};
use super::scope::Sums;
use super::table::{Row, Table};
use crate::domain::SiteClass;

/// All classes with their names, in the order of a summary.
pub(super) const CLASSES: [(SiteClass, &str); 8] = [
    (SiteClass::Own, "own"),
    (SiteClass::Competitor, "competitor"),
    (SiteClass::News, "news"),
    (SiteClass::Social, "social"),
    (SiteClass::Reference, "reference"),
    (SiteClass::Directory, "directory"),
    (SiteClass::Government, "government"),
    (SiteClass::Other, "other"),
];

/// The class of a name.
pub(super) fn named(name: &str) -> Option<SiteClass> {
    CLASSES.iter().find(|(_, known)| *known == name).map(|(class, _)| *class)
}

/// What a question run adds to the share of a class.
pub(super) fn share_part(table: &Table, row: &Row, class: SiteClass) -> Part {
    match (usable(row), table.citations(row)) {
        (Err(left), _) => Part::Left(left),
        (Ok(()), None) => Part::Left(Left::NotKnown),
        (Ok(()), Some([])) => Part::Outside("no citation"),
        (Ok(()), Some(sources)) if sources.iter().any(|source| source.class.is_none()) => Part::Left(Left::NotKnown),
        (Ok(()), Some(sources)) => {
            let of_class = sources.iter().filter(|source| source.class == Some(class)).count();
            Part::Counts(of_class as f64, sources.len() as f64)
        }
    }
}

/// The figures of all classes.
pub(super) struct Classes {
    shares: Vec<(&'static str, Handle)>,
}

impl Classes {
    /// Counts, and wants the figures.
    pub(super) fn of(table: &Table, figures: &mut Figures) -> Self {
        let share = |(class, name): (SiteClass, &'static str)| {
            let mut sums = Sums::default();
            for row in &table.rows {
                sums.add(row.question, share_part(table, row, class));
            }
            (name, figures.add("citationClassShare", Unit::Percent, &sums.clusters(), sums.left))
        };
        Self { shares: CLASSES.into_iter().map(share).collect() }
    }

    pub(super) fn json(&self, finished: &Finished) -> Value {
        let shares = self.shares.iter().map(|(name, share)| ((*name).to_owned(), finished.json(*share)));
        Value::Object(shares.collect::<Map<_, _>>())
    }
}
