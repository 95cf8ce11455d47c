//! The answering side: requests to the handler, answers down the pipe they came by.
//!
//! A handler is polled once in the read loop; only one that has to wait becomes a task, which a cancel, or the end of
//! the pipe, aborts.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bus_proto::{Correlation, Envelope, HeadWriter, Header, PipeId};
use tokio::task::{AbortHandle, spawn_local};

use crate::bus::Inner;
use crate::message::{self, Incoming, Response, Serve};

type Answer = Pin<Box<dyn Future<Output = Response>>>;
/// Seeded: correlation ids are a peer's choice.
type Tasks = HashMap<(PipeId, Correlation), AbortHandle, foldhash::fast::RandomState>;

/// The handler, and what it has not answered yet.
#[derive(Default)]
pub(crate) struct Serving {
    handler: RefCell<Option<Rc<dyn Serve>>>,
    tasks: RefCell<Tasks>,
    waiting: Cell<usize>,
}

impl Serving {
    pub(crate) fn set_handler(&self, handler: Rc<dyn Serve>) {
        *self.handler.borrow_mut() = Some(handler);
    }

    /// Requests that wait in tasks.
    pub(crate) const fn waiting(&self) -> usize {
        self.waiting.get()
    }
}

impl Inner {
    pub(crate) fn serve(self: &Rc<Self>, pipe: PipeId, envelope: Envelope, deadline: Option<Instant>) {
        let handler = self.serving.handler.borrow().clone();
        let Some(handler) = handler else {
            self.node.borrow_mut().counters.rejected_unserved += 1;
            return;
        };
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            self.node.borrow_mut().counters.served_expired += 1;
            return;
        }
        self.node.borrow_mut().counters.served += 1;
        let header = *envelope.header();
        match handler.serve(Incoming { envelope, deadline }) {
            message::Serving::Now(response) => self.answer(pipe, &header, response),
            message::Serving::Later(mut answer) => {
                match answer.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                    Poll::Ready(response) => self.answer(pipe, &header, response),
                    Poll::Pending => self.defer(pipe, header, answer),
                }
            }
        }
    }

    fn answer(&self, pipe: PipeId, request: &Header, response: Response) {
        let Response { status, fields, body } = response;
        let head = |head: &mut HeadWriter<'_>| {
            for (name, value) in &fields {
                head.field(name.as_bytes(), value);
            }
        };
        self.node.borrow_mut().reply(pipe, request, status, head, body);
    }

    fn defer(self: &Rc<Self>, pipe: PipeId, header: Header, answer: Answer) {
        let key = (pipe, header.correlation);
        let waiting = Waiting::new(Rc::clone(self), key);
        let task = spawn_local(async move {
            let response = answer.await;
            waiting.inner.answer(pipe, &header, response);
        });
        let task = task.abort_handle();
        // An id used twice by a careless asker: both are answered, the later one can be cancelled.
        self.serving.tasks.borrow_mut().insert(key, task);
    }

    pub(crate) fn cancel_serving(&self, pipe: PipeId, correlation: Correlation) {
        let task = self.serving.tasks.borrow_mut().remove(&(pipe, correlation));
        if let Some(task) = task {
            self.node.borrow_mut().counters.served_cancelled += 1;
            task.abort();
        }
    }

    /// The asker's pipe is gone: nobody waits for these answers.
    pub(crate) fn cancel_all(&self, pipe: PipeId) {
        let tasks = &mut *self.serving.tasks.borrow_mut();
        let gone = tasks.extract_if(|(of, _), _| *of == pipe).map(|(_, task)| task.abort()).count();
        self.node.borrow_mut().counters.served_cancelled += gone as u64;
    }
}

/// Counts a deferred request for as long as its task lives.
struct Waiting {
    inner: Rc<Inner>,
    key: (PipeId, Correlation),
}

impl Waiting {
    fn new(inner: Rc<Inner>, key: (PipeId, Correlation)) -> Self {
        inner.serving.waiting.set(inner.serving.waiting.get() + 1);
        Self { inner, key }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let serving = &self.inner.serving;
        serving.waiting.set(serving.waiting.get() - 1);
        serving.tasks.borrow_mut().remove(&self.key);
    }
}
