//! What `text_analysis` does with an input: an org and an answer made of it, extracted by rules, and what comes out must hold.
//!
//! An input is lines that describe the org and the provider's citations (`name …`, `alias …`, `cite URL`, …: see [`read`]),
//! then a line `-----`, then the answer. Any bytes are an input: an unknown line is nothing, bytes that are no UTF-8 are
//! U+FFFD. Shared by the fuzzer and by `tests/rust/fuzz_seeds.rs`.

use std::collections::HashSet;

use overheard::domain::{
    CellKey, Citation, Extraction, FieldEvidence, HitKind, KnownCompetitor, Org, Outcome, Ownership, QuestionRun, RunStatus,
    SiteClass, Span,
};
use overheard::extract::{Extractor, deterministic_names};

/// Before the answer.
const ANSWER: &str = "-----\n";
/// Names of each kind at most; an org's entry is the user's own, not a stranger's.
const MOST_NAMES: usize = 40;
/// Places that an extraction lists at most.
const MOST_HITS: usize = 50;
/// Between two passages of a mention text.
const BETWEEN: &str = " || ";

/// Reads the input, extracts, checks.
///
/// # Panics
/// When the extraction panics, is not the same twice, or breaks an invariant.
pub(crate) fn check(input: &[u8]) {
    let (org, run) = read(&String::from_utf8_lossy(input));
    check_run(&org, &run);
}

/// One org and one run.
///
/// # Panics
/// As [`check`].
pub(crate) fn check_run(org: &Org, run: &QuestionRun) -> Extraction {
    let extractor = Extractor::new(org, &deterministic_names(org));
    let extraction = extractor.local(run, 7);
    assert_eq!(extraction, extractor.local(run, 7), "the same run gives the same extraction");
    let text = run.outcome.text.as_deref().filter(|_| run.outcome.status == RunStatus::Answered).unwrap_or_default();
    check_evaluation(&extraction, text);
    check_evidence(&extraction, text);
    check_citations(&extractor, &extraction, run);
    check_competitors(&extraction, org, text);
    // As a tree: reading a float from text may cost its last bit (serde_json without `float_roundtrip`).
    let written = serde_json::to_string(&extraction).unwrap();
    assert_eq!(serde_json::from_str::<Extraction>(&written).unwrap(), extraction, "it goes to the store as JSON");
    extraction
}

/// The org and the run of an input.
pub(crate) fn read(input: &str) -> (Org, QuestionRun) {
    let (head, answer) = match input.strip_prefix(ANSWER) {
        Some(answer) => ("", answer),
        None => input.split_once("\n-----\n").unwrap_or((input, "")),
    };
    let mut org = Org { id: "o".into(), ..Org::default() };
    let mut outcome = Outcome { text: Some(answer.to_owned()), ..Outcome::empty(RunStatus::Answered) };
    for line in head.lines().take(8 * MOST_NAMES) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let rest = rest.to_owned();
        let (competitor, citation) = (org.competitors.last_mut(), outcome.citations.last_mut());
        match word {
            "name" => org.name = rest,
            "alias" => push(&mut org.aliases, rest),
            "website" => push(&mut org.websites, rest),
            "confusable" => push(&mut org.confusables, rest),
            "homonym" => push(&mut org.homonyms, rest),
            "context" => push(&mut org.context, rest),
            "apart" => push(&mut org.keep_apart, rest),
            "competitor" => push(&mut org.competitors, KnownCompetitor::from(rest)),
            "also" => competitor.into_iter().for_each(|known| push(&mut known.aliases, rest.clone())),
            "product" => competitor.into_iter().for_each(|known| push(&mut known.products, rest.clone())),
            "parent" => competitor.into_iter().for_each(|known| known.parent = Some(rest.clone())),
            "site" => competitor.into_iter().for_each(|known| push(&mut known.websites, rest.clone())),
            "cite" => push(&mut outcome.citations, Citation { url: rest, ..Citation::default() }),
            "title" => citation.into_iter().for_each(|citation| citation.title = Some(rest.clone())),
            "quote" => citation.into_iter().for_each(|citation| citation.cited_text = Some(rest.clone())),
            "cited" => citation.into_iter().for_each(|citation| citation.cited = rest.parse().ok()),
            "position" => citation.into_iter().for_each(|citation| citation.position = rest.parse().ok()),
            "from" => citation.into_iter().for_each(|citation| citation.start = rest.parse().ok()),
            "to" => citation.into_iter().for_each(|citation| citation.end = rest.parse().ok()),
            "refused" => outcome.status = RunStatus::Refused,
            "failed" => outcome.status = RunStatus::Failed,
            "null" => outcome.text = None,
            _ => {}
        }
    }
    (org, question_run(outcome))
}

/// A run of a question with this outcome.
pub(crate) fn question_run(outcome: Outcome) -> QuestionRun {
    let key = CellKey { question_id: "q".into(), model: "chatgpt".into(), location: "US".into(), repeat: 1 };
    QuestionRun { batch_id: "b".into(), run_id: "r".into(), org_id: "o".into(), key, question: "Which?".into(), outcome }
}

fn push<T>(list: &mut Vec<T>, item: T) {
    if list.len() < MOST_NAMES {
        list.push(item);
    }
}

fn check_evaluation(extraction: &Extraction, text: &str) {
    let evaluation = &extraction.evaluation;
    let mentioned = evaluation.mentioned;
    assert_eq!(mentioned, evaluation.mention_rank.is_some(), "mentioned and ranked are one");
    assert!(evaluation.mention_rank.is_none_or(|rank| rank >= 1));
    assert_eq!(mentioned, evaluation.mention_text.is_some());
    assert!(evaluation.list_position.is_none_or(|position| mentioned && position >= 1));
    let shares = &evaluation.shares;
    let counted = [shares.occurrences, shares.citations, shares.words, shares.position_adjusted];
    for share in counted.into_iter().chain([evaluation.share_of_voice, evaluation.prominence]).flatten() {
        assert!((0.0..=1.0).contains(&share), "{share} is no share");
    }
    assert_eq!(evaluation.share_of_voice.is_none(), text.trim().is_empty(), "unknown only where there is no text");
    assert_eq!(evaluation.share_of_voice.is_some_and(|share| share > 0.0), mentioned);
    if !mentioned {
        assert!(evaluation.sentiment.is_none() && evaluation.sentiment_quote.is_none() && evaluation.prominence.is_none());
    }
    assert!(evaluation.sentiment.is_some() || evaluation.sentiment_quote.is_none());
    assert!(evaluation.sentiment_quote.as_deref().is_none_or(|quote| !quote.is_empty() && text.contains(quote)));
    // A passage that ends in the separator's own characters cannot be told apart from it.
    if let Some(passages) = evaluation.mention_text.as_deref().filter(|_| !text.contains("||")) {
        for passage in passages.split(BETWEEN) {
            assert!(!passage.trim().is_empty() && text.contains(passage), "{passage:?} does not stand in the answer");
        }
    }
    assert_eq!(
        evaluation.citation,
        extraction.citations.iter().any(|citation| citation.ownership == Ownership::Primary),
        "the flag and the rows say the same"
    );
}

fn check_evidence(extraction: &Extraction, text: &str) {
    let (evidence, evaluation) = (&extraction.evidence, &extraction.evaluation);
    let length = text.chars().count();
    let stands = |span: &Span| assert!(span.start < span.end && span.end as usize <= length, "{span:?} of {length}");
    evidence.hits.iter().for_each(|hit| stands(&hit.span));
    assert!(evidence.hits.len() <= MOST_HITS && evidence.hits.is_sorted_by_key(|hit| hit.span.start));
    let fields = [
        &evidence.mentioned,
        &evidence.mention_rank,
        &evidence.list_position,
        &evidence.sentiment,
        &evidence.share_of_voice,
        &evidence.competitors,
        &evidence.citations,
    ];
    let spans = |field: &FieldEvidence| field.spans.iter().for_each(stands);
    fields.into_iter().flatten().for_each(spans);
    let mentions = evidence.hits.iter().filter(|hit| hit.kind == HitKind::Mention).count();
    assert!(evaluation.mentioned || mentions == 0, "a place that is a mention is a mention");
    if evaluation.mentioned && evidence.hits.len() < MOST_HITS {
        assert!(mentions > 0, "a mention has a place");
        assert!(evaluation.occurrences > 0 && evaluation.prominence.is_some());
    }
}

fn check_citations(extractor: &Extractor, extraction: &Extraction, run: &QuestionRun) {
    let mut seen = HashSet::new();
    for (row, position) in extraction.citations.iter().zip(1..) {
        assert_eq!(row.position, position);
        assert!(seen.insert(&row.canonical_url), "{} twice", row.canonical_url);
        assert!(row.canonical_url.starts_with("https://") || row.canonical_url.starts_with("http://"));
        assert!(!row.domain.is_empty() && !row.canonical_url.contains(char::is_whitespace));
        assert!(row.ownership == Ownership::Primary || row.class != SiteClass::Own);
        assert!(row.cited_text.as_deref().is_none_or(|quote| !quote.trim().is_empty()));
    }
    assert!(run.outcome.citations.len() >= extraction.dropped.invalid_citations as usize);
    let again: Vec<Citation> =
        extraction.citations.iter().map(|row| Citation { url: row.canonical_url.clone(), ..Citation::default() }).collect();
    let count = again.len();
    let (again, dropped) =
        extractor.citations(&question_run(Outcome { citations: again, ..Outcome::empty(RunStatus::Answered) }));
    assert_eq!((again.len(), dropped.invalid_citations), (count, 0), "a canonical URL is a citation");
    for (first, second) in extraction.citations.iter().zip(&again) {
        assert_eq!((&first.canonical_url, &first.domain), (&second.canonical_url, &second.domain), "cleaning twice is once");
        assert_eq!((first.ownership, first.class), (second.ownership, second.class));
    }
}

fn check_competitors(extraction: &Extraction, org: &Org, text: &str) {
    let mut names = HashSet::new();
    let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let answer = plain(text);
    for (competitor, position) in extraction.competitors.iter().zip(1..) {
        assert_eq!(competitor.position, position);
        assert!(names.insert(&competitor.name), "{} twice", competitor.name);
        // A name that is kept apart is configured, too, and shown as its owner writes it.
        let mut names = org.competitors.iter().map(|known| &known.name).chain(&org.keep_apart);
        let mut configured = || names.any(|name| plain(name) == plain(&competitor.name));
        assert!(configured() || answer.contains(&plain(&competitor.name)), "{:?} is made up", competitor.name);
        for merge in &competitor.merged {
            assert!(answer.contains(&plain(&merge.name)), "{:?} is made up", merge.name);
        }
    }
}
