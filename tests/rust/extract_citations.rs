//! Citations: canonical form, ownership, both sources joined, and the shapes of URLs in Markdown.

use overheard::domain::{Citation, Org, Ownership, RunStatus};

use crate::extract_support::{extractor, org, quillmark, run, run_with};

fn canonical_urls(text: &str) -> Vec<String> {
    extractor(&quillmark()).citations(&run(text)).0.into_iter().map(|citation| citation.canonical_url).collect()
}

fn listed(urls: &[&str]) -> Vec<Citation> {
    urls.iter().map(|url| Citation { url: (*url).into(), ..Citation::default() }).collect()
}

#[test]
fn canonical_form() {
    for (raw, clean) in [
        ("https://x.example/a", "https://x.example/a"),
        ("HTTPS://WWW.X.Example/A/", "https://x.example/A"),
        ("https://x.example", "https://x.example"),
        ("https://x.example/?utm_source=chatgpt.com", "https://x.example"),
        ("https://x.example/a?utm_source=openai&id=7&UTM_Medium=x", "https://x.example/a?id=7"),
        ("https://x.example/a?gclid=1&fbclid=2&msclkid=3&srsltid=4", "https://x.example/a"),
        ("https://x.example/a?utm=1&source=2&ref=3", "https://x.example/a?utm=1&source=2&ref=3"),
        ("https://x.example/a/?b=1/", "https://x.example/a?b=1/"),
        ("https://x.example/a?x=%20y&&z", "https://x.example/a?x=%20y&z"),
        ("https://x.example/a?utm%5Fsource=1", "https://x.example/a"),
        ("https://x.example/a#:~:text=the%20best", "https://x.example/a"),
        ("https://x.example/a?b=1#part", "https://x.example/a?b=1"),
        ("https://x.example:443/a", "https://x.example/a"),
        ("http://x.example:80/", "http://x.example"),
        ("https://x.example:8443/", "https://x.example:8443"),
        ("https://www.www.x.example/", "https://x.example"),
        ("https://www.com/", "https://www.com"),
        ("https://x.example./a", "https://x.example/a"),
        ("https://user:secret@x.example/a", "https://x.example/a"),
        ("https://bücher.example/ü", "https://xn--bcher-kva.example/ü"),
        ("  https://x.example/a \n", "https://x.example/a"),
        ("http://[2001:DB8::1]/a/", "http://[2001:db8::1]/a"),
        ("http://127.0.0.1/a/", "http://127.0.0.1/a"),
    ] {
        let (rows, dropped) = extractor(&quillmark()).citations(&run_with("", listed(&[raw])));
        assert_eq!(dropped.invalid_citations, 0, "{raw}");
        assert_eq!(rows[0].canonical_url, clean, "{raw}");
        assert_eq!(rows[0].url, raw, "kept as received");
        let (again, _) = extractor(&quillmark()).citations(&run_with("", listed(&[clean])));
        assert_eq!(again[0].canonical_url, clean, "cleaning twice");
    }
}

#[test]
fn registrable_domains() {
    for (url, domain) in [
        ("https://a.b.x.example/", "x.example"),
        ("https://www.shop.co.uk/", "shop.co.uk"),
        ("https://a.shop.co.uk/", "shop.co.uk"),
        ("https://name.github.io/", "name.github.io"),
        ("https://co.uk/", "co.uk"),
        ("https://localhost/", "localhost"),
        ("https://192.0.2.7/", "192.0.2.7"),
        ("https://[2001:db8::1]/", "[2001:db8::1]"),
        ("https://www.食狮.公司.cn/", "xn--85x722f.xn--55qx5d.cn"),
        ("https://a.BÜCHER.example/", "xn--bcher-kva.example"),
    ] {
        let (rows, _) = extractor(&quillmark()).citations(&run_with("", listed(&[url])));
        assert_eq!(rows[0].domain, domain, "{url}");
    }
}

#[test]
fn ownership_is_equality_of_registrable_domains() {
    let org = Org {
        websites: [
            "https://www.quillmark.example/en",
            "Quill.co.uk",
            "https://bücher.example",
            "https://www.linkedin.com/company/q",
        ]
        .map(str::to_owned)
        .to_vec(),
        ..org("QuillMark")
    };
    for (url, primary) in [
        ("https://quillmark.example/x", true),
        ("http://blog.quillmark.example", true),
        ("https://help.quill.co.uk/", true),
        ("https://xn--bcher-kva.example", true),
        ("https://notquillmark.example", false),
        ("https://quillmark.example.evil.example/", false),
        ("https://other.co.uk", false),
        ("https://www.linkedin.com/company/other", false),
        ("https://evil.example/quillmark.example", false),
        ("https://quillmark.example@evil.example/", false),
    ] {
        let (rows, _) = extractor(&org).citations(&run_with("", listed(&[url])));
        assert_eq!(rows[0].ownership == Ownership::Primary, primary, "{url}");
    }
}

#[test]
fn urls_of_the_text() {
    for (text, urls) in [
        ("see https://x.example/a.", &["https://x.example/a"][..]),
        (
            "see https://x.example/a, https://y.example; and http://z.example!",
            &["https://x.example/a", "https://y.example", "http://z.example"],
        ),
        ("(https://x.example/a)", &["https://x.example/a"]),
        ("(see https://x.example/Box_(company))", &["https://x.example/Box_(company)"]),
        ("**https://x.example/a** and _https://y.example_", &["https://x.example/a", "https://y.example"]),
        ("<https://x.example/a>", &["https://x.example/a"]),
        ("<a href=\"https://x.example/a\">x</a>", &["https://x.example/a"]),
        ("[x](https://x.example/a)", &["https://x.example/a"]),
        ("[x]( <https://x.example/a> 'T')", &["https://x.example/a"]),
        ("[x](https://x.example/a \"A (b) title\")", &["https://x.example/a"]),
        ("[x](https://x.example/a_(b)_c)", &["https://x.example/a_(b)_c"]),
        ("[x](https://x.example/a_\\(b\\))", &["https://x.example/a_(b)"]),
        ("[https://x.example/a](https://x.example/a)", &["https://x.example/a"]),
        ("[[1]](https://x.example/a)", &["https://x.example/a"]),
        ("[1]: https://x.example/a \"T\"", &["https://x.example/a"]),
        ("| https://x.example/a|b |", &["https://x.example/a"]),
        ("\"https://x.example/a\"", &["https://x.example/a"]),
        ("“https://x.example/a”", &["https://x.example/a"]),
        ("请看https://x.example/a。谢谢", &["https://x.example/a"]),
        ("https://x.example/a\u{200b}b", &["https://x.example/a"]),
        ("![logo](https://x.example/logo)", &[]),
        ("https://x.example/logo.PNG and [x](https://x.example/a.svg?x=1)", &[]),
        ("[![alt](https://x.example/i.png)](https://x.example/a)", &["https://x.example/a"]),
        ("`https://x.example/a`", &[]),
        ("```python\nget('https://x.example')\n```", &[]),
        ("[x](javascript:alert(1)) [y](mailto:a@x.example) [z](/local) [w](ftp://x.example)", &[]),
        ("xhttps://x.example https:// http://. https://?", &[]),
        ("HTTPS://X.EXAMPLE/A", &["https://x.example/A"]),
        ("[x](https://x.example/a", &["https://x.example/a"]),
        ("x.example/a and www.x.example", &["https://x.example"]),
        ("Visit www.x.example/a?b=1, or (www.y.example).", &["https://x.example/a?b=1", "https://y.example"]),
        ("www. www.x me@www.x.example awww.x.example www.1.2 `www.x.example` www.a.example@b.example", &[]),
        ("[www.x.example](https://www.x.example/a) www.x.example/a", &["https://x.example/a"]),
        ("[a][1]\n\n[1]: <https://x.example/a> 'T'", &["https://x.example/a"]),
        (
            "见https://x.com是 https://y.example/a谢谢 https://例え.jp/あ",
            &["https://x.com", "https://y.example/a", "https://xn--r8jz45g.jp/あ"],
        ),
        (
            "https://x.example/a、https://y.example｡ https://z.example/b）",
            &["https://x.example/a", "https://y.example", "https://z.example/b"],
        ),
        (
            "https://x.example/a؟ https://y.example/ب، «https://z.example»",
            &["https://x.example/a", "https://y.example/ب", "https://z.example"],
        ),
        (
            "https://x.example's pages—https://y.example—and {https://z.example}",
            &["https://x.example", "https://y.example", "https://z.example"],
        ),
        ("<img src=\"https://x.example/logo\"> and <img alt='' SRC='https://x.example/a'>", &[]),
        (
            "https://good.example@evil.example/a [x](https://good.example\\@evil.example)",
            &["https://evil.example/a", "https://evil.example"],
        ),
        ("[x](data:text/html,https://x.example) [y](javascript:open('https://y.example')) [z](tel:+1)", &[]),
        ("https://en.wikipedia.org/wiki/File:Box.jpg", &["https://en.wikipedia.org/wiki/File:Box.jpg"]),
        ("https://www.google.com/url?q=https://x.example/logo.png", &[]),
    ] {
        assert_eq!(canonical_urls(text), urls, "{text}");
    }
}

#[test]
fn the_provider_s_list_comes_first_and_wins() {
    let citation = |url: &str, cited, title: Option<&str>, position| Citation {
        url: url.into(),
        cited,
        title: title.map(str::to_owned),
        position,
        ..Citation::default()
    };
    let list = vec![
        citation("https://b.example/?utm_source=openai", Some(false), Some("B"), Some(2)),
        citation("https://a.example/", None, None, Some(1)),
        citation("javascript:alert(1)", None, None, Some(3)),
        citation("", None, None, None),
        citation("https://www.b.example", Some(true), Some("Other"), Some(4)),
        citation("https://a.example", None, Some(" A "), None),
    ];
    let text = "New: https://c.example. Known: https://a.example/ and [b](https://b.example/#x).";
    let (rows, dropped) = extractor(&quillmark()).citations(&run_with(text, list));
    assert_eq!(dropped.invalid_citations, 2);
    let seen: Vec<_> = rows
        .iter()
        .map(|row| (row.position, row.url.as_str(), row.canonical_url.as_str(), row.cited, row.title.as_deref()))
        .collect();
    assert_eq!(
        seen,
        [
            (1, "https://a.example/", "https://a.example", Some(true), Some("A")),
            (2, "https://b.example/?utm_source=openai", "https://b.example", Some(true), Some("B")),
            (3, "https://c.example", "https://c.example", Some(true), None),
        ]
    );
}

#[test]
fn the_provider_s_flag_is_not_overruled_by_the_text() {
    let list = vec![Citation { url: "https://a.example".into(), cited: Some(false), ..Citation::default() }];
    let (rows, _) = extractor(&quillmark()).citations(&run_with("https://a.example", list));
    assert_eq!(rows[0].cited, Some(false));
}

#[test]
fn an_image_the_provider_names_is_kept() {
    let (rows, dropped) = extractor(&quillmark()).citations(&run_with("", listed(&["https://c.example/wiki/File:Box.jpg"])));
    assert_eq!((rows.len(), dropped.invalid_citations), (1, 0));
}

#[test]
fn positions_are_unique_whatever_the_provider_counts() {
    let list: Vec<Citation> = [Some(0), Some(3), Some(3), None, Some(u32::MAX)]
        .iter()
        .enumerate()
        .map(|(index, position)| Citation {
            url: format!("https://x{index}.example"),
            position: *position,
            ..Citation::default()
        })
        .collect();
    let (rows, _) = extractor(&quillmark()).citations(&run_with("https://y.example", list));
    assert_eq!(rows.iter().map(|row| row.position).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
}

#[test]
fn the_text_of_a_refusal_is_not_searched() {
    let mut run = run("https://x.example");
    run.outcome.status = RunStatus::Refused;
    assert!(extractor(&quillmark()).citations(&run).0.is_empty());
}
