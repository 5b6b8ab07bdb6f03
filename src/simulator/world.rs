//! The fictional world: which brands exist, which of them a text names, and which category a question is about. Must not
//! know which brand anybody evaluates, and must not hold state.

use aho_corasick::{AhoCorasick, MatchKind};

use super::rng;
use super::world_data::{CATEGORIES, CategoryData};

/// A brand.
#[derive(Debug, Clone)]
pub(crate) struct Brand {
    /// The usual spelling.
    pub(crate) name: &'static str,
    /// Other spellings.
    pub(crate) variants: &'static [&'static str],
    /// Its registrable domain.
    pub(crate) domain: &'static str,
    /// Position of its category.
    pub(crate) category: usize,
}

/// All brands and the automaton that finds their names.
pub(crate) struct World {
    brands: Vec<Brand>,
    finder: Option<AhoCorasick>,
    owners: Vec<u16>,
}

impl std::fmt::Debug for World {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("World").field("brands", &self.brands.len()).finish_non_exhaustive()
    }
}

impl World {
    /// The world. It is the same for every seed; the seed decides what is said about it.
    pub(crate) fn new() -> Self {
        let mut brands = Vec::new();
        for (category, data) in CATEGORIES.iter().enumerate() {
            brands.extend(data.brands.iter().map(|(name, variants, domain)| Brand { name, variants, domain, category }));
        }
        let mut patterns: Vec<String> = Vec::new();
        let mut owners = Vec::new();
        for (number, brand) in brands.iter().enumerate() {
            let mut forms = vec![brand.name.to_owned()];
            forms.extend(brand.variants.iter().map(|variant| (*variant).to_owned()));
            // A common word in lower case is not the brand: "able" is no mention of Able.
            if brand.name.chars().count() > 5 {
                forms.push(brand.name.to_lowercase());
                forms.push(brand.name.to_uppercase());
            }
            forms.dedup();
            for form in forms {
                patterns.push(form);
                owners.push(u16::try_from(number).unwrap_or(0));
            }
        }
        let finder = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&patterns).ok();
        Self { brands, finder, owners }
    }

    /// The brand of this number.
    pub(crate) fn brand(&self, number: u16) -> Option<&Brand> {
        self.brands.get(usize::from(number))
    }

    /// All brands.
    pub(crate) fn brands(&self) -> &[Brand] {
        &self.brands
    }

    /// Numbers of the brands of a category.
    pub(crate) fn of_category(&self, category: usize) -> Vec<u16> {
        let numbers = self.brands.iter().enumerate().filter(|(_, brand)| brand.category == category);
        numbers.filter_map(|(number, _)| u16::try_from(number).ok()).collect()
    }

    /// Where brands are named in a text: (start, end, brand), in order, at word boundaries, domains and URLs left out.
    pub(crate) fn find(&self, text: &str) -> Vec<(usize, usize, u16)> {
        let Some(finder) = &self.finder else { return Vec::new() };
        let mut found = Vec::new();
        for hit in finder.find_iter(text) {
            let before = text.get(..hit.start()).and_then(|head| head.chars().next_back());
            let mut rest = text.get(hit.end()..).unwrap_or("").chars();
            let (after, next) = (rest.next(), rest.next());
            let boundary = |character: Option<char>| character.is_none_or(|character| !character.is_alphanumeric());
            let in_host = matches!(before, Some('/' | '.' | '@')) || (after == Some('.') && next.is_some_and(char::is_lowercase));
            let hyphenated = after == Some('-') && next.is_some_and(char::is_alphanumeric);
            if boundary(before) && boundary(after) && !in_host && !hyphenated {
                let owner = self.owners.get(hit.pattern().as_usize()).copied().unwrap_or(0);
                found.push((hit.start(), hit.end(), owner));
            }
        }
        found
    }

    /// The distinct brands a text names, in order of first appearance.
    pub(crate) fn named(&self, text: &str) -> Vec<u16> {
        let mut brands = Vec::new();
        for (_, _, brand) in self.find(text) {
            if !brands.contains(&brand) {
                brands.push(brand);
            }
        }
        brands
    }

    /// The category a question is about: of a brand it names, else by keywords, else by hash.
    pub(crate) fn category(&self, question: &str, named: &[u16]) -> usize {
        if let Some(brand) = named.first().and_then(|number| self.brand(*number)) {
            return brand.category;
        }
        let lower = question.to_lowercase();
        let score = |data: &CategoryData| data.keywords.iter().filter(|word| lower.contains(**word)).count();
        let best = CATEGORIES.iter().enumerate().map(|(number, data)| (score(data), number)).max_by_key(|(hits, number)| {
            (*hits, std::cmp::Reverse(*number))
        });
        match best {
            Some((hits, number)) if hits > 0 => number,
            _ => usize::try_from(rng::hash(lower.as_bytes()) % CATEGORIES.len() as u64).unwrap_or(0),
        }
    }
}
