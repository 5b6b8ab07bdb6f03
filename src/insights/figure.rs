//! A figure: value, numerator, denominator, what was left out, interval, verdict. Reads no row.

use serde::Serialize;

use super::bootstrap::Bootstrap;
use super::intervals::wilson;
use super::metrics::Left;

/// Fewer questions with data than this are not enough for an interval over questions.
pub(super) const MIN_QUESTIONS: usize = 5;
/// Bounds closer than this are the same.
const SAME: f64 = 1e-9;

/// What a value is measured in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// 100 · numerator / denominator.
    Percent,
    /// A mean of ranks, 1 or more.
    Rank,
    /// A mean of scores from 0 to 100.
    Score,
    /// From 0 to 1.
    Ratio,
}

impl Unit {
    fn scale(self) -> f64 {
        if self == Self::Percent { 100.0 } else { 1.0 }
    }

    /// The most that numerator / denominator can be; `None`: it has no end.
    fn most(self) -> Option<f64> {
        match self {
            Self::Percent | Self::Ratio => Some(1.0),
            Self::Score => Some(100.0),
            Self::Rank => None,
        }
    }
}

/// What a figure may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Verdict {
    /// It has a value, and as far as it can have one an interval.
    #[serde(rename = "ok")]
    Ok,
    /// It rests on fewer than five questions.
    #[serde(rename = "insufficient")]
    Insufficient,
    /// It rests on nothing.
    #[serde(rename = "no data")]
    NoData,
}

/// Question runs that are not in a figure.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LeftOut {
    /// The model declined to answer.
    pub refused: u64,
    /// There was no answer to see.
    pub no_answer: u64,
    /// The call failed.
    pub failed: u64,
    /// Answered, and not extracted yet.
    pub not_extracted: u64,
    /// Something that the figure needs is missing, null or of another type.
    pub not_known: u64,
}

impl LeftOut {
    pub(super) fn count(&mut self, left: Left) {
        let slot = match left {
            Left::Refused => &mut self.refused,
            Left::NoAnswer => &mut self.no_answer,
            Left::Failed => &mut self.failed,
            Left::NotExtracted => &mut self.not_extracted,
            Left::NotKnown => &mut self.not_known,
        };
        *slot += 1;
    }
}

/// A measured value with all it rests on.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Figure {
    /// Its name.
    pub metric: &'static str,
    /// `None` when the denominator is 0.
    pub value: Option<f64>,
    /// What value and interval are measured in.
    pub unit: Unit,
    /// Sum over the question runs.
    pub numerator: f64,
    /// Sum over the question runs.
    pub denominator: f64,
    /// Question runs that are not in it.
    pub left_out: LeftOut,
    /// 95 %, in the unit of the value.
    pub interval: Option<(f64, f64)>,
    /// `wilson` or `bootstrap`; `None` without an interval.
    pub interval_method: Option<&'static str>,
    /// What it may be used for.
    pub verdict: Verdict,
}

impl Figure {
    /// A proportion of answers of one question: Wilson's interval.
    pub(super) fn of_cell(metric: &'static str, successes: f64, trials: f64, left_out: LeftOut) -> Self {
        let interval = wilson(successes, trials);
        Self {
            metric,
            value: (trials > 0.0).then(|| 100.0 * successes / trials),
            unit: Unit::Percent,
            numerator: successes,
            denominator: trials,
            left_out,
            interval: interval.map(|(low, high)| (100.0 * low, 100.0 * high)),
            interval_method: interval.map(|_| "wilson"),
            verdict: if trials > 0.0 { Verdict::Ok } else { Verdict::NoData },
        }
    }
}

/// Figures whose intervals are made together.
#[derive(Default)]
pub(super) struct Figures {
    bootstrap: Bootstrap,
    pending: Vec<Pending>,
}

struct Pending {
    figure: Figure,
    questions: usize,
    series: Option<usize>,
}

/// The place of a figure among [`Figures`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Handle(usize);

impl Figures {
    /// A figure over questions, each given once as (number, numerator, denominator).
    pub(super) fn add(&mut self, metric: &'static str, unit: Unit, clusters: &[(u32, f64, f64)], left_out: LeftOut) -> Handle {
        let numerator = clusters.iter().map(|(_, value, _)| value).sum();
        let denominator = clusters.iter().map(|(_, _, value)| value).sum();
        let questions = clusters.iter().filter(|(_, _, value)| *value > 0.0).count();
        let verdict = match questions {
            0 => Verdict::NoData,
            few if few < MIN_QUESTIONS => Verdict::Insufficient,
            _ => Verdict::Ok,
        };
        let series = (verdict == Verdict::Ok).then(|| self.bootstrap.add(clusters));
        let value = (denominator > 0.0).then(|| unit.scale() * numerator / denominator);
        let figure =
            Figure { metric, value, unit, numerator, denominator, left_out, interval: None, interval_method: None, verdict };
        self.pending.push(Pending { figure, questions, series });
        Handle(self.pending.len() - 1)
    }

    /// The finished figures. `questions`: how many there are to draw from.
    pub(super) fn finish(self, seed: u64, questions: usize) -> Finished {
        let intervals = self.bootstrap.intervals(seed, questions);
        let finished = self.pending.into_iter().map(|pending| {
            let found = pending.series.and_then(|series| intervals.get(series).copied().flatten());
            pending.with_interval(found)
        });
        Finished(finished.collect())
    }
}

impl Pending {
    /// When all questions say the same, drawing them shows nothing: then Wilson's interval, a question counting once.
    fn with_interval(self, found: Option<(f64, f64)>) -> Figure {
        let mut figure = self.figure;
        let Some((low, high)) = found else { return figure };
        let scale = figure.unit.scale();
        if high - low > SAME {
            figure.interval = Some((scale * low, scale * high));
            figure.interval_method = Some("bootstrap");
        } else if let Some(most) = figure.unit.most() {
            let (all, questions) = (most * figure.denominator, self.questions as f64);
            figure.interval = wilson(figure.numerator / all * questions, questions)
                .map(|(low, high)| (scale * most * low, scale * most * high));
            figure.interval_method = figure.interval.map(|_| "wilson");
        }
        figure
    }
}

/// Figures with their intervals.
pub(super) struct Finished(Vec<Figure>);

impl Finished {
    pub(super) fn figure(&self, handle: Handle) -> Option<&Figure> {
        self.0.get(handle.0)
    }

    pub(super) fn json(&self, handle: Handle) -> serde_json::Value {
        self.figure(handle).and_then(|figure| serde_json::to_value(figure).ok()).unwrap_or_default()
    }
}
