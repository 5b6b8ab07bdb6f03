//! What the text says of its citations: both sources joined, numbered markers, places, the words a page is cited for, the shares.

use overheard::domain::{Citation, CitationSource, ExtractedCitation, QuestionRun};
use overheard::extract::{Cited, Extractor};
use proptest::prelude::*;
use serde_json::json;

use crate::extract_support::{extractor, quillmark, run, run_with};
use crate::processor_time;
use crate::providers_support::{ask, decode, provider, reply_json};

fn shared() -> &'static Extractor {
    static EXTRACTOR: std::sync::LazyLock<Extractor> = std::sync::LazyLock::new(|| extractor(&quillmark()));
    &EXTRACTOR
}

fn cited(run: &QuestionRun) -> Cited {
    shared().cited(run)
}

fn listed(urls: &[&str]) -> Vec<Citation> {
    urls.iter().map(|url| Citation { url: (*url).into(), ..Citation::default() }).collect()
}

fn slice(text: &str, span: overheard::domain::Span) -> String {
    text.chars().skip(span.start as usize).take((span.end - span.start) as usize).collect()
}

#[test]
fn a_page_is_one_page_in_both_sources_and_under_both_schemes() {
    let list = listed(&["http://www.a.example/x/", "https://b.example?utm_source=openai", "https://c.example"]);
    let text = "See https://a.example/x and [b](https://www.google.com/url?q=https://b.example/), https://d.example.";
    let found = cited(&run_with(text, list));
    let seen: Vec<_> = found.citations.iter().map(|row| (row.canonical_url.as_str(), row.source, row.cited)).collect();
    use CitationSource::{Both, Provider, Text};
    assert_eq!(
        seen,
        [
            ("https://a.example/x", Both, Some(true)),
            ("https://b.example", Both, Some(true)),
            ("https://c.example", Provider, None),
            ("https://d.example", Text, Some(true)),
        ]
    );
    assert_eq!(found.citations[0].url, "http://www.a.example/x/", "as received");
    let evidence = found.evidence.unwrap();
    let spans: Vec<String> = evidence.spans.iter().map(|span| slice(text, *span)).collect();
    assert_eq!(spans, ["https://a.example/x", "https://www.google.com/url?q=https://b.example/", "https://d.example"]);
    assert_eq!(evidence.note.as_deref(), Some("1 only in the provider's list, 1 only in the text, 2 in both"));
    assert_eq!(cited(&run("no link")).evidence, None);
}

#[test]
fn markers_show_which_of_the_list_is_cited() {
    let pages = ["https://a.example", "not a url", "https://c.example", "https://d.example"];
    let flags = |text: &str| -> Vec<Option<bool>> {
        cited(&run_with(text, listed(&pages))).citations.iter().map(|row| row.cited).collect()
    };
    let (yes, no) = (Some(true), None);
    for (text, expected) in [
        ("Boxly is best.[1][3]", [yes, yes, no]),
        ("Boxly【3†source】 and [4].", [no, yes, yes]),
        ("Boxly [1, 4] and [^3]", [yes, yes, yes]),
        ("Boxly [2-4]", [no, yes, yes]),
        ("Boxly [2] [9] [0] [1a] [x1] [-1] [1", [no, no, no]),
        ("citeturn0search1 and 【4:0†source】 and \u{e200}cite\u{e202}turn0search3\u{e201}", [no, no, no]),
        ("`a[1]` and ```rust\nb[3]\n```", [no, no, no]),
        ("[3](https://www.a.example)", [yes, no, no]),
    ] {
        assert_eq!(flags(text), expected, "{text}");
    }
    // The text gives the numbers itself: they do not count the provider's list.
    let text = "Boxly is best [1].\n\nSources:\n[1]: https://z.example \"Z\"\n[2] Tidewater – https://y.example";
    assert_eq!(flags(text), [no, no, no, yes, yes]);
    // Positions of the provider are its numbers; what it says wins.
    let numbered = |position, cited| Citation { position: Some(position), cited, ..Citation::default() };
    let list = vec![
        Citation { url: "https://b.example".into(), ..numbered(2, None) },
        Citation { url: "https://a.example".into(), ..numbered(1, Some(false)) },
    ];
    let found = cited(&run_with("Both [1][2]", list));
    let seen: Vec<_> = found.citations.iter().map(|row| (row.canonical_url.as_str(), row.cited)).collect();
    assert_eq!(seen, [("https://a.example", Some(false)), ("https://b.example", Some(true))]);
}

#[test]
fn a_span_of_the_provider_gives_the_words_it_is_cited_for() {
    let text = "Zwölf 😀 Boxen. Die [Boxly](https://b.example) Box ist 好. ([a.example](https://a.example/x)) Ende.";
    let at = |part: &str| {
        let start = text[..text.find(part).unwrap()].chars().count() as u32;
        (Some(start), Some(start + part.chars().count() as u32))
    };
    for (part, words) in [
        ("([a.example](https://a.example/x))", Some("Die Boxly Box ist 好.")),
        ("Zwölf 😀 Boxen.", Some("Zwölf 😀 Boxen.")),
        ("Box ist 好. ([a.example](https://a.example/x))", Some("Box ist 好.")),
    ] {
        let (start, end) = at(part);
        let citation = Citation { url: "https://a.example/x".into(), start, end, ..Citation::default() };
        let found = cited(&run_with(text, vec![citation]));
        assert_eq!(found.citations[0].cited_text.as_deref(), words, "{part}");
    }
    for (start, end) in [(Some(7), Some(7)), (Some(9), Some(2)), (Some(0), Some(10_000)), (None, Some(3))] {
        let citation = Citation { url: "https://a.example/x".into(), start, end, ..Citation::default() };
        let found = cited(&run_with(text, vec![citation]));
        assert_eq!(found.citations[0].cited_text, None, "{start:?}..{end:?}");
    }
}

fn close(found: Option<f64>, wanted: f64) {
    assert!(found.is_some_and(|found| (found - wanted).abs() < 1e-9), "{found:?} is not {wanted}");
}

#[test]
fn shares_of_own_pages() {
    let list = listed(&["https://quillmark.example", "https://b.example", "https://c.example"]);
    // Words of three letters and more, cites: (4, [1]) (6, [1, 2]) (3, []) (5, [3]).
    let text = "One two three four [1]. One two three four five six.[1][2] One two three. One two three four five [3].";
    let found = cited(&run_with(text, list.clone()));
    close(found.shares.citations, 1.0 / 3.0);
    close(found.shares.words, 7.0 / 15.0);
    let decay = |place: f64| (-place / 3.0).exp();
    let (ours, second, third) = (4.0 + 3.0 * decay(1.0), 3.0 * decay(1.0), 5.0 * decay(3.0));
    close(found.shares.position_adjusted, ours / (ours + second + third));
    assert_eq!(found.shares.occurrences, None);
    // Links count as markers do; a link behind the full stop belongs to the sentence before it.
    let text = "One two three four. ([quillmark.example](https://quillmark.example)) One two \
                [three](https://b.example) four five six.\n\n- [All of it](https://c.example)\n- https://d.example\n";
    let found = cited(&run(text));
    close(found.shares.words, 4.0 / 10.0);
    close(found.shares.citations, 1.0 / 4.0);
    // Two characters of a script without spaces are a word.
    let found = cited(&run("羽根印は一番です。[a](https://quillmark.example)箱屋は二番。[b](https://b.example)"));
    close(found.shares.words, 4.0 / 7.0);
    for text in ["No citation at all.", "[1]: https://quillmark.example", "* https://quillmark.example", ""] {
        let found = cited(&run(text));
        assert_eq!((found.shares.words, found.shares.position_adjusted), (None, None), "{text}");
    }
    assert_eq!(cited(&run_with("Nothing.", Vec::new())).shares.citations, None);
    // The local extraction carries them.
    let local = shared().local(&run_with("One two three four [1].", list), 0);
    close(local.evaluation.shares.words, 1.0);
    assert!(local.evidence.citations.is_some());
}

#[test]
fn hostile_texts_take_linear_time() {
    let hostile = [
        "[".repeat(100_000),
        "[1".repeat(50_000),
        "[1]\n".repeat(25_000),
        "https://".repeat(12_000),
        "www.".repeat(25_000),
        "www.a.b.c/".repeat(10_000),
        "](".repeat(50_000),
        "[a](https://x.example)".repeat(4_500),
        "https://x.example/%".repeat(5_000),
        "a. ".repeat(33_000),
        format!("https://x.example/?{}", "a=%25&".repeat(15_000)),
        "【1†".repeat(14_000),
        "(https://x.example".repeat(5_500),
    ];
    for text in hostile {
        let took = processor_time::seconds(|| drop(cited(&run_with(&text, listed(&["https://a.example"])))));
        assert!(took < 2.0, "{took} s for {:.20}…", text);
    }
}

/// An answer out of prose, links and markers.
fn answer() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "QuillMark is best. ",
        "Zwölf 😀 Boxen ",
        "羽根印。",
        "\n",
        "\n\n",
        "- ",
        "[1]",
        "[2] ",
        "【3†source】",
        "[1]: ",
        "(",
        ")",
        "[",
        "]",
        "`",
        "```",
        "![",
        "](",
        "<",
        ">",
        "https://x.example/a",
        "https://www.x.example/a/",
        "http://x.example/a#:~:text=b",
        "www.y.example",
        "[z](https://z.example)",
        "([quillmark.example](https://quillmark.example/?utm_source=openai))",
        "https://youtu.be/dQw4w9WgXcQ",
        "https://www.google.com/url?q=https://x.example/a",
        "'s",
        ".",
        "。",
        "\\",
        "|",
    ]);
    prop::collection::vec(prop_oneof![9 => pieces.prop_map(str::to_owned), 1 => any::<String>()], 0..20)
        .prop_map(|pieces| pieces.concat())
}

fn provided() -> impl Strategy<Value = Vec<Citation>> {
    let url = prop::sample::select(vec![
        "https://x.example/a",
        "http://x.example/a/",
        "https://z.example",
        "junk",
        "https://quillmark.example",
        "https://youtube.com/watch?v=dQw4w9WgXcQ",
    ]);
    let number = || prop::option::of(0_u32..40);
    let one = (url, any::<Option<bool>>(), number(), number(), number()).prop_map(|(url, cited, position, start, end)| {
        Citation { url: url.into(), cited, position, start, end, ..Citation::default() }
    });
    prop::collection::vec(one, 0..5)
}

/// True when the URL, or its part after `www.`, stands in the text.
fn stands_in(text: &str, row: &ExtractedCitation) -> bool {
    text.contains(&row.url)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_024))]

    #[test]
    fn citations_hold_their_invariants(text in answer(), list in provided()) {
        let found = cited(&run_with(&text, list.clone()));
        let mut pages = std::collections::HashSet::new();
        for (row, position) in found.citations.iter().zip(1..) {
            prop_assert_eq!(row.position, position);
            let page = row.canonical_url.split_once("://").unwrap().1;
            prop_assert!(pages.insert(page), "{} twice", page);
            let in_list = list.iter().any(|citation| citation.url == row.url);
            prop_assert_eq!(in_list, row.source != CitationSource::Text || stands_in(&text, row) && in_list);
            prop_assert!(row.source == CitationSource::Provider || row.cited.is_some());
            prop_assert!(row.source != CitationSource::Text || (row.cited == Some(true) && stands_in(&text, row)));
        }
        let shares = [found.shares.citations, found.shares.words, found.shares.position_adjusted];
        prop_assert!(shares.iter().flatten().all(|share| (0.0..=1.0).contains(share)), "{shares:?}");
        prop_assert_eq!(found.shares.citations.is_none(), found.citations.is_empty());
        prop_assert_eq!(found.evidence.is_none(), found.citations.is_empty());
        let length = text.chars().count();
        for span in found.evidence.iter().flat_map(|evidence| &evidence.spans) {
            prop_assert!(span.start < span.end && span.end as usize <= length);
            let url = slice(&text, *span);
            prop_assert!(url.starts_with("http") || url.starts_with("HTTP") || url.starts_with("www."), "{url}");
        }
    }

    /// OpenAI counts characters: what it points to is the same, whatever stands before it.
    #[test]
    fn offsets_of_openai_count_characters(before in "[a-z😀好é\u{301} ]{0,12}", first in "[好😀é ]{0,8}", cited_words in "[A-Z][a-z好é]{3,9} 😀 [a-z]{4,8}") {
        let url = "https://a.example/x";
        let text = format!("{before}{cited_words} end");
        let start = before.chars().count();
        let note = json!([{"type": "url_citation", "url": url, "title": "A", "start_index": start, "end_index": start + cited_words.chars().count()}]);
        let part = |text: &str, notes: &serde_json::Value| json!({"type": "output_text", "text": text, "annotations": notes});
        let body = json!({"status": "completed", "model": "gpt-4.1", "output": [
            {"type": "message", "content": [part(&first, &json!([])), part(&text, &note)]},
        ], "usage": {"input_tokens": 1, "output_tokens": 1}});
        let outcome = decode(&*provider("gpt-4.1"), &ask("q"), &reply_json(200, &body));
        let mut asked = run("");
        asked.outcome = outcome;
        let found = cited(&asked);
        let words = cited_words.split_whitespace().collect::<Vec<_>>().join(" ");
        prop_assert_eq!(found.citations[0].cited_text.as_deref(), Some(words.as_str()));
    }
}
