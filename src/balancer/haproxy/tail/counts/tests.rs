use super::*;

fn logged(pid: u32, server: &str, ms: u64) -> Vec<u8> {
    format!(
        "<134>Nov 21 13:24:25 haproxy[{pid}]: 127.0.0.1:1 [21/Nov/2026:13:24:25.135] in {server} \
         0/0/0/{ms}/{ms} 200 1 - - ---- 1/1/0/0/0 0/0 \"GET / HTTP/1.1\""
    )
    .into_bytes()
}

fn told(requests: u64) -> Told {
    Told {
        requests,
        open: 0,
        repeated: 0,
    }
}

#[test]
fn requests_without_a_line_are_counted_as_such() {
    let mut counts = Counts::default();
    for _ in 0..90 {
        counts.take(&logged(7, "web/web1", 100));
    }
    let measured = counts.measure(7, "7@1", "web/web1", told(90));
    assert_eq!((measured.latency.count(), measured.unmeasured), (90, 0));
    let busy = Told {
        requests: 100,
        open: 6,
        repeated: 4,
    };
    assert_eq!(counts.measure(7, "7@1", "web/web1", busy).unmeasured, 0);
    assert_eq!(
        counts.measure(7, "7@1", "web/web1", told(100)).unmeasured,
        10
    );
    // A line that comes late changes no count backwards.
    counts.take(&logged(7, "web/web1", 100));
    assert_eq!(
        counts.measure(7, "7@1", "web/web1", told(101)).unmeasured,
        10
    );
}

#[test]
fn a_silent_log_measures_nothing() {
    let mut counts = Counts::default();
    let measured = counts.measure(7, "7@1", "web/web1", told(50));
    assert_eq!((measured.latency.count(), measured.unmeasured), (0, 50));
}

#[test]
fn an_old_worker_s_lines_are_not_the_new_one_s() {
    let mut counts = Counts::default();
    counts.take(&logged(7, "web/web1", 5));
    counts.take(&logged(8, "web/web1", 900));
    counts.take(&logged(7, "web/web1", 5));
    let new = counts.measure(8, "8@2", "web/web1", told(1));
    assert_eq!(new.latency.above(500), Some(1));
    assert_eq!((new.latency.count(), new.unmeasured), (1, 0));
    // A container's HAProxy has the same pid after its restart.
    counts.measure(7, "7@1", "web/web1", told(2));
    let again = counts.measure(7, "7@9", "web/web1", told(0));
    assert_eq!(again, Measured::default());
}

#[test]
fn nothing_that_arrives_grows_without_bound() {
    let mut counts = Counts::default();
    for pid in 0..100 {
        counts.take(&logged(pid, "web/web1", 1));
    }
    assert_eq!(counts.processes.len(), PROCESSES_MAX);
    for server in 0..2 * SERVERS_MAX {
        counts.take(&logged(99, &format!("web/s{server}"), 1));
    }
    counts.take(b"no line at all");
    assert_eq!(
        counts.processes.last().map(|p| p.servers.len()),
        Some(SERVERS_MAX)
    );
    assert_eq!(counts.foreign(), SERVERS_MAX as u64 + 2);
}
