//! The metrics of a role at one moment: the pictures of its workers, summed and put in the order of
//! the table.
//!
//! Owns: the sums, and the split of statuses into classes. Leaves the texts to `json`,
//! `prometheus` and `telemetry::statsd`. Invariant: there is one sample for each metric of the
//! table, in its order, and behind them one for each of the role's own counters.

use super::Latency;
use super::picture::{Picture, RoutePicture, TaskPicture};
use super::table::{Group, Kind, Metric, table};

/// The classes of status that a response can have.
const CLASSES: [(&str, u16); 4] = [("2xx", 2), ("3xx", 3), ("4xx", 4), ("5xx", 5)];

/// One metric with its value or values.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Its line of the table.
    pub metric: Metric,
    /// Its value.
    pub value: Value,
}

/// What a metric has been measured as.
#[derive(Clone, Debug)]
pub enum Value {
    /// A counter or a gauge.
    Number(u64),
    /// A counter by the values of its label.
    Numbers(Vec<(String, u64)>),
    /// A histogram.
    Latency(Box<Latency>),
    /// A histogram by the values of its label.
    Latencies(Vec<(String, Latency)>),
}

/// The samples of all workers together. `process` are counters and gauges that belong to the
/// process and to no worker.
#[must_use]
pub fn samples(groups: &[Group], pictures: &[Picture], process: &[(&'static str, u64)]) -> Vec<Sample> {
    let mut sum = Sum::default();
    pictures.iter().for_each(|picture| sum.add(picture));
    add_all(&mut sum.numbers, process);
    let table = table(groups);
    let all = table.iter().map(|metric| Sample { metric: *metric, value: sum.value(metric) });
    let own = sum.numbers.iter().filter(|(name, _)| !table.iter().any(|metric| metric.name == *name));
    all.chain(own.map(|(name, count)| Sample { metric: own_counter(name), value: Value::Number(*count) }))
        .collect()
}

/// The samples of each worker alone, with its number, in the order of the pictures.
#[must_use]
pub fn by_worker(groups: &[Group], pictures: &[Picture]) -> Vec<(usize, Vec<Sample>)> {
    let of = |picture: &Picture| (picture.worker, samples(groups, std::slice::from_ref(picture), &[]));
    pictures.iter().map(of).collect()
}

/// A counter that a role has beyond the table.
fn own_counter(name: &'static str) -> Metric {
    let help = "A counter of this service alone; its documentation explains it.";
    Metric { name, kind: Kind::Counter, label: None, unit: "events", help, group: Group::Service }
}

#[derive(Default)]
struct Sum {
    /// Counters and gauges without a label.
    numbers: Vec<(&'static str, u64)>,
    statuses: Vec<(u16, u64)>,
    rejected: Vec<(&'static str, u64)>,
    routes: Vec<RoutePicture>,
    /// Each runs on one worker.
    tasks: Vec<TaskPicture>,
}

impl Sum {
    fn add(&mut self, picture: &Picture) {
        add_all(&mut self.numbers, &picture.counters);
        add_all(&mut self.numbers, &picture.gauges);
        let peers = picture.peers.iter().filter(|peer| peer.info.via.is_none()).count();
        add_all(&mut self.numbers, &[("peers", peers as u64)]);
        add_all(&mut self.statuses, &picture.statuses);
        add_all(&mut self.rejected, &picture.rejected);
        self.tasks.extend_from_slice(&picture.tasks);
        for route in &picture.routes {
            match self.routes.iter_mut().find(|known| known.pattern == route.pattern) {
                Some(known) => {
                    known.requests += route.requests;
                    known.errors += route.errors;
                    known.latency.merge(&route.latency);
                }
                None => self.routes.push(route.clone()),
            }
        }
    }

    fn value(&self, metric: &Metric) -> Value {
        match metric.name {
            "responses" => Value::Numbers(
                CLASSES.iter().map(|(class, digit)| ((*class).to_owned(), self.class(*digit))).collect(),
            ),
            "statuses" => {
                let mut statuses = self.statuses.clone();
                statuses.sort_unstable();
                Value::Numbers(statuses.iter().map(|(status, count)| (status.to_string(), *count)).collect())
            }
            "rejected" => {
                let rejected = self.rejected.iter();
                Value::Numbers(rejected.map(|(reason, count)| ((*reason).to_owned(), *count)).collect())
            }
            "route_errors" => {
                let routes = self.routes.iter();
                Value::Numbers(routes.map(|route| (route.pattern.clone(), route.errors)).collect())
            }
            "route_latency" => {
                let routes = self.routes.iter();
                Value::Latencies(routes.map(|route| (route.pattern.clone(), route.latency.clone())).collect())
            }
            "schedule.runs" => self.of_tasks(|task| task.runs),
            "schedule.failures" => self.of_tasks(|task| task.failures),
            "schedule.missed" => self.of_tasks(|task| task.missed),
            "latency" => {
                let mut all = Latency::new();
                self.routes.iter().for_each(|route| all.merge(&route.latency));
                Value::Latency(Box::new(all))
            }
            name => {
                let found = self.numbers.iter().find(|(known, _)| *known == name);
                Value::Number(found.map_or(0, |(_, value)| *value))
            }
        }
    }

    fn of_tasks(&self, count: impl Fn(&TaskPicture) -> u64) -> Value {
        Value::Numbers(self.tasks.iter().map(|task| (task.name.clone(), count(task))).collect())
    }

    fn class(&self, digit: u16) -> u64 {
        let of_class = self.statuses.iter().filter(|(status, _)| status / 100 == digit);
        of_class.map(|(_, count)| count).sum()
    }
}

fn add_all<N: PartialEq + Copy>(sums: &mut Vec<(N, u64)>, others: &[(N, u64)]) {
    for (at, (name, value)) in others.iter().enumerate() {
        // Workers list the same names in the same order; statuses may have gaps.
        let place = match sums.get(at) {
            Some((found, _)) if found == name => Some(at),
            _ => sums.iter().position(|(found, _)| found == name),
        };
        match place {
            Some(place) => sums[place].1 += value,
            None => sums.push((*name, *value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn picture(worker: usize, status: u16) -> Picture {
        let mut latency = Latency::new();
        latency.record(Duration::from_millis(2));
        Picture {
            worker,
            counters: vec![("requests", 2), ("store.commits", 3)],
            gauges: vec![("in_flight", 1)],
            statuses: vec![(status, 2)],
            rejected: vec![("full", 1)],
            routes: vec![RoutePicture { pattern: "GET /a".to_owned(), requests: 1, errors: 1, latency }],
            ..Picture::default()
        }
    }

    fn find<'a>(samples: &'a [Sample], name: &str) -> &'a Value {
        &samples.iter().find(|sample| sample.metric.name == name).expect("is there").value
    }

    fn number(samples: &[Sample], name: &str) -> u64 {
        let Value::Number(number) = find(samples, name) else { panic!("{name} has a label") };
        *number
    }

    const GROUPS: &[Group] = &[Group::All, Group::Service];

    #[test]
    fn workers_are_summed() {
        let all = samples(GROUPS, &[picture(0, 200), picture(1, 404)], &[("uptime_seconds", 7)]);
        assert_eq!((number(&all, "requests"), number(&all, "in_flight")), (4, 2));
        assert_eq!(number(&all, "uptime_seconds"), 7);
        let Value::Numbers(classes) = find(&all, "responses") else { panic!("no label") };
        assert_eq!(classes.iter().map(|(_, count)| *count).collect::<Vec<_>>(), [2, 0, 2, 0]);
        let Value::Numbers(statuses) = find(&all, "statuses") else { panic!("no label") };
        assert_eq!(*statuses, [("200".to_owned(), 2), ("404".to_owned(), 2)]);
        let Value::Latency(latency) = find(&all, "latency") else { panic!("a label") };
        assert_eq!(latency.count(), 2);
        let Value::Numbers(errors) = find(&all, "route_errors") else { panic!("no label") };
        assert_eq!(*errors, [("GET /a".to_owned(), 2)]);
    }

    #[test]
    fn metrics_that_no_worker_mentions_are_0_and_own_counters_come_last() {
        let all = samples(GROUPS, &[picture(0, 200)], &[]);
        assert_eq!(number(&all, "bus.requests.sent"), 0);
        let last = all.last().expect("is there");
        assert_eq!((last.metric.name, number(&all, "store.commits")), ("store.commits", 3));
    }
}
