//! Links that only lead on to another page, unwrapped where the target stands in the link itself.
//!
//! Never fetches: a shortener or a sealed token (`vertexaisearch.cloud.google.com/grounding-api-redirect/…`) stays as it is. A copy
//! (AMP, the Wayback Machine) counts as the page it is a copy of.

use std::borrow::Cow;
use std::sync::LazyLock;

use url::form_urlencoded;

use super::percent;
use super::table::Table;
use super::web::Site;

/// Host without `www.` (or `name.*`: before any public suffix; `*.name`: any host below), start of the path, and the query
/// parameters that may hold the target.
const LEADING_ON: &[(&str, &str, &[&str])] = &[
    ("google.*", "/url", &["q", "url"]),
    ("google.*", "/imgres", &["imgrefurl"]),
    ("googleadservices.com", "/pagead/aclk", &["adurl"]),
    ("translate.google.com", "/translate", &["u"]),
    ("facebook.com", "/l.php", &["u"]),
    ("facebook.com", "/flx/warn", &["u"]),
    ("l.facebook.com", "/", &["u"]),
    ("lm.facebook.com", "/", &["u"]),
    ("l.messenger.com", "/", &["u"]),
    ("l.instagram.com", "/", &["u"]),
    ("l.threads.net", "/", &["u"]),
    ("l.threads.com", "/", &["u"]),
    ("l.wl.co", "/l", &["u"]),
    ("duckduckgo.com", "/l/", &["uddg"]),
    ("bing.com", "/ck/a", &["u"]),
    ("bing.com", "/news/apiclick.aspx", &["url"]),
    ("out.reddit.com", "/", &["url"]),
    ("t.umblr.com", "/redirect", &["z"]),
    ("slack-redir.net", "/link", &["url"]),
    ("youtube.com", "/redirect", &["q"]),
    ("linkedin.com", "/redir/", &["url"]),
    ("linkedin.com", "/safety/go", &["url"]),
    ("medium.com", "/r/", &["url"]),
    ("steamcommunity.com", "/linkfilter", &["url", "u"]),
    ("vk.com", "/away.php", &["to"]),
    ("pinterest.com", "/offsite", &["url"]),
    ("exit.sc", "/", &["url"]),
    ("gate.sc", "/", &["url"]),
    ("disq.us", "/url", &["url"]),
    ("t.me", "/iv", &["url"]),
    ("getpocket.com", "/redirect", &["url"]),
    ("link.zhihu.com", "/", &["target"]),
    ("link.juejin.cn", "/", &["target"]),
    ("link.csdn.net", "/", &["target"]),
    ("link.jianshu.com", "/", &["t"]),
    ("weibo.cn", "/sinaurl", &["u", "toasturl"]),
    ("douban.com", "/link2", &["url"]),
    ("*.safelinks.protection.outlook.com", "/", &["url"]),
    ("awin1.com", "/cread.php", &["ued", "p"]),
    ("go.skimresources.com", "/", &["url"]),
    ("go.redirectingat.com", "/", &["url"]),
    ("redirect.viglink.com", "/", &["u"]),
    ("click.linksynergy.com", "/", &["murl"]),
    ("clk.tradedoubler.com", "/click", &["url"]),
    ("shareasale.com", "/r.cfm", &["urllink"]),
];

/// The hosts of [`LEADING_ON`] without a star, and the others.
static HOSTS: LazyLock<(Table<()>, Vec<&'static str>)> = LazyLock::new(|| {
    let hosts = || LEADING_ON.iter().map(|(host, _, _)| *host);
    (
        hosts().filter(|host| !host.contains('*')).map(|host| (host, ())).collect(),
        hosts().filter(|host| host.contains('*')).collect(),
    )
});

/// Where the link leads, an absolute http(s) URL; `None` when it leads nowhere else, or does not say where. `path` and `query` as a
/// URL has them.
pub(super) fn target(path: &str, query: Option<&str>, site: &Site<'_>) -> Option<String> {
    in_path(path, query, site).or_else(|| in_query(path, query, site))
}

fn in_query(path: &str, query: Option<&str>, site: &Site<'_>) -> Option<String> {
    let query = query.filter(|query| !query.is_empty())?;
    if site.host == "href.li" {
        return absolute(query);
    }
    let (hosts, wild) = &*HOSTS;
    if !hosts.contains_key(site.host) && !wild.iter().any(|host| is_host(host, site)) {
        return None;
    }
    let (_, _, names) = LEADING_ON.iter().find(|(host, start, _)| is_host(host, site) && path.starts_with(start))?;
    names.iter().find_map(|name| {
        let (_, value) = form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name)?;
        if site.host == "bing.com" && *name == "u" { absolute(&unsealed(&value)?) } else { absolute(&value) }
    })
}

fn is_host(host: &str, site: &Site<'_>) -> bool {
    match (host.strip_suffix(".*"), host.strip_prefix('*')) {
        (Some(name), _) => site.name == Some(name) && site.host == site.domain,
        (_, Some(ending)) => site.host.ends_with(ending),
        _ => site.host == host,
    }
}

/// Targets that stand in the path, with their own query behind it.
fn in_path(path: &str, query: Option<&str>, site: &Site<'_>) -> Option<String> {
    let path = &*percent::plain(path);
    let amp = |rest: &str| match rest.strip_prefix("s/") {
        Some(rest) => Some(format!("https://{rest}")),
        None => begins_with_host(rest).then(|| format!("http://{rest}")),
    };
    let page = match site.host {
        "web.archive.org" => {
            let (time, page) = path.strip_prefix("/web/")?.split_once('/')?;
            let dated = time.starts_with(|first: char| first.is_ascii_digit() || first == '*');
            dated.then(|| slashes(page))?
        }
        "r.search.yahoo.com" => {
            let sealed = path.split('/').find_map(|segment| segment.strip_prefix("RU="))?;
            return absolute(&form_urlencoded::parse(format!("u={}", sealed.replace('+', "%2B")).as_bytes()).next()?.1);
        }
        host if host.ends_with(".cdn.ampproject.org") => {
            let rest = path.strip_prefix("/c/").or_else(|| path.strip_prefix("/v/"))?;
            amp(rest).map(Cow::Owned)?
        }
        _ if is_host("google.*", site) => amp(path.strip_prefix("/amp/")?).map(Cow::Owned)?,
        _ => return None,
    };
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    absolute(&format!("{page}{query}"))
}

/// `https:/x` as proxies leave it, and a host without a scheme.
fn slashes(page: &str) -> Cow<'_, str> {
    for scheme in ["https:/", "http:/"] {
        if let Some(rest) = page.strip_prefix(scheme) {
            return if rest.starts_with('/') { Cow::Borrowed(page) } else { Cow::Owned(format!("{scheme}/{rest}")) };
        }
    }
    if begins_with_host(page) { Cow::Owned(format!("http://{page}")) } else { Cow::Borrowed(page) }
}

/// `acme.example/…`, without a scheme.
fn begins_with_host(page: &str) -> bool {
    let host = page.split('/').next().unwrap_or_default();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
    host.contains('.') && host.starts_with(|first: char| first.is_ascii_alphanumeric()) && host.bytes().all(plain)
}

/// The text as an absolute http(s) URL.
fn absolute(text: &str) -> Option<String> {
    let text = text.trim();
    let begins = |start: &str| text.get(..start.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(start));
    if begins("https://") || begins("http://") {
        Some(text.to_owned())
    } else if begins("www.") {
        Some(format!("https://{text}"))
    } else {
        None
    }
}

/// Bing's `a1` + base64 (URL alphabet, no padding); `None` when it is none.
fn unsealed(value: &str) -> Option<String> {
    let sealed = value.strip_prefix("a1")?.trim_end_matches('=');
    let mut bytes = Vec::with_capacity(sealed.len());
    let (mut bits, mut held) = (0_u32, 0_u32);
    for byte in sealed.bytes() {
        let six = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'-' | b'+' | b' ' => 62,
            b'_' | b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(six)) & 0xFFFF;
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from(bits >> held & 0xFF).unwrap_or_default());
        }
    }
    String::from_utf8(bytes).ok()
}
