//! The floor: a plain driver that replaces instances and does no more than must be done. It records
//! nothing, decides nothing, and stops nothing before HAProxy has no session of it.

use crate::daemon::{Daemon, Manner};
use crate::front;
use crate::haproxy::Haproxy;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

/// Between two questions whether something is so yet.
const ASKED_EVERY: Duration = Duration::from_millis(5);
/// For one probe: what is asked too early may never be answered.
const PROBE: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Floor<'a> {
    daemon: &'a Daemon,
    manner: Manner,
    haproxy: Haproxy,
    /// What stands: the server's position, and the container.
    standing: Vec<(usize, String)>,
    /// Containers that ended.
    ended: Vec<String>,
    /// When the last replacement began, and what was done when.
    began: Instant,
    marks: Mutex<Vec<(Duration, &'static str)>>,
}

impl<'a> Floor<'a> {
    /// Begins the first version.
    pub async fn begin(daemon: &'a Daemon, manner: Manner, first_port: u16) -> Self {
        let haproxy = front::begin(first_port).await;
        let mut floor = Self {
            daemon,
            manner,
            haproxy,
            standing: Vec::new(),
            ended: Vec::new(),
            began: Instant::now(),
            marks: Mutex::default(),
        };
        let free = floor.free(crate::INSTANCES);
        let new = floor.start(&free, "v1");
        floor.say(&new.iter().map(ready).collect::<String>());
        floor.standing = new;
        floor
    }

    pub fn listen(&self) -> SocketAddr {
        self.haproxy.listen
    }

    /// Replaces every instance, so many at once; gives when the last old one had ended.
    pub fn replace(&mut self, version: &str, batch: usize) -> Instant {
        self.began = Instant::now();
        self.marks = Mutex::default();
        let old = std::mem::take(&mut self.standing);
        for leaving in old.chunks(batch) {
            self.standing.extend_from_slice(leaving);
            let free = self.free_beside(&old, leaving.len());
            let new = self.start(&free, version);
            // The new first: there is always somebody to answer.
            let change = new.iter().map(ready).chain(leaving.iter().map(out));
            self.say(&change.collect::<String>());
            self.mark("switched");
            self.standing.retain(|one| !leaving.contains(one));
            self.standing.extend(new);
            self.until_idle(leaving);
            self.mark("idle");
            thread::scope(|scope| {
                for (_, id) in leaving {
                    scope.spawn(|| {
                        self.daemon.stop(id);
                        self.mark("ended");
                    });
                }
            });
            self.ended.extend(leaving.iter().map(|(_, id)| id.clone()));
        }
        Instant::now()
    }

    fn mark(&self, what: &'static str) {
        let mut marks = self.marks.lock().expect("nothing panics here");
        marks.push((self.began.elapsed(), what));
    }

    /// What happened when in the last replacement, in ms.
    pub fn timeline(&self) -> String {
        let marks = self.marks.lock().expect("nothing panics here");
        let said = marks
            .iter()
            .map(|(at, what)| format!("{} {what}", at.as_millis()));
        said.collect::<Vec<_>>().join(", ")
    }

    /// Removes what ended; no part of a replacement.
    pub fn tidy(&mut self) {
        for id in self.ended.drain(..) {
            self.daemon.remove(&id);
        }
    }

    fn free(&self, count: usize) -> Vec<usize> {
        self.free_beside(&[], count)
    }

    fn free_beside(&self, old: &[(usize, String)], count: usize) -> Vec<usize> {
        let taken = |at: &usize| old.iter().chain(&self.standing).any(|(it, _)| it == at);
        let all = 0..self.haproxy.servers.len();
        all.filter(|at| !taken(at)).take(count).collect()
    }

    /// Starts instances side by side, until each is ready.
    fn start(&self, servers: &[usize], version: &str) -> Vec<(usize, String)> {
        let image = self.manner.image(version);
        let one = |at: usize| {
            let (_, address) = &self.haproxy.servers[at];
            let id = self.daemon.run(&image, address.port());
            self.mark("started");
            until("an instance to be ready", || is_ready(*address));
            self.mark("ready");
            (at, id)
        };
        thread::scope(|scope| {
            let begun = servers.iter().map(|at| scope.spawn(|| one(*at)));
            let begun: Vec<_> = begun.collect();
            let joined = begun.into_iter().map(|one| one.join().expect("begun"));
            joined.collect()
        })
    }

    fn until_idle(&self, leaving: &[(usize, String)]) {
        until("the old ones to be idle", || {
            let table = self.say("show stat web 4 -1");
            leaving.iter().all(|(at, _)| {
                let name = format!("web,{},", self.haproxy.servers[*at].0);
                let row = table.lines().find_map(|line| line.strip_prefix(&*name));
                // qcur, qmax, scur.
                row.and_then(|row| row.split(',').nth(2)) == Some("0")
            })
        });
    }

    fn say(&self, line: &str) -> String {
        say(self.haproxy.path("admin.sock"), line)
    }
}

impl Drop for Floor<'_> {
    fn drop(&mut self) {
        self.tidy();
        for (_, id) in &self.standing {
            self.daemon.remove(id);
        }
    }
}

fn name(at: usize) -> String {
    format!("web/s{}", at + 1)
}

fn ready((at, _): &(usize, String)) -> String {
    let name = name(*at);
    format!("set weight {name} 100; set server {name} state ready;")
}

fn out((at, _): &(usize, String)) -> String {
    let name = name(*at);
    format!("set server {name} state maint; set weight {name} 0;")
}

fn say(socket: PathBuf, line: &str) -> String {
    let mut stream = UnixStream::connect(socket).expect("HAProxy listens");
    let sent = stream.write_all(format!("{line}\n").as_bytes());
    sent.expect("sent");
    let mut reply = String::new();
    stream.read_to_string(&mut reply).expect("an answer");
    reply
}

fn is_ready(address: SocketAddr) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&address, PROBE)?;
        stream.set_read_timeout(Some(PROBE))?;
        stream.write_all(b"GET /readyz HTTP/1.0\r\nHost: bench\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.split(' ').nth(1) == Some("200"))
}

fn until(what: &str, done: impl Fn() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(
            began.elapsed() < PATIENCE,
            "waited {PATIENCE:?} for: {what}"
        );
        thread::sleep(ASKED_EVERY);
    }
}
