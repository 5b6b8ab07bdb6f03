//! Properties of the extraction over arbitrary text, arbitrary replies and arbitrary orgs.

use overheard::domain::{Citation, Org, RunStatus};
use overheard::extract::{Extractor, deterministic_names, fingerprint, parse_names};
use proptest::prelude::*;

use crate::extract_support::{extractor, quillmark, run, run_with};

/// Text out of the pieces that rules react to, mixed with arbitrary characters.
fn text() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "QuillMark",
        "quill mark",
        "Quill\u{200b}Mark",
        "ＱｕｉｌｌＭａｒｋ",
        "Boxly",
        "Pêche",
        "Pe\u{302}che Royale",
        "Tidewater CRM",
        "](",
        "[",
        "]",
        "(",
        ")",
        "![",
        "<",
        ">",
        "`",
        "```",
        "```py\n",
        "https://",
        "https://quillmark.example/a?utm_source=x#y",
        "http://[::1]/",
        "www.",
        ".",
        ". ",
        "。",
        "\n",
        "\n\n",
        " ",
        "\u{a0}",
        "\u{301}",
        "\u{3099}",
        "ﬁ",
        "ß",
        "İ",
        "ｶﾞ",
        "가",
        "かく",
        "\u{202e}",
        "\0",
        "🦊",
        "does not appear",
        "no information on ",
        "\"",
        "'",
        "*",
        "_",
        "\\",
        "/",
        "|",
        "@",
        "-",
    ]);
    prop::collection::vec(prop_oneof![4 => pieces.prop_map(str::to_owned), 1 => any::<String>()], 0..24)
        .prop_map(|pieces| pieces.concat())
}

fn citation() -> impl Strategy<Value = Citation> {
    let url = prop_oneof![any::<String>(), text(), "https?://[a-zA-Z0-9.%äβ-]{0,12}(:[0-9]{0,6})?(/[a-z/.()?&=#%_]{0,20})?"];
    (url, any::<Option<String>>(), any::<Option<bool>>(), any::<Option<u32>>())
        .prop_map(|(url, title, cited, position)| Citation { url, title, cited, position, ..Citation::default() })
}

/// Compiled once for all cases.
fn quillmark_extractor() -> &'static Extractor {
    static EXTRACTOR: std::sync::LazyLock<Extractor> = std::sync::LazyLock::new(|| extractor(&quillmark()));
    &EXTRACTOR
}

fn status() -> impl Strategy<Value = RunStatus> {
    prop::sample::select(vec![RunStatus::Answered, RunStatus::Refused, RunStatus::NoAnswer, RunStatus::Failed])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn local_holds_its_invariants(text in text(), listed in prop::collection::vec(citation(), 0..5), status in status(), null in any::<bool>()) {
        let mut run = run_with(&text, listed);
        run.outcome.status = status;
        if null {
            run.outcome.text = None;
        }
        let extractor = quillmark_extractor();
        let extraction = extractor.local(&run, 7);
        prop_assert_eq!(&extraction, &extractor.local(&run, 7), "the same run gives the same extraction");
        let evaluation = &extraction.evaluation;
        prop_assert_eq!(evaluation.mentioned, evaluation.mention_rank.is_some());
        prop_assert_eq!(evaluation.mentioned, evaluation.mention_text.is_some());
        prop_assert!(evaluation.mention_rank.is_none_or(|rank| rank >= 1));
        prop_assert!(evaluation.share_of_voice.is_none_or(|share| (0.0..=1.0).contains(&share)));
        prop_assert!(!evaluation.mentioned || evaluation.share_of_voice.is_some_and(|share| share > 0.0));
        if let Some(mention_text) = &evaluation.mention_text {
            prop_assert!(mention_text.contains(" || ") || text.contains(mention_text.as_str()));
            prop_assert!(extractor.matches(&text));
        }
        let mut seen = std::collections::HashSet::new();
        for (citation, position) in extraction.citations.iter().zip(1..) {
            prop_assert_eq!(citation.position, position);
            prop_assert!(seen.insert(&citation.canonical_url));
            prop_assert!(citation.canonical_url.starts_with("http://") || citation.canonical_url.starts_with("https://"));
            prop_assert!(!citation.domain.is_empty());
        }
        for (competitor, position) in extraction.competitors.iter().zip(1..) {
            prop_assert_eq!(competitor.position, position);
        }
    }

    #[test]
    fn standing_is_what_local_says(text in text(), listed in prop::collection::vec(citation(), 0..5), status in status()) {
        let mut run = run_with(&text, listed);
        run.outcome.status = status;
        let local = quillmark_extractor().local(&run, 0);
        let (mut hits, rank, citations) = quillmark_extractor().standing(&run);
        hits.truncate(50);
        prop_assert_eq!((hits, rank, citations), (local.evidence.hits, local.evaluation.mention_rank, local.citations));
    }

    #[test]
    fn canonical_urls_are_fixed_points(citation in citation()) {
        let extractor = quillmark_extractor();
        let (rows, _) = extractor.citations(&run_with("", vec![citation]));
        for row in rows {
            let again = Citation { url: row.canonical_url.clone(), ..Citation::default() };
            let (again, dropped) = extractor.citations(&run_with("", vec![again]));
            prop_assert_eq!(dropped.invalid_citations, 0);
            prop_assert_eq!(&again[0].canonical_url, &row.canonical_url);
            prop_assert_eq!(&again[0].domain, &row.domain);
        }
    }

    #[test]
    fn a_reply_never_brings_in_what_the_answer_does_not_say(
        text in text(),
        names in prop::collection::vec(prop_oneof![text(), any::<String>()], 0..6),
        verified in any::<bool>(),
    ) {
        let extractor = quillmark_extractor();
        let reply = serde_json::json!({"competitors": names}).to_string();
        let (found, dropped) = extractor.parse_competitors(&text, &reply).unwrap();
        let gone = dropped.invented_competitors + dropped.rejected_competitors + dropped.invalid_fields;
        prop_assert!(gone as usize <= names.len());
        let configured = ["Boxly", "Tidewater CRM", "Pêche Royale"];
        for competitor in &found {
            let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
            let written = configured.contains(&competitor.name.as_str()) || plain(&text).contains(&competitor.name);
            prop_assert!(written && competitor.occurrences > 0, "{:?}", competitor);
            for merge in &competitor.merged {
                prop_assert!(plain(&text).contains(&merge.name), "{:?}", competitor);
            }
        }
        let reply = serde_json::json!({"is_mention_verified": verified, "sentiment": "positive", "mention_text": names}).to_string();
        let verdict = extractor.parse_evaluation(&text, &reply).unwrap();
        prop_assert!(verified || !verdict.mentioned);
        prop_assert_eq!(verdict.mentioned, verdict.mention_text.is_some());
        if let Some(mention_text) = &verdict.mention_text {
            prop_assert!(mention_text.contains(" || ") || text.contains(mention_text.as_str()));
        }
        let evaluation = extractor.evaluation(&text, Some(&verdict), &found, &[]);
        prop_assert!(!evaluation.mentioned || extractor.matches(&text));
        prop_assert!(evaluation.mention_rank.is_none_or(|rank| rank >= 1 && rank as usize <= found.len() + 1));
        prop_assert!(evaluation.share_of_voice.is_none_or(|share| (0.0..=1.0).contains(&share)));
    }

    #[test]
    fn replies_never_panic(text in text(), reply in prop_oneof![any::<String>(), text(), "[{}\\[\\]\":,a-z_ ]{0,60}"]) {
        let extractor = quillmark_extractor();
        let _ = extractor.parse_competitors(&text, &reply);
        let _ = extractor.parse_evaluation(&text, &reply);
        let _ = parse_names(&quillmark(), &reply);
    }

    /// A name between spaces is found in any surroundings that are prose, whatever its letter case.
    #[test]
    fn a_name_of_its_own_is_found(name in "[A-Z][a-z]{4,9}( [A-Z][a-z]{3,9})?", before in "[a-z ,]{0,20}", after in "[a-z ,]{0,20}") {
        let org = Org { id: "o".into(), name: name.clone(), ..Org::default() };
        let extractor = Extractor::new(&org, &[]);
        for written in [name.clone(), name.to_uppercase(), name.to_lowercase(), name.replace(' ', "\n")] {
            let text = format!("{before} {written} {after}");
            prop_assert!(extractor.matches(&text), "{}", text);
        }
        let inside = format!("x{name}");
        prop_assert!(!extractor.matches(&inside));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_org_can_be_compiled(name in prop_oneof![text(), any::<String>()], aliases in prop::collection::vec(text(), 0..3), websites in prop::collection::vec(text(), 0..3), answer in text()) {
        let org = Org { id: "o".into(), name, competitors: aliases.iter().map(|name| name.as_str().into()).collect(), aliases, websites, ..Org::default() };
        let names = deterministic_names(&org);
        prop_assert_eq!(fingerprint(&org).len(), 64);
        let _ = Extractor::new(&org, &names).local(&run(&answer), 0);
    }
}

#[test]
fn an_extractor_is_shared_by_threads() {
    fn shared<T: Send + Sync>(_: &T) {}
    shared(quillmark_extractor());
}
