//! Which names are one brand: configured competitors in all their forms, names a model gave, and why a form was counted as a
//! brand's. Finds places through `mentions`; judges neither the org nor what a place means.
//!
//! A brand is merged by spelling (letter case, accents, spaces, punctuation, legal suffix), configured alias, configured product,
//! or because a known brand's name is followed by what it makes only ("HubSpot CRM"). A parent is shown and never merged.
//! `keep_apart` undoes each of these for a name: it is then a brand of its own, also where it was only a part of one.

use std::cell::LazyCell;
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::LazyLock;

use super::competitors::{compact, is_own, one_line};
use super::fold::fold;
use super::mentions::{self, Document, Matcher, Name};
use super::names::{surface_forms, without_legal_suffix};
use super::spelling;
use super::words::{PRODUCT_WORDS, is_generic};
use crate::domain::{Competitor, Merge, MergeReason, Org};

/// Most different forms of one brand that are shown as merged.
const MAX_MERGED: usize = 20;

/// A place where a brand is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// Number of the brand.
    pub(super) brand: usize,
    /// Number of the form.
    form: usize,
    /// The bytes.
    pub(super) span: Range<usize>,
}

#[derive(Debug, Clone)]
struct Brand {
    /// As configured; `None`: as the answer writes it.
    name: Option<String>,
    parent: Option<String>,
}

/// A way to write a brand.
#[derive(Debug, Clone)]
struct Form {
    brand: usize,
    text: String,
    /// `None`: the brand's own name.
    reason: Option<MergeReason>,
}

/// Brands and the matcher of their forms, in the order of the forms.
#[derive(Debug, Default)]
pub(super) struct Brands {
    brands: Vec<Brand>,
    forms: Vec<Form>,
    matcher: Matcher,
    /// Letters and digits of a form → its number.
    by_compact: HashMap<String, usize>,
    /// Folded names that are never merged.
    apart: HashSet<String>,
    /// Folded forms.
    folded: HashSet<String>,
}

impl Brands {
    /// The configured competitors; those that are the org itself (`own`: letters and digits of its names) or generic are left out.
    pub(super) fn configured(org: &Org, own: &HashSet<String>) -> Self {
        let apart = org.keep_apart.iter().map(|name| fold(name)).filter(|name| !name.is_empty()).collect();
        let mut brands = Self { apart, ..Self::default() };
        let usable = |name: &str| !name.trim().is_empty() && !is_own(name, own) && !is_generic(&fold(name));
        let mut kept = Vec::new();
        for known in org.competitors.iter().filter(|known| usable(&known.name)) {
            let number = brands.add_brand(Some(one_line(&known.name)), known.parent.clone());
            brands.add_form(number, &known.name, None);
            kept.push((number, known));
        }
        for name in org.keep_apart.iter().filter(|name| usable(name)) {
            if !brands.by_compact.contains_key(&compact(name)) {
                let number = brands.add_brand(Some(one_line(name)), None);
                brands.add_form(number, name, None);
            }
        }
        for (number, known) in &kept {
            for (names, reason) in [(&known.aliases, MergeReason::Alias), (&known.products, MergeReason::Product)] {
                for name in names.iter().filter(|name| usable(name)) {
                    brands.add_form(*number, name, Some(reason));
                }
            }
        }
        for (number, known) in &kept {
            brands.add_spellings(*number, &known.name, MergeReason::Spelling);
            for (names, reason) in [(&known.aliases, MergeReason::Alias), (&known.products, MergeReason::Product)] {
                for name in names.iter().filter(|name| usable(name)) {
                    brands.add_spellings(*number, name, reason);
                }
            }
        }
        brands.compile();
        brands
    }

    /// The brands of names that a model gave, besides the configured ones, which are not among them: a name of a configured
    /// brand that no configured form spells ("HubSpot CRM") becomes a form of a brand of its number here. `names` are usable and
    /// unique when folded.
    pub(super) fn named(&self, names: &[&str]) -> Self {
        let mut more = Self { brands: self.brands.clone(), apart: self.apart.clone(), ..Self::default() };
        // Shorter names first: a brand is known before what it makes.
        let mut sorted: Vec<&str> = names.to_vec();
        sorted.sort_by_key(|name| name.split_whitespace().count());
        for name in sorted {
            let bare = without_legal_suffix(name).unwrap_or_else(|| one_line(name));
            if self.apart.contains(&fold(name)) {
                if !self.by_compact.contains_key(&compact(name)) {
                    let number = more.add_brand(Some(one_line(name)), None);
                    more.add_form(number, name, None);
                }
                continue;
            }
            let known = |key: &str| {
                let configured = self.by_compact.get(key).and_then(|form| self.forms.get(*form));
                let given = more.by_compact.get(key).and_then(|form| more.forms.get(*form));
                configured.or(given).map(|form| (form.brand, form.reason))
            };
            let same = known(&compact(name)).or_else(|| known(&compact(&bare)));
            let made = || heads(&bare).find_map(|head| known(&compact(head)));
            let (number, reason) = match same {
                Some((number, reason)) => (number, Some(reason.unwrap_or(MergeReason::Spelling))),
                None => match made() {
                    Some((number, _)) => (number, Some(MergeReason::Descriptor)),
                    None => (more.add_brand(None, None), None),
                },
            };
            more.add_form(number, name, reason);
            more.add_form(number, &bare, reason);
        }
        more.compile();
        more
    }

    /// The brands of competitors that were found before, with the forms they were found by.
    pub(super) fn of_found(&self, found: &[Competitor]) -> Self {
        let mut more = Self { brands: self.brands.clone(), apart: self.apart.clone(), ..Self::default() };
        for competitor in found {
            let known = self.brands.iter().position(|brand| brand.name.as_deref() == Some(&competitor.name));
            let number = known.unwrap_or_else(|| more.add_brand(None, competitor.parent.clone()));
            more.add_form(number, &competitor.name, None);
            for merge in &competitor.merged {
                more.add_form(number, &merge.name, Some(merge.reason));
            }
        }
        more.compile();
        more
    }

    fn add_brand(&mut self, name: Option<String>, parent: Option<String>) -> usize {
        self.brands.push(Brand { name, parent });
        self.brands.len() - 1
    }

    /// A form that another one spells already, or that is kept apart, adds nothing.
    fn add_form(&mut self, brand: usize, text: &str, reason: Option<MergeReason>) {
        let folded = fold(text);
        if (reason.is_some() && self.apart.contains(&folded)) || !self.folded.insert(folded) {
            return;
        }
        self.by_compact.entry(compact(text)).or_insert(self.forms.len());
        self.forms.push(Form { brand, text: text.to_owned(), reason });
    }

    fn add_spellings(&mut self, brand: usize, name: &str, reason: MergeReason) {
        for form in surface_forms(name) {
            self.add_form(brand, &form, Some(reason));
        }
    }

    fn compile(&mut self) {
        let names = self.forms.iter().map(|form| Name { text: &form.text, group: form.brand, domain: false });
        self.matcher = Matcher::new(names);
    }

    /// The matcher of all forms; a brand is a group.
    pub(super) fn matcher(&self) -> &Matcher {
        &self.matcher
    }

    /// As [`Self::matcher`], to put it into one automaton with others.
    pub(super) fn matcher_mut(&mut self) -> &mut Matcher {
        &mut self.matcher
    }

    /// Every place of a brand, in order, the longest where several overlap.
    ///
    /// `own` are the places of the org's names, in order: a name inside or beside one of them is none of a rival's, unless it is
    /// longer and holds it. `counts` says whether a place is a mention. `more` are brands that a model named.
    pub(super) fn places(
        &self,
        document: &Document<'_>,
        more: Option<&Self>,
        own: &[Range<usize>],
        mut counts: impl FnMut(&Range<usize>) -> bool,
    ) -> Vec<Place> {
        let mut places = self.written(document, 0);
        if let Some(more) = more {
            places.extend(more.written(document, self.forms.len()));
        }
        if places.is_empty() {
            return places;
        }
        places.sort_by_key(|place| (place.span.start, std::cmp::Reverse(place.span.end), place.form));
        let mut kept: Vec<Place> = Vec::with_capacity(places.len());
        for place in places {
            match kept.last().filter(|last| last.span.end > place.span.start) {
                Some(last) if place.span.len() > last.span.len() => {
                    kept.pop();
                    kept.push(place);
                }
                Some(_) => {}
                None => kept.push(place),
            }
        }
        kept.retain(|place| !is_inside_own(own, &place.span) && counts(&place.span));
        kept
    }

    fn written(&self, document: &Document<'_>, offset: usize) -> Vec<Place> {
        let found = self.matcher.places(document);
        if found.is_empty() {
            return Vec::new();
        }
        let lower_case_text = LazyCell::new(|| !document.text.contains(char::is_uppercase));
        let place = |found: mentions::Place| {
            let form = self.forms.get(found.name)?;
            let as_name = written_as_name(&form.text, document.slice(&found.span))
                || spelling::is_set_apart(document.text, &found.span)
                || *lower_case_text;
            as_name.then_some(Place { brand: form.brand, form: found.name + offset, span: found.span })
        };
        found.into_iter().filter_map(place).collect()
    }

    /// The competitors of these places, in the order of their first ones, and these first places.
    pub(super) fn competitors(
        &self,
        document: &Document<'_>,
        more: Option<&Self>,
        places: &[Place],
    ) -> (Vec<Competitor>, Vec<Range<usize>>) {
        let mut at: HashMap<usize, usize> = HashMap::new();
        let mut found: Vec<Competitor> = Vec::new();
        let mut first: Vec<Range<usize>> = Vec::new();
        let mut seen: HashSet<(usize, &str)> = HashSet::new();
        for place in places {
            let (brand, form) = self.of(more, place);
            let written = document.slice(&place.span);
            let slot = *at.entry(place.brand).or_insert_with(|| {
                let parent = brand.and_then(|brand| brand.parent.clone());
                let name =
                    brand.and_then(|brand| brand.name.clone()).unwrap_or_else(|| self.shown(document, more, places, place));
                let position = u32::try_from(found.len()).unwrap_or(u32::MAX).saturating_add(1);
                found.push(Competitor { name, position, occurrences: 0, parent, merged: Vec::new() });
                first.push(place.span.clone());
                found.len() - 1
            });
            let Some(competitor) = found.get_mut(slot) else { continue };
            competitor.occurrences = competitor.occurrences.saturating_add(1);
            if !seen.insert((place.brand, written)) || competitor.merged.len() >= MAX_MERGED {
                continue;
            }
            let written = one_line(written);
            if written != competitor.name && !competitor.merged.iter().any(|merge| merge.name == written) {
                let reason = form.and_then(|form| form.reason).unwrap_or(MergeReason::Spelling);
                competitor.merged.push(Merge { name: written, reason });
            }
        }
        (found, first)
    }

    /// The name of a brand that is not configured: its own name as first written, without a legal suffix.
    fn shown(&self, document: &Document<'_>, more: Option<&Self>, places: &[Place], first: &Place) -> String {
        let own_name = |place: &&Place| {
            let reason = self.of(more, place).1.map(|form| form.reason);
            place.brand == first.brand && matches!(reason, Some(None | Some(MergeReason::Spelling)))
        };
        let written = document.slice(&places.iter().find(own_name).unwrap_or(first).span);
        without_legal_suffix(written).unwrap_or_else(|| one_line(written))
    }

    fn of<'a>(&'a self, more: Option<&'a Self>, place: &Place) -> (Option<&'a Brand>, Option<&'a Form>) {
        match place.form.checked_sub(self.forms.len()) {
            None => (self.brands.get(place.brand), self.forms.get(place.form)),
            Some(form) => (more.and_then(|more| more.brands.get(place.brand)), more.and_then(|more| more.forms.get(form))),
        }
    }

    /// True when the name is a form of a configured brand.
    pub(super) fn knows(&self, name: &str) -> bool {
        self.by_compact.contains_key(&compact(name))
    }

    /// True when one of these places is the brand of a name.
    pub(super) fn has(&self, more: &Self, places: &[Place], name: &str) -> bool {
        let forms =
            |brands: &Self| brands.by_compact.get(&compact(name)).and_then(|form| brands.forms.get(*form)).map(|form| form.brand);
        forms(self).or_else(|| forms(more)).is_some_and(|brand| places.iter().any(|place| place.brand == brand))
    }
}

/// True when the span lies in one of the org's names, or overlaps one without holding it whole and more.
fn is_inside_own(own: &[Range<usize>], span: &Range<usize>) -> bool {
    let first = own.partition_point(|own| own.end <= span.start);
    own.get(first)
        .is_some_and(|own| own.start < span.end && !(span.start <= own.start && own.end <= span.end && own.len() < span.len()))
}

/// The name without the last word, without the last two, …, as long as what goes is a word of products or generic.
fn heads(name: &str) -> impl Iterator<Item = &str> {
    let descriptor = |word: &str| {
        let word = fold(word.trim_matches(['(', ')']));
        PRODUCT_WORDS.contains(&word.as_str()) || is_generic(&word)
    };
    std::iter::successors(Some(name), move |name| {
        let (head, last) = name.rsplit_once([' ', '-'])?;
        (descriptor(last) && !head.trim().is_empty()).then(|| head.trim_end())
    })
    .skip(1)
}

/// A name that is written with a capital first and no other sign of a name (`Wave`, `Lemonade`, `Blue Bottle`) is not meant where
/// every letter is small: that is the word. A name that no word looks like (`HubSpot`, `7shifts`) is, in any case.
fn written_as_name(form: &str, written: &str) -> bool {
    let word_like = form.split([' ', '-']).all(|word| {
        let mut letters = word.chars();
        letters.next().is_some_and(char::is_uppercase) && letters.all(char::is_lowercase)
    });
    !word_like || written.contains(char::is_uppercase)
}

/// True for what a model takes for a brand and is none: a heading, a place, a date, a kind of thing. Folded names.
pub(super) fn is_no_brand(folded: &str) -> bool {
    static LISTED: LazyLock<HashSet<String>> = LazyLock::new(|| {
        let lines = include_str!("data/not_brands.txt").lines().filter(|line| !line.starts_with('#'));
        lines.flat_map(|line| line.split(',')).map(fold).filter(|name| !name.is_empty()).collect()
    });
    is_generic(folded) || LISTED.contains(folded) || is_date(folded)
}

/// `2024`, `march 2025`, `q3 2025`, `h1`: no word but numbers, months and parts of years.
fn is_date(folded: &str) -> bool {
    folded.split_whitespace().all(|word| {
        let part =
            word.strip_prefix(['q', 'h']).is_some_and(|rest| rest.len() == 1 && rest.bytes().all(|byte| byte.is_ascii_digit()));
        part || is_generic(word)
    })
}
