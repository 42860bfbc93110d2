use super::*;
use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Instant;

const LINE: &[u8] = b"<134>Nov 21 13:24:25 haproxy[7]: 127.0.0.1:1 [21/Nov/2026:13:24:25.135] in \
    web/web1 0/0/0/8/8 200 1 - - ---- 1/1/0/0/0 0/0 \"GET / HTTP/1.1\"";
const TOLD: Told = Told {
    requests: 1,
    open: 0,
    repeated: 0,
};

#[track_caller]
fn until(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "waited for {what}"
        );
        std::thread::yield_now();
    }
}

fn listening(path: &Path) -> HttpLog {
    let log = HttpLog::new(LogAddress::Path(path.to_owned()));
    log.listen();
    until("the socket", || lock(&log.tail.socket).is_some());
    log
}

fn sent(path: &Path) -> bool {
    let socket = UnixDatagram::unbound().expect("a socket");
    socket.send_to(LINE, path).is_ok()
}

fn lines(log: &HttpLog) -> u64 {
    log.catch_up();
    log.measure(7, "7@1", "web/web1", TOLD).latency.count()
}

#[test]
fn a_stale_socket_is_replaced_a_taken_one_is_not_and_the_mode_is_narrow() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("lb.log");
    drop(UnixDatagram::bind(&path).expect("a stale socket"));
    let log = listening(&path);
    let mode = fs::metadata(&path).expect("a socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    assert!(sent(&path));
    until("the line", || lines(&log) == 1);
    let second = HttpLog::new(LogAddress::Path(path.clone()));
    second.listen();
    until("a refusal", || second.trouble().is_some());
    let why = second.trouble().expect("a reason");
    assert!(why.as_str().contains("another process listens"), "{why}");
    assert!(sent(&path), "the first still listens");
    until("the line", || lines(&log) == 2);
    drop(log);
    // The second takes over by itself, as an engine does whose predecessor is slow to end.
    until("the second one", || lock(&second.tail.socket).is_some());
    assert!(sent(&path));
    until("the line", || lines(&second) == 1);
    assert_eq!(second.trouble(), None);
    drop(second);
    assert!(!path.exists(), "nothing is left behind");
}

#[test]
fn a_socket_whose_file_was_removed_comes_back() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("lb.log");
    let log = listening(&path);
    fs::remove_file(&path).expect("removed");
    until("the socket's file", || path.exists() && sent(&path));
    until("the line", || lines(&log) >= 1);
}

#[test]
fn no_place_is_taken_where_others_could_interfere() {
    let refused = |path: &Path| {
        let address = LogAddress::Path(path.to_owned());
        Socket::bind(&address, PATIENCE).expect_err("a refusal")
    };
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("file");
    fs::write(&file, "kept").expect("a file");
    assert!(refused(&file).contains("no socket"));
    assert_eq!(fs::read(&file).expect("the file"), b"kept");
    let open = directory.path().join("open");
    fs::create_dir(&open).expect("a directory");
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).expect("its mode");
    assert!(refused(&open.join("lb.log")).contains("writable for everybody"));
    assert!(refused(&directory.path().join("none/lb.log")).contains("make this directory"));
    let found = fs::metadata(&file).expect("the file").file_type();
    assert!(!found.is_socket());
}

#[test]
fn lines_arrive_over_udp_too() {
    let free = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let address = free.local_addr().expect("its address");
    drop(free);
    let log = HttpLog::new(LogAddress::Udp(address));
    log.listen();
    until("the socket", || lock(&log.tail.socket).is_some());
    let sender = UdpSocket::bind("127.0.0.1:0").expect("a port");
    sender.send_to(LINE, address).expect("sent");
    sender.send_to(b"noise", address).expect("sent");
    until("both", || lines(&log) == 1 && log.foreign() == 1);
}
