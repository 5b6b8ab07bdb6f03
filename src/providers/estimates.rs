//! What a call can cost at most and what it is expected to cost: the one documented place of these assumptions.
//!
//! At most (the reservation): the largest input, the output cap and the search cap at their prices. The largest input is
//! - without search: one token per byte of what we send, plus [`FRAMING_TOKENS`]. Byte-level tokenizers make no token of less
//!   than a byte, so this is a true bound, and far below the model's ceiling;
//! - with search: the model's ceiling from the price table, for OpenAI no more than [`OPENAI_SEARCH_CONTEXT`]. Anthropic sums
//!   the input of all rounds of a searching turn, so its charge can pass the ceiling: the engine books that as over-reserved.
//!
//! Expected: [`EXPECTED_INPUT`] … below, from the recorded samples (9,000 to 20,000 input tokens, 500 to 800 visible output
//! tokens, one charged search for a question that needs one).

use crate::domain::{MicroUsd, Price, Priced, Usage};

/// What providers add around a prompt: roles, tool and schema descriptions.
const FRAMING_TOKENS: u64 = 1_000;
/// The web search tool of OpenAI works in this context whatever the model takes ("limited to a context window size of
/// 128,000", vendor's web search guide).
pub(crate) const OPENAI_SEARCH_CONTEXT: u64 = 128_000;
/// Ceiling of a model whose price entry names none.
const UNKNOWN_CEILING: u64 = 200_000;
/// Input of an answer with search: question, results, pages.
const EXPECTED_INPUT: u64 = 10_000;
/// Output of an answer.
const EXPECTED_OUTPUT: u64 = 800;
/// Output of an extraction.
const EXPECTED_EXTRACTION_OUTPUT: u64 = 200;
/// Characters of a token in prose.
const CHARACTERS_PER_TOKEN: u64 = 4;

/// The most that a call which sends `bytes` without search can be charged.
pub(crate) fn worst_without_search(price: &Price, bytes: usize, max_output_tokens: u32) -> MicroUsd {
    let bound = (bytes as u64).saturating_add(FRAMING_TOKENS);
    worst(price, price.max_input_tokens.map_or(bound, |ceiling| bound.min(ceiling)), max_output_tokens, 0)
}

/// The most that a call with search is reserved for; `context` caps the ceiling of the price table.
pub(crate) fn worst_with_search(price: &Price, context: Option<u64>, max_output_tokens: u32, max_searches: u32) -> MicroUsd {
    let ceiling = price.max_input_tokens.unwrap_or(UNKNOWN_CEILING);
    worst(price, context.map_or(ceiling, |context| ceiling.min(context)), max_output_tokens, max_searches)
}

fn worst(price: &Price, input_tokens: u64, max_output_tokens: u32, searches: u32) -> MicroUsd {
    // All input at the dearest input price: a cache write costs more than a plain token.
    let dearest = [price.input, price.cache_write, price.cached_input].into_iter().flatten().max();
    let price = Price { input: dearest, cached_input: None, cache_write: None, ..price.clone() };
    charge(&price, input_tokens, u64::from(max_output_tokens), u64::from(searches))
}

/// What an answer to a question of `characters` is expected to cost.
pub(crate) fn expected_answer(price: &Price, characters: usize, search: bool, max_output_tokens: u32) -> MicroUsd {
    let prompt = characters as u64 / CHARACTERS_PER_TOKEN + 20;
    let input = if search { EXPECTED_INPUT.max(prompt) } else { prompt };
    charge(price, input, EXPECTED_OUTPUT.min(u64::from(max_output_tokens)), u64::from(search))
}

/// What an extraction of a prompt of `characters` is expected to cost.
pub(crate) fn expected_extraction(price: &Price, characters: usize) -> MicroUsd {
    charge(price, characters as u64 / CHARACTERS_PER_TOKEN + 100, EXPECTED_EXTRACTION_OUTPUT, 0)
}

fn charge(price: &Price, input: u64, output: u64, searches: u64) -> MicroUsd {
    let usage = Usage { input_tokens: Some(input), output_tokens: Some(output), searches, ..Usage::default() };
    match price.charge(&usage) {
        Priced::Charge(amount) => amount,
        Priced::Unpriced => MicroUsd::ZERO, // cannot be: both counts are set
    }
}

/// The charge of a reply's usage; `None`: unpriced.
pub(crate) fn cost(price: &Price, usage: &Usage) -> Option<MicroUsd> {
    match price.charge(usage) {
        Priced::Charge(amount) => Some(amount),
        Priced::Unpriced => None,
    }
}
