//! What a role does at each step of its life.
//!
//! Owns: the names of the steps. Leaves their order and their times to `life`, and what happens in
//! a step to each role. Invariant: what belongs to a worker is touched on that worker's thread
//! only.

use std::future::Future;

use bus::Bus;

/// What one kind of role does at each step of its life. Functions with a worker run on that
/// worker's thread, the others on the control thread.
pub trait Role: 'static {
    /// One worker's state.
    type Worker: 'static;

    /// The buses of a worker, in the order in which they drain.
    fn buses(worker: &Self::Worker) -> Vec<Bus>;

    /// SIGHUP: reopens files.
    fn reload(&mut self) {}

    /// The role is about to stop, and serves everything until it drains: `/ready` says no.
    fn leave(&mut self) {}

    /// The same on a worker: its clients are told to go elsewhere.
    fn leave_worker(_: &Self::Worker) {}

    /// The drain begins: the ports of the control thread are released.
    fn drain(&mut self) {}

    /// The same on a worker, whose buses have stopped listening: accepts no more clients, makes
    /// every response the last of its connection, and asks for the answers that are outstanding.
    fn close_worker(_: &Self::Worker) {}

    /// A moment later: ends what is idle.
    fn drain_worker(_: &Self::Worker) {}

    /// A successor serves: the files of Unix sockets are its own now, and the control thread's
    /// listeners are closed. [`Role::leave`] and [`Role::close_worker`] follow, and [`Role::drain`]
    /// a moment later.
    fn hand_over(&mut self) {}

    /// What has to end on a worker before its buses drain: open connections.
    fn open(_: &Self::Worker) -> usize {
        0
    }

    /// Everything has ended: sends the last figures, and drops what holds the workers.
    fn finish(&mut self) -> impl Future<Output = ()>;
}
