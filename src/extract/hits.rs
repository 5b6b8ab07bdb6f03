//! The places of the org's names as evidence: where they are in characters, and what `mentioned` rests on. Judges nothing; see
//! `sense`.

use super::sense::Found;
use super::spans::spans;
use crate::domain::{Evidence, ExtractionMethod, FieldEvidence, Hit, HitKind};

/// Most places that are kept.
const KEPT: usize = 50;

/// Every place, in order.
pub(super) fn of(text: &str, found: &[Found]) -> Vec<Hit> {
    let ranges: Vec<_> = found.iter().map(|found| found.span.clone()).collect();
    spans(text, &ranges).into_iter().zip(found).map(|(span, found)| Hit { span, kind: found.kind }).collect()
}

/// Adds the hits, and what `mentioned` rests on: the mentions, or why the places are none.
pub(super) fn add(evidence: Evidence, text: &str, found: &[Found]) -> Evidence {
    if text.is_empty() {
        return evidence;
    }
    let hits = of(text, found.get(..KEPT).unwrap_or(found));
    let mentions = found.iter().filter(|found| found.kind == HitKind::Mention).take(KEPT);
    let spans = spans(text, &mentions.map(|found| found.span.clone()).collect::<Vec<_>>());
    let note = match (spans.is_empty(), found.first()) {
        (false, _) => None,
        (true, None) => Some("no name of the org stands in the prose".to_owned()),
        (true, Some(first)) => {
            let places = if found.len() == 1 { "1 place".to_owned() } else { format!("{} places", found.len()) };
            Some(format!("{places} with a name of the org, none a mention; the first: {}", why(first.kind)))
        }
    };
    let mentioned = Some(FieldEvidence { method: ExtractionMethod::Local, spans, note });
    Evidence { hits, mentioned, ..evidence }
}

/// What a hit is, for a person.
fn why(kind: HitKind) -> &'static str {
    match kind {
        HitKind::Mention => "a mention",
        HitKind::Unsure => "a homonym whose sense the rules cannot tell",
        HitKind::Homonym => "a homonym in another sense",
        HitKind::Confusable => "part of a phrase that means something else",
        HitKind::Absence => "the answer says that the org is unknown or not listed, or it is no answer",
        HitKind::LinkLabel => "the label of a link that is a reference",
        HitKind::Lookalike => "looks like a name and is spelled with other letters",
    }
}
