//! URLs and host names made comparable: canonical form, registrable domain, the org's own websites.
//!
//! Fetches nothing and resolves nothing. Hosts are ASCII (IDNA) as the `url` crate writes them; registrable domains follow the
//! public suffix list of the `psl` crate, its private part included (`name.github.io` is a domain of its own).

use url::{Host, Url};

/// Query parameters that say where a reader came from, beside every `utm_…`. Names in lower case.
const TRACKING: &[&str] = &[
    "_ga",
    "_gl",
    "_hsenc",
    "_hsmi",
    "dclid",
    "fbclid",
    "gad_source",
    "gbraid",
    "gclid",
    "gclsrc",
    "hsctatracking",
    "igshid",
    "li_fat_id",
    "mc_cid",
    "mc_eid",
    "mkt_tok",
    "msclkid",
    "oly_anon_id",
    "oly_enc_id",
    "srsltid",
    "ttclid",
    "twclid",
    "vero_id",
    "wbraid",
    "yclid",
];

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
    /// Registrable domain, lower case; the host where there is none.
    pub(super) domain: String,
    /// Its path ends like an image's.
    pub(super) image: bool,
}

/// Cleans an http(s) URL: tracking parameters, fragment (text fragments too), user info, `www.`, default port and trailing
/// slashes go, the host becomes lower-case ASCII. Cleaning a cleaned URL changes nothing. `None` for anything else.
pub(super) fn canonical(raw: &str) -> Option<Canonical> {
    let url = Url::parse(raw.trim()).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
    let host = plain_host(&url)?;
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let path = url.path().trim_end_matches('/');
    let query =
        url.query().map(kept_parameters).filter(|query| !query.is_empty()).map(|query| format!("?{query}")).unwrap_or_default();
    let image = path.rsplit_once('.').is_some_and(|(_, extension)| {
        let extension = extension.to_ascii_lowercase();
        matches!(extension.as_str(), "png" | "jpg" | "jpeg" | "gif" | "svg" | "webp" | "ico" | "bmp" | "avif" | "tiff")
    });
    Some(Canonical { url: format!("{}://{host}{port}{path}{query}", url.scheme()), domain: registrable(&host), image })
}

fn kept_parameters(query: &str) -> String {
    let kept = query.split('&').filter(|pair| {
        let name = url::form_urlencoded::parse(pair.as_bytes()).next().map(|(name, _)| name.to_lowercase()).unwrap_or_default();
        !pair.is_empty() && !name.starts_with("utm_") && !TRACKING.contains(&name.as_str())
    });
    kept.collect::<Vec<_>>().join("&")
}

/// The host without `www.` and without a final dot; an IP address as it is.
fn plain_host(url: &Url) -> Option<String> {
    match url.host()? {
        Host::Domain(domain) => {
            let mut host = domain.trim_end_matches('.');
            while let Some(rest) = host.strip_prefix("www.").filter(|rest| psl::domain_str(rest).is_some()) {
                host = rest;
            }
            (!host.is_empty()).then(|| host.to_owned())
        }
        address => Some(address.to_string()),
    }
}

/// Registrable domain of a host; the host itself for an address, a bare public suffix or a single label.
fn registrable(host: &str) -> String {
    let is_address = host.starts_with('[') || host.parse::<std::net::Ipv4Addr>().is_ok();
    if is_address { host.to_owned() } else { psl::domain_str(host).unwrap_or(host).to_owned() }
}

/// A website of the org.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Website {
    /// Host without `www.`, ASCII.
    pub(super) host: String,
    /// Registrable domain, ASCII.
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
        let domain = registrable(&host);
        if url.path() != "/" && SHARED_SITES.contains(&domain.as_str()) {
            return None;
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
