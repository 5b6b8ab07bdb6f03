//! The sentiment by rules: whose clause it is, negation, lists of pros and cons, sixteen languages, and what it cannot tell.

use overheard::domain::{ExtractionMethod, Sentiment};

use crate::extract_support::{extractor, quillmark, run};

use Sentiment::{Negative, Neutral, Positive};

fn check(cases: &[(&str, Sentiment)]) {
    let extractor = extractor(&quillmark());
    let wrong: Vec<_> = cases
        .iter()
        .map(|(text, wanted)| (text, wanted, extractor.local(&run(text), 0).evaluation.sentiment))
        .filter(|(_, wanted, found)| Some(**wanted) != *found)
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn words_negations_and_facts() {
    check(&[
        ("QuillMark is excellent.", Positive),
        ("Avoid QuillMark: it is slow and unreliable.", Negative),
        ("QuillMark is hard to recommend.", Negative),
        ("QuillMark is hard to beat.", Positive),
        ("QuillMark is not recommended.", Negative),
        ("QuillMark isn’t a bad tool.", Positive),
        ("QuillMark is not reliable.", Negative),
        ("QuillMark is not only reliable, it is also affordable.", Positive),
        ("QuillMark was founded in 2010.", Neutral),
        ("QuillMark is powerful but expensive.", Neutral),
        ("QuillMark is the best choice for small shops, if a bit pricey.", Positive),
        ("QuillMark is never slow.", Positive),
        ("See https://x.example/best-awful-crm and `best` for QuillMark.", Neutral),
        ("QuillMark has a limited free plan and poor support.", Negative),
        ("Users praise QuillMark.", Positive),
    ]);
}

#[test]
fn only_what_is_said_of_the_org_counts() {
    check(&[
        ("Boxly is terrible. QuillMark exists.", Neutral),
        ("Boxly is excellent, but QuillMark is slow.", Negative),
        ("Boxly is slow, whereas QuillMark is reliable.", Positive),
        ("Unlike Boxly, which is slow, QuillMark is reliable.", Positive),
        ("Boxly, unlike QuillMark, is unreliable and slow.", Neutral),
        ("QuillMark is better than the awful Boxly.", Positive),
        ("Boxly is a great alternative to QuillMark.", Neutral),
        ("QuillMark, Boxly and Tidewater CRM are all reliable.", Positive),
        ("Reliable and affordable, QuillMark is made in Bern.", Positive),
        ("Reliable and affordable, Boxly is like QuillMark.", Neutral),
        ("QuillMark was founded in Bern. It is excellent.", Positive),
        ("QuillMark was founded in Bern. Boxly is excellent.", Neutral),
        ("QuillMark was founded in Bern. The weather is excellent.", Neutral),
    ]);
}

#[test]
fn items_sections_and_rows() {
    check(&[
        ("1. **Boxly**\n   - Slow\n2. **QuillMark**\n   - Reliable\n   - Affordable\n3. **Orla**\n   - Awful", Positive),
        ("1. **QuillMark**\n- Buggy\n- Overpriced\n\n2. **Orla**\n- Excellent", Negative),
        ("- Boxly: excellent\n- QuillMark: founded 2010\n- Orla: excellent", Neutral),
        ("## QuillMark\n\nFounded in 2010.\n\nIts support is excellent.\n\n## Boxly\n\nAwful.", Positive),
        ("**QuillMark**\nBuggy and slow.\n\n**Boxly**\nExcellent.", Negative),
        ("| Tool | Verdict |\n|---|---|\n| Boxly | awful |\n| QuillMark | excellent |", Positive),
        ("## QuillMark\n**Pros:**\n- Invoices\n- Fast setup\n\n**Cons:**\n- No phone line\n- Few templates", Neutral),
        ("## QuillMark\nPros: reliable, affordable, intuitive\nCons: no phone line", Positive),
        ("## QuillMark\nCons: no phone line, not many excellent templates", Negative),
        ("## QuillMark vs Boxly\n\nExcellent weather.", Neutral),
    ]);
}

#[test]
fn sixteen_languages() {
    check(&[
        ("QuillMark ist sehr zuverlässig und empfehlenswert.", Positive),
        ("QuillMark ist nicht zuverlässig.", Negative),
        ("Von QuillMark ist abzuraten.", Negative),
        ("QuillMark est un excellent choix.", Positive),
        ("QuillMark n'est pas fiable.", Negative),
        ("QuillMark es la mejor opción.", Positive),
        ("QuillMark no es fiable y es caro.", Negative),
        ("A QuillMark é confiável e acessível.", Positive),
        ("QuillMark não é confiável.", Negative),
        ("QuillMark è affidabile e intuitivo.", Positive),
        ("QuillMark è sconsigliato.", Negative),
        ("QuillMark is betrouwbaar en gebruiksvriendelijk.", Positive),
        ("QuillMark is niet betrouwbaar.", Negative),
        ("QuillMark jest niezawodny i polecany.", Positive),
        ("Nie polecam QuillMark.", Negative),
        ("QuillMark güvenilir ve kolay.", Positive),
        ("QuillMark güvenilir değil.", Negative),
        ("QuillMark – надёжный и удобный сервис.", Positive),
        ("QuillMark не рекомендуется.", Negative),
        ("Το QuillMark είναι αξιόπιστο.", Positive),
        ("Το QuillMark δεν είναι αξιόπιστο.", Negative),
        ("QuillMarkは使いやすく、おすすめです。", Positive),
        ("QuillMarkはおすすめできません。", Negative),
        ("QuillMark 可靠，值得推荐。", Positive),
        ("QuillMark 不可靠，不推荐。", Negative),
        ("QuillMark은 안정적이고 추천할 만합니다.", Positive),
        ("QuillMark은 추천하지 않습니다.", Negative),
        ("QuillMark ممتاز وموثوق.", Positive),
        ("لا ننصح باستخدام QuillMark.", Negative),
        ("QuillMark विश्वसनीय और किफायती है।", Positive),
        ("QuillMark विश्वसनीय नहीं है।", Negative),
        ("QuillMark 成立于 2010 年。", Neutral),
        ("QuillMark wurde 2010 in Bern gegründet.", Neutral),
    ]);
}

#[test]
fn advice_by_shape() {
    check(&[
        ("1. **QuillMark** – 3 cents a label.\n2. **Boxly** – 5 cents a label.\n3. **Orla** – by seat.", Positive),
        ("1. **Boxly** – 5 cents a label.\n2. **QuillMark** – 3 cents a label.", Neutral),
        ("1. **QuillMark** – buggy, slow and overpriced.\n2. **Boxly** – 5 cents a label.", Negative),
        ("1. Open QuillMark.\n2. Press print.", Neutral),
        ("- Low cost → QuillMark\n- Many banks → Boxly", Positive),
        ("- Many banks → Boxly\n- 費用を抑えたい方 → QuillMarkまたはBoxly", Positive),
        ("- Many banks: Boxly\n- Low cost: QuillMark", Positive),
        ("- Website: QuillMark\n- Founded: 2010", Neutral),
        ("| Need | Pick |\n|---|---|\n| Many banks | Boxly |\n| Least setup | QuillMark |", Positive),
        ("| Name | Seat | Price |\n|---|---|---|\n| Boxly | Bern | 5 |\n| QuillMark | Bern | 3 |", Neutral),
        ("QuillMark averages 4.8 stars over 61 reviews.", Positive),
        ("У QuillMark 2,4 балла из 5.", Negative),
        ("QuillMark is a 4-star hotel.", Neutral),
    ]);
}

#[test]
fn objections_and_joined_thoughts() {
    check(&[
        ("QuillMark is tempting on price, but 7 kg leave about 5 kg for the part.", Neutral),
        ("QuillMark gilt als zuverlässig, allerdings sitzt der Anbieter in den USA.", Neutral),
        ("QuillMark is reliable, but Boxly sits in Bern.", Positive),
        ("Orla is popular with families, and QuillMark keeps a desk open until 11 p.m.", Neutral),
        ("Reliable and cheap, QuillMark keeps a desk open.", Positive),
        ("Heise rät Händlern deshalb von QuillMark ab.", Negative),
        ("QuillMark kostet ab 29 € im Monat.", Neutral),
    ]);
}

#[test]
fn recommendations_of_many_kinds() {
    check(&[
        ("If you file your own return, go with QuillMark.", Positive),
        ("For most startups I would trial Boxly and QuillMark side by side.", Positive),
        ("QuillMark is one of the safest picks in town.", Positive),
        ("I wouldn't choose QuillMark for that reason alone.", Negative),
        ("QuillMark recalled 400 joints because of faulty encoders.", Negative),
        ("QuillMark wird in den Foren als Geheimtipp gehandelt.", Positive),
        ("Je commencerais par QuillMark.", Positive),
        ("Yo empezaría por QuillMark.", Positive),
        ("Eu começaria por QuillMark.", Positive),
        ("Inizierei da QuillMark.", Positive),
        ("Warto rozważyć QuillMark.", Positive),
        ("Стоит попробовать QuillMark.", Positive),
        ("Θα δοκίμαζα πρώτα το QuillMark.", Positive),
        ("费用有限可以考虑QuillMark。", Positive),
        ("QuillMark은 믿고 쓰기 좋아요.", Positive),
        ("QuillMarkは料金が安く、無難です。", Positive),
        ("يُنصح باستخدام QuillMark.", Positive),
    ]);
}

#[test]
fn a_script_without_a_lexicon_is_not_judged() {
    for text in ["QuillMark เป็นเครื่องมือที่เชื่อถือได้มาก", "QuillMark הוא כלי אמין מאוד לעסקים"]
    {
        let extraction = extractor(&quillmark()).local(&run(text), 0);
        assert!(extraction.evaluation.mentioned, "{text}");
        assert_eq!((extraction.evaluation.sentiment, extraction.evidence.sentiment), (None, None));
    }
}

#[test]
fn it_says_what_it_rests_on() {
    let text = "Über Boxly nichts. QuillMark ist gut. Nimm QuillMark, es ist hervorragend!";
    let extraction = extractor(&quillmark()).local(&run(text), 0);
    let evidence = extraction.evidence.sentiment.unwrap();
    assert_eq!(evidence.method, ExtractionMethod::Local);
    assert_eq!(
        extraction.evaluation.sentiment_quote.as_deref(),
        Some("Nimm QuillMark, es ist hervorragend!"),
        "the heaviest word's"
    );
    assert_eq!(evidence.spans.len(), 2);
    assert_eq!(evidence.note.as_deref(), Some("counted by words: praise 3, blame 0"));
    let neutral = extractor(&quillmark()).local(&run("QuillMark was founded."), 0);
    assert_eq!((neutral.evaluation.sentiment, neutral.evaluation.sentiment_quote), (Some(Neutral), None));
    assert!(neutral.evidence.sentiment.unwrap().note.unwrap().starts_with("no word of praise"));
    assert_eq!(extractor(&quillmark()).local(&run("Boxly is best."), 0).evaluation.sentiment, None);
}
