//! Query parameters that only say where a reader came from, from a data file (`data/tracking.txt`, which says what its entries mean).
//!
//! Knows nothing of hosts but what [`Site`] tells; parses no URL.

use std::borrow::Cow;
use std::sync::LazyLock;

use super::percent;
use super::table::{Set, Table};
use super::web::Site;

static RULES: LazyLock<Rules> = LazyLock::new(|| read(include_str!("data/tracking.txt")));

/// What the file says.
#[derive(Debug, Default)]
struct Rules {
    /// By section: `*`, a registrable domain, or `name.*`.
    sites: Table<Names>,
    /// The names of sections `name.*`, with the section.
    wild: Table<&'static str>,
    /// Parameters that track when their value is a referrer.
    ambiguous: Set,
    /// Parameters that number a campaign or, on a page that a script makes, its contents.
    numbers: Set,
    /// Words of referrers.
    referrers: Set,
}

#[derive(Debug, Default)]
struct Names {
    whole: Set,
    beginnings: Vec<&'static str>,
    /// Not tracking on this site, whatever holds elsewhere.
    kept: Set,
}

impl Names {
    fn hold(&self, name: &str) -> bool {
        let first = name.as_bytes().first();
        let begins = |beginning: &&str| beginning.as_bytes().first() == first && name.starts_with(*beginning);
        self.whole.contains(name) || self.beginnings.iter().any(begins)
    }
}

fn read(data: &'static str) -> Rules {
    let mut rules = Rules::default();
    let mut section = "";
    for line in data.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name;
            continue;
        }
        let words = line.split_whitespace();
        match section {
            "by value" => rules.ambiguous.extend(words),
            "by page" => rules.numbers.extend(words),
            "referrers" => rules.referrers.extend(words),
            _ => {
                rules.wild.extend(section.strip_suffix(".*").map(|name| (name, section)));
                let names = rules.sites.entry(section).or_default();
                for name in words {
                    match (name.strip_suffix('*'), name.strip_prefix('!')) {
                        (Some(beginning), _) => names.beginnings.push(beginning),
                        (None, Some(kept)) => drop(names.kept.insert(kept)),
                        (None, None) => drop(names.whole.insert(name)),
                    }
                }
            }
        }
    }
    rules
}

/// The parameters of a query that say which page it is, in their order; empty ones go too. `path`: that of the page.
pub(super) fn kept(query: &str, path: &str, site: &Site<'_>) -> String {
    let query = percent::plain(query);
    let rules = &*RULES;
    let everywhere = rules.sites.get("*");
    let wild = || site.name.and_then(|name| rules.wild.get(name)).and_then(|section| rules.sites.get(section));
    let here = rules.sites.get(site.domain).or_else(wild);
    let tracks = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = lower(name);
        if here.is_some_and(|names| names.kept.contains(&*name)) {
            return false;
        }
        [everywhere, here].into_iter().flatten().any(|names| names.hold(&name))
            || (rules.ambiguous.contains(&*name) && is_referrer(value))
            || (rules.numbers.contains(&*name) && !is_content(value, path))
    };
    let mut kept = String::with_capacity(query.len());
    for pair in query.split('&').filter(|pair| !pair.is_empty() && !tracks(pair)) {
        if !kept.is_empty() {
            kept.push('&');
        }
        kept.push_str(pair);
    }
    kept
}

fn lower(text: &str) -> Cow<'_, str> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) { Cow::Owned(text.to_ascii_lowercase()) } else { Cow::Borrowed(text) }
}

/// The value says who sent the reader: a host name, or a referrer by one of its words (`perplexity_ai`, `footer-nav`).
fn is_referrer(value: &str) -> bool {
    let value = lower(value);
    let mut words = value.split(|character: char| !character.is_ascii_alphanumeric());
    words.any(|word| RULES.referrers.contains(word)) || is_host(&value)
}

/// `chatgpt.com`: known to the public suffix list, and no number or version.
fn is_host(value: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
    value.len() <= 253
        && value.bytes().all(plain)
        && value.starts_with(|first: char| first.is_ascii_alphabetic())
        && psl::suffix(value.as_bytes()).is_some_and(|suffix| suffix.is_known())
        && psl::domain_str(value).is_some()
}

/// A bare number that a script may need to know its page: no campaign where the path alone does not name one.
fn is_content(value: &str, path: &str) -> bool {
    let last = path.rsplit('/').next().unwrap_or_default();
    let by_script = last.rsplit_once('.').map_or(last.is_empty(), |(_, extension)| !matches!(extension, "html" | "htm"));
    by_script && !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_file_reads() {
        let rules = &*RULES;
        assert!(rules.sites.len() > 15 && !rules.sites.contains_key(""));
        assert!(rules.ambiguous.contains("ref") && rules.numbers.contains("cid") && rules.referrers.contains("chatgpt"));
        let everywhere = &rules.sites["*"];
        assert!(everywhere.hold("utm_source") && everywhere.hold("gclid") && !everywhere.hold("id") && !everywhere.hold("ref"));
        for (section, names) in &rules.sites {
            assert!(names.beginnings.iter().all(|beginning| beginning.len() > 2), "[{section}] would strip nearly all");
            let lower = |name: &&str| !name.contains(['*', '!']) && name.to_lowercase() == **name;
            assert!(names.whole.iter().chain(&names.kept).all(lower), "[{section}]");
        }
    }

    #[test]
    fn a_parameter_with_two_meanings_goes_by_its_value() {
        let site = Site::of("x.example");
        for (query, path, left) in [
            ("ref=perplexity", "/a", ""),
            ("REF=ChatGPT.com&from=doubao&source=footer-nav", "/a", ""),
            ("ref=main&source=solar&from=2024-01-01", "/a", "ref=main&source=solar&from=2024-01-01"),
            ("from=EUR&to=USD", "/a", "from=EUR&to=USD"),
            ("ref=v1.2.3&source=&from=1.5", "/a", "ref=v1.2.3&source=&from=1.5"),
            ("cid=rss_news", "/a.php", ""),
            ("cid=12", "/pricing", ""),
            ("cid=12", "/pricing.html", ""),
            ("cid=12", "/list.php", "cid=12"),
            ("cid=12", "", "cid=12"),
            ("share_id=1&trackingId=2%3D&plcmt=footer", "/a", ""),
        ] {
            assert_eq!(kept(query, path, &site), left, "{query}");
        }
        assert_eq!(kept("cid=77", "/maps", &Site::of("google.com")), "cid=77", "a place");
        assert_eq!(kept("ref=feed", "/a/b/blob", &Site::of("github.com")), "ref=feed", "a branch");
    }
}
