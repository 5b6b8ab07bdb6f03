//! The tables of the fictional world: categories with their brands, news and review sites. Data only. Every domain is below
//! `.example` and a registrable domain of its own, so no text of the simulator can point at a real company.

/// A category and its brands.
pub(super) struct CategoryData {
    /// What a buyer calls it.
    pub(super) name: &'static str,
    /// Singular noun of a member.
    pub(super) noun: &'static str,
    /// Words that choose the category when they stand in a question (lower case).
    pub(super) keywords: &'static [&'static str],
    /// What its members are good at.
    pub(super) strengths: &'static [&'static str],
    /// What they are criticised for.
    pub(super) weaknesses: &'static [&'static str],
    /// Name, other spellings, domain.
    pub(super) brands: &'static [(&'static str, &'static [&'static str], &'static str)],
}

/// All categories. Brands differ in awkwardness on purpose: accents, punctuation, legal suffixes, compounds, common words.
pub(super) const CATEGORIES: &[CategoryData] = &[
    CategoryData {
        name: "writing and documentation software",
        noun: "writing tool",
        keywords: &["writ", "document", "docs", "editor", "draft", "knowledge base", "wiki", "note", "manual", "markdown", "style guide"],
        strengths: &[
            "a calm editor with real-time review",
            "versioned documentation that engineers accept",
            "style checks that run while you type",
            "clean exports to PDF and HTML",
            "templates for release notes and handbooks",
        ],
        weaknesses: &["a thin permission model", "slow search in large spaces", "few integrations", "an import that loses tables"],
        brands: &[
            ("Quillmark", &["QuillMark"], "quillmark.example"),
            ("Notaro", &[], "notaro.example"),
            ("Penfold Docs", &["PenfoldDocs"], "penfolddocs.example"),
            ("Inkwell Suite", &[], "inkwell.example"),
            ("Draftly", &[], "draftly.example"),
            ("Scribeline", &["ScribeLine"], "scribeline.example"),
            ("Foliant", &[], "foliant.example"),
            ("Margin & Co.", &["Margin and Co"], "marginandco.example"),
            ("Paragraphe", &[], "paragraphe.example"),
        ],
    },
    CategoryData {
        name: "customer relationship software",
        noun: "CRM",
        keywords: &["crm", "customer relationship", "sales pipeline", "lead", "contact management", "sales"],
        strengths: &["a pipeline view people keep up to date", "honest forecasting", "quick set-up for small teams", "good email tracking"],
        weaknesses: &["costly add-ons", "a dated mobile app", "limited reporting on lower plans", "slow support at weekends"],
        brands: &[
            ("Able", &[], "able.example"),
            ("Pipewright", &["PipeWright"], "pipewright.example"),
            ("Corvane CRM", &["Corvane"], "corvane.example"),
            ("Leadhollow", &[], "leadhollow.example"),
            ("Otto & Bloom", &["Otto and Bloom"], "ottobloom.example"),
            ("Dealmere", &[], "dealmere.example"),
            ("Rapportly", &[], "rapportly.example"),
            ("Harrow & Vale Ltd", &["Harrow & Vale"], "harrowvale.example"),
        ],
    },
    CategoryData {
        name: "accounting and invoicing",
        noun: "accounting package",
        keywords: &["account", "invoic", "bookkeep", "tax", "payroll", "expense", "ledger"],
        strengths: &["bank matching that rarely errs", "clear VAT reports", "fast invoicing on the phone", "fair prices for freelancers"],
        weaknesses: &["a cluttered ledger view", "price rises without notice", "weak multi-currency support", "patchy bank feeds"],
        brands: &[
            ("Tallyrook", &[], "tallyrook.example"),
            ("Brightwater GmbH", &["Brightwater"], "brightwater.example"),
            ("Ledgerly", &[], "ledgerly.example"),
            ("Zürn Konto", &["Zuern Konto"], "zuern-konto.example"),
            ("Pennyworth", &[], "pennyworth.example"),
            ("Abacord", &[], "abacord.example"),
            ("Sumwise", &["SumWise"], "sumwise.example"),
            ("Finch+Field", &["Finch Field"], "finchfield.example"),
        ],
    },
    CategoryData {
        name: "project management",
        noun: "project tool",
        keywords: &["project", "task", "kanban", "roadmap", "sprint", "team planning", "gantt"],
        strengths: &["boards that stay readable", "dependencies without pain", "a generous free plan", "automation without scripts"],
        weaknesses: &["notification overload", "a steep learning curve", "slow loading of big boards", "confusing guest access"],
        brands: &[
            ("Taskwell", &["TaskWell"], "taskwell.example"),
            ("Kestrel Inc.", &["Kestrel"], "kestrelpm.example"),
            ("Milepost", &[], "milepost.example"),
            ("Yonder!", &["Yonder"], "yonder.example"),
            ("Sprintfold", &[], "sprintfold.example"),
            ("Boardwalk Labs", &[], "boardwalklabs.example"),
            ("Relaypoint", &["RelayPoint"], "relaypoint.example"),
            ("Quorumly", &[], "quorumly.example"),
        ],
    },
    CategoryData {
        name: "bakery and coffee",
        noun: "bakery",
        keywords: &["bakery", "coffee", "cafe", "café", "bread", "pastry", "breakfast", "cake", "restaurant"],
        strengths: &["slow-fermented bread", "friendly staff at rush hour", "beans roasted in the house", "a fine choice of pastries"],
        weaknesses: &["long queues on Saturdays", "small portions", "few seats", "prices above the neighbourhood"],
        brands: &[
            ("Café Lumière", &["Cafe Lumiere"], "cafelumiere.example"),
            ("Crumb & Crust", &["Crumb and Crust"], "crumbcrust.example"),
            ("Ovenbird", &[], "ovenbird.example"),
            ("Maison Pâtis", &["Maison Patis"], "maisonpatis.example"),
            ("Rye Society", &[], "ryesociety.example"),
            ("Brewhaven", &["BrewHaven"], "brewhaven.example"),
            ("Smørlund", &["Smorlund"], "smorlund.example"),
        ],
    },
    CategoryData {
        name: "running shoes and sportswear",
        noun: "running brand",
        keywords: &["shoe", "running", "sneaker", "sportswear", "trail", "marathon", "fitness"],
        strengths: &["a stable heel", "foam that lasts 800 kilometres", "a wide toe box", "recycled uppers that do not chafe"],
        weaknesses: &["a narrow fit", "laces that come undone", "a high price", "soles that slip on wet stone"],
        brands: &[
            ("Velora", &[], "velora.example"),
            ("Stridewell", &["StrideWell"], "stridewell.example"),
            ("Northlane", &["North Lane"], "northlane.example"),
            ("Fjellsko", &[], "fjellsko.example"),
            ("Tempo Nine", &["Tempo9"], "temponine.example"),
            ("Harefoot", &[], "harefoot.example"),
            ("O'Dair Athletics", &["ODair Athletics"], "odair.example"),
        ],
    },
    CategoryData {
        name: "cloud hosting and databases",
        noun: "hosting service",
        keywords: &["cloud", "hosting", "server", "database", "kubernetes", "deploy", "backup", "storage"],
        strengths: &["predictable bills", "fast cold starts", "backups that restore in minutes", "clear status reports"],
        weaknesses: &["few regions", "a confusing console", "egress fees", "support only by ticket"],
        brands: &[
            ("Nimbusfield", &["NimbusField"], "nimbusfield.example"),
            ("node.haven", &["Nodehaven"], "nodehaven.example"),
            ("Stackmere", &[], "stackmere.example"),
            ("Basalt Cloud", &["BasaltCloud"], "basaltcloud.example"),
            ("Kervan Hosting AG", &["Kervan Hosting"], "kervan.example"),
            ("Driftbase", &[], "driftbase.example"),
            ("Longshore", &[], "longshore.example"),
        ],
    },
    CategoryData {
        name: "travel and hotels",
        noun: "travel service",
        keywords: &["travel", "hotel", "flight", "trip", "holiday", "booking", "insurance"],
        strengths: &["rooms as shown in the pictures", "refunds without quarrel", "quiet courtyards", "good rates for families"],
        weaknesses: &["hidden resort fees", "slow refunds", "thin walls", "a booking form that forgets dates"],
        brands: &[
            ("Wayfare & Sons", &["Wayfare and Sons"], "wayfareandsons.example"),
            ("Lantern Stays", &["LanternStays"], "lanternstays.example"),
            ("Águila Viajes", &["Aguila Viajes"], "aguilaviajes.example"),
            ("Tidewater Inns", &[], "tidewaterinns.example"),
            ("Roamly", &[], "roamly.example"),
            ("Hôtel Sérac", &["Hotel Serac"], "hotelserac.example"),
            ("Passmark Travel", &[], "passmarktravel.example"),
        ],
    },
];

/// Third-party sites: host and the name titles end with.
pub(super) const SITES: &[(&str, &str)] = &[
    ("stackcritic.example", "Stack Critic"),
    ("www.ledgerandlantern.example", "Ledger & Lantern"),
    ("thedailycompass.example", "The Daily Compass"),
    ("peerboard.example", "Peerboard"),
    ("reviews.harborwire.example", "Harbor Wire Reviews"),
    ("buyersalmanac.example", "Buyer's Almanac"),
    ("forum.plainanswers.example", "Plain Answers Forum"),
    ("northstar-weekly.example", "Northstar Weekly"),
    ("encyclopedia-open.example", "Open Encyclopedia"),
    ("comparewise.example", "Compare Wise"),
    ("magazin.zeitblick.example", "Zeitblick"),
    ("smallbizjournal.example", "Small Biz Journal"),
];

/// Remarks that name no brand; `{noun}` and `{category}` are filled in.
pub(super) const FILLERS: &[&str] = &[
    "Prices change often, so check the current plans before you decide.",
    "Most buyers in {category} begin with a trial of two weeks and a small group.",
    "Ask for references from organisations of your size; they tell more than a feature list.",
    "Data export deserves a test of its own, ideally on the first day.",
    "Independent reviews of every {noun} in this field disagree about support quality.",
    "A short list of three is usually enough, and a decision within a month is realistic.",
    "Total cost over three years matters more than the first invoice.",
    "Accessibility and language support vary widely between vendors.",
    "If several people will share the work, roles and permissions should come before looks.",
    "Reviewers weigh reliability highest, followed by support and by price.",
    "Contracts with monthly terms cost a little more and keep you free to move.",
    "Surveys of 2026 show that satisfaction drops when migration was rushed.",
    "It helps to write down the three jobs that must work, and to test only these.",
    "Local rules can matter: ask where data is kept and who can read it.",
];

/// Ways to say something good; `{brand}`, `{noun}`, `{point}`.
pub(super) const POSITIVE: &[&str] = &[
    "{brand} is the strongest {noun} for most people, thanks to {point}.",
    "{brand} stands out with {point} and earns excellent reviews.",
    "I would recommend {brand} first: it offers {point}.",
    "{brand} is widely praised for {point}.",
];

/// Ways to say something plain.
pub(super) const NEUTRAL: &[&str] = &[
    "{brand} is a {noun} founded some years ago; it is known for {point}.",
    "{brand} offers {point} and covers the usual needs.",
    "{brand} is another {noun} in this field, with {point}.",
    "{brand} sells its {noun} plans by seat and lists {point} among its features.",
];

/// Ways to say something bad.
pub(super) const NEGATIVE: &[&str] = &[
    "{brand} disappoints many reviewers because of {point}.",
    "{brand} is hard to recommend at present: users complain about {point}.",
    "Be careful with {brand}, which is criticised for {point}.",
    "{brand} falls behind its rivals and suffers from {point}.",
];

/// Ways to say that nothing is known of a brand.
pub(super) const ABSENT: &[&str] = &[
    "I could not find reliable information about {brand}.",
    "{brand} does not appear in the sources I looked at.",
    "There is no mention of {brand} in the rankings I found.",
];

/// Ways to decline.
pub(super) const REFUSALS: &[&str] = &[
    "I'm sorry, but I can't help with that request.",
    "I can't assist with ranking specific companies here.",
    "Sorry, I'm not able to provide a recommendation on this topic.",
];

/// Names that do not exist in this world; what an extraction invents.
pub(super) const INVENTED: &[&str] = &["Vantoro", "Gleambridge", "Ostrava One", "Perlink", "Halcyra", "Mondrel"];
