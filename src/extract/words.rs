//! Word lists of the rules: legal suffixes, generic words, absence phrases, the sentiment lexicon. English, short on purpose:
//! a list says what it covers, nothing here tries to be a language model. Data only; all in folded form (lower case, no accents).

/// Legal forms at the end of a company's name, without dots. Longer ones first.
#[rustfmt::skip]
pub(super) const LEGAL_SUFFIXES: &[&str] = &[
    "gmbh & co kg", "gmbh und co kg", "sp z o o", "pty ltd", "pvt ltd", "private limited", "co ltd", "incorporated", "corporation",
    "limited", "company", "gmbh", "sarl", "corp", "ltda", "inc", "llc", "llp", "ltd", "plc", "spa", "srl", "sas", "aps", "kft", "oyj",
    "pty", "ag", "ab", "as", "bv", "co", "ev", "kg", "kk", "lp", "nv", "oy", "sa", "se", "sl", "ug",
];

/// Those of them that are words too (a day spa): legal forms only in capitals or with dots.
#[rustfmt::skip]
pub(super) const AMBIGUOUS_SUFFIXES: &[&str] = &["ab", "ag", "as", "ev", "kk", "lp", "sa", "sas", "se", "sl", "spa", "ug"];

/// Legal forms that are tried behind a name that has none.
#[rustfmt::skip]
pub(super) const ADDED_SUFFIXES: &[&str] = &["Inc.", "LLC", "Ltd", "GmbH"];

/// Words that name no organisation, alone or together. A name made only of these is no brand.
#[rustfmt::skip]
pub(super) const GENERIC: &[&str] = &[
    "a", "about", "agencies", "agency", "ai", "all", "alternative", "alternatives", "an", "analytics", "and", "any", "app", "application",
    "applications", "apps", "april", "august", "automation", "b2b", "b2c", "bank", "banks", "best", "billing", "bottom", "brand", "brands",
    "budget", "business", "businesses", "cheap", "cheapest", "chatbot", "client", "clients", "cloud", "companies", "company", "comparison",
    "competitor", "competitors", "conclusion", "cons", "consultant", "consulting", "cost", "crm", "crms", "customer", "customers", "data",
    "december", "design", "developer", "developers", "digital", "easy", "email", "emails", "enterprise", "enterprises", "erp", "example",
    "examples", "faq", "feature", "features", "february", "final", "finance", "firm", "firms", "for", "free", "friday", "from", "group",
    "guide", "help", "home", "hotel", "hotels", "hr", "i", "in", "industry", "introduction", "invoicing", "it", "january", "july", "june",
    "key", "leader", "leaders", "line", "list", "local", "management", "many", "march", "market", "marketing", "may", "mobile", "monday",
    "more", "n/a", "na", "name", "names", "network", "new", "no", "none", "not", "note", "notes", "november", "october", "of", "office",
    "on", "online", "open", "option", "options", "or", "organisation", "organisations", "organization", "organizations", "other", "others",
    "our", "overall", "overview", "partner", "partners", "payment", "payments", "payroll", "people", "pick", "picks", "platform", "platforms",
    "premium", "price", "prices", "pricing", "product", "productivity", "products", "project", "pros", "provider", "providers", "rank",
    "ranking", "rating", "ratings", "recommendation", "recommendations", "references", "reporting", "resources", "restaurant", "restaurants",
    "review", "reviews", "runner-up", "saas", "sales", "saturday", "scheduling", "search", "security", "seo", "september", "service",
    "services", "shop", "shops", "site", "sites", "small", "smb", "smbs", "social", "software", "solution", "solutions", "source", "sources",
    "spreadsheet", "spreadsheets", "startup", "startups", "store", "stores", "studio", "studios", "suite", "summary", "sunday", "support",
    "system", "systems", "table", "team", "teams", "tech", "technologies", "technology", "the", "their", "these", "thursday", "tip", "tips",
    "to", "tool", "tools", "top", "tuesday", "unknown", "us", "user", "users", "value", "various", "vendor", "vendors", "verdict", "we",
    "web", "website", "websites", "wednesday", "winner", "with", "work", "you", "your",
];

/// Words that follow a brand in the name of one of its products.
#[rustfmt::skip]
pub(super) const PRODUCT_WORDS: &[&str] =
    &["basic", "business", "cloud", "enterprise", "essentials", "free", "hub", "lite", "online", "plus", "premium", "pro", "standard", "starter", "suite"];

/// Words an acronym leaves out.
#[rustfmt::skip]
pub(super) const ACRONYM_STOP: &[&str] = &["of", "the", "and", "for", "&", "de", "der", "und", "et", "la", "le", "a"];

/// Ends of what stands before a name that the answer knows nothing about. After these only [`ABSENCE_FILLERS`] may come.
#[rustfmt::skip]
pub(super) const ABSENCE_BEFORE: &[&str] = &[
    "no information", "no specific information", "no reliable information", "any information", "any specific information",
    "any reliable information", "enough information", "no details", "no data", "no record", "any record", "no results", "any results",
    "no mention", "any mention", "no evidence", "no reference", "couldn't find", "could not find", "can't find", "cannot find", "didn't find",
    "did not find", "unable to find", "not able to find", "wasn't able to find", "unable to locate", "couldn't locate", "could not locate",
    "unable to verify", "not familiar with", "not aware of", "unfamiliar with", "never heard of", "don't know", "do not know",
    "doesn't include", "does not include", "doesn't mention", "does not mention", "doesn't list", "don't mention", "do not mention",
];

/// Words that may stand between such a phrase and the name.
#[rustfmt::skip]
pub(super) const ABSENCE_FILLERS: &[&str] = &[
    "a", "about", "an", "any", "anything", "available", "brand", "business", "called", "company", "concerning", "details", "evidence", "for",
    "information", "mention", "named", "of", "on", "organisation", "organization", "platform", "product", "record", "reference",
    "references", "regarding", "reliable", "results", "software", "specific", "specifically", "that", "the", "to", "tool", "verified",
];

/// What is said behind a name that the answer does not contain. A following `to` takes it back (`does not appear to be slow`).
#[rustfmt::skip]
pub(super) const ABSENCE_AFTER: &[&str] = &[
    "does not appear", "doesn't appear", "did not appear", "didn't appear", "do not appear", "is not mentioned", "isn't mentioned",
    "was not mentioned", "wasn't mentioned", "is not listed", "isn't listed", "was not listed", "is not included", "isn't included",
    "was not included", "is not among", "isn't among", "is not featured", "isn't featured", "does not show up", "doesn't show up",
    "did not come up", "didn't come up", "does not come up", "is not part of", "isn't part of", "was not found", "wasn't found",
    "could not be found", "couldn't be found", "cannot be found", "is absent from", "is missing from", "is not present", "isn't present",
    "does not seem to exist", "doesn't seem to exist", "is not in the list", "is not in this list", "isn't in this list", "is not on this list",
    "isn't on this list", "is not on the list", "isn't on the list",
];

/// Words that start another thought: what follows is no longer said of the name before them.
#[rustfmt::skip]
pub(super) const TURNS: &[&str] = &["; ", " but ", " although ", " though ", " while ", " whereas ", " however", " because "];

/// Praise.
#[rustfmt::skip]
pub(super) const POSITIVE: &[&str] = &[
    "affordable", "amazing", "award-winning", "best", "dependable", "easy", "effective", "excellent", "exceptional", "fantastic", "favorite",
    "favourite", "flexible", "friendly", "great", "ideal", "impressive", "innovative", "intuitive", "leading", "love", "loved", "outstanding",
    "perfect", "popular", "powerful", "praised", "recommend", "recommended", "reliable", "reputable", "robust", "simple", "solid", "standout",
    "strong", "strongest", "superb", "top", "top-rated", "trusted", "versatile", "well-known", "well-reviewed", "winner",
];

/// Blame.
#[rustfmt::skip]
pub(super) const NEGATIVE: &[&str] = &[
    "avoid", "awful", "bad", "broken", "buggy", "clunky", "complain", "complaints", "complicated", "confusing", "criticised", "criticized", "dated",
    "difficult", "disappointing", "disappoints", "expensive", "fails", "frustrating", "issues", "lacking", "lacks", "limited", "mediocre", "outdated",
    "overpriced", "poor", "poorly", "problems", "scam", "slow", "struggles", "suffers", "terrible", "unreliable", "unresponsive", "untrustworthy", "weak",
    "worse", "worst",
];

/// Words that turn a judgement round when they stand at most three words before it.
#[rustfmt::skip]
pub(super) const NEGATIONS: &[&str] = &[
    "no", "not", "never", "without", "isn't", "aren't", "wasn't", "weren't", "don't", "doesn't", "didn't", "can't", "cannot", "won't", "hardly", "hard",
];

/// True when every word is generic: `CRM`, `other tools`, `Top Picks`.
pub(super) fn is_generic(folded: &str) -> bool {
    folded
        .split(|character: char| character.is_whitespace() || matches!(character, ',' | '(' | ')' | ':' | '.' | '!' | '?' | '#'))
        .filter(|word| !word.is_empty() && !word.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_punctuation()))
        .all(|word| GENERIC.contains(&word))
}
