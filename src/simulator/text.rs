//! What an engine says: a Markdown answer as a sequence of spans, some about a brand, some with sources. A pure function of
//! the key; knows no provider's wire form (see `render`) and keeps no state.

use super::rng::Rng;
use super::world::World;
use super::world_data::{ABSENT, CATEGORIES, CategoryData, FILLERS, NEGATIVE, NEUTRAL, POSITIVE, SITES};

/// How a span speaks of its brand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sentiment {
    /// Recommends.
    Positive,
    /// States facts.
    Neutral,
    /// Warns.
    Negative,
}

impl Sentiment {
    /// The word schemas use.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Positive => "positive",
            Self::Neutral => "neutral",
            Self::Negative => "negative",
        }
    }
}

/// What a span is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum About {
    /// Nothing in particular.
    Nothing,
    /// A brand, and how.
    Brand(u16, Sentiment),
    /// A brand of the question, of which nothing is known.
    Absent(u16),
}

/// A piece of the answer, `start..end` in its buffer.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) about: About,
    /// Sources cited for it.
    pub(crate) cites: Vec<usize>,
}

/// A page of the fictional web.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// As a browser shows it, without tracking.
    pub(crate) url: String,
    /// Without `www.`, trailing slash and fragment.
    pub(crate) canonical: String,
    pub(crate) title: String,
    /// What engines call the site.
    pub(crate) site: String,
    /// The engine adds its tracking parameter here.
    pub(crate) tracked: bool,
    /// The engine adds a text fragment here.
    pub(crate) fragment: bool,
}

/// An answer before it takes a provider's form.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answer {
    pub(crate) buffer: String,
    pub(crate) spans: Vec<Span>,
    /// Cited ones first, then the ones only retrieved.
    pub(crate) sources: Vec<Source>,
    /// What was searched for; empty when nothing was.
    pub(crate) queries: Vec<String>,
    /// Links inside brand spans: (span, URL).
    pub(crate) own_links: Vec<(usize, String)>,
}

/// What an answer is composed for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Topic<'a> {
    pub(crate) key: u64,
    pub(crate) question: &'a str,
    pub(crate) country: Option<&'a str>,
    pub(crate) searched: bool,
    pub(crate) characters: usize,
    pub(crate) absence_rate: f64,
}

/// Country names for the prose; others are named by their code.
fn country_name(code: &str) -> &str {
    match code {
        "US" => "the United States",
        "GB" => "the United Kingdom",
        "DE" => "Germany",
        "FR" => "France",
        "ES" => "Spain",
        "IT" => "Italy",
        "NL" => "the Netherlands",
        "JP" => "Japan",
        "IN" => "India",
        "CA" => "Canada",
        "AU" => "Australia",
        other => other,
    }
}

/// Writes the answer.
pub(crate) fn compose(world: &World, topic: Topic<'_>) -> Answer {
    let mut rng = Rng::new(topic.key, "answer");
    let named = world.named(topic.question);
    let category = world.category(topic.question, &named);
    let Some(data) = CATEGORIES.get(category) else { return Answer::default() };
    let mut writer = Writer { world, data, rng: rng.clone(), answer: Answer::default(), searched: topic.searched, absent: Vec::new() };
    writer.answer.buffer.reserve(topic.characters + topic.characters / 4 + 512);

    let mut brands = Vec::new();
    for brand in &named {
        if rng.chance(topic.absence_rate) { writer.absent.push(*brand) } else { brands.push(*brand) }
    }
    let mut others = world.of_category(category);
    others.retain(|brand| !named.contains(brand));
    rng.shuffle(&mut others);
    let wanted = rng.between(3, 6);
    brands.extend(others.into_iter().take(wanted.saturating_sub(brands.len()).max(1)));
    if !named.is_empty() && rng.chance(0.5) {
        rng.shuffle(&mut brands);
    }

    if topic.searched {
        let searches = rng.between(1, 3);
        let year = if rng.chance(0.5) { " 2026" } else { " reviews" };
        let mut query: String = topic.question.chars().take(80).collect();
        for _ in 0..searches {
            writer.answer.queries.push(query.trim_end_matches(['?', ' ', '.']).to_owned());
            query = format!("best {} {}{year}", data.noun, topic.country.unwrap_or("")).replace("  ", " ");
        }
        writer.answer.queries.dedup();
    }
    writer.intro(topic.country);
    match rng.below(10) {
        0..=3 => writer.list(&brands, true),
        4..=6 => writer.list(&brands, false),
        7 => writer.table(&brands),
        _ => writer.prose(&brands),
    }
    writer.rest(topic.characters);
    if topic.searched {
        let more = rng.between(1, 4);
        for _ in 0..more {
            writer.retrieved();
        }
    }
    writer.answer
}

struct Writer<'a> {
    world: &'a World,
    data: &'static CategoryData,
    rng: Rng,
    answer: Answer,
    searched: bool,
    absent: Vec<u16>,
}

impl Writer<'_> {
    fn plain(&mut self, text: &str) {
        let start = self.answer.buffer.len();
        self.answer.buffer.push_str(text);
        self.span(start, About::Nothing, Vec::new());
    }

    fn span(&mut self, start: usize, about: About, cites: Vec<usize>) {
        let end = self.answer.buffer.len();
        if end > start {
            self.answer.spans.push(Span { start, end, about, cites });
        }
    }

    fn fill(&mut self, template: &str, brand: &str, point: &str) {
        let mut rest = template;
        while let Some((head, tail)) = rest.split_once('{') {
            self.answer.buffer.push_str(head);
            let (name, after) = tail.split_once('}').unwrap_or((tail, ""));
            self.answer.buffer.push_str(match name {
                "brand" => brand,
                "noun" => self.data.noun,
                "category" => self.data.name,
                _ => point,
            });
            rest = after;
        }
        self.answer.buffer.push_str(rest);
    }

    fn intro(&mut self, country: Option<&str>) {
        if self.rng.chance(0.4) {
            self.plain(&format!("## Choosing a {}\n\n", self.data.noun));
        }
        let start = self.answer.buffer.len();
        let place = country.map(|code| format!(" in {}", country_name(code))).unwrap_or_default();
        let opening = self.rng.word(&[
            "Here is what stands out",
            "These are the names that come up most",
            "The short answer depends on your needs",
            "Several options deserve a look",
        ]);
        self.answer.buffer.push_str(&format!("{opening} for {}{place}.", self.data.name));
        self.span(start, About::Nothing, Vec::new());
        for brand in std::mem::take(&mut self.absent) {
            self.plain(" ");
            let start = self.answer.buffer.len();
            let name = self.world.brand(brand).map_or("", |brand| brand.name);
            let template = self.rng.word(ABSENT);
            self.fill(template, name, "");
            self.span(start, About::Absent(brand), Vec::new());
        }
        self.plain("\n\n");
    }

    fn written(&mut self, number: u16, bold: bool) -> String {
        let Some(brand) = self.world.brand(number) else { return String::new() };
        let name = if self.rng.chance(0.12) { self.rng.pick(brand.variants).copied().unwrap_or(brand.name) } else { brand.name };
        if self.rng.chance(0.1) {
            let url = format!("https://{}/{}", brand.domain, self.rng.word(&["product", "pricing", "about"]));
            let text = format!("[{name}]({url})");
            self.answer.own_links.push((self.answer.spans.len(), url));
            return text;
        }
        if bold { format!("**{name}**") } else { name.to_owned() }
    }

    fn about(&mut self, number: u16, bold: bool) {
        let (sentiment, templates, points) = match self.rng.below(20) {
            0..=8 => (Sentiment::Positive, POSITIVE, self.data.strengths),
            9..=15 => (Sentiment::Neutral, NEUTRAL, self.data.strengths),
            _ => (Sentiment::Negative, NEGATIVE, self.data.weaknesses),
        };
        let (template, point) = (self.rng.word(templates), self.rng.word(points));
        let name = self.written(number, bold);
        let start = self.answer.buffer.len();
        self.fill(template, &name, point);
        let cites = self.cites(Some(number), 0.75);
        self.span(start, About::Brand(number, sentiment), cites);
    }

    fn list(&mut self, brands: &[u16], numbered: bool) {
        for (position, brand) in brands.iter().enumerate() {
            self.plain(&if numbered { format!("{}. ", position + 1) } else { "- ".to_owned() });
            self.about(*brand, true);
            if self.rng.chance(0.5) {
                self.plain(" ");
                self.filler();
            }
            self.plain("\n");
        }
        self.plain("\n");
    }

    fn table(&mut self, brands: &[u16]) {
        self.plain(&format!("| {} | Known for |\n|---|---|\n", self.data.noun));
        for brand in brands {
            self.plain("| ");
            let name = self.written(*brand, true);
            let start = self.answer.buffer.len();
            let point = self.rng.word(self.data.strengths);
            self.fill("{brand} | {point}", &name, point);
            let cites = self.cites(Some(*brand), 0.5);
            self.span(start, About::Brand(*brand, Sentiment::Neutral), cites);
            self.plain(" |\n");
        }
        self.plain("\n");
    }

    fn prose(&mut self, brands: &[u16]) {
        for (position, brand) in brands.iter().enumerate() {
            let bold = self.rng.chance(0.3);
            self.about(*brand, bold);
            self.plain(if position % 2 == 1 { "\n\n" } else { " " });
        }
        self.plain("\n\n");
    }

    fn filler(&mut self) {
        let start = self.answer.buffer.len();
        let template = self.rng.word(FILLERS);
        self.fill(template, "", "");
        let cites = self.cites(None, 0.15);
        self.span(start, About::Nothing, cites);
    }

    fn rest(&mut self, characters: usize) {
        if self.answer.buffer.len() < characters {
            self.plain("### What to look at\n\n");
        }
        let mut sentences = 0;
        while self.answer.buffer.len() < characters {
            self.filler();
            sentences += 1;
            self.plain(if sentences % 4 == 0 { "\n\n" } else { " " });
        }
        self.plain("If you tell me more about your needs, I can narrow this down.");
    }

    fn cites(&mut self, brand: Option<u16>, rate: f64) -> Vec<usize> {
        if !self.searched || !self.rng.chance(rate) {
            return Vec::new();
        }
        let count = if self.rng.chance(0.2) { 2 } else { 1 };
        let mut cites = Vec::new();
        for _ in 0..count {
            let reuse = self.answer.sources.len() >= 10 || (!self.answer.sources.is_empty() && self.rng.chance(0.2));
            let source = if reuse { self.rng.below(self.answer.sources.len()) } else { self.source(brand) };
            if !cites.contains(&source) {
                cites.push(source);
            }
        }
        cites
    }

    /// A page nobody cites: found, not used.
    fn retrieved(&mut self) {
        self.source(None);
    }

    fn source(&mut self, brand: Option<u16>) -> usize {
        let own = brand.and_then(|number| self.world.brand(number)).filter(|_| self.rng.chance(0.35));
        let noun = self.data.noun.replace(' ', "-").to_lowercase();
        let mut source = if let Some(brand) = own {
            let page = self.rng.word(&["pricing", "features", "customers", "docs/start"]);
            Source {
                url: format!("https://{}/{page}", brand.domain),
                canonical: String::new(),
                title: format!("{} | {page}", brand.name),
                site: brand.name.to_owned(),
                tracked: true,
                fragment: false,
            }
        } else {
            let (host, site) = self.rng.pick(SITES).copied().unwrap_or(("stackcritic.example", "Stack Critic"));
            let number = self.rng.between(100, 99_999);
            let (path, query) = match self.rng.below(4) {
                0 => (format!("best-{noun}-2026"), String::new()),
                1 => (format!("reviews/{noun}/{number}"), String::new()),
                2 => (format!("article/{number}"), String::new()),
                _ => ("story".to_owned(), format!("?id={number}")),
            };
            let slash = if query.is_empty() && self.rng.chance(0.15) { "/" } else { "" };
            Source {
                url: format!("https://{host}/{path}{slash}{query}"),
                canonical: String::new(),
                title: format!("The best {} options compared - {site}", self.data.noun),
                site: site.to_owned(),
                tracked: true,
                fragment: false,
            }
        };
        source.tracked = self.rng.chance(0.8);
        source.fragment = self.rng.chance(0.12);
        source.canonical = source.url.replacen("https://www.", "https://", 1).trim_end_matches('/').to_owned();
        if let Some(known) = self.answer.sources.iter().position(|known| known.canonical == source.canonical) {
            return known;
        }
        self.answer.sources.push(source);
        self.answer.sources.len() - 1
    }
}
