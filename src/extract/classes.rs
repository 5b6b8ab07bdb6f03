//! What kind of site a page stands on, from a data file (`data/sites.txt`, which says what its entries mean).
//!
//! Own and competitor are not decided here: `citations` asks the org's entry first.

use std::sync::LazyLock;

use super::table::Table;
use super::web::Site;
use crate::domain::SiteClass;

static SITES: LazyLock<Sites> = LazyLock::new(|| read(include_str!("data/sites.txt")));

/// Those of `name.*`, by the name.
static WILD: LazyLock<Table<&'static Entry>> =
    LazyLock::new(|| SITES.hosts.iter().filter_map(|(host, entry)| Some((host.strip_suffix(".*")?, entry))).collect());

/// What the file says.
#[derive(Debug, Default)]
struct Sites {
    /// By host, or by `name.*`.
    hosts: Table<Entry>,
    /// Labels before a registrable domain (`~forum`).
    labels: Table<SiteClass>,
    /// Labels before the registrable domain of a university (`~library.edu`).
    of_universities: Table<SiteClass>,
    /// First segments of paths (`/forum`).
    segments: Table<SiteClass>,
    /// Ends of names (`+zeitung`), the longest first.
    parts: Vec<(&'static str, SiteClass)>,
}

/// A host of the file, or a `name.*`.
#[derive(Debug, Default)]
struct Entry {
    class: Option<SiteClass>,
    /// Classes of single first path segments.
    segments: Vec<(&'static str, SiteClass)>,
}

fn read(data: &'static str) -> Sites {
    let mut sites = Sites::default();
    let mut class = SiteClass::Other;
    for line in data.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            class = named(name);
            continue;
        }
        for entry in line.split_whitespace() {
            if let Some(label) = entry.strip_prefix('~') {
                match label.strip_suffix(".edu") {
                    Some(label) => drop(sites.of_universities.insert(label, class)),
                    None => drop(sites.labels.insert(label, class)),
                }
            } else if let Some(part) = entry.strip_prefix('+') {
                sites.parts.push((part, class));
            } else {
                match entry.split_once('/') {
                    Some(("", segment)) => drop(sites.segments.insert(segment, class)),
                    Some((host, segment)) => sites.hosts.entry(host).or_default().segments.push((segment, class)),
                    None => sites.hosts.entry(entry).or_default().class = Some(class),
                }
            }
        }
    }
    sites.parts.sort_by_key(|(part, _)| std::cmp::Reverse(part.len()));
    sites
}

fn named(name: &str) -> SiteClass {
    match name {
        "news" => SiteClass::News,
        "social" => SiteClass::Social,
        "reference" => SiteClass::Reference,
        "directory" => SiteClass::Directory,
        "government" => SiteClass::Government,
        _ => SiteClass::Other,
    }
}

/// True when the file names the site itself: its host, its domain, or one between them.
pub(super) fn is_listed(site: &Site<'_>) -> bool {
    let mut host = site.host;
    while host.len() >= site.domain.len() {
        if SITES.hosts.contains_key(host) {
            return true;
        }
        match host.split_once('.') {
            Some((_, above)) => host = above,
            None => break,
        }
    }
    false
}

/// The class of a page, by the longest entry that fits: the host, each host above it, its name before any public suffix, the
/// suffix. A forum is one whatever the site, but for a state's; what no entry fits goes by the word its name ends or begins
/// with. `path` begins with a slash or is empty.
pub(super) fn of(site: &Site<'_>, path: &str) -> SiteClass {
    let segment = path.strip_prefix('/').and_then(|rest| rest.split('/').next()).unwrap_or_default();
    let listed = by_host(site, segment);
    match listed {
        Some((_, SiteClass::Government | SiteClass::Social)) => {}
        Some((host, _)) if host == site.host && host != site.domain => {}
        _ => {
            if let Some(class) = of_part(site, segment) {
                return class;
            }
        }
    }
    listed.map(|(_, class)| class).or_else(|| by_words(site.name?)).unwrap_or_default()
}

/// The class of the entry that fits best, with its host.
fn by_host<'a>(site: &Site<'a>, segment: &str) -> Option<(&'a str, SiteClass)> {
    let sites = &*SITES;
    let of_entry = |entry: &Entry| {
        let of_segment = || entry.segments.iter().find(|(name, _)| *name == segment).map(|(_, class)| *class);
        if entry.segments.is_empty() { entry.class } else { of_segment().or(entry.class) }
    };
    let class = |key: &str| sites.hosts.get(key).and_then(of_entry);
    let wild = |name: Option<&str>| name.and_then(|name| WILD.get(name)).and_then(|entry| of_entry(entry));
    let mut host = site.host;
    loop {
        if let Some(found) = class(host) {
            return Some((host, found));
        }
        if host == site.domain
            && let Some(found) = wild(site.name)
        {
            return Some((host, found));
        }
        match host.split_once('.') {
            Some((_, above)) => host = above,
            None => break,
        }
    }
    wild(site.suffix_name).map(|found| (host, found))
}

/// The class of a part of a site that is the same everywhere: a forum, a university's library.
fn of_part(site: &Site<'_>, segment: &str) -> Option<SiteClass> {
    let sites = &*SITES;
    let below = site.host.strip_suffix(site.domain).unwrap_or_default();
    let labels = || below.split('.').filter(|label| !label.is_empty());
    let of_university = || {
        let suffix = site.domain.split_once('.').map_or("", |(_, suffix)| suffix);
        let academic = suffix == "edu" || matches!(site.suffix_name, Some("edu" | "ac"));
        academic.then(|| labels().find_map(|label| sites.of_universities.get(label))).flatten()
    };
    labels().find_map(|label| sites.labels.get(label)).or_else(of_university).or_else(|| sites.segments.get(segment)).copied()
}

/// The class of a name by the word that it ends with, or begins with before a hyphen.
fn by_words(name: &str) -> Option<SiteClass> {
    let hyphen = name.contains('-');
    let begins = |part: &str| hyphen && name.strip_prefix(part).is_some_and(|rest| rest.starts_with('-'));
    // Of nearly all parts the last letter tells that they do not fit.
    let last = name.as_bytes().last();
    let ends = |part: &str| part.as_bytes().last() == last && name.ends_with(part);
    let fits = |part: &str| name.len() > part.len() && (ends(part) || begins(part));
    SITES.parts.iter().find(|(part, _)| fits(part)).map(|(_, class)| *class)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_file_reads_and_names_each_entry_once() {
        let mut seen = std::collections::HashSet::new();
        let mut section = "";
        for line in include_str!("data/sites.txt").lines().map(str::trim) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(name) = line.strip_prefix('[') {
                section = name.trim_end_matches(']');
                assert_ne!(named(section), SiteClass::Other, "{section}");
                continue;
            }
            assert_ne!(section, "");
            for entry in line.split_whitespace() {
                assert!(seen.insert(entry), "{entry} stands twice");
                let plain = |character: char| {
                    character.is_ascii_lowercase() || character.is_ascii_digit() || "-./*~+".contains(character)
                };
                assert!(entry.chars().all(plain) && !entry.starts_with("www."), "{entry}");
                let host = entry.split('/').next().unwrap_or_default();
                assert!(!entry.contains('*') || (host.ends_with(".*") && entry.matches('*').count() == 1), "{entry}");
            }
        }
        assert!(seen.len() > 3_000, "{}", seen.len());
    }
}
