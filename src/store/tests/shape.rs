//! The shape of the store: versions, and that every question has its index.

use super::*;
use crate::store::link::Sql;
use crate::store::{chain, commit, delivery, dispatch, incident, lease, prune, resume, share};

on_both!(the_shape_of_another_version_is_refused, a_reader_does_not_change_the_shape_of_an_older_one);

async fn the_shape_of_another_version_is_refused(ground: Ground) {
    let store = ground.open().await;
    let path = store.place().to_owned();
    let tomorrow = sql_of(format!(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (77, 'of tomorrow', TRUE, {}, 0)",
        if store.is_shared() { "''::BYTEA" } else { "x'00'" }
    ));
    store.write("change", tomorrow).await.unwrap();
    store.close().await.unwrap();
    let writer = Store::open(ground.place()).await.unwrap_err();
    let reader = Store::open_read_only(ground.place()).await.unwrap_err();
    assert_eq!(writer.to_string(), reader.to_string());
    insta::allow_duplicates! {
        insta::assert_snapshot!(
            writer.to_string().replace(&path, "THE STORE"),
            @"THE STORE was written by a newer sigyn (its shape is 77, this one knows 5); run that version or a newer one, or give this one its own `store.data_dir`"
        );
    }
}

/// A store with the shape of an older sigyn.
async fn older(ground: &Ground) -> Store {
    let store = ground.open().await;
    store.write("change", Statement::plain("DELETE FROM _sqlx_migrations")).await.unwrap();
    store
}

async fn a_reader_does_not_change_the_shape_of_an_older_one(ground: Ground) {
    let store = older(&ground).await;
    let error = Store::open_read_only(ground.place()).await.unwrap_err();
    insta::allow_duplicates! {
        insta::assert_snapshot!(
            error.to_string().replace(store.place(), "THE STORE"),
            @"THE STORE was written by an older sigyn (its shape is 0, this one needs 5); start `sigyn run` once to bring it up to date"
        );
    }
}

/// Every question that is asked while sigyn runs, by a name for messages.
fn questions() -> Vec<(&'static str, Sql)> {
    vec![
        ("watch", resume::WATCH.into()),
        ("chain", chain::LINK.into()),
        ("chain anew", chain::DROP.into()),
        ("snapshots", resume::SNAPSHOTS.into()),
        ("windows", resume::WINDOWS.into()),
        ("all windows", resume::ALL_WINDOWS),
        ("commands", resume::COMMANDS.into()),
        ("last word", resume::LAST_WORD.into()),
        ("due", delivery::DUE.into()),
        ("next due", delivery::NEXT_DUE.into()),
        ("of incident", delivery::OF_INCIDENT.into()),
        ("count", delivery::COUNT.into()),
        ("waiting", delivery::WAITING.into()),
        ("missed", delivery::MISSED.into()),
        ("abandon", delivery::ABANDON.into()),
        ("dead", delivery::DEAD_ONES.into()),
        ("revive", delivery::REVIVE.into()),
        ("set back", delivery::SET_BACK.into()),
        ("sent", delivery::SENT.into()),
        ("leads", incident::LEADS.into()),
        ("leads in state", incident::LEADS_IN_STATE.into()),
        ("all", incident::ALL.into()),
        ("found", incident::FOUND.into()),
        ("members", incident::MEMBERS.into()),
        ("part", incident::PART.into()),
        ("parts", incident::PARTS.into()),
        ("heard", recall::HEARD.into()),
        ("open", incident::OPEN.into()),
        ("notices", incident::NOTICES.into()),
        ("title", commit::TITLE.into()),
        ("words", dispatch::DROP_WORDS.into()),
        ("queued", dispatch::QUEUED.into()),
        ("orders", dispatch::ORDERS.into()),
        ("state", dispatch::STATE.into()),
        ("silences", dispatch::SILENCES.into()),
        ("taken", dispatch::TAKEN.into()),
        ("fence", dispatch::FENCE),
        ("by prefix", incident::BY_PREFIX.into()),
        ("transitions", incident::TRANSITIONS.into()),
        ("prune windows", prune::WINDOWS.into()),
        ("prune group", prune::EMPTY_GROUP.into()),
        ("prune incidents", prune::INCIDENTS.into()),
        ("prune watches", prune::WATCHES.into()),
        ("prune chains", prune::CHAINS.into()),
        ("prune silences", prune::SILENCES.into()),
        ("take a lease", lease::TAKE),
        ("renew leases", lease::RENEW),
        ("release a lease", lease::RELEASE.into()),
        ("leases", lease::LEASES),
        ("forget leases", lease::FORGET),
        ("shares", share::SHARES.into()),
        ("younger", delivery::YOUNGER.into()),
        ("ahead", delivery::AHEAD.into()),
        ("last try", delivery::LAST_TRY.into()),
        ("untried", delivery::UNTRIED.into()),
        ("count for a day", delivery::DAY_COUNT.into()),
        ("counted for a day", delivery::DAY_COUNTED.into()),
        ("uncount for a day", delivery::DAY_UNCOUNT.into()),
        ("prune days", prune::DAYS.into()),
        ("drop a share", share::DROP.into()),
        ("prune commands", prune::COMMANDS.into()),
        ("command done", commit::COMMAND_DONE.into()),
    ]
}

/// Lists that are read page by page must come in the order of an index.
const PAGED: [&str; 5] = ["leads", "leads in state", "all", "found", "queued"];

#[tokio::test]
async fn no_query_reads_a_whole_table_of_a_file() {
    let ground = Ground::file();
    let store = ground.open().await;
    for (name, sql) in questions() {
        let explain = sql_of(format!("EXPLAIN QUERY PLAN {}", sql.sqlite));
        for detail in store.read("explain", explain, |row| row.get::<String>("detail")).await.unwrap() {
            assert!(!detail.starts_with("SCAN") || detail == "SCAN CONSTANT ROW", "{name}: {detail}");
            assert!(!PAGED.contains(&name) || !detail.contains("TEMP B-TREE"), "{name}: {detail}");
        }
    }
}

#[tokio::test]
async fn no_query_reads_a_whole_table_of_a_server() {
    let Some(ground) = Ground::server() else { return };
    let store = ground.open().await;
    let mut link = store.reader("explain").await.unwrap();
    // The tables are empty, and reading the whole of nothing is cheap: what can be forbidden here has another way.
    for set in ["SET enable_seqscan = off", "SET enable_bitmapscan = off", "SET plan_cache_mode = force_generic_plan"] {
        link.run(Statement::plain(set)).await.unwrap();
    }
    for (name, sql) in questions() {
        let places = (1..=20).take_while(|n| sql.postgres.contains(&format!("${n}"))).count();
        let nulls = vec!["NULL"; places].join(", ");
        link.run(sql_of(format!("PREPARE question AS {}", sql.postgres))).await.unwrap();
        let rows = link.all(sql_of(format!("EXPLAIN EXECUTE question({nulls})"))).await.unwrap();
        link.run(Statement::plain("DEALLOCATE question")).await.unwrap();
        let plan: Vec<String> = rows.iter().map(|row| row.get("QUERY PLAN").unwrap()).collect();
        let plan = plan.join("\n");
        assert!(!plan.contains("Seq Scan"), "{name}: {plan}");
        assert!(!PAGED.contains(&name) || !plan.contains("Sort"), "{name}: {plan}");
    }
}
