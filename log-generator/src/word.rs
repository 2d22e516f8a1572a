//! Words that fill variable parts of lines.

/// The list behind a `{name}` in a line.
pub(crate) fn list(name: &str) -> Option<&'static [&'static str]> {
    Some(match name {
        "path" => PATHS,
        "asset" => ASSETS,
        "missing" => MISSING,
        "agent" => AGENTS,
        "table" => TABLES,
        "column" => COLUMNS,
        "queue" => QUEUES,
        "job" => JOBS,
        "name" => NAMES,
        "mailhost" => DOMAINS,
        "warehouse" => &["east-1", "east-2", "west-1", "north-1"],
        "card" => &["visa", "mastercard", "amex", "maestro"],
        "bank" => &["acquirer-a", "acquirer-b", "paygate"],
        "currency" => &["EUR", "USD", "GBP", "SEK"],
        "coupon" => &["SPRING10", "WELCOME5", "FREESHIP", "LOYAL15"],
        "country" => &["DE", "SE", "NL", "FR", "US", "GB", "PL"],
        "mail" => &["order-confirmation", "shipping-notice", "password-reset", "newsletter"],
        "peer" => &["cart", "inventory", "payment", "auth", "search"],
        "gc" => &["G1 Young Generation", "G1 Mixed", "G1 Old Generation"],
        "victim" => &["admin", "root", "administrator", "test", "shop"],
        _ => return None,
    })
}

const PATHS: &[&str] = &[
    "/api/products",
    "/api/products/popular",
    "/api/categories",
    "/api/recommendations",
    "/api/offers",
    "/api/account",
    "/api/wishlist",
    "/api/reviews",
];
const ASSETS: &[&str] = &[
    "/assets/app.8f3a21.js",
    "/assets/vendor.c0ffe1.js",
    "/assets/main.17be90.css",
    "/assets/logo.svg",
    "/assets/fonts/inter.woff2",
    "/favicon.ico",
    "/",
    "/category/shoes",
    "/category/lamps",
    "/category/books",
];
const MISSING: &[&str] = &[
    "/wp-login.php",
    "/.env",
    "/robots.txt",
    "/apple-touch-icon.png",
    "/old/catalogue.html",
    "/api/v0/products",
    "/sitemap.xml.gz",
];
const AGENTS: &[&str] = &[
    "Mozilla/5.0 (X11; Linux x86_64; rv:136.0) Gecko/20100101 Firefox/136.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/133.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_3 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148",
    "shop-android/5.12.1",
    "shop-ios/5.12.0",
];
pub(crate) const TERMS: &[&str] = &[
    "red shoes",
    "desk lamp",
    "winter jacket",
    "coffee grinder",
    "usb cable",
    "notebook",
    "running socks",
    "garden chair",
    "blue mug",
    "headphones",
    "bicycle light",
    "tent",
];
const TABLES: &[&str] = &["orders", "order_items", "products", "carts", "users", "payments", "stock", "sessions"];
const COLUMNS: &[&str] = &["id", "user_id", "sku", "created_at", "status", "order_id"];
const QUEUES: &[&str] = &["orders", "mails", "invoices", "thumbnails", "webhooks"];
const JOBS: &[&str] =
    &["expire-carts", "refresh-prices", "rebuild-suggestions", "rotate-sessions", "sync-stock", "collect-metrics"];
pub(crate) const NAMES: &[&str] = &[
    "anna", "bjorn", "carla", "david", "elin", "farid", "greta", "hugo", "ines", "jonas", "karin", "lars", "mina",
    "nils", "olga", "pablo", "quinn", "rosa", "sven", "tove",
];
pub(crate) const DOMAINS: &[&str] = &["mail.example", "post.example", "example.com", "example.net", "inbox.example"];
