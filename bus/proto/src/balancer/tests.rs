//! Shares, runs, limits and failures, on a model of instances.

use super::*;

struct Model {
    loads: Vec<(Load, u32)>,
    virtual_time: u64,
    rng: fastrand::Rng,
    now: Instant,
}

impl Model {
    fn new(weights: &[u32]) -> Self {
        let seed = std::env::var("BUS_SEED")
            .ok()
            .and_then(|seed| seed.parse().ok())
            .unwrap_or_else(|| fastrand::u64(..));
        println!("BUS_SEED={seed}");
        let now = Instant::now();
        let loads = weights.iter().map(|&weight| (Load::new(now, 0, None), weight * UNIT)).collect();
        Self { loads, virtual_time: 0, rng: fastrand::Rng::with_seed(seed), now }
    }

    fn send(&mut self) -> Option<usize> {
        let loads = &self.loads;
        let takes = |i: usize| (loads[i].1 > 0).then_some((&loads[i].0, loads[i].1));
        let picked = pick(&mut self.rng, self.now, self.virtual_time, loads.len(), takes)?;
        let (load, share) = &mut self.loads[picked];
        assert!(load.enter(0));
        load.sent(self.now, *share, &mut self.virtual_time);
        Some(picked)
    }

    /// `rounds` batches of `batch` requests; instance i answers a batch after `latency(i)`.
    fn run(&mut self, rounds: usize, batch: usize, latency: impl Fn(usize, &mut fastrand::Rng) -> Duration) {
        for _ in 0..rounds {
            let sent: Vec<usize> = (0..batch).filter_map(|_| self.send()).collect();
            self.now += Duration::from_millis(2);
            for picked in sent {
                let elapsed = latency(picked, &mut self.rng);
                let now = self.now;
                self.loads[picked].0.replied(now, elapsed);
            }
        }
    }

    fn shares(&self) -> Vec<f64> {
        let total: u64 = self.loads.iter().map(|(load, _)| load.requests).sum();
        #[expect(clippy::cast_precision_loss, reason = "counts of a test")]
        self.loads.iter().map(|(load, _)| load.requests as f64 / total as f64).collect()
    }
}

#[test]
fn equal_instances_with_noisy_latencies_get_equal_shares() {
    let mut model = Model::new(&[100; 3]);
    model.run(3000, 40, |_, rng| Duration::from_micros(rng.u64(200..9_000)));
    for share in model.shares() {
        assert!((share - 1.0 / 3.0).abs() < 0.03, "{:?}", model.shares());
    }
}

#[test]
fn weights_are_kept_and_weight_zero_gets_nothing() {
    let mut model = Model::new(&[100, 10, 0, 50]);
    model.run(3000, 40, |_, rng| Duration::from_micros(rng.u64(200..4_000)));
    let shares = model.shares();
    assert!((shares[1] - 10.0 / 160.0).abs() < 0.03 && shares[2] == 0.0, "{shares:?}");
    assert!(shares[0] > shares[3] && shares[3] > shares[1], "{shares:?}");
}

/// A new instance of low weight beside an instance of full weight that pauses now and then.
#[test]
fn a_hiccup_of_a_heavy_instance_does_not_make_the_light_one_the_majority() {
    for (weight, most) in [(1, 0.02), (10, 0.12)] {
        let mut model = Model::new(&[100, weight]);
        for _ in 0..100 {
            model.run(1, 40, |i, _| Duration::from_millis(if i == 0 { 25 } else { 1 }));
            model.run(250, 40, |_, rng| Duration::from_micros(rng.u64(200..2_000)));
        }
        assert!(model.shares()[1] < most, "weight {weight}: {:?}", model.shares());
    }
    // An instance that stays away loses its share to the light one.
    let mut model = Model::new(&[100, 10]);
    model.run(100, 40, |i, _| Duration::from_millis(if i == 0 { 2_000 } else { 1 }));
    assert!(model.shares()[1] > 0.5, "{:?}", model.shares());
}

#[test]
fn a_slow_instance_gets_clearly_less() {
    let mut model = Model::new(&[100; 3]);
    model.run(2000, 40, |i, _| Duration::from_millis(if i == 1 { 200 } else { 2 }));
    assert!(model.shares()[1] < 0.1, "{:?}", model.shares());
}

#[test]
fn one_that_was_away_does_not_get_a_flood_when_it_returns() {
    let mut model = Model::new(&[100, 0]);
    model.run(1000, 40, |_, _| Duration::from_millis(1));
    model.loads[1].1 = 100;
    let before = model.loads[0].0.requests;
    model.run(10, 40, |_, _| Duration::from_millis(1));
    assert!(model.loads[0].0.requests - before > 150, "the first still gets near its half of 400");
}

/// Sends `turns` batches of `batch` requests to the instances of `model`. Each instance answers its
/// requests one after the other and takes `each` for one. Returns the length of the longest run.
fn turns(model: &mut Model, turns: usize, batch: usize, each: Duration) -> usize {
    let mut longest = 0;
    for _ in 0..turns {
        let mut unwritten = vec![0; model.loads.len()];
        let mut last = None::<usize>;
        for _ in 0..batch {
            let takes = |at: &usize| goes_on((&model.loads[*at].0, model.loads[*at].1), unwritten[*at]);
            let picked = match last.filter(takes) {
                Some(at) => {
                    let (load, share) = &mut model.loads[at];
                    assert!(load.enter(0));
                    load.sent(model.now, *share, &mut model.virtual_time);
                    at
                }
                None => model.send().unwrap(),
            };
            unwritten[picked] += 1;
            last = Some(picked);
        }
        longest = longest.max(unwritten.iter().copied().max().unwrap());
        let sent = model.now;
        for answered in 1..=*unwritten.iter().max().unwrap() {
            model.now += each;
            for (at, _) in unwritten.iter().enumerate().filter(|(_, count)| **count >= answered) {
                model.loads[at].0.replied(model.now, model.now - sent);
            }
        }
        model.now += Duration::from_millis(1);
    }
    longest
}

#[test]
fn fast_instances_get_runs_and_their_shares() {
    let mut model = Model::new(&[100, 100, 50, 100]);
    let longest = turns(&mut model, 3000, 100, Duration::from_micros(10));
    assert!((30..=70).contains(&longest), "{longest}");
    let shares = model.shares();
    assert!((shares[2] - 1.0 / 7.0).abs() < 0.03 && (shares[0] - 2.0 / 7.0).abs() < 0.03, "{shares:?}");
}

#[test]
fn slow_instances_get_requests_one_by_one() {
    let mut model = Model::new(&[100; 4]);
    turns(&mut model, 100, 40, Duration::from_micros(2_500));
    // The first turns only teach the model how slow the instances are.
    let longest = turns(&mut model, 100, 40, Duration::from_micros(2_500));
    assert!(longest <= 14, "{longest} of 40 requests to one of four");
}

#[test]
fn a_light_instance_gets_no_runs() {
    let mut model = Model::new(&[100, 1]);
    turns(&mut model, 2000, 50, Duration::from_micros(10));
    assert!((0.003..0.03).contains(&model.shares()[1]), "{:?}", model.shares());
}

#[test]
fn a_limit_holds_for_all_who_share_an_instance() {
    let shared = Arc::new(Shared::new(2));
    let mut loads = [(); 2].map(|()| Load::new(Instant::now(), 0, Some(Arc::clone(&shared))));
    assert!(loads[0].enter(2) && loads[1].enter(2));
    assert!(!loads[0].is_below(2) && !loads[0].enter(2) && !loads[1].enter(2));
    loads[0].leave();
    assert!(loads[1].is_below(2) && loads[1].enter(2));
    assert_eq!((loads[0].in_flight, loads[1].in_flight), (0, 2));
}

#[test]
fn a_failure_is_forgotten_in_time() {
    let mut model = Model::new(&[100, 100]);
    let now = model.now;
    assert!(model.loads[0].0.enter(0));
    model.loads[0].0.failed(now, Duration::from_millis(1));
    assert_eq!(model.send(), Some(1));
    assert!(model.loads[0].0.latency(now) >= FAILURE_PENALTY);
    assert!(model.loads[0].0.latency(now + DECAY * 8) < Duration::from_millis(5));
}
