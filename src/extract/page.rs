//! An http(s) URL taken apart. A plain one (small letters, no port, no escapes in its path) is read by hand and nothing is copied; any
//! other by the `url` crate. Both give the same parts. Judges no host and cleans nothing; see `web`.

use std::borrow::Cow;

use url::{Host, Url};

/// The parts of a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Page<'a> {
    /// `http` or `https`.
    pub(super) scheme: &'static str,
    /// Without `www.` and without a final dot, lower-case ASCII; an IP address as it is.
    pub(super) host: Cow<'a, str>,
    /// `None`: the scheme's own.
    pub(super) port: Option<u16>,
    /// Begins with a slash.
    pub(super) path: Cow<'a, str>,
    /// Without the question mark.
    pub(super) query: Option<Cow<'a, str>>,
    /// Without the number sign.
    pub(super) fragment: Option<Cow<'a, str>>,
}

impl<'a> Page<'a> {
    /// `None` when it is no http(s) URL.
    pub(super) fn read(raw: &'a str) -> Option<Self> {
        Self::plain(raw).or_else(|| Page::parsed(raw))
    }

    /// By hand; `None` when it is not plain.
    fn plain(raw: &'a str) -> Option<Self> {
        let (scheme, rest) = match raw.strip_prefix("https://") {
            Some(rest) => ("https", rest),
            None => ("http", raw.strip_prefix("http://")?),
        };
        let bytes = rest.as_bytes();
        let length = run(bytes, HOST);
        let host = rest.get(..length).filter(|host| is_plain_host(host))?;
        let path = rest.get(length..)?;
        let (path, rest) = path.split_at_checked(run(path.as_bytes(), PATH))?;
        if !(path.is_empty() || path.starts_with('/')) || path.contains("/.") {
            return None;
        }
        let (query, rest) = match rest.strip_prefix('?') {
            Some(query) => query.split_at_checked(run(query.as_bytes(), QUERY)).map(|(query, rest)| (Some(query), rest))?,
            None => (None, rest),
        };
        let fragment = match rest.strip_prefix('#') {
            Some(fragment) => Some(fragment).filter(|fragment| run(fragment.as_bytes(), QUERY) == fragment.len()),
            None => None,
        };
        if fragment.is_none() && !rest.is_empty() {
            return None;
        }
        Some(Self {
            scheme,
            host: Cow::Borrowed(without_www(host)),
            port: None,
            path: Cow::Borrowed(if path.is_empty() { "/" } else { path }),
            query: query.map(Cow::Borrowed),
            fragment: fragment.map(Cow::Borrowed),
        })
    }
}

impl Page<'static> {
    /// By the `url` crate.
    pub(super) fn parsed(raw: &str) -> Option<Self> {
        let url = Url::parse(raw).ok()?;
        let scheme = match url.scheme() {
            "https" => "https",
            "http" => "http",
            _ => return None,
        };
        let host = plain_host(&url)?;
        let owned = |text: &str| Cow::Owned(text.to_owned());
        Some(Self {
            scheme,
            host: Cow::Owned(host),
            port: url.port(),
            path: owned(url.path()),
            query: url.query().map(owned),
            fragment: url.fragment().map(owned),
        })
    }
}

/// The host without `www.` and without a final dot; an IP address as it is.
pub(super) fn plain_host(url: &Url) -> Option<String> {
    match url.host()? {
        Host::Domain(domain) => {
            let bare = domain.trim_end_matches('.');
            // `0..` is a name and `0` an address: what is written down must be read as the same again.
            let is_name = domain.len() - bare.len() < 2 || matches!(Host::parse(bare), Ok(Host::Domain(_)));
            let host = without_www(bare);
            (is_name && !host.is_empty()).then(|| host.to_owned())
        }
        address => Some(address.to_string()),
    }
}

/// `gov.uk` is a public suffix and a site; `www.com` is one.
fn without_www(mut host: &str) -> &str {
    while let Some(rest) = host.strip_prefix("www.").filter(|rest| rest.contains('.')) {
        host = rest;
    }
    host
}

/// Small letters, digits, dots and single hyphens in labels that the rules of international names leave alone, and no number at the end.
fn is_plain_host(host: &str) -> bool {
    let label = |label: &str| (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-');
    host.len() <= 253
        && !host.contains("--")
        && host.split('.').all(label)
        && host.rsplit('.').next().is_some_and(|last| last.starts_with(|first: char| first.is_ascii_alphabetic()))
}

const HOST: u8 = 1;
const PATH: u8 = 2;
const QUERY: u8 = 4;

/// In which parts a byte stands as it is.
static PLAIN: [u8; 256] = table();

#[allow(clippy::indexing_slicing, reason = "a constant: checked when the crate is built")]
const fn table() -> [u8; 256] {
    let mut table = [0; 256];
    let (both, signs) = (PATH | QUERY, b"-_.~/+,:@=!$&*();");
    let mut at = 0;
    while at < signs.len() {
        table[signs[at] as usize] = both;
        at += 1;
    }
    let mut byte = 0;
    while byte < 128 {
        let sign = byte as u8;
        if sign.is_ascii_lowercase() || sign.is_ascii_digit() {
            table[byte] = both | HOST;
        } else if sign.is_ascii_uppercase() {
            table[byte] = both;
        }
        byte += 1;
    }
    table[b'-' as usize] |= HOST;
    table[b'.' as usize] |= HOST;
    table[b'%' as usize] |= QUERY;
    table[b'?' as usize] |= QUERY;
    table
}

/// Length of the run of bytes of a part.
fn run(bytes: &[u8], part: u8) -> usize {
    bytes.iter().position(|byte| PLAIN.get(usize::from(*byte)).is_none_or(|parts| parts & part == 0)).unwrap_or(bytes.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_not_plain_is_left_to_the_parser() {
        for raw in [
            "https://1.2.3.4/",
            "https://a.0x1/",
            "https://a..b/",
            "https://a.b./",
            "https://xn--a.example/",
            "https://A.example/",
            "https://a.example:80/",
            "https://u@a.example/",
            "https://a.example/%7e",
            "https://a.example/b/../c",
            "https://a.example/é",
            "https://a.example/b\tc",
            "https:///a.example",
            "https://a.example/?q='",
            "ftp://a.example/",
            "https://",
        ] {
            assert_eq!(Page::plain(raw), None, "{raw}");
        }
        let page = Page::plain("https://www.a-b.example/c?d=%41&e#:~:text=f").unwrap();
        assert_eq!((&*page.host, &*page.path, page.query.as_deref()), ("a-b.example", "/c", Some("d=%41&e")));
        assert!(matches!(page.host, Cow::Borrowed(_)));
    }

    #[test]
    fn a_name_that_ends_in_dots_is_no_address() {
        assert_eq!(Page::read("http://a.example../b").unwrap().host, "a.example");
        assert_eq!(Page::read("http://0../b"), None);
        assert_eq!(Page::read("http://a.example.0x1../b"), None);
    }

    fn url() -> impl Strategy<Value = String> {
        let pieces = prop::collection::vec("[a-c1-3A-C.~/?#&=%@:';_ é<>|^`\\\\\\[-]{0,3}|www\\.|com|/\\.|//|xn--|0x1", 0..12);
        ("https?://", "([a-c]{1,4}\\.)?([a-c1-3-]{0,4}\\.)?(example|com|co\\.uk|1|x)?", pieces)
            .prop_map(|(scheme, host, pieces)| scheme + &host + &pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_096))]

        #[test]
        fn by_hand_is_as_by_the_parser(raw in prop_oneof![url(), "https?://\\PC{0,20}"]) {
            if let Some(plain) = Page::plain(&raw) {
                prop_assert_eq!(Some(plain), Page::parsed(&raw));
            }
        }
    }
}
