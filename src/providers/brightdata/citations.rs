//! The source lists of a row, made one: strings or objects, junk dropped, duplicates joined.
//!
//! Three-valued: `cited` is what the row says, and missing is not "cited". The display name in `domain` is never read (it may
//! be "Couloir3" or a whole URL): who needs a domain takes it from the URL.

use std::collections::HashMap;

use serde::Deserialize;

use crate::domain::Citation;
use crate::providers::answer::same_page;
use crate::providers::wire::{Count, Either, Flag, List, Text};

/// An entry of `citations`, `links_attached`, `sources` or `search_sources`: a URL, or an object around one.
pub(super) type Entry<'a> = Either<'a, Named<'a>>;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Named<'a> {
    #[serde(borrow)]
    url: Text<'a>,
    #[serde(borrow)]
    title: Text<'a>,
    /// Older rows and links carry `text` in the place of `title`.
    #[serde(borrow)]
    text: Text<'a>,
    cited: Flag,
    position: Count,
    rank: Count,
}

fn citation(entry: &Entry<'_>, cited: Option<bool>) -> Option<Citation> {
    let (url, object) = match entry {
        Either::Text(url) => (url, None),
        Either::Object(object) => (&object.url, Some(object)),
    };
    let url = url.filled().filter(|url| is_web_address(url))?;
    let position = object.and_then(|object| object.position.small().or_else(|| object.rank.small()));
    Some(Citation {
        url: url.to_owned(),
        title: object.and_then(|object| object.title.owned().or_else(|| object.text.owned())),
        cited: cited.or_else(|| object.and_then(|object| object.cited.0)),
        position: position.filter(|position| *position > 0),
        cited_text: text_fragment(url),
        ..Citation::default()
    })
}

/// `http(s)://` and a host, without white space.
fn is_web_address(url: &str) -> bool {
    let rest = ["https://", "http://"].iter().find_map(|scheme| {
        url.get(..scheme.len()).filter(|start| start.eq_ignore_ascii_case(scheme)).and(url.get(scheme.len()..))
    });
    let host = rest.and_then(|rest| rest.split(['/', '?', '#']).next()).unwrap_or_default();
    !host.is_empty() && !url.contains(char::is_whitespace)
}

/// The sentence in a text fragment (`#:~:text=[prefix-,]start[,end][,-suffix]`), decoded; `None` when there is none.
fn text_fragment(url: &str) -> Option<String> {
    let (_, directive) = url.split_once(":~:text=")?;
    let directive = directive.split('&').next().unwrap_or_default();
    let parts = directive.split(',').filter(|part| !part.ends_with('-') && !part.starts_with('-') && !part.is_empty());
    // A plus is a plus here, not a blank as in a form.
    let decode = |part: &str| {
        let pair = format!("t={}", part.replace('+', "%2B"));
        url::form_urlencoded::parse(pair.as_bytes()).next().map(|(_, text)| text.into_owned())
    };
    let text: Vec<String> = parts.filter_map(decode).collect();
    Some(text.join(" … ")).filter(|text| !text.is_empty())
}

/// The lists joined, in their order, one citation a page. `in_text` are links inside the answer (cited for certain),
/// `retrieved` what the search showed (not cited, unless another list says so).
pub(super) fn joined(citations: &List<Entry<'_>>, in_text: &List<Entry<'_>>, retrieved: [&List<Entry<'_>>; 2]) -> Vec<Citation> {
    let mut joined: Vec<Citation> = Vec::new();
    let mut at: HashMap<String, usize> = HashMap::new();
    let listed = citations.into_iter().map(|entry| citation(entry, None));
    let linked = in_text.into_iter().map(|entry| citation(entry, Some(true)));
    let found = retrieved.into_iter().flatten().map(|entry| citation(entry, Some(false)));
    for citation in listed.chain(linked).chain(found).flatten() {
        match at.get(&same_page(&citation.url)).and_then(|place| joined.get_mut(*place)) {
            Some(first) => {
                // A link in the text settles an unknown or a "more sources" entry; being found settles nothing.
                if citation.cited == Some(true) {
                    first.cited = Some(true);
                }
                first.title = first.title.take().or(citation.title);
                first.cited_text = first.cited_text.take().or(citation.cited_text);
            }
            None => {
                at.insert(same_page(&citation.url), joined.len());
                joined.push(citation);
            }
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_fragments_become_the_cited_sentence() {
        let of = |url: &str| text_fragment(url);
        assert_eq!(of("https://a.example/#:~:text=Best%20CRM").as_deref(), Some("Best CRM"));
        assert_eq!(of("https://a.example/#part:~:text=in-,C%2B%2B,and+on,-after").as_deref(), Some("C++ … and+on"));
        assert_eq!(of("https://a.example/#top"), None);
        assert_eq!(of("https://a.example/#:~:text="), None);
        assert_eq!(of("https://a.example/#:~:text=%ff").as_deref(), Some("\u{fffd}"));
    }

    #[test]
    fn what_is_a_web_address() {
        for url in ["https://a.example", "HTTP://a.example/x", "https://.../?utm_source=chatgpt.com"] {
            assert!(is_web_address(url), "{url}");
        }
        for junk in
            ["not a url", "a.example", "https://", "https:///x", "ftp://a.example", "javascript:alert(1)", "", "https://a b"]
        {
            assert!(!is_web_address(junk), "{junk}");
        }
    }
}
