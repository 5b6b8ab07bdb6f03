//! A stored answer by the rules of now, beside what a language model said of it earlier. Asks nobody and changes no answer.
//!
//! Mention, rank, position, shares, citations and merges are the rules' and are made anew. What only a model can say is kept as long
//! as the answer is still a mention: sentiment, its quote and the passages; and, always, the competitors it found. Where the
//! rules are unsure (a homonym that nothing tells apart), the model's word on the mention stays.

use std::collections::HashSet;

use serde_json::json;

use super::{Extractor, Verdict, answer, competitors};
use crate::domain::{Competitor, Extraction, ExtractionMethod, FieldEvidence, HitKind, QuestionRun, Shares};

impl Extractor {
    /// The extraction of `run` by the rules of now. Money, usage and, where a model made the `earlier` one, what it alone can
    /// say are taken over from it. Never fails, whatever either holds.
    #[must_use]
    pub fn replay(&self, run: &QuestionRun, earlier: &Extraction, now_ms: i64) -> Extraction {
        let mut fresh = self.local(run, now_ms);
        fresh.cost_micro_usd = earlier.cost_micro_usd;
        fresh.maybe_charged_micro_usd = earlier.maybe_charged_micro_usd;
        fresh.usage = earlier.usage.clone();
        if earlier.method == ExtractionMethod::Llm && earlier.error.is_none() {
            self.keep(run, earlier, &mut fresh);
        }
        fresh
    }

    /// Puts what the model said back.
    fn keep(&self, run: &QuestionRun, earlier: &Extraction, fresh: &mut Extraction) {
        let text = answer(run);
        let said = &earlier.evaluation;
        let by_rules = fresh.evaluation.mentioned;
        let mentioned = by_rules || (said.mentioned && is_unsure(fresh));
        let kept = mentioned && said.mentioned;
        let verdict = Verdict {
            mentioned,
            sentiment: if kept { said.sentiment } else { fresh.evaluation.sentiment },
            mention_text: if kept { said.mention_text.clone() } else { None }.or_else(|| fresh.evaluation.mention_text.clone()),
            ..Verdict::default()
        };
        fresh.method = ExtractionMethod::Llm;
        fresh.competitors = self.known_brands(text, earlier, &fresh.competitors);
        let of_rules = std::mem::take(&mut fresh.evaluation);
        fresh.evaluation = self.evaluation(text, Some(&verdict), &fresh.competitors, &fresh.citations);
        let occurrences = fresh.evaluation.shares.occurrences;
        fresh.evaluation.shares = Shares { occurrences, ..of_rules.shares };
        if by_rules {
            // What `evaluation` has no place for is what the rules said.
            fresh.evaluation.list_position = fresh.evaluation.list_position.or(of_rules.list_position);
            fresh.evaluation.prominence = fresh.evaluation.prominence.or(of_rules.prominence);
            fresh.evaluation.occurrences = fresh.evaluation.occurrences.max(of_rules.occurrences);
        }
        if kept {
            fresh.evaluation.sentiment_quote.clone_from(&said.sentiment_quote);
            fresh.evidence.sentiment = said
                .sentiment
                .map(|_| earlier.evidence.sentiment.clone().unwrap_or_else(|| by_model("kept from the earlier extraction")));
            fresh.evidence.disagreement = earlier.evidence.disagreement;
            if !by_rules {
                let spans = fresh.evidence.hits.iter().filter(|hit| hit.kind == HitKind::Unsure).map(|hit| hit.span).collect();
                fresh.evidence.mentioned =
                    Some(FieldEvidence { spans, ..by_model("the rules are unsure; the model's word is kept") });
            }
        }
        if !fresh.competitors.is_empty() {
            let spans = fresh.evidence.competitors.take().map(|evidence| evidence.spans).unwrap_or_default();
            let spans = if spans.len() == fresh.competitors.len() { spans } else { Vec::new() };
            fresh.evidence.competitors = Some(FieldEvidence { spans, ..by_model("with those that the model found earlier") });
        }
        fresh.dropped.invented_competitors = earlier.dropped.invented_competitors;
        fresh.dropped.rejected_competitors = earlier.dropped.rejected_competitors;
        fresh.dropped.invented_quotes = earlier.dropped.invented_quotes;
        fresh.dropped.invalid_fields = earlier.dropped.invalid_fields;
    }

    /// The brands that the model found (also under the names that were merged then), checked and merged by the rules of now, and
    /// those that the rules find by themselves.
    fn known_brands(&self, text: &str, earlier: &Extraction, by_rules: &[Competitor]) -> Vec<Competitor> {
        let names: Vec<&str> = earlier
            .competitors
            .iter()
            .flat_map(|brand| std::iter::once(&brand.name).chain(brand.merged.iter().map(|merge| &merge.name)))
            .map(String::as_str)
            .collect();
        let reply = json!({ "competitors": names }).to_string();
        let mut brands = self.parse_competitors(text, &reply).map(|(brands, _)| brands).unwrap_or_default();
        let mut known: HashSet<String> = HashSet::new();
        for brand in &brands {
            known.insert(competitors::compact(&brand.name));
            known.extend(brand.merged.iter().map(|merge| competitors::compact(&merge.name)));
        }
        let missing = by_rules.iter().filter(|brand| !known.contains(&competitors::compact(&brand.name)));
        let missing: Vec<Competitor> = missing.cloned().collect();
        if !missing.is_empty() {
            // A form of one found by rules is not a second brand.
            let forms: HashSet<String> =
                missing.iter().flat_map(|brand| brand.merged.iter().map(|merge| competitors::compact(&merge.name))).collect();
            brands.retain(|brand| !forms.contains(&competitors::compact(&brand.name)));
            brands.extend(missing);
            brands.sort_by_key(|brand| first_place(text, brand));
            for (position, brand) in (1..).zip(&mut brands) {
                brand.position = position;
            }
        }
        brands
    }
}

/// True when a name of the org stands in the answer, nothing shows that it is a mention, and nothing that it is none.
fn is_unsure(fresh: &Extraction) -> bool {
    fresh.evidence.hits.iter().any(|hit| hit.kind == HitKind::Unsure)
}

fn by_model(note: &str) -> FieldEvidence {
    FieldEvidence { method: ExtractionMethod::Llm, spans: Vec::new(), note: Some(note.to_owned()) }
}

/// The first byte at which a form of the brand is written.
fn first_place(text: &str, brand: &Competitor) -> usize {
    let forms = std::iter::once(&brand.name).chain(brand.merged.iter().map(|merge| &merge.name));
    forms.filter_map(|form| text.find(form.as_str())).min().unwrap_or(usize::MAX)
}
