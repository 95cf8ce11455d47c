//! A handler behind one type: called, polled, and kept from taking the worker down.
//!
//! Owns the memory of the handler's future, and its panics. `serve` owns limits, `visit` counting.
//! Invariant: a future that has been polled never moves; a future that panicked is dropped and
//! never polled again.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bus::Serving;
use pin_project_lite::pin_project;

use crate::request::Request;
use crate::response::IntoResponse;
use crate::visit::Visit;

/// After a handler had to wait, so many of its requests go to the bus without being polled here
/// first.
const WAITING_SPELL: u8 = 63;

/// A route's handler.
pub(crate) trait Endpoint {
    fn call(&self, request: Request, visit: Visit) -> Serving;
}

/// A handler `H` whose futures are `F`.
///
/// A handler that reads memory or an embedded store is ready at its first poll: it is polled here,
/// in memory that the next request uses again, and costs no allocation. A handler that has to wait
/// is handed to the bus, which polls it with a waker that wakes its task.
pub(crate) struct Typed<H, F> {
    handler: H,
    spare: RefCell<Option<Pin<Box<Slot<F>>>>>,
    waiting_spell: Cell<u8>,
}

impl<H, F> Typed<H, F> {
    pub(crate) fn new(handler: H) -> Self {
        Self { handler, spare: RefCell::new(None), waiting_spell: Cell::new(0) }
    }
}

impl<H, F> Endpoint for Typed<H, F>
where
    H: Fn(Request) -> F,
    F: Future<Output: IntoResponse> + 'static,
{
    fn call(&self, request: Request, visit: Visit) -> Serving {
        let work = match catch_unwind(AssertUnwindSafe(|| (self.handler)(request))) {
            Ok(work) => work,
            Err(panic) => return Serving::Now(visit.panicked(&*panic)),
        };
        let spell = self.waiting_spell.get();
        if spell > 0 {
            self.waiting_spell.set(spell - 1);
            return Serving::Later(Box::pin(Slot { work: Some(work), visit: Some(visit) }));
        }
        let spare = self.spare.borrow_mut().take();
        let mut slot = spare.unwrap_or_else(|| Box::pin(Slot { work: None, visit: None }));
        let empty = slot.as_mut().project();
        *empty.visit = Some(visit);
        { empty.work }.set(Some(work));
        match slot.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(response) => {
                *self.spare.borrow_mut() = Some(slot);
                Serving::Now(response)
            }
            Poll::Pending => {
                self.waiting_spell.set(WAITING_SPELL);
                Serving::Later(slot)
            }
        }
    }
}

pin_project! {
    /// A request that a handler works on; both fields are `None` before and after. Dropped when the
    /// client cancels, the future first.
    struct Slot<F> {
        #[pin]
        work: Option<F>,
        visit: Option<Visit>,
    }
}

impl<F: Future<Output: IntoResponse>> Future for Slot<F> {
    type Output = bus::Response;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<bus::Response> {
        let mut this = self.project();
        let work = this.work.as_mut().as_pin_mut().expect("a slot is polled only while it holds work");
        let output = match catch_unwind(AssertUnwindSafe(|| work.poll(cx))) {
            Ok(polled) => Ok(ready!(polled)),
            Err(panic) => Err(panic),
        };
        this.work.set(None);
        let visit = this.visit.take().expect("work is never without its visit");
        Poll::Ready(match output {
            Ok(output) => visit.finish(output.into_response()),
            Err(panic) => visit.panicked(&*panic),
        })
    }
}
