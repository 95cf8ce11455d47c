//! PostgreSQL's side, in the two forms that people use: tags in an array with a GIN index, and tags in a table of their
//! own. Prepared statements, one statement and one round trip a transaction; durable by `synchronous_commit=on`, where
//! commits that wait share a flush. A conditional append is one statement in a serializable transaction, repeated when
//! PostgreSQL cannot serialize it.
//!
//! It promises less than our side: positions of `bigserial` become visible out of order, so readers can miss events.

use std::{cell::Cell, rc::Rc, time::Duration};

use tokio_postgres::{Client, NoTls, Statement, error::SqlState, types::ToSql};

use crate::load::{BEFOREHAND, FILL, Figures, LIMIT, Made, Maker, rate};

/// Tables, indexes and statements.
pub(crate) struct Tables {
    pub(crate) name: &'static str,
    create: &'static str,
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
        append: "insert into events (id, type, tags, data) values ($1, $2, $3, $4) returning position",
        conditional: "insert into events (id, type, tags, data) select $1, $2, $3, $4 where not exists
            (select 1 from events where tags @> array[$5::text] and position > $6) returning position",
        read: "select position, id, type, tags, data from events
            where tags @> array[$1::text] and position > $2 order by position limit $3",
    },
    Tables {
        name: "tags in a table",
        create: "drop table if exists event_tags, events;
            create table events (position bigserial primary key, id text not null unique,
                type text not null, tags text[] not null, data text not null);
            create index on events (type, position);
            create table event_tags (tag text, position bigint, primary key (tag, position));",
        append: "with event as
                (insert into events (id, type, tags, data) values ($1, $2, $3, $4) returning position)
            insert into event_tags select unnest($3), position from event returning position",
        conditional: "with event as
                (insert into events (id, type, tags, data) select $1, $2, $3, $4 where not exists
                    (select 1 from event_tags where tag = $5 and position > $6) returning position)
            insert into event_tags select unnest($3), position from event returning position",
        read:
            "select e.position, e.id, e.type, e.tags, e.data from event_tags t join events e using (position)
            where t.tag = $1 and t.position > $2 order by t.position limit $3",
    },
];

/// A connection and its statements.
struct Connection {
    client: Client,
    append: Statement,
    conditional: Statement,
    read: Statement,
}

pub(crate) async fn measure(
    conninfo: &str,
    tables: &Tables,
    connections: u64,
    time: Duration,
) -> Result<Figures, Box<dyn std::error::Error>> {
    let client = client(conninfo).await?;
    let row = client
        .query_one(
            "select current_setting('server_version'), current_setting('fsync'),
        current_setting('synchronous_commit'), current_setting('wal_sync_method')",
            &[],
        )
        .await?;
    let said = |at: usize| row.get::<_, String>(at);
    println!(
        "PostgreSQL {}, {connections} connections, {} (fsync {}, synchronous_commit {}, {})",
        said(0),
        tables.name,
        said(1),
        said(2),
        said(3)
    );
    client.batch_execute(tables.create).await?;
    fill(&client, tables).await?;
    client.batch_execute("vacuum analyze").await?;
    client.batch_execute("checkpoint").await?;

    let mut open = Vec::new();
    for _ in 0..connections {
        open.push(Rc::new(Connection::open(conninfo, tables).await?));
    }
    let pick = |task: u64| Rc::clone(&open[usize::try_from(task % connections).unwrap_or_default()]);
    let appends = rate("appends", time, |writer| {
        let (connection, mut maker) = (pick(writer), Maker::new(1, writer));
        move || {
            let (connection, event) = (Rc::clone(&connection), maker.event());
            async move { connection.append(&event).await }
        }
    });
    let appends = appends.await?;
    // Serializable is what the whole of these sessions is from here on: no extra round trips.
    for connection in &open {
        connection.client.batch_execute("set default_transaction_isolation = serializable").await?;
    }
    let newest: i64 = client.query_one("select max(position) from events", &[]).await?.get(0);
    let conditional = rate("conditional appends", time, |writer| {
        let (connection, mut maker) = (pick(writer), Maker::new(2, writer));
        let last = Rc::new(Cell::new(newest));
        move || {
            let (connection, event, last) = (Rc::clone(&connection), maker.event(), Rc::clone(&last));
            async move { connection.conditional(&event, &last).await }
        }
    });
    let conditional = conditional.await?;
    for connection in &open {
        connection.client.batch_execute("set default_transaction_isolation = 'read committed'").await?;
    }
    client.batch_execute("vacuum analyze").await?;
    let reads = rate("reads of an entity", time, |reader| {
        let (connection, mut maker) = (pick(reader), Maker::new(3, reader));
        move || {
            let (connection, tag) = (Rc::clone(&connection), maker.entity());
            async move { connection.read(&tag).await }
        }
    });
    Ok(Figures { appends, conditional, reads: reads.await? })
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
