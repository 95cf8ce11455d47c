//! Appends that arrive together share a transaction, and each has its own answer.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::rc::Rc;

use events::{Append, AppendError, Appender, Condition, EventPosition, EventStore, NewEvent, Query};
use service_host::testing::run;
use service_host::testing::stores::Place;
use store::RunOptions;

service_host::store_tests! {
    counted:
        appends_that_arrive_together_share_a_transaction_and_each_has_its_own_answer;
}

type Answer = Result<Vec<EventPosition>, AppendError>;

fn append(id: &str, data: &str, tag: &str, condition: Option<&str>) -> Append {
    let event = NewEvent::new(id.into(), "Type".into(), vec![tag.into()], data).unwrap();
    let condition = condition.map(|tag| Condition {
        query: Query::new(vec![], vec![tag.into()]).unwrap(),
        after: EventPosition::START,
    });
    Append::new(vec![event], condition).unwrap()
}

/// The answers to appends that arrive in one turn of the loop.
async fn at_once(appender: &Rc<Appender>, appends: Vec<Append>) -> Vec<Answer> {
    let tasks = appends.into_iter().map(|append| {
        let appender = Rc::clone(appender);
        tokio::task::spawn_local(async move { appender.append(append, &RunOptions::default()).await })
    });
    let mut answers = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        answers.push(task.await.unwrap());
    }
    answers
}

fn appends_that_arrive_together_share_a_transaction_and_each_has_its_own_answer(place: &Place) {
    run(async {
        let store = place.open();
        let commits = || store.counters().into_iter().find(|(name, _)| *name == "store.commits").unwrap().1;
        let appender = Appender::new(EventStore::new(store.clone()));

        let before = commits();
        let free = (0..50).map(|n| append(&format!("free-{n}"), "1", "free", None)).collect();
        let answers = at_once(&appender, free).await;
        let positions: Vec<_> = answers.into_iter().map(|answer| answer.unwrap()[0]).collect();
        assert!(positions.is_sorted_by(|a, b| a < b), "in the order of their arrival: {positions:?}");
        assert_eq!(commits() - before, 1);

        let same = (0..20).map(|n| append(&format!("seat-{n}"), "1", "seat", Some("seat"))).collect();
        let answers = at_once(&appender, same).await;
        let accepted = answers[0].as_ref().unwrap()[0];
        for answer in &answers[1..] {
            let Err(AppendError::ConditionFailed { position }) = answer else { panic!("{answer:?}") };
            assert_eq!(*position, accepted);
        }

        let again = [("1", "id"), ("1", "id"), ("2", "id")];
        let again = again.map(|(data, id)| append(id, data, "again", None));
        let answers = at_once(&appender, again.into()).await;
        assert_eq!(answers[0].as_ref().unwrap(), answers[1].as_ref().unwrap());
        assert!(matches!(answers[2], Err(AppendError::IdTaken { .. })), "{:?}", answers[2]);

        // Whoever leaves does not keep the others waiting.
        let left = tokio::task::spawn_local({
            let appender = Rc::clone(&appender);
            async move { appender.append(append("left", "1", "x", None), &RunOptions::default()).await }
        });
        tokio::task::yield_now().await;
        left.abort();
        assert!(at_once(&appender, vec![append("stays", "1", "x", None)]).await[0].is_ok());
    });
}
