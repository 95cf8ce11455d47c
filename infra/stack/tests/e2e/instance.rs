//! Instances of a service inside the test: they answer or hold requests, and remember every
//! request.

use std::sync::{Arc, Mutex};

use crate::terminator::Terminator;
use crate::wire::{Correlation, HELLO, Message, Pipe, REQUEST};

/// What an instance does with a request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Treat {
    /// Answers at once.
    Answer,
    /// Holds it until [`Instance::release`].
    Hold,
}

/// One instance, connected to several terminators.
pub(crate) struct Instance {
    service: String,
    name: String,
    routes: Vec<String>,
    state: Arc<State>,
    pipes: Vec<Pipe>,
}

struct State {
    treat: Mutex<Treat>,
    handled: Mutex<Vec<Correlation>>,
    held: Mutex<Vec<(Message, Pipe)>>,
}

impl Instance {
    /// Dials every terminator and says hello.
    pub(crate) fn dial(
        [service, name]: [&str; 2],
        routes: &[&str],
        [weight, limit]: [u32; 2],
        treat: Treat,
        terminators: &[&Terminator],
    ) -> Self {
        let state =
            Arc::new(State { treat: Mutex::new(treat), handled: Mutex::default(), held: Mutex::default() });
        let pipes: Vec<Pipe> =
            terminators.iter().map(|terminator| Pipe::open(terminator.bus("tcp")).unwrap()).collect();
        for pipe in &pipes {
            let (pipe, state, name) = (pipe.try_clone().unwrap(), Arc::clone(&state), name.to_owned());
            std::thread::spawn(move || serve(pipe, &state, &name));
        }
        let routes = routes.iter().map(|&route| route.to_owned()).collect();
        let mut instance = Self { service: service.to_owned(), name: name.to_owned(), routes, state, pipes };
        instance.hello(weight, limit);
        instance
    }

    /// Says hello on every pipe.
    pub(crate) fn hello(&mut self, weight: u32, limit: u32) {
        let (weight, limit) = (weight.to_string(), limit.to_string());
        let mut fields = vec![
            ("service", self.service.as_str()),
            ("version", "1"),
            ("instance", &self.name),
            ("weight", &weight),
            ("limit", &limit),
        ];
        fields.extend(self.routes.iter().map(|route| ("route", route.as_str())));
        let hello = Message::new(HELLO, &fields).pack();
        self.send(&hello);
    }

    /// Sends any message on every pipe.
    pub(crate) fn send(&mut self, message: &[u8]) {
        for pipe in &mut self.pipes {
            pipe.send(message).unwrap();
        }
    }

    /// The correlation ids of all received requests, in order.
    pub(crate) fn handled(&self) -> Vec<Correlation> {
        self.state.handled.lock().unwrap().clone()
    }

    /// Number of requests held now.
    pub(crate) fn held(&self) -> usize {
        self.state.held.lock().unwrap().len()
    }

    /// Answers all held requests; later ones are answered at once.
    pub(crate) fn release(&self) {
        *self.state.treat.lock().unwrap() = Treat::Answer;
        for (request, mut pipe) in self.state.held.lock().unwrap().drain(..) {
            pipe.send(&answer(&self.name, &request)).unwrap();
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        for pipe in &self.pipes {
            pipe.shutdown(std::net::Shutdown::Both);
        }
    }
}

fn serve(mut pipe: Pipe, state: &State, name: &str) {
    while let Ok(payload) = pipe.receive() {
        let Some(request) = Message::unpack(&payload).filter(|message| message.kind == REQUEST) else {
            continue;
        };
        state.handled.lock().unwrap().push(request.correlation);
        // The lock is held, so that no request misses a release.
        let treat = state.treat.lock().unwrap();
        if *treat == Treat::Hold {
            state.held.lock().unwrap().push((request, pipe.try_clone().unwrap()));
            continue;
        }
        drop(treat);
        if pipe.send(&answer(name, &request)).is_err() {
            return;
        }
    }
}

fn answer(name: &str, request: &Message) -> Vec<u8> {
    let path = request.field(":path").unwrap_or_default();
    let body = serde_json::json!({ "instance": name, "path": path }).to_string();
    request.reply(200, body.as_bytes()).pack()
}
