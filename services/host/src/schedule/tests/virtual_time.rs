//! Tasks in virtual time: sixty slots, failures, overlap, and the end of an instance.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use role::metrics::Picture;
use store::Subspace;
use store::layers::Clock;
use tokio::sync::Notify;

use super::{embedded, instance, lease_end, record, recorded, until};
use crate::background::Background;
use crate::schedule::TaskError;
use crate::schedule::Tasks;
use crate::schedule::driver::Schedule;

/// Virtual time that moves by hand alone: while a blocking task runs, tokio does not advance its
/// clock by itself.
struct Time {
    clock: Clock,
    _end: mpsc::SyncSender<()>,
}

impl Time {
    fn stop() -> Self {
        let (end, ended) = mpsc::sync_channel::<()>(0);
        tokio::task::spawn_blocking(move || ended.recv().ok());
        tokio::time::pause();
        let start = tokio::time::Instant::now();
        let clock = Clock::of(move || 1_000_000 + u64::try_from(start.elapsed().as_millis()).unwrap());
        Self { clock, _end: end }
    }

    fn run(test: impl AsyncFnOnce(Self)) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build_local(tokio::runtime::LocalOptions::default())
            .unwrap();
        runtime.block_on(async { test(Self::stop()).await });
    }

    fn now(&self) -> u64 {
        self.clock.now_ms()
    }

    async fn pass(&self, ms: u64) {
        tokio::time::advance(Duration::from_millis(ms)).await;
    }
}

/// Lets a millisecond of virtual time pass for every 10 of real time: claims that conflict are
/// tried again after pauses, and a timer may fire a millisecond after its time.
struct Pace(Instant);

impl Default for Pace {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Pace {
    async fn follow(&mut self, time: &Time) {
        if self.0.elapsed() >= Duration::from_millis(10) {
            self.0 = Instant::now();
            time.pass(1).await;
        }
    }
}

fn counts(schedule: &Schedule) -> (u64, u64, u64) {
    let mut picture = Picture::default();
    schedule.add_to(&mut picture);
    let task = &picture.tasks[0];
    (task.runs, task.failures, task.missed)
}

#[test]
fn three_instances_run_sixty_slots_once_each_although_runners_die() {
    Time::run(async |time| {
        let (store, _dir) = embedded();
        let keys = Subspace::from("test");
        // Which instance ran last, and in which slots a run does not end by itself.
        let (last, begun) = (Rc::new(Cell::new(0)), Rc::new(RefCell::new(BTreeMap::new())));
        let start = |number: usize| {
            let (store, keys, last, begun) =
                (store.clone(), keys.clone(), Rc::clone(&last), Rc::clone(&begun));
            let own = store.clone();
            instance(&own, &keys.clone(), "1s", &time.clock, move |run| {
                let (store, keys, last, begun) =
                    (store.clone(), keys.clone(), Rc::clone(&last), Rc::clone(&begun));
                async move {
                    record(&store, &keys, &run).await?;
                    last.set(number);
                    let slot = run.slot_ms / 1_000 - 1_000;
                    *begun.borrow_mut().entry(slot).or_insert(0) += 1;
                    if slot % 10 == 7 {
                        std::future::pending::<()>().await;
                    }
                    Ok(())
                }
            })
        };
        let mut instances: Vec<_> = (0..3).map(start).collect();
        until("the task is known", async || lease_end(&store, &keys).await.is_some()).await;
        for slot in 1..=60 {
            // A timer may fire a millisecond after its time.
            time.pass((1_000 + slot) * 1_000 + 1 - time.now()).await;
            let mut pace = Pace::default();
            until("the slot is run", async || {
                pace.follow(&time).await;
                begun.borrow().contains_key(&slot)
            })
            .await;
            if slot % 10 == 7 {
                // Killed in the run: its lease ends within the slot's second.
                instances[last.get()] = start(last.get());
            } else {
                until("the run ends", async || {
                    pace.follow(&time).await;
                    instances.iter().all(|one| one.running() == 0)
                })
                .await;
                if slot % 10 == 3 {
                    instances[last.get()] = start(last.get());
                }
            }
        }
        let ran = recorded(&store, &keys).await;
        assert_eq!(ran.len(), 60, "{ran:?}");
        assert!(ran.values().all(|runs| *runs == 1), "{ran:?}");
    });
}

#[test]
fn a_task_that_fails_or_panics_is_tried_again_after_growing_pauses() {
    Time::run(async |time| {
        let (store, _dir) = embedded();
        let runs = Rc::new(RefCell::new(Vec::new()));
        let (began, clock, keys) = (Rc::clone(&runs), time.clock.clone(), Subspace::from("test"));
        let schedule = instance(&store, &keys, "1h", &time.clock, move |run| {
            began.borrow_mut().push((clock.now_ms(), run.slot_ms));
            let number = began.borrow().len();
            async move {
                match number {
                    1 => Err("no".into()),
                    2 => panic!("never"),
                    3 => Err(store::Error::from(store::CallerError::KeyEmpty).into()),
                    _ => Ok(()),
                }
            }
        });
        until("the task is known", async || lease_end(&store, &keys).await.is_some()).await;
        let slot = (time.now() / 3_600_000 + 1) * 3_600_000;
        while time.now() < slot {
            time.pass(60_000).await;
        }
        for (failures, longest) in [(1, 1_000), (2, 2_000), (3, 4_000)] {
            until("the run failed", async || counts(&schedule).1 == failures as u64).await;
            assert_eq!(runs.borrow().len(), failures);
            until("the task is tried again", async || {
                time.pass(1).await;
                runs.borrow().len() > failures
            })
            .await;
            // The pause is at least half of `longest`.
            let pause = runs.borrow()[failures].0 - runs.borrow()[failures - 1].0;
            assert!(pause >= longest / 2, "{pause} ms after {failures} failures");
        }
        assert!(runs.borrow().iter().all(|(_, of)| *of == slot));
        until("the run ended", async || schedule.running() == 0).await;
        assert_eq!(counts(&schedule), (4, 3, 0));
    });
}

#[test]
fn a_run_that_lasts_holds_up_the_next_ones_which_then_are_one() {
    Time::run(async |time| {
        let (store, _dir) = embedded();
        let keys = Subspace::from("test");
        let (release, begun) = (Rc::new(Notify::new()), Rc::new(RefCell::new(Vec::new())));
        let start = || {
            let (release, begun) = (Rc::clone(&release), Rc::clone(&begun));
            instance(&store, &keys, "1s", &time.clock, move |run| {
                begun.borrow_mut().push(run.slot_ms);
                let release = Rc::clone(&release);
                async move {
                    release.notified().await;
                    Ok(())
                }
            })
        };
        let instances = [start(), start()];
        // Time passes only while no instance waits for the store, whose answers take real time.
        until("the task is known", async || lease_end(&store, &keys).await.is_some()).await;
        time.pass(1_000).await;
        let mut pace = Pace::default();
        until("the first run begins", async || {
            pace.follow(&time).await;
            !begun.borrow().is_empty()
        })
        .await;
        let first = begun.borrow()[0];
        while time.now() < first + 5_500 {
            time.pass(250).await;
            // A lease of 1 s is renewed after a third of it.
            let renewed = async || lease_end(&store, &keys).await.is_some_and(|end| end > time.now() + 400);
            until("the lease is renewed", renewed).await;
            assert_eq!(begun.borrow().len(), 1, "a second run began at {}", time.now() - first);
        }
        release.notify_one();
        until("the next run begins", async || {
            pace.follow(&time).await;
            begun.borrow().len() == 2
        })
        .await;
        assert_eq!(begun.borrow()[1], first + 5_000);
        let missed: u64 = instances.iter().map(|one| counts(one).2).sum();
        assert_eq!(missed, 4);
    });
}

#[test]
fn an_instance_that_stops_begins_no_run_and_ends_the_one_that_lasts() {
    Time::run(async |time| {
        let (store, _dir) = embedded();
        let keys = Subspace::from("test");
        let (release, begun) = (Rc::new(Notify::new()), Rc::new(Cell::new(0)));
        let (releases, begins) = (Rc::clone(&release), Rc::clone(&begun));
        let stopping = instance(&store, &keys, "1s", &time.clock, move |_| {
            begins.set(begins.get() + 1);
            let release = Rc::clone(&releases);
            async move {
                release.notified().await;
                Ok(())
            }
        });
        until("a run begins", async || {
            time.pass(100).await;
            begun.get() == 1
        })
        .await;
        stopping.stop();
        assert_eq!(stopping.running(), 1);
        release.notify_one();
        until("the run ends", async || stopping.running() == 0).await;
        let others = Rc::new(Cell::new(0));
        let counts_other = Rc::clone(&others);
        let _other = instance(&store, &keys, "1s", &time.clock, move |_| {
            counts_other.set(counts_other.get() + 1);
            async { Ok(()) }
        });
        until("the other instance runs", async || {
            time.pass(100).await;
            others.get() == 3
        })
        .await;
        assert_eq!((begun.get(), stopping.running()), (1, 0));
    });
}

#[test]
fn what_is_wrong_with_a_task_is_said_at_the_start() {
    let wrong = |add: &dyn Fn(&mut Tasks)| {
        let mut tasks = Tasks::default();
        add(&mut tasks);
        tasks.finish().err().map(|error: TaskError| error.to_string()).unwrap_or_default()
    };
    let add = |tasks: &mut Tasks, period: &str, name: &str| {
        tasks.every(period, name, |_| async { Ok::<_, store::Error>(()) });
    };
    assert!(wrong(&|tasks| add(tasks, "soon", "a")).contains("every \"soon\""));
    assert!(wrong(&|tasks| add(tasks, "1s", "")).contains("0 bytes: give it 1 to 64"));
    assert!(wrong(&|tasks| add(tasks, "1s", "a")).contains("\"a\" needs a store"));
    let twice = wrong(&|tasks| {
        add(tasks, "1s", "a");
        add(tasks, "2s", "a");
    });
    assert!(twice.contains("\"a\" is there twice"), "{twice}");
    let cron = wrong(&|tasks| tasks.cron("* *", "a", |_| async { Ok::<_, store::Error>(()) }));
    assert!(cron.contains("the cron pattern \"* *\""), "{cron}");
    let mut elsewhere = Tasks::default();
    add(&mut elsewhere, "1s", "a");
    elsewhere.run_elsewhere();
    assert!(elsewhere.finish().unwrap().is_none());
}
