//! The end of every decoder: from text and refusal to the status of an [`Outcome`]; and when two URLs are one page.
//!
//! Must not look into the answer's meaning: a refusal is what the provider marks as one.

use crate::domain::{Outcome, RunStatus};
use crate::error::{Error, ErrorKind};

use super::wire::Caller;

/// Sets status and text: an answer when there is text, a refusal when there is only that, else `no_answer` with the error code
/// `empty_answer`. An answer that goes with refusing words stays an answer, with the finish reason `refusal`.
pub(super) fn settle(mut outcome: Outcome, text: String, refusal: Option<String>, caller: &Caller<'_>) -> Outcome {
    let empty = text.trim().is_empty();
    match refusal {
        Some(words) if empty => {
            outcome.status = RunStatus::Refused;
            outcome.text = Some(words).filter(|words| !words.trim().is_empty());
            outcome.finish_reason = Some("refusal".to_owned());
        }
        refusal if !empty => {
            outcome.status = RunStatus::Answered;
            outcome.text = Some(text);
            if refusal.is_some() {
                outcome.finish_reason = Some("refusal".to_owned());
            }
        }
        _ => {
            outcome.status = RunStatus::NoAnswer;
            let reason =
                outcome.finish_reason.as_deref().map(|reason| format!(" (it ended with '{reason}')")).unwrap_or_default();
            outcome.error = Some(empty_answer(caller, &format!("{} replied without an answer{reason}", caller.title)));
        }
    }
    outcome
}

/// The error that explains a `no_answer`.
pub(super) fn empty_answer(caller: &Caller<'_>, message: &str) -> Error {
    Error::new(ErrorKind::Semantic, message).with(|context| {
        context.provider = Some(caller.provider.to_owned());
        context.code = Some("empty_answer".to_owned());
    })
}

/// A key under which two spellings of one page are equal: without fragment and without the tracking parameters the engines
/// add (`utm_*`). For joining lists of one reply only; the stored URL stays as sent.
pub(super) fn same_page(url: &str) -> String {
    let url = url.split('#').next().unwrap_or(url);
    let Some((page, query)) = url.split_once('?') else { return url.trim_end_matches('/').to_owned() };
    let kept: Vec<&str> = query.split('&').filter(|pair| !pair.is_empty() && !pair.starts_with("utm_")).collect();
    let page = page.trim_end_matches('/');
    if kept.is_empty() { page.to_owned() } else { format!("{page}?{}", kept.join("&")) }
}

#[cfg(test)]
mod tests {
    use super::same_page;

    #[test]
    fn one_page_in_many_spellings() {
        for url in [
            "https://a.example/x",
            "https://a.example/x/",
            "https://a.example/x?utm_source=openai",
            "https://a.example/x/?utm_source=chatgpt.com&utm_medium=b#:~:text=c",
        ] {
            assert_eq!(same_page(url), "https://a.example/x", "{url}");
        }
        assert_eq!(same_page("https://a.example/x?id=1&utm_source=openai"), "https://a.example/x?id=1");
        assert_ne!(same_page("https://a.example/x?id=1"), same_page("https://a.example/x?id=2"));
    }
}
