//! The body of a download in all its shapes: array, object, lines, wrapped in `data`; or a notice that it is not ready.
//!
//! A 200 is no proof of data: an empty body and an object that has a status or message and no column of a row mean "later".

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::join::join;
use super::rows::{self, Row};
use super::{BrightData, error};
use crate::domain::Outcome;
use crate::error::{Error, ErrorKind, Result};
use crate::http::HttpResponse;
use crate::providers::wire::{Caller, LONGEST_LIST, Maybe, Spare, repaired};
use crate::providers::{Ask, Download, Progress};

type Rows<'a> = Vec<(&'a RawValue, Row<'a>)>;

/// Decodes a 2xx reply.
pub(super) fn decode(provider: &BrightData, asks: &[Ask], reply: &HttpResponse) -> Result<Download> {
    let (spare, caller) = (Spare::new(), provider.caller());
    let body: &[u8] = &reply.body;
    let hint = super::wait_hint(reply);
    if body.trim_ascii().is_empty() {
        return Ok(Download::NotReady(hint));
    }
    let read = read(body).or_else(|| read(spare.get_or_init(|| mended(body).unwrap_or_default())));
    let Some(rows) = read else {
        // A 202 means "later" in whatever words.
        return match reply.status {
            202 => Ok(Download::NotReady(hint)),
            _ => {
                Err(caller.content(reply, ErrorKind::Undecodable, None, "the download is no JSON array, object or lines of JSON"))
            }
        };
    };
    if let [(_, only)] = rows.as_slice()
        && !only.is_row()
    {
        return notice(only, &caller, reply, hint);
    }
    if reply.status == 202 {
        return Ok(Download::NotReady(hint));
    }
    Ok(settle(provider, asks, &reply.body, rows))
}

/// An object without a column of a row: not ready, or ended without data.
fn notice(row: &Row<'_>, caller: &Caller<'_>, reply: &HttpResponse, hint: Option<u64>) -> Result<Download> {
    let (status, message) = row.notice();
    if let Some(Progress::Failed(why)) = status.map(|status| super::listing::progress(status, message)) {
        return Err(caller.content(reply, ErrorKind::SnapshotFailed, status, &format!("the snapshot ended without data: {why}")));
    }
    if status.is_none() && message.is_none() && reply.status != 202 {
        return Err(caller.content(
            reply,
            ErrorKind::Undecodable,
            None,
            "the download is an object that is neither a row nor a notice",
        ));
    }
    Ok(Download::NotReady(hint.or_else(|| message.and_then(error::try_again_in))))
}

fn settle(provider: &BrightData, asks: &[Ask], body: &Bytes, rows: Rows<'_>) -> Download {
    let received = rows.len();
    let (raws, rows): (Vec<&RawValue>, Vec<Row<'_>>) = rows.into_iter().unzip();
    let joined = join(provider.engine, asks, &rows, provider.with_country);
    let outcome = |(ask, place): (&Ask, &Option<usize>)| {
        let found = place.and_then(|place| rows.get(place).zip(raws.get(place)));
        let outcome = match found {
            Some((row, raw)) => {
                let raw = rows::raw(body, raw);
                row.outcome(&ask.question, &provider.caller(), &provider.price, provider.charge_error_rows, raw)
            }
            None => missing(provider, ask, received, asks.len()),
        };
        // What was sent counts, not what the row echoes: omitted inputs come back as "".
        Outcome { location_applied: provider.engine.country(ask, provider.with_country), ..outcome }
    };
    let outcomes = asks.iter().zip(&joined.rows).map(outcome).collect();
    Download::Rows { outcomes, received, foreign: joined.foreign }
}

fn missing(provider: &BrightData, ask: &Ask, received: usize, expected: usize) -> Outcome {
    let message = format!(
        "Batch returned {received} responses but expected {expected}: no row for this question; a resume asks it again \
         (the other questions of the batch are stored)"
    );
    Outcome::failed(Error::new(ErrorKind::Record, message).with(|context| {
        context.provider = Some(provider.caller().provider.to_owned());
        context.code = Some("missing_row".to_owned());
        context.cell = Some(ask.key.to_string());
    }))
}

/// All rows; `None` when any part of the body is no JSON, because a cut-off download must be fetched again as a whole.
fn read(body: &[u8]) -> Option<Rows<'_>> {
    let mut rows = Vec::new();
    for raw in documents(body)? {
        let row: Maybe<Row<'_>> = serde_json::from_str(raw.get()).ok()?;
        rows.push((raw, row.0.unwrap_or_default()));
    }
    Some(rows)
}

/// The elements of an array, and only of an array, up to [`LONGEST_LIST`]: each becomes a row, hundreds of times the bytes of an
/// element such as `1`.
struct Elements<'a>(Vec<&'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for Elements<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Reader;
        impl<'de> serde::de::Visitor<'de> for Reader {
            type Value = Elements<'de>;
            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("an array")
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> std::result::Result<Self::Value, A::Error> {
                let mut elements = Vec::new();
                while elements.len() < LONGEST_LIST {
                    let Some(element) = list.next_element()? else { return Ok(Elements(elements)) };
                    elements.push(element);
                }
                while list.next_element::<serde::de::IgnoredAny>()?.is_some() {}
                Ok(Elements(elements))
            }
        }
        deserializer.deserialize_seq(Reader)
    }
}

/// The documents of the body: the elements of an array (also one below `data`), else each line's object.
fn documents(body: &[u8]) -> Option<Vec<&RawValue>> {
    #[derive(Deserialize)]
    struct Wrapped<'a> {
        #[serde(borrow)]
        data: Elements<'a>,
    }
    match body.trim_ascii().first()? {
        b'[' => serde_json::from_slice::<Elements<'_>>(body).ok().map(|elements| elements.0),
        b'{' => {
            // One object, or several one after another: JSON lines, whatever breaks them.
            let lines = serde_json::Deserializer::from_slice(body).into_iter().take(LONGEST_LIST);
            let lines: Vec<&RawValue> = lines.collect::<Result<_, _>>().ok()?;
            match lines.as_slice() {
                [only] => Some(serde_json::from_str::<Wrapped<'_>>(only.get()).map_or(vec![*only], |wrapped| wrapped.data.0)),
                _ => Some(lines),
            }
        }
        _ => None,
    }
}

/// The body mended: as one document, else line by line.
fn mended(body: &[u8]) -> Option<Vec<u8>> {
    repaired(body).or_else(|| {
        let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
        let lines: Vec<Vec<u8>> = lines.map(repaired).collect::<Option<_>>()?;
        Some(lines.join(&b'\n'))
    })
}
