//! What a prompt is about: the answer text inside it, the brands of that text, and the org named outside of it. Reads
//! prompts as a language model would, by their content; must not rely on the wording of any particular prompt.

use serde_json::Value;

use super::sim::Sim;
use super::text::Sentiment;
use super::world::World;

/// A brand as the text shows it.
#[derive(Debug, Clone)]
pub(crate) struct Entity {
    /// As the text spells it first.
    pub(crate) name: String,
    /// Other spellings.
    pub(crate) variants: Vec<String>,
    /// Empty when unknown.
    pub(crate) domain: String,
    pub(crate) sentiment: Sentiment,
    /// Passages that name it, each verbatim in the text.
    pub(crate) quotes: Vec<String>,
    /// 1-based order of first appearance.
    pub(crate) position: usize,
    pub(crate) mentioned: bool,
}

impl Default for Entity {
    fn default() -> Self {
        Self {
            name: String::new(),
            variants: Vec::new(),
            domain: String::new(),
            sentiment: Sentiment::Neutral,
            quotes: Vec::new(),
            position: 0,
            mentioned: false,
        }
    }
}

impl Entity {
    /// True when this is the brand of that name, in any spelling.
    pub(crate) fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name) || self.variants.iter().any(|variant| variant.eq_ignore_ascii_case(name))
    }
}

/// A prompt, read.
#[derive(Debug)]
pub(crate) struct Subject {
    /// Id of the served answer; `None`: the text was never served here.
    pub(crate) answer: Option<String>,
    pub(crate) text: String,
    /// In order of first appearance.
    pub(crate) entities: Vec<Entity>,
    /// The org asked about; `None`: none was recognised.
    pub(crate) target: Option<Entity>,
}

impl Subject {
    /// Reads a prompt: `data` is what the user says last, `whole` has the instructions too. An org is looked for in the data
    /// first, because instructions like to give examples.
    pub(crate) fn read(sim: &Sim, data: &str, whole: &str) -> Self {
        let in_data = sim.truth().find(data);
        let (prompt, found) = match in_data {
            Some(found) => (data, Some(found)),
            None => match sim.truth().find(whole) {
                Some(found) => (whole, Some(found)),
                None => (data, None),
            },
        };
        let (start, end) = match &found {
            Some((_, start, end)) => (*start, *end),
            None => fenced(prompt).unwrap_or((0, 0)),
        };
        let text = prompt.get(start..end).unwrap_or("").to_owned();
        let outside = [prompt.get(..start).unwrap_or(""), "\n", prompt.get(end..).unwrap_or("")].concat();
        let target = target(&sim.world, &outside).or_else(|| target(&sim.world, &whole.replace(prompt, "")));
        let entities = match &found {
            Some((served, _, _)) => served
                .mentions
                .iter()
                .enumerate()
                .map(|(order, mention)| Entity {
                    sentiment: mention.sentiment,
                    quotes: mention.quotes.clone(),
                    position: order + 1,
                    mentioned: true,
                    ..known(&sim.world, mention.brand, &mention.written)
                })
                .collect(),
            None => scan(&sim.world, &text),
        };
        Self { answer: found.map(|(served, _, _)| served.id.clone()), text, entities, target }
    }

    /// The target as the text shows it; not mentioned when the text does not.
    pub(crate) fn focus(&self) -> Entity {
        let Some(target) = &self.target else { return Entity::default() };
        if let Some(entity) = self.entities.iter().find(|entity| entity.is(&target.name)) {
            return entity.clone();
        }
        let mut focus = target.clone();
        let lower = target.name.to_lowercase();
        if target.domain.is_empty() && lower.len() > 2 {
            focus.quotes =
                sentences(&self.text).filter(|sentence| sentence.to_lowercase().contains(&lower)).map(str::to_owned).collect();
            focus.mentioned = !focus.quotes.is_empty();
            focus.position = self.entities.len() + 1;
        }
        focus
    }

    /// The URLs of the text.
    pub(crate) fn urls(&self) -> Vec<String> {
        let mut urls = Vec::new();
        for (at, _) in self.text.match_indices("https://") {
            let rest = self.text.get(at..).unwrap_or("");
            let end = rest
                .find(|character: char| character.is_whitespace() || matches!(character, ')' | ']' | '"' | '>'))
                .unwrap_or(rest.len());
            let url = rest.get(..end).unwrap_or("").to_owned();
            if !urls.contains(&url) {
                urls.push(url);
            }
        }
        urls
    }
}

fn known(world: &World, number: u16, written: &str) -> Entity {
    let Some(brand) = world.brand(number) else { return Entity::default() };
    let mut variants = vec![brand.name.to_owned()];
    variants.extend(brand.variants.iter().map(|variant| (*variant).to_owned()));
    Entity { name: written.to_owned(), variants, domain: brand.domain.to_owned(), ..Entity::default() }
}

/// The longest fenced block: between lines of back-ticks, between `<tag>` and `</tag>`, or between two marker lines that hold
/// the words BEGIN and END; else the whole prompt has no fence.
fn fenced(prompt: &str) -> Option<(usize, usize)> {
    let mut lines = Vec::new();
    let mut start = 0;
    for line in prompt.split_inclusive('\n') {
        lines.push((start, start + line.len(), line.trim()));
        start += line.len();
    }
    let mut best: Option<(usize, usize)> = None;
    for (number, (_, from, line)) in lines.iter().enumerate() {
        let closes = |other: &str| {
            if line.starts_with("```") {
                return other == "```";
            }
            if let Some(tag) = line.strip_prefix('<').and_then(|tag| tag.strip_suffix('>')).filter(|tag| !tag.starts_with('/')) {
                let word = tag.split_whitespace().next().unwrap_or("");
                let end = other.strip_prefix("</").and_then(|other| other.strip_suffix('>'));
                return end.is_some_and(|end| end == tag || end == word);
            }
            line.to_uppercase().contains("BEGIN")
                && other.to_uppercase().contains("END")
                && !other.to_uppercase().contains("BEGIN")
        };
        let Some((to, _, _)) = lines.iter().skip(number + 1).find(|(_, _, other)| closes(other)) else { continue };
        if best.is_none_or(|(start, end)| end - start < to - from) {
            best = Some((*from, *to));
        }
    }
    best
}

fn target(world: &World, outside: &str) -> Option<Entity> {
    if let Some((start, end, brand)) = world.find(outside).first().copied() {
        return Some(known(world, brand, outside.get(start..end).unwrap_or("")));
    }
    if let Some(number) = world.brands().iter().position(|brand| outside.contains(brand.domain)) {
        let number = u16::try_from(number).unwrap_or(0);
        return Some(known(world, number, world.brand(number).map_or("", |brand| brand.name)));
    }
    if let Some(name) = serde_json::from_str::<Value>(outside.trim()).ok().as_ref().and_then(named_in) {
        return Some(Entity { name, ..Entity::default() });
    }
    let labelled = outside.lines().find_map(|line| {
        let (label, value) = line.split_once(':')?;
        let label = label.to_lowercase();
        let names = LABELS.iter().any(|word| label.contains(word)) && label.len() < 40;
        let value = value.trim();
        if let Ok(listed) = serde_json::from_str::<Value>(value) {
            return named_in(&listed).filter(|_| names);
        }
        let value = value.trim_matches(['"', '\'', '“', '”', '.', '*', '`']);
        (names && !value.is_empty() && value.len() < 80).then(|| value.to_owned())
    });
    let quoted = || {
        let mut parts = outside.split(['"', '“', '”', '«', '»']).skip(1).step_by(2);
        parts.find(|part| part.len() < 60 && part.chars().next().is_some_and(char::is_uppercase)).map(str::to_owned)
    };
    labelled.or_else(quoted).map(|name| Entity { name, ..Entity::default() })
}

/// Words that stand before the name of an org.
const LABELS: [&str; 5] = ["org", "company", "brand", "name", "subject"];

/// The name inside a JSON value: a text, the first of a list, or the field with a fitting label.
fn named_in(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Array(items) => items.iter().find_map(named_in),
        Value::Object(fields) => {
            let of = |label: &str| {
                fields.iter().find(|(key, _)| key.to_lowercase().contains(label)).and_then(|(_, value)| named_in(value))
            };
            LABELS.into_iter().find_map(of)
        }
        _ => None,
    }
}

/// The pieces of a text that can be quoted: lines, and sentences inside them.
fn sentences(text: &str) -> impl Iterator<Item = &str> {
    text.lines().flat_map(|line| line.split_inclusive(". ")).map(str::trim).filter(|sentence| !sentence.is_empty())
}

/// Reads a text that was never served: brands by name, sentiment by the words around them.
fn scan(world: &World, text: &str) -> Vec<Entity> {
    let mut entities: Vec<Entity> = Vec::new();
    for sentence in sentences(text) {
        let lower = sentence.to_lowercase();
        let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
        if says(&["could not find", "does not appear", "no mention"]) {
            continue;
        }
        let sentiment =
            if says(&["disappoint", "hard to recommend", "careful", "criticised", "falls behind", "complain", "avoid"]) {
                Sentiment::Negative
            } else if says(&["strongest", "stands out", "recommend", "praised", "excellent", "best"]) {
                Sentiment::Positive
            } else {
                Sentiment::Neutral
            };
        for (start, end, brand) in world.find(sentence) {
            let name = sentence.get(start..end).unwrap_or("");
            let entity = known(world, brand, name);
            let position = entities.len() + 1;
            match entities.iter_mut().find(|known| known.domain == entity.domain) {
                Some(known) => known.quotes.push(sentence.to_owned()),
                None => {
                    entities.push(Entity { sentiment, quotes: vec![sentence.to_owned()], position, mentioned: true, ..entity })
                }
            }
        }
    }
    entities
}
