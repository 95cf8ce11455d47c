//! Room in a full route table: what is removed for a new hello.
//!
//! Services and patterns without instances are removed first. Then pipes that claim many patterns
//! lose some to a pipe that claims fewer.

use std::collections::HashMap;

use super::Directory;
use crate::hello::{Hello, HelloError, Pattern};
use crate::limits::ROUTES_MAX;
use crate::socket::PipeId;

impl Directory {
    /// Makes room for the routes of `hello`, which arrived on `pipe`. If the table is full, it
    /// first drops patterns without instances. Then it takes patterns from the pipes that claim the
    /// most, as long as these claim more than this hello does, so that a peer with few patterns
    /// always finds room. Returns the patterns it took, with the pipes that lost them.
    ///
    /// # Errors
    /// [`HelloError::Routes`] when there is no room left that it may take.
    pub(super) fn make_room(
        &mut self,
        pipe: PipeId,
        hello: &Hello,
    ) -> Result<Vec<(PipeId, Pattern)>, HelloError> {
        let wanted = hello.routes.len();
        let mut displaced = Vec::new();
        if self.entries().count() + wanted <= ROUTES_MAX {
            return Ok(displaced);
        }
        self.drop_entries(|entry| entry.peers.is_empty());
        while let over = (self.entries().count() + wanted).saturating_sub(ROUTES_MAX)
            && over > 0
        {
            match self.largest(pipe) {
                Some((largest, count)) if count > wanted => {
                    displaced.extend(self.displace(largest, over.min(count - wanted)));
                }
                _ => return Err(HelloError::Routes(wanted)),
            }
        }
        Ok(displaced)
    }

    /// Forgets one service without instances, with its patterns, and returns its index. `None` when
    /// every service has an instance.
    pub(super) fn forget_one(&mut self) -> Option<usize> {
        let index = self.services.iter().position(|service| service.peers.is_empty())?;
        self.by_name.remove(&self.services[index].name);
        self.give_up(u32::try_from(index).expect("SERVICES_MAX fits u32"));
        Some(index)
    }

    /// The pipe other than `except` that claims the most patterns, and how many it claims.
    fn largest(&self, except: PipeId) -> Option<(PipeId, usize)> {
        let mut counts: HashMap<PipeId, usize> = HashMap::new();
        for peer in self.entries().flat_map(|entry| entry.peers.all()).filter(|peer| **peer != except) {
            *counts.entry(*peer).or_default() += 1;
        }
        counts.into_iter().max_by_key(|(_, count)| *count)
    }

    /// Takes from `pipe` the `count` patterns that it claimed last.
    pub(super) fn displace(&mut self, pipe: PipeId, count: usize) -> Vec<(PipeId, Pattern)> {
        let claimed = self.entries().filter(|entry| entry.peers.all().contains(&pipe));
        let mut claimed: Vec<(u32, Pattern)> =
            claimed.map(|entry| (entry.epoch, entry.pattern.clone())).collect();
        claimed.sort_unstable_by_key(|(epoch, _)| std::cmp::Reverse(*epoch));
        claimed.truncate(count);
        for (_, pattern) in &claimed {
            let index = self.served.index(pattern).expect("it has a peer");
            let entry = self.entries[index as usize].as_mut().expect("routers name live entries");
            entry.peers.remove(pipe);
            if entry.peers.is_empty() {
                self.remove(index as usize, true);
            }
        }
        claimed.into_iter().map(|(_, pattern)| (pipe, pattern)).collect()
    }
}
