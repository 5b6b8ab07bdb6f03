//! The pure data: money to the micro-dollar, charges, cell keys, and the shapes that cross borders as JSON.

use std::str::FromStr;

use overheard::ErrorKind;
use overheard::domain::{Cell, CellKey, Location, MicroUsd, Outcome, Price, Priced, Question, RunStatus, Usage};
use proptest::prelude::*;

#[test]
fn dollar_amounts() {
    for (text, micro) in [
        ("5", 5_000_000),
        ("5.00", 5_000_000),
        ("$0.0015", 1_500),
        (" 0.150000 ", 150_000),
        (".5", 500_000),
        ("1.", 1_000_000),
        ("0.000001", 1),
        ("0", 0),
        ("9223372036854.775807", i64::MAX),
    ] {
        assert_eq!(MicroUsd::parse("max_cost", text).unwrap(), MicroUsd(micro), "{text}");
    }
    for text in [
        "",
        ".",
        "$",
        "-1",
        "+1",
        "1e3",
        "1,5",
        "1.0000001",
        "NaN",
        "inf",
        "1 000",
        "0x1",
        "١",
        "1.2.3",
        "9223372036854.775808",
        "99999999999999999999",
    ] {
        let error = MicroUsd::parse("max_cost", text).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Config, "{text}");
        assert_eq!(error.context.field.as_deref(), Some("max_cost"));
    }
}

#[test]
fn amounts_print_with_six_decimals() {
    for (micro, text) in
        [(0, "0.000000"), (1, "0.000001"), (150_000, "0.150000"), (-1_500, "-0.001500"), (i64::MIN, "-9223372036854.775808")]
    {
        assert_eq!(MicroUsd(micro).to_string(), text);
    }
    assert_eq!(serde_json::to_string(&MicroUsd(1_500)).unwrap(), "1500", "an integer on every border");
    assert!(serde_json::from_str::<MicroUsd>("0.5").is_err(), "a float is never money");
}

fn usage(input: u64, output: u64) -> Usage {
    Usage { input_tokens: Some(input), output_tokens: Some(output), ..Usage::default() }
}

fn tokens(input: i64, output: i64) -> Price {
    Price { input: Some(input), output: Some(output), ..Price::default() }
}

/// Reference values worked out by hand: gpt-4.1-mini at $0.40 and $1.60, Sonnet at $3 / $0.30 / $3.75 / $15 a million, $10 a
/// thousand searches, $0.0015 a Bright Data record.
#[test]
fn reference_charges() {
    let mini = tokens(400_000, 1_600_000);
    assert_eq!(mini.charge(&usage(1_000, 200)), Priced::Charge(MicroUsd(400 + 320)));
    assert_eq!(mini.charge(&usage(1, 0)), Priced::Charge(MicroUsd(0)), "0.4 rounds down");
    assert_eq!(mini.charge(&usage(1, 1)), Priced::Charge(MicroUsd(2)), "0.4 + 1.6 rounds once");
    let sonnet = Price {
        cached_input: Some(300_000),
        cache_write: Some(3_750_000),
        search: Some(10_000),
        ..tokens(3_000_000, 15_000_000)
    };
    let turn = Usage { cached_input_tokens: 400, cache_write_tokens: 100, searches: 3, ..usage(1_000, 500) };
    assert_eq!(sonnet.charge(&turn), Priced::Charge(MicroUsd(600 * 3 + 120 + 375 + 7_500 + 30_000)));
    let record = Price { record: Some(1_500), ..Price::default() };
    assert_eq!(record.charge(&Usage { records: 20, ..Usage::default() }), Priced::Charge(MicroUsd(30_000)));
    assert_eq!(record.charge(&Usage::default()), Priced::Charge(MicroUsd::ZERO));
    let request = Price { request: Some(5_000), ..Price::default() };
    assert_eq!(request.charge(&Usage::default()), Priced::Charge(MicroUsd(5_000)));
}

#[test]
fn half_a_micro_dollar_rounds_up() {
    for (price, tokens_in, charge) in [(500_000, 1, 1), (499_999, 1, 0), (500_000, 3, 2), (1_500_000, 1, 2)] {
        assert_eq!(tokens(price, 0).charge(&usage(tokens_in, 0)), Priced::Charge(MicroUsd(charge)), "{price} × {tokens_in}");
    }
}

#[test]
fn missing_counts_are_unpriced_not_free() {
    let price = tokens(1, 1);
    assert_eq!(price.charge(&Usage::default()), Priced::Unpriced);
    assert_eq!(price.charge(&Usage { input_tokens: Some(1), ..Usage::default() }), Priced::Unpriced);
    assert_eq!(price.charge(&Usage { output_tokens: Some(1), ..Usage::default() }), Priced::Unpriced);
}

#[test]
fn more_cached_than_input_is_never_negative() {
    let price = Price { cached_input: Some(100_000), ..tokens(1_000_000, 0) };
    let odd = Usage { cached_input_tokens: 50, ..usage(10, 0) };
    assert_eq!(price.charge(&odd), Priced::Charge(MicroUsd(1)), "10 cached tokens at $0.10 a million");
}

#[test]
fn user_prices_lie_over_the_packaged_ones() {
    let packaged = Price { search: Some(10_000), max_input_tokens: Some(1_000), ..tokens(1, 2) };
    let user = Price { output: Some(7), ..Price::default() };
    assert_eq!(packaged.overlaid(&user), Price { output: Some(7), ..packaged.clone() });
    assert_eq!(Price::default().overlaid(&packaged), packaged);
}

#[test]
fn locations_print() {
    let location = |country: &str, region: Option<&str>, city: Option<&str>| Location {
        country: country.into(),
        region: region.map(str::to_owned),
        city: city.map(str::to_owned),
    };
    for (location, text) in [
        (location("", None, None), "anywhere"),
        (location("US", None, None), "US"),
        (location("US", Some("California"), None), "US/California"),
        (location("US", Some("California"), Some("San Francisco")), "US/California/San Francisco"),
        (location("DE", None, Some("Berlin")), "DE//Berlin"),
    ] {
        assert_eq!(location.to_string(), text);
        assert_eq!(location.is_anywhere(), text == "anywhere");
    }
}

#[test]
fn a_cell_s_key() {
    let question = Question { id: "q|1%".into(), text: "Which?".into() };
    let cell = Cell {
        question: question.into(),
        model: "chatgpt".into(),
        location: Location { country: "US".into(), ..Location::default() }.into(),
        repeat: 2,
    };
    assert_eq!(cell.key().to_string(), "q%7C1%25|chatgpt|US|2");
    for text in ["", "a|b|c", "a|b|c|x", "a|b|c|1|2", "a|b|c|-1", "a|b|c|65536"] {
        assert!(CellKey::from_str(text).is_err(), "{text}");
    }
}

#[test]
fn a_raw_body_that_is_no_utf8_still_crosses_as_json() {
    let outcome = Outcome { raw: bytes::Bytes::from_static(b"a\xFFb\0"), ..Outcome::empty(RunStatus::Answered) };
    let text = serde_json::to_string(&outcome).unwrap();
    let back: Outcome = serde_json::from_str(&text).unwrap();
    assert_eq!(back.raw, "a\u{fffd}b\0".as_bytes());
    assert_eq!(Outcome { raw: outcome.raw.clone(), ..back }, outcome);
}

proptest! {
    #[test]
    fn amounts_survive_printing(micro in 0..=i64::MAX) {
        prop_assert_eq!(MicroUsd::parse("x", &MicroUsd(micro).to_string()).unwrap(), MicroUsd(micro));
    }

    #[test]
    fn any_text_is_an_amount_or_an_error(text in "\\PC{0,24}") {
        if let Ok(amount) = MicroUsd::parse("x", &text) {
            prop_assert!(amount >= MicroUsd::ZERO);
        }
    }

    #[test]
    fn sums_never_wrap(amounts in prop::collection::vec(any::<i64>(), 0..8), count in any::<u64>()) {
        let exact: i128 = amounts.iter().map(|amount| i128::from(*amount)).sum();
        let sum: MicroUsd = amounts.iter().copied().map(MicroUsd).sum();
        if amounts.iter().all(|amount| *amount >= 0) {
            prop_assert_eq!(i128::from(sum.0), exact.min(i128::from(i64::MAX)));
        }
        let amount = amounts.first().copied().unwrap_or(1).saturating_abs();
        let exact = i128::from(amount) * i128::from(count);
        prop_assert_eq!(i128::from(MicroUsd(amount).times(count).0), exact.min(i128::from(i64::MAX)));
    }

    /// The charge differs from the exact sum of its parts by half a micro-dollar at most, and each part counts.
    #[test]
    fn charges_are_rounded_once(
        input in 0..10_000_000_u64, cached in 0..10_000_000_u64, written in 0..1_000_000_u64, output in 0..1_000_000_u64,
        prices in prop::array::uniform4(0..100_000_000_i64), searches in 0..100_u64, search in 0..1_000_000_i64,
    ) {
        let [input_price, cached_price, write_price, output_price] = prices;
        let price = Price {
            cached_input: Some(cached_price), cache_write: Some(write_price), search: Some(search), ..tokens(input_price, output_price)
        };
        let usage = Usage { cached_input_tokens: cached, cache_write_tokens: written, searches, ..usage(input, output) };
        let cached = cached.min(input);
        let picos = i128::from(input - cached) * i128::from(input_price) + i128::from(cached) * i128::from(cached_price)
            + i128::from(written) * i128::from(write_price) + i128::from(output) * i128::from(output_price)
            + i128::from(searches) * i128::from(search) * 1_000_000;
        let Priced::Charge(charge) = price.charge(&usage) else { return Err(TestCaseError::fail("unpriced")) };
        let difference = i128::from(charge.0) * 1_000_000 - picos;
        prop_assert!((-499_999..=500_000).contains(&difference), "{difference}");
    }

    #[test]
    fn absurd_counts_do_not_overflow(input in any::<u64>(), output in any::<u64>(), searches in any::<u64>(), price in 0..i64::MAX) {
        let price = Price { search: Some(price), record: Some(price), ..tokens(price, price) };
        let usage = Usage { searches, records: searches, ..usage(input, output) };
        prop_assert!(matches!(price.charge(&usage), Priced::Charge(MicroUsd(charge)) if charge >= 0));
    }

    #[test]
    fn cell_keys_survive_printing(question_id in key_part(), model in key_part(), location in key_part(), repeat in any::<u16>()) {
        let key = CellKey { question_id, model, location, repeat };
        prop_assert_eq!(&CellKey::from_str(&key.to_string()).unwrap(), &key);
        prop_assert_eq!(&serde_json::from_str::<CellKey>(&serde_json::to_string(&key).unwrap()).unwrap(), &key);
    }

    #[test]
    fn different_cells_have_different_keys(first in (key_part(), key_part(), key_part()), second in (key_part(), key_part(), key_part())) {
        let key = |(question_id, model, location): &(String, String, String)| {
            CellKey { question_id: question_id.clone(), model: model.clone(), location: location.clone(), repeat: 1 }.to_string()
        };
        prop_assert_eq!(first == second, key(&first) == key(&second));
    }
}

fn key_part() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), "[a|%27C5]{0,8}"]
}
