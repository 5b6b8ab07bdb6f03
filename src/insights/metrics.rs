//! What one question run adds to each metric: numerator and denominator, or why it adds nothing. Sums up nothing.

use super::figure::Unit;
use super::score::{citation_counts, overall_score, position_score, position_weight, sentiment_score};
use super::table::{Row, Table};
use crate::domain::RunStatus;

/// The metrics of a summary. Their formulas: `domain.md` §3.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// Answers that mention the org / answers.
    Visibility,
    /// Answers that cite an own domain / answers.
    OwnCitationRate,
    /// Own citations / citations: the share of voice by citations.
    OwnCitationShare,
    /// Answers that mention the org / the same plus, for each competitor, the answers that name it.
    ShareOfVoiceBinary,
    /// Mean of the share of the answer's text that is about the org.
    ShareOfVoiceText,
    /// Mean rank over the answers that mention the org.
    AverageRank,
    /// Mean of 1/rank, 0 where the org is not mentioned.
    MeanReciprocalRank,
    /// Mean of [`super::position_score`].
    PositionScore,
    /// Mean of 100, 50, 0 over the answers that mention the org.
    Sentiment,
    /// Answers that cite an own domain without mentioning the org / answers that cite an own domain.
    GhostCitationRate,
    /// Mean of [`super::overall`].
    OverallScore,
    /// Occurrences of the org / the same plus those of its competitors.
    ShareOfVoiceOccurrences,
    /// Mean over the answers of the share of the GEO word count that own pages have.
    ShareOfVoiceWords,
    /// Mean over the answers of the share of the GEO position-adjusted word count that own pages have.
    ShareOfVoicePositionAdjusted,
    /// Mean of 1 − offset of the first mention / length, over the answers that mention the org.
    Prominence,
    /// Mean number of the item that presents the org, over the answers that rank it in a list.
    AverageListPosition,
    /// Mean of [`super::position_weight`], 0 where the org is not mentioned.
    PositionWeight,
}

/// How many there are.
pub(super) const METRICS: usize = Metric::ALL.len();

impl Metric {
    /// All, in the order of a summary.
    pub const ALL: [Self; 17] = [
        Self::Visibility,
        Self::OwnCitationRate,
        Self::OwnCitationShare,
        Self::ShareOfVoiceBinary,
        Self::ShareOfVoiceText,
        Self::AverageRank,
        Self::MeanReciprocalRank,
        Self::PositionScore,
        Self::Sentiment,
        Self::GhostCitationRate,
        Self::OverallScore,
        Self::ShareOfVoiceOccurrences,
        Self::ShareOfVoiceWords,
        Self::ShareOfVoicePositionAdjusted,
        Self::Prominence,
        Self::AverageListPosition,
        Self::PositionWeight,
    ];

    /// Its key in a summary.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Visibility => "visibility",
            Self::OwnCitationRate => "ownCitationRate",
            Self::OwnCitationShare => "ownCitationShare",
            Self::ShareOfVoiceBinary => "shareOfVoiceBinary",
            Self::ShareOfVoiceText => "shareOfVoiceText",
            Self::AverageRank => "averageRank",
            Self::MeanReciprocalRank => "meanReciprocalRank",
            Self::PositionScore => "positionScore",
            Self::Sentiment => "sentiment",
            Self::GhostCitationRate => "ghostCitationRate",
            Self::OverallScore => "overallScore",
            Self::ShareOfVoiceOccurrences => "shareOfVoiceOccurrences",
            Self::ShareOfVoiceWords => "shareOfVoiceWords",
            Self::ShareOfVoicePositionAdjusted => "shareOfVoicePositionAdjusted",
            Self::Prominence => "prominence",
            Self::AverageListPosition => "averageListPosition",
            Self::PositionWeight => "positionWeight",
        }
    }

    /// The metric of a key; `brandSOV` is the share of voice, binary per answer, `shareOfVoiceCitations` the one by citations.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let name = match name {
            "brandSOV" => "shareOfVoiceBinary",
            "shareOfVoiceCitations" => "ownCitationShare",
            name => name,
        };
        Self::ALL.into_iter().find(|metric| metric.name() == name)
    }

    /// What its value is measured in.
    #[must_use]
    pub fn unit(self) -> Unit {
        match self {
            Self::AverageRank | Self::AverageListPosition => Unit::Rank,
            Self::MeanReciprocalRank | Self::Prominence | Self::PositionWeight => Unit::Ratio,
            Self::PositionScore | Self::Sentiment | Self::OverallScore => Unit::Score,
            _ => Unit::Percent,
        }
    }
}

/// Why a question run is left out of a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    Refused,
    NoAnswer,
    Failed,
    NotExtracted,
    NotKnown,
}

impl Left {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::NoAnswer => "noAnswer",
            Self::Failed => "failed",
            Self::NotExtracted => "notExtracted",
            Self::NotKnown => "notKnown",
        }
    }
}

/// What a question run adds to a figure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Part {
    /// Numerator and denominator.
    Counts(f64, f64),
    /// Known, and nothing the figure is about: why.
    Outside(&'static str),
    /// Left out.
    Left(Left),
}

/// What every figure needs: an extracted answer whose question and model are known.
///
/// # Errors
/// Why the question run is left out of every figure.
pub(super) fn usable(row: &Row) -> Result<(), Left> {
    match row.status {
        Some(RunStatus::Answered) => {}
        Some(RunStatus::Refused) => return Err(Left::Refused),
        Some(RunStatus::NoAnswer) => return Err(Left::NoAnswer),
        Some(RunStatus::Failed) => return Err(Left::Failed),
        None => return Err(Left::NotKnown),
    }
    match row.extracted {
        Some(true) if row.question.is_some() && row.model.is_some() => Ok(()),
        Some(false) => Err(Left::NotExtracted),
        _ => Err(Left::NotKnown),
    }
}

/// What a question run adds to a metric.
pub(super) fn part(metric: Metric, table: &Table, row: &Row) -> Part {
    match usable(row) {
        Err(left) => Part::Left(left),
        Ok(()) => known(metric, table, row).unwrap_or(Part::Left(Left::NotKnown)),
    }
}

/// `None`: something it needs is not known.
fn known(metric: Metric, table: &Table, row: &Row) -> Option<Part> {
    let one = |holds: bool| Part::Counts(f64::from(u8::from(holds)), 1.0);
    Some(match metric {
        Metric::Visibility => one(row.mentioned?),
        Metric::OwnCitationRate => one(row.own_cited?),
        Metric::OwnCitationShare => match citation_counts(table, row)? {
            (_, 0) => Part::Outside("no citation"),
            (own, all) => Part::Counts(f64::from(own), f64::from(all)),
        },
        Metric::ShareOfVoiceBinary => {
            let (own, others) = (row.mentioned?, table.competitors(row)?.len());
            if table.brands.len() == 0 {
                return Some(Part::Outside("no competitor is known"));
            }
            let own = f64::from(u8::from(own));
            let all = own + others as f64;
            if all > 0.0 { Part::Counts(own, all) } else { Part::Outside("names neither the org nor a competitor") }
        }
        Metric::ShareOfVoiceText => Part::Counts(row.share?, 1.0),
        Metric::AverageRank if row.mentioned? => Part::Counts(f64::from(row.rank?), 1.0),
        Metric::MeanReciprocalRank if row.mentioned? => Part::Counts(1.0 / f64::from(row.rank?), 1.0),
        Metric::PositionScore if row.mentioned? => Part::Counts(position_score(Some(row.rank?)), 1.0),
        Metric::MeanReciprocalRank | Metric::PositionScore => Part::Counts(0.0, 1.0),
        Metric::Sentiment if row.mentioned? => Part::Counts(sentiment_score(row.sentiment?), 1.0),
        Metric::AverageRank | Metric::Sentiment => Part::Outside("not mentioned"),
        Metric::GhostCitationRate if row.own_cited? => one(!row.mentioned?),
        Metric::GhostCitationRate => Part::Outside("no own citation"),
        Metric::OverallScore => Part::Counts(overall_score(table, row)?, 1.0),
        Metric::ShareOfVoiceOccurrences => {
            let all = u64::from(row.occurrences?) + u64::from(row.competitor_occurrences?);
            match all {
                _ if table.brands.len() == 0 => Part::Outside("no competitor is known"),
                0 => Part::Outside("names neither the org nor a competitor"),
                all => Part::Counts(f64::from(row.occurrences?), all as f64),
            }
        }
        Metric::ShareOfVoiceWords => cited(table, row, row.words)?,
        Metric::ShareOfVoicePositionAdjusted => cited(table, row, row.position_adjusted)?,
        Metric::Prominence if row.mentioned? => Part::Counts(row.prominence?, 1.0),
        Metric::AverageListPosition if row.mentioned? => match row.list_position {
            Some(number) => Part::Counts(f64::from(number), 1.0),
            // An answer extracted before there were list positions has no prominence either.
            None => row.prominence.map(|_| Part::Outside("in no ranked list"))?,
        },
        Metric::PositionWeight if row.mentioned? => Part::Counts(position_weight(Some(row.rank?)), 1.0),
        Metric::PositionWeight => Part::Counts(0.0, 1.0),
        Metric::Prominence | Metric::AverageListPosition => Part::Outside("not mentioned"),
    })
}

/// A share over the cited pages: an answer that cites none has none.
fn cited(table: &Table, row: &Row, share: Option<f64>) -> Option<Part> {
    match (share, citation_counts(table, row)) {
        (Some(share), _) => Some(Part::Counts(share, 1.0)),
        (None, Some((_, 0))) => Some(Part::Outside("no citation")),
        (None, _) => None,
    }
}
