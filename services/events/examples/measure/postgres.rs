//! PostgreSQL's side, in three common forms: tags in an array with a GIN index; tags in a table of
//! their own; and the latter with appends serialized by a lock. Uses prepared statements, one
//! statement and one round trip per transaction, and `synchronous_commit=on`, where waiting commits
//! share a flush. A conditional append of the first two forms is one statement in a serializable
//! transaction, repeated on serialization failures.
//!
//! The first two forms guarantee less than our side: positions of `bigserial` become visible out of
//! order, so readers can miss events, and a condition "after the last position that I know" can
//! miss an event that became visible late. The third form guarantees the same.

use std::{cell::Cell, rc::Rc, time::Duration};

use tokio_postgres::{Client, NoTls, Statement, error::SqlState, types::ToSql};

use crate::load::{BEFOREHAND, FILL, Figure, Figures, LIMIT, Made, Maker, rate};

const TAG_TABLE: &str = "drop table if exists event_tags, events;
    create table events (position bigserial primary key, id text not null unique,
        type text not null, tags text[] not null, data text not null);
    create index on events (type, position);
    create table event_tags (tag text, position bigint, primary key (tag, position));";

const TAG_TABLE_READ: &str =
    "select e.position, e.id, e.type, e.tags, e.data from event_tags t join events e using (position)
    where t.tag = $1 and t.position > $2 order by t.position limit $3";

/// Tables, indexes and statements.
pub(crate) struct Tables {
    pub(crate) name: &'static str,
    create: &'static str,
    functions: &'static str,
    /// Isolation level of conditional appends.
    isolation: &'static str,
    append: &'static str,
    conditional: &'static str,
    read: &'static str,
}

pub(crate) const TABLES: &[Tables] = &[
    Tables {
        name: "tags in an array, GIN",
        create: "drop table if exists event_tags, events;
            create table events (position bigserial primary key, id text not null unique,
                type text not null, tags text[] not null, data text not null);
            create index on events (type, position);
            create index on events using gin (tags) with (fastupdate = off);",
        functions: "",
        isolation: "serializable",
        append: "insert into events (id, type, tags, data) values ($1, $2, $3, $4) returning position",
        conditional: "insert into events (id, type, tags, data) select $1, $2, $3, $4 where not exists
            (select 1 from events where tags @> array[$5::text] and position > $6) returning position",
        read: "select position, id, type, tags, data from events
            where tags @> array[$1::text] and position > $2 order by position limit $3",
    },
    Tables {
        name: "tags in a table",
        create: TAG_TABLE,
        functions: "",
        isolation: "serializable",
        append: "with event as
                (insert into events (id, type, tags, data) values ($1, $2, $3, $4) returning position)
            insert into event_tags select unnest($3), position from event returning position",
        conditional: "with event as
                (insert into events (id, type, tags, data) select $1, $2, $3, $4 where not exists
                    (select 1 from event_tags where tag = $5 and position > $6) returning position)
            insert into event_tags select unnest($3), position from event returning position",
        read: TAG_TABLE_READ,
    },
    Tables {
        name: "tags in a table, appends in order",
        create: TAG_TABLE,
        // Each statement of a function sees what was committed before it began, so the second one
        // sees all earlier appends.
        functions: "create or replace function append(id text, type text, tags text[], data text) returns setof bigint
            language plpgsql as $$ begin
                perform pg_advisory_xact_lock(1);
                return query with event as (insert into events (id, type, tags, data)
                    values ($1, $2, $3, $4) returning position)
                insert into event_tags select unnest($3), event.position from event returning event_tags.position;
            end $$;
            create or replace function append_if(id text, type text, tags text[], data text, tag text, after bigint)
            returns setof bigint language plpgsql as $$ begin
                perform pg_advisory_xact_lock(1);
                return query with event as (insert into events (id, type, tags, data)
                    select $1, $2, $3, $4 where not exists
                        (select 1 from event_tags t where t.tag = $5 and t.position > $6) returning position)
                insert into event_tags select unnest($3), event.position from event returning event_tags.position;
            end $$;",
        isolation: "read committed",
        append: "select append($1, $2, $3, $4)",
        conditional: "select append_if($1, $2, $3, $4, $5, $6)",
        read: TAG_TABLE_READ,
    },
];

/// Connections, and the threads of this process that use them.
pub(crate) const CLIENTS: [(u64, u64); 3] = [(16, 1), (32, 2), (250, 2)];

/// A connection and its statements.
struct Connection {
    client: Client,
    append: Statement,
    conditional: Statement,
    read: Statement,
}

/// Measures reads with every number of clients, then appends, then conditional appends, so that
/// every read sees the same rows. The best result counts.
pub(crate) async fn measure(
    conninfo: &str,
    tables: &Tables,
    time: Duration,
) -> Result<Figures, Box<dyn std::error::Error>> {
    let client = client(conninfo).await?;
    let settings = "server_version fsync synchronous_commit wal_sync_method shared_buffers".split(' ');
    let mut said = Vec::new();
    for setting in settings {
        let row = client.query_one("select current_setting($1)", &[&setting]).await?;
        said.push(format!("{setting} {}", row.get::<_, String>(0)));
    }
    println!("PostgreSQL, {} ({})", tables.name, said.join(", "));
    client.batch_execute(tables.create).await?;
    client.batch_execute(tables.functions).await?;
    fill(&client, tables).await?;
    client.batch_execute("vacuum analyze").await?;
    client.batch_execute("checkpoint").await?;
    let mut best: [Option<Figure>; 3] = [None; 3];
    let mut count = |at: usize, figure: Figure| {
        best[at] = Some(best[at].map_or(figure, |best| best.best(&figure)));
    };
    for (connections, threads) in CLIENTS {
        let what = format!("reads, {connections} connections, {threads} threads");
        let reads = rate(&what, time, threads, async |_| {
            let pick = open(conninfo, tables, "read committed", connections / threads).await?;
            Ok(move |reader| {
                let (connection, mut maker) = (pick(reader / threads), Maker::new(3, reader));
                move || {
                    let (connection, tag) = (Rc::clone(&connection), maker.entity());
                    async move { connection.read(&tag).await }
                }
            })
        })?;
        count(0, reads);
    }
    for (run, (connections, threads)) in (10..).zip(CLIENTS) {
        let what = format!("appends, {connections} connections, {threads} threads");
        let appends = rate(&what, time, threads, async |_| {
            let pick = open(conninfo, tables, "read committed", connections / threads).await?;
            Ok(move |writer| {
                let (connection, mut maker) = (pick(writer / threads), Maker::new(run, writer));
                move || {
                    let (connection, event) = (Rc::clone(&connection), maker.event());
                    async move { connection.append(&event).await }
                }
            })
        })?;
        count(1, appends);
    }
    for (run, (connections, threads)) in (20..).zip(CLIENTS) {
        let newest: i64 = client.query_one("select max(position) from events", &[]).await?.get(0);
        let what = format!("conditional, {connections} connections, {threads} threads");
        let conditional = rate(&what, time, threads, async |_| {
            let pick = open(conninfo, tables, tables.isolation, connections / threads).await?;
            Ok(move |writer| {
                let (connection, mut maker) = (pick(writer / threads), Maker::new(run, writer));
                let last = Rc::new(Cell::new(newest));
                move || {
                    let (connection, event, last) = (Rc::clone(&connection), maker.event(), Rc::clone(&last));
                    async move { connection.conditional(&event, &last).await }
                }
            })
        })?;
        count(2, conditional);
    }
    match best {
        [Some(reads), Some(appends), Some(conditional)] => Ok(Figures { appends, conditional, reads }),
        _ => Err("no clients to measure with".into()),
    }
}

/// A thread's connections, assigned to its tasks by number.
async fn open(
    conninfo: &str,
    tables: &Tables,
    isolation: &str,
    connections: u64,
) -> Result<impl Fn(u64) -> Rc<Connection> + use<>, String> {
    let mut open = Vec::new();
    for _ in 0..connections {
        let connection = Connection::open(conninfo, tables).await.map_err(said)?;
        // Set for the whole session, without extra round trips.
        let isolation = format!("set default_transaction_isolation = '{isolation}'");
        connection.client.batch_execute(&isolation).await.map_err(said)?;
        open.push(Rc::new(connection));
    }
    Ok(move |task: u64| Rc::clone(&open[usize::try_from(task % connections).unwrap_or_default()]))
}

impl Connection {
    async fn open(conninfo: &str, tables: &Tables) -> Result<Self, tokio_postgres::Error> {
        let client = client(conninfo).await?;
        let append = client.prepare(tables.append).await?;
        let conditional = client.prepare(tables.conditional).await?;
        let read = client.prepare(tables.read).await?;
        Ok(Self { client, append, conditional, read })
    }

    async fn append(&self, event: &Made) -> Result<bool, String> {
        let Made { id, event_type, tags, data } = event;
        let rows = self.client.query(&self.append, &[id, event_type, tags, data]).await;
        Ok(!rows.map_err(said)?.is_empty())
    }

    async fn conditional(&self, event: &Made, last: &Cell<i64>) -> Result<bool, String> {
        let Made { id, event_type, tags, data } = event;
        loop {
            let position = last.get();
            let values: [&(dyn ToSql + Sync); 6] = [id, event_type, tags, data, &tags[0], &position];
            match self.client.query(&self.conditional, &values).await {
                Ok(rows) => {
                    if let Some(row) = rows.first() {
                        last.set(row.get(0));
                    }
                    return Ok(!rows.is_empty());
                }
                Err(error) if error.code() == Some(&SqlState::T_R_SERIALIZATION_FAILURE) => {}
                Err(error) => return Err(said(error)),
            }
        }
    }

    async fn read(&self, tag: &str) -> Result<bool, String> {
        let limit = i64::try_from(LIMIT).map_err(said)?;
        let rows = self.client.query(&self.read, &[&tag, &0i64, &limit]).await.map_err(said)?;
        let bytes: usize =
            rows.iter().map(|row| row.get::<_, &str>(1).len() + row.get::<_, &str>(4).len()).sum();
        Ok(bytes > 0)
    }
}

async fn client(conninfo: &str) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(conninfo, NoTls).await?;
    tokio::task::spawn_local(async move {
        if let Err(error) = connection.await {
            eprintln!("measure: PostgreSQL closed a connection: {error}");
        }
    });
    Ok(client)
}

async fn fill(client: &Client, tables: &Tables) -> Result<(), tokio_postgres::Error> {
    let append = client.prepare(tables.append).await?;
    for batch in 0..BEFOREHAND / FILL {
        client.batch_execute("begin").await?;
        let mut maker = Maker::new(0, batch);
        for _ in 0..FILL {
            let Made { id, event_type, tags, data } = maker.event();
            client.query(&append, &[&id, &event_type, &tags, &data]).await?;
        }
        client.batch_execute("commit").await?;
    }
    Ok(())
}

fn said(error: impl std::fmt::Display) -> String {
    error.to_string()
}
