//! An answer in the textual form of one engine: inline links, reference marks or nothing, with character offsets, and the
//! facts (brands, absences, links) of exactly the text that is served. Knows no JSON.

use super::text::{About, Answer, Sentiment, Source};
use super::world::World;

/// How an engine shows its sources in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// ` ([site](url))`, tracking `utm_source=openai`.
    OpenAi,
    /// ` ([site](url))`, tracking `utm_source=chatgpt.com`, text fragments.
    ChatGpt,
    /// `[1][2]`, no tracking.
    Perplexity,
    /// Nothing in the text; text fragments in the lists.
    Gemini,
    /// Nothing in the text, no tracking.
    Anthropic,
}

/// An inline link or mark.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    /// Position in the answer's sources.
    pub(crate) source: usize,
    /// As served, tracking included.
    pub(crate) url: String,
    /// First character of the mark.
    pub(crate) start: usize,
    /// One past the last character of the mark.
    pub(crate) end: usize,
}

/// A brand in the text.
#[derive(Debug, Clone)]
pub(crate) struct Mention {
    pub(crate) brand: u16,
    /// As the text spells it first.
    pub(crate) written: String,
    pub(crate) sentiment: Sentiment,
    /// Passages that name it; each stands in the text.
    pub(crate) quotes: Vec<String>,
}

/// The text and its facts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rendered {
    pub(crate) text: String,
    pub(crate) characters: usize,
    pub(crate) links: Vec<Link>,
    pub(crate) mentions: Vec<Mention>,
    pub(crate) absences: Vec<u16>,
    /// URLs that stand in the text as links of a brand's name.
    pub(crate) own_links: Vec<String>,
    /// Cut by the token cap.
    pub(crate) cut: bool,
    /// Spans that made it into the text.
    pub(crate) spans: usize,
}

/// The URL of a source as this engine serves it. `again`: a further use, which carries no fragment.
pub(crate) fn tracked_url(source: &Source, style: Style, again: bool) -> String {
    let mut url = source.url.clone();
    let parameter = match style {
        Style::OpenAi => "utm_source=openai",
        Style::ChatGpt => "utm_source=chatgpt.com",
        _ => "",
    };
    if source.tracked && !parameter.is_empty() {
        url.push(if url.contains('?') { '&' } else { '?' });
        url.push_str(parameter);
    }
    if source.fragment && !again && matches!(style, Style::ChatGpt | Style::Gemini) {
        url.push_str("#:~:text=worth%20a%20closer%20look");
    }
    url
}

/// Renders at most `limit` characters.
pub(crate) fn render(world: &World, answer: &Answer, style: Style, limit: usize) -> Rendered {
    let mut out = Rendered { text: String::with_capacity(answer.buffer.len() * 2), ..Rendered::default() };
    let mut used = vec![false; answer.sources.len()];
    for (number, span) in answer.spans.iter().enumerate() {
        let piece = answer.buffer.get(span.start..span.end).unwrap_or("");
        let length = if piece.is_ascii() { piece.len() } else { piece.chars().count() };
        if out.characters + length > limit {
            out.cut = true;
            break;
        }
        out.text.push_str(piece);
        out.characters += length;
        out.spans = number + 1;
        note(world, &mut out, piece, span.about);
        out.own_links.extend(answer.own_links.iter().filter(|(owner, _)| *owner == number).map(|(_, url)| url.clone()));
        for cite in &span.cites {
            let Some(source) = answer.sources.get(*cite) else { continue };
            let again = used.get(*cite).copied().unwrap_or(false);
            let url = tracked_url(source, style, again);
            let before = out.text.len();
            let mut start = out.characters;
            match style {
                Style::OpenAi | Style::ChatGpt => {
                    let host = source.canonical.trim_start_matches("https://").split('/').next().unwrap_or("");
                    start += 1;
                    out.text.push_str(" ([");
                    out.text.push_str(host);
                    out.text.push_str("](");
                    out.text.push_str(&url);
                    out.text.push_str("))");
                }
                Style::Perplexity => out.text.push_str(&format!("[{}]", cite + 1)),
                Style::Gemini | Style::Anthropic => {}
            }
            let mark = out.text.get(before..).unwrap_or("");
            out.characters += if mark.is_ascii() { mark.len() } else { mark.chars().count() };
            out.links.push(Link { source: *cite, url, start, end: out.characters });
            if let Some(flag) = used.get_mut(*cite) {
                *flag = true;
            }
        }
    }
    out
}

fn note(world: &World, out: &mut Rendered, piece: &str, about: About) {
    match about {
        About::Nothing => {}
        About::Absent(brand) => out.absences.push(brand),
        About::Brand(brand, sentiment) => {
            if let Some(known) = out.mentions.iter_mut().find(|mention| mention.brand == brand) {
                known.quotes.push(piece.to_owned());
                return;
            }
            let hit = world.find(piece).into_iter().find(|(_, _, found)| *found == brand);
            let written = hit.and_then(|(start, end, _)| piece.get(start..end)).unwrap_or("").to_owned();
            out.mentions.push(Mention { brand, written, sentiment, quotes: vec![piece.to_owned()] });
        }
    }
}
