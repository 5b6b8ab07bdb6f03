//! Faults of the catalogue (`tests/FAULTS.md`) that are a codec's own: what a reply means, from its bytes alone.

use overheard::ErrorKind;
use overheard::domain::RunStatus;
use overheard::providers::Ask;
use serde_json::{Value, json};

use crate::providers_support::*;

fn asks() -> Vec<Ask> {
    ["Which CRM suits a bakery?", "Welches CRM passt zu einem Café?"].iter().map(|text| ask_from(text, "US")).collect()
}

fn row(index: u64, input: &str) -> Value {
    json!({
        "prompt": input, "index": index, "country": "US", "input": {"prompt": input, "index": index, "country": "US"},
        "answer_text_markdown": format!("This is a long enough answer to: {input}"),
    })
}

#[test]
fn f41_rows_of_another_submission_are_nobodys_whatever_their_numbers() {
    let theirs = json!([row(1, "Which wiki suits a school?"), row(2, "Which editor suits a school?")]);
    let (outcomes, received, foreign) = rows(provider("chatgpt").as_ref(), &asks(), &reply_json(200, &theirs));
    assert_eq!((received, foreign), (2, 2));
    for outcome in outcomes {
        let error = outcome.error.unwrap();
        assert_eq!(
            (outcome.status, error.kind, error.context.code.as_deref()),
            (RunStatus::Failed, ErrorKind::Record, Some("missing_row"))
        );
        assert_eq!(outcome.cost_micro_usd.unwrap().0, 0);
    }
}

#[test]
fn f47_a_row_whose_number_is_another_questions_is_found_by_its_input() {
    let asks = asks();
    let swapped = json!([row(2, &asks[0].question), row(1, &asks[1].question)]);
    let (outcomes, _, foreign) = rows(provider("chatgpt").as_ref(), &asks, &reply_json(200, &swapped));
    assert_eq!(foreign, 0);
    for (ask, outcome) in asks.iter().zip(outcomes) {
        assert_eq!(outcome.text.unwrap(), format!("This is a long enough answer to: {}", ask.question));
    }
}

#[test]
fn f48_an_input_in_another_case_and_unicode_form_is_the_same_question() {
    let asks = asks();
    let echoed = json!([row(1, "WHICH CRM  suits a bakery?"), row(2, "Welches CRM passt zu einem Cafe\u{301}?")]);
    let (outcomes, _, foreign) = rows(provider("chatgpt").as_ref(), &asks, &reply_json(200, &echoed));
    assert_eq!((foreign, outcomes.iter().filter(|outcome| outcome.status == RunStatus::Answered).count()), (0, 2));
}
