//! Metrics over the question runs of a batch. Uses `domain` only: no store, no clock, no Python; asks nobody anything.
//!
//! From a row to a report: [`read`] takes from a mapping what can be read, [`table`] keeps it compactly, [`metrics`] and
//! [`score`] say what a question run adds to a figure, [`scope`] sums that up by question, [`intervals`] and [`bootstrap`]
//! say how sure a figure is, [`figure`] puts it together. [`brands`], [`domains`], [`classes`] and [`agreement`] are lists of figures,
//! [`change`] compares two tables, [`explain`] lists what a figure rests on, [`report`] is the whole.
//!
//! The one rule: what is missing, null or of another type is not known. It is left out and counted, never taken as zero.

mod agreement;
mod bootstrap;
mod brands;
mod change;
mod classes;
mod domains;
mod explain;
mod figure;
mod intervals;
mod metrics;
mod names;
mod read;
mod report;
mod scope;
mod score;
mod table;

pub use bootstrap::{RESAMPLES, percentile_of, ratio_intervals};
pub use change::compare;
pub use explain::{Explained, explain};
pub use figure::{Figure, LeftOut, Unit, Verdict};
pub use intervals::{benjamini_hochberg, mcnemar, normal_cdf, t_quantile_975, wilson};
pub use metrics::Metric;
pub use names::name_key;
pub use report::measure;
pub use score::{overall, position_score, position_weight};
pub use table::Table;
