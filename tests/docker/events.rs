//! The daemon's events: each a hint to read, and nothing else.

use crate::contract::eventually;
use crate::rollouts::{Load, World, ask};
use crate::support::{SOCKET, Shop, available, directory, docker, runtime_at};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use wheelhouse::model::Placement;
use wheelhouse::ports::Runtime;
use wheelhouse::runtime::docker::DockerRuntime;

/// What becomes of events on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// The connection ends at each one, before it.
    Broken,
    /// Each comes twice.
    Twice,
    /// None comes.
    Missed,
}

/// Passes everything to a daemon, and its events in one of these ways.
struct EventsProxy {
    _directory: TempDir,
    socket: PathBuf,
    way: Arc<Mutex<Way>>,
}

impl EventsProxy {
    fn before(daemon: &Path, way: Way) -> Self {
        let (kept, root) = directory();
        let socket = root.join("proxy.sock");
        let listener = UnixListener::bind(&socket).expect("bound");
        let way = Arc::new(Mutex::new(way));
        let (shared, daemon) = (Arc::clone(&way), daemon.to_owned());
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (way, daemon) = (Arc::clone(&shared), daemon.clone());
                std::thread::spawn(move || drop(pass(client, &daemon, &way)));
            }
        });
        Self {
            _directory: kept,
            socket,
            way,
        }
    }

    fn now(&self, way: Way) {
        *self.way.lock().expect("not broken") = way;
    }
}

/// One connection, which carries one request.
fn pass(mut client: UnixStream, daemon: &Path, way: &Mutex<Way>) -> std::io::Result<()> {
    let mut upstream = UnixStream::connect(daemon)?;
    let mut first = vec![0; 64 * 1024];
    let read = client.read(&mut first)?;
    upstream.write_all(&first[..read])?;
    let line = String::from_utf8_lossy(&first[..read]).into_owned();
    let is_events = line.lines().next().unwrap_or_default().contains("/events");
    let (mut client_in, mut upstream_out) = (client.try_clone()?, upstream.try_clone()?);
    // The client's end is the daemon's too: an event stream would go on for ever.
    std::thread::spawn(move || {
        drop(std::io::copy(&mut client_in, &mut upstream_out));
        drop(upstream_out.shutdown(std::net::Shutdown::Both));
    });
    match is_events {
        true => pass_events(&mut client, upstream, way)?,
        false => drop(std::io::copy(&mut upstream, &mut client)?),
    }
    client.shutdown(std::net::Shutdown::Both)
}

/// The head as it is; then chunk by chunk, each of which is one event.
fn pass_events(
    client: &mut UnixStream,
    upstream: UnixStream,
    way: &Mutex<Way>,
) -> std::io::Result<()> {
    let mut upstream = BufReader::new(upstream);
    let mut line = Vec::new();
    while line != b"\r\n" {
        line.clear();
        if upstream.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        client.write_all(&line)?;
    }
    loop {
        let mut chunk = Vec::new();
        upstream.read_until(b'\n', &mut chunk)?;
        let length = String::from_utf8_lossy(&chunk).trim().to_owned();
        let length = usize::from_str_radix(&length, 16).unwrap_or(0);
        if length == 0 {
            return Ok(());
        }
        let mut body = vec![0; length + 2];
        upstream.read_exact(&mut body)?;
        chunk.append(&mut body);
        match *way.lock().expect("not broken") {
            Way::Broken => return Ok(()),
            Way::Twice => client.write_all(&[&chunk[..], &chunk[..]].concat())?,
            Way::Missed => {}
        }
    }
}

/// Watches a runtime and keeps whose instances it named; `None` is everybody.
struct Watch {
    told: Arc<Mutex<Vec<Option<Placement>>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Watch {
    fn begin(runtime: &DockerRuntime) -> Self {
        let told: Arc<Mutex<Vec<_>>> = Arc::default();
        let (kept, runtime) = (Arc::clone(&told), runtime.clone());
        let tell = move |placement| kept.lock().expect("not broken").push(placement);
        Self {
            told,
            task: tokio::spawn(async move { runtime.watch(tell).await }),
        }
    }

    fn told(&self) -> Vec<Option<Placement>> {
        self.told.lock().expect("not broken").clone()
    }

    fn count(&self, whose: Option<&Placement>) -> usize {
        self.told().iter().filter(|it| it.as_ref() == whose).count()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_to_a_container_of_ours_is_told_and_to_others_nothing() {
    if !available() {
        return;
    }
    let mut shop = Shop::open();
    let watch = Watch::begin(&shop.runtime);
    eventually("the stream is open", || async {
        watch.told().first().cloned()
    })
    .await;
    let start = shop.demo("web1", &[]);
    let mine = Some(shop.placement.clone());
    // No reading is asked for: each hint is the daemon's.
    let seen = async |what: &str, before: usize| {
        eventually(what, || async {
            (watch.count(mine.as_ref()) > before).then_some(())
        })
        .await;
    };
    shop.must_start(&start).await;
    seen("its start", 0).await;
    let id = shop.containers().remove(0);
    let before = watch.count(mine.as_ref());
    docker(&["kill", &id]);
    seen("its death", before).await;
    let before = watch.count(mine.as_ref());
    docker(&["rename", &id, &format!("{}-other", shop.placement.service)]);
    seen("its new name", before).await;
    // Somebody else's does the same; after it, ours is removed, and that is the next thing told.
    let other = format!("{}-foreign", shop.placement.service);
    let others: Vec<_> = watch.told();
    shop.foreign(&other, &[crate::support::IMAGE, "--version"]);
    docker(&["wait", &other]);
    docker(&["rm", "-f", &id]);
    seen("its removal", before + 1).await;
    let new = &watch.told()[others.len()..];
    let strangers: BTreeSet<_> = new.iter().filter(|it| **it != mine).collect();
    assert!(
        strangers.iter().all(|it| it.is_some()),
        "the stream went on: {new:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_055_a_stream_that_breaks_is_opened_anew_and_all_is_read_then() {
    if !available() {
        return;
    }
    let shop = Shop::open();
    let proxy = EventsProxy::before(Path::new(SOCKET), Way::Broken);
    let watch = Watch::begin(&runtime_at(&proxy.socket));
    eventually("the stream is open", || async {
        watch.told().first().cloned()
    })
    .await;
    let start = shop.demo("web1", &[]);
    let mine = Some(shop.placement.clone());
    for round in 0..2 {
        let before = watch.count(None);
        shop.must_start(&start).await;
        docker(&["kill", &shop.containers().remove(0)]);
        docker(&["rm", "-f", &shop.containers().remove(0)]);
        // One hint for the end of the old stream, one for the beginning of the next.
        eventually(&format!("opened anew in round {round}"), || async {
            (watch.count(None) >= before + 2).then_some(())
        })
        .await;
    }
    assert_eq!(watch.count(mine.as_ref()), 0, "no event came through");
    proxy.now(Way::Twice);
    eventually("events come again", || async {
        shop.must_start(&start).await;
        docker(&["rm", "-f", &shop.containers().remove(0)]);
        (watch.count(mine.as_ref()) >= 2).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_is_not_there_is_asked_again_with_longer_and_longer_pauses() {
    let (_kept, root) = directory();
    let watch = Watch::begin(&runtime_at(&root.join("absent.sock")));
    eventually("it was tried", || async {
        (watch.count(None) >= 2).then_some(())
    })
    .await;
    // It begins to answer, and closes each connection: that is no reason for haste either.
    let listener = UnixListener::bind(root.join("absent.sock")).expect("bound");
    std::thread::spawn(move || listener.incoming().flatten().for_each(drop));
    eventually("it was tried again", || async {
        (watch.count(None) >= 4).then_some(())
    })
    .await;
}

/// What is left of a rollout whose canary was killed: how it ended, who serves, what runs.
async fn after_a_killed_canary(world: &mut World, version: &str, number: &str) -> (i32, usize) {
    world.version(version);
    let before = world.shop.containers();
    let (code, text) = world.deploy(version, &[]);
    assert_eq!(code, 0, "{text}\n{}", world.log());
    let new = eventually("a canary runs", || async {
        let running = docker(&["ps", "-q", "--no-trunc"]);
        let all = world.shop.containers().into_iter();
        let mut new = all.filter(|id| !before.contains(id) && running.contains(id.as_str()));
        new.next()
    })
    .await;
    docker(&["kill", &new]);
    let waited = world.says(&["wait", number, "--timeout", "90s"]);
    let code = waited.status.code().unwrap_or(-1);
    let standing = eventually("the canaries are gone", || async {
        let running = docker(&["ps", "-q", "--no-trunc"]);
        let all = world.shop.containers().into_iter();
        let standing: Vec<_> = all.filter(|id| running.contains(id.as_str())).collect();
        (standing.iter().all(|id| before.contains(id))).then_some(standing)
    })
    .await;
    let answer = ask(world.listen).expect("answered").to_lowercase();
    assert!(answer.contains("x-version: v1"), "{answer}");
    (code, standing.len())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_055_events_broken_doubled_or_missed_lead_to_the_same_end() {
    if !available() {
        return;
    }
    let proxy = EventsProxy::before(Path::new(SOCKET), Way::Broken);
    let mut world = World::through(&proxy.socket);
    eventually("the engine answers", || async {
        let said = world.says(&["engine", "status"]);
        said.status.success().then_some(())
    })
    .await;
    world.version("v1");
    let first = Load::on(world.listen);
    let (code, text) = world.deploy("v1", &["--wait", "--timeout", "90s"]);
    assert_eq!(code, 0, "{text}\n{}", world.log());
    first.end();
    let ways = [(Way::Broken, "v2"), (Way::Twice, "v3"), (Way::Missed, "v4")];
    for (number, (way, version)) in (2..).zip(ways) {
        proxy.now(way);
        let end = after_a_killed_canary(&mut world, version, &number.to_string()).await;
        assert_eq!(end, (1, 2), "{way:?}: {}", world.log());
    }
}

/// The engine is at rest: what it does next about the killed container is caused by the event.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_engine_is_told_of_a_killed_container_and_begins_it_anew() {
    if !available() {
        return;
    }
    let mut world = World::through(Path::new(SOCKET));
    eventually("the engine answers", || async {
        let said = world.says(&["engine", "status"]);
        said.status.success().then_some(())
    })
    .await;
    world.version("v1");
    let first = Load::on(world.listen);
    let (code, text) = world.deploy("v1", &["--wait", "--timeout", "90s"]);
    assert_eq!(code, 0, "{text}\n{}", world.log());
    first.end();
    let told = format!("an event of {}", world.shop.placement);
    let before = world.log().matches(&told).count();
    let killed = world.shop.containers().remove(0);
    docker(&["kill", &killed]);
    eventually("its death was told", || async {
        (world.log().matches(&told).count() > before).then_some(())
    })
    .await;
    eventually("both run", || async {
        let running = docker(&["ps", "-q", "--no-trunc"]);
        let all = world.shop.containers().into_iter();
        let standing = all.filter(|id| running.contains(id.as_str())).count();
        (standing == 2).then_some(())
    })
    .await;
}
