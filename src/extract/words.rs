//! Word lists of the rules: legal suffixes and generic words. English, short on purpose:
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

/// True when every word is generic: `CRM`, `other tools`, `Top Picks`.
pub(super) fn is_generic(folded: &str) -> bool {
    folded
        .split(|character: char| character.is_whitespace() || matches!(character, ',' | '(' | ')' | ':' | '.' | '!' | '?' | '#'))
        .filter(|word| !word.is_empty() && !word.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_punctuation()))
        .all(|word| GENERIC.contains(&word))
}
