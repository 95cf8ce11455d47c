//! Claims over time: which service gets a pattern when its holder leaves.

#[path = "fixtures/peer.rs"]
mod peer;

use bus_proto::{Framing, Input, Node};
use peer::{config, epoch, hello, hello_message};

fn holder(node: &Node, path: &str) -> Option<String> {
    let route = node.directory.find("GET", path)?;
    node.directory.service(route.service).map(|service| service.name.clone())
}

#[test]
fn a_refused_service_gets_the_pattern_when_its_holder_has_left() {
    let now = epoch();
    let mut node = Node::new(config(1), now);
    let [thief, owner] = [(); 2].map(|()| node.open_pipe(now, Framing::Tcp));
    node.handle_message(now, thief, hello_message(&hello("thief", &["GET /a/{id}"], &[])));
    let input =
        node.handle_message(now, owner, hello_message(&hello("owner", &["GET /a/{id}", "GET /b"], &[])));
    assert!(matches!(input, Input::Hello { conflicts, .. } if conflicts.len() == 1));
    assert_eq!(holder(&node, "/a/1").as_deref(), Some("thief"), "the first claim wins");
    node.close_pipe(now, thief);
    assert_eq!(holder(&node, "/a/1").as_deref(), Some("owner"), "without another hello");
    assert_eq!(holder(&node, "/b").as_deref(), Some("owner"));
}

#[test]
fn a_refused_service_gets_the_pattern_when_its_holder_gives_it_up() {
    let now = epoch();
    let mut node = Node::new(config(1), now);
    let [first, second] = [(); 2].map(|()| node.open_pipe(now, Framing::Tcp));
    node.handle_message(now, first, hello_message(&hello("first", &["GET /a"], &[])));
    node.handle_message(now, second, hello_message(&hello("second", &["GET /a"], &[])));
    node.handle_message(now, first, hello_message(&hello("first", &["GET /b"], &[])));
    assert_eq!(holder(&node, "/a").as_deref(), Some("second"));
    assert_eq!(node.counters.route_conflicts, 1);
}

#[test]
fn a_service_that_returns_gets_its_routes_back_from_one_that_took_them() {
    let now = epoch();
    let mut node = Node::new(config(1), now);
    let [owner, rogue] = [(); 2].map(|()| node.open_pipe(now, Framing::Tcp));
    let owners = hello_message(&hello("owner", &["GET /a/{id}"], &[]));
    node.handle_message(now, owner, owners.clone());
    node.handle_message(now, rogue, hello_message(&hello("rogue", &["GET /a/{other}", "GET /r"], &[])));
    node.close_pipe(now, owner);
    assert_eq!(holder(&node, "/a/1").as_deref(), Some("rogue"), "while the owner is away");
    let stale = node.directory.find("GET", "/a/1").expect("claimed");

    let back = node.open_pipe(now, Framing::Tcp);
    let input = node.handle_message(now, back, owners);
    let Input::Hello { conflicts, displaced, .. } = input else { panic!("{input:?}") };
    assert!(conflicts.is_empty() && displaced.len() == 1 && displaced[0].0 == rogue, "{displaced:?}");
    assert_eq!(holder(&node, "/a/1").as_deref(), Some("owner"));
    assert_eq!(holder(&node, "/r").as_deref(), Some("rogue"), "it keeps its own route");
    assert!(node.directory.entry(stale).is_none(), "a request to the rogue's route is not sent to the owner");
    assert_eq!(node.counters.route_conflicts, 2);

    node.close_pipe(now, back);
    assert_eq!(holder(&node, "/a/1").as_deref(), Some("rogue"), "as before");
}

#[test]
fn a_service_that_gives_a_route_up_does_not_get_it_back() {
    let now = epoch();
    let mut node = Node::new(config(1), now);
    let [first, second] = [(); 2].map(|()| node.open_pipe(now, Framing::Tcp));
    node.handle_message(now, first, hello_message(&hello("first", &["GET /a", "GET /b"], &[])));
    node.close_pipe(now, first);
    node.handle_message(now, second, hello_message(&hello("second", &["GET /a"], &[])));
    let first = node.open_pipe(now, Framing::Tcp);
    node.handle_message(now, first, hello_message(&hello("first", &["GET /b"], &[])));
    assert_eq!(holder(&node, "/a").as_deref(), Some("second"));
    node.handle_message(now, first, hello_message(&hello("first", &["GET /a", "GET /b"], &[])));
    assert_eq!(holder(&node, "/a").as_deref(), Some("second"), "the second service owns it");
}

#[test]
fn a_pattern_goes_back_to_its_owner_when_another_service_leaves() {
    let now = epoch();
    let mut node = Node::new(config(1), now);
    let [owner, rogue] = [(); 2].map(|()| node.open_pipe(now, Framing::Tcp));
    node.handle_message(now, owner, hello_message(&hello("owner", &["GET /a"], &[])));
    node.close_pipe(now, owner);
    node.handle_message(now, rogue, hello_message(&hello("rogue", &["GET /a"], &[])));
    node.handle_message(now, rogue, hello_message(&hello("rogue", &[], &[])));
    assert_eq!(holder(&node, "/a").as_deref(), Some("owner"), "503, not 404");
}

#[test]
fn no_weight_is_above_a_thousand() {
    let now = epoch();
    let mut node = Node::new(config(1), now);
    let pipe = node.open_pipe(now, Framing::Tcp);
    let mut said = hello("s", &["GET /"], &[]);
    for (weight, counts) in [(0, 0), (1000, 1000), (1_000_000, 1000)] {
        said.weight = weight;
        node.handle_message(now, pipe, hello_message(&said));
        let known = node.socket.pipe(pipe).and_then(|pipe| pipe.hello.as_ref()).map(|hello| hello.weight);
        assert_eq!(known, Some(counts));
    }
}

/// A table that one peer has filled through sixteen pipes has room for a service with a few routes.
#[test]
fn a_peer_with_many_routes_leaves_room_for_the_routes_of_others() {
    let now = epoch();
    let mut node = Node::new(config(1), now);
    for n in 0..16 {
        let routes: Vec<String> = (0..1024).map(|route| format!("GET /rogue/{n}/{route}")).collect();
        let routes: Vec<&str> = routes.iter().map(String::as_str).collect();
        let pipe = node.open_pipe(now, Framing::Tcp);
        node.handle_message(now, pipe, hello_message(&hello("profile", &routes, &[])));
    }
    let honest = node.open_pipe(now, Framing::Tcp);
    let input =
        node.handle_message(now, honest, hello_message(&hello("profile", &["GET /profiles/{id}"], &[])));
    assert!(matches!(input, Input::Hello { .. }), "{input:?}");
    assert_eq!(holder(&node, "/profiles/1").as_deref(), Some("profile"));
}
