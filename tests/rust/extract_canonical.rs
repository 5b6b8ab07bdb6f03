//! One URL a page: redirects, tracking, text fragments, spellings; and the class of a site. Tables, and properties over any URL.

use overheard::domain::{Citation, ExtractedCitation, KnownCompetitor, Org, SiteClass};
use overheard::extract::Extractor;
use proptest::prelude::*;

use crate::extract_support::{extractor, org, quillmark, run_with};

fn one(extractor: &Extractor, url: &str, title: Option<&str>) -> Option<ExtractedCitation> {
    let citation = Citation { url: url.into(), title: title.map(str::to_owned), ..Citation::default() };
    let (mut rows, dropped) = extractor.citations(&run_with("", vec![citation]));
    assert_eq!(rows.len() + dropped.invalid_citations as usize, 1, "{url}");
    rows.pop()
}

fn clean(url: &str) -> String {
    one(&extractor(&quillmark()), url, None).unwrap_or_else(|| panic!("{url} is no citation")).canonical_url
}

/// "https://x.example/a?b=1&c=2", percent-encoded.
const ENCODED: &str = "https%3A%2F%2Fx.example%2Fa%3Fb%3D1%26c%3D2";

#[test]
fn redirects_lead_to_the_page_that_stands_in_the_link() {
    let around = [
        "https://www.google.com/url?sa=t&source=web&rct=j&url={}&ved=2ahUKE",
        "https://www.google.co.uk/url?q={}&sa=U&ved=1",
        "http://google.de/url?q={}",
        "https://www.google.com/imgres?imgurl=https%3A%2F%2Fy.example%2Fi.png&imgrefurl={}",
        "https://l.facebook.com/l.php?u={}&h=AT0",
        "https://lm.facebook.com/l.php?u={}",
        "https://www.facebook.com/l.php?u={}",
        "https://l.instagram.com/?u={}&e=AT",
        "https://l.threads.net/?u={}",
        "https://duckduckgo.com/l/?uddg={}&rut=1",
        "https://out.reddit.com/t3_abc?url={}&token=A",
        "https://t.umblr.com/redirect?z={}&t=Y",
        "https://slack-redir.net/link?url={}",
        "https://www.youtube.com/redirect?event=video_description&q={}&v=abc",
        "https://www.linkedin.com/redir/redirect?url={}&urlhash=x",
        "https://www.linkedin.com/safety/go?url={}",
        "https://medium.com/r/?url={}",
        "https://vk.com/away.php?to={}",
        "https://link.zhihu.com/?target={}",
        "https://eur01.safelinks.protection.outlook.com/?url={}&data=05",
        "https://www.awin1.com/cread.php?awinmid=1&awinaffid=2&ued={}",
        "https://go.skimresources.com/?id=1X2&url={}",
        "https://click.linksynergy.com/deeplink?id=1&mid=2&murl={}",
        "https://r.search.yahoo.com/_ylt=A/RV=2/RE=1/RO=10/RU={}/RK=2/RS=x",
    ];
    for link in around {
        assert_eq!(clean(&link.replace("{}", ENCODED)), "https://x.example/a?b=1&c=2", "{link}");
    }
    for (link, page) in [
        ("https://www.bing.com/ck/a?!&&p=1&u=a1aHR0cHM6Ly94LmV4YW1wbGUvYT9iPcO8&ntb=1", "https://x.example/a?b=%C3%BC"),
        ("https://href.li/?https://x.example/a?b=1&c=2", "https://x.example/a?b=1&c=2"),
        ("https://www.google.com/amp/s/www.x.example/a?b=1", "https://x.example/a?b=1"),
        ("https://www.google.com/amp/x.example/a", "http://x.example/a"),
        ("https://www-x-example.cdn.ampproject.org/c/s/www.x.example/a/", "https://x.example/a"),
        ("https://x-example.cdn.ampproject.org/v/s/x.example/a?amp_js_v=1", "https://x.example/a?amp_js_v=1"),
        ("https://web.archive.org/web/20240101000000/https://www.x.example/a?b=1", "https://x.example/a?b=1"),
        ("https://web.archive.org/web/2024id_/http:/x.example/a", "http://x.example/a"),
        ("https://web.archive.org/web/2024/x.example/a", "http://x.example/a"),
        ("https://www.google.com/url?q=www.x.example/a", "https://x.example/a"),
        ("https://www.google.com/url?q=https://x.example/a%23:~:text%3Dbest", "https://x.example/a"),
        // Two deep.
        (
            "https://l.facebook.com/l.php?u=https%3A%2F%2Fwww.google.com%2Furl%3Fq%3Dhttps%253A%252F%252Fx.example%252Fa",
            "https://x.example/a",
        ),
    ] {
        assert_eq!(clean(link), page, "{link}");
    }
}

#[test]
fn what_leads_nowhere_or_does_not_say_where_stays() {
    for (link, page) in [
        ("https://www.google.com/search?q=https://x.example", "https://google.com/search?q=https://x.example"),
        ("https://www.google.com/url?q=javascript:alert(1)", "https://google.com/url?q=javascript:alert(1)"),
        ("https://www.google.com/url?q=/relative&sa=U", "https://google.com/url?q=/relative"),
        ("https://google.evil.example/url?q=https://x.example", "https://google.evil.example/url?q=https://x.example"),
        ("https://www.bing.com/ck/a?u=a1%25%25", "https://bing.com/ck/a?u=a1%25%25"),
        ("https://www.bing.com/ck/a?u=https://x.example", "https://bing.com/ck/a?u=https://x.example"),
        ("https://bit.ly/abc", "https://bit.ly/abc"),
        ("https://web.archive.org/details/x", "https://web.archive.org/details/x"),
        ("https://web.archive.org/web/2024/%2e&", "https://web.archive.org/web/2024/.&"),
        ("https://x.example/url?q=https://y.example", "https://x.example/url?q=https://y.example"),
    ] {
        assert_eq!(clean(link), page, "{link}");
    }
    let deep = |depth: usize| format!("{}https://x.example", "https://href.li/?".repeat(depth));
    assert_eq!(clean(&deep(3)), "https://x.example");
    assert_eq!(clean(&deep(4)), deep(4).replacen("li/?", "li?", 1), "a chain too long stays whole");
}

#[test]
fn a_sealed_redirect_takes_its_domain_from_the_title() {
    let sealed = "https://vertexaisearch.cloud.google.com/grounding-api-redirect/AUZIYQF==";
    let extractor = extractor(&quillmark());
    for (title, domain, class) in [
        (Some("weather.gov"), "weather.gov", SiteClass::Government),
        (Some(" www.bbc.co.uk "), "bbc.co.uk", SiteClass::News),
        (Some("blog.quillmark.example"), "quillmark.example", SiteClass::Own),
        (Some("Weather information. Now"), "google.com", SiteClass::Other),
        (Some("1.2"), "google.com", SiteClass::Other),
        (None, "google.com", SiteClass::Other),
    ] {
        let row = one(&extractor, sealed, title).unwrap();
        assert_eq!((row.canonical_url.as_str(), row.domain.as_str(), row.class), (sealed, domain, class), "{title:?}");
    }
    let open = one(&extractor, "https://x.example", Some("bbc.co.uk")).unwrap();
    assert_eq!(open.domain, "x.example", "a title counts for a sealed link alone");
}

#[test]
fn tracking_goes_and_what_says_the_page_stays() {
    for (raw, page) in [
        (
            "https://x.example/?gbraid=1&wbraid=2&dclid=3&_hsenc=4&_hsmi=5&mc_eid=6&oly_enc_id=7&vero_id=8&mkt_tok=9&igshid=0",
            "https://x.example",
        ),
        ("https://x.example/a?REF_SRC=twsrc&spm=a2.b&yclid=1&id=7", "https://x.example/a?id=7"),
        ("https://x.example/a?utm%5fsource=x&hsa_acc=1&at_medium=2&tag=3", "https://x.example/a?tag=3"),
        ("https://www.amazon.de/dp/B01?tag=x-21&psc=1&pd_rd_w=2", "https://amazon.de/dp/B01?psc=1"),
        ("https://www.google.com/search?q=crm&ved=1&sa=X&ei=2", "https://google.com/search?q=crm"),
        ("https://x.example/search?q=crm&ved=1&sa=X", "https://x.example/search?q=crm&ved=1&sa=X"),
        ("https://x.com/a/status/1?s=20&t=abc", "https://x.com/a/status/1"),
        ("https://youtu.be/dQw4w9WgXcQ?si=abc&t=30", "https://youtube.com/watch?v=dQw4w9WgXcQ&t=30"),
        ("https://www.youtube.com/watch?v=dQw4w9WgXcQ&feature=share", "https://youtube.com/watch?v=dQw4w9WgXcQ"),
        ("https://m.youtube.com/watch?v=dQw4w9WgXcQ", "https://youtube.com/watch?v=dQw4w9WgXcQ"),
        ("https://www.youtube-nocookie.com/embed/dQw4w9WgXcQ?rel=0", "https://youtube.com/watch?v=dQw4w9WgXcQ&rel=0"),
        ("https://youtu.be/", "https://youtu.be"),
        ("https://x.example/%7Ea/%2e%2E/b%2fc%c3%bc/./d/", "https://x.example/b%2fc%c3%bc/d"),
        ("https://ja.wikipedia.org/wiki/美空ひばり?q=é%C3%BC#x", "https://ja.wikipedia.org/wiki/美空ひばり?q=é%C3%BC"),
        ("https://münchen.example/ü%C3%A4/ b", "https://xn--mnchen-3ya.example/ü%C3%A4/%20b"),
        ("https://www.gov.uk/guidance/", "https://gov.uk/guidance"),
        ("https://www.com/a", "https://www.com/a"),
        ("https://x.example/a?ref=perplexity&from=chatgpt.com&source=solar&plcmt=footer", "https://x.example/a?source=solar"),
        ("http://x.example/a/", "http://x.example/a"),
        ("https://x.example/100%", "https://x.example/100%25"),
        ("https://x.example/#/route", "https://x.example"),
    ] {
        assert_eq!(clean(raw), page, "{raw}");
        assert_eq!(clean(page), page, "cleaning twice");
    }
}

#[test]
fn two_spellings_of_a_page_are_one_citation() {
    let text = "https://x.example/%C3%BC%2f and https://x.example/ü%2F and https://x.example/%c3%bc%2F";
    let (rows, _) = extractor(&quillmark()).citations(&run_with(text, Vec::new()));
    assert_eq!(rows.iter().map(|row| row.canonical_url.as_str()).collect::<Vec<_>>(), ["https://x.example/%C3%BC%2f"]);
}

#[test]
fn a_text_fragment_is_the_cited_text() {
    let extractor = extractor(&quillmark());
    for (fragment, text) in [
        ("#:~:text=Best%20CRM", Some("Best CRM")),
        ("#part:~:text=in-,C%2B%2B,and+on,-after", Some("C++ … and+on")),
        ("#:~:text=one%2C%20two&text=three", Some("one, two")),
        ("#:~:text=%E4%BD%A0%E5%A5%BD", Some("你好")),
        ("#:~:text=%ff", Some("\u{fffd}")),
        ("#:~:text=", None),
        ("#:~:text=only-,-prefixes", None),
        ("#top", None),
    ] {
        let row = one(&extractor, &format!("https://x.example/a{fragment}"), None).unwrap();
        assert_eq!((row.canonical_url.as_str(), row.cited_text.as_deref()), ("https://x.example/a", text), "{fragment}");
    }
    let long = format!("https://x.example/#:~:text={}", "a".repeat(5_000));
    assert_eq!(one(&extractor, &long, None).unwrap().cited_text.unwrap().len(), 2_000);
    let quoted = Citation {
        url: "https://x.example/#:~:text=fragment".into(),
        cited_text: Some("The provider's words.".into()),
        ..Citation::default()
    };
    let (rows, _) = extractor.citations(&run_with("https://x.example/#:~:text=other", vec![quoted]));
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].cited_text.as_deref(), Some("The provider's words."));
}

#[test]
fn a_url_beyond_eight_kilobytes_is_dropped_and_counted() {
    let long = format!("https://x.example/{}", "a".repeat(9_000));
    let given = vec![Citation { url: long.clone(), ..Citation::default() }];
    let (rows, dropped) = extractor(&quillmark()).citations(&run_with(&format!("see {long} and https://y.example"), given));
    assert_eq!((rows.len(), dropped.invalid_citations), (1, 2));
    assert_eq!(rows[0].canonical_url, "https://y.example");
}

#[test]
fn classes_of_sites() {
    use SiteClass::{Competitor, Directory, Government, News, Other, Own, Reference, Social};
    let competitor = |name: &str, websites: &[&str]| KnownCompetitor {
        name: name.into(),
        websites: websites.iter().map(|website| (*website).to_owned()).collect(),
        ..KnownCompetitor::default()
    };
    let org = Org {
        websites: ["https://www.quillmark.example", "quill.medium.com", "https://www.linkedin.com/company/quill"]
            .map(str::to_owned)
            .to_vec(),
        competitors: vec![
            competitor("Boxly", &["https://app.boxly.example/en", "shop.boxly.co.uk"]),
            competitor("Both", &["quillmark.example", "https://www.g2.com/products/both"]),
        ],
        ..org("QuillMark")
    };
    let extractor = extractor(&org);
    for (url, class) in [
        ("https://help.quillmark.example", Own),
        ("https://quill.medium.com/a", Own),
        ("https://www.boxly.example/pricing", Competitor),
        ("https://boxly.co.uk", Competitor),
        ("https://notboxly.example", Other),
        ("https://medium.com/@other", Social),
        ("https://www.linkedin.com/company/quill", Social),
        ("https://www.reddit.com/r/CRM/comments/1", Social),
        ("https://youtu.be/dQw4w9WgXcQ", Social),
        ("https://someone.substack.com/p/a", Social),
        ("https://www.bbc.co.uk/news/1", News),
        ("https://www.lemonde.fr/a", News),
        ("https://www.asahi.com/a", News),
        ("https://news.google.com/a", News),
        ("https://www.google.com/search?q=a", Other),
        ("https://maps.google.com/a", Directory),
        ("https://www.google.com/maps/place/a", Directory),
        ("https://play.google.com/store", Directory),
        ("https://scholar.google.com/a", Reference),
        ("https://de.wikipedia.org/wiki/A", Reference),
        ("https://arxiv.org/abs/1", Reference),
        ("https://www.cs.ox.ac.uk/a", Other),
        ("https://web.mit.edu/a", Other),
        ("https://www.anu.edu.au/a", Other),
        ("https://plato.stanford.edu/entries/a", Reference),
        ("https://dspace.mit.edu/a", Reference),
        ("https://library.anu.edu.au/a", Reference),
        ("https://extension.oregonstate.edu/a", Reference),
        ("https://library.x.example/a", Other),
        ("https://www.boxly.de/preise", Competitor),
        ("https://forum.x.example/a", Social),
        ("https://community.bbc.co.uk/a", Social),
        ("https://x.example/forum/a", Social),
        ("https://x.example/forumula", Other),
        ("https://www.gov.uk/forum/a", Government),
        ("https://www.hinterwald-zeitung.de/a", News),
        ("https://zeitungsstaender.de/a", Other),
        ("https://vergleich-strom.de/a", Directory),
        ("https://www.dachziegelvergleich.de/a", Directory),
        ("https://vergleich.example/a", Other),
        ("https://www.test.de/a", News),
        ("https://www.which.co.uk/reviews/a", News),
        ("https://www.nytimes.com/wirecutter/reviews/a", News),
        ("https://learn.microsoft.com/a", Reference),
        ("https://docs.quill.example/a", Other),
        ("https://yandex.ru/maps/org/1", Directory),
        ("https://yandex.ru/search", Other),
        ("https://www.g2.com/products/both", Directory),
        ("https://www.trustpilot.com/review/a", Directory),
        ("https://de.trustpilot.com/review/a", Directory),
        ("https://www.amazon.co.jp/dp/1", Directory),
        ("https://www.yelp.de/biz/a", Directory),
        ("https://www.gartner.com/reviews/market/crm", Directory),
        ("https://www.gartner.com/en/articles/a", Other),
        ("https://pubmed.ncbi.nlm.nih.gov/1", Government),
        ("https://www.gov.uk/a", Government),
        ("https://www.hmrc.gov.uk/a", Government),
        ("https://www.economie.gouv.fr/a", Government),
        ("https://www.meti.go.jp/a", Government),
        ("https://www.mincotur.gob.es/a", Government),
        ("https://www.gob.mx/a", Government),
        ("https://ec.europa.eu/a", Government),
        ("https://www.un.org/a", Government),
        ("https://www.who.int/a", Government),
        ("https://www.navy.mil/a", Government),
        ("https://www.bag.admin.ch/a", Government),
        ("https://www.bmi.bund.de/a", Government),
        ("https://www.canada.ca/a", Government),
        ("https://www.planalto.gov.br/a", Government),
        ("https://gov.example.com/a", Other),
        ("https://government-blog.example/a", Other),
        ("https://name.github.io/a", Other),
        ("http://192.0.2.7/a", Other),
        ("https://localhost/a", Other),
    ] {
        let row = one(&extractor, url, None).unwrap();
        assert_eq!(row.class, class, "{url}");
    }
}

/// URLs out of the pieces that the rules react to.
fn url_text() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "https://",
        "http://",
        "HTTPS://",
        "www.",
        "google.com/url?q=",
        "bing.com/ck/a?u=a1",
        "href.li/?",
        "x.example",
        "/a",
        "//",
        "/../",
        "?",
        "&",
        "=",
        "#",
        ":~:text=",
        "%",
        "%2",
        "%41",
        "%2541",
        "%2e",
        "%C3%BC",
        "%25",
        "utm_source=x",
        "utm%5Fid",
        "q=",
        "youtu.be/",
        "youtube.com/watch?v=",
        "youtube.com/embed/",
        "abcdefgh",
        "web.archive.org/web/2024/",
        "google.com/amp/s/",
        "l.facebook.com/l.php?u=",
        "https%3A%2F%2F",
        "@",
        ":80",
        ":443",
        ".",
        "münchen.de",
        "xn--",
        "日本",
        "🦊",
        " ",
        "+",
        ",",
        "-",
    ]);
    prop::collection::vec(prop_oneof![9 => pieces.prop_map(str::to_owned), 1 => any::<String>()], 1..12)
        .prop_map(|pieces| format!("https://{}", pieces.concat()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_048))]

    #[test]
    fn cleaning_twice_is_cleaning_once(raw in url_text()) {
        let extractor = shared();
        if let Some(row) = one(extractor, &raw, None) {
            let again = one(extractor, &row.canonical_url, None).unwrap();
            prop_assert_eq!(&again.canonical_url, &row.canonical_url);
            prop_assert_eq!((again.domain, again.class), (row.domain, row.class));
        }
    }
}

fn shared() -> &'static Extractor {
    static EXTRACTOR: std::sync::LazyLock<Extractor> = std::sync::LazyLock::new(|| extractor(&quillmark()));
    &EXTRACTOR
}
