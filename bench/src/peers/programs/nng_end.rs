//! One end of an nng BUS pair, or both, for `bench bus`: sends, receives, asks or answers as fast
//! as nng can.
//!
//! Owns the loops. The counting end waits for the first message, counts for the requested time and
//! prints messages per second. nng drops messages that do not fit its queues; messages count where
//! they arrive.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use nng::options::{Options as _, RecvTimeout};
use nng::{Message, Socket};

use super::nng_bus::open;
use crate::figures::float;

/// Outstanding requests: the length of the BUS send queue of NNG before 1.6.
const WINDOW: usize = 16;
/// After this time without a reply the messages were dropped, and the window is sent again.
const LOST: Duration = Duration::from_millis(100);

#[derive(Debug, Args)]
pub(crate) struct Options {
    #[arg(long)]
    url: String,
    #[arg(long, value_enum)]
    role: Role,
    #[arg(long)]
    size: usize,
    #[arg(long)]
    seconds: u64,
    #[arg(long)]
    core: usize,
    /// Core of the second end, when both are in this process.
    #[arg(long)]
    second_core: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Role {
    Send,
    Receive,
    Ask,
    Answer,
    SendReceive,
    AskAnswer,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    // nng's threads inherit the core of the thread that starts them; with both ends in one process
    // they use either core.
    match options.second_core {
        Some(_) => {}
        None => crate::process::pin(options.core)?,
    }
    let socket = open()?;
    match options.role {
        Role::Send | Role::Answer => socket.dial_async(&options.url)?,
        _ => drop(socket.listen(&options.url).context("nng cannot listen")?),
    }
    let both = |role: Role| -> Result<()> {
        let other = open()?;
        other.dial(&options.url)?;
        let (url_size, core) = (options.size, options.second_core.unwrap_or(options.core));
        std::thread::spawn(move || {
            let _ = crate::process::pin(core);
            if role == Role::Send { send(&other, url_size) } else { answer(&other) }
        });
        Ok(())
    };
    match options.role {
        Role::Send => send(&socket, options.size),
        Role::Answer => answer(&socket),
        Role::Receive => receive(&socket, options.seconds),
        Role::Ask => ask(&socket, options.size, options.seconds),
        Role::SendReceive => {
            both(Role::Send)?;
            receive(&socket, options.seconds)
        }
        Role::AskAnswer => {
            both(Role::Answer)?;
            ask(&socket, options.size, options.seconds)
        }
    }
}

fn send(socket: &Socket, size: usize) -> Result<()> {
    let body = vec![b'x'; size];
    loop {
        // BUS never blocks: without a peer or room the message is dropped.
        let _ = socket.send(Message::from(&body[..]));
    }
}

fn answer(socket: &Socket) -> Result<()> {
    loop {
        let message = socket.recv()?;
        let _ = socket.send(message);
    }
}

fn receive(socket: &Socket, seconds: u64) -> Result<()> {
    socket.recv()?;
    let (start, time) = (Instant::now(), Duration::from_secs(seconds));
    let mut count = 0;
    while start.elapsed() < time {
        for _ in 0..64 {
            socket.recv()?;
        }
        count += 64;
    }
    print(count, start);
    Ok(())
}

fn ask(socket: &Socket, size: usize, seconds: u64) -> Result<()> {
    socket.set_opt::<RecvTimeout>(Some(LOST))?;
    let body = vec![b'x'; size];
    let fill = || (0..WINDOW).for_each(|_| drop(socket.send(Message::from(&body[..]))));
    // Repeats until the first reply, because the other end may not be connected yet.
    while socket.recv().is_err() {
        fill();
    }
    let (start, time) = (Instant::now(), Duration::from_secs(seconds));
    let mut count = 0;
    while start.elapsed() < time {
        match socket.recv() {
            Ok(message) => {
                count += 1;
                let _ = socket.send(message);
            }
            Err(_) => fill(),
        }
    }
    print(count, start);
    Ok(())
}

fn print(count: u64, start: Instant) {
    println!("{:.0}", float(count) / start.elapsed().as_secs_f64());
}
