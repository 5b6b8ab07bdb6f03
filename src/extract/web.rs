//! URLs and host names made comparable: canonical form, registrable domain, the org's own websites.
//!
//! Fetches nothing and resolves nothing. Hosts are ASCII (IDNA, `xn--…`) as the `url` crate writes them, in canonical URLs, domains
//! and comparisons alike; registrable domains follow the public suffix list of the `psl` crate, its private part included
//! (`name.github.io` is a domain of its own, `name.medium.com` is not).

use std::borrow::Cow;

use url::{Url, form_urlencoded};

use super::page::{Page, plain_host};
use super::{classes, percent, redirects, tracking};
use crate::domain::SiteClass;

/// Longest URL that is looked at, in bytes.
pub(super) const MAX_URL: usize = 8 * 1024;
/// Redirects in redirects that are unwrapped; a longer chain stays as it is.
const MAX_UNWRAPPED: usize = 3;
/// Longest text of a fragment that is kept, in characters.
const MAX_CITED_TEXT: usize = 2_000;

/// Sites that host other people's pages: a page there makes the site nobody's own.
const SHARED_SITES: &[&str] = &[
    "amazon.com",
    "apple.com",
    "capterra.com",
    "crunchbase.com",
    "etsy.com",
    "facebook.com",
    "g2.com",
    "github.com",
    "google.com",
    "instagram.com",
    "linkedin.com",
    "medium.com",
    "pinterest.com",
    "reddit.com",
    "tiktok.com",
    "tripadvisor.com",
    "trustpilot.com",
    "twitter.com",
    "wikipedia.org",
    "x.com",
    "yelp.com",
    "youtube.com",
];

/// A cleaned URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Canonical {
    /// The URL.
    pub(super) url: String,
    /// Host without `www.`.
    pub(super) host: String,
    /// Registrable domain, lower case; the host where there is none.
    pub(super) domain: String,
    /// By the data file alone.
    pub(super) class: SiteClass,
    /// Its path ends like an image's.
    pub(super) image: bool,
    /// A redirect whose target is sealed: host and domain say nothing of the page.
    pub(super) sealed: bool,
    /// The words of its text fragment.
    pub(super) cited_text: Option<String>,
}

impl Canonical {
    /// What two spellings of one page share: the URL without its scheme, its percent-encodings in one form.
    pub(super) fn page(&self) -> Cow<'_, str> {
        let page = self.url.strip_prefix("https://").or_else(|| self.url.strip_prefix("http://"));
        percent::comparable(page.unwrap_or(&self.url))
    }
}

/// Host and domain of a page, and what the public suffix list says of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Site<'a> {
    /// Host without `www.`, lower-case ASCII.
    pub(super) host: &'a str,
    /// Registrable domain; the host for an address, a bare public suffix or a single label.
    pub(super) domain: &'a str,
    /// What stands before the public suffix; `None` without a registrable domain.
    pub(super) name: Option<&'a str>,
    /// First label of a public suffix of several (`gov` of `gov.uk`).
    pub(super) suffix_name: Option<&'a str>,
}

impl<'a> Site<'a> {
    /// Of a plain host.
    pub(super) fn of(host: &'a str) -> Self {
        let is_address = host.starts_with('[') || host.ends_with(|last: char| last.is_ascii_digit());
        let domain = if is_address && (host.starts_with('[') || host.parse::<std::net::Ipv4Addr>().is_ok()) {
            None
        } else {
            psl::domain_str(host)
        };
        let name = domain.and_then(|domain| domain.split('.').next());
        let suffix = match (domain, name) {
            (Some(domain), Some(name)) => domain.get(name.len() + 1..),
            _ if is_address => None,
            _ => Some(host),
        };
        let suffix_name = suffix.and_then(|suffix| suffix.split_once('.')).map(|(first, _)| first);
        Self { host, domain: domain.unwrap_or(host), name, suffix_name }
    }
}

/// Cleans an http(s) URL: redirects are unwrapped; tracking parameters, fragment, user info, `www.`, default port and trailing
/// slashes go, the host becomes lower-case ASCII, needless percent-encodings (of unreserved characters) plain, and a video of
/// `youtu.be` its page on `youtube.com`. What is written raw beyond ASCII stays raw and what is encoded stays encoded:
/// [`Canonical::page`] makes the two equal. Cleaning a cleaned URL changes nothing. `None` for anything else, and beyond [`MAX_URL`].
pub(super) fn canonical(raw: &str) -> Option<Canonical> {
    let raw = raw.trim();
    if raw.len() > MAX_URL {
        return None;
    }
    let given = Page::read(raw)?;
    let mut cited_text = None;
    let mut last: Option<Page<'static>> = None;
    for unwrapped in 0..=MAX_UNWRAPPED {
        let page = last.as_ref().unwrap_or(&given);
        cited_text = page.fragment.as_deref().and_then(text_fragment).or(cited_text);
        let next =
            redirects::target(&page.path, page.query.as_deref(), &Site::of(&page.host)).and_then(|target| Page::parsed(&target));
        match next {
            Some(_) if unwrapped == MAX_UNWRAPPED => last = None,
            Some(next) => last = Some(next),
            None => break,
        }
    }
    Some(written(last.unwrap_or(given), &percent::raw_characters(raw), cited_text))
}

/// `raw`: the characters beyond ASCII that the answer writes as they are.
fn written(page: Page<'_>, raw: &[char], cited_text: Option<String>) -> Canonical {
    let Page { scheme, host, port, path, query, .. } = page;
    let path = percent::plain(&path);
    let (host, path, query) = match video(&host, &path, query.as_deref()) {
        Some((id, rest)) => ("youtube.com".to_owned(), Cow::Borrowed("/watch"), Some(Cow::Owned(format!("v={id}&{rest}")))),
        None => (host.into_owned(), path, query),
    };
    let site = Site::of(&host);
    let path = path.trim_end_matches('/');
    let query = query.map(|query| tracking::kept(&query, path, &site)).filter(|query| !query.is_empty());
    let mut clean = String::with_capacity(16 + host.len() + path.len() + query.as_ref().map_or(0, String::len));
    clean.push_str(scheme);
    clean.push_str("://");
    clean.push_str(&host);
    if let Some(port) = port {
        clean.push_str(&format!(":{port}"));
    }
    clean.push_str(&percent::as_written(path, raw));
    if let Some(query) = query {
        clean.push('?');
        clean.push_str(&percent::as_written(&query, raw));
    }
    Canonical {
        class: classes::of(&site, path),
        domain: site.domain.to_owned(),
        image: is_image(path),
        sealed: site.host == "vertexaisearch.cloud.google.com" && path.starts_with("/grounding-api-redirect/"),
        url: clean,
        host,
        cited_text,
    }
}

/// Id and other parameters of a video that is named in the path (`youtu.be/ID`, `youtube.com/embed/ID`), or on another host of
/// the same site (`m.youtube.com/watch?v=ID`).
fn video<'a>(host: &str, path: &'a str, query: Option<&'a str>) -> Option<(&'a str, &'a str)> {
    let query = query.unwrap_or_default();
    let id = match host {
        "youtu.be" => path.strip_prefix('/')?,
        "youtube.com" | "m.youtube.com" | "youtube-nocookie.com" => match path.strip_prefix("/embed/") {
            Some(id) => id,
            None if host == "m.youtube.com" && path == "/watch" => {
                let (id, rest) = query.strip_prefix("v=")?.split_once('&').unwrap_or((query.strip_prefix("v=")?, ""));
                return is_video(id).then_some((id, rest));
            }
            None => return None,
        },
        _ => return None,
    };
    let id = id.trim_end_matches('/');
    (is_video(id) && !query.split('&').any(|pair| pair.starts_with("v="))).then_some((id, query))
}

fn is_video(id: &str) -> bool {
    (6..=20).contains(&id.len())
        && id != "videoseries"
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// A page about a picture (`/wiki/File:Box.jpg`) is a page.
fn is_image(path: &str) -> bool {
    path.rsplit_once('.').is_some_and(|(before, extension)| {
        let extension = extension.to_ascii_lowercase();
        let picture =
            matches!(extension.as_str(), "png" | "jpg" | "jpeg" | "gif" | "svg" | "webp" | "ico" | "bmp" | "avif" | "tiff");
        picture && !before.contains("/wiki/")
    })
}

/// The words of a text fragment (`:~:text=[prefix-,]start[,end][,-suffix]`), decoded, start and end joined by ` … `; `None` when
/// there are none.
fn text_fragment(fragment: &str) -> Option<String> {
    let (_, directives) = fragment.split_once(":~:")?;
    let directive = directives.split('&').find_map(|directive| directive.strip_prefix("text="))?;
    let parts = directive.split(',').filter(|part| !part.ends_with('-') && !part.starts_with('-') && !part.is_empty());
    // A plus is a plus here, not a blank as in a form.
    let decode = |part: &str| {
        let pair = format!("t={}", part.replace('+', "%2B"));
        form_urlencoded::parse(pair.as_bytes()).next().map(|(_, text)| text.into_owned())
    };
    let words: Vec<String> = parts.filter_map(decode).collect();
    let words: String = words.join(" … ").trim().chars().take(MAX_CITED_TEXT).collect();
    (!words.is_empty()).then_some(words)
}

/// The host that a title names, when it is nothing but a host name (`acme.example`).
pub(super) fn named_host(title: &str) -> Option<String> {
    let title = title.trim();
    let plain = |character: char| character.is_alphanumeric() || matches!(character, '.' | '-');
    if title.len() > 253 || !title.contains('.') || !title.chars().all(plain) {
        return None;
    }
    let host = Page::parsed(&format!("https://{title}"))?.host.into_owned();
    let last = host.rsplit('.').next()?;
    (psl::domain_str(&host).is_some() && last.starts_with(|first: char| first.is_ascii_alphabetic())).then_some(host)
}

/// A website of the org.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Website {
    /// Host without `www.`, ASCII.
    pub(super) host: String,
    /// Registrable domain, ASCII; on a site of other people's pages the host.
    pub(super) domain: String,
    /// The host as people write it (an IDN in its own script when it was given so).
    pub(super) shown_host: String,
    /// The registrable domain as people write it.
    pub(super) shown_domain: String,
    /// First label of `shown_domain`.
    pub(super) label: String,
}

impl Website {
    /// Reads a URL or a bare host name; `None` when it is neither, or a page on a site such as `linkedin.com/company/…`.
    pub(super) fn read(text: &str) -> Option<Self> {
        let text = text.trim();
        let lower = text.to_lowercase();
        let bare = lower.strip_prefix("https://").or_else(|| lower.strip_prefix("http://")).unwrap_or(&lower);
        let url = Url::parse(&format!("https://{bare}")).ok()?;
        let host = plain_host(&url)?;
        let mut domain = Site::of(&host).domain.to_owned();
        if SHARED_SITES.contains(&domain.as_str()) {
            if url.path() != "/" {
                return None;
            }
            // `acme.medium.com` is Acme's, `medium.com` is not.
            domain.clone_from(&host);
        }
        let given = bare.split(['/', '?', '#']).next()?.rsplit('@').next()?;
        let given = given.split(':').next()?.trim_end_matches('.');
        let labels: Vec<&str> = given.split('.').collect();
        let last = |count: usize| labels.get(labels.len().checked_sub(count)?..).map(|labels| labels.join("."));
        let shown_host = last(host.split('.').count()).unwrap_or_else(|| host.clone());
        let shown_domain = last(domain.split('.').count()).unwrap_or_else(|| domain.clone());
        let label = shown_domain.split('.').next()?.to_owned();
        Some(Self { host, domain, shown_host, shown_domain, label })
    }
}
