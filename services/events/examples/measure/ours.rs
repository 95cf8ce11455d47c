//! Our side: the crate's logic on the embedded store. Each commit is on the disk before it is
//! acknowledged (one `fdatasync` for all waiting commits).

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use events::{Append, AppendError, Condition, EventPosition, EventStore, NewEvent, Query};
use store::{RunOptions, Store};

use crate::load::{BEFOREHAND, FILL, Figures, LIMIT, Made, Maker, rate, threads};

pub(crate) async fn measure(dir: &str, time: Duration) -> Result<Figures, Box<dyn std::error::Error>> {
    let dir = format!("{dir}/{}", std::process::id());
    let store = Store::open(&format!("embedded:{dir}").parse()?)?;
    let events = EventStore::new(store);
    println!("events, embedded:{dir} (fdatasync, group commit)");
    for batch in 0..BEFOREHAND / FILL {
        let mut maker = Maker::new(0, batch);
        let batch: Result<Vec<_>, _> = (0..FILL).map(|_| new(maker.event())).collect();
        events.append(&Append::new(batch?, None)?, &RunOptions::default()).await?;
    }
    // Each thread gets a clone.
    let events = &events;
    let reads = rate("reads of an entity", time, threads(), async |_| {
        let events = events.clone();
        Ok(move |reader| {
            let (events, mut maker) = (events.clone(), Maker::new(3, reader));
            move || read(events.clone(), maker.entity())
        })
    })?;
    let appends = rate("appends", time, threads(), async |_| {
        let events = events.clone();
        Ok(move |writer| {
            let (events, maker) = (events.clone(), Rc::new(RefCell::new(Maker::new(1, writer))));
            move || {
                let (events, event) = (events.clone(), maker.borrow_mut().event());
                async move { append(&events, event, None).await.map(|position| position.is_some()) }
            }
        })
    })?;
    let seen =
        events.read(&Query::default(), EventPosition::START, 1, &RunOptions::default()).await?.position;
    let newest = newest(events, seen).await?;
    let conditional = rate("conditional appends", time, threads(), async |_| {
        let events = events.clone();
        Ok(move |writer| {
            let (events, mut maker) = (events.clone(), Maker::new(2, writer));
            let last = Rc::new(Cell::new(newest));
            move || conditional(events.clone(), maker.event(), Rc::clone(&last))
        })
    })?;
    Ok(Figures { appends, conditional, reads })
}

async fn conditional(events: EventStore, event: Made, last: Rc<Cell<EventPosition>>) -> Result<bool, String> {
    let query = Query::new(Vec::new(), vec![event.tags[0].clone()]).map_err(said)?;
    let condition = Condition { query, after: last.get() };
    let position = append(&events, event, Some(condition)).await?;
    last.set(position.unwrap_or(last.get()));
    Ok(position.is_some())
}

async fn read(events: EventStore, tag: String) -> Result<bool, String> {
    let query = Query::new(Vec::new(), vec![tag]).map_err(said)?;
    let page =
        events.read(&query, EventPosition::START, LIMIT, &RunOptions::default()).await.map_err(said)?;
    Ok(!page.events.is_empty())
}

/// The end of the log, which each writer has seen when it begins.
async fn newest(events: &EventStore, after: EventPosition) -> Result<EventPosition, store::Error> {
    // No event has this tag, so one read reaches the end.
    let query = Query::new(Vec::new(), vec!["none".to_owned()]).expect("a short tag is allowed");
    Ok(events.read(&query, after, 1, &RunOptions::default()).await?.position)
}

/// The position of the event; `None` when its condition forbids it.
async fn append(
    events: &EventStore,
    event: Made,
    condition: Option<Condition>,
) -> Result<Option<EventPosition>, String> {
    let append = Append::new(vec![new(event).map_err(said)?], condition).map_err(said)?;
    match events.append(&append, &RunOptions::default()).await {
        Ok(positions) => Ok(positions.first().copied()),
        Err(AppendError::ConditionFailed { .. }) => Ok(None),
        Err(error) => Err(said(error)),
    }
}

fn new(made: Made) -> Result<NewEvent, events::Invalid> {
    NewEvent::new(made.id, made.event_type, made.tags, &made.data)
}

fn said(error: impl std::fmt::Display) -> String {
    error.to_string()
}
