//! Deployment rows in the tables. Knows the columns; [`super::project`] knows what goes in.

use super::project::{Change, Row};
use crate::model::entry::DeploymentRow;
use crate::model::{Clean, ReleaseId, RolloutId, RolloutKind, RolloutNumber, Status};
use rusqlite::types::{FromSql, FromSqlError, Type};
use rusqlite::{Connection, Params, Transaction, params};
use std::str::FromStr;
use uuid::Uuid;

/// Carries one change out.
pub(super) fn apply(transaction: &Transaction<'_>, change: &Change) -> rusqlite::Result<()> {
    match change {
        Change::Put(row) => put(transaction, row),
        Change::Superseded { release, before } => transaction
            .prepare_cached(
                "UPDATE deployments SET rolled_back = TRUE WHERE id =
                 (SELECT deployment_id FROM deployment_details
                  WHERE release_id = ?1 AND number < ?2 ORDER BY number DESC LIMIT 1)",
            )?
            .execute(params![release.to_string(), before.0])
            .map(drop),
    }
}

fn put(transaction: &Transaction<'_>, row: &Row) -> rusqlite::Result<()> {
    let id = row.shown.id.to_string();
    let shown = &row.shown;
    transaction
        .prepare_cached(
            "INSERT INTO deployments (id, version, environment, deployment_status, started_at,
                 completed_at, duration_ms, rolled_back)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
             ON CONFLICT (id) DO UPDATE SET deployment_status = excluded.deployment_status,
                 completed_at = excluded.completed_at, duration_ms = excluded.duration_ms,
                 rolled_back = excluded.rolled_back",
        )?
        .execute(params![
            id,
            shown.version.as_str(),
            shown.environment,
            shown.status.word(),
            shown.started_at,
            shown.completed_at,
            shown.duration_ms,
            shown.rolled_back,
        ])?;
    put_canary(transaction, &id, row)?;
    put_details(transaction, &id, row)
}

fn put_canary(transaction: &Transaction<'_>, id: &str, row: &Row) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "INSERT INTO canary_deployments (deployment_id, target_traffic_percent,
                 current_traffic_percent, error_rate, latency_p99, created_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (deployment_id) DO UPDATE SET
                 target_traffic_percent = excluded.target_traffic_percent,
                 current_traffic_percent = excluded.current_traffic_percent,
                 error_rate = excluded.error_rate, latency_p99 = excluded.latency_p99",
        )?
        .execute(params![
            id,
            row.target_percent,
            row.current_percent,
            row.error_ratio,
            row.latency_p99_ms,
            row.shown.started_at,
        ])
        .map(drop)
}

fn put_details(transaction: &Transaction<'_>, id: &str, row: &Row) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "INSERT INTO deployment_details (deployment_id, number, service, rollout, release_id,
                 from_release, actor, reason, because, intent_seq, started_seq, finished_seq)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
             ON CONFLICT (deployment_id) DO UPDATE SET because = excluded.because,
                 intent_seq = excluded.intent_seq, finished_seq = excluded.finished_seq",
        )?
        .execute(params![
            id,
            row.shown.number.0,
            row.shown.service,
            row.kind.word(),
            row.release.to_string(),
            row.from.map(|release| release.to_string()),
            row.shown.actor,
            row.reason.as_ref().map(Clean::as_str),
            row.shown.because.as_ref().map(Clean::as_str),
            row.intent,
            row.started_seq,
            row.finished_seq,
        ])
        .map(drop)
}

/// Rows by a condition on `deployments` d, `canary_deployments` c and `deployment_details` e.
pub(super) fn select(
    connection: &Connection,
    condition: &str,
    values: impl Params,
) -> rusqlite::Result<Vec<Row>> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT d.id, e.number, e.service, d.environment, d.version, d.deployment_status,
             e.actor, d.started_at, d.completed_at, d.duration_ms, d.rolled_back, e.because,
             e.rollout, e.release_id, e.from_release, e.reason, c.target_traffic_percent,
             c.current_traffic_percent, c.error_rate, c.latency_p99, e.intent_seq,
             e.started_seq, e.finished_seq, c.created_at
         FROM deployments d
         JOIN deployment_details e ON e.deployment_id = d.id
         JOIN canary_deployments c ON c.deployment_id = d.id
         {condition}"
    ))?;
    let rows = statement.query_map(values, read)?;
    rows.collect()
}

/// How many rows each table has; they stand one for one.
pub(super) fn counts(connection: &Connection) -> rusqlite::Result<[(&'static str, u64); 3]> {
    let count = |table| {
        connection.query_row(&format!("SELECT count(*) FROM {table}"), (), |row| {
            row.get(0)
        })
    };
    Ok([
        ("deployments", count("deployments")?),
        ("canary_deployments", count("canary_deployments")?),
        ("deployment_details", count("deployment_details")?),
    ])
}

fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    let started_at: u64 = row.get(7)?;
    if row.get::<_, u64>(23)? != started_at {
        return Err(strange(23, "created_at is not started_at"));
    }
    Ok(Row {
        shown: DeploymentRow {
            id: RolloutId(parsed(row, 0)?),
            number: RolloutNumber(row.get(1)?),
            service: row.get(2)?,
            environment: row.get(3)?,
            version: parsed(row, 4)?,
            status: status(row, 5)?,
            actor: row.get(6)?,
            started_at,
            completed_at: row.get(8)?,
            duration_ms: row.get(9)?,
            rolled_back: row.get(10)?,
            because: clean(row, 11)?,
        },
        kind: kind(row, 12)?,
        release: ReleaseId(parsed(row, 13)?),
        from: row
            .get::<_, Option<String>>(14)?
            .map(|text| text.parse::<Uuid>().map(ReleaseId))
            .transpose()
            .map_err(|error| failure(14, error))?,
        reason: clean(row, 15)?,
        target_percent: row.get(16)?,
        current_percent: row.get(17)?,
        error_ratio: row.get(18)?,
        latency_p99_ms: row.get(19)?,
        intent: row.get(20)?,
        started_seq: row.get(21)?,
        finished_seq: row.get(22)?,
    })
}

pub(super) fn parsed<T>(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<T>
where
    T: FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    row.get::<_, String>(column)?
        .parse()
        .map_err(|error| failure(column, error))
}

/// Texts were clean when they were written; cleaning a clean text changes nothing.
fn clean(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<Option<Clean>> {
    Ok(row.get::<_, Option<String>>(column)?.map(Clean::from))
}

fn status(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<Status> {
    const ALL: [Status; 5] = [
        Status::Pending,
        Status::InProgress,
        Status::Succeeded,
        Status::Failed,
        Status::RolledBack,
    ];
    let word: String = row.get(column)?;
    ALL.into_iter()
        .find(|status| status.word() == word)
        .ok_or_else(|| strange(column, "no such status"))
}

fn kind(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<RolloutKind> {
    let word = String::column_result(row.get_ref(column)?)?;
    RolloutKind::ALL
        .into_iter()
        .find(|kind| kind.word() == word)
        .ok_or_else(|| strange(column, "no such kind of rollout"))
}

fn strange(column: usize, why: &'static str) -> rusqlite::Error {
    failure(column, FromSqlError::Other(why.into()))
}

fn failure(
    column: usize,
    error: impl std::error::Error + Send + Sync + 'static,
) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
}
