//! Lets a Prometheus find our instances: targets over HTTP on this machine (`http_sd`) and in a
//! file (`file_sd`), both rewritten when they change. Must not know where targets come from.

use crate::model::metrics::TargetGroup;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::CONTENT_TYPE;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

/// Askers at a time; Prometheus is one.
const ASKERS_MAX: usize = 16;
/// For one whole request; Prometheus asks every minute, on a connection it may keep.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two attempts to write a file that could not be written.
const AGAIN: Duration = Duration::from_secs(10);

/// All targets, as both ways of discovery tell them.
pub type Targets = watch::Receiver<Arc<Vec<TargetGroup>>>;

/// Serves the targets at a loopback address until `stop`.
///
/// # Errors
/// When the address cannot be bound; the text says which.
pub async fn serve(
    address: SocketAddr,
    targets: Targets,
    stop: CancellationToken,
) -> Result<(), std::io::Error> {
    let listener = TcpListener::bind(address).await?;
    let places = Arc::new(Semaphore::new(ASKERS_MAX));
    let mut askers = tokio::task::JoinSet::new();
    loop {
        let place = Arc::clone(&places).acquire_owned();
        let accepted = async { (place.await, listener.accept().await) };
        let (place, accepted) = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            Some(_) = askers.join_next() => continue,
            accepted = accepted => accepted,
        };
        let (Ok(place), Ok((stream, _))) = (place, accepted) else {
            // Out of descriptors, most likely: it passes.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let targets = targets.clone();
        askers.spawn(async move {
            let service = service_fn(move |request| {
                let answer = answer(&request, &targets.borrow());
                async move { Ok::<_, Infallible>(answer) }
            });
            let served = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(PATIENCE)
                .max_buf_size(16 * 1024)
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service);
            if let Ok(Err(error)) = tokio::time::timeout(PATIENCE, served).await {
                tracing::debug!("an asker for targets: {error}");
            }
            drop(place);
        });
    }
}

fn answer<B>(request: &Request<B>, targets: &[TargetGroup]) -> Response<Full<Bytes>> {
    let (status, body) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/" | "/targets") => (StatusCode::OK, text(targets)),
        (&Method::GET, _) => (StatusCode::NOT_FOUND, b"[]".to_vec()),
        _ => (StatusCode::METHOD_NOT_ALLOWED, b"[]".to_vec()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let json = hyper::header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

/// The targets as Prometheus reads them.
fn text(targets: &[TargetGroup]) -> Vec<u8> {
    serde_json::to_vec_pretty(targets).expect("invariant: texts in maps are JSON")
}

/// Keeps a file as the targets are, until `stop`. A file that cannot be written is tried again and
/// told of; discovery is late then, and the rollout without its data is held.
pub async fn keep_file(path: PathBuf, mut targets: Targets, stop: CancellationToken) {
    loop {
        let now = text(&targets.borrow_and_update());
        let at = path.clone();
        let written = tokio::task::spawn_blocking(move || write(&at, &now)).await;
        let failed = match written {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(error) => Some(error.to_string()),
        };
        if let Some(why) = &failed {
            tracing::warn!("file_sd {}: {why}", path.display());
        }
        let again = async {
            match failed {
                Some(_) => tokio::time::sleep(AGAIN).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = again => {}
            changed = targets.changed() => if changed.is_err() { return },
        }
    }
}

/// Replaces the file whole: Prometheus never reads half of it, also after a crash.
fn write(path: &Path, text: &[u8]) -> std::io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // Prometheus reads *.json: the temporary name must not match.
    let temporary = directory.join(format!(".{name}.new"));
    let mut file = std::fs::File::create(&temporary)?;
    file.write_all(text)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    std::fs::File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_reading_is_answered() {
        let ask = |method: Method, path: &str| {
            let request = Request::builder().method(method).uri(path).body(());
            answer(&request.expect("a request"), &[]).status()
        };
        assert_eq!(ask(Method::GET, "/"), StatusCode::OK);
        assert_eq!(ask(Method::GET, "/targets"), StatusCode::OK);
        assert_eq!(ask(Method::GET, "/etc/passwd"), StatusCode::NOT_FOUND);
        assert_eq!(ask(Method::POST, "/"), StatusCode::METHOD_NOT_ALLOWED);
    }

    #[tokio::test]
    async fn the_file_is_replaced_whole_when_targets_change() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("targets.json");
        let (tell, targets) = watch::channel(Arc::new(Vec::new()));
        let stop = CancellationToken::new();
        let keeper = tokio::spawn(keep_file(path.clone(), targets, stop.clone()));
        let shows = async |wanted: &str| {
            while !std::fs::read_to_string(&path).is_ok_and(|text| text.contains(wanted)) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        shows("[]").await;
        let group = TargetGroup {
            targets: vec!["127.0.0.1:1".to_owned()],
            labels: [("release".to_owned(), "r1".to_owned())].into(),
        };
        tell.send_replace(Arc::new(vec![group]));
        shows("r1").await;
        stop.cancel();
        keeper.await.expect("it ends");
        let left = std::fs::read_dir(dir.path()).expect("readable").count();
        assert_eq!(left, 1, "no temporary file stays");
    }
}
