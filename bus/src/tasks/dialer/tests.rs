//! Host names with several addresses, over real sockets on loopback addresses.

use std::cell::RefCell;
use std::net::{Ipv4Addr, TcpListener};

use bus_proto::sp::OPENING;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, LocalOptions};

use super::*;
use crate::bind::{Config, bind};
use crate::bus::Bus;

const PATIENCE: Duration = Duration::from_secs(20);

/// Two listeners on one port of two loopback addresses; `None` if the system has only 127.0.0.1.
fn two_hosts() -> Option<[TcpListener; 2]> {
    for _ in 0..20 {
        let first = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = first.local_addr().unwrap().port();
        match TcpListener::bind((Ipv4Addr::new(127, 0, 0, 2), port)) {
            Ok(second) => return Some([first, second]),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(_) => return None,
        }
    }
    None
}

fn in_a_runtime(test: impl Future<Output = ()>) {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default()).unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, test).await.expect("it takes too long") });
}

fn bus() -> Bus {
    let seeds = bind(&Config::default(), 1).unwrap();
    seeds.into_iter().next().unwrap().start()
}

async fn accept(listener: &tokio::net::TcpListener) -> TcpStream {
    let (mut stream, _) = listener.accept().await.unwrap();
    stream.write_all(&OPENING).await.unwrap();
    stream
}

async fn until(done: impl Fn() -> bool) {
    while !done() {
        tokio::task::yield_now().await;
    }
}

#[test]
fn every_address_of_a_name_is_dialled_and_changes_are_followed() {
    let Some(hosts) = two_hosts() else {
        println!("SKIPPED: this system has no 127.0.0.2");
        return;
    };
    in_a_runtime(async {
        let addresses = hosts.each_ref().map(|host| host.local_addr().unwrap());
        let [first, second] = hosts.map(|host| {
            host.set_nonblocking(true).unwrap();
            tokio::net::TcpListener::from_std(host).unwrap()
        });
        let bus = bus();
        let zone = Rc::new(RefCell::new(addresses.to_vec()));
        let known = Rc::clone(&zone);
        let lookup = move |_, _| std::future::ready(Ok(known.borrow().clone()));
        dial_by(Rc::clone(&bus.inner), &"tcp://service:1".parse().unwrap(), lookup);

        let (to_first, to_second) = (accept(&first).await, accept(&second).await);
        until(|| bus.unconnected().is_empty() && bus.peers().len() == 2).await;

        // The second host is removed from the name, then its connection ends.
        *zone.borrow_mut() = vec![addresses[0]];
        drop(to_second);
        until(|| bus.peers().len() == 1).await;
        assert!(bus.unconnected().is_empty(), "the first is still there");
        // It is added again, which is noticed when the first host is dialled again.
        zone.borrow_mut().push(addresses[1]);
        drop(to_first);
        let _both = (accept(&first).await, accept(&second).await);
        until(|| bus.unconnected().is_empty() && bus.peers().len() == 2).await;
    });
}

#[test]
fn a_name_that_cannot_be_looked_up_is_reported_and_tried_again() {
    in_a_runtime(async {
        let host = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = host.local_addr().unwrap();
        let bus = bus();
        let zone = Rc::new(RefCell::new(Vec::new()));
        let known = Rc::clone(&zone);
        let lookup = move |_, _| std::future::ready(Ok(known.borrow().clone()));
        dial_by(Rc::clone(&bus.inner), &"tcp://service:1".parse().unwrap(), lookup);
        until(|| bus.unconnected().iter().any(|missing| missing.failures > 1)).await;
        assert_eq!(bus.unconnected()[0].error.as_deref(), Some("the host name has no address"));
        zone.borrow_mut().push(address);
        let _stream = accept(&host).await;
        until(|| bus.unconnected().is_empty()).await;
    });
}

#[test]
fn a_connection_counts_when_the_peer_has_opened_it() {
    in_a_runtime(async {
        let host = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let bus = bus();
        bus.dial(&format!("tcp://{}", host.local_addr().unwrap()).parse().unwrap());
        drop(host.accept().await.unwrap());
        let (mut stream, _) = host.accept().await.unwrap();
        let missing = bus.unconnected().remove(0);
        assert!(missing.failures == 1 && missing.error.is_some(), "{missing:?}");
        stream.write_all(&OPENING).await.unwrap();
        until(|| bus.unconnected().is_empty()).await;
        let ended = Instant::now();
        drop((stream, host));
        until(|| bus.unconnected().iter().any(|missing| missing.failures > 0)).await;
        assert!(bus.unconnected()[0].since >= ended);
    });
}

/// The opening and a message above the limit arrive in one read.
#[test]
fn a_peer_that_opens_and_sends_nonsense_at_once_is_dialled_again() {
    in_a_runtime(async {
        let host = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let bus = bus();
        bus.dial(&format!("tcp://{}", host.local_addr().unwrap()).parse().unwrap());
        for _ in 0..3 {
            let (mut stream, _) = host.accept().await.unwrap();
            let nonsense = [&OPENING[..], &u64::MAX.to_be_bytes()].concat();
            stream.write_all(&nonsense).await.unwrap();
        }
        let opened = bus.counters().into_iter().find(|(name, _)| *name == "bus.pipes.opened").unwrap().1;
        assert!(opened >= 2, "{opened} pipes were open");
    });
}

/// What the peer of an open pipe sends when it drains.
async fn say_drain(stream: &mut TcpStream) {
    let drain = bus_proto::Header::new(bus_proto::Kind::Drain).to_bytes(0);
    stream.write_all(&(drain.len() as u64).to_be_bytes()).await.unwrap();
    stream.write_all(&drain).await.unwrap();
}

#[test]
fn a_peer_that_drains_is_dialled_again_beside_the_pipe_that_works() {
    in_a_runtime(async {
        let host = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let bus = bus();
        bus.dial(&format!("tcp://{}", host.local_addr().unwrap()).parse().unwrap());
        let mut old = accept(&host).await;
        until(|| bus.unconnected().is_empty()).await;
        say_drain(&mut old).await;
        let mut successor = accept(&host).await;
        until(|| bus.peers().len() == 2).await;
        // The pipe to the successor is replaced like the first one when its peer drains.
        drop(old);
        until(|| bus.peers().len() == 1).await;
        say_drain(&mut successor).await;
        let next = accept(&host).await;
        drop(successor);
        until(|| bus.peers().len() == 1).await;
        drop(next);
        let _again = accept(&host).await;
        until(|| bus.unconnected().is_empty()).await;
    });
}

#[test]
fn a_successor_that_fails_is_dialled_when_the_peer_drains_again_or_has_gone() {
    in_a_runtime(async {
        let host = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let bus = bus();
        bus.dial(&format!("tcp://{}", host.local_addr().unwrap()).parse().unwrap());
        let mut old = accept(&host).await;
        until(|| bus.unconnected().is_empty()).await;
        for opens in [true, false] {
            say_drain(&mut old).await;
            if opens {
                let successor = accept(&host).await;
                until(|| bus.peers().len() == 2).await;
                drop(successor);
            } else {
                drop(host.accept().await.unwrap());
            }
            until(|| bus.peers().len() == 1).await;
        }
        drop(old);
        let _successor = accept(&host).await;
        until(|| bus.unconnected().is_empty() && bus.peers().len() == 1).await;
    });
}

#[test]
fn an_undialled_endpoint_is_closed_and_not_dialled_again() {
    in_a_runtime(async {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let endpoint: Endpoint = format!("tcp://{}", listener.local_addr().unwrap()).parse().unwrap();
        let bus = bus();
        bus.dial(&endpoint);
        let _kept = accept(&listener).await;
        until(|| bus.peers().len() == 1 && bus.unconnected().is_empty()).await;

        assert!(bus.undial(&endpoint) && !bus.undial(&endpoint));
        until(|| bus.peers().is_empty()).await;
        assert!(bus.unconnected().is_empty(), "it is not dialled, so it is not missed");

        // The next connection is that of the second `dial`: none came in between.
        bus.dial(&endpoint);
        let _again = accept(&listener).await;
        until(|| bus.peers().len() == 1).await;
        until(|| bus.unconnected().is_empty()).await;
        let opened = bus.counters().into_iter().find(|(name, _)| *name == "bus.pipes.opened").unwrap().1;
        assert_eq!(opened, 2, "one for each time that it was dialled");
    });
}

#[test]
fn an_endpoint_that_never_answered_is_given_up() {
    in_a_runtime(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let endpoint: Endpoint = format!("tcp://{}", listener.local_addr().unwrap()).parse().unwrap();
        drop(listener);
        let bus = bus();
        bus.dial(&endpoint);
        until(|| bus.unconnected().first().is_some_and(|dial| dial.failures > 0)).await;
        assert!(bus.undial(&endpoint));
        assert!(bus.unconnected().is_empty());
    });
}
