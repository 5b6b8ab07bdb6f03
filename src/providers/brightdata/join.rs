//! Which row answers which question: by `index`, then `input.index`, then prompt and country. Never by position. A row whose
//! own input is another question is not joined by its number: every submission counts from 1.
//!
//! A pure function of the set of rows: their order only decides between two equally good rows of the same time for the same
//! question. A row that fits no question is foreign and counted.

use std::collections::HashMap;

use super::engine::Engine;
use super::rows::Row;
use super::text::same_words;
use crate::providers::Ask;

/// The best row of each ask, and how many rows belong to none.
pub(super) struct Joined {
    /// Per ask, the position of its row among the rows.
    pub(super) rows: Vec<Option<usize>>,
    /// Rows that belong to no ask.
    pub(super) foreign: usize,
}

/// Joins rows to asks.
pub(super) fn join(engine: &Engine, asks: &[Ask], rows: &[Row<'_>], with_country: bool) -> Joined {
    let mut candidates: Vec<Vec<usize>> = vec![Vec::new(); asks.len()];
    let (mut pools, mut foreign): (HashMap<usize, Vec<usize>>, usize) = (HashMap::new(), 0);
    for (place, row) in rows.iter().enumerate() {
        let numbered = index_of(row, asks.len()).filter(|ask| asks.get(*ask).is_some_and(|ask| !is_input_of_another(ask, row)));
        if let Some(slot) = numbered.and_then(|ask| candidates.get_mut(ask)) {
            slot.push(place);
            continue;
        }
        // Equal prompts form one group under their first ask; its rows are dealt out below.
        match asks.iter().position(|ask| is_asked_by(engine, ask, row, with_country)) {
            Some(first) => pools.entry(first).or_default().push(place),
            // A lone row without any identity can only answer a lone question.
            None if asks.len() == 1 && rows.len() == 1 && row.is_anonymous() => pools.entry(0).or_default().push(place),
            None => foreign += 1,
        }
    }
    // Best first: rank, then the earliest delivered, then the body's order.
    let order = |ask: &Ask, place: &usize| {
        let row = rows.get(*place);
        let time = row.and_then(|row| row.timestamp.filled()).unwrap_or("~").to_owned();
        (row.map_or(u8::MAX, |row| row.rank(&ask.question)), time, *place)
    };
    let mut chosen: Vec<Option<usize>> = asks
        .iter()
        .zip(&candidates)
        .map(|(ask, places)| {
            if let [only] = places.as_slice() {
                Some(*only)
            } else {
                places.iter().copied().min_by_key(|place| order(ask, place))
            }
        })
        .collect();
    for (first, mut places) in pools {
        let Some(asked) = asks.get(first) else { continue };
        places.sort_by_cached_key(|place| order(asked, place));
        let mut places = places.into_iter();
        for (ask, slot) in asks.iter().zip(&mut chosen) {
            if !is_same_question(engine, asked, ask, with_country) {
                continue;
            }
            // An ask with an error row of its own still takes a better row that was found by its prompt.
            let improves = |place: usize| slot.is_none_or(|own| order(ask, &place).0 < order(ask, &own).0);
            match places.as_slice().first().copied() {
                Some(next) if improves(next) => *slot = places.next(),
                _ => {}
            }
        }
    }
    Joined { rows: chosen, foreign }
}

/// The ask a row names by number: `index`, else `input.index`, from 1. A 0 or a number out of range names none.
fn index_of(row: &Row<'_>, asks: usize) -> Option<usize> {
    [row.index.0, row.input.0.as_ref().and_then(|echo| echo.index.0)]
        .into_iter()
        .flatten()
        .filter_map(|index| usize::try_from(index).ok()?.checked_sub(1))
        .find(|position| *position < asks)
}

/// True when the input that the row echoes is another question. Its `prompt` alone proves nothing: scrapers add words to it.
fn is_input_of_another(ask: &Ask, row: &Row<'_>) -> bool {
    let input = row.input.0.as_ref().and_then(|echo| echo.prompt.filled());
    input.is_some_and(|prompt| !same_words(prompt, &ask.question))
}

/// True when the row echoes the ask's prompt, and no other country.
fn is_asked_by(engine: &Engine, ask: &Ask, row: &Row<'_>, with_country: bool) -> bool {
    let echo = row.input.0.as_ref();
    let prompts = [row.prompt.filled(), echo.and_then(|echo| echo.prompt.filled())];
    let country = row.country.filled().or_else(|| echo.and_then(|echo| echo.country.filled()));
    let same_country = match (country, engine.country(ask, with_country)) {
        // Rows leave the country out, and tell one that was not asked for: neither is a contradiction.
        (Some(row), Some(asked)) => row.eq_ignore_ascii_case(&asked),
        _ => true,
    };
    same_country && prompts.into_iter().flatten().any(|prompt| same_words(prompt, &ask.question))
}

fn is_same_question(engine: &Engine, one: &Ask, other: &Ask, with_country: bool) -> bool {
    same_words(&one.question, &other.question) && engine.country(one, with_country) == engine.country(other, with_country)
}
