//! What a language model adds to the extraction by rules, and what it may not.
//!
//! The extraction by rules is the ground: mention, rank, list position and citations are its. The model's word on the mention
//! counts only where the rules are unsure, and then only with a quote that holds a name of the org; where they are sure a word
//! that differs is kept as a disagreement and changes nothing. The model adds sentiment with its quote, the passages, and competitors
//! whose names stand in the answer; configured competitors stay, whether it saw them or not. It never adds a citation.
//!
//! Of an answer that looks as if it wanted to steer its reader (`injection`) the sentiment stays the rules': they count words and
//! obey nobody, while a model may say what the answer told it to.

use std::ops::Range;

use super::mentions::Document;
use super::{Extractor, Verdict, answer, sense};
use crate::domain::{Competitor, Dropped, Extraction, ExtractionMethod, FieldEvidence, QuestionRun, Sentiment, Shares, Span};

impl Extractor {
    /// The extraction of `run` with the checked replies of a model: `verdict` is `None` when it was not asked about the mention,
    /// which it is only where a name form stands in the answer. `dropped` is what the check of the competitors threw away. Costs and
    /// usage are the caller's to fill in. Never fails, whatever the run holds.
    #[must_use]
    pub fn with_model(
        &self,
        run: &QuestionRun,
        verdict: Option<&Verdict>,
        (found, dropped): (&[Competitor], &Dropped),
        now_ms: i64,
    ) -> Extraction {
        let text = answer(run);
        let document = Document::new(text);
        let mut extraction = self.local(run, now_ms);
        extraction.method = ExtractionMethod::Llm;
        let by_rules = extraction.evaluation.mentioned;
        let unsure = verdict.is_some() && !by_rules && sense::is_unsure(&self.found(&document));
        let mentioned = by_rules || (unsure && verdict.is_some_and(|verdict| verdict.mentioned));
        extraction.evidence.disagreement = !unsure && verdict.is_some_and(|verdict| verdict.says_mentioned != by_rules);
        let suspicious = !extraction.evidence.injection.is_empty();
        // Sentiment and passages of a model that says there is no mention are about nothing.
        let said = verdict.filter(|verdict| mentioned && verdict.mentioned);
        let merged = Verdict {
            mentioned,
            sentiment: if suspicious { extraction.evaluation.sentiment } else { said.and_then(|said| said.sentiment) },
            mention_text: said.and_then(|said| said.mention_text.clone()).or_else(|| extraction.evaluation.mention_text.clone()),
            ..Verdict::default()
        };
        // The configured competitors stay whether the model saw them or not; a brand of the model's can change the rank.
        let (evaluation, evidence, brands) = self.weigh(&document, Some(&merged), found, &extraction.citations);
        let rules = std::mem::replace(&mut extraction.evaluation, evaluation);
        extraction.competitors = brands;
        let (shares, evaluation) = (rules.shares, &mut extraction.evaluation);
        evaluation.shares = Shares { occurrences: evaluation.shares.occurrences, ..shares };
        extraction.evidence.mention_rank = evidence.mention_rank;
        extraction.evidence.list_position = evidence.list_position;
        extraction.evidence.share_of_voice = evidence.share_of_voice;
        extraction.evidence.competitors = evidence.competitors;
        let evidence = &mut extraction.evidence;
        if suspicious {
            evaluation.sentiment_quote = rules.sentiment_quote;
            evidence.sentiment = evidence.sentiment.take().map(|counted| by_rules_after_all(counted, said));
        } else {
            evaluation.sentiment_quote = said.and_then(|said| said.sentiment_quote.clone());
            evidence.sentiment = said.filter(|said| said.sentiment.is_some()).map(|said| FieldEvidence {
                note: said.sentiment_spans.is_empty().then(|| "no passage of the answer was given for it".to_owned()),
                ..of_model(&said.sentiment_spans)
            });
        }
        if let Some(said) = said {
            evidence.share_of_voice = Some(of_model(&said.mention_spans));
            if !by_rules {
                let note = Some("the rules are unsure; a model was asked".to_owned());
                evidence.mentioned = Some(FieldEvidence { note, ..of_model(&said.mention_spans) });
            }
        }
        let total = &mut extraction.dropped;
        let verdict = verdict.map_or((0, 0), |verdict| (verdict.invented_quotes, verdict.invalid_fields));
        total.invented_competitors = total.invented_competitors.saturating_add(dropped.invented_competitors);
        total.rejected_competitors = total.rejected_competitors.saturating_add(dropped.rejected_competitors);
        total.invented_quotes = total.invented_quotes.saturating_add(verdict.0);
        total.invalid_fields = total.invalid_fields.saturating_add(verdict.1).saturating_add(dropped.invalid_fields);
        extraction
    }

    /// Where the org is named in prose, whatever the place means.
    pub(super) fn places(&self, document: &Document<'_>) -> Vec<Range<usize>> {
        self.own.spans(document)
    }
}

/// The evidence of a sentiment that stays the rules', with what the model said of it.
fn by_rules_after_all(counted: FieldEvidence, said: Option<&Verdict>) -> FieldEvidence {
    let word = match said.and_then(|said| said.sentiment) {
        Some(Sentiment::Positive) => "the model's word (positive)",
        Some(Sentiment::Neutral) => "the model's word (neutral)",
        Some(Sentiment::Negative) => "the model's word (negative)",
        None => "a model's word",
    };
    let count = counted.note.unwrap_or_default();
    let note = format!("the answer looks as if it wanted to steer the model that judges it: {word} does not count; {count}");
    FieldEvidence { note: Some(note), ..counted }
}

fn of_model(spans: &[Span]) -> FieldEvidence {
    FieldEvidence { method: ExtractionMethod::Llm, spans: spans.to_vec(), note: None }
}
