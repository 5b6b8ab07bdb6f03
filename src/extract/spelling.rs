//! Other spellings of a name that no letter of it forbids: `&` and its words, umlauts written out, initials with and without dots,
//! simplified and traditional Chinese characters, a line break of a table's cell.
//!
//! Works on single names; which forms an organisation has is the business of `names`.

use super::fold::fold;
use super::mentions::is_word;

/// The word for `&` in the languages that company names come in.
const ANDS: &[&str] = &["&", "and", "und", "et", "y", "og", "och", "en", "+"];
/// Of these, the ones that are read as `&` in a name that is written with them.
const WRITTEN_ANDS: &[&str] = &["&", "and", "und", "et"];

/// True for a name with two letters or digits, or with one and a sign that no word has (`C++`, `C#`).
pub(super) fn is_searchable(folded: &str) -> bool {
    let words = folded.chars().filter(|character| is_word(*character)).count();
    words >= 2 || (words == 1 && folded.chars().any(|sign| matches!(sign, '+' | '#')))
}

/// Other folded spellings of the name; without the plain one.
pub(super) fn others(name: &str, folded: &str) -> Vec<String> {
    let mut spellings = Vec::new();
    if name.contains(['ä', 'ö', 'ü', 'Ä', 'Ö', 'Ü', 'å', 'Å', 'ø', 'Ø']) {
        let mut written = name.to_lowercase();
        for (letter, letters) in [("ä", "ae"), ("ö", "oe"), ("ü", "ue"), ("å", "aa"), ("ø", "oe")] {
            written = written.replace(letter, letters);
        }
        spellings.push(fold(&written));
    }
    for base in std::iter::once(folded.to_owned()).chain(spellings.clone()) {
        for and in WRITTEN_ANDS {
            let inside = format!(" {and} ");
            if base.contains(&inside) {
                let rest = ANDS.iter().filter(|other| *other != and);
                spellings.extend(rest.map(|other| base.replace(&inside, &format!(" {other} "))));
            }
        }
    }
    if folded.contains('&') && !folded.contains(' ') {
        spellings.push(folded.replace('&', " & "));
    }
    let letters = folded.chars().filter(|character| is_word(*character)).count();
    if has_initials(folded) {
        spellings.push(spaced_initials(folded));
        if letters >= 4 {
            spellings.push(folded.replace('.', ""));
            spellings.push(spaced_initials(folded).replace(". ", ".").replacen('.', "", 8));
            spellings.push(last_initial_apart(folded));
            spellings.push(last_initial_apart(folded).replace('.', ""));
        }
    }
    spellings.extend([true, false].into_iter().filter_map(|simplified| other_characters(folded, simplified)));
    // A cell of a table breaks a long name.
    if folded.len() < 60 {
        let spaces = folded.match_indices(' ').take(4);
        spellings.extend(spaces.filter_map(|(at, _)| Some(format!("{}<br>{}", folded.get(..at)?, folded.get(at + 1..)?))));
    }
    if folded.contains('\'') && letters >= 5 {
        spellings.push(folded.replace('\'', ""));
    }
    spellings.retain(|spelling| spelling != folded && is_searchable(spelling));
    spellings
}

/// Traditional characters of company names, each with its simplified one. Only pairs that stand for each other one to one.
const CHARACTERS: &str = "\
    雲云 鳥鸟 訊讯 騰腾 華华 為为 馬马 遜逊 亞亚 東东 寶宝 貝贝 網网 絡络 電电 機机 車车 銀银 國国 際际 業业 產产 務务 會会 計计 軟软 體体 數数 \
    據据 資资 訂订 單单 運运 輸输 達达 順顺 豐丰 極极 圓圆 飛飞 豬猪 魚鱼 龍龙 鳳凤 麗丽 樂乐 藝艺 術术 學学 習习 書书 報报 紙纸 圖图 畫画 聯联 \
    創创 開开 關关 門门 間间 聞闻 聲声 響响 優优 選选 買买 賣卖 購购 貨货 質质 費费 貴贵 賽赛 贏赢 廣广 場场 團团 園园 處处 實实 驗验 醫医 藥药 \
    療疗 護护 衛卫 愛爱 養养 飲饮 館馆 飯饭 雞鸡 鮮鲜 蘋苹 蘭兰 葉叶 萬万 億亿 幣币 錢钱 財财 險险 證证 領领 導导 視视 頻频 頭头 條条 記记 識识 \
    試试 話话 語语 說说 請请 讀读 變变 讓让 點点 燈灯 熱热 氣气 漢汉 滿满 潔洁 灣湾 滬沪 遠远 連连 進进 過过 還还 邊边 鄉乡 鄰邻 鐵铁 銅铜 鋼钢 \
    鎮镇 鏡镜 鑽钻 長长 陽阳 陰阴 陸陆 隊队 雙双 難难 靈灵 靜静 風风 飄飘 騎骑 驛驿 紅红 級级 純纯 紡纺 細细 組组 經经 結结 統统 絲丝 綠绿 維维 \
    線线 編编 縣县 總总 職职 聰聪 腦脑 與与 興兴 舊旧 藍蓝 蘇苏 號号 蝦虾 蟲虫 補补 裝装 見见 規规 覺觉 觀观 訓训 設设 許许 評评 詩诗 誠诚 談谈 \
    調调 論论 諾诺 謝谢 譯译 負负 貓猫 貫贯 賀贺 賓宾 賬账 贊赞 趙赵 軌轨 輕轻 輛辆 輪轮 轉转 農农 郵邮 鄭郑 醬酱 釀酿 針针 鈴铃 銷销 鋪铺 錄录 \
    鍵键 鎖锁 閃闪 閱阅 階阶 隨随 雜杂 離离 頁页 項项 須须 預预 願愿 類类 顏颜 顧顾 駐驻 駕驾 鴻鸿 鵬鹏 鷹鹰 麥麦 齊齐 齡龄 龜龟 劉刘 吳吴 張张 \
    陳陈 楊杨 黃黄 羅罗 鄧邓 馮冯 蔣蒋 韓韩 島岛 嶺岭 歲岁 獎奖 獨独 獲获 環环 現现 瑪玛 璽玺 畢毕 盤盘 眾众 礦矿 禮礼 種种 穩稳 積积 競竞 筆笔 \
    節节 簡简 簽签 糧粮 納纳 紐纽 終终 織织 繪绘 續续 聖圣 腳脚 臨临 莊庄 蓋盖 貿贸 貸贷 賞赏 賴赖 躍跃 較较 載载 輝辉 辦办 適适 遷迁 遺遗 錦锦 \
    鍋锅 雖虽 韻韵 驅驱 驚惊 黨党";

/// The name in simplified or in traditional characters; `None`: it is.
fn other_characters(folded: &str, simplified: bool) -> Option<String> {
    if folded.is_ascii() {
        return None;
    }
    let pairs: Vec<(char, char)> = CHARACTERS
        .split_whitespace()
        .filter_map(|pair| pair.chars().next().zip(pair.chars().nth(1)))
        .map(|(first, second)| if simplified { (first, second) } else { (second, first) })
        .collect();
    let changed: String =
        folded.chars().map(|letter| pairs.iter().find(|(from, _)| *from == letter).map_or(letter, |(_, to)| *to)).collect();
    (changed != folded).then_some(changed)
}

/// True when a lower-case name is set apart as names are: it opens bold text and ends it, or a capital follows ("**illy** offers",
/// "**illy Intenso**").
pub(super) fn is_set_apart(text: &str, span: &std::ops::Range<usize>) -> bool {
    let before = text.get(..span.start).unwrap_or_default();
    let after = text.get(span.end..).unwrap_or_default();
    before.ends_with("**")
        && (after.starts_with("**") || after.strip_prefix(' ').is_some_and(|rest| rest.starts_with(char::is_uppercase)))
}

/// `l.l.bean`: two single letters with dots at the start.
fn has_initials(folded: &str) -> bool {
    let mut parts = folded.split('.');
    let single = |part: Option<&str>| part.is_some_and(|part| part.trim().chars().count() == 1);
    single(parts.next()) && single(parts.next()) && parts.next().is_some()
}

/// `l. l. bean`.
fn spaced_initials(folded: &str) -> String {
    folded.split('.').map(str::trim).collect::<Vec<_>>().join(". ").trim_end().to_owned()
}

/// `l.l. bean`.
fn last_initial_apart(folded: &str) -> String {
    match folded.rsplit_once('.') {
        Some((head, last)) if !last.trim().is_empty() => format!("{head}. {}", last.trim()),
        _ => folded.to_owned(),
    }
}
