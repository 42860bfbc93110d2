//! The layout of `history.db`, and how a connection to it is set up.
//!
//! The first three tables are projections with the columns the feature list names; what else is
//! known of a deployment stands beside them in `deployment_details`. A change of the layout
//! raises [`LAYOUT`].

use super::error::{HistoryError, sqlite};
use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// The layout this version writes, kept as SQLite's `user_version`.
const LAYOUT: i64 = 2;

const TABLES: &str = "
CREATE TABLE deployments (
    id UUID PRIMARY KEY NOT NULL CHECK (length(id) = 36),
    version VARCHAR(32) NOT NULL CHECK (length(version) <= 32),
    environment VARCHAR(16) NOT NULL CHECK (length(environment) <= 16),
    deployment_status VARCHAR(16) NOT NULL CHECK (deployment_status IN
        ('pending', 'in_progress', 'succeeded', 'failed', 'rolled_back')),
    started_at BIGINT NOT NULL,
    completed_at BIGINT,
    duration_ms INT,
    rolled_back BOOLEAN NOT NULL DEFAULT FALSE CHECK (rolled_back IN (0, 1))
);
CREATE INDEX deployments_open ON deployments (deployment_status)
    WHERE deployment_status = 'in_progress';
CREATE TABLE deployment_artifacts (
    id VARCHAR(64) PRIMARY KEY NOT NULL CHECK (length(id) <= 64),
    version VARCHAR(32) NOT NULL CHECK (length(version) <= 32),
    artifact_type VARCHAR(32) NOT NULL CHECK (length(artifact_type) <= 32),
    file_hash VARCHAR(64) NOT NULL CHECK (length(file_hash) <= 64),
    file_size INT NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (version, artifact_type)
);
CREATE TABLE canary_deployments (
    deployment_id UUID PRIMARY KEY NOT NULL REFERENCES deployments (id),
    target_traffic_percent INT NOT NULL CHECK (target_traffic_percent BETWEEN 0 AND 100),
    current_traffic_percent INT NOT NULL CHECK (current_traffic_percent BETWEEN 0 AND 100),
    error_rate FLOAT NOT NULL DEFAULT 0,
    latency_p99 INT NOT NULL DEFAULT 0,
    created_at BIGINT NOT NULL
);
CREATE TABLE events (
    seq INTEGER PRIMARY KEY NOT NULL,
    at_ms INTEGER NOT NULL,
    actor TEXT NOT NULL,
    kind TEXT NOT NULL,
    body TEXT NOT NULL,
    prev_hash BLOB NOT NULL CHECK (length(prev_hash) = 32),
    hash BLOB NOT NULL CHECK (length(hash) = 32)
) STRICT;
CREATE TABLE tip (
    only INTEGER PRIMARY KEY NOT NULL CHECK (only = 1),
    seq INTEGER NOT NULL,
    hash BLOB NOT NULL
) STRICT;
CREATE TABLE checkpoints (
    seq INTEGER PRIMARY KEY NOT NULL,
    schema INTEGER NOT NULL,
    event_hash BLOB NOT NULL,
    state BLOB NOT NULL,
    hash BLOB NOT NULL
) STRICT;
CREATE TRIGGER events_stay BEFORE UPDATE ON events
    BEGIN SELECT RAISE(ABORT, 'events are never changed'); END;
CREATE TRIGGER events_remain BEFORE DELETE ON events
    BEGIN SELECT RAISE(ABORT, 'events are never deleted'); END;
CREATE TRIGGER events_in_order BEFORE INSERT ON events
    WHEN NEW.seq <> (SELECT coalesce(max(seq), 0) + 1 FROM events)
    BEGIN SELECT RAISE(ABORT, 'events are appended in order, without gaps'); END;
INSERT INTO tip (only, seq, hash) VALUES (1, 0, zeroblob(32));
";

/// What else is known of a deployment.
const DETAILS: &str = "
CREATE TABLE deployment_details (
    deployment_id UUID PRIMARY KEY NOT NULL REFERENCES deployments (id),
    number INTEGER NOT NULL UNIQUE,
    service TEXT NOT NULL,
    rollout TEXT NOT NULL CHECK (rollout IN ('deploy', 'rollback', 'restart', 'drill')),
    release_id UUID NOT NULL,
    from_release UUID,
    actor TEXT NOT NULL,
    reason TEXT,
    because TEXT,
    intent_seq INTEGER,
    started_seq INTEGER NOT NULL,
    finished_seq INTEGER
);
CREATE INDEX deployment_details_release ON deployment_details (release_id, number);
";

/// Layout 1 knew no other rollouts than these.
const ROLLOUTS: &str = "'deploy', 'rollback', 'restart', 'drill'";
const ROLLOUTS_OF_1: &str = "'deploy', 'rollback'";

/// How long a statement waits for a lock. Only a reader that recovers a crashed file holds one.
const LOCK_WAIT: Duration = Duration::from_secs(2);

/// Longest value a row may hold; a damaged length must not ask for all memory.
const VALUE_MAX_BYTES: i32 = 256 * 1024 * 1024;

/// A connection that writes: every commit is on the disk before it returns.
pub(super) fn connect_writer(path: &Path) -> Result<Connection, HistoryError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW
        | OpenFlags::SQLITE_OPEN_EXRESCODE;
    let connection =
        Connection::open_with_flags(path, flags).map_err(sqlite("open the history"))?;
    harden(&connection)
        .and_then(|()| {
            connection.pragma_update_and_check(None, "journal_mode", "wal", |row| {
                let mode: String = row.get(0)?;
                match mode.as_str() {
                    "wal" => Ok(()),
                    _ => Err(rusqlite::Error::InvalidQuery),
                }
            })?;
            connection.pragma_update(None, "synchronous", "full")?;
            connection.pragma_update(None, "foreign_keys", true)?;
            connection.pragma_update(None, "journal_size_limit", WAL_KEPT_BYTES)
        })
        .map_err(sqlite("set the history up for writing"))?;
    Ok(connection)
}

/// The write-ahead log shrinks back to this after a long reader let it grow.
const WAL_KEPT_BYTES: i64 = 16 * 1024 * 1024;

/// A connection that only reads, while an engine runs or none does. It never tidies up.
pub(super) fn connect_reader(path: &Path) -> Result<Connection, HistoryError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW
        | OpenFlags::SQLITE_OPEN_EXRESCODE;
    let connection =
        Connection::open_with_flags(path, flags).map_err(sqlite("open the history"))?;
    harden(&connection)
        .and_then(|()| keep_log_on_close(&connection))
        .map_err(sqlite("set the history up for reading"))?;
    Ok(connection)
}

/// Closing such a connection touches no file.
pub(super) fn keep_log_on_close(connection: &Connection) -> rusqlite::Result<()> {
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        .map(drop)
}

/// Makes SQLite distrust what it reads.
fn harden(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(LOCK_WAIT)?;
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, VALUE_MAX_BYTES)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cell_size_check", true)
}

/// Whether nothing was ever laid out here.
pub(super) fn is_blank(connection: &Connection) -> Result<bool, HistoryError> {
    let objects: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_master", (), |row| row.get(0))
        .map_err(sqlite("read the history's layout"))?;
    Ok(objects == 0 && layout(connection)? == 0)
}

/// Lays the tables out in one transaction.
pub(super) fn create(connection: &mut Connection) -> Result<(), HistoryError> {
    let lay_out = |connection: &mut Connection| {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(TABLES)?;
        transaction.execute_batch(DETAILS)?;
        transaction.pragma_update(None, "user_version", LAYOUT)?;
        transaction.commit()
    };
    lay_out(connection).map_err(sqlite("lay the history out"))
}

/// Brings an earlier layout to this version's, in one transaction; events stay as they are.
pub(super) fn upgrade(connection: &mut Connection) -> Result<(), HistoryError> {
    if layout(connection)? == LAYOUT {
        return Ok(());
    }
    let bring = |connection: &mut Connection| {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(
            "ALTER TABLE deployment_details RENAME TO details_before;
             DROP INDEX deployment_details_release;",
        )?;
        transaction.execute_batch(DETAILS)?;
        transaction.execute_batch(
            "INSERT INTO deployment_details SELECT * FROM details_before;
             DROP TABLE details_before;",
        )?;
        transaction.pragma_update(None, "user_version", LAYOUT)?;
        transaction.commit()
    };
    bring(connection).map_err(sqlite("bring the history to this version's layout"))
}

/// Holds every table, index and trigger against what the version of its layout made.
pub(super) fn check(connection: &Connection, path: &Path) -> Result<(), HistoryError> {
    let found = layout(connection)?;
    if found > LAYOUT {
        return Err(HistoryError::Newer {
            path: path.to_path_buf(),
            found,
            known: LAYOUT,
        });
    }
    let differs = |object: &str| HistoryError::Layout {
        path: path.to_path_buf(),
        object: object.to_owned(),
    };
    if found < 1 {
        return Err(differs("user_version"));
    }
    let here = objects(connection).map_err(sqlite("read the history's layout"))?;
    let meant = Connection::open_in_memory()
        .and_then(|fresh| {
            fresh.execute_batch(TABLES)?;
            fresh.execute_batch(&details(found))?;
            objects(&fresh)
        })
        .map_err(sqlite("lay out a history in memory"))?;
    let differing = meant
        .iter()
        .find(|(name, sql)| here.get(*name) != Some(*sql))
        .or_else(|| here.iter().find(|(name, _)| !meant.contains_key(*name)));
    match differing {
        Some((name, _)) => Err(differs(name)),
        None => Ok(()),
    }
}

/// The details' table as a layout has it.
fn details(layout: i64) -> String {
    match layout {
        1 => DETAILS.replace(ROLLOUTS, ROLLOUTS_OF_1),
        _ => DETAILS.to_owned(),
    }
}

/// Every object of the layout: name → type and text.
type Objects = BTreeMap<String, (String, Option<String>)>;

/// SQLite's own objects stay out: some appear by themselves (`sqlite_stat1`).
fn objects(connection: &Connection) -> rusqlite::Result<Objects> {
    let mut statement = connection.prepare(
        "SELECT name, type || ' on ' || tbl_name, sql FROM sqlite_master
         WHERE name NOT LIKE 'sqlite@_stat%' ESCAPE '@'",
    )?;
    let rows = statement.query_map((), |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?))))?;
    rows.collect()
}

fn layout(connection: &Connection) -> Result<i64, HistoryError> {
    connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(sqlite("read the history's layout"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLLOUT: &str = "
        INSERT INTO deployments (id, version, environment, deployment_status, started_at)
            VALUES ('ID', 'v1', 'dev', 'succeeded', 1);
        INSERT INTO deployment_details
            (deployment_id, number, service, rollout, release_id, actor, started_seq)
            VALUES ('ID', NUMBER, 'web', 'KIND', 'r', 'root', 1);";

    fn insert(connection: &Connection, number: u32, kind: &str) -> rusqlite::Result<()> {
        let text = ROLLOUT
            .replace("ID", &format!("{number:08x}-0000-7000-8000-000000000000"))
            .replace("NUMBER", &number.to_string())
            .replace("KIND", kind);
        connection.execute_batch(&text)
    }

    #[test]
    fn a_history_of_layout_1_is_read_as_it_is_and_brought_on_by_whoever_writes() {
        let mut connection = Connection::open_in_memory().expect("memory");
        connection.execute_batch(TABLES).expect("tables");
        connection.execute_batch(&details(1)).expect("tables");
        let layout_1 = connection.pragma_update(None, "user_version", 1);
        layout_1.expect("its layout");
        insert(&connection, 1, "deploy").expect("known");
        insert(&connection, 2, "restart").expect_err("unknown then");
        check(&connection, Path::new("history.db")).expect("as it was made");
        upgrade(&mut connection).expect("brought on");
        check(&connection, Path::new("history.db")).expect("as it is made now");
        assert_eq!(layout(&connection).expect("readable"), LAYOUT);
        insert(&connection, 3, "restart").expect("known now");
        insert(&connection, 4, "drill").expect("known now");
        let count = connection.query_row("SELECT count(*) FROM deployment_details", (), |row| {
            row.get::<_, i64>(0)
        });
        assert_eq!(count.expect("readable"), 3);
    }
}
