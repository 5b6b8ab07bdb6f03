//! Routing, keys and prices at the door.

use overheard::ErrorKind;
use overheard::config::Settings;
use overheard::domain::{MicroUsd, Price};
use overheard::providers::{Protocol, Route, known_models, provider_for, route, structured_model};

use crate::providers_support::*;

#[test]
fn the_rules_in_their_order() {
    let openai = |id: &str| Route::OpenAi(id.into());
    let anthropic = |id: &str| Route::Anthropic(id.into());
    for (model, expected) in [
        ("chatgpt", Route::ChatGpt),
        ("ChatGPT-search", Route::ChatGpt),
        ("chatgpt-4.1", Route::ChatGpt),
        ("Perplexity", Route::Perplexity),
        ("gemini", Route::Gemini),
        ("gemini-claude", Route::Gemini),
        ("claude-sonnet-4-5", anthropic("claude-sonnet-4-5")),
        ("CLAUDE-OPUS-5", anthropic("claude-opus-5")),
        ("sonnet-4-5", anthropic("claude-sonnet-4-5")),
        ("haiku-4-5", anthropic("claude-haiku-4-5")),
        ("gpt-4.1", openai("gpt-4.1")),
        ("GPT-5-Mini", openai("gpt-5-mini")),
        ("4.1-mini", openai("gpt-4.1-mini")),
        ("o3", openai("o3")),
        ("o4-mini", openai("o4-mini")),
        ("openai:Some/Model", openai("Some/Model")),
        ("OpenAI: gpt-4.1", openai("gpt-4.1")),
        ("openai:chatgpt-4o-latest", openai("chatgpt-4o-latest")),
        ("anthropic:claude-sonnet-4-5", anthropic("claude-sonnet-4-5")),
        ("brightdata:chatgpt", Route::ChatGpt),
        ("brightdata:Gemini", Route::Gemini),
        ("ft:gpt-4.1:acme", openai("ft:gpt-4.1:acme")),
    ] {
        assert_eq!(route(model).unwrap(), expected, "{model}");
    }
    for unknown in ["", "llama-3", "opera", "oops", "openai:", "brightdata:gpt-4.1", "mistral:large"] {
        let error = route(unknown).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Config, "{unknown}");
        assert!(error.message.contains("chatgpt") && error.message.contains("gpt-4.1"), "names the known ones: {}", error.message);
    }
}

#[test]
fn every_known_model_leads_to_a_provider_that_bears_its_name() {
    for model in known_models() {
        let provider = provider(&model);
        assert_eq!(provider.model(), model);
        assert!(matches!((provider.name(), provider.protocol()), ("brightdata", Protocol::Snapshot(_)) | (_, Protocol::Direct(_))));
        assert_eq!(provider.max_batch_size(), if provider.name() == "brightdata" { 20 } else { 1 });
    }
    for (model, title, surface) in [("chatgpt", "BrightData", "chatgpt"), ("gpt-4.1", "OpenAI", "openai"), ("sonnet-4-5", "Anthropic", "anthropic")] {
        let provider = provider(model);
        assert_eq!((provider.title(), provider.surface(), provider.model()), (title, surface, model));
    }
}

#[test]
fn a_missing_key_names_its_variable() {
    for (model, variable) in [
        ("chatgpt", "BRIGHTDATA_API_KEY"),
        ("perplexity", "BRIGHTDATA_API_KEY"),
        ("gpt-4.1", "OPENAI_API_KEY"),
        ("claude-sonnet-4-5", "ANTHROPIC_API_KEY"),
    ] {
        let error = provider_for(model, &Settings::default()).unwrap_err();
        assert_eq!((error.kind, error.context.field.as_deref()), (ErrorKind::Config, Some(variable)));
        assert!(error.message.contains(variable) && error.message.contains(model));
    }
    let error = structured_model("gpt-4.1-mini", &Settings::default()).unwrap_err();
    assert_eq!(error.context.field.as_deref(), Some("OPENAI_API_KEY"));
}

#[test]
fn an_unknown_price_is_an_error_and_a_users_price_mends_it() {
    let error = provider_for("openai:my-own-model", &settings()).unwrap_err();
    assert_eq!((error.kind, error.context.field.as_deref()), (ErrorKind::Config, Some("OVERHEARD_PRICES")));
    let mut settings = settings();
    settings.prices.insert("my-own-model".into(), Price { input: Some(1), output: Some(2), ..Price::default() });
    assert_eq!(provider_for("openai:my-own-model", &settings).unwrap().price().output, Some(2));
    settings.prices.insert("chatgpt".into(), Price { record: Some(2_500), ..Price::default() });
    let chatgpt = provider_for("chatgpt", &settings).unwrap();
    assert_eq!((chatgpt.worst_case(&ask("Q?")), chatgpt.expected(&ask("Q?"))), (MicroUsd(2_500), MicroUsd(2_500)));
}

#[test]
fn an_engine_has_no_structured_output() {
    let error = structured_model("gemini", &settings()).unwrap_err();
    assert_eq!((error.kind, error.context.field.as_deref()), (ErrorKind::Unsupported, Some("OVERHEARD_EXTRACTION_MODEL")));
    assert_eq!(structured_model("claude-haiku-4-5", &settings()).unwrap().name(), "anthropic");
}

#[test]
fn questions_are_checked_before_anything_is_sent() {
    for model in ["chatgpt", "gpt-4.1", "claude-sonnet-4-5"] {
        let provider = provider(model);
        let field_of = |ask| provider.check(&ask).unwrap_err();
        for empty in ["", "  \n"] {
            let error = field_of(ask(empty));
            assert_eq!((error.kind, error.context.field.as_deref()), (ErrorKind::InvalidRequest, Some("question")));
        }
        for country in ["USA", "U", "12", "ÄÖ", "U\u{202e}"] {
            let error = field_of(ask_from("Q?", country));
            assert_eq!((error.kind, error.context.field.as_deref()), (ErrorKind::InvalidRequest, Some("country")), "{country}");
            assert!(!error.message.contains('\u{202e}'));
        }
        for country in ["", "US", "de"] {
            assert!(provider.check(&ask_from("Q?", country)).is_ok(), "{country}");
        }
    }
    let long = "ü".repeat(4_097);
    let error = provider("chatgpt").check(&ask(&long)).unwrap_err();
    assert!(error.message.contains("4097 characters") && error.message.contains("4096"), "{}", error.message);
    assert!(provider("chatgpt").check(&ask(&"ü".repeat(4_096))).is_ok(), "characters, not bytes");
    assert!(provider("perplexity").check(&ask(&long)).is_ok(), "no limit is documented");
}
