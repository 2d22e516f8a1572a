//! What is said of a URL, and never its password.

use super::*;

fn at(url: &str) -> Result<Place, StoreError> {
    Place::server(&Secret::new(url))
}

#[test]
fn a_url_that_cannot_be_used_is_told_without_repeating_it() {
    insta::assert_snapshot!(
        at("mysql://u:hunter2@h/d").unwrap_err(),
        @"store.url cannot be used: it does not begin with postgres://; it must be like postgres://user:password@host:5432/database"
    );
    insta::assert_snapshot!(
        at("postgres://u:hunter2@h:hunter2/d").unwrap_err(),
        @"store.url cannot be used: it cannot be taken apart; it must be like postgres://user:password@host:5432/database"
    );
    let place = at("postgresql://u:hunter2@h.example/d?sslmode=require").unwrap();
    assert_eq!(
        (place.to_string(), format!("{place:?}").contains("hunter2")),
        ("postgres://h.example:5432/d".to_owned(), false)
    );
}

#[tokio::test]
async fn a_server_that_is_away_or_lets_nobody_in_is_told() {
    // Nobody listens on a port that was just given back.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let error = Store::open(at(&format!("postgres://u:hunter2@127.0.0.1:{port}/d")).unwrap()).await.unwrap_err();
    insta::assert_snapshot!(
        error.to_string().replace(&port.to_string(), "PORT"),
        @"cannot open postgres://127.0.0.1:PORT/d: error communicating with database: Connection refused (os error 111); is PostgreSQL running there, and may it be reached from here (`store.url`)?"
    );
    let Some(server) = Server::shared() else { return };
    let url = server.url("no_such_database");
    let error = Store::open(at(&url).unwrap()).await.unwrap_err().to_string();
    assert!(error.contains("database \"no_such_database\" does not exist; check the user"), "{error}");
    assert!(!error.contains("secret"), "{error}");
}
