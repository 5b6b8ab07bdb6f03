//! Numbered lists of an answer: which lines are items, what number they have, where their head begins. Knows no brand; which
//! list ranks brands is decided in `rank`.
//!
//! One pass over the lines, no look back further than the lists that are open. Read as an item: `1.` `1)` `(1)` `1:` `#1`
//! `No. 1` `1位` `1️⃣` `①` `🥇` and full-width digits, behind indentation, quote marks, bullets, `#` of headings and emphasis; a row
//! of a table whose first cell is the number. A list goes on over paragraphs, sub-lists and headings as long as its numbers do
//! (up by any step, or down by one); a number that does not go on begins another list.

use std::collections::HashMap;
use std::ops::Range;

/// Longest head of an item, in bytes.
const MAX_HEAD: usize = 400;
/// Most items of an answer.
const MAX_ITEMS: usize = 2_000;
/// Highest number of an item.
const MAX_NUMBER: u32 = 500;

/// An item of a numbered list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    /// As written; counted where every item of a list is written `1.`.
    pub(super) number: u32,
    /// The bytes behind the number, to the end of the line or cell; without the emphasis and white space before them.
    pub(super) head: Range<usize>,
    /// The item is a row of a table.
    pub(super) row: bool,
}

/// What kind of line an item stands on: items of one kind belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Heading(usize),
    /// By pairs of columns: one space more or less is an accident.
    Plain(usize),
    Row,
}

/// The numbered lists of the text, in the order of their first items; lists of one item too.
pub(super) fn numbered(text: &str) -> Vec<Vec<Item>> {
    let mut lists: Vec<Vec<Item>> = Vec::new();
    let mut open: HashMap<Kind, usize> = HashMap::new();
    let mut items = 0;
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let from = start;
        start += line.len();
        let Some((kind, item)) = item_of(line.trim_end(), from).filter(|_| items < MAX_ITEMS) else { continue };
        items += 1;
        if let Kind::Plain(indent) = kind {
            // A sub-list ends where its parent goes on.
            open.retain(|other, _| !matches!(other, Kind::Plain(deeper) if *deeper > indent));
        }
        let going_on = open.get(&kind).and_then(|at| lists.get_mut(*at)).filter(|list| goes_on(list, item.number));
        match going_on {
            Some(list) => list.push(item),
            None => {
                open.insert(kind, lists.len());
                lists.push(vec![item]);
            }
        }
    }
    for list in &mut lists {
        if list.len() > 1 && list.iter().all(|item| item.number == 1) {
            for (item, number) in list.iter_mut().zip(1..) {
                item.number = number;
            }
        }
    }
    lists
}

/// True when an item of this number continues the list: higher, one less all along (a countdown), or 1 after 1 all along
/// (Markdown counts such lists itself).
fn goes_on(list: &[Item], number: u32) -> bool {
    let last = list.last().map_or(0, |item| item.number);
    let before = list.len().checked_sub(2).and_then(|at| list.get(at)).map(|item| item.number);
    let all_ones = last == 1 && before.is_none_or(|before| before == 1);
    let falling = before.is_none_or(|before| before > last);
    let rising = before.is_none_or(|before| before < last);
    (number > last && rising) || (number.checked_add(1) == Some(last) && falling) || (number == 1 && all_ones)
}

fn item_of(line: &str, from: usize) -> Option<(Kind, Item)> {
    let mut rest = line.trim_start();
    let mut indent: usize = line.bytes().take_while(u8::is_ascii_whitespace).map(|byte| if byte == b'\t' { 4 } else { 1 }).sum();
    while let Some(quoted) = rest.strip_prefix('>') {
        indent = quoted.bytes().take_while(|byte| *byte == b' ').count().saturating_sub(1);
        rest = quoted.trim_start();
    }
    if let Some(cells) = rest.strip_prefix('|') {
        return row_of(cells, from + line.len() - cells.len()).map(|item| (Kind::Row, item));
    }
    let hashes = rest.bytes().take_while(|byte| *byte == b'#').count();
    let mut kind = Kind::Plain(indent / 2);
    if (1..=6).contains(&hashes) && rest.as_bytes().get(hashes) == Some(&b' ') {
        kind = Kind::Heading(hashes);
        rest = rest.get(hashes..)?;
    }
    let mut rest = rest.trim_start();
    if let Some(bullet) = ["- ", "* ", "+ ", "• "].iter().find_map(|bullet| rest.strip_prefix(bullet)) {
        rest = bullet.trim_start();
    }
    let (number, behind) = number_of(rest.trim_start_matches(['*', '_']))?;
    let head = behind.trim_start_matches(|first: char| first.is_whitespace() || matches!(first, '*' | '_' | '\u{FE0F}'));
    let start = from + line.len() - head.len();
    (!head.is_empty()).then(|| (kind, Item { number, head: start..start + bounded(head).len(), row: false }))
}

/// `| 1 | Name |`: the number stands alone in the first cell, the head is the second.
fn row_of(cells: &str, from: usize) -> Option<Item> {
    let (first, rest) = cells.split_once('|')?;
    let first = first.trim().trim_matches(['*', '_']);
    let (number, behind) = number_of(first).or_else(|| digits(first.trim_start_matches('#')))?;
    if !behind.trim_matches(['.', ')', '*', '_', '\u{FE0F}', ' ']).is_empty() {
        return None;
    }
    let cell = rest.split('|').next().unwrap_or_default();
    let head = cell.trim_start_matches(|first: char| first.is_whitespace() || matches!(first, '*' | '_'));
    let start = from + first_offset(cells, head)?;
    let head = head.trim_end();
    (!head.is_empty()).then(|| Item { number, head: start..start + bounded(head).len(), row: true })
}

/// The offset of `part`, a slice of `whole`.
fn first_offset(whole: &str, part: &str) -> Option<usize> {
    (part.as_ptr() as usize).checked_sub(whole.as_ptr() as usize)
}

fn bounded(head: &str) -> &str {
    let mut end = head.len().min(MAX_HEAD);
    while !head.is_char_boundary(end) {
        end -= 1;
    }
    head.get(..end).unwrap_or_default()
}

/// The number a line begins with, and what follows it.
fn number_of(rest: &str) -> Option<(u32, &str)> {
    let first = rest.chars().next()?;
    let behind = rest.get(first.len_utf8()..)?;
    if let Some(number) = symbol(first) {
        return Some((number, behind));
    }
    if matches!(first, '(' | '（') {
        let (number, behind) = digits(behind)?;
        return behind.strip_prefix([')', '）']).map(|behind| (number, behind));
    }
    if first == '#' {
        // `#1 Name`, `#1: Name`
        let (number, behind) = digits(behind)?;
        return behind.starts_with([' ', ':', '.', ')', '*']).then(|| (number, behind.trim_start_matches([':', '.', ')'])));
    }
    for word in ["No. ", "No.", "Nr. ", "Nº ", "N.º ", "第"] {
        if let Some((number, behind)) = rest.strip_prefix(word).and_then(digits) {
            return Some((number, behind.trim_start_matches(['位', '名', ':', '：', '.', ')', '、'])));
        }
    }
    let (number, behind) = digits(rest)?;
    let mark = behind.chars().next()?;
    let after = behind.get(mark.len_utf8()..).unwrap_or_default();
    match mark {
        '\u{20E3}' => Some((number, after)),
        '\u{FE0F}' => after.strip_prefix('\u{20E3}').map(|after| (number, after)),
        '位' => Some((number, after.trim_start_matches([':', '：', '、', '.']))),
        '）' | '．' | '、' => Some((number, after)),
        '\\' => after.strip_prefix(['.', ')']).map(|after| (number, after)),
        // `1.5 million`, `1:30` and `1.example` are no items.
        '.' | ')' | ':' | '：' => {
            let next = after.chars().next()?;
            let parted = next.is_whitespace() || matches!(next, '*' | '_' | '[') || (!next.is_ascii() && !next.is_numeric());
            parted.then_some((number, after))
        }
        _ => None,
    }
}

/// ① to ⑳, ❶ to ❿, the keycap of ten, medals.
fn symbol(character: char) -> Option<u32> {
    let code = u32::from(character);
    match character {
        '①'..='⑳' => Some(code - 0x2460 + 1),
        '❶'..='❿' => Some(code - 0x2776 + 1),
        '➊'..='➓' => Some(code - 0x278A + 1),
        '🔟' => Some(10),
        '🥇'..='🥉' => Some(code - 0x1F947 + 1),
        _ => None,
    }
}

/// Up to three digits: ASCII, full-width, Arabic, Persian, Devanagari.
fn digits(rest: &str) -> Option<(u32, &str)> {
    let mut number = 0_u32;
    let mut length = 0;
    for (count, character) in rest.chars().enumerate() {
        let zero = match character {
            '0'..='9' => '0',
            '０'..='９' => '０',
            '٠'..='٩' => '٠',
            '۰'..='۹' => '۰',
            '०'..='९' => '०',
            _ => break,
        };
        if count == 3 {
            return None;
        }
        number = number * 10 + (u32::from(character) - u32::from(zero));
        length += character.len_utf8();
    }
    (1..=MAX_NUMBER).contains(&number).then(|| rest.get(length..).map(|behind| (number, behind)))?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Vec<Vec<(u32, &str)>> {
        let items = |list: Vec<Item>| list.into_iter().map(|item| (item.number, &text[item.head])).collect();
        numbered(text).into_iter().map(items).collect()
    }

    #[test]
    fn every_way_to_number() {
        for line in [
            "1. Name",
            "1) Name",
            "(1) Name",
            "**1.** Name",
            "**1. Name",
            "### 1. Name",
            "#1 Name",
            "#1: Name",
            "1️⃣ Name",
            "1\u{20E3} Name",
            "① Name",
            "❶ Name",
            "１．Name",
            "１） Name",
            "1、Name",
            "1位 Name",
            "1位：Name",
            "第1位：Name",
            "No. 1: Name",
            "🥇 Name",
            "- 1. Name",
            "> 1. Name",
            "  1. Name",
            "1\\. Name",
            "## #1 Name",
            "١. Name",
            "१. Name",
            "| 1 | Name | x |",
            "| #1 | Name |",
            "| **1** | **Name |",
            "1: Name",
            "1：名",
        ] {
            let lists = read(line);
            assert_eq!(lists.len(), 1, "{line}");
            let (number, head) = lists[0][0];
            assert!(number == 1 && (head.trim() == "Name" || head == "名"), "{line}: {number} {head:?}");
        }
        for line in [
            "1.5 million",
            "1",
            "10:30 am",
            "2024. A year",
            "0. None",
            "1.example",
            "A 1. b",
            "| a | 1 |",
            "| 1 |",
            "- x",
            "| 1 x | y |",
            "1.",
        ] {
            assert!(read(line).is_empty(), "{line}");
        }
    }

    #[test]
    fn lists_go_on_and_begin_again() {
        let numbers = |text: &str| -> Vec<Vec<u32>> {
            numbered(text).into_iter().map(|list| list.into_iter().map(|item| item.number).collect()).collect()
        };
        assert_eq!(numbers("1. a\n\ntext\n\n2. b\n## h\n3. c"), [[1, 2, 3]]);
        assert_eq!(numbers("1. a\n2. b\n\n1. c\n2. d"), [[1, 2], [1, 2]]);
        assert_eq!(numbers("1. a\n   1. x\n   2. y\n2. b\n   1. z"), [vec![1, 2], vec![1, 2], vec![1]]);
        assert_eq!(numbers("1. a\n1. b\n1. c"), [[1, 2, 3]], "Markdown counts");
        assert_eq!(numbers("3. a\n2. b\n1. c"), [[3, 2, 1]], "a countdown");
        assert_eq!(numbers("4. a\n5. b"), [[4, 5]], "goes on from elsewhere");
        assert_eq!(numbers("### 1. a\n1. x\n2. y\n### 2. b\n1. z"), [vec![1, 2], vec![1, 2], vec![1]]);
        assert_eq!(numbers("| # | n |\n|---|---|\n| 1 | a |\n| 2 | b |"), [[1, 2]]);
    }

    proptest! {
        #[test]
        fn heads_lie_on_characters(text in prop_oneof!["\\PC{0,60}", "[1-3.)*# |>①🥇é\n\t-]{0,60}"]) {
            for item in numbered(&text).iter().flatten() {
                prop_assert!(text.get(item.head.clone()).is_some_and(|head| !head.is_empty()));
            }
        }
    }
}
