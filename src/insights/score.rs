//! The scores of one answer, from 0 to 100. Source: `PropertyAudit`, as `domain.md` §3.1 and §3.4 have it.

use super::table::{Row, Table};
use crate::domain::Sentiment;

/// `((10 − min(rank, 10) + 1) / 10) · 100`; `None` (not mentioned): 0. Never grows with the rank.
#[must_use]
pub fn position_score(rank: Option<u32>) -> f64 {
    rank.map_or(0.0, |rank| f64::from(11 - rank.clamp(1, 10)) * 10.0)
}

/// `0.9^(rank − 1)`, from 1 downwards; `None` (not mentioned): 0. Source: Evertune, as `domain.md` §3.1 has it (100/90/81 …).
#[must_use]
pub fn position_weight(rank: Option<u32>) -> f64 {
    rank.map_or(0.0, |rank| 0.9_f64.powf(f64::from(rank.max(1)) - 1.0))
}

/// `0.45 position + 0.25 link + 0.20 share of voice + 0.10 accuracy`, each from 0 to 100.
#[must_use]
pub fn overall(position: f64, link: f64, share_of_voice: f64, accuracy: f64) -> f64 {
    0.45 * position + 0.25 * link + 0.20 * share_of_voice + 0.10 * accuracy
}

/// 100, 50 or 0.
pub(super) fn sentiment_score(sentiment: Sentiment) -> f64 {
    match sentiment {
        Sentiment::Positive => 100.0,
        Sentiment::Neutral => 50.0,
        Sentiment::Negative => 0.0,
    }
}

/// Own citations and all citations of an answer.
pub(super) fn citation_counts(table: &Table, row: &Row) -> Option<(u32, u32)> {
    let sources = table.citations(row)?;
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Some((count(sources.iter().filter(|source| source.own).count()), count(sources.len())))
}

/// The overall score of an answer; `None`: something it needs is not known.
///
/// The link's rank is the place of the first own citation among the citations. Accuracy is 25 for an answer without a
/// citation (`no_sources`), else 100: no other flag is known here.
pub(super) fn overall_score(table: &Table, row: &Row) -> Option<f64> {
    let rank = if row.mentioned? { Some(row.rank?) } else { None };
    let sources = table.citations(row)?;
    let link = sources.iter().position(|source| source.own).and_then(|place| u32::try_from(place).ok());
    let (own, all) = citation_counts(table, row)?;
    let (share, accuracy) = if all == 0 { (0.0, 25.0) } else { (100.0 * f64::from(own) / f64::from(all), 100.0) };
    Some(overall(position_score(rank), position_score(link.map(|place| place.saturating_add(1))), share, accuracy))
}
