//! The retry policy as a table: which error, which call, how many attempts, how long a wait.

use std::time::Duration;

use overheard::config::RetrySettings;
use overheard::http::retry::{CallKind, Decision, RetryBudget, decide, is_resend};
use overheard::{Error, ErrorKind};

const ALL: [ErrorKind; 23] = [
    ErrorKind::NotSent,
    ErrorKind::OutcomeUnknown,
    ErrorKind::RateLimited,
    ErrorKind::Overloaded,
    ErrorKind::Unavailable,
    ErrorKind::QuotaExhausted,
    ErrorKind::Auth,
    ErrorKind::InvalidRequest,
    ErrorKind::Protocol,
    ErrorKind::TooLarge,
    ErrorKind::Undecodable,
    ErrorKind::Semantic,
    ErrorKind::Record,
    ErrorKind::SnapshotFailed,
    ErrorKind::SnapshotGone,
    ErrorKind::Host,
    ErrorKind::Budget,
    ErrorKind::Deadline,
    ErrorKind::Cancelled,
    ErrorKind::Config,
    ErrorKind::Unsupported,
    ErrorKind::Journal,
    ErrorKind::Internal,
];

fn error(kind: ErrorKind) -> Error {
    Error::new(kind, "x")
}

/// Attempts that are made when every one fails the same way.
fn attempts(error: &Error, call: CallKind) -> u32 {
    let (mut attempt, mut resends) = (1, 0);
    while let Decision::Retry { .. } = decide(error, call, attempt, resends, &RetrySettings::default(), 0.5) {
        attempt += 1;
        resends += u32::from(is_resend(error));
    }
    attempt
}

#[test]
fn attempts_by_error_and_call() {
    use CallKind::{Free, Paid, Trigger};
    let expected = |kind| match kind {
        ErrorKind::NotSent | ErrorKind::RateLimited => (3, 3, 9),
        ErrorKind::Overloaded => (3, 1, 9),
        ErrorKind::OutcomeUnknown => (2, 1, 9),
        ErrorKind::Undecodable | ErrorKind::Semantic | ErrorKind::Protocol => (2, 1, 5),
        _ => (1, 1, 1),
    };
    for kind in ALL {
        let error = error(kind);
        assert_eq!((attempts(&error, Paid), attempts(&error, Trigger), attempts(&error, Free)), expected(kind), "{kind:?}");
    }
}

#[test]
fn at_most_one_paid_resend_whatever_failed_before() {
    let settings = RetrySettings { attempts: 10, ..RetrySettings::default() };
    for kind in [ErrorKind::OutcomeUnknown, ErrorKind::Undecodable, ErrorKind::Semantic, ErrorKind::Protocol] {
        assert!(matches!(decide(&error(kind), CallKind::Paid, 2, 0, &settings, 0.0), Decision::Retry { .. }));
        assert_eq!(decide(&error(kind), CallKind::Paid, 2, 1, &settings, 0.0), Decision::GiveUp);
    }
    assert!(matches!(decide(&error(ErrorKind::RateLimited), CallKind::Paid, 2, 1, &settings, 0.0), Decision::Retry { .. }));
}

#[test]
fn exact_waits() {
    let settings = RetrySettings::default();
    let wait = |kind, retry_after: Option<u64>, call, attempt, random| {
        let error = error(kind).with(|context| context.retry_after_ms = retry_after);
        match decide(&error, call, attempt, 0, &settings, random) {
            Decision::Retry { after } => Some(after.as_millis()),
            Decision::GiveUp => None,
        }
    };
    use CallKind::{Free, Paid};
    use ErrorKind::{NotSent, Overloaded, RateLimited};
    for (kind, retry_after, call, attempt, random, expected) in [
        (NotSent, None, Paid, 1, 0.0, Some(250)),
        (NotSent, None, Paid, 1, 1.0, Some(500)),
        (NotSent, None, Paid, 2, 0.0, Some(500)),
        (NotSent, None, Paid, 2, 0.5, Some(750)),
        (NotSent, None, Paid, 3, 0.5, None),
        (Overloaded, None, Free, 5, 1.0, Some(8_000)),
        (Overloaded, None, Free, 7, 1.0, Some(20_000)),
        (Overloaded, None, Free, 8, 0.0, Some(10_000)),
        (Overloaded, None, Free, 9, 0.0, None),
        (RateLimited, None, Paid, 1, 0.0, Some(1_000)),
        (RateLimited, None, Paid, 2, 1.0, Some(4_000)),
        (RateLimited, Some(7_000), Paid, 1, 0.0, Some(7_000)),
        (RateLimited, Some(7_000), Paid, 1, 1.0, Some(7_700)),
        (RateLimited, Some(100), Paid, 1, 0.0, Some(1_000)),
        (Overloaded, Some(3_000), Paid, 1, 0.5, Some(3_150)),
        (RateLimited, Some(120_000), Paid, 1, 0.0, Some(120_000)),
        (RateLimited, Some(120_001), Paid, 1, 0.0, Some(120_001)), // the provider is parked
        (RateLimited, Some(900_000), Free, 1, 0.0, Some(900_000)),
        (RateLimited, Some(900_001), Paid, 1, 0.0, None),
        (RateLimited, Some(900_001), Free, 1, 0.0, None),
        (RateLimited, Some(u64::MAX), Free, 1, 0.0, None),
        (RateLimited, None, Paid, 1, f64::NAN, Some(2_000)),
    ] {
        assert_eq!(
            wait(kind, retry_after, call, attempt, random),
            expected,
            "{kind:?} {retry_after:?} {call:?} {attempt} {random}"
        );
    }
    let endless = RetrySettings { attempts: u32::MAX, ..settings.clone() };
    let decided = decide(&error(NotSent), Paid, 1_000, 0, &endless, 1.0);
    assert_eq!(decided, Decision::Retry { after: Duration::from_secs(20) }, "no overflow far out");
}

#[test]
fn the_providers_own_verdict_is_obeyed_inside_the_bounds() {
    let said = |kind, verdict| error(kind).with(|context| context.should_retry = Some(verdict));
    for kind in ALL {
        for call in [CallKind::Paid, CallKind::Trigger, CallKind::Free] {
            assert_eq!(attempts(&said(kind, false), call), 1, "{kind:?}");
        }
    }
    assert_eq!(attempts(&said(ErrorKind::InvalidRequest, true), CallKind::Paid), 3);
    for kind in [ErrorKind::QuotaExhausted, ErrorKind::Auth, ErrorKind::TooLarge] {
        assert_eq!(attempts(&said(kind, true), CallKind::Paid), 1, "never: {kind:?}");
    }
    assert_eq!(attempts(&said(ErrorKind::Overloaded, true), CallKind::Trigger), 1, "a trigger is never sent again after a 5xx");
}

#[test]
fn the_budget_runs_out_and_fills_with_first_tries() {
    let (plain, lost) = (error(ErrorKind::Overloaded), error(ErrorKind::OutcomeUnknown));
    let budget = RetryBudget::new(0);
    let taken = (0..100).filter(|_| budget.take(&plain)).count();
    assert_eq!(taken, 20, "never less than twenty");
    for _ in 0..9 {
        budget.succeeded();
    }
    assert!(!budget.take(&plain), "nine successes are 0.9");
    budget.succeeded();
    assert!(!budget.take(&lost), "a lost reply costs two");
    assert!(budget.take(&plain) && !budget.take(&plain));

    let large = RetryBudget::new(1_000);
    for _ in 0..1_000 {
        large.succeeded();
    }
    assert_eq!(
        (0..200).filter(|_| large.take(&lost)).count(),
        50,
        "ten per cent of the plan, two for each, and never above the capacity"
    );
}
