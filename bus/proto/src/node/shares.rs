//! Shares: which pipes lead to the same instance, and which part of its weight each pipe gets.
//!
//! An instance is identified by the name of its service and its own name. A pipe whose hello names
//! no instance counts as a separate instance. Invariant: the shares of a worker's pipes to one
//! instance add up to the weight of the instance, times a factor that is the same for all instances
//! of the service. The distribution of requests among instances therefore does not depend on their
//! numbers of connections.

use std::collections::HashMap;

use super::Node;
use crate::balancer::UNIT;
use crate::hello::Hello;
use crate::socket::{Pipe, PipeId};

/// The pipes to one instance that take requests.
#[derive(Clone, Copy, Default)]
struct Ways {
    /// A connection of this worker.
    own: Option<PipeId>,
    own_count: u32,
    remote_count: u32,
}

impl Ways {
    /// Number of pipes that get requests. Pipes that stand for other workers' connections get none
    /// while this worker has a connection.
    const fn used(self) -> u32 {
        if self.own_count > 0 { self.own_count } else { self.remote_count }
    }
}

impl Node {
    /// Must be called when a pipe may have begun or ceased to take requests, or has a new hello.
    pub(super) fn update_shares(&mut self) {
        let instances = self.instances();
        // The factor of the invariant. When all instances have the same number of pipes, every pipe
        // gets a full share, and with it the longest runs.
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

/// The name of a service, and the name of the instance or, if it has none, its pipe.
type Instance<'a> = (&'a str, Result<&'a str, PipeId>);

fn instance(hello: &Hello, pipe: PipeId) -> Instance<'_> {
    let named = !hello.instance.is_empty();
    (&hello.service, if named { Ok(&hello.instance) } else { Err(pipe) })
}
