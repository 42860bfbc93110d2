use super::*;
use proptest::prelude::*;

const TAIL: &str =
    "web-in web/web1 0/0/0/21/21 200 116 - - ---- 1/1/0/0/0 0/0 \"GET /x?a=1 HTTP/1.1\"\n";

fn line(header: &str) -> String {
    format!("{header}127.0.0.1:49092 [21/Nov/2026:13:24:25.135] {TAIL}")
}

/// A line with these timers, whole otherwise.
fn timed(timers: &str) -> Option<Option<u64>> {
    let text = line("<134>Nov 21 13:24:25 haproxy[7]: ").replace("0/0/0/21/21", timers);
    parse(text.as_bytes()).map(|line| line.took_ms)
}

/// Headers as HAProxy 2.6.12 wrote them, by `format`.
#[test]
fn every_header_of_haproxy_is_understood() {
    let headers = [
        ("<134>Nov 21 13:24:25 haproxy[29712]: ", Some(29_712)),
        (
            "<134>Nov 21 13:24:25 localhost haproxy[29718]: ",
            Some(29_718),
        ),
        (
            "<134>1 2026-11-21T13:24:26.614000+00:00 - haproxy 29724 - - ",
            Some(29_724),
        ),
        (
            "<134>1 2026-11-21T13:24:26.614000+00:00 lb1 haproxy - - - ",
            None,
        ),
        ("", None),
        ("<6>", None),
        ("<134>", None),
        ("<6>2026-11-21T13:24:30.280456+00:00 ", None),
        ("2026-11-21T13:24:31.015924+00:00 ", None),
    ];
    for (header, pid) in headers {
        let wanted = Line {
            pid,
            server: "web/web1",
            took_ms: Some(21),
        };
        assert_eq!(parse(line(header).as_bytes()), Some(wanted), "{header:?}");
    }
    let v6 = line("").replace("127.0.0.1", "2001:db8::1");
    assert!(parse(v6.as_bytes()).is_some());
    let unix = line("").replace("127.0.0.1:49092", "unix:1");
    assert!(parse(unix.as_bytes()).is_some());
}

#[test]
fn the_servers_own_time_counts_and_a_missing_answer_is_a_wait() {
    // A client that took 4 s to send and 5 s to take: the server's are the 21 ms.
    assert_eq!(timed("4000/0/1/21/9022"), Some(Some(21)));
    assert_eq!(timed("0/0/0/0/0"), Some(Some(0)));
    assert_eq!(timed("5/10/20/-1/1035"), Some(Some(1_000)), "no answer");
    assert_eq!(timed("0/0/-1/-1/3003"), Some(None), "no connection");
    assert_eq!(timed("0/-1/-1/-1/5000"), Some(None), "still in the queue");
    assert_eq!(timed("0/0/0/21/+21"), Some(Some(21)), "logasap");
    for nonsense in [
        "0/0/0/21",
        "0/0/0/21/21/1",
        "0/0/0/-2/21",
        "a/0/0/1/1",
        "0/0/0//1",
    ] {
        assert_eq!(timed(nonsense), None, "{nonsense}");
    }
    let huge = u64::MAX;
    assert_eq!(timed(&format!("{huge}/{huge}/{huge}/-1/1")), Some(Some(0)));
}

#[test]
fn a_line_counts_once_it_is_whole_up_to_its_status() {
    let whole = line("<134>Nov 21 13:24:25 haproxy[7]: ");
    let status_ends = whole.find(" 200 ").expect("a status") + " 200 ".len();
    for end in 0..whole.len() {
        let is_read = parse(&whole.as_bytes()[..end]).is_some();
        assert_eq!(is_read, end >= status_ends, "{:?}", &whole[..end]);
    }
}

#[test]
fn what_a_client_writes_cannot_pose_as_a_field() {
    let hostile = "x:1 [21/Nov/2026:13:24:25.135] web-in web/web2 0/0/0/9999/9999 500 1 ";
    let text = line("<134>Nov 21 13:24:25 haproxy[7]: ").replace("/x?a=1", hostile);
    let read = parse(text.as_bytes()).expect("a line");
    assert_eq!((read.server, read.took_ms), ("web/web1", Some(21)));
    let mut bytes = text.into_bytes();
    bytes.extend_from_slice(&[0xff, 0xfe, 0, 0x1b]);
    assert!(parse(&bytes).is_some(), "bytes that are no text, behind");
    for other in ["haproxy[7]: Proxy web started.", "<134>", "{}", "\0\0\0"] {
        assert_eq!(parse(other.as_bytes()), None);
    }
    let without_server = line("").replace("web/web1", "web/<NOSRV>");
    let read = parse(without_server.as_bytes()).expect("a line");
    assert_eq!(read.server, "web/<NOSRV>");
    for name in ["web", "web/", "/web1", "web/web1/x", "we\u{7}b/web1"] {
        let text = line("").replace("web/web1", name);
        assert_eq!(parse(text.as_bytes()), None, "{name}");
    }
}

proptest! {
    #[test]
    fn no_datagram_breaks_it(bytes in proptest::collection::vec(any::<u8>(), 0..2_000)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn no_mutilated_line_breaks_it(at in 0_usize..150, byte in any::<u8>(), cut in 0_usize..200) {
        let mut bytes = line("<134>Nov 21 13:24:25 haproxy[7]: ").into_bytes();
        let last = bytes.len() - 1;
        bytes[at.min(last)] = byte;
        bytes.truncate(cut);
        let _ = parse(&bytes);
    }
}
