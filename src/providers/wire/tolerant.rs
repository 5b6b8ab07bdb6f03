//! Field types that accept any JSON value: what does not fit is absent. Must never fail except on broken JSON.
//!
//! Each is a visitor over `deserialize_any`, so a value is read once and strings without escapes are borrowed.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::{BorrowedStrDeserializer, MapAccessDeserializer, StrDeserializer};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{LONGEST_LIST, LONGEST_TEXT};

/// Text; anything else is absent.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Text<'a>(pub(crate) Option<Cow<'a, str>>);

impl Text<'_> {
    /// The text, when it is there and not blank: providers echo omitted fields as `""`.
    pub(crate) fn filled(&self) -> Option<&str> {
        self.0.as_deref().map(str::trim).filter(|text| !text.is_empty())
    }

    /// The text as it came; empty when absent.
    pub(crate) fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }

    /// [`Self::filled`], owned.
    pub(crate) fn owned(&self) -> Option<String> {
        self.filled().map(str::to_owned)
    }
}

/// A count: a whole number that is not negative, or its decimal digits as text; anything else is absent.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Count(pub(crate) Option<u64>);

impl Count {
    /// As an offset or position.
    pub(crate) fn small(self) -> Option<u32> {
        self.0.and_then(|count| u32::try_from(count).ok())
    }
}

/// A truth value, also as `"true"`, `"False"`, `1`; anything else is unknown.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flag(pub(crate) Option<bool>);

/// An object; anything else is absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Maybe<T>(pub(crate) Option<T>);

impl<T> Default for Maybe<T> {
    fn default() -> Self {
        Self(None)
    }
}

/// A list; a single text or object is a list of one, anything else is empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct List<T>(pub(crate) Vec<T>);

impl<T> Default for List<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// A text or an object, where providers send both; anything else is an absent text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Either<'a, T> {
    /// A text.
    Text(Text<'a>),
    /// An object.
    Object(T),
}

impl<'a, T> IntoIterator for &'a List<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

/// Methods of a visitor that read a value and call it absent.
macro_rules! absent {
    ($($kind:ident),+ => $absent:expr) => { $(absent!(@one $kind $absent);)+ };
    (@one bool $absent:expr) => { fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> { Ok($absent) } };
    (@one number $absent:expr) => {
        fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> { Ok($absent) }
        fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> { Ok($absent) }
        fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> { Ok($absent) }
    };
    (@one text $absent:expr) => { fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> { Ok($absent) } };
    (@one null $absent:expr) => { fn visit_unit<E>(self) -> Result<Self::Value, E> { Ok($absent) } };
    (@one list $absent:expr) => {
        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            while list.next_element::<IgnoredAny>()?.is_some() {}
            Ok($absent)
        }
    };
    (@one object $absent:expr) => {
        fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
            while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            Ok($absent)
        }
    };
}

/// The text up to its bound.
fn bounded(text: &str) -> &str {
    if text.len() <= LONGEST_TEXT {
        return text;
    }
    text.get(..text.floor_char_boundary(LONGEST_TEXT)).unwrap_or_default()
}

fn expecting(formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
    formatter.write_str("any value")
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Text<'de>;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                expecting(formatter)
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Some(Cow::Borrowed(bounded(text)))))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Some(Cow::Owned(bounded(text).to_owned()))))
            }
            absent!(bool, number, null, list, object => Text(None));
        }
        deserializer.deserialize_any(Reader)
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Count;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                expecting(formatter)
            }
            fn visit_u64<E>(self, number: u64) -> Result<Count, E> {
                Ok(Count(Some(number)))
            }
            fn visit_i64<E>(self, number: i64) -> Result<Count, E> {
                Ok(Count(u64::try_from(number).ok()))
            }
            fn visit_f64<E>(self, number: f64) -> Result<Count, E> {
                // 2^53: above it a float no longer is one certain whole number.
                let whole = number.fract() == 0.0 && (0.0..=9_007_199_254_740_992.0).contains(&number);
                Ok(Count(whole.then_some(number as u64)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Count, E> {
                Ok(Count(text.trim().parse().ok()))
            }
            absent!(bool, null, list, object => Count(None));
        }
        deserializer.deserialize_any(Reader)
    }
}

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Flag;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                expecting(formatter)
            }
            fn visit_bool<E>(self, value: bool) -> Result<Flag, E> {
                Ok(Flag(Some(value)))
            }
            fn visit_u64<E>(self, number: u64) -> Result<Flag, E> {
                Ok(Flag((number <= 1).then_some(number == 1)))
            }
            fn visit_i64<E>(self, _: i64) -> Result<Flag, E> {
                Ok(Flag(None))
            }
            fn visit_f64<E>(self, _: f64) -> Result<Flag, E> {
                Ok(Flag(None))
            }
            fn visit_str<E>(self, text: &str) -> Result<Flag, E> {
                let text = text.trim();
                let is = |word: &str| text.eq_ignore_ascii_case(word);
                Ok(Flag(if is("true") || is("yes") || is("1") {
                    Some(true)
                } else if is("false") || is("no") || is("0") {
                    Some(false)
                } else {
                    None
                }))
            }
            absent!(null, list, object => Flag(None));
        }
        deserializer.deserialize_any(Reader)
    }
}

impl<'de: 'a, 'a, T: Deserialize<'de>> Deserialize<'de> for Either<'a, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Reader<T> {
            type Value = Either<'de, T>;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                expecting(formatter)
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Either::Text(Text(Some(Cow::Borrowed(bounded(text))))))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Either::Text(Text(Some(Cow::Owned(bounded(text).to_owned())))))
            }
            fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(object)).map(Either::Object)
            }
            absent!(bool, number, null, list => Either::Text(Text(None)));
        }
        deserializer.deserialize_any(Reader(PhantomData))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Maybe<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Reader<T> {
            type Value = Maybe<T>;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                expecting(formatter)
            }
            fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(object)).map(|value| Maybe(Some(value)))
            }
            absent!(bool, number, text, null, list => Maybe(None));
        }
        deserializer.deserialize_any(Reader(PhantomData))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Reader<T> {
            type Value = List<T>;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                expecting(formatter)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut items = Vec::with_capacity(list.size_hint().unwrap_or(0).min(64));
                while items.len() < LONGEST_LIST {
                    let Some(item) = list.next_element()? else { return Ok(List(items)) };
                    items.push(item);
                }
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(List(items))
            }
            fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(object)).map(|item| List(vec![item]))
            }
            fn visit_borrowed_str<E: serde::de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
                T::deserialize(BorrowedStrDeserializer::new(text)).map(|item| List(vec![item]))
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
                T::deserialize(StrDeserializer::new(text)).map(|item| List(vec![item]))
            }
            absent!(bool, number, null => List(Vec::new()));
        }
        deserializer.deserialize_any(Reader(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, serde::Deserialize)]
    #[serde(default)]
    struct Sample<'a> {
        #[serde(borrow)]
        text: Text<'a>,
        count: Count,
        flag: Flag,
        #[serde(borrow)]
        list: List<Text<'a>>,
        inner: Maybe<Inner>,
    }

    #[derive(Debug, Default, PartialEq, serde::Deserialize)]
    #[serde(default)]
    struct Inner {
        count: Count,
    }

    #[test]
    fn every_wrong_type_reads_as_absent_and_the_rest_survives() {
        for wrong in ["null", "true", "-3", "1.5", "\"x\"", "[]", "[1,{}]", "{}", "{\"a\":[1]}"] {
            for field in ["text", "count", "flag", "list", "inner"] {
                let keep = if field == "count" { r#""text":"kept""# } else { r#""count":7"# };
                let json = format!("{{{keep},\"{field}\":{wrong}}}");
                let sample: Sample<'_> = serde_json::from_str(&json).unwrap();
                assert!(sample.count.0 == Some(7) || sample.text.as_str() == "kept", "{json}: {sample:?}");
            }
        }
    }

    #[test]
    fn s09_lists_texts_and_depth_are_bounded() {
        let json = format!(r#"{{"list":[{}"x"],"count":7}}"#, r#""x","#.repeat(LONGEST_LIST + 10));
        let sample: Sample<'_> = serde_json::from_str(&json).unwrap();
        assert_eq!((sample.list.0.len(), sample.count), (LONGEST_LIST, Count(Some(7))), "what follows is still read");

        let json = format!(r#"{{"text":"{}","count":7}}"#, "ü".repeat(LONGEST_TEXT / 2 + 10));
        let sample: Sample<'_> = serde_json::from_str(&json).unwrap();
        assert_eq!((sample.text.as_str().len(), sample.count), (LONGEST_TEXT, Count(Some(7))));

        // What is skipped costs no stack, what is read is refused: here and in the second chance.
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let json = format!(r#"{{"unknown":{deep},"count":7}}"#);
        let sample: Sample<'_> = serde_json::from_str(&json).unwrap();
        assert_eq!(sample.count, Count(Some(7)));
        assert!(serde_json::from_str::<serde_json::Value>(&deep).is_err());
        assert_eq!(super::super::repaired(deep.as_bytes()), None);
        assert!(super::super::object::<Sample<'_>>(deep.as_bytes(), &super::super::Spare::new()).is_none());
    }

    #[test]
    fn numbers_and_truth_come_as_text_too() {
        let sample: Sample<'_> =
            serde_json::from_str(r#"{"count":"12","flag":"True","list":"one","inner":{"count":3.0}}"#).unwrap();
        assert_eq!(sample.count, Count(Some(12)));
        assert_eq!(sample.flag, Flag(Some(true)));
        assert_eq!(sample.list.0, vec![Text(Some("one".into()))]);
        assert_eq!(sample.inner, Maybe(Some(Inner { count: Count(Some(3)) })));
    }
}
