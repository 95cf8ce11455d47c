//! Messages arrive unchanged, however the stream is split, whatever other pipes are reading, and
//! however long they are kept.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and prints its seed"
)]

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bus::proto::Header;
use bus::proto::sp::{Framing, OPENING};
use bus::{Bus, Config, Endpoint, HeadWriter, Incoming, Kind, Response, Serve, Serving, bind};
use bytes::BytesMut;
use role::{Scheduling, worker};

const PIPES: u64 = 4;
const MESSAGES: u64 = 300;
/// Requests that the service keeps before it compares them.
const KEPT: usize = 20;
const PATIENCE: Duration = Duration::from_secs(60);

/// Lengths around those at which the reader changes its method, and between them.
fn body_len(rng: &mut fastrand::Rng) -> usize {
    let edges = [0, 1, 4 << 10, 16 << 10, 32 << 10, 64 << 10, 128 << 10, 256 << 10, 1_000_000];
    let edge = edges[rng.usize(..edges.len())];
    match rng.u8(..10) {
        0..=5 => rng.usize(..2000),
        6..=7 => (edge + rng.usize(..200)).saturating_sub(100),
        _ => rng.usize(..edge + 1),
    }
}

/// A body that identifies its message.
fn body(number: u64, len: usize) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(number);
    (0..len).map(|_| rng.u8(..)).collect()
}

fn request(number: u64, len: usize) -> Vec<u8> {
    let mut head = BytesMut::new();
    let mut writer = HeadWriter::new(&mut head);
    writer.field(":method", "GET");
    writer.field(":path", format!("{number} {len}"));
    let head_len = writer.finish().unwrap();
    let header = Header::new(Kind::Request).to_bytes(u32::try_from(head_len).unwrap());
    [&Framing::Tcp.prefix(header.len() + head_len + len)[1..], &header, &head, &body(number, len)].concat()
}

/// Sends messages in pieces of any length, and reads the replies.
fn send(port: u16, pipe: u64, seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed ^ pipe);
    let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
    socket.set_nodelay(true).unwrap();
    let mut answers = socket.try_clone().unwrap();
    std::thread::spawn(move || while answers.read(&mut [0; 65536]).is_ok_and(|len| len > 0) {});
    let mut bytes = OPENING.to_vec();
    for number in 0..MESSAGES {
        bytes.extend(request(pipe * MESSAGES + number, body_len(&mut rng)));
        while bytes.len() > 100_000 || (!bytes.is_empty() && (number + 1 == MESSAGES || rng.bool())) {
            let most = [10, 1000, 70_000, 2_000_000][rng.usize(..4)];
            let cut = rng.usize(1..=bytes.len().min(most));
            socket.write_all(&bytes[..cut]).unwrap();
            bytes.drain(..cut);
        }
    }
}

/// Keeps requests for a while, then compares them with what was sent.
#[derive(Clone, Default)]
struct Comparing {
    kept: Rc<RefCell<VecDeque<Incoming>>>,
    same: Rc<RefCell<u64>>,
}

impl Comparing {
    fn compare(&self, request: &Incoming) {
        let path = request.path().to_owned();
        let (number, len) = path.split_once(' ').unwrap();
        assert!(
            request.envelope.body_bytes() == body(number.parse().unwrap(), len.parse().unwrap()),
            "{path}"
        );
        *self.same.borrow_mut() += 1;
    }
}

impl Serve for Comparing {
    fn serve(&self, request: Incoming) -> Serving {
        let mut kept = self.kept.borrow_mut();
        kept.push_back(request);
        if kept.len() > KEPT {
            self.compare(&kept.pop_front().unwrap());
        }
        Serving::Now(Response::new(200))
    }
}

#[tokio::test]
async fn messages_of_every_length_arrive_whole_and_stay_so() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let config = Config { listen: vec!["tcp://127.0.0.1:0".parse().unwrap()], ..Config::default() };
    let seeds = bind(&config, 1).unwrap();
    let Endpoint::Tcp { port, .. } = seeds[0].listening()[0] else { panic!("tcp was asked for") };
    let service = worker::start("service", Scheduling::Inherit, seeds, |_, bus: Bus| {
        let comparing = Comparing::default();
        bus.serve(Rc::new(comparing.clone()));
        Ok((bus, comparing))
    });
    let service = service.unwrap();
    let pipes: Vec<_> = (0..PIPES).map(|pipe| std::thread::spawn(move || send(port, pipe, seed))).collect();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let seen = service.ask(|(_, comparing)| *comparing.same.borrow()).await;
        assert!(service.all_run(), "a message differs from what was sent");
        if seen == [PIPES * MESSAGES - KEPT as u64] {
            break;
        }
        assert!(Instant::now() < deadline, "{seen:?} of {}", PIPES * MESSAGES);
        tokio::task::yield_now().await;
    }
    pipes.into_iter().for_each(|pipe| pipe.join().unwrap());
    let rest = service.ask(|(_, comparing)| {
        let kept = std::mem::take(&mut *comparing.kept.borrow_mut());
        kept.iter().for_each(|request| comparing.compare(request));
        *comparing.same.borrow()
    });
    assert_eq!(rest.await, [PIPES * MESSAGES]);
    service.stop(|_| async {}).await;
}
