//! Rank, list position, shares, prominence: reference values, lists of every shape, properties.

use overheard::domain::{Extraction, KnownCompetitor, Org, Span};
use proptest::prelude::*;

use crate::extract_support::{extractor, quillmark, run};
use crate::processor_time;

fn local(text: &str) -> Extraction {
    extractor(&quillmark()).local(&run(text), 0)
}

fn cut(text: &str, span: Span) -> String {
    text.chars().skip(span.start as usize).take((span.end - span.start) as usize).collect()
}

fn cuts(text: &str, spans: &[Span]) -> Vec<String> {
    spans.iter().map(|span| cut(text, *span)).collect()
}

#[test]
fn the_rank_rests_on_the_first_places_of_the_brands_before() {
    let text = "Für Bäcker: Boxly und Boxly, dann Tidewater CRM. QuillMark ist auch da, Pêche Royale auch.";
    let extraction = local(text);
    assert_eq!(extraction.evaluation.mention_rank, Some(3));
    let evidence = extraction.evidence.mention_rank.unwrap();
    assert_eq!(cuts(text, &evidence.spans), ["Boxly", "Tidewater CRM"]);
    let first = local("QuillMark, Boxly");
    assert_eq!((first.evaluation.mention_rank, first.evidence.mention_rank.unwrap().spans.len()), (Some(1), 0));
    let competitors = extraction.evidence.competitors.unwrap();
    assert_eq!(cuts(text, &competitors.spans), ["Boxly", "Tidewater CRM", "Pêche Royale"]);
}

#[test]
fn aliases_and_products_count_for_their_brand() {
    let known = KnownCompetitor {
        aliases: vec!["Orla".into()],
        products: vec!["Deskline".into()],
        parent: Some("Vantora".into()),
        ..KnownCompetitor::from("Orla Systems")
    };
    let org = Org { competitors: vec![known, "Boxly".into()], ..quillmark() };
    let text = "Deskline, Orla, Orla Systems and Boxly are older than QuillMark; Vantora owns some.";
    let extraction = extractor(&org).local(&run(text), 0);
    assert_eq!(extraction.evaluation.mention_rank, Some(3));
    assert_eq!(extraction.evaluation.shares.occurrences, Some(0.2));
    assert_eq!(extraction.competitors.len(), 2, "a parent is no competitor");
}

#[test]
fn a_name_inside_a_longer_one_is_not_the_shorter_one_s() {
    let org = Org { name: "Wave".into(), competitors: vec!["Wave Accounting".into(), "Box".into()], ..quillmark() };
    let evaluation = extractor(&org).local(&run("Wave Accounting is known. So is Wave, and Boxwood."), 0).evaluation;
    assert_eq!((evaluation.mention_rank, evaluation.occurrences), (Some(2), 1));
    let org = Org { name: "Box Hill Bank".into(), competitors: vec!["Box".into()], ..quillmark() };
    let extraction = extractor(&org).local(&run("Box Hill Bank is a bank."), 0);
    assert!(extraction.evaluation.mention_rank == Some(1) && extraction.competitors.is_empty());
}

#[test]
fn list_positions() {
    for (text, position) in [
        ("1. Boxly: cheap\n2. QuillMark: good\n3. Orla: new", Some(2)),
        ("1) Boxly\n2) QuillMark", Some(2)),
        ("**1. Boxly**\nText.\n\n**2. QuillMark**\nText.", Some(2)),
        ("**1.** Boxly\n**2.** QuillMark", Some(2)),
        ("### 1. Boxly\nText\n\n1. step\n2. step\n\n### 2. QuillMark\nText", Some(2)),
        ("#1 Boxly\n#2 QuillMark", Some(2)),
        ("1️⃣ Boxly\n2️⃣ QuillMark", Some(2)),
        ("① Boxly\n② QuillMark", Some(2)),
        ("🥇 Boxly\n🥈 QuillMark", Some(2)),
        ("１．Boxly\n２．QuillMark", Some(2)),
        ("1位：Boxly\n2位：QuillMark", Some(2)),
        ("| # | Tool |\n|---|---|\n| 1 | Boxly |\n| 2 | **QuillMark** |", Some(2)),
        ("1. Boxly\n\nCheap.\n\n2. [QuillMark](https://quillmark.example) – good", Some(2)),
        ("1. Boxly\n1. QuillMark", Some(2)),
        ("4. Boxly\n5. QuillMark", Some(5)),
        ("3. Boxly\n2. QuillMark\n1. Orla", Some(2)),
        ("1. **Best overall: QuillMark** – all of it\n2. **Best value: Boxly**", Some(1)),
        ("1. Nobody Known – x\n2. Someone Else – y\n3. QuillMark – z", Some(3)),
        ("1. Boxly (QuillMark is better)\n2. QuillMark", Some(2)),
        ("## Free\n1. Boxly\n2. Tidewater CRM\n## Paid\n1. QuillMark\n2. Boxly\n3. Orla", Some(1)),
        ("1. For bakeries\n   1. Boxly\n   2. QuillMark\n2. For shops\n   1. Orla", Some(2)),
        // No ranking of brands.
        ("1. Open QuillMark\n2. Press start", None),
        ("1. Open the app: it starts\n2. QuillMark asks for your name", None),
        ("1. Export from Boxly.\n2. Import into QuillMark.", None),
        ("1. QuillMark's inbox: open it\n2. Settings: change them", None),
        ("- Boxly\n- QuillMark", None),
        ("1. QuillMark", None),
        ("1. Boxly: an alternative to QuillMark\n2. Orla: new", None),
        ("1. For bakeries\n   - QuillMark\n2. For shops\n   - Boxly", None),
        ("QuillMark was founded in\n2010. Boxly followed in\n2011. Both grew.", None),
        ("| Year | Tool |\n|---|---|\n| 2010 | Boxly |\n| 2011 | QuillMark |", None),
    ] {
        let extraction = local(text);
        assert_eq!(extraction.evaluation.list_position, position, "{text}");
        let head = extraction.evidence.list_position.map(|evidence| cut(text, evidence.spans[0]));
        assert_eq!(head.is_some_and(|head| head.contains("QuillMark")), position.is_some(), "{text}");
    }
}

#[test]
fn prominence_and_shares_count_characters_and_occurrences() {
    let evaluation = local("éééé QuillMark").evaluation;
    assert_eq!(evaluation.prominence, Some(1.0 - 5.0 / 14.0));
    assert_eq!(local("QuillMark").evaluation.prominence, Some(1.0));
    let evaluation = local("Boxly and Boxly, QuillMark, Quill Mark, boxly? BOXLY.").evaluation;
    assert_eq!((evaluation.occurrences, evaluation.shares.occurrences), (2, Some(2.0 / 5.0)), "`boxly` is not the name's case");
    let evaluation = local("Boxly alone").evaluation;
    assert_eq!((evaluation.prominence, evaluation.occurrences, evaluation.shares.occurrences), (None, 0, Some(0.0)));
    assert_eq!(local("nobody").evaluation.shares.occurrences, None, "no brand: no denominator");
    assert_eq!(local("").evaluation.shares.occurrences, None);
}

#[test]
fn share_of_voice_rests_on_the_passages_it_counts() {
    let text = "Über alles. QuillMark ist gut. Boxly nicht. Nimm QuillMark!";
    let extraction = local(text);
    let passages = cuts(text, &extraction.evidence.share_of_voice.unwrap().spans);
    assert_eq!(passages.join(" || "), extraction.evaluation.mention_text.unwrap());
    assert_eq!(passages.len(), 2);
}

#[test]
fn hostile_lists_take_linear_time() {
    for unit in [
        "1. QuillMark\n",
        "QuillMark Boxly ",
        "1. ",
        "| 1 | QuillMark |\n",
        "### 1. QuillMark vs Boxly\n",
        "QuillMark. It is best. ",
        "**QuillMark**\n",
        "  - QuillMark: Pros:\n",
    ] {
        let time = |count: usize| {
            let text = unit.repeat(count / unit.len());
            processor_time::seconds(|| drop(local(&text)))
        };
        let _ = time(10_000);
        let (short, long) = (time(100_000), time(400_000));
        assert!(long < 12.0 * short + 1.0, "{unit:?}: {short:.3} s, four times as much {long:.3} s");
    }
}

proptest! {
    /// One more brand before the org never makes its rank better, whatever stands behind.
    #[test]
    fn the_rank_grows_with_brands_before(before in 0_usize..4, behind in 0_usize..4) {
        let names = ["Boxly", "Tidewater CRM", "Pêche Royale"];
        let list = |count: usize| names.iter().cycle().take(count).copied().collect::<Vec<_>>().join(", ");
        let text = format!("{} QuillMark {}", list(before), list(behind));
        let evaluation = local(&text).evaluation;
        prop_assert_eq!(evaluation.mention_rank, Some(u32::try_from(before.min(3)).unwrap() + 1));
        let moved = format!("Boxly {text}");
        prop_assert!(local(&moved).evaluation.mention_rank >= evaluation.mention_rank);
        prop_assert!(local(&moved).evaluation.prominence < evaluation.prominence);
    }

    #[test]
    fn every_span_is_one_of_the_text(pieces in prop::collection::vec(prop::sample::select(vec![
        "QuillMark", "Boxly", "Tidewater CRM", "1. ", "2) ", "### 1. ", "| 1 | ", " | ", "\n", "\n\n", "- ", "**", "é", "漢", "😀", ". ",
        " is not reliable", " best ", "Pros: ", "Cons:\n", "unlike ", "it ", "、", "不推荐", "]( ", "`", "\u{200b}", "\u{202e}",
    ]), 0..30)) {
        let text = pieces.concat();
        let extraction = local(&text);
        let length = u32::try_from(text.chars().count()).unwrap();
        let evidence = &extraction.evidence;
        for field in [&evidence.mention_rank, &evidence.list_position, &evidence.sentiment, &evidence.share_of_voice, &evidence.competitors] {
            for span in field.iter().flat_map(|field| &field.spans) {
                prop_assert!(span.start < span.end && span.end <= length);
            }
        }
        let evaluation = &extraction.evaluation;
        prop_assert_eq!(evaluation.mentioned, evaluation.occurrences > 0);
        prop_assert_eq!(evaluation.mention_rank.is_some(), evaluation.mentioned);
        if let Some(quote) = &evaluation.sentiment_quote {
            prop_assert!(text.contains(quote));
        }
        for share in [evaluation.prominence, evaluation.shares.occurrences, evaluation.share_of_voice].into_iter().flatten() {
            prop_assert!((0.0..=1.0).contains(&share));
        }
        if let Some(field) = &evidence.competitors {
            prop_assert_eq!(field.spans.len(), extraction.competitors.len());
        }
    }
}
