//! Claims over time: who gets a pattern when its holder goes.

#[path = "fixtures/peer.rs"]
mod peer;

use bus_proto::{Framing, Input, Node};
use peer::{config, epoch, hello, hello_message};

fn holder(node: &Node, path: &str) -> Option<String> {
    let route = node.directory.find("GET", path)?;
    node.directory.service(route.service).map(|service| service.name.clone())
}

#[test]
fn one_who_was_refused_gets_the_pattern_when_its_holder_has_gone() {
    let now = epoch();
    let mut node = Node::new(config(1), now);
    let [thief, owner] = [(); 2].map(|()| node.open_pipe(now, Framing::Tcp));
    node.handle_message(now, thief, hello_message(&hello("thief", &["GET /a/{id}"], &[])));
    let input =
        node.handle_message(now, owner, hello_message(&hello("owner", &["GET /a/{id}", "GET /b"], &[])));
    assert!(matches!(input, Input::Hello { conflicts, .. } if conflicts.len() == 1));
    assert_eq!(holder(&node, "/a/1").as_deref(), Some("thief"), "the first keeps it");
    node.close_pipe(now, thief);
    assert_eq!(holder(&node, "/a/1").as_deref(), Some("owner"), "without another hello");
    assert_eq!(holder(&node, "/b").as_deref(), Some("owner"));
}

#[test]
fn one_who_was_refused_gets_the_pattern_when_its_holder_gives_it_up() {
    let now = epoch();
    let mut node = Node::new(config(1), now);
    let [first, second] = [(); 2].map(|()| node.open_pipe(now, Framing::Tcp));
    node.handle_message(now, first, hello_message(&hello("first", &["GET /a"], &[])));
    node.handle_message(now, second, hello_message(&hello("second", &["GET /a"], &[])));
    node.handle_message(now, first, hello_message(&hello("first", &["GET /b"], &[])));
    assert_eq!(holder(&node, "/a").as_deref(), Some("second"));
    assert_eq!(node.counters.route_conflicts, 1);
}
