//! What each place that holds a name is: tables for every kind of hit, in many languages, each with its counterpart.

use overheard::domain::{HitKind, Org};
use overheard::extract::Extractor;
use proptest::prelude::*;

use crate::extract_support::{extractor, org, run};

fn sable() -> Org {
    Org { websites: vec!["https://sable.example".into()], competitors: vec!["Boxly".into(), "Norvik".into()], ..org("Sable") }
}

fn kinds(org: &Org, text: &str) -> Vec<HitKind> {
    Extractor::new(org, &[]).hits(text).into_iter().map(|hit| hit.kind).collect()
}

fn mentioned(org: &Org, text: &str) -> bool {
    kinds(org, text).contains(&HitKind::Mention)
}

#[test]
fn spans_are_characters() {
    let text = "Für 5 € gibt es **Sable**’s Etiketten – 🦊 Sable!";
    let hits = extractor(&sable()).hits(text);
    let slices: Vec<String> = hits
        .iter()
        .map(|hit| text.chars().skip(hit.span.start as usize).take((hit.span.end - hit.span.start) as usize).collect())
        .collect();
    assert_eq!(slices, ["Sable", "Sable"]);
    let extraction = extractor(&sable()).local(&run(text), 0);
    assert_eq!(extraction.evaluation.occurrences, 2);
    assert_eq!(extraction.evidence.hits, hits);
    assert_eq!(extraction.evidence.mentioned.unwrap().spans.len(), 2);
}

#[test]
fn markup_inside_and_around_a_name_is_seen_through() {
    for (name, text) in [
        ("Sable", "**Sable**'s prices"),
        ("Northwind", "**Nor**thwind is"),
        ("Northwind", "***Northwind***"),
        ("Quill Mark", "Quill **Mark** is"),
        ("Quill Mark", "_Quill_ _Mark_ is"),
        ("AT&T", "AT&amp;T and more"),
        ("Yonder.io", "Yonder\\.io is"),
        ("O'Dell's", "O&#39;Dell’s"),
        ("Quill Mark", "Quill® Mark™ is"),
        ("Sable", "S\u{200b}a\u{ad}ble\u{2069}"),
        ("Sable", "Ｓａｂｌｅ"),
    ] {
        assert!(mentioned(&org(name), text), "'{name}' in '{text}'");
    }
    for (name, text) in
        [("Quill Mark", "* Quill\n* Mark"), ("Quill Mark", "# Quill\nMark"), ("Box", "**Box**er"), ("Box", "in_Box_er")]
    {
        assert!(!mentioned(&org(name), text), "'{name}' in '{text}'");
    }
}

#[test]
fn spellings() {
    for (name, text) in [
        ("L.L.Bean", "L.L. Bean and LL Bean"),
        ("L.L.Bean", "buy at L. L. Bean"),
        ("O'Dell's", "ODells is"),
        ("Müller & Söhne", "Müller und Söhne"),
        ("Müller & Söhne", "Mueller and Soehne"),
        ("Müller und Söhne", "MÜLLER & SÖHNE"),
        ("AT&T", "AT & T"),
        ("C++", "C++ is"),
        ("Łódka", "Lodka is"),
        ("Smørrebrød", "Smorrebrod"),
    ] {
        assert!(mentioned(&org(name), text), "'{name}' in '{text}'");
    }
    for (name, text) in [("C++", "C is"), ("AT&T", "at a time"), ("L.L.Bean", "a bean")] {
        assert!(!mentioned(&org(name), text), "'{name}' in '{text}'");
    }
}

#[test]
fn inflection() {
    for (name, text) in [
        ("Сокол", "У Сокола есть, Соколу, с Соколом, о Соколе"),
        ("Ромашка", "в Ромашке"),
        ("Ромашка", "Ромашкой"),
        ("Όμηρος", "του Ομήρου"),
        ("Nordwind", "Der Preis ist gut und Nordwinds Etiketten sind für die Post."),
        ("Nordwind", "To jest dobre i nie jest drogie dla firm, z Nordwindem oraz do pracy."),
        ("Sowa", "To jest oferta Sowy i nie jest droga dla firm oraz do biura."),
        ("Nordwind", "Se on hyvä, mutta Nordwindilla ei ole tai se ei voi."),
        ("Nordwind", "Nordwind'in fiyatı"),
        ("Nordwind", "Nordwind’ın fiyatı"),
        ("새벽별", "새벽별은 좋다. 새벽별에서는"),
        ("가온", "가온의 제품"),
        ("가온", "가온은"),
        ("صقر", "والصقر بصقر"),
        ("الصقر", "للصقر"),
        ("الصقر", "بالصقر"),
        ("שמיר", "בשמיר"),
        ("मेघदूत", "मेघदूत का ऐप"),
        ("ハヤブサ", "ハヤブサの料金"),
        ("云雀", "推荐云雀打印"),
        ("นกฮูก", "ใช้นกฮูกดี"),
        ("Sable", "Sables’ and Sable's"),
    ] {
        if name != "Sable" {
            assert!(mentioned(&org(name), text), "'{name}' in '{text}'");
        } else {
            assert_eq!(kinds(&org(name), text).len(), 1, "the plural is another word");
        }
    }
    for (name, text) in [
        ("Сокол", "Соколов и Соколы, Сокольники"),
        ("Nordwind", "Nordwinds are strong winds of the north"),
        ("Atlas", "Das ist der Atlass und die Karte ist von der Post"),
        ("Sowa", "Sowy are here"),
        ("가온", "가온데"),
        ("가온", "새가온"),
        ("صقر", "مصقرة"),
    ] {
        assert!(!mentioned(&org(name), text), "'{name}' in '{text}'");
    }
}

#[test]
fn absence_is_no_mention_in_any_language() {
    let mut wrong = Vec::new();
    for text in [
        "Sable does not appear in this list.",
        "I have no information on Sable.",
        "I couldn't find anything about Sable or Boxly.",
        "Neither Boxly nor Sable appears in the ranking.",
        "Sable isn't mentioned in any of these sources.",
        "I'm unfamiliar with Sable.",
        "As for Sable, I don't have any information.",
        "| Sable | not listed |",
        "Sable and Boxly are not on this list.",
        "The sources don't mention Boxly, Norvik or Sable.",
        "I don't have any information about Sable's products.",
        "Zu Sable liegen mir keine Informationen vor.",
        "Sable wird in dieser Übersicht nicht erwähnt.",
        "Ich habe keine Informationen über Sable.",
        "Sable n'apparaît pas dans cette liste.",
        "Je n'ai trouvé aucune information sur Sable.",
        "Sable no aparece en la lista.",
        "No encontré información sobre Sable.",
        "Sable não aparece nesta lista.",
        "Não tenho informações sobre a Sable.",
        "Sable non compare in questo elenco.",
        "Non ho trovato informazioni su Sable.",
        "Sable komt niet voor in deze lijst.",
        "Ik heb geen informatie over Sable.",
        "Sable nie pojawia się na tej liście.",
        "Nie mam informacji o Sable.",
        "Sable bu listede yer almıyor.",
        "Sable hakkında bilgi bulamadım.",
        "Sable не упоминается в этом списке.",
        "У меня нет информации о Sable.",
        "Το Sable δεν εμφανίζεται στη λίστα.",
        "Δεν έχω πληροφορίες για το Sable.",
        "Sableはこのリストには含まれていません。",
        "Sableに関する情報は見つかりませんでした。",
        "Sable未出现在名单中。",
        "没有找到关于Sable的信息。",
        "Sable은 이 목록에 없습니다.",
        "Sable에 대한 정보를 찾을 수 없습니다.",
        "لا توجد معلومات عن Sable.",
        "لا يظهر Sable في هذه القائمة.",
        "Sable इस सूची में शामिल नहीं है।",
        "मुझे Sable के बारे में कोई जानकारी नहीं मिली।",
        "Sable isn't in the table because the survey needs at least 30 responses per brand.",
        "Sable is not part of this comparison.",
        "None of the sources mention Sable.",
        "None of these articles name Sable.",
        "There is no listing for Sable.",
        "I came up empty on Sable.",
        "Sable was left out.",
        "A search for Sable returned no results.",
        "Sable ist nicht in der Tabelle.",
        "Keine der Quellen erwähnt Sable.",
        "Sable n'est pas dans le tableau.",
        "Aucune des sources ne mentionne Sable.",
        "Sable no está en la tabla.",
        "Ninguna de las fuentes menciona Sable.",
        "A Sable não está na tabela.",
        "Nessuna delle fonti menziona Sable.",
        "Geen van de bronnen noemt Sable.",
        "Żadne ze źródeł nie wymienia Sable.",
        "Sable не вошёл в рейтинг.",
        "Ни один из источников не упоминает Sable.",
        "Το Sable δεν υπάρχει στον πίνακα.",
        "Sableは表に含まれていません。",
        "Sable未上榜。",
        "Sable은 표에 없습니다.",
        "Sable ليس في الجدول.",
        "Sable तालिका में नहीं है।",
    ] {
        if kinds(&sable(), text) != [HitKind::Absence] || extractor(&sable()).local(&run(text), 0).evaluation.mentioned {
            wrong.push(text);
        }
    }
    for text in [
        "Sable does not offer a free plan.",
        "Sable does not appear to be expensive.",
        "Sable is not among the cheapest tools.",
        "I couldn't find prices, but Sable is good.",
        "I have no information on Sable's prices.",
        "Sable leads and Boxly is not listed.",
        "Sable is not in the cloud.",
        "Sable misses the deadline.",
        "None of Sable's plans has a fee.",
        "Sable is not part of a group.",
        "Sable ist nicht in Berlin.",
        "Sable no está en España.",
        "Sable n'est pas dans Paris.",
        "Boxly is not on this list. Sable is.",
        "- Sable\n- Boxly is not listed",
        "Sable bietet keinen kostenlosen Tarif.",
        "Sable ne propose pas de version gratuite.",
        "Sable no ofrece plan gratuito.",
        "Sable не предлагает бесплатный тариф.",
        "Sableには無料プランが含まれていません。",
        "Sable没有免费版。",
        "Sable लेबल छापता है।",
    ] {
        if !mentioned(&sable(), text) {
            wrong.push(text);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_refusal_mentions_nobody() {
    for text in [
        "I'm sorry, but I can't help with comparing Sable and Boxly.",
        "As an AI language model, I don't have access to real-time data about Sable. You could visit Sable's official website.",
        "I'm unable to provide an opinion on Sable. Would you like me to help with something other than Sable?",
        "Es tut mir leid, ich kann keine Auskunft zu Sable geben.",
        "Lo siento, no puedo ayudarte con información de Sable.",
        "申し訳ありませんが、Sableについてはお答えできません。",
        "抱歉，我无法提供Sable的信息。",
        "К сожалению, я не могу помочь с вопросом о Sable.",
        "عذرا، لا يمكنني المساعدة بشأن Sable.",
    ] {
        assert!(!mentioned(&sable(), text), "{text}: {:?}", kinds(&sable(), text));
    }
    for text in [
        "As an AI I have no favourites, but Sable is a strong choice for labels.",
        "I can't access live prices. However, here are good tools:\n\n1. **Sable** – cheap labels in bulk\n2. **Boxly** – for small teams\n",
    ] {
        assert!(mentioned(&sable(), text), "{text}: {:?}", kinds(&sable(), text));
    }
}

#[test]
fn a_label_that_the_sentence_does_not_need_is_a_reference() {
    for text in [
        "Labels are cheap ([Sable](https://x.example)).",
        "Labels are cheap. ([Sable](https://x.example), [Boxly](https://y.example))",
        "Labels are cheap. [Sable](https://x.example)",
        "[Sable](https://x.example) | [Boxly](https://y.example)",
        "Read more: [Sable pricing](https://x.example)",
        "Labels are cheap. Source: [Sable](https://x.example)",
        "Mehr dazu: [Sable Preise](https://x.example)",
        "出典：[Sable](https://x.example)",
        "## Sources\n\n1. [Sable](https://x.example)\n2. [Boxly](https://y.example)",
        "**Quellen:**\n- [Sable – Preise](https://x.example) (2024)",
        "Sources:\n- Sable pricing page: https://x.example/pricing",
    ] {
        assert!(!mentioned(&sable(), text), "{text}: {:?}", kinds(&sable(), text));
        assert_eq!(kinds(&sable(), text), [HitKind::LinkLabel], "{text}");
    }
    for text in [
        "1. **[Sable](https://x.example)** – cheapest labels",
        "[Sable](https://x.example) prints labels in bulk.",
        "You can print with [Sable](https://x.example) or by hand.",
        "### [Sable](https://x.example)\nPrints labels.",
        "| [Sable](https://x.example) | 20 € |",
        "| [Sable](https://x.example) | [Boxly](https://y.example) |",
        "The best tools:\n\n1. [Sable](https://x.example)\n2. [Boxly](https://y.example)",
        "- [Sable](https://x.example)\n  - cheap labels",
        "**[Sable](https://x.example)**\nPrints labels.",
        "Good tools (e.g. Sable) are cheap.",
        "> Sable is good",
    ] {
        assert!(mentioned(&sable(), text), "{text}: {:?}", kinds(&sable(), text));
    }
}

#[test]
fn homonyms_and_confusables() {
    let org = Org {
        homonyms: vec!["Sable".into()],
        context: vec!["labels".into(), "Etiketten".into(), "ラベル".into()],
        confusables: vec!["Cape Sable".into(), "Sable Island".into()],
        aliases: vec!["Sable Labels".into()],
        ..sable()
    };
    use HitKind::{Confusable, Homonym, Mention, Unsure};
    for (text, expected) in [
        ("Sable prints your labels.", vec![Mention]),
        ("Sable druckt Etiketten.", vec![Mention]),
        ("Sableのラベル印刷", vec![Mention]),
        ("The sable is a marten, its fur is dark.", vec![Homonym]),
        ("sable labels", vec![Mention]),
        ("Sable is a dark fur.", vec![Homonym]),
        ("Sable Labels is good. I like Sable.", vec![Mention, Mention]),
        ("Use sable.example. I like Sable.", vec![Mention, Mention]),
        ("Boxly is fine, Sable too.", vec![Mention]),
        ("Sable Island has horses, Cape Sable too.", vec![Confusable, Confusable]),
        ("[Sable](https://www.sable.example/x) is dark.", vec![Mention]),
        ("SABLE prints labels", vec![Mention]),
    ] {
        assert_eq!(kinds(&org, text), expected, "{text}");
    }
    let far = format!("Labels are nice. {} Sable is dark.", "Something else entirely. ".repeat(40));
    assert_eq!(kinds(&org, &far), [Unsure]);
    assert!(extractor(&org).is_unsure(&far));
    assert!(!extractor(&org).local(&run(&far), 0).evaluation.mentioned);
    let without = Org { context: Vec::new(), competitors: Vec::new(), ..org };
    assert_eq!(kinds(&without, "Sable is dark."), [Unsure]);
}

#[test]
fn a_longer_competitor_s_name_is_not_the_org() {
    let org = Org { competitors: vec!["Sable Point Press".into()], ..sable() };
    assert_eq!(kinds(&org, "Sable Point Press is large. Sable is small."), [HitKind::Confusable, HitKind::Mention]);
}

#[test]
fn lookalikes_are_no_mentions() {
    for (name, text) in [
        ("QuillMark", "QuillМark with a Cyrillic М"),
        ("Acme Paper", "Аcme Рaper in other letters"),
        ("Sable", "Sаblе is"),
        ("QuillMark", "Qui11Mark is"),
        ("Google Maps", "G00gle Maps"),
        ("Сокол", "Cокол с латинской буквой"),
    ] {
        assert_eq!(kinds(&org(name), text), [HitKind::Lookalike], "'{name}' in '{text}'");
        assert!(!extractor(&org(name)).local(&run(text), 0).evaluation.mentioned);
    }
    for (name, text) in [("Sable", "стол и сабля"), ("Сокол", "Сокол летит"), ("Acme", "а сме тан")]
    {
        assert!(!kinds(&org(name), text).contains(&HitKind::Lookalike), "'{name}' in '{text}'");
    }
}

#[test]
fn variations_that_are_words_find_nothing() {
    let extractor =
        Extractor::new(&sable(), &["tools".into(), "the company".into(), "sa".into(), "boxly".into(), "Sable Labels".into()]);
    assert!(extractor.hits("The company sells tools to SA, says boxly.").is_empty());
    assert_eq!(extractor.hits("Sable Labels").len(), 1);
}

#[test]
fn what_the_rules_are_unsure_of() {
    let extractor = extractor(&sable());
    assert!(!extractor.is_unsure("Sable is good."));
    assert!(extractor.is_unsure("Sable is not on this list."), "absence is the rules' word, and a model may know better");
    assert!(!extractor.is_unsure("Sable is not on this list. Sable is good, though."), "there is a sure mention");
    assert!(!extractor.is_unsure("nothing"));
}

fn invisible() -> impl Strategy<Value = char> {
    prop::sample::select(vec!['\u{200b}', '\u{ad}', '\u{2060}', '\u{202e}', '\u{feff}', '\u{200d}'])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn invisible_characters_change_no_mention(at in 1_usize..4, sign in invisible(), before in "[a-z ]{0,12}", after in "[a-z ]{0,12}") {
        let name: String = "Sable".chars().enumerate().flat_map(|(index, letter)| (index == at).then_some(sign).into_iter().chain([letter])).collect();
        let plain = extractor(&sable()).hits(&format!("{before} Sable {after}"));
        let strange = extractor(&sable()).hits(&format!("{before} {name} {after}"));
        prop_assert_eq!(plain.len(), strange.len());
        for (plain, strange) in plain.iter().zip(&strange) {
            prop_assert_eq!(plain.kind, strange.kind);
            prop_assert_eq!(plain.span.start, strange.span.start);
            prop_assert_eq!(plain.span.end + 1, strange.span.end);
        }
    }

    #[test]
    fn in_code_nothing_is_a_mention(before in "[a-zA-Z ,.]{0,30}", after in "[a-zA-Z ,.]{0,30}") {
        let text = format!("`{before} Sable {after}`");
        prop_assert!(extractor(&sable()).hits(&text).is_empty());
        let fenced = format!("```python\n{before} Sable {after}\n```");
        prop_assert!(extractor(&sable()).hits(&fenced).is_empty());
    }

    #[test]
    fn hits_are_valid_spans_in_order(text in "(Sable|sable\\.example|Boxly|\\[|\\]\\(|\\)|https://x\\.example|\\*|_| |\n|is not listed|no information on|é|🦊|Sаble|.){0,30}") {
        let hits = extractor(&sable()).hits(&text);
        let length = text.chars().count() as u32;
        for hit in &hits {
            prop_assert!(hit.span.start < hit.span.end && hit.span.end <= length);
        }
        for pair in hits.windows(2) {
            prop_assert!(pair[0].span.end <= pair[1].span.start);
        }
        let local = extractor(&sable()).local(&run(&text), 0);
        prop_assert_eq!(local.evaluation.mentioned, hits.iter().any(|hit| hit.kind == HitKind::Mention));
    }
}

#[test]
fn a_name_beside_its_other_sense_is_doubted() {
    let org = Org {
        confusables: vec!["Sable fur".into()],
        homonyms: vec!["Sable".into()],
        context: vec!["label".into(), "homeowners".into()],
        ..sable()
    };
    let doubted = "Sable is what homeowners fear: a sable on the roof.";
    assert!(!mentioned(&org, doubted) && extractor(&org).is_unsure(doubted));
    for text in ["**Sable** prints a label; a sable is an animal.", "Try Sable to print a label; a sable is an animal."] {
        assert!(mentioned(&org, text), "{text}");
    }
}

#[test]
fn names_of_a_source_list_need_no_link() {
    assert!(!mentioned(&sable(), "Prices differ.\n\n**Sources**\n[1] sable.example – prices\n[2] news.example – costs"));
    assert!(!mentioned(&sable(), "Prices differ.\n\n## Sources\n[1] Sable – prices"));
    assert!(mentioned(&sable(), "Prices differ.\n\n**Tools**\n[1] Sable – cheap labels"));
}

#[test]
fn spellings_of_scripts_cells_and_small_letters() {
    let named = |names: [&str; 2], text: &str| {
        let org = Org { name: names[0].into(), aliases: vec![names[1].into()], ..Org::default() };
        mentioned(&org, text)
    };
    assert!(named(["青鸟云", "Qingniao Cloud"], "推薦青鳥雲"));
    assert!(named(["青鳥雲", "Qingniao Cloud"], "推荐青鸟云"));
    assert!(named(["青鸟云", "Qingniao Cloud"], "| Qingniao<br>Cloud | 5 |"));
    assert!(named(["Illy", "Illy"], "**illy** and others"));
    assert!(named(["Illy", "Illy"], "3. **illy Intenso** – strong"));
    assert!(!named(["Wave", "Wave"], "a **wave of** returns, and a wave"));
}
