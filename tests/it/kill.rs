//! Twenty kills of the crash program; more by hand: `cargo run --release --example crash -- 500`.

use crate::{crash, shop};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_told_twice_by_twenty_kills() {
    let shop = shop::shop();
    let calm = crash::undisturbed(shop).await;
    let (mut figures, more) = tokio::join!(crash::round(shop, &calm, 7, 10), crash::round(shop, &calm, 8, 10));
    figures.add(more);
    println!("{figures}");
    figures.hold();
    assert!(figures.at_work >= 5, "{figures}");
}
