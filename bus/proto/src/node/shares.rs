//! Shares: which pipes lead to the same instance, and what part of its weight each gets.
//!
//! An instance is a service's name and an instance's name. A hello that names no instance is an
//! instance of its own. Invariant: the shares of a worker's pipes to one instance add up to its
//! weight, times a factor that is the same for all instances of the service. So the instances' parts of
//! the requests do not depend on how many connections each of them has.

use std::collections::HashMap;

use super::Node;
use crate::balancer::UNIT;
use crate::hello::Hello;
use crate::socket::{Pipe, PipeId};

/// One instance's pipes, as far as they take requests.
#[derive(Clone, Copy, Default)]
struct Ways {
    /// A connection of this worker.
    own: Option<PipeId>,
    own_count: u32,
    remote_count: u32,
}

impl Ways {
    /// Pipes that get requests: those that stand for other workers' connections get none beside own ones.
    const fn used(self) -> u32 {
        if self.own_count > 0 { self.own_count } else { self.remote_count }
    }
}

impl Node {
    /// To be called when a pipe may have begun or ceased to take requests, or has another hello.
    pub(super) fn update_shares(&mut self) {
        let instances = self.instances();
        // The factor: with as many pipes to each instance every pipe has a full share, and with it the
        // longest runs.
        let mut fewest: HashMap<&str, u32> = HashMap::new();
        for ((service, _), ways) in &instances {
            let fewest = fewest.entry(service).or_insert(u32::MAX);
            *fewest = ways.used().min(*fewest);
        }
        let change = |(id, pipe): (PipeId, &Pipe)| {
            let hello = pipe.hello.as_ref()?;
            let ways = instances.get(&instance(hello, id)).copied().unwrap_or_default();
            let redundant_to = ways.own.filter(|_| pipe.remote.is_some());
            let fewest = fewest.get(&*hello.service).copied().unwrap_or(1).max(1);
            let share = hello.weight.saturating_mul(UNIT).saturating_mul(fewest) / ways.used().max(1);
            let is_new = (redundant_to, share) != (pipe.redundant_to, pipe.share);
            is_new.then_some((id, redundant_to, share))
        };
        let changes: Vec<_> = self.socket.pipes().filter_map(change).collect();
        for (id, redundant_to, share) in changes {
            if let Some(pipe) = self.socket.pipe_mut(id) {
                (pipe.redundant_to, pipe.share) = (redundant_to, share);
            }
        }
    }

    fn instances(&self) -> HashMap<Instance<'_>, Ways> {
        let mut instances: HashMap<Instance<'_>, Ways> = HashMap::new();
        for (id, pipe) in self.socket.pipes().filter(|(_, pipe)| pipe.is_willing()) {
            let Some(hello) = &pipe.hello else { continue };
            let ways = instances.entry(instance(hello, id)).or_default();
            if pipe.remote.is_some() {
                ways.remote_count += 1;
            } else {
                ways.own = Some(id);
                ways.own_count += 1;
            }
        }
        instances
    }
}

/// A service's name, and what tells its instance from the others: its name, or its only pipe.
type Instance<'a> = (&'a str, Result<&'a str, PipeId>);

fn instance(hello: &Hello, pipe: PipeId) -> Instance<'_> {
    let named = !hello.instance.is_empty();
    (&hello.service, if named { Ok(&hello.instance) } else { Err(pipe) })
}
