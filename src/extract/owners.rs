//! Whose websites are whose: the org's own, its competitors', and the national sites that a competitor's entry does not list.
//!
//! Judges hosts only, by the org's entry; what kind of site any other is stands in `classes`. Resolves and fetches nothing.

use super::classes;
use super::competitors::compact;
use super::table::Names;
use super::web::{Site, Website};
use crate::domain::{KnownCompetitor, SiteClass};

/// Fewest letters of a website's name that tells its owner under another country's suffix: `ing` does, `hp` could be anybody.
const LEAST_SITE_NAME: usize = 3;
/// Fewest letters of a brand's name that tells its owner: one word, several words. Short words are too often somebody else's site.
const LEAST_BRAND_NAME: (usize, usize) = (8, 6);
/// Suffixes of countries that anybody uses for what they stand for.
const GENERIC: &[&str] =
    &["ac", "ai", "cc", "co", "fm", "gg", "im", "io", "la", "ly", "me", "sh", "so", "st", "to", "tv", "vc", "ws"];

/// Hosts and registrable domains of the org and its competitors.
#[derive(Debug, Default)]
pub(super) struct Owners {
    own: Names,
    rivals: Names,
    /// What stands before the public suffix of competitors' websites, and their brands written as a host would be.
    rival_names: Names,
}

impl Owners {
    /// Of the org's websites and of its competitors' entries.
    pub(super) fn new(own: impl IntoIterator<Item = Website>, rivals: &[KnownCompetitor]) -> Self {
        let own: Names = own.into_iter().map(|website| website.domain).collect();
        let websites = rivals.iter().flat_map(|known| &known.websites).filter_map(|website| Website::read(website));
        let rivals_domains: Names = websites.map(|website| website.domain).collect();
        let mut rival_names: Names = rivals_domains
            .iter()
            .filter_map(|domain| {
                let site = Site::of(domain);
                // `aws.amazon.com` is theirs, `amazon.*` is not.
                site.name.filter(|name| site.domain == domain && name.len() >= LEAST_SITE_NAME).map(str::to_owned)
            })
            .collect();
        rival_names.extend(
            rivals.iter().flat_map(|known| std::iter::once(&known.name).chain(&known.aliases)).filter_map(|brand| as_host(brand)),
        );
        for domain in &own {
            rival_names.remove(Site::of(domain).name.unwrap_or_default());
        }
        Self { own, rivals: rivals_domains, rival_names }
    }

    /// `None` for everybody else's.
    pub(super) fn class(&self, host: &str, domain: &str) -> Option<SiteClass> {
        let has = |sites: &Names| sites.contains(domain) || sites.contains(host);
        if has(&self.own) {
            return Some(SiteClass::Own);
        }
        let is_theirs = has(&self.rivals) || (self.names_a_rival(domain) && self.is_national_site(&Site::of(host)));
        is_theirs.then_some(SiteClass::Competitor)
    }

    /// The first label of a domain is a competitor's name: nearly no domain goes further.
    fn names_a_rival(&self, domain: &str) -> bool {
        let name = domain.split_once('.').map_or(domain, |(name, _)| name);
        !self.rival_names.is_empty() && (self.rival_names.contains(name) || name.contains('-'))
    }

    /// A competitor's name under the suffix of another country (`axa.es` beside a configured `axa.com`), unless the data file knows
    /// the site as something else.
    fn is_national_site(&self, site: &Site<'_>) -> bool {
        let Some(name) = site.name else { return false };
        let known =
            || self.rival_names.contains(name) || (name.contains('-') && self.rival_names.contains(&name.replace('-', "")));
        known() && is_national(site) && !classes::is_listed(site)
    }
}

/// `com`, `eu`, a country's suffix, or its commercial one (`co.uk`, `com.br`).
fn is_national(site: &Site<'_>) -> bool {
    let public = psl::suffix(site.domain.as_bytes()).is_some_and(|suffix| suffix.typ() == Some(psl::Type::Icann));
    let Some((_, suffix)) = site.domain.split_once('.').filter(|_| public) else { return false };
    let is_country = |label: &str| label.len() == 2 && !GENERIC.contains(&label);
    match suffix.split_once('.') {
        None => suffix == "com" || is_country(suffix),
        Some((first, country)) => matches!(first, "co" | "com") && country.len() == 2,
    }
}

/// A brand as the name of a host: small letters and digits; `None` for what is not written so or too short to mean one firm.
fn as_host(brand: &str) -> Option<String> {
    let words = brand.split_whitespace().count();
    let least = if words > 1 { LEAST_BRAND_NAME.1 } else { LEAST_BRAND_NAME.0 };
    Some(compact(brand)).filter(|name| name.len() >= least && name.is_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rival(name: &str, aliases: &[&str], websites: &[&str]) -> KnownCompetitor {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        KnownCompetitor { name: name.into(), aliases: texts(aliases), websites: texts(websites), ..KnownCompetitor::default() }
    }

    #[test]
    fn a_competitor_s_national_site_is_the_competitor_s() {
        let rivals = [
            rival("AXA", &[], &["https://www.axa.com"]),
            rival("Allianz", &[], &["https://allianz.de"]),
            rival("HP", &[], &["hp.com"]),
            rival("Cloud", &["Alibaba Cloud", "Wave"], &["https://www.aliyun.com", "https://aws.amazon.com"]),
            rival("Universal Robots", &["Boxly"], &[]),
            rival("Guardian", &[], &["guardian.com"]),
            rival("Amazon", &[], &[]),
            rival("Shop", &[], &["ebay.com"]),
            rival("Quill", &[], &["quill.com"]),
        ];
        let owners = Owners::new(Website::read("https://www.quill.fr"), &rivals);
        for (host, theirs) in [
            ("axa.es", true),
            ("versicherung.axa.co.uk", true),
            ("axa.com.tr", true),
            ("axa.eu", true),
            ("axa.io", false),
            ("axa.org", false),
            ("axa.app", false),
            ("axa.github.io", false),
            ("axa.gov.uk", false),
            ("notaxa.es", false),
            ("allianz.com", true),
            ("hp.de", false),
            ("alibabacloud.com", true),
            ("alibaba-cloud.com", true),
            ("wave.com", false),
            ("cloud.com", false),
            ("boxly.com", false),
            ("universal-robots.com", true),
            ("aws.amazon.com", true),
            ("amazon.com", false),
            ("amazon.de", false),
            ("ebay.de", true),
            ("guardian.co.uk", false),
            ("quill.de", false),
        ] {
            let class = owners.class(host, Site::of(host).domain);
            assert_eq!(class, theirs.then_some(SiteClass::Competitor), "{host}");
        }
        assert_eq!(owners.class("shop.quill.fr", "quill.fr"), Some(SiteClass::Own));
    }
}
