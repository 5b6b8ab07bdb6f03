//! Finding names: word boundaries, scripts, accents, invisible characters, and what is not prose.

use std::fmt::Write as _;

use overheard::domain::Org;
use overheard::extract::Extractor;

use crate::extract_support::{extractor, org, quillmark};

fn matches(name: &str, text: &str) -> bool {
    Extractor::new(&org(name), &[]).matches(text)
}

#[test]
fn found() {
    for (name, text) in [
        ("QuillMark", "QuillMark"),
        ("QuillMark", "Try quillmark, it is good."),
        ("QuillMark", "QUILLMARK's prices"),
        ("QuillMark", "**QuillMark**: good"),
        ("QuillMark", "_QuillMark_ and __QuillMark__"),
        ("QuillMark", "| QuillMark | 20 |"),
        ("QuillMark", "(QuillMark)"),
        ("QuillMark", "QuillMark™ is"),
        ("QuillMark", "QuillMark¹ is"),
        ("QuillMark", "①QuillMark"),
        ("QuillMark", "Boxly/QuillMark"),
        ("QuillMark", "a QuillMark-based tool"),
        ("QuillMark", "@QuillMark and #QuillMark"),
        ("QuillMark", "It ends here.QuillMark begins"),
        ("QuillMark", "use QuillMark.Others do"),
        ("Quill Mark", "Quill\nMark and Quill   Mark"),
        ("Quill Mark", "Quill\u{a0}Mark"),
        ("Nestlé", "Nestle is large"),
        ("Nestle", "Nestlé is large"),
        ("Nestlé", "Nestle\u{301} is large"),
        ("Pêche Royale", "PÊCHE ROYALE"),
        ("Strauß", "STRAUSS"),
        ("Όμηρος", "ΌΜΗΡΟΣ"),
        ("Işbank", "IŞBANK"),
        ("QuillMark", "ＱｕｉｌｌＭａｒｋ"),
        ("QuillMark", "Quill\u{200b}Mark"),
        ("QuillMark", "\u{202e}QuillMark"),
        ("QuillMark", "Quill\u{ad}Mark"),
        ("Ofﬁce Tales", "Office Tales"),
        ("索尼", "我喜欢索尼电视"),
        ("QuillMark", "我们使用QuillMark的产品"),
        ("삼성전자", "삼성전자는 크다"),
        ("ソニー", "ソニーのテレビとソニーストア"),
        ("ボックス", "ボックスを使う"),
        ("ボックス", "ﾎﾞｯｸｽを使う"),
        ("Яндекс", "ЯНДЕКС растёт"),
        ("McDonald's", "McDonald’s"),
        ("Coca-Cola", "Coca‑Cola and Coca–Cola"),
        ("Yahoo!", "Yahoo! is"),
        ("C++ Builder", "use C++ Builder now"),
        (".NET Foundation", "the .NET Foundation"),
        ("Couloir 3", "Couloir 3."),
        ("Box", "Box is a service"),
        ("HP", "HP makes printers"),
        ("monday", "monday works"),
    ] {
        assert!(matches(name, text), "'{name}' not found in '{text}'");
    }
}

#[test]
fn not_found() {
    for (name, text) in [
        ("Box", "a toolbox, Boxes, BoxBoat and dropBox"),
        ("Box", "put it into a box"),
        ("Box", "Drop_Box_er box_office"),
        ("HP", "a 200 hp engine"),
        ("LI", "Li, li and lithium"),
        ("Linear", "notlinear.app and nonlinear"),
        ("QuillMark", "QuillMarks QuillMark2 xQuillMark"),
        ("QuillMark", "QuillМark with a Cyrillic М"),
        ("QuillMark", "Quill\n\nMark"),
        ("QuillMark", "tool\u{200b}QuillMark"),
        ("Node", "Node.js and my.node"),
        ("Monday", "Monday.com is something else"),
        ("QuillMark", "write to QuillMark@mail.example or info@quillmark"),
        ("Johnson", "Johnson&Johnson"),
        ("Couloir 3", "Couloir 30"),
        ("ボックス", "ツールボックス"),
        ("ソニ", "ソニー"),
        ("か゛く", "かく"),
        ("кии", "кий"),
        ("가나", "가낙"),
        (".NET Foundation", "ASP.NET Foundation"),
        ("QuillMark", ""),
        ("", "anything"),
        ("!", "anything!"),
        ("Q", "Q"),
    ] {
        assert!(!matches(name, text), "'{name}' found in '{text}'");
    }
}

#[test]
fn urls_targets_and_code_are_not_prose() {
    for (text, found) in [
        ("see https://quillmark.example/quillmark?x=QuillMark", false),
        ("see <https://quillmark.example>", false),
        ("[a tool](https://x.example/QuillMark)", false),
        ("[a tool](https://x.example \"QuillMark\")", false),
        ("[a tool](</docs/QuillMark>)", false),
        ("![logo](QuillMark.png)", false),
        ("[QuillMark](https://x.example)", false),
        ("[**QuillMark**](https://x.example/a_(b)) is", true),
        ("[see (a)](https://x.example/a(b)) QuillMark", true),
        ("Good. ([quillmark.example](https://www.quillmark.example/pricing?utm_source=openai))", false),
        ("Good. [quillmark.example](https://help.quillmark.example)", false),
        ("Good. [quillmark.example](https://other.example)", false),
        ("Good. [QuillMark](https://www.quillmark.example/pricing)", false),
        ("run `QuillMark --help` now", false),
        ("run ``a ` QuillMark`` now", false),
        ("```python\nQuillMark()\n```", false),
        ("```python\nx()\n```\nQuillMark", true),
        ("```markdown\nQuillMark is good\n```", true),
        ("```\nQuillMark is good\n```", true),
        ("a ` stray backtick\n\nQuillMark and a second ` here", true),
        ("reviews on capterra.example/p/QuillMark here", false),
        ("quillmark.example has prices", true),
        ("www.quillmark.example/pricing", true),
        ("blog.quillmark.example", true),
        ("notquillmark.example", false),
        ("my-quillmark.example", false),
        ("quillmark.example.evil.example", false),
        ("quillmark.example-shop.example", false),
        ("info@quillmark.example", false),
        ("quillmark.other", false),
        ("](QuillMark](QuillMark", false),
        ("(see [1](https://x.example/1)).QuillMark is", true),
    ] {
        assert_eq!(extractor(&quillmark()).matches(text), found, "{text}");
    }
}

#[test]
fn a_name_that_is_a_domain() {
    let booking = Org { websites: vec!["https://www.booking.example".into()], ..org("Booking.example") };
    assert!(extractor(&booking).matches("Booking.example is large"));
    assert!(!extractor(&booking).matches("https://www.booking.example/x"));
}

#[test]
fn a_profile_page_does_not_make_the_site_a_name() {
    let org = Org { websites: vec!["https://www.linkedin.com/company/quillmark".into()], ..org("QuillMark") };
    assert!(!extractor(&org).matches("look at linkedin.com for more"));
}

#[test]
fn every_name_is_looked_for_when_they_overlap() {
    let names = ["Quill", "Quill Mark", "Quill Mark Pro"].map(str::to_owned);
    let extractor = Extractor::new(&org("Marker"), &names);
    assert!(extractor.matches("Quill Marker"), "the shorter name, though a longer one begins the same way");
    assert!(extractor.matches("the Quill Mark Prosecutor"));
    assert!(!extractor.matches("Quills Marks"));
}

/// Work, not time: the bound is that these finish at all in a debug build; each is quadratic or worse when done naively.
#[test]
fn pathological_texts_stay_linear() {
    let mut lengths = String::new();
    for length in 1..1_200 {
        let _ = write!(lengths, "{} x ", "`".repeat(length));
    }
    let texts = [
        "](".repeat(200_000),
        "[".repeat(500_000),
        "](<".repeat(150_000),
        "](a \"".repeat(50_000),
        "`".repeat(500_000),
        "` ``".repeat(100_000),
        lengths,
        "<https://".repeat(60_000),
        "https://x.example/(".repeat(30_000),
        "box/".repeat(120_000),
        "a.b/".repeat(120_000),
        "\n```x".repeat(80_000),
        "Box ".repeat(120_000),
        "Box. ".repeat(100_000),
        "boxbox".repeat(80_000),
        "e\u{301}".repeat(150_000),
        "\u{200b}".repeat(200_000),
        " ".repeat(500_000),
        "\u{fdfa}".repeat(50_000),
        "[QuillMark](".repeat(40_000),
    ];
    let org = Org { competitors: vec!["Boxbox".into()], ..org("Box") };
    let extractor = extractor(&org);
    for text in texts {
        let extraction = extractor.local(&crate::extract_support::run(&text), 0);
        assert_eq!(extraction.evaluation.mentioned, extraction.evaluation.mention_rank.is_some());
    }
}
