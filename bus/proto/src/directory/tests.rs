//! Tests of the route table alone. `tests/routes.rs` and `tests/claims.rs` compare it with a model
//! over time.

use super::*;
use crate::limits::{ROUTERS_MAX, ROUTES_MAX};

fn pipe(index: u32) -> PipeId {
    PipeId { index, generation: 0 }
}

fn hello(service: &str, routes: &[&str]) -> Hello {
    let mut hello = Hello::new(service, "1", "i");
    hello.routes = routes.iter().map(|route| route.parse().unwrap()).collect();
    hello
}

fn found(directory: &Directory, method: &str, path: &str) -> Option<String> {
    let route = directory.find(method, path)?;
    Some(directory.entry(route)?.pattern.to_string())
}

#[test]
fn the_more_specific_pattern_wins_whatever_its_method() {
    let mut directory = Directory::new(Instant::now());
    let routes = [
        "GET /a/{id}",
        "GET /a/b",
        "* /a/{*rest}",
        "GET /x/{*rest}",
        "* /x/y",
        "GET /files/{id}",
        "GET /files/{*rest}",
    ];
    assert!(directory.claim(pipe(0), &hello("s", &routes)).unwrap().conflicts.is_empty());
    let cases = [
        ("GET", "/a/b", Some("GET /a/b")),
        ("GET", "/a/c", Some("GET /a/{id}")),
        ("GET", "/a/c/d", Some("* /a/{*rest}")),
        ("PUT", "/a/b", Some("* /a/{*rest}")),
        ("GET", "/x/y", Some("* /x/y")),
        ("GET", "/x/z", Some("GET /x/{*rest}")),
        ("GET", "/", None),
        ("GET", "/files/1", Some("GET /files/{id}")),
        ("GET", "/files/1/2", Some("GET /files/{*rest}")),
    ];
    for (method, path, expected) in cases {
        assert_eq!(found(&directory, method, path).as_deref(), expected, "{method} {path}");
    }
}

#[test]
fn instances_share_a_pattern_and_another_service_is_refused_until_they_are_gone() {
    let mut directory = Directory::new(Instant::now());
    directory.claim(pipe(0), &hello("s", &["GET /a/{id}"])).unwrap();
    directory.claim(pipe(1), &hello("s", &["GET /a/{name}"])).unwrap();
    let route = directory.find("GET", "/a/1").unwrap();
    assert_eq!(directory.entry(route).unwrap().peers.all(), [pipe(0), pipe(1)]);
    let conflicts = directory.claim(pipe(2), &hello("t", &["GET /a/{other}"])).unwrap().conflicts;
    assert_eq!(conflicts, [("GET /a/{other}".parse().unwrap(), "s".to_owned())]);
    directory.release(pipe(0));
    directory.release(pipe(1));
    assert!(directory.entry(route).unwrap().peers.is_empty(), "the route stays known");
    let claimed = directory.claim(pipe(2), &hello("t", &["GET /a/{other}"])).unwrap();
    assert!(claimed.conflicts.is_empty());
    assert!(directory.entry(route).is_none(), "an old route is noticed");
    assert_eq!(directory.find("GET", "/a/1").unwrap().service, claimed.service);
}

#[test]
fn a_pattern_nobody_serves_any_more_gives_way_after_a_while() {
    let start = Instant::now();
    let mut directory = Directory::new(start);
    directory.claim(pipe(0), &hello("s", &["GET /a/{id}"])).unwrap();
    directory.claim(pipe(1), &hello("guest", &["GET /a/5"])).unwrap();
    directory.release(pipe(1));
    assert_eq!(found(&directory, "GET", "/a/5").as_deref(), Some("GET /a/5"), "it may only be restarting");
    directory.tick(start + GRACE);
    assert_eq!(found(&directory, "GET", "/a/5").as_deref(), Some("GET /a/{id}"));
    directory.release(pipe(0));
    assert_eq!(found(&directory, "GET", "/a/5").as_deref(), Some("GET /a/5"), "no instance, but known");
    directory.claim(pipe(2), &hello("guest", &["GET /a/5"])).unwrap();
    directory.claim(pipe(0), &hello("s", &["GET /a/{id}"])).unwrap();
    assert_eq!(found(&directory, "GET", "/a/5").as_deref(), Some("GET /a/5"), "it is back");
    assert!(directory.left.is_empty());
}

#[test]
fn a_new_hello_replaces_the_old_one() {
    let mut directory = Directory::new(Instant::now());
    directory.claim(pipe(0), &hello("s", &["GET /a", "GET /b"])).unwrap();
    directory.claim(pipe(0), &hello("s", &["GET /b", "GET /c"])).unwrap();
    assert_eq!(found(&directory, "GET", "/a"), None);
    assert!(found(&directory, "GET", "/b").is_some() && found(&directory, "GET", "/c").is_some());
    let route = directory.find("GET", "/b").unwrap();
    assert_eq!(directory.entry(route).unwrap().peers.all().len(), 1);
}

#[test]
fn made_up_methods_are_bounded_and_forgotten_with_their_patterns() {
    let mut directory = Directory::new(Instant::now());
    let made_up = |n: usize| format!("{}Z{} /a", "X".repeat(n / 16), "Y".repeat(n % 16));
    for n in 0..3 * ROUTERS_MAX {
        let claimed = directory.claim(pipe(0), &hello("s", &["GET /a", &made_up(n)])).unwrap();
        assert!(claimed.conflicts.is_empty(), "{n}");
    }
    assert!(found(&directory, "GET", "/a").is_some());
    let all: Vec<String> = (0..2 * ROUTERS_MAX).map(made_up).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let conflicts = directory.claim(pipe(1), &hello("t", &all)).unwrap().conflicts;
    assert_eq!(conflicts.len(), 2 * ROUTERS_MAX - (ROUTERS_MAX - 2));
    assert_eq!(directory.entries().count(), ROUTERS_MAX);
}

#[test]
fn services_are_bounded_and_those_without_instances_make_room() {
    let mut directory = Directory::new(Instant::now());
    for n in 0..SERVICES_MAX {
        directory.claim(pipe(u32::try_from(n).unwrap()), &hello(&format!("s{n}"), &["GET /same"])).unwrap();
    }
    let refused = directory.claim(pipe(0), &hello("one more", &[]));
    assert_eq!(refused.unwrap_err(), HelloError::Services);
    assert_eq!(directory.service(0).unwrap().peers, [pipe(0)], "a refused hello changes nothing");
    directory.release(pipe(7));
    assert!(directory.claim(pipe(u32::MAX), &hello("one more", &[])).is_ok());
}

#[test]
fn patterns_are_bounded_and_those_that_nobody_claims_make_room() {
    let mut directory = Directory::new(Instant::now());
    let routes: Vec<String> = (0..1024).map(|n| format!("GET /{n}/{{id}}")).collect();
    let of = |service: u32| {
        let routes: Vec<String> =
            routes.iter().map(|route| route.replace("{id}", &service.to_string())).collect();
        hello(&service.to_string(), &routes.iter().map(String::as_str).collect::<Vec<_>>())
    };
    for service in 0..16 {
        directory.claim(pipe(service), &of(service)).unwrap();
    }
    assert_eq!(directory.claim(pipe(16), &of(16)).unwrap_err(), HelloError::Routes(1024));
    directory.release(pipe(3));
    assert!(directory.find("GET", "/7/3").is_some(), "still known");
    for restart in 0..3 * 16 {
        directory.claim(pipe(16), &of(16)).unwrap();
        directory.release(pipe(16));
        directory.claim(pipe(17), &of(17 + restart)).unwrap();
        directory.release(pipe(17));
    }
    assert!(directory.find("GET", "/7/3").is_none() && directory.find("GET", "/7/4").is_some());
    assert!(directory.entries.len() <= ROUTES_MAX, "{}", directory.entries.len());
}

/// Sixteen pipes of one peer fill the whole table.
#[test]
fn a_full_table_takes_from_those_that_claim_most_for_those_that_claim_little() {
    let mut directory = Directory::new(Instant::now());
    let many = |service: u32| {
        let routes: Vec<String> = (0..1024).map(|n| format!("GET /{service}/{n}")).collect();
        hello(&service.to_string(), &routes.iter().map(String::as_str).collect::<Vec<_>>())
    };
    for service in 0..16 {
        directory.claim(pipe(service), &many(service)).unwrap();
    }
    for n in 0..100 {
        let route = format!("GET /honest/{n}");
        let claimed = directory.claim(pipe(100 + n), &hello("honest", &[&route])).unwrap();
        assert!(claimed.conflicts.is_empty());
        assert_eq!(claimed.displaced.len(), 1, "one for one");
        assert!(found(&directory, "GET", &format!("/honest/{n}")).is_some());
    }
    assert!(directory.claim(pipe(16), &many(16)).is_err(), "it claims as many as the others");
    let left = |service: u32| {
        let of = |entry: &&Entry| entry.peers.all() == [pipe(service)];
        directory.entries().filter(of).count()
    };
    assert!((0..16).all(|service| (1017..=1018).contains(&left(service))), "all give the same");
    assert_eq!(directory.entries().count(), ROUTES_MAX);
}

#[test]
fn a_pattern_that_two_pipes_share_stays_when_one_has_to_give_way() {
    let mut directory = Directory::new(Instant::now());
    let routes: Vec<String> = (0..1024).map(|n| format!("GET /big/{n}")).collect();
    let routes: Vec<&str> = routes.iter().map(String::as_str).collect();
    directory.claim(pipe(0), &hello("big", &routes)).unwrap();
    directory.claim(pipe(1), &hello("big", &routes[..1000])).unwrap();
    let last = directory.displace(pipe(0), 30);
    assert_eq!(last.len(), 30);
    assert_eq!(directory.entries().count(), 1000);
    assert_eq!(directory.entries().filter(|entry| entry.peers.all() == [pipe(1)]).count(), 6);
}

#[test]
fn a_pattern_of_a_service_that_is_expected_does_not_give_way() {
    let start = Instant::now();
    for (expected, holder) in [(&[][..], "any"), (&["exact".to_owned()], "exact")] {
        let mut directory = Directory::new(start);
        directory.expect(expected);
        directory.claim(pipe(0), &hello("any", &["GET /{any}"])).unwrap();
        directory.claim(pipe(1), &hello("exact", &["GET /a"])).unwrap();
        directory.release(pipe(1));
        directory.tick(start + GRACE);
        let route = directory.find("GET", "/a").unwrap();
        assert_eq!(directory.service(route.service).unwrap().name, holder);
    }
}
