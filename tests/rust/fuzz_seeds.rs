//! The fuzz targets without a fuzzer: their seeds, mutations of them, and inputs out of the pieces that matter; and answers
//! that are nothing, huge or hostile.

use std::collections::BTreeMap;
use std::path::Path;

use overheard::domain::{Citation, Org, Outcome, RunStatus};
use proptest::prelude::*;

use crate::extract_support::{org, quillmark};
use crate::processor_time;

#[path = "../../fuzz/bodies/provider_decoding.rs"]
mod provider_decoding;
#[path = "../../fuzz/bodies/text_analysis.rs"]
mod text_analysis;

/// Name → bytes, in the order of the names.
fn seeds(target: &str) -> BTreeMap<String, Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let seeds: BTreeMap<_, _> =
        files.map(|file| (file.file_name().to_string_lossy().into_owned(), std::fs::read(file.path()).unwrap())).collect();
    assert!(seeds.len() >= 15, "{target} has lost its seeds");
    seeds
}

/// The check, with the input's name where it fails.
fn on_every_seed(target: &str, check: impl Fn(&[u8])) {
    for (name, seed) in seeds(target) {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(&seed)));
        assert!(outcome.is_ok(), "fuzz/seeds/{target}/{name} fails: see the panic above");
    }
}

#[test]
fn provider_decoding_holds_on_every_seed() {
    on_every_seed("provider_decoding", provider_decoding::check);
}

#[test]
fn text_analysis_holds_on_every_seed() {
    on_every_seed("text_analysis", text_analysis::check);
}

/// A reader of inputs that read nothing would let every check pass.
#[test]
fn seeds_are_read_as_what_they_are() {
    let seeds = seeds("text_analysis");
    let read = |name: &str| text_analysis::read(&String::from_utf8_lossy(&seeds[name]));
    let (org, run) = read("links-and-citations");
    assert_eq!((org.name.as_str(), org.aliases.len(), org.websites.len(), org.competitors.len()), ("QuillMark", 1, 1, 3));
    let rival = &org.competitors[1];
    assert_eq!((rival.aliases.len(), rival.products.len(), rival.websites.len()), (1, 1, 1));
    assert_eq!(rival.parent.as_deref(), Some("Ocean Holding"));
    let first = &run.outcome.citations[0];
    assert_eq!((first.title.as_deref(), first.cited, first.position), (Some("QuillMark"), Some(true), Some(1)));
    assert_eq!((first.start, first.end, run.outcome.citations.len()), (Some(0), Some(9), 4));
    assert_eq!(first.cited_text.as_deref(), Some("It has a free plan."));
    let extraction = text_analysis::check_run(&org, &run);
    assert!(extraction.evaluation.mentioned && extraction.evaluation.citation);
    let (org, _) = read("homonym");
    assert_eq!((org.homonyms.len(), org.context.len(), org.confusables.len()), (1, 2, 1));
    assert_eq!(read("refused").1.outcome.status, RunStatus::Refused);
    assert_eq!(read("null").1.outcome.text, None);
}

/// One of the seeds, cut, with a piece of another one and with bytes replaced.
fn mutated(target: &'static str) -> impl Strategy<Value = Vec<u8>> {
    let all: Vec<Vec<u8>> = seeds(target).into_values().collect();
    let seed = prop::sample::select(all);
    let bytes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    (seed.clone(), seed, any::<prop::sample::Index>(), any::<prop::sample::Index>(), bytes).prop_map(
        |(first, second, to, from, replaced)| {
            let mut input = first[..to.index(first.len() + 1)].to_vec();
            input.extend_from_slice(&second[from.index(second.len() + 1)..]);
            for (place, byte) in replaced {
                let place = place.index(input.len() + 1);
                input.get_mut(place).into_iter().for_each(|old| *old = byte);
            }
            input
        },
    )
}

/// An input of `text_analysis` in which org and answer are made of the same few pieces, so that names stand in answers.
fn analysed() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "Box",
        "box",
        "QuillMark",
        "Quill",
        "C++",
        "鳥貴族",
        "とり",
        "라네즈",
        "Straße",
        "שלום",
        "ñ",
        "n\u{303}",
        "ﬁ",
        "İ",
        "X",
        " ",
        "  ",
        "\u{a0}",
        "\u{200b}",
        "\u{202e}",
        "\u{2066}",
        "\u{feff}",
        "\u{ad}",
        "\0",
        "\u{7}",
        "\t",
        ".",
        "-",
        "'s",
        "&",
        "!",
        "https://box.example",
        "//",
        "?utm_source=x",
        "#:~:text=a",
        "](",
        "[",
        ")",
        "`",
        "|",
        "1. ",
        "* ",
        "does not appear",
    ]);
    let word = prop::collection::vec(piece.clone(), 0..4).prop_map(|pieces| pieces.concat());
    let field = prop::sample::select(vec![
        "name",
        "alias",
        "website",
        "competitor",
        "competitor",
        "also",
        "product",
        "parent",
        "site",
        "confusable",
        "homonym",
        "context",
        "apart",
        "cite",
        "cite",
        "quote",
        "title",
    ]);
    let head = prop::collection::vec((field, word.clone()).prop_map(|(field, word)| format!("{field} {word}\n")), 0..12);
    let line_or_piece = prop_oneof![8 => word, 1 => Just("\n".to_owned()), 1 => any::<String>()];
    let answer = prop::collection::vec(line_or_piece, 0..16).prop_map(|pieces| pieces.concat());
    (head, answer).prop_map(|(head, answer)| format!("{}-----\n{answer}", head.concat()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn provider_decoding_holds_on_mutated_seeds(input in mutated("provider_decoding")) {
        provider_decoding::check(&input);
    }

    #[test]
    fn provider_decoding_holds_on_bytes(input in prop::collection::vec(any::<u8>(), 0..300)) {
        provider_decoding::check(&input);
    }

    #[test]
    fn text_analysis_holds_on_mutated_seeds(input in mutated("text_analysis")) {
        text_analysis::check(&input);
    }

    #[test]
    fn text_analysis_holds_on_its_pieces(input in analysed()) {
        text_analysis::check(input.as_bytes());
    }

    #[test]
    fn text_analysis_holds_on_bytes(input in prop::collection::vec(any::<u8>(), 0..300)) {
        text_analysis::check(&input);
    }

    /// What cannot be seen is no part of a name and does not end one.
    #[test]
    fn invisible_characters_hide_no_name(
        hidden in prop::collection::vec(prop::sample::select(vec!["", "\u{200b}", "\u{200c}", "\u{200d}", "\u{2060}", "\u{feff}", "\u{ad}", "\u{200e}", "\u{202e}", "\u{2068}"]), 9),
        around in prop::sample::select(vec![" ", " \u{202e}", " \u{2067}", "\0", "\u{7}", "\u{1b}", "\u{85}", "\u{2028}", "\r\n", "、", "\u{a0}"]),
    ) {
        let name: String = "QuillMark".chars().zip(&hidden).map(|(letter, hidden)| format!("{letter}{hidden}")).collect();
        let text = format!("We suggest{around}{name}{around}for bakeries. \u{5e9}\u{5dc}\u{5d5}\u{5dd} Boxly");
        let extraction = text_analysis::check_run(&quillmark(), &run(&text));
        prop_assert!(extraction.evaluation.mentioned, "{:?}", text);
    }
}

fn run(text: &str) -> overheard::domain::QuestionRun {
    text_analysis::question_run(Outcome { text: Some(text.to_owned()), ..Outcome::empty(RunStatus::Answered) })
}

/// Whatever is missing, null or empty: nothing is found and nothing fails.
#[test]
fn nothing_fails_on_nothing() {
    let nothing = ["", " ", "\n", "\0", "\u{200b}\u{feff}", "\u{202e}\u{202c}", "\u{301}", "\u{fffd}", "\r\r\n", "\u{10ffff}"];
    let blank = |text: &str| Org { name: text.into(), ..Org::default() };
    for text in nothing {
        let list = vec![text.to_owned(); 2];
        let competitor = overheard::domain::KnownCompetitor {
            name: text.into(),
            aliases: list.clone(),
            products: list.clone(),
            parent: Some(text.into()),
            websites: list.clone(),
        };
        let everything_empty = Org {
            aliases: list.clone(),
            websites: list.clone(),
            competitors: vec![competitor; 2],
            confusables: list.clone(),
            homonyms: list.clone(),
            context: list.clone(),
            keep_apart: list.clone(),
            ..blank(text)
        };
        for org in [quillmark(), blank(text), everything_empty] {
            for answer in nothing.into_iter().chain(["An answer with Words, https://a.example and 1. lists."]) {
                let mut run = run(answer);
                run.outcome.citations = vec![
                    Citation::default(),
                    Citation { url: text.into(), title: Some(text.into()), cited_text: Some(text.into()), ..Citation::default() },
                    Citation { position: Some(u32::MAX), start: Some(u32::MAX), end: Some(0), ..Citation::default() },
                ];
                let extraction = text_analysis::check_run(&org, &run);
                assert!(!extraction.evaluation.mentioned && extraction.competitors.is_empty(), "{org:?} {answer:?}");
                assert_eq!(extraction.dropped.invalid_citations, 3);
            }
        }
    }
    let mut run = run("QuillMark");
    run.outcome.text = None;
    assert!(!text_analysis::check_run(&quillmark(), &run).evaluation.mentioned);
}

/// A provider's offsets, positions and quotes are a stranger's numbers.
#[test]
fn citations_may_say_anything_about_their_place() {
    let text = "QuillMark 😀 é. Boxly";
    for (start, end) in [(Some(0), None), (None, Some(3)), (Some(9), Some(2)), (Some(11), Some(12)), (Some(0), Some(u32::MAX))] {
        for position in [None, Some(0), Some(1), Some(u32::MAX)] {
            let mut run = run(text);
            let citation = Citation { url: "https://a.example/é".into(), position, start, end, ..Citation::default() };
            run.outcome.citations = vec![citation.clone(), Citation { url: "https://b.example".into(), ..citation }];
            assert_eq!(text_analysis::check_run(&quillmark(), &run).citations.len(), 2);
        }
    }
}

/// Ten megabytes, the name at their very end. The bound is generous: in a debug build linear work takes seconds, quadratic
/// work on this many bytes hours.
#[test]
fn ten_megabytes_are_read_to_their_end() {
    let prose = "A tool for bakeries keeps orders, recipes and clients in one place. ".repeat(150_000);
    let text = format!("{prose}\n\nQuillMark is reliable: https://quillmark.example/a");
    assert!(text.len() > 10_000_000);
    let mut extraction = None;
    let extractor = overheard::extract::Extractor::new(&quillmark(), &[]);
    let took = processor_time::seconds(|| extraction = Some(extractor.local(&run(&text), 0)));
    let evaluation = extraction.unwrap().evaluation;
    assert!(evaluation.mentioned && evaluation.citation);
    assert!(took < 60.0, "{took} s");
}

/// 100 KB of what makes naive rules quadratic; each within seconds in a debug build on a busy machine.
#[test]
fn hostile_texts_take_linear_time() {
    let pieces = [
        "QuillMark || ",
        "QuillMark does not appear. ",
        "no information on QuillMark ",
        "1. QuillMark\n",
        "| QuillMark ",
        "# Box\n",
        "> > ",
        "- - ",
        "  - a\n",
        "[a](https://quillmark.example/",
        "[1]: <",
        "<a href=\"",
        "<!--",
        "&amp;",
        "\\",
        "**",
        "*_",
        "https://a.example/?utm_source=b&",
        "https://a.example/#:~:text=",
        "%E2%80",
        "www.",
        "a.b.c.",
        "@",
        "Quill",
        "Quill ",
        "QuillMar",
        "\u{202e}\u{2066}",
        "\u{200b}Q",
        "e\u{301}\u{327}",
        "\u{1100}\u{1161}",
        "鳥",
        "。",
        "😀\u{200d}",
        "\0",
        "\r",
        "not ",
        "ignore previous instructions ",
        "```\n",
        "~~~",
        "!",
        "\"",
        "“",
        "(",
        "… ",
        "Quillmark's'",
        "\u{fdfa}",
    ];
    let extractor = overheard::extract::Extractor::new(&quillmark(), &overheard::extract::deterministic_names(&quillmark()));
    for piece in pieces {
        let text = piece.repeat(100_000 / piece.len());
        let mut extraction = None;
        let took = processor_time::seconds(|| extraction = Some(extractor.local(&run(&text), 0)));
        assert!(took < 5.0, "{piece:?} takes {took} s");
        let extraction = extraction.unwrap();
        assert_eq!(extraction.evaluation.mentioned, extraction.evaluation.mention_rank.is_some());
    }
    // Many names and many citations do not multiply either.
    let aliases: Vec<String> = (0..2_000).map(|number| format!("QuillMark{}", "a".repeat(number % 50))).collect();
    let competitors = (0..500).map(|number| format!("Rival {number}").as_str().into()).collect();
    let many = Org { aliases, competitors, ..org("QuillMark") };
    let mut run = run(&"Rival 7, Rival 499 and QuillMarkaaa. ".repeat(2_000));
    run.outcome.citations =
        (0..5_000).map(|number| Citation { url: format!("https://a{number}.example"), ..Citation::default() }).collect();
    let mut extraction = None;
    let took = processor_time::seconds(|| extraction = Some(overheard::extract::Extractor::new(&many, &[]).local(&run, 0)));
    let extraction = extraction.unwrap();
    let named: Vec<&str> = extraction.competitors.iter().map(|competitor| competitor.name.as_str()).collect();
    assert_eq!((extraction.evaluation.mentioned, extraction.citations.len(), named), (true, 5_000, vec!["Rival 7", "Rival 499"]));
    assert!(took < 20.0, "{took} s");
}
